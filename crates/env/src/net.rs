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

    /// From now on `to` is reached at one of these addresses, whichever answers as `to`. A network
    /// that finds nodes by their ids has nothing to do.
    fn set_peer(&self, _to: u64, _addresses: &[String]) {}

    /// Where this node itself is reached, for peers that do not know it yet and have to answer. A
    /// network that finds nodes by their ids has nothing to do.
    fn set_own_addresses(&self, _addresses: &[String]) {}

    /// Nobody speaks to `to` any more.
    fn remove_peer(&self, _to: u64) {}
}
