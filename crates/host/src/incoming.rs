//! The receiving side of a snapshot transfer.
//!
//! Nothing is believed before it is checked: each piece carries the checksum of everything up to
//! its end, so that a piece that was lost, doubled, damaged or of another transfer is found at once
//! and asked for again (scenario S5).

use std::io;

use env::{File, Moment};
use raft::{EntryId, NodeId, SnapshotMark, Term};
use wal::GroupId;

use crate::records::SnapshotChunk;
use crate::staging::Staging;

/// What has come of a snapshot, for one group.
#[derive(Debug, Default)]
pub(crate) enum Incoming {
    /// Nothing.
    #[default]
    Nothing,
    /// Some of it.
    Coming(Box<Coming>),
    /// All of it.
    Done(Done),
}

/// A transfer that came to its end.
#[derive(Debug)]
pub(crate) struct Done {
    from: NodeId,
    term: Term,
    transfer: u64,
    last: EntryId,
    total_bytes: u64,
    begun: Moment,
}

/// A transfer under way.
#[derive(Debug)]
pub(crate) struct Coming {
    from: NodeId,
    term: Term,
    transfer: u64,
    mark: Box<SnapshotMark>,
    file: Box<dyn File>,
    next_offset: u64,
    checksum: u32,
    begun: Moment,
}

/// What a piece has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing that the sender needs to know.
    Stale,
    /// All before this offset is here.
    Upto(u64),
    /// This piece was the last one: the snapshot is whole, checked and durable.
    JustCompleted(u64),
    /// It was whole before.
    Complete(u64),
}

impl Incoming {
    /// Takes a piece.
    ///
    /// # Errors
    /// What the disk said. The transfer is given up; the group goes on.
    pub(crate) fn take(
        &mut self,
        staging: &Staging,
        (now, from): (Moment, NodeId),
        group: GroupId,
        chunk: SnapshotChunk,
    ) -> io::Result<Progress> {
        // A leader that was deposed may not know it yet. If its pieces could end the transfer of
        // its successor, and the other way round, neither would ever come to an end.
        if chunk.term < self.term() {
            return Ok(Progress::Stale);
        }
        match self {
            Self::Done(done) if done.from == from && done.transfer == chunk.transfer => {
                return Ok(Progress::Complete(done.total_bytes));
            }
            Self::Coming(coming) if coming.from == from && coming.transfer == chunk.transfer => {}
            Self::Nothing | Self::Done(_) | Self::Coming(_) => {
                if chunk.offset != 0 {
                    // The beginning is not here: ask for it.
                    return Ok(Progress::Upto(0));
                }
                self.give_up(staging, group);
                let file = staging.begin(group, chunk.mark.last)?;
                let (term, transfer, mark) = (chunk.term, chunk.transfer, chunk.mark.clone());
                *self = Self::Coming(Box::new(Coming {
                    from,
                    term,
                    transfer,
                    mark,
                    file,
                    next_offset: 0,
                    checksum: 0,
                    begun: now,
                }));
            }
        }
        let Self::Coming(coming) = self else {
            return Ok(Progress::Stale);
        };
        let progress = coming.take(staging, group, &chunk)?;
        if let Progress::JustCompleted(total_bytes) = progress {
            *self = Self::Done(Done {
                from,
                term: chunk.term,
                transfer: chunk.transfer,
                last: chunk.mark.last,
                total_bytes,
                begun: coming.begun,
            });
        }
        Ok(progress)
    }

    /// Whether another transfer than this one has brought the same snapshot since: then the file
    /// under its name is that one's.
    pub(crate) fn has_again(&self, transfer: u64, last: EntryId) -> bool {
        matches!(self, Self::Done(done) if done.transfer != transfer && done.last == last)
    }

    /// When the first piece of what comes, or has come, was taken; the beginning of time if nothing
    /// does.
    pub(crate) fn begun(&self) -> Moment {
        match self {
            Self::Nothing => Moment(0),
            Self::Coming(coming) => coming.begun,
            Self::Done(done) => done.begun,
        }
    }

    /// The term of the leader that sends, or has sent.
    fn term(&self) -> Term {
        match self {
            Self::Nothing => Term(0),
            Self::Coming(coming) => coming.term,
            Self::Done(done) => done.term,
        }
    }

    /// Forgets what has come.
    pub(crate) fn give_up(&mut self, staging: &Staging, group: GroupId) {
        if let Self::Coming(coming) = self {
            staging.abandon(group, coming.mark.last);
        }
        *self = Self::Nothing;
    }
}

impl Coming {
    fn take(
        &mut self,
        staging: &Staging,
        group: GroupId,
        chunk: &SnapshotChunk,
    ) -> io::Result<Progress> {
        let checksum = crc32c::crc32c_append(self.checksum, &chunk.bytes);
        let end = self.next_offset.saturating_add(chunk.bytes.len() as u64);
        let fits = chunk.offset == self.next_offset
            && chunk.mark == self.mark
            && checksum == chunk.checksum_so_far
            && end <= chunk.total_bytes;
        if !fits {
            return Ok(Progress::Upto(self.next_offset));
        }
        self.file.write_all_at(&chunk.bytes, self.next_offset)?;
        (self.next_offset, self.checksum) = (end, checksum);
        if end < chunk.total_bytes {
            return Ok(Progress::Upto(end));
        }
        staging.finish(group, self.mark.last, &*self.file)?;
        Ok(Progress::JustCompleted(end))
    }
}
