//! Records of the revision log: what an entry changed, enough to do it again without the entry.

use bytes::Bytes;
use raft::EntryId;

use super::command::{
    decode_alarm, decode_downgrade, decode_member, encode_alarm, encode_downgrade, encode_member,
};
use crate::auth::{self, AuthOp};

use super::{Decoder, Encoder, Malformed};
use crate::request::{AlarmMember, ClusterVersion, LeaseId, MemberAttributes};

const VERSION: u8 = 1;

/// One change in a [`LogRecord`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogOp {
    /// A key got a value. Everything about the version is said, so that replay needs no history.
    Put { key: Bytes, value: Bytes, lease: LeaseId, create_revision: i64, version: i64 },
    /// A key was deleted.
    Delete { key: Bytes },
    /// A value that a compaction moved here from a segment that is to go.
    Moved { key: Bytes, value: Bytes, mod_revision: i64, sub: u32 },
    /// A lease was granted, or a checkpoint changed what it has left.
    Lease { id: LeaseId, ttl: i64, remaining_ttl: i64 },
    /// A lease is gone; its keys are deleted by operations of their own.
    LeaseRevoke { id: LeaseId },
    /// History below this revision is gone.
    Compact { revision: i64 },
    /// An alarm went on or off.
    Alarm { alarm: AlarmMember, on: bool },
    /// What a member says of itself.
    Member(MemberAttributes),
    /// A member is gone.
    MemberRemove { id: u64 },
    /// A downgrade has begun, or there is none any more.
    Downgrade { target: Option<ClusterVersion> },
    /// A change of users and roles.
    Auth(AuthOp),
}

/// Which part of an entry's changes a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Whether it goes on from the record before. A first part whose last one is missing is what a
    /// crash left, and means nothing.
    pub(crate) continues: bool,
    /// Whether the next record goes on.
    pub(crate) more: bool,
    /// The sub-revision of its first change of a key.
    pub(crate) first_sub: u32,
}

impl Part {
    /// All in one.
    pub(crate) const WHOLE: Self = Self { continues: false, more: false, first_sub: 0 };
}

impl LogOp {
    /// Whether it makes a revision.
    pub(crate) fn changes_key(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Delete { .. })
    }
}

/// What one entry changed.
///
/// Invariant: if there is a `Put` or a `Delete` in it, `revision` is the one they made, and the
/// n-th of them has sub-revision n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRecord {
    /// The entry, or the last one applied before, for records that no entry caused.
    pub(crate) id: EntryId,
    /// The revision of the store after it.
    pub(crate) revision: i64,
    /// A delete of very many keys does not fit one record.
    pub(crate) part: Part,
    pub(crate) ops: Vec<LogOp>,
}

/// Encodes operations from `from` on, as many as fit `bytes_max` but at least one if there is one,
/// and returns how many were done. Call it again until all are.
pub(crate) fn encode_record(
    e: &mut Encoder,
    record: &LogRecord,
    from: usize,
    bytes_max: usize,
) -> usize {
    let mut count = 0;
    let mut size_bytes = 64;
    for op in &record.ops[from..] {
        size_bytes += size_bytes_max(op);
        if size_bytes > bytes_max && count > 0 {
            break;
        }
        count += 1;
    }
    e.u8(VERSION);
    e.u64(record.id.term.0);
    e.u64(record.id.index.0);
    e.i64(record.revision);
    e.bool(from > 0);
    e.bool(from + count < record.ops.len());
    e.len(record.ops[..from].iter().filter(|op| op.changes_key()).count());
    e.len(count);
    for op in &record.ops[from..from + count] {
        encode_op(e, op);
    }
    count
}

