//! The Raft log of all groups of a node, in one stream.
//!
//! A [`Wal`] writes what the groups of a node want durable into one [`seglog::SegmentLog`], so that
//! one fdatasync serves all of them. It knows where each entry of each group is, and nothing of the
//! protocol.
//!
//! What the log promises:
//!
//! - A [`raft::Persist`] is atomic: after a crash all of it is there or nothing, and never a later
//!   one of any group without it. Hard state is term *and* vote in one record.
//! - What was synced is found by the next [`Wal::open`], or `open` says which file is damaged and
//!   where. Nothing durable is ever cut off in silence.
//! - The first error of a write or a sync ends the log ([`WalFailed`]): no group is told that
//!   anything is durable after it, and nothing is tried a second time.
//! - A segment is given up once nothing in it is needed. A group that lags does not hold the
//!   others': its entries in the oldest segment are written again at the end, see
//!   [`WalOptions::segments_max`].
//!
//! [`DataFolder`] guards the folder above: one process at a time, and only the node that it belongs
//! to. [`codec`] holds the encodings that records share with frames between nodes.

pub mod codec;
mod error;
mod folder;
mod index;
mod reader;
mod record;
mod recover;
mod runs;
mod writer;

use raft::Persist;

pub use error::{WalFailed, WalOpenError};
pub use folder::{DataFolder, FolderError, Identity};
pub use reader::WalReader;
pub use recover::{Recovered, RecoveredGroup};
pub use seglog::Spares;
pub use writer::{Wal, WalStats};

/// A Raft group of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// What one group wants durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalWrite {
    /// The group; one that the log does not know begins with its first write.
    pub group: GroupId,
    /// What.
    pub persist: Persist,
}

/// How to lay out the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// Size of a segment file.
    pub segment_bytes: u32,
    /// Segments that are kept for reuse.
    pub spare_segments_max: usize,
    /// With more segments than this, live entries of the oldest one are written again at the end
    /// to free it, unless they fill more than a quarter of it: then their group needs a snapshot,
    /// and copying would only double the work.
    pub segments_max: usize,
    /// A number that files of this log carry; a file with another one is refused.
    pub identity: u64,
    /// Entries at the end of each group's log that [`Wal::open`] hands over in full, as a sum of
    /// [`raft::Entry::size_bytes`].
    pub recent_bytes_max: usize,
}

impl Default for WalOptions {
    /// Segments of 64 MiB, four spares (a cut frees several at once), copying from the fifth
    /// segment on, 1 MiB of recent entries.
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            spare_segments_max: 4,
            segments_max: 4,
            identity: 0,
            recent_bytes_max: 1 << 20,
        }
    }
}

#[cfg(test)]
mod tests;
