//! Commands as they stand in the Raft log. `golden` in the tests holds the bytes of version 1.

use bytes::Bytes;

use super::{Decoder, Encoder, Malformed};
use crate::auth::{self, Principal};
use crate::request::{
    AlarmCommand, AlarmKind, AlarmMember, ClusterVersion, Command, CompactRequest, Compare,
    CompareResult, CompareTarget, DeleteRangeRequest, LeaseId, MemberAttributes, PutRequest,
    RangeRequest, RequestOp, SortOrder, SortTarget, TxnRequest,
};
use crate::validate::TXN_DEPTH_MAX;

const VERSION: u8 = 1;

/// The command of a principal follows.
const GUARDED: u8 = 20;

/// Encodes a command with who proposes it; a cluster without users has no need to say that.
pub(crate) fn encode_command(who: Option<&Principal>, command: &Command) -> Bytes {
    let mut e = Encoder::default();
    e.bytes.reserve(64);
    e.u8(VERSION);
    if let Some(who) = who {
        e.u8(GUARDED);
        auth::encode_principal(&mut e, who);
    }
    encode_body(&mut e, command);
    e.bytes.into()
}

fn encode_body(e: &mut Encoder, command: &Command) {
    match command {
        Command::Put(put) => {
            e.u8(1);
            encode_put(e, put);
        }
        Command::DeleteRange(delete) => {
            e.u8(2);
            encode_delete(e, delete);
        }
        Command::Txn(txn) => {
            e.u8(3);
            encode_txn(e, txn);
        }
        Command::Compact(compact) => {
            e.u8(4);
            e.i64(compact.revision);
            e.bool(compact.physical);
        }
        Command::LeaseGrant { id, ttl } => {
            e.u8(5);
            e.i64(id.0);
            e.i64(*ttl);
        }
        Command::LeaseRevoke { id } => {
            e.u8(6);
            e.i64(id.0);
        }
        Command::LeaseCheckpoint { remaining } => {
            e.u8(7);
            e.len(remaining.len());
            for (id, ttl) in remaining {
                e.i64(id.0);
                e.i64(*ttl);
            }
        }
        Command::Alarm(alarm) => {
            e.u8(8);
            let (on, alarm) = match alarm {
                AlarmCommand::Activate(alarm) => (true, alarm),
                AlarmCommand::Deactivate(alarm) => (false, alarm),
            };
            e.bool(on);
            encode_alarm(e, *alarm);
        }
        Command::MemberAttributes(member) => {
            e.u8(9);
            encode_member(e, member);
        }
        Command::MemberRemove { id } => {
            e.u8(10);
            e.u64(*id);
        }
        Command::Downgrade { target } => {
            e.u8(11);
            encode_downgrade(e, *target);
        }
        Command::Auth(command) => {
            e.u8(21);
            auth::encode_auth_command(e, command);
        }
    }
}

pub(crate) fn decode_command(bytes: Bytes) -> Result<(Option<Principal>, Command), Malformed> {
    let mut d = Decoder::new(bytes);
    if d.u8()? != VERSION {
        return Err(Malformed);
    }
    let (who, tag) = match d.u8()? {
        GUARDED => (Some(auth::decode_principal(&mut d)?), d.u8()?),
        tag => (None, tag),
    };
    let command = match tag {
        1 => Command::Put(decode_put(&mut d)?),
        2 => Command::DeleteRange(decode_delete(&mut d)?),
        3 => Command::Txn(decode_txn(&mut d, TXN_DEPTH_MAX)?),
        4 => Command::Compact(CompactRequest { revision: d.i64()?, physical: d.bool()? }),
        5 => Command::LeaseGrant { id: LeaseId(d.i64()?), ttl: d.i64()? },
        6 => Command::LeaseRevoke { id: LeaseId(d.i64()?) },
        7 => Command::LeaseCheckpoint { remaining: d.list(|d| Ok((LeaseId(d.i64()?), d.i64()?)))? },
        8 => {
            let on = d.bool()?;
            let alarm = decode_alarm(&mut d)?;
            Command::Alarm(if on {
                AlarmCommand::Activate(alarm)
            } else {
                AlarmCommand::Deactivate(alarm)
            })
        }
        9 => Command::MemberAttributes(decode_member(&mut d)?),
        10 => Command::MemberRemove { id: d.u64()? },
        11 => Command::Downgrade { target: decode_downgrade(&mut d)? },
        21 => Command::Auth(auth::decode_auth_command(&mut d)?),
        _ => return Err(Malformed),
    };
    if d.is_at_end() { Ok((who, command)) } else { Err(Malformed) }
}

