//! A generation: one folder with the revision log and the checkpoint of the index. A restored
//! snapshot is a new generation; `CURRENT` names the one in force.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use env::{Disk, OpenMode};
use raft::EntryId;
use seglog::{Position, SegmentLog};

use crate::checkpoint::{self, Checkpoint, CheckpointJob};
use crate::codec::{Encoder, LogRecord, Part, encode_record};
use crate::index::Location;
use crate::mover::Mover;
use crate::options::StoreOptions;
use crate::state::{PartLocation, Parts, State};
use crate::store::{Shared, decode};

const CURRENT: &str = "CURRENT";
const CURRENT_NEW: &str = "CURRENT.new";
const FOLDER_PREFIX: &str = "generation-";

/// A checkpoint begins after this many times the bytes of the last one, so that checkpoints cost a
/// quarter of a byte per byte written.
const CHECKPOINT_RATIO: u64 = 4;

/// Records wait in memory until there are this many bytes of them: a system call per batch would
/// cost more than all else about it. The Raft log makes up for what a crash then loses.
const UNWRITTEN_BYTES_MAX: u64 = 256 << 10;
/// And no more than this share of a segment, so that small stores have little waiting.
const UNWRITTEN_SEGMENT_SHARE: u64 = 16;

/// Segments that one step gives back.
const RELEASES_PER_STEP: usize = 4;

/// Everything on disk.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) dir: PathBuf,
    pub(crate) log: SegmentLog,
    pub(crate) checkpoint: Option<Checkpoint>,
    disk: Arc<dyn Disk>,
    options: StoreOptions,
    /// The entry of the last record.
    logged: EntryId,
    sealed_bytes: u64,
    current_segment: u64,
    bytes_since_checkpoint: u64,
    unwritten_bytes: u64,
    /// The current segment and the compaction swept last when the mover found nothing to do.
    looked_at: Option<(u64, i64)>,
    /// Segments without live values, as of the last flush.
    to_release: Vec<u64>,
    job: Option<CheckpointJob>,
    mover: Mover,
    encoder: Encoder,
}

pub(crate) fn dir_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{FOLDER_PREFIX}{number:010}"))
}

/// The generation in force; makes the first one if there is none. Removes all others.
pub(crate) fn current(disk: &dyn Disk, dir: &Path) -> io::Result<u64> {
    disk.create_dir_all(dir)?;
    let path = dir.join(CURRENT);
    let number = if disk.exists(&path)? {
        read_current(disk, &path)?
    } else {
        make_current(disk, dir, 1)?;
        1
    };
    remove_others(disk, dir, number)?;
    Ok(number)
}

