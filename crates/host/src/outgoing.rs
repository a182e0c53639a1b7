//! The sending side of a snapshot transfer.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use env::Moment;
use raft::SnapshotMark;

use crate::messages::OutgoingSnapshot;
use crate::records::{SnapshotAck, SnapshotChunk};

/// Pieces on the way at a time: enough for a gigabit link of 8 ms, and a bound for memory.
const WINDOW_CHUNKS: usize = 4;
/// After this time without an answer the oldest piece is sent again.
const RESEND_AFTER: Duration = Duration::from_secs(1);
/// After this time without progress the transfer has failed.
const HOPELESS_AFTER: Duration = Duration::from_secs(15);

/// One transfer.
#[derive(Debug)]
pub(crate) struct Outgoing {
    snapshot: OutgoingSnapshot,
    transfer: u64,
    /// Bytes in one piece.
    chunk_bytes: u64,
    /// The receiver has all before this, with this checksum.
    acknowledged: Reached,
    /// Where each piece that is on the way ends. Invariant: offsets grow and are beyond
    /// `acknowledged`.
    on_the_way: VecDeque<Reached>,
    /// When the receiver last got on, and when something was last sent.
    progress_at: Moment,
    sent_at: Moment,
}

/// How far, and the CRC-32C of everything up to there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reached {
    offset: u64,
    checksum: u32,
}

impl Outgoing {
    pub(crate) fn new(
        now: Moment,
        transfer: u64,
        chunk_bytes: u64,
        snapshot: OutgoingSnapshot,
    ) -> Self {
        Self {
            snapshot,
            transfer,
            chunk_bytes,
            acknowledged: Reached::default(),
            on_the_way: VecDeque::new(),
            progress_at: now,
            sent_at: now,
        }
    }

    pub(crate) fn mark(&self) -> &SnapshotMark {
        &self.snapshot.mark
    }

    pub(crate) fn deadline(&self) -> Moment {
        self.sent_at.after(RESEND_AFTER).min(self.progress_at.after(HOPELESS_AFTER))
    }

    pub(crate) fn is_hopeless(&self, now: Moment) -> bool {
        now >= self.progress_at.after(HOPELESS_AFTER)
    }

    /// Takes the receiver's word; `true` once it has everything.
    pub(crate) fn acknowledge(&mut self, now: Moment, ack: SnapshotAck) -> bool {
        if ack.transfer != self.transfer {
            return false;
        }
        if ack.complete {
            return true;
        }
        let reached = self.on_the_way.iter().copied().find(|piece| piece.offset == ack.next_offset);
        if let Some(reached) = reached {
            self.acknowledged = reached;
            self.on_the_way.retain(|piece| piece.offset > reached.offset);
            self.progress_at = now;
        } else if ack.next_offset != self.acknowledged.offset {
            // The receiver has started again, or lost its file: so does the sender.
            self.acknowledged = Reached::default();
            self.on_the_way.clear();
        }
        false
    }

    /// The next piece that the window allows.
    pub(crate) fn next_chunk(&mut self, now: Moment) -> io::Result<Option<SnapshotChunk>> {
        if now >= self.sent_at.after(RESEND_AFTER) {
            self.on_the_way.clear();
        }
        let begin = self.on_the_way.back().copied().unwrap_or(self.acknowledged);
        let total_bytes = self.snapshot.source.len_bytes();
        // A snapshot of no bytes still needs one piece, or the receiver would never hear of it.
        let is_empty = total_bytes == 0 && self.on_the_way.is_empty();
        let at_end = begin.offset == total_bytes && !is_empty;
        if self.on_the_way.len() >= WINDOW_CHUNKS || at_end {
            return Ok(None);
        }
        let length = self.chunk_bytes.min(total_bytes - begin.offset);
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
        self.snapshot.source.read_exact_at(begin.offset, &mut buffer)?;
        let checksum = crc32c::crc32c_append(begin.checksum, &buffer);
        self.on_the_way.push_back(Reached { offset: begin.offset + length, checksum });
        self.sent_at = now;
        Ok(Some(SnapshotChunk {
            term: self.snapshot.term,
            transfer: self.transfer,
            mark: self.snapshot.mark.clone().into(),
            total_bytes,
            checksum_so_far: checksum,
            offset: begin.offset,
            bytes: Bytes::from(buffer),
        }))
    }
}