pub(crate) fn encode_alarm(e: &mut Encoder, alarm: AlarmMember) {
    e.u64(alarm.member_id);
    e.u8(match alarm.alarm {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    });
}

pub(crate) fn decode_alarm(d: &mut Decoder) -> Result<AlarmMember, Malformed> {
    let member_id = d.u64()?;
    let alarm = match d.u8()? {
        1 => AlarmKind::NoSpace,
        2 => AlarmKind::Corrupt,
        _ => return Err(Malformed),
    };
    Ok(AlarmMember { member_id, alarm })
}

pub(crate) fn encode_downgrade(e: &mut Encoder, target: Option<ClusterVersion>) {
    e.bool(target.is_some());
    if let Some(ClusterVersion { major, minor }) = target {
        e.u64(u64::from(major));
        e.u64(u64::from(minor));
    }
}

pub(crate) fn decode_downgrade(d: &mut Decoder) -> Result<Option<ClusterVersion>, Malformed> {
    let number = |d: &mut Decoder| u32::try_from(d.u64()?).map_err(|_| Malformed);
    if !d.bool()? {
        return Ok(None);
    }
    Ok(Some(ClusterVersion { major: number(d)?, minor: number(d)? }))
}

pub(crate) fn encode_member(e: &mut Encoder, member: &MemberAttributes) {
    e.u64(member.id);
    e.slice(member.name.as_bytes());
    e.strings(&member.peer_urls);
    e.strings(&member.client_urls);
}

pub(crate) fn decode_member(d: &mut Decoder) -> Result<MemberAttributes, Malformed> {
    Ok(MemberAttributes {
        id: d.u64()?,
        name: d.string()?,
        peer_urls: d.strings()?,
        client_urls: d.strings()?,
    })
}

fn encode_put(e: &mut Encoder, put: &PutRequest) {
    e.slice(&put.key);
    e.slice(&put.value);
    e.i64(put.lease.0);
    e.u8(u8::from(put.prev_kv) | u8::from(put.ignore_value) << 1 | u8::from(put.ignore_lease) << 2);
}

fn decode_put(d: &mut Decoder) -> Result<PutRequest, Malformed> {
    let (key, value, lease) = (d.slice()?, d.slice()?, LeaseId(d.i64()?));
    let flags = decode_flags(d, 3)?;
    Ok(PutRequest {
        key,
        value,
        lease,
        prev_kv: flags & 1 != 0,
        ignore_value: flags & 2 != 0,
        ignore_lease: flags & 4 != 0,
    })
}

/// A byte of which only the lowest `count` bits may be set: the others are a later version's.
fn decode_flags(d: &mut Decoder, count: u32) -> Result<u8, Malformed> {
    let flags = d.u8()?;
    if flags >> count == 0 { Ok(flags) } else { Err(Malformed) }
}

fn encode_delete(e: &mut Encoder, delete: &DeleteRangeRequest) {
    e.slice(&delete.key);
    e.slice(&delete.range_end);
    e.bool(delete.prev_kv);
}

fn decode_delete(d: &mut Decoder) -> Result<DeleteRangeRequest, Malformed> {
    Ok(DeleteRangeRequest { key: d.slice()?, range_end: d.slice()?, prev_kv: d.bool()? })
}

fn encode_range(e: &mut Encoder, range: &RangeRequest) {
    e.slice(&range.key);
    e.slice(&range.range_end);
    e.i64(range.limit);
    e.i64(range.revision);
    e.u8(match range.sort_order {
        SortOrder::None => 0,
        SortOrder::Ascend => 1,
        SortOrder::Descend => 2,
    });
    e.u8(match range.sort_target {
        SortTarget::Key => 0,
        SortTarget::Version => 1,
        SortTarget::Create => 2,
        SortTarget::Mod => 3,
        SortTarget::Value => 4,
    });
    e.u8(u8::from(range.serializable)
        | u8::from(range.keys_only) << 1
        | u8::from(range.count_only) << 2);
    e.i64(range.min_mod_revision);
    e.i64(range.max_mod_revision);
    e.i64(range.min_create_revision);
    e.i64(range.max_create_revision);
}