fn read_current(disk: &dyn Disk, path: &Path) -> io::Result<u64> {
    let file = disk.open(path, OpenMode::ReadOnly)?;
    let mut bytes = [0; 12];
    file.read_exact_at(&mut bytes, 0)?;
    let (number, crc) = bytes.split_at(8);
    if crc32c::crc32c(number).to_le_bytes() != crc {
        let text = format!("{} is damaged: restore the node from its peers", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut le = [0; 8];
    le.copy_from_slice(number);
    Ok(u64::from_le_bytes(le))
}

/// Switches to a generation whose files are all durable. A crash leaves the old or the new one.
pub(crate) fn make_current(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<()> {
    let new = dir.join(CURRENT_NEW);
    if disk.exists(&new)? {
        disk.remove_file(&new)?;
    }
    let file = disk.open(&new, OpenMode::CreateNew)?;
    let number = number.to_le_bytes();
    file.write_all_at(&number, 0)?;
    file.write_all_at(&crc32c::crc32c(&number).to_le_bytes(), 8)?;
    file.sync_data()?;
    disk.rename(&new, &dir.join(CURRENT))?;
    disk.sync_dir(dir)
}

/// Removes what a restore that did not come to its end, or the one before it, left.
pub(crate) fn remove_others(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<()> {
    let current = dir_of(dir, number);
    for name in disk.list(dir)? {
        let path = dir.join(&name);
        if name.starts_with(FOLDER_PREFIX) && path != current {
            disk.remove_dir_all(&path)?;
        }
    }
    Ok(())
}

impl Generation {
    /// Opens a generation: its newest checkpoint, and the records behind that.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        number: u64,
        options: &StoreOptions,
    ) -> io::Result<(Self, State)> {
        let parent = dir;
        let dir = dir_of(parent, number);
        disk.create_dir_all(&dir)?;
        disk.sync_dir(parent)?;
        let (checkpoint, loaded) = checkpoint::load(&**disk, &dir)?.unzip();
        let from = checkpoint.as_ref().map(|checkpoint: &Checkpoint| checkpoint.replay_from);
        let mut replay = Replay::new(options, loaded);
        let log_options = seglog::Options {
            segment_bytes: options.segment_bytes,
            spare_segments_max: 2,
            identity: LOG_IDENTITY,
            gaps_allowed: true,
        };
        let (log, _recovery) = SegmentLog::open(
            Arc::clone(disk),
            &dir,
            log_options,
            from,
            &mut |position, bytes: &[u8]| replay.visit(position, bytes),
        )
        .map_err(open_error)?;
        let replayed_bytes = replay.bytes;
        let state = replay.finish(log.reader());
        let mut generation = Self {
            number,
            dir,
            logged: state.applied,
            checkpoint,
            disk: Arc::clone(disk),
            options: options.clone(),
            sealed_bytes: 0,
            current_segment: 0,
            bytes_since_checkpoint: replayed_bytes,
            unwritten_bytes: 0,
            looked_at: None,
            to_release: Vec::new(),
            job: None,
            mover: Mover::default(),
            encoder: Encoder::default(),
            log,
        };
        generation.count_segments();
        Ok((generation, state))
    }

    /// Appends a record, in parts if it is large. It can be read after the next write.
    pub(crate) fn append(&mut self, record: &LogRecord) -> io::Result<Parts> {
        let bytes_max = (self.options.segment_bytes / 4) as usize;
        let first = self.append_part(record, 0, bytes_max)?;
        let mut parts = Parts::new(first);
        let mut from = first.ops;
        while from < record.ops.len() {
            let part = self.append_part(record, from, bytes_max)?;
            from += part.ops;
            parts.push(part);
        }
        self.logged = record.id;
        if self.log.end().segment != self.current_segment {
            self.count_segments();
        }
        Ok(parts)
    }

    fn append_part(
        &mut self,
        record: &LogRecord,
        from: usize,
        bytes_max: usize,
    ) -> io::Result<PartLocation> {
        self.encoder.bytes.clear();
        let ops = encode_record(&mut self.encoder, record, from, bytes_max);
        let position = self.log.append(&[&self.encoder.bytes])?;
        self.bytes_since_checkpoint += u64::from(position.len_bytes);
        self.unwritten_bytes += u64::from(position.len_bytes);
        Ok(PartLocation { location: Location::of(position), ops })
    }

    /// Whether enough waits to be worth a write.
    pub(crate) fn write_is_due(&self) -> bool {
        let segment = u64::from(self.options.segment_bytes);
        self.unwritten_bytes >= UNWRITTEN_BYTES_MAX.min(segment / UNWRITTEN_SEGMENT_SHARE)
    }

    /// Hands all records to the operating system; readers then have them from the file.
    pub(crate) fn write(&mut self, shared: &Shared) -> io::Result<()> {
        self.log.write()?;
        if self.unwritten_bytes > 0 {
            self.unwritten_bytes = 0;
            let written = shared.state.write().mark_written();
            drop(written);
        }
        Ok(())
    }

    fn count_segments(&mut self) {
        let segments = self.log.segments();
        self.sealed_bytes =
            segments.iter().filter(|s| s.sealed).map(|s| u64::from(s.len_bytes)).sum();
        self.current_segment = self.log.end().segment;
    }

    /// Bytes of the log.
    pub(crate) fn on_disk_bytes(&self) -> u64 {
        self.sealed_bytes + u64::from(self.log.end().offset)
    }

    /// Bytes of the log that are garbage.
    pub(crate) fn garbage_bytes(&self, state: &State) -> u64 {
        let mut garbage = 0;
        for (number, usage) in &state.segments {
            if u64::from(*number) < self.current_segment && usage.total > 0 {
                let share = self.options.segment_bytes as u64 * (usage.total - usage.live);
                garbage += share / usage.total;
            }
        }
        garbage
    }

    /// Goes to the next segment if this one may not have room, while nobody holds a lock.
    pub(crate) fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let end = u64::from(self.log.end().offset) + bytes as u64;
        // A segment that is hardly begun is not worth ending; then append does it.
        if end > u64::from(self.options.segment_bytes)
            && self.log.end().offset > self.options.segment_bytes / 2
        {
            self.log.roll()?;
            self.count_segments();
        }
        Ok(())
    }

    /// Logs how far apply has come, if the last entries changed nothing. Returns that entry. The
    /// record can be read afterwards.
    pub(crate) fn mark_applied(&mut self, shared: &Shared) -> io::Result<EntryId> {
        let (applied, revision) = {
            let state = shared.state.read();
            (state.applied, state.revision)
        };
        if self.logged != applied {
            let marker = LogRecord { id: applied, revision, part: Part::WHOLE, ops: Vec::new() };
            self.append(&marker)?;
        }
        self.write(shared)?;
        Ok(applied)
    }

    /// Makes what is applied durable.
    pub(crate) fn flush(&mut self, shared: &Shared) -> io::Result<EntryId> {
        let applied = self.mark_applied(shared)?;
        self.log.sync()?;
        self.begin_checkpoint_if_due(shared);
        self.release_segments(shared)?;
        Ok(applied)
    }

    fn begin_checkpoint_if_due(&mut self, shared: &Shared) {
        let last_bytes = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.len_bytes);
        let due_bytes = self.options.checkpoint_bytes_min.max(last_bytes * CHECKPOINT_RATIO);
        let has_garbage = self.mover.has_garbage()
            && self.bytes_since_checkpoint >= u64::from(self.options.segment_bytes / 4);
        if self.job.is_none() && (self.bytes_since_checkpoint >= due_bytes || has_garbage) {
            self.begin_checkpoint(shared);
        }
    }

    fn begin_checkpoint(&mut self, shared: &Shared) {
        let number = self.checkpoint.as_ref().map_or(1, |checkpoint| checkpoint.number + 1);
        self.job = Some(CheckpointJob::begin(number, self.log.end(), &shared.state.read()));
        self.bytes_since_checkpoint = 0;
    }

    /// A bounded piece of what waits: the checkpoint, the emptying of segments. Behind each batch.
    pub(crate) fn work(&mut self, shared: &Shared) -> io::Result<()> {
        if let Some(job) = &mut self.job {
            if job.step(&*self.disk, &self.dir, shared)? {
                // The checkpoint names records up to now, so these must be durable before it is.
                self.log.sync()?;
                let job = self.job.take().expect("it has just made a step");
                self.checkpoint = Some(job.finish(&*self.disk, &self.dir)?);
            }
            return Ok(());
        }
        self.empty_segments(shared)
    }

    /// Whether a checkpoint is being written, which [`Generation::work`] goes on with, or segments
    /// wait for their release.
    pub(crate) fn has_work(&self) -> bool {
        self.job.is_some() || !self.to_release.is_empty() || self.mover.is_busy()
    }

    /// For an idle moment: lets empty segments go, and begins the checkpoint that they wait for
    /// once they hold more than it will take. While the quota is used up it begins for any of them:
    /// writes are refused then, and no later write would bring the space back.
    pub(crate) fn reclaim(&mut self, shared: &Shared, is_over_quota: bool) -> io::Result<()> {
        if self.has_work() || self.empty_bytes(shared) == 0 {
            return Ok(());
        }
        // Not for segments that still wait for a checkpoint: this is behind every batch.
        if !self.releasable(shared).is_empty() {
            // What emptied them, moved values and the compaction itself, may not be durable yet.
            self.mark_applied(shared)?;
            self.log.sync()?;
            self.release_segments(shared)?;
        }
        let waiting_bytes = self.empty_bytes(shared);
        let last_bytes = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.len_bytes);
        let is_due = waiting_bytes > last_bytes || (is_over_quota && waiting_bytes > 0);
        if self.to_release.is_empty() && is_due {
            self.begin_checkpoint(shared);
        }
        Ok(())
    }

    /// Bytes of the sealed segments that nothing points to any more.
    fn empty_bytes(&mut self, shared: &Shared) -> u64 {
        let count = self.mover.empty_segments(&self.log, &shared.state.read()).len();
        count as u64 * u64::from(self.options.segment_bytes)
    }

    /// For an idle moment: makes the file of the next segment when this one comes to its end. A
    /// full disk is no error yet.
    pub(crate) fn prepare_segment(&self) {
        if self.log.end().offset > self.options.segment_bytes / 4 * 3 {
            let _tried_again_at_the_end = self.log.spares().prepare();
        }
    }

    fn finish_checkpoint(&mut self, shared: &Shared) -> io::Result<()> {
        while self.job.is_some() {
            self.work(shared)?;
        }
        Ok(())
    }

    fn empty_segments(&mut self, shared: &Shared) -> io::Result<()> {
        // Segments become garbage by a sweep, and only sealed ones can be emptied.
        let now = (self.current_segment, shared.swept_revision.load(Ordering::Acquire));
        let is_sweeping = now.1 < shared.state.read().compact_revision;
        if !is_sweeping && !self.mover.is_busy() && self.looked_at == Some(now) {
            return Ok(());
        }
        self.looked_at = Some(now).filter(|_| !is_sweeping);
        let Some(record) = self.mover.step(&self.log, shared)? else { return Ok(()) };
        let parts = self.append(&record)?;
        // Readers find the values at the new place as soon as the state says so.
        self.write(shared)?;
        shared.state.write().commit(record, &parts, None);
        Ok(())
    }

    /// Gives back segments without live values. The caller has synced the log, so that what moved
    /// out of them is durable; and recovery begins behind them.
    fn release_segments(&mut self, shared: &Shared) -> io::Result<()> {
        self.to_release = self.releasable(shared);
        self.release_some(shared)
    }

    /// Segments without live values that recovery does not need.
    fn releasable(&mut self, shared: &Shared) -> Vec<u64> {
        let Some(checkpoint) = &self.checkpoint else { return Vec::new() };
        let replay_from = checkpoint.replay_from.segment;
        let mut empty = self.mover.empty_segments(&self.log, &shared.state.read());
        empty.retain(|number| *number < replay_from);
        empty
    }

    /// Each takes a sync of the folder, so not all at once. A segment that was empty stays empty:
    /// values move to the current one alone.
    pub(crate) fn release_some(&mut self, shared: &Shared) -> io::Result<()> {
        for _ in 0..RELEASES_PER_STEP {
            let Some(number) = self.to_release.pop() else { break };
            let segment = u32::try_from(number).expect("a location had it in 32 bits");
            shared.state.write().segments.remove(&segment);
            self.log.release(number)?;
        }
        self.count_segments();
        self.looked_at = None;
        Ok(())
    }

    /// Begins a checkpoint now and brings it to its end.
    pub(crate) fn checkpoint_now(&mut self, shared: &Shared) -> io::Result<()> {
        self.finish_checkpoint(shared)?;
        self.mark_applied(shared)?;
        self.bytes_since_checkpoint = u64::MAX;
        self.begin_checkpoint_if_due(shared);
        self.finish_checkpoint(shared)
    }
}

