//! What clients ask for: etcd's messages as plain Rust values, and [`Command`], what of it goes
//! through the log.

use bytes::Bytes;

use crate::auth::{AuthCommand, Principal};
use crate::codec::{decode_command, encode_command};
use crate::error::RequestError;

/// The name of a lease; 0 is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaseId(pub i64);

impl LeaseId {
    /// No lease.
    pub const NONE: Self = Self(0);

    /// Whether there is no lease.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// How a range is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SortOrder {
    /// By key; ascending by the target if that is another one.
    #[default]
    None,
    /// Ascending.
    Ascend,
    /// Descending.
    Descend,
}

/// What a range is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The revision that created the key.
    Create,
    /// The revision that changed it last.
    Mod,
    /// The value.
    Value,
}

/// A read of one key or a range of keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RangeRequest {
    /// The first key.
    pub key: Bytes,
    /// The key behind the last; empty for `key` alone, one zero byte for all from `key` on.
    pub range_end: Bytes,
    /// Keys returned at most; 0 or less for all.
    pub limit: i64,
    /// The revision to read at; 0 or less for the latest.
    pub revision: i64,
    /// The order of the answer.
    pub sort_order: SortOrder,
    /// What the order is by.
    pub sort_target: SortTarget,
    /// Whether the answer may be an old one. The server's matter; the store reads what it has.
    pub serializable: bool,
    /// Leave out the values.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Only keys changed at or after this revision; 0 for all.
    pub min_mod_revision: i64,
    /// Only keys changed at or before this revision; 0 for all.
    pub max_mod_revision: i64,
    /// Only keys created at or after this revision; 0 for all.
    pub min_create_revision: i64,
    /// Only keys created at or before this revision; 0 for all.
    pub max_create_revision: i64,
}

/// Sets one key.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PutRequest {
    /// The key.
    pub key: Bytes,
    /// The new value.
    pub value: Bytes,
    /// The lease that the key is attached to; none detaches it.
    pub lease: LeaseId,
    /// Answer with what was there before.
    pub prev_kv: bool,
    /// Keep the value that is there.
    pub ignore_value: bool,
    /// Keep the lease that is there.
    pub ignore_lease: bool,
}

/// Deletes one key or a range of keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DeleteRangeRequest {
    /// The first key.
    pub key: Bytes,
    /// As in [`RangeRequest::range_end`].
    pub range_end: Bytes,
    /// Answer with what was there before.
    pub prev_kv: bool,
}

/// How a compare relates what is there to what is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CompareResult {
    /// Equal.
    #[default]
    Equal,
    /// What is there is greater.
    Greater,
    /// What is there is less.
    Less,
    /// Not equal.
    NotEqual,
}

/// What is compared, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// The version of the key.
    Version(i64),
    /// The revision that created it.
    Create(i64),
    /// The revision that changed it last.
    Mod(i64),
    /// Its value.
    Value(Bytes),
    /// Its lease.
    Lease(LeaseId),
}

/// A guard of a transaction. With a `range_end` it must hold for every key in the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The first key.
    pub key: Bytes,
    /// As in [`RangeRequest::range_end`].
    pub range_end: Bytes,
    /// The relation.
    pub result: CompareResult,
    /// The sides of it.
    pub target: CompareTarget,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOp {
    /// A read.
    Range(RangeRequest),
    /// A put.
    Put(PutRequest),
    /// A delete.
    DeleteRange(DeleteRangeRequest),
    /// A nested transaction.
    Txn(TxnRequest),
}

/// Operations that happen at one revision, or none of them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TxnRequest {
    /// The guards; all must hold for `success` to be taken.
    pub compare: Vec<Compare>,
    /// Done if the guards hold.
    pub success: Vec<RequestOp>,
    /// Done if they do not.
    pub failure: Vec<RequestOp>,
}

/// Forgets history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CompactRequest {
    /// The oldest revision that stays readable.
    pub revision: i64,
    /// Whether the client waits until the space is free: see
    /// [`Store::compaction_finished`](crate::Store::compaction_finished).
    pub physical: bool,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The quota of a member is used up.
    NoSpace,
    /// The data of a member differs from the others'.
    Corrupt,
}

/// An alarm that is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmMember {
    /// The member that raised it.
    pub member_id: u64,
    /// What it is about.
    pub alarm: AlarmKind,
}

/// Turns an alarm on or off. Reading the alarms needs no command: [`Store::alarms`](crate::Store).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmCommand {
    /// On.
    Activate(AlarmMember),
    /// Off.
    Deactivate(AlarmMember),
}

/// A version of the cluster: what every member understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterVersion {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

/// What a member says of itself. The table of them lives in the store, so that every node can list
/// the members with their names.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberAttributes {
    /// The member.
    pub id: u64,
    /// Its name; empty until it has started.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

/// What goes through the log. Everything that apply needs is in it: ids and times are chosen
/// before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sets a key.
    Put(PutRequest),
    /// Deletes keys.
    DeleteRange(DeleteRangeRequest),
    /// A transaction.
    Txn(TxnRequest),
    /// Forgets history.
    Compact(CompactRequest),
    /// Makes a lease.
    LeaseGrant {
        /// Its name, chosen by the client or the server; never 0.
        id: LeaseId,
        /// Its time to live in seconds; the server has raised it to the least it allows.
        ttl: i64,
    },
    /// Ends a lease and deletes the keys attached to it: asked for by a client, or by the leader
    /// when the lease expired.
    LeaseRevoke {
        /// The lease.
        id: LeaseId,
    },
    /// Remembers how long leases still have to live, so that a new leader does not give them their
    /// full time again.
    LeaseCheckpoint {
        /// Leases and the seconds they have left; unknown ones are passed over.
        remaining: Vec<(LeaseId, i64)>,
    },
    /// Turns an alarm on or off.
    Alarm(AlarmCommand),
    /// Begins a downgrade of the cluster, or ends the one that there is.
    Downgrade {
        /// What to go down to; `None` ends it.
        target: Option<ClusterVersion>,
    },
    /// Adds a member to the table or replaces what it said.
    MemberAttributes(MemberAttributes),
    /// Takes a member from the table.
    MemberRemove {
        /// The member.
        id: u64,
    },
    /// Changes users and roles, or signs a user in.
    Auth(AuthCommand),
}

impl Command {
    /// The bytes that go into the log.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode_command(None, self)
    }

    /// The same with who proposes it: needed while authentication is on.
    #[must_use]
    pub fn encode_as(&self, who: &Principal) -> Bytes {
        encode_command(Some(who), self)
    }

    /// The command that `bytes` say, and who proposed it.
    ///
    /// # Errors
    /// [`RequestError::UnknownCommand`] for anything else.
    pub fn decode(bytes: Bytes) -> Result<(Option<Principal>, Self), RequestError> {
        decode_command(bytes).map_err(|_| RequestError::UnknownCommand)
    }
}
