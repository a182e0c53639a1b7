//! The Raft log of all groups of a node, in one stream.
