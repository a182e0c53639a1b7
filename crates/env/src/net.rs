//! Frames between nodes. What is in a frame is `host`'s matter.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

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

    /// The newest version of frames that this node speaks, and that its peers are asked to speak. A
    /// network that asks nobody has nothing to do.
    fn set_version_max(&self, _version: u8) {}

    /// The newest version of frames that `to` takes, as it said when this network reached it last:
    /// what is newer is dropped. The network keeps the number up to date, and whoever makes frames
    /// keeps the handle and reads it for each of them; it is the same one at every call. A network
    /// that asks nobody takes all.
    fn version_of(&self, _to: u64) -> Arc<AtomicU8> {
        Arc::new(AtomicU8::new(u8::MAX))
    }
}
