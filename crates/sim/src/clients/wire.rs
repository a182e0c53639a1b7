//! The same requests in the words of the wire, and what its answers say.

use api::etcdserverpb as pb;
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::lease_client::LeaseClient;
use api::mvccpb;
use bytes::Bytes;
use pb::compare::{CompareResult as Result_, CompareTarget as Target, TargetUnion};
use pb::request_op::Request as Step;
use pb::response_op::Response as Stepped;
use server::InProcess;
use store::{Command, Compare, CompareResult, CompareTarget, PutRequest, RequestOp, TxnRequest};
use tonic::Status;

use super::{SCANNED, held_by_all, key_bytes, value_of};
use crate::history::Reply;

/// What a call came to.
#[derive(Debug)]
pub(super) enum Told {
    /// It was done.
    Answered(pb::ResponseHeader, Reply),
    /// It was refused, or something went wrong.
    Refused(Status),
    /// It was answered as no etcd would.
    Wrong(String),
}

/// How a client reads one key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// By its name.
    Key,
    /// As a range with one key in it.
    Range,
    /// In a transaction that only reads.
    Txn,
}

/// A header and a reply, or what is wrong with the answer.
type Read = Result<(Option<pb::ResponseHeader>, Reply), String>;

fn told(answered: Result<Read, Status>) -> Told {
    match answered {
        Ok(Ok((Some(header), reply))) => Told::Answered(header, reply),
        Ok(Ok((None, reply))) => Told::Wrong(format!("an answer without a header: {reply:?}")),
        Ok(Err(what)) => Told::Wrong(what),
        Err(status) => Told::Refused(status),
    }
}

/// Something that an answer must be.
fn require(holds: bool, answer: &impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{answer:?}")) }
}

/// Sends a command.
pub(super) async fn send(door: InProcess, command: Command) -> Told {
    match command {
        Command::Put(request) => {
            let answer = KvClient::new(door).put(put(request)).await;
            told(answer.map(|answer| {
                let answer = answer.into_inner();
                require(answer.prev_kv.is_none(), &answer)?;
                Ok((answer.header, Reply::Done))
            }))
        }
        Command::DeleteRange(request) => {
            let (key, range_end) = (request.key, request.range_end);
            let request = pb::DeleteRangeRequest { key, range_end, prev_kv: true };
            let answer = KvClient::new(door).delete_range(request).await;
            told(answer.map(|answer| {
                let answer = answer.into_inner();
                require(usize::try_from(answer.deleted) == Ok(answer.prev_kvs.len()), &answer)?;
                Ok((answer.header, Reply::Deleted(answer.deleted)))
            }))
        }
        Command::Txn(request) => {
            let may_fail = !request.failure.is_empty();
            let answer = KvClient::new(door).txn(txn(request)).await;
            told(answer.map(|answer| transacted(answer.into_inner(), may_fail)))
        }
        Command::LeaseGrant { id, ttl } => {
            let request = pb::LeaseGrantRequest { id: id.0, ttl };
            let answer = LeaseClient::new(door).lease_grant(request).await;
            told(answer.map(|answer| {
                let answer = answer.into_inner();
                require(
                    (answer.id, answer.ttl) == (id.0, ttl) && answer.error.is_empty(),
                    &answer,
                )?;
                Ok((answer.header, Reply::Done))
            }))
        }
        Command::LeaseRevoke { id } => {
            let request = pb::LeaseRevokeRequest { id: id.0 };
            let answer = LeaseClient::new(door).lease_revoke(request).await;
            told(answer.map(|answer| Ok((answer.into_inner().header, Reply::Done))))
        }
        other @ (Command::Compact(_)
        | Command::LeaseCheckpoint { .. }
        | Command::Alarm(_)
        | Command::Downgrade { .. }
        | Command::MemberAttributes(_)
        | Command::MemberRemove { .. }
        | Command::Auth(_)) => unreachable!("these clients do not ask for {other:?}"),
    }
}

/// Reads a key.
pub(super) async fn get(door: InProcess, key: String, shape: Shape) -> Told {
    let name = key_bytes(&key);
    let mut range = pb::RangeRequest { key: name.clone(), ..pb::RangeRequest::default() };
    let mut kv = KvClient::new(door);
    match shape {
        Shape::Key => {}
        Shape::Range => {
            range.range_end = Bytes::from([&name[..], &b"\0"[..]].concat());
            range.limit = 2;
        }
        Shape::Txn => {
            let success = vec![step(Step::RequestRange(range))];
            let request = pb::TxnRequest { success, ..pb::TxnRequest::default() };
            let answer = kv.txn(request).await;
            return told(answer.map(|answer| {
                let answer = answer.into_inner();
                match (answer.succeeded, &answer.responses[..]) {
                    (true, [pb::ResponseOp { response: Some(Stepped::ResponseRange(read)) }]) => {
                        Ok((answer.header, held(&name, read)?))
                    }
                    _ => Err(format!("{answer:?}")),
                }
            }));
        }
    }
    let answer = kv.range(range).await;
    told(answer.map(|answer| {
        let answer = answer.into_inner();
        Ok((answer.header, held(&name, &answer)?))
    }))
}