/// Bytes that an operation takes at most; members are small and fit the allowance.
fn size_bytes_max(op: &LogOp) -> usize {
    const NUMBERS: usize = 64;
    match op {
        LogOp::Put { key, value, .. } | LogOp::Moved { key, value, .. } => {
            NUMBERS + key.len() + value.len()
        }
        LogOp::Delete { key } => NUMBERS + key.len(),
        LogOp::Lease { .. }
        | LogOp::LeaseRevoke { .. }
        | LogOp::Compact { .. }
        | LogOp::Alarm { .. }
        | LogOp::Downgrade { .. }
        | LogOp::Member(_)
        | LogOp::MemberRemove { .. } => NUMBERS,
        LogOp::Auth(op) => NUMBERS + op.size_bytes_max(),
    }
}

fn encode_op(e: &mut Encoder, op: &LogOp) {
    match op {
        LogOp::Put { key, value, lease, create_revision, version } => {
            e.u8(1);
            e.slice(key);
            e.slice(value);
            e.i64(lease.0);
            e.i64(*create_revision);
            e.i64(*version);
        }
        LogOp::Delete { key } => {
            e.u8(2);
            e.slice(key);
        }
        LogOp::Moved { key, value, mod_revision, sub } => {
            e.u8(3);
            e.slice(key);
            e.slice(value);
            e.i64(*mod_revision);
            e.u64(u64::from(*sub));
        }
        LogOp::Lease { id, ttl, remaining_ttl } => {
            e.u8(4);
            e.i64(id.0);
            e.i64(*ttl);
            e.i64(*remaining_ttl);
        }
        LogOp::LeaseRevoke { id } => {
            e.u8(5);
            e.i64(id.0);
        }
        LogOp::Compact { revision } => {
            e.u8(6);
            e.i64(*revision);
        }
        LogOp::Alarm { alarm, on } => {
            e.u8(7);
            encode_alarm(e, *alarm);
            e.bool(*on);
        }
        LogOp::Member(member) => {
            e.u8(8);
            encode_member(e, member);
        }
        LogOp::MemberRemove { id } => {
            e.u8(9);
            e.u64(*id);
        }
        LogOp::Downgrade { target } => {
            e.u8(10);
            encode_downgrade(e, *target);
        }
        LogOp::Auth(op) => {
            e.u8(20);
            auth::encode_op(e, op);
        }
    }
}

pub(crate) fn decode_record(bytes: Bytes) -> Result<LogRecord, Malformed> {
    let mut d = Decoder::new(bytes);
    if d.u8()? != VERSION {
        return Err(Malformed);
    }
    let id = EntryId::new(d.u64()?, d.u64()?);
    let revision = d.i64()?;
    let part = Part { continues: d.bool()?, more: d.bool()?, first_sub: sub(&mut d)? };
    let ops = d.list(decode_op)?;
    if d.is_at_end() { Ok(LogRecord { id, revision, part, ops }) } else { Err(Malformed) }
}

fn sub(d: &mut Decoder) -> Result<u32, Malformed> {
    u32::try_from(d.u64()?).map_err(|_| Malformed)
}

fn decode_op(d: &mut Decoder) -> Result<LogOp, Malformed> {
    Ok(match d.u8()? {
        1 => LogOp::Put {
            key: d.slice()?,
            value: d.slice()?,
            lease: LeaseId(d.i64()?),
            create_revision: d.i64()?,
            version: d.i64()?,
        },
        2 => LogOp::Delete { key: d.slice()? },
        3 => LogOp::Moved {
            key: d.slice()?,
            value: d.slice()?,
            mod_revision: d.i64()?,
            sub: sub(d)?,
        },
        4 => LogOp::Lease { id: LeaseId(d.i64()?), ttl: d.i64()?, remaining_ttl: d.i64()? },
        5 => LogOp::LeaseRevoke { id: LeaseId(d.i64()?) },
        6 => LogOp::Compact { revision: d.i64()? },
        7 => LogOp::Alarm { alarm: decode_alarm(d)?, on: d.bool()? },
        8 => LogOp::Member(decode_member(d)?),
        9 => LogOp::MemberRemove { id: d.u64()? },
        10 => LogOp::Downgrade { target: decode_downgrade(d)? },
        20 => LogOp::Auth(auth::decode_op(d)?),
        _ => return Err(Malformed),
    })
}
