//! The machine: applies entries, and owns the revision log that makes them durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use env::{Disk, Moment};
use host::{CommittedEntry, SnapshotSource, StateMachine};
use raft::EntryId;

use crate::batch::BatchBuilder;
use crate::codec::{LogRecord, Part};
use crate::error::RequestError;
use crate::execute::{Plan, plan, takes_space};
use crate::generation::{self, Generation};
use crate::index::Location;
use crate::measures::{self, Operations};
use crate::options::StoreOptions;
use crate::request::Command;
use crate::response::Response;
use crate::snapshot;
use crate::snapshot_check;
use crate::state::State;
use crate::store::{READ_ATTEMPTS, Shared, Store, fetch};
use crate::view::{Fetched, Stop, Wanted};

/// Entries that are applied under one lock: readers wait for no more than these.
const ENTRIES_PER_LOCK: usize = 64;

/// And no more bytes of commands than these.
const BYTES_PER_LOCK: usize = 1 << 20;

/// Batches between two counts of garbage.
const BATCHES_PER_COUNT: u32 = 32;

/// The store as the replicated state machine that the applier owns.
#[derive(Debug)]
pub struct StoreMachine {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: StoreOptions,
    shared: Arc<Shared>,
    generation: Generation,
    /// As of the last count.
    garbage_bytes: u64,
    batches_unpublished: u32,
    /// If time is taken: from the end of the command before, so that what this one waits for, such
    /// as a lock or a value on disk, is in it.
    command_begun: Option<Moment>,
}

/// For the counts: a kind of command, and what it did to keys.
type Done = (usize, Operations);

/// How one entry went.
enum Applied {
    Answer(Result<Response, RequestError>, Done),
    /// These values are needed first.
    Missing(Vec<Wanted>),
}

