//! The writer.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use env::{Disk, DiskLock};
use parking_lot::RwLock;
use raft::{Entry, LogIndex, MarkWrite, Persist};
use seglog::{Options, SegmentLog, Spares};

use crate::index::{Change, Group, SharedIndex};
use crate::record::{FIXED_BYTES, Kind, Record};
use crate::recover::{Replay, hand_over};
use crate::{GroupId, Recovered, WalFailed, WalOpenError, WalOptions, WalReader, WalWrite, codec};

/// A large persist is written in parts of about this size, so that reading one entry does not mean
/// reading megabytes.
const PART_BYTES_MAX: usize = 256 << 10;
/// Live entries of the oldest segment that are copied after one sync.
const COPY_BYTES_AT_ONCE: usize = 1 << 20;

/// What a log consists of at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Segments that hold records.
    pub segment_count: usize,
    /// Segments that wait for reuse.
    pub spare_count: usize,
    /// Number of the oldest segment.
    pub first_segment: u64,
    /// Number of the segment being written.
    pub last_segment: u64,
    /// Groups.
    pub group_count: usize,
}

/// The log with its one writer.
#[derive(Debug)]
pub struct Wal {
    log: SegmentLog,
    index: SharedIndex,
    options: WalOptions,
    scratch: BytesMut,
    /// The state of every group is in the log from this segment on: older ones are not needed for
    /// it. 0 before the first time.
    states_from: u64,
    /// Runs in the oldest segment that are to be copied forward: group and first index.
    copies: VecDeque<(GroupId, u64)>,
    failed: Option<WalFailed>,
    appended_bytes: u64,
    _lock: Box<dyn DiskLock>,
}

