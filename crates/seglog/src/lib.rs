//! Append-only, checksummed, preallocated segment files.
