//! The shared handle.
use crate::*;
use std::sync::Arc;
use bytes::Bytes;

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

/// A change to the set of leases, for the [`Lessor`].
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

/// The handle that everybody but the applier has: reads and watches.
#[derive(Clone, Debug)]
pub struct Store {}

#[allow(missing_docs)]
impl Store {
    /// Reads a key or a range of keys.
    pub fn range(&self, _request: &RangeRequest) -> Result<RangeResponse, RequestError> { unimplemented!() }
    /// A transaction that only reads ([`is_read_only_txn`]).
    pub fn read_txn(&self, _request: &TxnRequest) -> Result<TxnResponse, RequestError> { unimplemented!() }
    /// The current revision.
    pub fn revision(&self) -> i64 { unimplemented!() }
    /// Hash at a revision; 0 for the current one.
    pub fn hash_kv(&self, _revision: i64) -> Result<HashKv, RequestError> { unimplemented!() }
    /// Alarms that are on; in order of member and kind.
    pub fn alarms(&self) -> Vec<AlarmMember> { unimplemented!() }
    /// The table of members, in order of id.
    pub fn members(&self) -> Vec<MemberAttributes> { unimplemented!() }
    /// All leases, in order of id.
    pub fn leases(&self) -> Vec<LeaseInfo> { unimplemented!() }
    /// One lease.
    pub fn lease(&self, _id: LeaseId) -> Option<LeaseInfo> { unimplemented!() }
    /// Keys attached to a lease, sorted.
    pub fn lease_keys(&self, _id: LeaseId) -> Vec<Bytes> { unimplemented!() }
    /// Calls back once the space of a compaction up to `revision` is free (at once if it is).
    pub fn compaction_finished(&self, _revision: i64, _done: Box<dyn FnOnce() + Send>) { unimplemented!() }
    /// Whether the quota is used up, so that the server raises the alarm.
    pub fn quota_exceeded(&self) -> bool { unimplemented!() }
    /// Numbers.
    pub fn status(&self) -> StoreStatus { unimplemented!() }
    /// A new stream of watchers.
    pub fn watch_stream(&self, _on_ready: OnReady) -> WatchStream { unimplemented!() }
    /// From now on changes to leases are collected for [`Store::take_lease_changes`].
    pub fn subscribe_lease_changes(&self) { unimplemented!() }
    /// No longer.
    pub fn unsubscribe_lease_changes(&self) { unimplemented!() }
    /// Changes since the last call.
    pub fn take_lease_changes(&self) -> LeaseChanges { unimplemented!() }
}

/// How a store is set up.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of one segment file.
    pub segment_bytes: u32,
    /// Bytes of keys and values that may stay in memory; keys always do.
    pub memory_budget_bytes: u64,
    /// Bytes of segments beyond which writes are refused; 0 for no limit.
    pub quota_bytes: u64,
    /// New bytes in the segments after which a flush begins a new checkpoint of the index.
    pub checkpoint_bytes_min: u64,
}

/// The machine that the applier owns: an implementation of `host::StateMachine` whose `Response` is
/// `Result<Response, RequestError>`.
#[derive(Debug)]
pub struct StoreMachine {}

impl StoreMachine {
    /// Opens or makes a store in `dir`.
    ///
    /// # Errors
    /// What the disk said; [`std::io::ErrorKind::InvalidData`] for damage.
    pub fn open(
        _disk: Arc<dyn env::Disk>,
        _dir: &std::path::Path,
        _options: StoreOptions,
    ) -> std::io::Result<(Self, Store)> { unimplemented!() }
}