impl Wal {
    /// Opens the log in `dir`, or makes one, and takes the folder's lock. Everything that is
    /// handed over is durable.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: WalOptions,
    ) -> Result<(Self, Recovered), WalOpenError> {
        disk.create_dir_all(dir)?;
        let lock = disk.lock(dir).map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                WalOpenError::Locked
            } else {
                WalOpenError::Io(error)
            }
        })?;
        let mut replay = Replay::default();
        let segments = Options {
            segment_bytes: options.segment_bytes,
            spare_segments_max: options.spare_segments_max,
            identity: options.identity,
            gaps_allowed: false,
        };
        let (log, files) = SegmentLog::open(disk, dir, segments, None, &mut |position, bytes| {
            replay.visit(position, bytes)
        })?;
        let index = Arc::new(RwLock::new(replay.finish()?));
        let wal = Self {
            log,
            index,
            options,
            scratch: BytesMut::new(),
            states_from: 0,
            copies: VecDeque::new(),
            failed: None,
            appended_bytes: 0,
            _lock: lock,
        };
        let reader = wal.reader();
        let ids: Vec<GroupId> = wal.index.read().groups.keys().copied().collect();
        let mut recovered = Recovered { files, ..Recovered::default() };
        for id in ids {
            // A copy, because the reader locks the index as well.
            let Some(group) = wal.index.read().groups.get(&id).cloned() else { continue };
            let group = hand_over(id, &group, &reader, options.recent_bytes_max)?;
            recovered.groups.insert(id, group);
        }
        Ok((wal, recovered))
    }

    /// Writes a batch in order; it is durable after the next [`Self::sync`]. Readers see it at
    /// once. An error is final, see [`WalFailed`].
    pub fn append(&mut self, batch: &[WalWrite]) -> io::Result<()> {
        self.check()?;
        for write in batch {
            let written = self.append_persist(write.group, &write.persist);
            self.guard(written)?;
        }
        let written = self.log.write();
        self.guard(written)
    }

    /// Bytes of the records that were written since the log was opened.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Makes all that was appended durable, for all groups with one fdatasync. An error is final,
    /// see [`WalFailed`].
    pub fn sync(&mut self) -> io::Result<()> {
        self.check()?;
        let synced = self.log.sync().and_then(|()| self.tidy());
        self.guard(synced)
    }

    /// Gives up a group and its log; durable after the next [`Self::sync`]. A later write to the
    /// same id begins a new log.
    pub fn remove_group(&mut self, group: GroupId) -> io::Result<()> {
        self.check()?;
        let written =
            self.append_record(&Record::of(Kind::Remove, group)).and_then(|_| self.log.write());
        self.index.write().remove(group);
        self.guard(written)
    }

    /// For a moment without work: notes in the log that all of it is durable, so that damage to its
    /// last records is told from a torn tail. Costs a small write and no sync.
    pub fn idle(&mut self) -> io::Result<()> {
        self.check()?;
        let marked = self.log.mark_durable();
        self.guard(marked)
    }

    /// A way to read that any thread may have.
    #[must_use]
    pub fn reader(&self) -> WalReader {
        WalReader { index: Arc::clone(&self.index), records: self.log.reader() }
    }

    /// A way to make segments ahead of need, for another thread.
    #[must_use]
    pub fn spares(&self) -> Spares {
        self.log.spares()
    }

    /// What the log consists of.
    #[must_use]
    pub fn stats(&self) -> WalStats {
        let segments = self.log.segments();
        WalStats {
            segment_count: segments.len(),
            spare_count: self.log.spares().ready_count(),
            first_segment: segments.first().map_or(0, |segment| segment.number),
            last_segment: segments.last().map_or(0, |segment| segment.number),
            group_count: self.index.read().groups.len(),
        }
    }

    /// The error that closed the log, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<WalFailed> {
        self.failed
    }

    fn append_persist(&mut self, id: GroupId, persist: &Persist) -> io::Result<()> {
        self.check_order(id, persist);
        let parts = split(&persist.entries, self.part_bytes_max());
        let cut_from = persist.entries.first().map_or(0, |entry| entry.id.index.0);
        let mut placed = Vec::with_capacity(parts.len());
        for (at, entries) in parts.iter().enumerate() {
            let is_last = at + 1 == parts.len();
            let record = Record {
                is_first: at == 0,
                is_last,
                cut_from,
                mark: persist.mark.clone().filter(|_| is_last),
                hard_state: persist.hard_state.filter(|_| is_last),
                entries: entries.to_vec(),
                ..Record::of(Kind::Persist, id)
            };
            placed.push((self.append_record(&record)?, *entries));
        }
        let change = Change {
            mark: persist.mark.as_ref(),
            hard_state: persist.hard_state,
            cut_from,
            placed: &placed,
        };
        self.index.write().apply(id, &change);
        Ok(())
    }

    /// A hole in a log or a mark that goes back is a bug of the caller, and the time to stop is
    /// before it is on the disk.
    fn check_order(&self, id: GroupId, persist: &Persist) {
        let index = self.index.read();
        let group = index.groups.get(&id);
        let mut mark = group.map_or(LogIndex(0), |group| group.mark.last.index);
        let mut last = group.map_or(LogIndex(0), |group| group.last().index);
        if let Some(write) = &persist.mark {
            let new = write.mark.last.index;
            assert!(new >= mark, "the mark of group {} goes back from {mark} to {new}", id.0);
            mark = new;
            last = if write.reset { new } else { last.max(new) };
        }
        let Some(first) = persist.entries.first() else { return };
        assert!(
            mark < first.id.index && first.id.index <= last.next(),
            "entry {} of group {} does not follow a log that goes from {mark} to {last}",
            first.id,
            id.0
        );
        assert!(
            persist.entries.windows(2).all(|pair| pair[0].id.index.next() == pair[1].id.index),
            "the entries of a persist are consecutive"
        );
    }

    fn append_record(&mut self, record: &Record) -> io::Result<seglog::Position> {
        self.scratch.clear();
        record.encode(&mut self.scratch);
        self.appended_bytes += self.scratch.len() as u64;
        self.log.append(&[&self.scratch])
    }

    fn part_bytes_max(&self) -> usize {
        let segment = self.options.segment_bytes as usize;
        PART_BYTES_MAX.min(segment / 4)
    }

    /// After a sync, when everything that was written counts: gives up segments that nobody needs,
    /// and works on freeing the oldest one.
    fn tidy(&mut self) -> io::Result<()> {
        let segments = self.log.segments();
        let mut count = segments.len();
        for segment in segments.iter().filter(|segment| segment.sealed) {
            if self.index.read().live.contains_key(&segment.number) {
                if count > self.options.segments_max {
                    self.copy_forward(segment.number)?;
                }
                break;
            }
            if segment.number >= self.states_from {
                // Released after the sync that makes these records durable.
                self.write_states()?;
                break;
            }
            self.log.release(segment.number)?;
            count -= 1;
        }
        Ok(())
    }

    /// Writes mark and hard state of every group again.
    fn write_states(&mut self) -> io::Result<()> {
        let begin = self.log.end().segment;
        let record = |(id, group): (&GroupId, &Group)| Record {
            mark: Some(MarkWrite { mark: group.mark.clone().into(), reset: false }),
            hard_state: Some(group.hard_state),
            ..Record::of(Kind::State, *id)
        };
        let records: Vec<Record> = self.index.read().groups.iter().map(record).collect();
        for record in &records {
            self.append_record(record)?;
        }
        self.states_from = begin;
        self.log.write()
    }

    /// Copies some of what is live in the oldest segment to the end of the log.
    fn copy_forward(&mut self, segment: u64) -> io::Result<()> {
        if self.copies.is_empty() && !self.plan_copies(segment) {
            return Ok(());
        }
        let reader = self.reader();
        let mut copied = Vec::new();
        let mut copied_bytes = 0;
        while copied_bytes < COPY_BYTES_AT_ONCE
            && let Some((id, first)) = self.copies.pop_front()
        {
            // The run may have been cut since it was planned; what is not in the segment any more
            // needs no copy.
            let run = {
                let index = self.index.read();
                let runs = index.groups.get(&id).map(|group| &group.runs);
                runs.and_then(|runs| {
                    let mut at = runs.range(first, first + 1);
                    at.next().map(|(first, run)| (first, *run))
                })
            };
            let Some((first, run)) = run.filter(|(_, run)| run.position.segment == segment) else {
                continue;
            };
            let entries = reader.entries(id, LogIndex(first), LogIndex(run.end), usize::MAX)?;
            for part in split(&entries, self.part_bytes_max()) {
                let record = Record { entries: part.to_vec(), ..Record::of(Kind::Copy, id) };
                let position = self.append_record(&record)?;
                copied_bytes += position.len_bytes as usize;
                copied.push((id, position, record.entries));
            }
        }
        self.log.write()?;
        // Not before: a reader that finds nothing at a new place takes the entries for such as are
        // not written yet, and these have long been durable.
        let mut index = self.index.write();
        for (id, position, entries) in &copied {
            index.copy(*id, *position, entries);
        }
        Ok(())
    }

    /// Lists what is live in a segment; `false` if it is too much to copy.
    fn plan_copies(&mut self, segment: u64) -> bool {
        let index = self.index.read();
        let mut bytes = 0_u64;
        for (id, group) in &index.groups {
            for (first, run) in group.runs.iter().filter(|(_, run)| run.position.segment == segment)
            {
                bytes += u64::from(run.position.len_bytes);
                self.copies.push_back((*id, first));
            }
        }
        if bytes > u64::from(self.options.segment_bytes) / 4 {
            self.copies.clear();
        }
        !self.copies.is_empty()
    }

    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |failed| Err(failed.into()))
    }

    fn guard(&mut self, result: io::Result<()>) -> io::Result<()> {
        result.map_err(|error| {
            let failed = WalFailed { kind: error.kind() };
            self.failed = Some(failed);
            failed.into()
        })
    }
}

/// Cuts entries into parts whose records stay below `bytes_max`, but for single entries that do
/// not. At least one part, which may be empty.
fn split(entries: &[Entry], bytes_max: usize) -> Vec<&[Entry]> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let mut bytes = FIXED_BYTES;
    for (at, entry) in entries.iter().enumerate() {
        let size = codec::entry_bytes(entry);
        if at > begin && bytes + size > bytes_max {
            parts.push(&entries[begin..at]);
            begin = at;
            bytes = FIXED_BYTES;
        }
        bytes += size;
    }
    parts.push(&entries[begin..]);
    parts
}
