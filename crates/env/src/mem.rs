//! Time and disk in memory.