impl StoreMachine {
    /// Opens the store in `dir`, or makes one. The caller holds the folder's lock.
    ///
    /// # Errors
    /// What the disk said; [`io::ErrorKind::InvalidData`] for damage.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: StoreOptions,
    ) -> io::Result<(Self, Store)> {
        let number = generation::current(&*disk, dir)?;
        let (generation, state) = Generation::open(&disk, dir, number, &options)?;
        let shared = Arc::new(Shared::new(state, generation.log.spares()));
        shared.sizes.quota_bytes.store(options.quota_bytes, Ordering::Relaxed);
        let mut machine = Self {
            disk,
            dir: dir.to_owned(),
            options,
            shared: Arc::clone(&shared),
            generation,
            garbage_bytes: 0,
            batches_unpublished: 0,
            command_begun: None,
        };
        machine.publish_sizes();
        Ok((machine, Store { shared }))
    }

    /// A read handle.
    #[must_use]
    pub fn store(&self) -> Store {
        Store { shared: Arc::clone(&self.shared) }
    }

    /// Writes a checkpoint of the index now, so that the next start is quick: for an orderly end.
    /// Without it flushes make checkpoints as records pile up.
    ///
    /// # Errors
    /// What the disk said; the node then stops.
    pub fn checkpoint(&mut self) -> io::Result<()> {
        self.generation.checkpoint_now(&self.shared)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Appends a record that no entry caused, and does what it says. `before` sees the state first.
    pub(crate) fn append(
        &mut self,
        record: LogRecord,
        bytes: usize,
        before: impl FnOnce(&mut State, &LogRecord),
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.generation.make_room(bytes)?;
        let parts = self.generation.append(&record)?;
        {
            let mut state = shared.state.write();
            before(&mut state, &record);
            state.commit(record, &parts, None);
        }
        if self.generation.write_is_due() {
            self.generation.write(&shared)?;
        }
        if shared.has_work() {
            shared.maintain();
        }
        Ok(())
    }

    /// Appends a record that says nothing; returns where it is.
    pub(crate) fn append_empty(&mut self, record: &LogRecord) -> io::Result<Location> {
        Ok(self.generation.append(record)?.first.location)
    }

    fn publish_sizes(&mut self) {
        self.batches_unpublished = 0;
        self.garbage_bytes = self.generation.garbage_bytes(&self.shared.state.read());
        let on_disk = self.generation.on_disk_bytes();
        self.shared.sizes.publish(on_disk, self.garbage_bytes);
    }

    /// What is garbage changes slowly, and counting it takes a look at every segment.
    fn publish_some_sizes(&mut self) {
        self.batches_unpublished += 1;
        if self.batches_unpublished >= BATCHES_PER_COUNT {
            self.publish_sizes();
        } else {
            self.shared.sizes.publish(self.generation.on_disk_bytes(), self.garbage_bytes);
        }
    }

    /// Applies entries under one lock, until enough are done or a value must be fetched first.
    /// Returns how many were done.
    fn apply_locked(
        &mut self,
        entries: &[CommittedEntry],
        fetched: &Fetched,
        batch: &mut BatchBuilder,
        responses: &mut Vec<Result<Response, RequestError>>,
    ) -> io::Result<(usize, Vec<Wanted>)> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.write();
        batch.note_revision(state.revision);
        let done = self.apply_some(&mut state, entries, fetched, batch, responses);
        batch.note_revision(state.revision);
        done
    }

    fn apply_some(
        &mut self,
        state: &mut State,
        entries: &[CommittedEntry],
        fetched: &Fetched,
        batch: &mut BatchBuilder,
        responses: &mut Vec<Result<Response, RequestError>>,
    ) -> io::Result<(usize, Vec<Wanted>)> {
        let mut bytes = 0;
        for (done, entry) in entries.iter().enumerate() {
            assert!(
                entry.id.index.0 == state.applied.index.0 + 1,
                "entries are applied in order and once: {:?} after {:?}",
                entry.id,
                state.applied
            );
            let Some(command) = &entry.command else {
                state.applied = entry.id;
                continue;
            };
            bytes += command.len();
            match self.apply_command(state, entry.id, command, fetched, batch)? {
                Applied::Answer(answer, (kind, operations)) => {
                    self.shared.measures.count(operations);
                    let begun = self.command_begun;
                    self.command_begun = self.shared.measures.ended(kind, answer.is_ok(), begun);
                    responses.push(answer);
                }
                Applied::Missing(missing) => return Ok((done, missing)),
            }
            if done + 1 == ENTRIES_PER_LOCK || bytes >= BYTES_PER_LOCK {
                return Ok((done + 1, Vec::new()));
            }
        }
        Ok((entries.len(), Vec::new()))
    }

    fn apply_command(
        &mut self,
        state: &mut State,
        id: EntryId,
        command: &bytes::Bytes,
        fetched: &Fetched,
        batch: &mut BatchBuilder,
    ) -> io::Result<Applied> {
        let mut kind = measures::UNKNOWN;
        let planned = match Command::decode(command.clone()) {
            Ok((who, command)) => {
                kind = measures::kind(&command);
                plan(state, who.as_ref(), &command, fetched).map(|plan| (plan, command))
            }
            Err(error) => Err(Stop::Refused(error)),
        };
        let (Plan { ops, response, place, operations }, command) = match planned {
            Ok(planned) => planned,
            Err(Stop::Missing(missing)) => return Ok(Applied::Missing(missing)),
            Err(Stop::Refused(error)) => {
                state.applied = id;
                return Ok(Applied::Answer(Err(error), (kind, Operations::default())));
            }
        };
        if let Command::Auth(command) = &command {
            self.shared.note_sign_in(id.index.0, command);
        }
        if ops.is_empty() {
            state.applied = id;
            return Ok(Applied::Answer(Ok(response), (kind, operations)));
        }
        batch.add(state, fetched, &ops);
        ops.iter().for_each(|op| self.shared.note_lease_change(op));
        let revision = state.revision + i64::from(ops.iter().any(|op| op.changes_key()));
        let record = LogRecord { id, revision, part: Part::WHOLE, ops };
        let parts = self.generation.append(&record)?;
        state.commit(record, &parts, place);
        if matches!(command, Command::Auth(_)) {
            self.shared.publish_auth(state.auth.status());
        }
        // As etcd: the write that crosses the quota is done, and answered as if it were not. The
        // state stays a function of the log alone, although sizes differ between replicas.
        if takes_space(&command) && self.is_over_quota() {
            return Ok(Applied::Answer(Err(RequestError::NoSpace), (kind, operations)));
        }
        Ok(Applied::Answer(Ok(response), (kind, operations)))
    }

    fn is_over_quota(&self) -> bool {
        let quota = self.options.quota_bytes;
        quota > 0 && self.generation.on_disk_bytes() > quota
    }

    /// Reads values for the entry that waits for them, without a lock.
    fn fetch(&mut self, missing: &[Wanted], fetched: &mut Fetched) -> io::Result<()> {
        let reader = self.generation.log.reader();
        // Only this thread releases segments, so there is nothing to try again.
        fetch(&reader, missing, fetched)
    }
}

