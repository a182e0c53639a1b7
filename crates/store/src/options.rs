//! What a store is told when it is opened.

/// How a store is set up.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of one segment file.
    pub segment_bytes: u32,
    /// Bytes of keys and values that may stay in memory; keys always do.
    pub memory_budget_bytes: u64,
    /// Bytes of segments beyond which writes are refused; 0 for no limit.
    pub quota_bytes: u64,
    /// New bytes in the segments after which a flush begins a new checkpoint of the index.
    pub checkpoint_bytes_min: u64,
}

impl Default for StoreOptions {
    /// For a node of its own: segments of 16 MiB (making one takes no longer than a pause that a
    /// client hardly sees), 4 GiB of memory, etcd's quota of 2 GiB.
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            memory_budget_bytes: 4 << 30,
            quota_bytes: 2 << 30,
            checkpoint_bytes_min: 64 << 20,
        }
    }
}