/// Reads several keys, as they are or as they were.
pub(super) async fn scan(door: InProcess, keys: Vec<String>, at: Option<i64>) -> Told {
    // A read without a limit would go to a thread of a runtime, and there is none.
    let limit = i64::try_from(keys.len()).expect("few") + 1;
    let range = pb::RangeRequest {
        limit,
        key: key_bytes(SCANNED.0),
        range_end: key_bytes(SCANNED.1),
        revision: at.unwrap_or(0),
        ..pb::RangeRequest::default()
    };
    let answer = KvClient::new(door).range(range).await;
    told(answer.map(|answer| {
        let answer = answer.into_inner();
        let newest = answer.header.as_ref().map_or(0, |header| header.revision);
        let were = |kv: &mvccpb::KeyValue| is_of(kv, at.unwrap_or(newest));
        let is_whole = !answer.more && usize::try_from(answer.count) == Ok(answer.kvs.len());
        require(is_whole && answer.kvs.iter().all(were), &answer)?;
        let held = held_by_all(&keys, answer.kvs.iter().map(|kv| (&kv.key, &kv.value)));
        let held = held.ok_or_else(|| format!("{answer:?}"))?;
        Ok((answer.header, Reply::HoldAll(held)))
    }))
}

/// What a read of one key says of it.
fn held(name: &Bytes, read: &pb::RangeResponse) -> Result<Reply, String> {
    let revision = read.header.as_ref().map_or(0, |header| header.revision);
    require(!read.more && usize::try_from(read.count) == Ok(read.kvs.len()), read)?;
    match &read.kvs[..] {
        [] => Ok(Reply::Holds(None)),
        [kv] => {
            require(kv.key == name && is_of(kv, revision), read)?;
            Ok(Reply::Holds(Some(value_of(&kv.value))))
        }
        _ => Err(format!("{read:?}")),
    }
}

/// Whether a key can be like this at a revision.
fn is_of(kv: &mvccpb::KeyValue, revision: i64) -> bool {
    let is_ordered = 1 < kv.create_revision
        && kv.create_revision <= kv.mod_revision
        && kv.mod_revision <= revision;
    let is_new = kv.create_revision == kv.mod_revision;
    is_ordered && kv.version >= 1 && (kv.version == 1) == is_new
}

/// What a transaction came to: all its puts, or the look at the key that was not as expected.
fn transacted(answer: pb::TxnResponse, may_fail: bool) -> Read {
    let is_put = |stepped: &pb::ResponseOp| match &stepped.response {
        Some(Stepped::ResponsePut(put)) => put.prev_kv.is_none(),
        _ => false,
    };
    if answer.succeeded {
        require(!answer.responses.is_empty() && answer.responses.iter().all(is_put), &answer)?;
        return Ok((answer.header, Reply::Done));
    }
    match &answer.responses[..] {
        [pb::ResponseOp { response: Some(Stepped::ResponseRange(read)) }] if may_fail => {
            let name = read.kvs.first().map(|kv| kv.key.clone()).unwrap_or_default();
            Ok((answer.header, held(&name, read)?))
        }
        _ => Err(format!("{answer:?}")),
    }
}

fn put(request: PutRequest) -> pb::PutRequest {
    let PutRequest { key, value, lease, .. } = request;
    pb::PutRequest { key, value, lease: lease.0, ..pb::PutRequest::default() }
}

fn txn(request: TxnRequest) -> pb::TxnRequest {
    let steps = |steps: Vec<RequestOp>| steps.into_iter().map(operation).collect();
    pb::TxnRequest {
        compare: request.compare.into_iter().map(compare).collect(),
        success: steps(request.success),
        failure: steps(request.failure),
    }
}

fn step(request: Step) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn operation(operation: RequestOp) -> pb::RequestOp {
    step(match operation {
        RequestOp::Put(request) => Step::RequestPut(put(request)),
        RequestOp::Range(request) => {
            let (key, range_end) = (request.key, request.range_end);
            Step::RequestRange(pb::RangeRequest { key, range_end, ..pb::RangeRequest::default() })
        }
        other @ (RequestOp::DeleteRange(_) | RequestOp::Txn(_)) => {
            unreachable!("these clients do not ask for {other:?}")
        }
    })
}

fn compare(compare: Compare) -> pb::Compare {
    let (target, union) = match compare.target {
        CompareTarget::Version(version) => (Target::Version, TargetUnion::Version(version)),
        CompareTarget::Value(value) => (Target::Value, TargetUnion::Value(value)),
        other @ (CompareTarget::Create(_) | CompareTarget::Mod(_) | CompareTarget::Lease(_)) => {
            unreachable!("these clients do not compare {other:?}")
        }
    };
    let result = match compare.result {
        CompareResult::Equal => Result_::Equal,
        CompareResult::Greater => Result_::Greater,
        CompareResult::Less => Result_::Less,
        CompareResult::NotEqual => Result_::NotEqual,
    };
    pb::Compare {
        result: i32::from(result),
        target: i32::from(target),
        key: compare.key,
        range_end: compare.range_end,
        target_union: Some(union),
    }
}