impl StateMachine for StoreMachine {
    type Response = Result<Response, RequestError>;

    fn applied(&self) -> EntryId {
        self.shared.state.read().applied
    }

    fn apply(
        &mut self,
        mut entries: &[CommittedEntry],
        responses: &mut Vec<Self::Response>,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut batch = BatchBuilder::new(shared.hub.wants());
        let mut fetched = Fetched::new();
        let mut attempts = 0;
        self.command_begun = shared.measures.now();
        while !entries.is_empty() {
            let bytes: usize = entries
                .iter()
                .take(ENTRIES_PER_LOCK)
                .map(|entry| entry.command.as_ref().map_or(0, |command| 64 + 2 * command.len()))
                .sum();
            self.generation.make_room(bytes.min(2 * BYTES_PER_LOCK))?;
            let (done, missing) = self.apply_locked(entries, &fetched, &mut batch, responses)?;
            entries = &entries[done..];
            attempts = if done > 0 { 0 } else { attempts + 1 };
            if done > 0 {
                fetched.clear();
            }
            if !missing.is_empty() {
                if attempts > READ_ATTEMPTS {
                    return Err(io::Error::other("values for an entry could not be brought"));
                }
                self.fetch(&missing, &mut fetched)?;
            }
        }
        if self.generation.write_is_due() {
            self.generation.write(&shared)?;
        }
        if let Some(batch) = batch.finish() {
            shared.hub.publish(&batch);
        }
        if shared.has_work() {
            shared.maintain();
        }
        self.generation.work(&shared)?;
        self.publish_some_sizes();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<EntryId> {
        let begun = self.shared.measures.now();
        let applied = self.generation.flush(&self.shared)?;
        self.shared.measures.add_since(begun, &self.shared.measures.commit_times);
        self.publish_sizes();
        Ok(applied)
    }

    fn maintain(&mut self) -> io::Result<bool> {
        let more = self.shared.maintain();
        self.generation.work(&self.shared)?;
        self.generation.release_some(&self.shared)?;
        if !more {
            let is_over_quota = self.is_over_quota();
            self.generation.reclaim(&self.shared, is_over_quota)?;
        }
        self.generation.prepare_segment();
        self.publish_sizes();
        Ok(more || self.generation.has_work())
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.checkpoint()
    }

    fn snapshot(&mut self) -> io::Result<Box<dyn SnapshotSource>> {
        let applied = self.generation.mark_applied(&self.shared)?;
        Ok(Box::new(snapshot::Source::pin(&self.generation, applied)?))
    }

    fn check_snapshot(source: &mut dyn SnapshotSource) -> io::Result<()> {
        snapshot_check::check(source)
    }

    fn restore(&mut self, last: EntryId, source: &mut dyn SnapshotSource) -> io::Result<()> {
        let number = self.generation.number + 1;
        snapshot::receive(&*self.disk, &generation::dir_of(&self.dir, number), source)?;
        let (generation, state) = Generation::open(&self.disk, &self.dir, number, &self.options)?;
        if state.applied != last {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a snapshot of {last} has the state of {}", state.applied),
            ));
        }
        snapshot::verify(&generation)?;
        generation::make_current(&*self.disk, &self.dir, number)?;
        let revision = state.revision;
        let auth = state.auth.status();
        *self.shared.state.write() = state;
        // Who signed in elsewhere, and whose password was changed since, is not in a snapshot.
        self.shared.tokens.lock().clear();
        self.shared.publish_auth(auth);
        {
            let mut sweep = self.shared.sweep.lock();
            sweep.restart();
            self.shared.swept_revision.store(i64::MIN, Ordering::Release);
        }
        self.shared.reload_leases();
        *self.shared.spares.lock() = generation.log.spares();
        let old = std::mem::replace(&mut self.generation, generation);
        self.shared.hub.jump(revision);
        drop(old);
        generation::remove_others(&*self.disk, &self.dir, number)?;
        self.publish_sizes();
        Ok(())
    }
}
