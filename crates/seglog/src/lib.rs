//! Append-only, checksummed, preallocated segment files.
//!
//! A [`SegmentLog`] is one sequence of records in a folder of files of equal size. One thread owns
//! it and appends; any number of [`Reader`]s read records by [`Position`] meanwhile. What a record
//! says is the owner's matter.
//!
//! What the log promises:
//!
//! - A record that was [`sync`](SegmentLog::sync)ed is found by the next
//!   [`open`](SegmentLog::open), whole and in its place.
//! - A record that was not synced is found whole or not at all, and never one behind a lost one.
//! - A *torn tail*, left by a crash in the middle of a write, is cut. *Damage*, a loss below what
//!   was known to be durable, is never cut: `open` names file and offset and refuses. The two are
//!   told apart because each record says how far the segment was durable when it was written
//!   ([`mod@format`]).
//! - Old bytes in a recycled file, a record written to the wrong place, and a file of another log
//!   are never taken for records of this one: the checksum of a record covers the log, the segment,
//!   the offset and the record before it.
//! - An error from a write or a sync is final. What the operating system has done with the pages is
//!   unknown then, and a later sync that succeeds proves nothing, so every later call fails too.
//!
//! Writes go to space that has been allocated and zeroed before, because syncing an overwrite costs
//! half of syncing an appending write. A released segment is recycled for the same reason;
//! [`Spares`] lets a background thread make fresh ones ahead of need.

mod error;
pub mod format;
mod log;
mod reader;
mod recover;
mod segment;
mod spares;

pub use error::{Damage, DamageKind, OpenError};
pub use log::{SegmentInfo, SegmentLog};
pub use reader::{Pin, Reader, Scan};
pub use recover::{Cut, Recovery};
pub use spares::Spares;

/// How to lay out a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Size of a segment file; also bounds a record, see [`Options::record_bytes_max`]. The first
    /// few segments of a log are smaller. May change from one open to the next; segments that exist
    /// keep their size.
    pub segment_bytes: u32,
    /// Released segments that are kept for recycling; more are deleted.
    pub spare_segments_max: usize,
    /// The log's own number. A segment with another one is refused: it was copied from elsewhere.
    pub identity: u64,
    /// Whether segments in the middle may be missing because their owner released them in any
    /// order. Otherwise segments must be released from the front, and a gap is damage.
    pub gaps_allowed: bool,
}

impl Default for Options {
    /// Segments of 64 MiB, two spares, no gaps.
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, spare_segments_max: 2, identity: 0, gaps_allowed: false }
    }
}

impl Options {
    /// The largest payload that fits a segment.
    #[must_use]
    pub fn record_bytes_max(&self) -> u32 {
        self.segment_bytes
            .saturating_sub(format::SEGMENT_HEADER_BYTES + 2 * format::RECORD_HEADER_BYTES)
    }
}

/// The place of a record's payload. Positions are ordered as the records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the segment, from 1.
    pub segment: u64,
    /// Offset of the payload in the file.
    pub offset: u32,
    /// Length of the payload.
    pub len_bytes: u32,
}

#[cfg(test)]
mod tests;
