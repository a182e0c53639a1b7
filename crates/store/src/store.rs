//! The read handle, and what it shares with the machine.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use env::Clock;
use parking_lot::{Mutex, RwLock};
use seglog::{Reader, Spares};

use crate::auth::{Principal, Tokens};
use crate::codec::{LogOp, LogRecord, decode_record};
use crate::error::RequestError;
use crate::execute::resolve_revision;
use crate::hash::{HashStep, KeyHash, hash_tables};
use crate::index::Location;
use crate::measures::Measures;
use crate::request::{
    AlarmMember, ClusterVersion, LeaseId, MemberAttributes, RangeRequest, TxnRequest,
};
use crate::response::{RangeResponse, TxnResponse};
use crate::state::{Lease, State};
use crate::sweep::Sweep;
use crate::view::{Fetched, Stop, Wanted};
use crate::watch::{Hub, OnReady, WatchStream};

/// A lease as the replicated state knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its name.
    pub id: LeaseId,
    /// Seconds granted.
    pub ttl: i64,
    /// Seconds that it had left at the last checkpoint; `ttl` without one.
    pub remaining_ttl: i64,
}

/// A change to the set of leases, for the [`Lessor`](crate::Lessor).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// A new lease.
    Granted {
        /// Its name.
        id: LeaseId,
        /// Its time to live in seconds.
        ttl: i64,
    },
    /// A lease that is gone.
    Revoked {
        /// Its name.
        id: LeaseId,
    },
}

/// What happened to the set of leases since it was asked last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseChanges {
    /// These, in order.
    Changes(Vec<LeaseChange>),
    /// Too much to tell, or the state was replaced: read all of them.
    Reload,
}

/// Numbers for `Status`, metrics and people.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StoreStatus {
    /// The current revision.
    pub revision: i64,
    /// The compacted revision; −1 if there was no compaction.
    pub compact_revision: i64,
    /// Index of the last entry applied.
    pub applied_index: u64,
    /// Keys that exist.
    pub key_count: u64,
    /// Leases that exist.
    pub lease_count: u64,
    /// Bytes of the segments on disk: `dbSize`.
    pub size_bytes: u64,
    /// Bytes of them that are not garbage: `dbSizeInUse`.
    pub size_in_use_bytes: u64,
    /// Bytes of values and keys in memory.
    pub memory_bytes: u64,
    /// Watchers.
    pub watcher_count: u64,
    /// Watchers that are behind.
    pub slow_watcher_count: u64,
    /// Watch streams.
    pub watch_stream_count: u64,
    /// Events delivered to streams since the start.
    pub events_total: u64,
    /// Messages that wait in streams.
    pub pending_message_count: u64,
}

/// Answer to [`Store::hash_kv`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// The hash of all that can be read between the two revisions.
    pub hash: u32,
    /// The compacted revision; −1 if there was no compaction.
    pub compact_revision: i64,
    /// The revision that was hashed.
    pub hash_revision: i64,
    /// The current revision, for the header.
    pub revision: i64,
}

/// What the read handles and the machine share.
///
/// No lock is held across a read of the disk: see [`Shared::read_with`].
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: RwLock<State>,
    pub(crate) hub: Hub,
    pub(crate) sizes: Sizes,
    pub(crate) sweep: Mutex<Sweep>,
    /// The last compaction whose sweep is finished, so that nobody takes locks to find no work.
    pub(crate) swept_revision: AtomicI64,
    pub(crate) spares: Mutex<Spares>,
    lease_changes: Mutex<LeaseSubscription>,
    /// Packed: see [`Store::auth_status`].
    pub(crate) auth_status: AtomicU64,
    pub(crate) tokens: Mutex<Tokens>,
    pub(crate) measures: Measures,
}

/// Sizes that the machine tells.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) on_disk_bytes: AtomicU64,
    pub(crate) in_use_bytes: AtomicU64,
    pub(crate) quota_bytes: AtomicU64,
}

#[derive(Debug, Default)]
enum LeaseSubscription {
    #[default]
    None,
    Changes(Vec<LeaseChange>),
    Reload,
}

/// Reads that find their segment released are made anew this often: each time a compaction must
/// have finished in between, so more is a fault.
pub(crate) const READ_ATTEMPTS: usize = 8;

/// Reads a record with all its parts.
pub(crate) fn read_record(reader: &Reader, location: Location) -> io::Result<LogRecord> {
    let mut record = decode(reader.read(location.position())?)?;
    if record.part.more {
        let parts = reader.scan(Some(location.position())).skip(1);
        for part in parts {
            let (_, bytes) = part?;
            let part = decode(bytes)?;
            record.ops.extend(part.ops);
            if !part.part.more {
                break;
            }
        }
    }
    Ok(record)
}

