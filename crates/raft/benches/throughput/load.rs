//! What is asked of a group that is measured, whoever wrote it.

use bytes::Bytes;

/// One kind of load. Every entry carries a command of its own, made before the clock runs; nobody
/// copies its bytes.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) payload_bytes: usize,
    /// Entries proposed together.
    pub(crate) batch: usize,
    /// Batches proposed and not yet applied by the leader.
    pub(crate) window: usize,
    pool: Vec<Bytes>,
    next: usize,
}

/// Entries that each group applies between two cuts of its log.
pub(crate) const CUT_EVERY: u64 = 8192;
/// Entries that a cut leaves.
pub(crate) const KEPT: u64 = 2048;
/// Bytes in one AppendEntries at most.
pub(crate) const APPEND_BYTES_MAX: usize = 512 << 10;
/// AppendEntries on their way to a follower at most.
pub(crate) const APPENDS_IN_FLIGHT_MAX: usize = 128;

impl Load {
    pub(crate) fn new(payload_bytes: usize, batch: usize, window: usize) -> Self {
        // As many as can be in a log at once, up to 16 MiB.
        let count = ((16 << 20) / payload_bytes).clamp(1, 8192);
        let pool: Vec<Bytes> = (0..count).map(|_| Bytes::from(vec![7; payload_bytes])).collect();
        // The first clone makes room for a count; whoever is measured first would pay for it.
        pool.iter().for_each(|command| drop(command.clone()));
        Self { payload_bytes, batch, window, pool, next: 0 }
    }

    /// The next command.
    pub(crate) fn command(&mut self) -> Bytes {
        self.next = if self.next + 1 < self.pool.len() { self.next + 1 } else { 0 };
        self.pool[self.next].clone()
    }
}

/// The place of a node among three, by its id.
pub(crate) fn place_of(id: u64) -> usize {
    usize::try_from(id - 1).unwrap_or(0)
}

/// Three nodes in one thread, the first of which leads.
pub(crate) trait Group: Sized {
    fn new() -> Self;

    /// Proposes `entries` in batches, and returns when the leader's state machine has them all.
    fn run(&mut self, load: &mut Load, entries: u64);
}
