//! Reading entries while the writer appends.

use std::io;

use raft::{Entry, LogIndex};
use seglog::Reader;

use crate::GroupId;
use crate::index::SharedIndex;
use crate::record::Record;
use crate::runs::Run;

/// Places of this many records are looked up at once.
const RUNS_AT_ONCE_MAX: usize = 256;
/// Each attempt ends with the end of some runs or with a segment that has gone. A fetch that needs
/// more gets less than it asked for, which is allowed.
const ATTEMPTS_MAX: usize = 64;

/// Reads entries. Clones are cheap, and any thread may have one.
#[derive(Clone, Debug)]
pub struct WalReader {
    pub(crate) index: SharedIndex,
    pub(crate) records: Reader,
}

impl WalReader {
    /// Entries of `from..to`, in order and without a gap from `from` on: as many as fit
    /// `bytes_max` (a sum of [`Entry::size_bytes`]), and at least one if `from` is in the log.
    /// Empty if it is not, or not any more, or not yet written.
    ///
    /// The error is `InvalidData` when a record is damaged; it names file and offset.
    pub fn entries(
        &self,
        group: GroupId,
        from: LogIndex,
        to: LogIndex,
        bytes_max: usize,
    ) -> io::Result<Vec<Entry>> {
        let mut taken = Taken { entries: Vec::new(), bytes: 0, bytes_max, next: from.0 };
        for _ in 0..ATTEMPTS_MAX {
            let before = taken.next;
            let runs = self.look_up(group, taken.next, to.0);
            let outcome = self.read_runs(runs, to.0, &mut taken)?;
            let is_stuck = outcome == Outcome::Gone && taken.next == before;
            if outcome == Outcome::Full
                || taken.next >= to.0
                || is_stuck && !self.has(group, before)
            {
                break;
            }
        }
        self.confirm(group, &mut taken.entries);
        Ok(taken.entries)
    }

    fn read_runs(&self, runs: Vec<(u64, Run)>, to: u64, taken: &mut Taken) -> io::Result<Outcome> {
        if runs.is_empty() {
            return Ok(Outcome::Full);
        }
        for (first, run) in runs {
            if first > taken.next {
                return Ok(Outcome::Full);
            }
            let record = match self.records.read(run.position) {
                Ok(bytes) => decode(bytes)?,
                // Its segment was given up since it was looked up: the entries were copied forward,
                // or cut.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Gone),
                // Appended and on its way to the file.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Outcome::Full);
                }
                Err(error) => return Err(error),
            };
            if !taken.take(record.entries, run.end.min(to)) {
                return Ok(Outcome::Full);
            }
        }
        Ok(Outcome::More)
    }

    /// Drops what was cut or overwritten while it was being read, and all behind it.
    fn confirm(&self, group: GroupId, entries: &mut Vec<Entry>) {
        let Some(from) = entries.first().map(|entry| entry.id.index.0) else { return };
        let index = self.index.read();
        let mut confirmed = 0;
        if let Some(group) = index.groups.get(&group) {
            let mut runs = group.runs.range(from, u64::MAX).peekable();
            for entry in entries.iter() {
                while runs.next_if(|(_, run)| run.end <= entry.id.index.0).is_some() {}
                let holds = runs.peek().is_some_and(|(first, run)| {
                    *first <= entry.id.index.0 && run.term == entry.id.term
                });
                if !holds {
                    break;
                }
                confirmed += 1;
            }
        }
        entries.truncate(confirmed);
    }

    fn look_up(&self, group: GroupId, from: u64, to: u64) -> Vec<(u64, Run)> {
        let index = self.index.read();
        let Some(group) = index.groups.get(&group) else { return Vec::new() };
        let runs = group.runs.range(from, to);
        runs.take(RUNS_AT_ONCE_MAX).map(|(first, run)| (first, *run)).collect()
    }

    fn has(&self, group: GroupId, index: u64) -> bool {
        !self.look_up(group, index, index.saturating_add(1)).is_empty()
    }
}

/// How reading some runs ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All runs were read; there may be more.
    More,
    /// A segment was gone.
    Gone,
    /// There is nothing more to read, or no room for it.
    Full,
}

/// What has been read so far.
struct Taken {
    entries: Vec<Entry>,
    bytes: usize,
    bytes_max: usize,
    next: u64,
}

impl Taken {
    /// Takes the entries of `next..end`; `false` if one does not fit the budget.
    fn take(&mut self, entries: Vec<Entry>, end: u64) -> bool {
        for entry in entries {
            if !(self.next..end).contains(&entry.id.index.0) {
                continue;
            }
            self.bytes = self.bytes.saturating_add(entry.size_bytes());
            if self.bytes > self.bytes_max && !self.entries.is_empty() {
                return false;
            }
            self.next = entry.id.index.0 + 1;
            self.entries.push(entry);
        }
        true
    }
}

pub(crate) fn decode(bytes: bytes::Bytes) -> io::Result<Record> {
    Record::decode(bytes).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "a log record is of an unknown format")
    })
}
