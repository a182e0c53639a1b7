//! What the store answers: etcd's messages as plain Rust values.
//!
//! Each answer carries `revision`, the number for the response header. The ids of cluster and
//! member and the term are the server's to add.

use bytes::Bytes;

use crate::request::{AlarmMember, LeaseId};

/// A key with its value and history, as of some revision.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The revision that created it; starts anew after a delete.
    pub create_revision: i64,
    /// The revision that changed it last.
    pub mod_revision: i64,
    /// Puts since it was created; the first makes it 1.
    pub version: i64,
    /// The value.
    pub value: Bytes,
    /// The lease it is attached to.
    pub lease: LeaseId,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was set.
    Put,
    /// It was deleted; the event's `kv` has only key and mod revision.
    Delete,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key after it.
    pub kv: KeyValue,
    /// The key before it, if it existed, is not compacted, and somebody wanted to know.
    pub prev_kv: Option<KeyValue>,
}

/// Answer to a range.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RangeResponse {
    /// The current revision of the store, also for a read of an older one.
    pub revision: i64,
    /// The keys.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut the answer.
    pub more: bool,
    /// Keys in the range at that revision, without limit and filters.
    pub count: i64,
}

/// Answer to a put.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PutResponse {
    /// The revision it made.
    pub revision: i64,
    /// What was there before, if asked for.
    pub prev_kv: Option<KeyValue>,
}

/// Answer to a delete.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DeleteRangeResponse {
    /// The revision it made, or the current one if there was nothing to delete.
    pub revision: i64,
    /// Keys deleted.
    pub deleted: i64,
    /// What was there before, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// Answer to one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseOp {
    /// Of a range.
    Range(RangeResponse),
    /// Of a put.
    Put(PutResponse),
    /// Of a delete.
    DeleteRange(DeleteRangeResponse),
    /// Of a nested transaction.
    Txn(TxnResponse),
}

/// Answer to a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TxnResponse {
    /// The revision it made, or the current one if it changed nothing.
    pub revision: i64,
    /// Whether the guards held.
    pub succeeded: bool,
    /// One answer per operation of the branch taken.
    pub responses: Vec<ResponseOp>,
}

/// Answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Of a put.
    Put(PutResponse),
    /// Of a delete.
    DeleteRange(DeleteRangeResponse),
    /// Of a transaction.
    Txn(TxnResponse),
    /// Of a compaction: history is gone for readers; for the space see
    /// [`Store::compaction_finished`](crate::Store::compaction_finished).
    Compact {
        /// The current revision.
        revision: i64,
    },
    /// Of a grant.
    LeaseGrant {
        /// The current revision.
        revision: i64,
        /// The lease.
        id: LeaseId,
        /// The seconds granted.
        ttl: i64,
    },
    /// Of a revocation.
    LeaseRevoke {
        /// The revision it made, or the current one if no key was attached.
        revision: i64,
    },
    /// Of a lease checkpoint.
    LeaseCheckpoint {
        /// The current revision.
        revision: i64,
    },
    /// Of an alarm that was turned on or off.
    Alarm {
        /// The current revision.
        revision: i64,
        /// The alarm that was raised, also if it was before, or put away: none if there was none.
        changed: Vec<AlarmMember>,
    },
    /// Of a downgrade that was begun or ended.
    Downgrade {
        /// The current revision.
        revision: i64,
    },
    /// Of a change to the table of members.
    Member {
        /// The current revision.
        revision: i64,
    },
    /// Of a change of users and roles.
    Auth {
        /// The current revision.
        revision: i64,
    },
    /// Of a user who has signed in.
    Authenticate {
        /// The current revision.
        revision: i64,
        /// The entry that did it, which is part of the token's name.
        index: u64,
    },
}
