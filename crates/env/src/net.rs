//! Frames between nodes. What is in a frame is `host`'s matter.

use std::fmt::Debug;

use bytes::Bytes;

/// Sends whole frames to peers by id, in order per peer and without a promise: a frame may be lost,
/// and after a reconnect one may be missing between two that came. Incoming frames are handed to
/// the sink that the implementation was made with.
pub trait Net: Send + Sync + Debug {
    /// Queues a frame; never blocks. `false` if the peer's queue is full or the peer unknown, and
    /// the frame was dropped.
    fn send(&self, to: u64, frame: Bytes) -> bool;
}