pub(crate) fn decode(bytes: Bytes) -> io::Result<LogRecord> {
    decode_record(bytes).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, "a record of the revision log is malformed")
    })
}

fn read_value(reader: &Reader, wanted: &Wanted) -> io::Result<Bytes> {
    let bytes = reader.read(wanted.location.position())?;
    let record_bytes = bytes.len();
    value_in(decode(bytes)?, wanted).map(|value| alone(value, record_bytes))
}

/// One value, without the rest of its record if that is longer: a value of a large transaction
/// would keep all others in memory as long as its client does not read it.
fn alone(value: Bytes, record_bytes: usize) -> Bytes {
    if value.len() * 2 < record_bytes { Bytes::copy_from_slice(&value) } else { value }
}

fn value_in(record: LogRecord, wanted: &Wanted) -> io::Result<Bytes> {
    let mut sub = record.part.first_sub;
    for op in record.ops {
        match op {
            LogOp::Moved { value, mod_revision, sub, .. }
                if (mod_revision, sub) == (wanted.mod_revision, wanted.sub) =>
            {
                return Ok(value);
            }
            LogOp::Put { value, .. } => {
                if (record.revision, sub) == (wanted.mod_revision, wanted.sub) {
                    return Ok(value);
                }
                sub += 1;
            }
            LogOp::Delete { .. } => sub += 1,
            LogOp::Moved { .. }
            | LogOp::Lease { .. }
            | LogOp::LeaseRevoke { .. }
            | LogOp::Compact { .. }
            | LogOp::Alarm { .. }
            | LogOp::Downgrade { .. }
            | LogOp::Member(_)
            | LogOp::MemberRemove { .. }
            | LogOp::Auth(_) => {}
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a record lacks the value it should have"))
}

/// Reads values that are not in memory. Takes no lock of the state.
pub(crate) fn fetch(reader: &Reader, missing: &[Wanted], fetched: &mut Fetched) -> io::Result<()> {
    for wanted in missing {
        fetched.insert((wanted.mod_revision, wanted.sub), read_value(reader, wanted)?);
    }
    Ok(())
}

impl Shared {
    pub(crate) fn new(state: State, spares: Spares) -> Self {
        let hub = Hub::new(state.revision);
        let sweep = Mutex::new(Sweep::new(state.compact_revision));
        let auth = state.auth.status();
        Self {
            state: RwLock::new(state),
            hub,
            sizes: Sizes::default(),
            sweep,
            swept_revision: AtomicI64::new(i64::MIN),
            spares: Mutex::new(spares),
            lease_changes: Mutex::default(),
            auth_status: AtomicU64::new(auth.pack()),
            tokens: Mutex::default(),
            measures: Measures::default(),
        }
    }

    /// Reads the state; when values are missing, fetches them without the lock and reads again.
    pub(crate) fn read_with<T>(
        &self,
        read: impl Fn(&State, &Fetched) -> Result<T, Stop>,
    ) -> Result<T, RequestError> {
        let mut fetched = Fetched::new();
        for _ in 0..READ_ATTEMPTS {
            let (missing, reader) = {
                let state = self.state.read();
                match read(&state, &fetched) {
                    Ok(answer) => return Ok(answer),
                    Err(Stop::Refused(error)) => return Err(error),
                    Err(Stop::Missing(missing)) => (missing, state.reader()),
                }
            };
            // An error may be a segment that a compaction released: the next attempt finds where
            // the values are now.
            let _retried = fetch(&reader, &missing, &mut fetched);
        }
        Err(RequestError::ReadFailed)
    }

    pub(crate) fn note_lease_change(&self, op: &LogOp) {
        let change = match op {
            // A checkpoint of a lease that is known changes nothing for the leader who made it.
            LogOp::Lease { id, ttl, remaining_ttl } if ttl == remaining_ttl => {
                LeaseChange::Granted { id: *id, ttl: *ttl }
            }
            LogOp::LeaseRevoke { id } => LeaseChange::Revoked { id: *id },
            LogOp::Lease { .. }
            | LogOp::Put { .. }
            | LogOp::Delete { .. }
            | LogOp::Moved { .. }
            | LogOp::Compact { .. }
            | LogOp::Alarm { .. }
            | LogOp::Downgrade { .. }
            | LogOp::Member(_)
            | LogOp::MemberRemove { .. }
            | LogOp::Auth(_) => return,
        };
        /// Beyond this reading all leases is cheaper than telling.
        const CHANGES_MAX: usize = 65_536;
        let mut subscription = self.lease_changes.lock();
        if let LeaseSubscription::Changes(changes) = &mut *subscription {
            changes.push(change);
            if changes.len() > CHANGES_MAX {
                *subscription = LeaseSubscription::Reload;
            }
        }
    }

    /// The state was replaced.
    pub(crate) fn reload_leases(&self) {
        let mut subscription = self.lease_changes.lock();
        if !matches!(*subscription, LeaseSubscription::None) {
            *subscription = LeaseSubscription::Reload;
        }
    }
}

/// The handle that everybody but the applier has: reads and watches. Clones are cheap; any thread
/// may have one.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

impl Store {
    /// Reads a key or a range of keys, for the server itself.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, RequestError> {
        self.range_as(Some(&Principal::Server), request)
    }

    /// A transaction that only reads, which [`is_read_only_txn`](crate::is_read_only_txn) tells,
    /// for the server itself.
    ///
    /// # Errors
    /// Why it is refused.
    ///
    /// # Panics
    /// If the transaction could write.
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, RequestError> {
        self.read_txn_as(Some(&Principal::Server), request)
    }

    /// The current revision.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.shared.state.read().revision
    }

    /// Hash of the keys and their history from the compaction up to `revision`; 0 for the current
    /// one. Equal on replicas that have the same revision and compaction.
    ///
    /// # Errors
    /// As a range at that revision.
    pub fn hash_kv(&self, revision: i64) -> Result<HashKv, RequestError> {
        for _ in 0..READ_ATTEMPTS {
            let (mut hash, mut answer) = {
                let state = self.shared.state.read();
                let hash_revision = resolve_revision(&state, revision)?;
                let answer = HashKv {
                    hash: 0,
                    compact_revision: state.compact_revision,
                    hash_revision,
                    revision: state.revision,
                };
                (KeyHash::new(&state, hash_revision), answer)
            };
            match self.finish_hash(&mut hash) {
                Ok(crc) => {
                    answer.hash = crc;
                    return Ok(answer);
                }
                // A compaction came in between: from the beginning.
                Err(RequestError::Compacted) => {}
                Err(error) => return Err(error),
            }
        }
        Err(RequestError::Compacted)
    }

    fn finish_hash(&self, hash: &mut KeyHash) -> Result<u32, RequestError> {
        let mut fetched = Fetched::new();
        let mut attempts = 0;
        loop {
            let (missing, reader) = {
                let state = self.shared.state.read();
                match hash.step(&state, &fetched)? {
                    HashStep::Done(crc) => return Ok(crc),
                    HashStep::More => {
                        fetched.clear();
                        attempts = 0;
                        continue;
                    }
                    HashStep::Missing(missing) => (missing, state.reader()),
                }
            };
            attempts += 1;
            if fetch(&reader, &missing, &mut fetched).is_err() && attempts > READ_ATTEMPTS {
                return Err(RequestError::ReadFailed);
            }
        }
    }

    /// Hash of the whole replicated state, for comparing replicas that applied the same entries.
    /// Not atomic: nothing may be applied meanwhile.
    ///
    /// # Errors
    /// [`RequestError::ReadFailed`] if the disk failed.
    pub fn state_hash(&self) -> Result<u64, RequestError> {
        let keys = self.hash_kv(0)?.hash;
        let tables = hash_tables(&self.shared.state.read());
        Ok(u64::from(keys) << 32 | u64::from(tables))
    }

    /// Alarms that are on, in order of member and kind.
    #[must_use]
    pub fn alarms(&self) -> Vec<AlarmMember> {
        self.shared.state.read().alarms.iter().copied().collect()
    }

    /// How many leases there are.
    #[must_use]
    pub fn lease_count(&self) -> usize {
        self.shared.state.read().leases.len()
    }

    /// The version that a downgrade is under way to.
    #[must_use]
    pub fn downgrade(&self) -> Option<ClusterVersion> {
        self.shared.state.read().downgrade
    }

    /// The table of members, in order of id.
    #[must_use]
    pub fn members(&self) -> Vec<MemberAttributes> {
        self.shared.state.read().members.values().cloned().collect()
    }

    /// All leases, in order of id.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseInfo> {
        let state = self.shared.state.read();
        state.leases.iter().map(|(id, lease)| LeaseInfo::of(*id, lease)).collect()
    }

    /// One lease.
    #[must_use]
    pub fn lease(&self, id: LeaseId) -> Option<LeaseInfo> {
        self.shared.state.read().leases.get(&id).map(|lease| LeaseInfo::of(id, lease))
    }

    /// Keys attached to a lease, sorted; none if there is no such lease.
    #[must_use]
    pub fn lease_keys(&self, id: LeaseId) -> Vec<Bytes> {
        let state = self.shared.state.read();
        let keys = state.leases.get(&id).map(|lease| lease.keys.iter());
        keys.into_iter().flatten().map(|key| Bytes::copy_from_slice(key)).collect()
    }

    /// Calls back once no key has versions that a compaction up to `revision` made unreadable; at
    /// once if that is so already. [`Store::maintain`] gets there.
    pub fn compaction_finished(&self, revision: i64, done: Box<dyn FnOnce() + Send>) {
        if let Some(done) = self.shared.sweep.lock().wait(revision, done) {
            done();
        }
    }

    /// Does a bounded piece of the work that waits: dropping compacted versions, keeping memory
    /// within its budget. Returns whether there is more. Apply does some after each batch, so this
    /// is for a store that is not written to; any thread may call it.
    pub fn maintain(&self) -> bool {
        self.shared.maintain()
    }

    /// Makes the file of the next segment, unless it is there; says whether it did. That takes as
    /// long as writing a segment of zeros, which otherwise apply does when it comes to the end of
    /// one: so a thread that nobody waits for should call this every second or so.
    ///
    /// # Errors
    /// What the disk said, such as that it is full; no harm is done.
    pub fn prepare_segment(&self) -> io::Result<bool> {
        let spares = self.shared.spares.lock().clone();
        spares.prepare()
    }

    /// Whether writes are refused because the quota is used up, so that the server raises the
    /// alarm.
    #[must_use]
    pub fn quota_exceeded(&self) -> bool {
        self.shared.sizes.is_over_quota()
    }

    /// Numbers for status and metrics.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let hub = self.shared.hub.counts();
        let state = self.shared.state.read();
        StoreStatus {
            revision: state.revision,
            compact_revision: state.compact_revision,
            applied_index: state.applied.index.0,
            key_count: state.index.live_count() as u64,
            lease_count: state.leases.len() as u64,
            size_bytes: self.shared.sizes.on_disk_bytes.load(Ordering::Relaxed),
            size_in_use_bytes: self.shared.sizes.in_use_bytes.load(Ordering::Relaxed),
            memory_bytes: state.index.memory_bytes() as u64,
            watcher_count: hub.watchers,
            slow_watcher_count: hub.slow_watchers,
            watch_stream_count: hub.streams,
            events_total: hub.events_total,
            pending_message_count: hub.pending_messages,
        }
    }

    /// What the store has counted of its work.
    #[must_use]
    pub fn measures(&self) -> &Measures {
        &self.shared.measures
    }

    /// From now on it is measured how long things take. The first clock counts.
    pub fn measure_times(&self, clock: Arc<dyn Clock>) {
        self.shared.measures.use_clock(clock);
    }

    /// A new stream of watchers. `on_ready` is called when there is something to poll.
    #[must_use]
    pub fn watch_stream(&self, on_ready: OnReady) -> WatchStream {
        WatchStream::new(Arc::clone(&self.shared), on_ready)
    }

    /// From now on changes to leases are collected for [`Store::take_lease_changes`].
    pub fn subscribe_lease_changes(&self) {
        *self.shared.lease_changes.lock() = LeaseSubscription::Changes(Vec::new());
    }

    /// No longer.
    pub fn unsubscribe_lease_changes(&self) {
        *self.shared.lease_changes.lock() = LeaseSubscription::None;
    }

    /// Changes since the last call.
    #[must_use]
    pub fn take_lease_changes(&self) -> LeaseChanges {
        let mut subscription = self.shared.lease_changes.lock();
        match std::mem::replace(&mut *subscription, LeaseSubscription::Changes(Vec::new())) {
            LeaseSubscription::Changes(changes) => LeaseChanges::Changes(changes),
            LeaseSubscription::Reload => LeaseChanges::Reload,
            LeaseSubscription::None => {
                *subscription = LeaseSubscription::None;
                LeaseChanges::Changes(Vec::new())
            }
        }
    }
}