/// Says that a segment is of a revision log, and not of the Raft log.
const LOG_IDENTITY: u64 = u64::from_le_bytes(*b"revision");

fn open_error(error: seglog::OpenError<io::Error>) -> io::Error {
    match error {
        seglog::OpenError::Io(error) => error,
        seglog::OpenError::Damage(damage) => io::Error::new(io::ErrorKind::InvalidData, damage),
        seglog::OpenError::Visit(error) => error,
        // The enum may grow; whatever it is, the log cannot be used.
        other => io::Error::other(format!("the revision log cannot be opened: {other:?}")),
    }
}

/// Recovery: records on their way from the log into the state.
struct Replay {
    options: StoreOptions,
    loaded: Option<checkpoint::Loaded>,
    /// Records and where they are; a record of several parts waits here for its last one, since
    /// without it the entry was not applied.
    parts: Option<(LogRecord, Parts)>,
    state: Option<State>,
    bytes: u64,
}

impl Replay {
    fn new(options: &StoreOptions, loaded: Option<checkpoint::Loaded>) -> Self {
        Self { options: options.clone(), loaded, parts: None, state: None, bytes: 0 }
    }

    fn state(&mut self) -> &mut State {
        if self.state.is_none() {
            let budget = usize::try_from(self.options.memory_budget_bytes).unwrap_or(usize::MAX);
            let mut state = State::new(budget);
            if let Some(loaded) = self.loaded.take() {
                loaded.into_state(&mut state);
            }
            state.replaying = true;
            self.state = Some(state);
        }
        self.state.as_mut().expect("it was made above")
    }

    fn visit(&mut self, position: Position, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        let part = decode(Bytes::copy_from_slice(bytes))?;
        let Part { continues, more, .. } = part.part;
        let location = PartLocation { location: Location::of(position), ops: part.ops.len() };
        let (record, parts) = match self.parts.take() {
            Some((mut record, mut parts)) if continues => {
                record.ops.extend(part.ops);
                parts.push(location);
                (record, parts)
            }
            // Recovery may begin in the middle of an entry, which a checkpoint then has.
            _ if continues => return Ok(()),
            _ => (part, Parts::new(location)),
        };
        if more {
            self.parts = Some((record, parts));
        } else {
            self.state().commit(record, &parts, None);
        }
        Ok(())
    }

    fn finish(mut self, reader: seglog::Reader) -> State {
        self.state();
        let mut state = self.state.take().expect("it was made above");
        state.reader = Some(reader);
        state.finish_replay();
        state
    }
}