fn decode_range(d: &mut Decoder) -> Result<RangeRequest, Malformed> {
    let (key, range_end, limit, revision) = (d.slice()?, d.slice()?, d.i64()?, d.i64()?);
    let sort_order = match d.u8()? {
        0 => SortOrder::None,
        1 => SortOrder::Ascend,
        2 => SortOrder::Descend,
        _ => return Err(Malformed),
    };
    let sort_target = match d.u8()? {
        0 => SortTarget::Key,
        1 => SortTarget::Version,
        2 => SortTarget::Create,
        3 => SortTarget::Mod,
        4 => SortTarget::Value,
        _ => return Err(Malformed),
    };
    let flags = decode_flags(d, 3)?;
    Ok(RangeRequest {
        key,
        range_end,
        limit,
        revision,
        sort_order,
        sort_target,
        serializable: flags & 1 != 0,
        keys_only: flags & 2 != 0,
        count_only: flags & 4 != 0,
        min_mod_revision: d.i64()?,
        max_mod_revision: d.i64()?,
        min_create_revision: d.i64()?,
        max_create_revision: d.i64()?,
    })
}

fn encode_txn(e: &mut Encoder, txn: &TxnRequest) {
    e.len(txn.compare.len());
    for compare in &txn.compare {
        encode_compare(e, compare);
    }
    for ops in [&txn.success, &txn.failure] {
        e.len(ops.len());
        for op in ops {
            encode_op(e, op);
        }
    }
}

fn decode_txn(d: &mut Decoder, depth_max: usize) -> Result<TxnRequest, Malformed> {
    let depth_max = depth_max.checked_sub(1).ok_or(Malformed)?;
    Ok(TxnRequest {
        compare: d.list(decode_compare)?,
        success: d.list(|d| decode_op(d, depth_max))?,
        failure: d.list(|d| decode_op(d, depth_max))?,
    })
}

fn encode_op(e: &mut Encoder, op: &RequestOp) {
    match op {
        RequestOp::Range(range) => {
            e.u8(1);
            encode_range(e, range);
        }
        RequestOp::Put(put) => {
            e.u8(2);
            encode_put(e, put);
        }
        RequestOp::DeleteRange(delete) => {
            e.u8(3);
            encode_delete(e, delete);
        }
        RequestOp::Txn(txn) => {
            e.u8(4);
            encode_txn(e, txn);
        }
    }
}

fn decode_op(d: &mut Decoder, depth_max: usize) -> Result<RequestOp, Malformed> {
    Ok(match d.u8()? {
        1 => RequestOp::Range(decode_range(d)?),
        2 => RequestOp::Put(decode_put(d)?),
        3 => RequestOp::DeleteRange(decode_delete(d)?),
        4 => RequestOp::Txn(decode_txn(d, depth_max)?),
        _ => return Err(Malformed),
    })
}

fn encode_compare(e: &mut Encoder, compare: &Compare) {
    e.slice(&compare.key);
    e.slice(&compare.range_end);
    e.u8(match compare.result {
        CompareResult::Equal => 0,
        CompareResult::Greater => 1,
        CompareResult::Less => 2,
        CompareResult::NotEqual => 3,
    });
    let (tag, number) = match &compare.target {
        CompareTarget::Value(value) => {
            e.u8(3);
            e.slice(value);
            return;
        }
        CompareTarget::Version(number) => (0, *number),
        CompareTarget::Create(number) => (1, *number),
        CompareTarget::Mod(number) => (2, *number),
        CompareTarget::Lease(lease) => (4, lease.0),
    };
    e.u8(tag);
    e.i64(number);
}

fn decode_compare(d: &mut Decoder) -> Result<Compare, Malformed> {
    let (key, range_end) = (d.slice()?, d.slice()?);
    let result = match d.u8()? {
        0 => CompareResult::Equal,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        3 => CompareResult::NotEqual,
        _ => return Err(Malformed),
    };
    let target = match d.u8()? {
        0 => CompareTarget::Version(d.i64()?),
        1 => CompareTarget::Create(d.i64()?),
        2 => CompareTarget::Mod(d.i64()?),
        3 => CompareTarget::Value(d.slice()?),
        4 => CompareTarget::Lease(LeaseId(d.i64()?)),
        _ => return Err(Malformed),
    };
    Ok(Compare { key, range_end, result, target })
}