impl LeaseInfo {
    pub(crate) fn of(id: LeaseId, lease: &Lease) -> Self {
        Self { id, ttl: lease.ttl, remaining_ttl: lease.remaining_ttl }
    }
}

impl Sizes {
    pub(crate) fn publish(&self, on_disk: u64, garbage: u64) {
        self.on_disk_bytes.store(on_disk, Ordering::Relaxed);
        self.in_use_bytes.store(on_disk.saturating_sub(garbage), Ordering::Relaxed);
    }

    pub(crate) fn is_over_quota(&self) -> bool {
        let quota = self.quota_bytes.load(Ordering::Relaxed);
        quota > 0 && self.on_disk_bytes.load(Ordering::Relaxed) > quota
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who does not read the answer keeps what it holds.
    #[test]
    fn a_value_keeps_no_record_that_is_much_longer() {
        let record = Bytes::from(vec![7; 1000]);
        let (short, long) = (record.slice(100..200), record.slice(90..1000));
        let kept = |value: &Bytes| record.as_ptr_range().contains(&value.as_ptr());
        assert!(kept(&short) && !kept(&alone(short.clone(), record.len())));
        assert_eq!(alone(short.clone(), record.len()), short);
        assert!(kept(&alone(long, record.len())), "what is most of it is not copied");
    }
}
