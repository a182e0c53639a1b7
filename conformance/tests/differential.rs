//! The same random requests to Flotilla and to the `etcd` of this machine, one after the other:
//! every answer, revision, error and event is equal, but for ids and for what
//! `docs/differences.md` has.
//!
//! `DIFFERENTIAL_SEED` and `DIFFERENTIAL_REQUESTS` repeat a run: `cargo xtask differential`.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]

use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::lease_client::LeaseClient;
use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::{self as pb, request_op::Request as Op};
use api::mvccpb;
use bytes::Bytes;
use conformance::{Cluster, ClusterPlan, Target, skip};
use env::SplitMix;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// Of those that there are; the first may cause the others.
const DIFFERENCES_SHOWN: usize = 5;
const LEASES: [i64; 4] = [11, 12, 13, 14];

/// What a client sends.
#[derive(Clone, Debug)]
enum Ask {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    Grant(pb::LeaseGrantRequest),
    Revoke(pb::LeaseRevokeRequest),
    TimeToLive(pb::LeaseTimeToLiveRequest),
}

/// Chooses requests: keys few enough to meet again, numbers at their edges.
struct Chooser {
    dice: SplitMix,
    /// About where the revision is.
    revision: i64,
}

impl Chooser {
    fn below(&mut self, bound: u64) -> u64 {
        self.dice.below(bound)
    }

    fn often(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn key(&mut self) -> Bytes {
        Bytes::from_static(
            self.pick(&["a", "a1", "a2", "b", "b\0", "c", "d", "e", "f", ""]).as_bytes(),
        )
    }

    fn range_end(&mut self) -> Bytes {
        Bytes::from_static(self.pick(&["", "", "b", "c", "z", "\0", "a"]).as_bytes())
    }

    fn value(&mut self) -> Bytes {
        format!("v{}", self.below(5)).into()
    }

    fn revision(&mut self) -> i64 {
        let near = i64::try_from(self.below(30)).unwrap() - 20;
        self.pick(&[0, 0, 0, 0, -1, 1]).max(-1)
            + if self.often(3) { self.revision + near } else { 0 }
    }

    fn range(&mut self) -> pb::RangeRequest {
        // Ties of other orders are unspecified, so these are without a limit and are compared as a
        // set: see `settle`.
        let sort_target = if self.often(4) { i32::try_from(self.below(5)).unwrap() } else { 0 };
        let filtered = self.often(6);
        let bound = self.revision.max(1).unsigned_abs();
        let filter = |chooser: &mut Self| {
            if filtered && chooser.often(2) {
                i64::try_from(chooser.below(bound)).unwrap()
            } else {
                0
            }
        };
        let (min_mod, max_mod) = (filter(self), filter(self));
        let (min_create, max_create) = (filter(self), filter(self));
        pb::RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit: if sort_target == 0 && self.often(3) {
                i64::try_from(self.below(4)).unwrap()
            } else {
                0
            },
            revision: self.revision(),
            sort_order: i32::try_from(self.below(3)).unwrap(),
            sort_target,
            serializable: self.often(3),
            keys_only: self.often(5),
            count_only: self.often(8),
            min_mod_revision: min_mod,
            max_mod_revision: max_mod,
            min_create_revision: min_create,
            max_create_revision: max_create,
        }
    }

    fn lease(&mut self) -> i64 {
        if self.often(4) { self.pick(&LEASES) } else { 0 }
    }

    fn put(&mut self) -> pb::PutRequest {
        let (ignore_value, ignore_lease) = (self.often(10), self.often(10));
        pb::PutRequest {
            key: self.key(),
            value: if ignore_value && !self.often(5) { Bytes::new() } else { self.value() },
            lease: if ignore_lease && !self.often(5) { 0 } else { self.lease() },
            prev_kv: self.often(3),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let (key, range_end, prev_kv) = (self.key(), self.range_end(), self.often(3));
        pb::DeleteRangeRequest { key, range_end, prev_kv }
    }

    fn compare(&mut self) -> pb::Compare {
        use pb::compare::TargetUnion;
        let number = i64::try_from(self.below(4)).unwrap();
        let revision = self.revision.max(1).unsigned_abs();
        let revision = i64::try_from(self.below(revision)).unwrap();
        let (target, target_union) = match self.below(5) {
            0 => (0, TargetUnion::Version(number)),
            1 => (1, TargetUnion::CreateRevision(revision)),
            2 => (2, TargetUnion::ModRevision(revision)),
            3 => (3, TargetUnion::Value(self.value())),
            _ => (4, TargetUnion::Lease(self.lease())),
        };
        pb::Compare {
            result: i32::try_from(self.below(4)).unwrap(),
            target,
            target_union: (!self.often(12)).then_some(target_union),
            key: self.key(),
            range_end: if self.often(3) { self.range_end() } else { Bytes::new() },
        }
    }

    fn operation(&mut self, depth: u64) -> pb::RequestOp {
        let request = match self.below(if depth > 0 { 8 } else { 7 }) {
            0..2 => Op::RequestRange(self.range()),
            2..5 => Op::RequestPut(self.put()),
            5..7 => {
                let mut delete = self.delete();
                // See "a put beside a delete without end" in docs/differences.md.
                if delete.range_end[..] == [0] {
                    delete.range_end = Bytes::from_static(b"z");
                }
                Op::RequestDeleteRange(delete)
            }
            _ => Op::RequestTxn(self.txn(depth - 1)),
        };
        pb::RequestOp { request: (!self.often(60)).then_some(request) }
    }

    fn txn(&mut self, depth: u64) -> pb::TxnRequest {
        let operations = |chooser: &mut Self| {
            let count = chooser.below(4);
            (0..count).map(|_| chooser.operation(depth)).collect()
        };
        let (success, failure) = (operations(self), operations(self));
        let compares = self.below(3);
        let compare = (0..compares).map(|_| self.compare()).collect();
        pb::TxnRequest { compare, success, failure }
    }

    fn ask(&mut self) -> Ask {
        match self.below(40) {
            0..12 => Ask::Put(self.put()),
            12..16 => Ask::Delete(self.delete()),
            16..25 => Ask::Range(self.range()),
            25..34 => Ask::Txn(self.txn(2)),
            34 => Ask::Compact(pb::CompactionRequest {
                revision: self.revision(),
                physical: self.often(2),
            }),
            35..37 => Ask::Grant(pb::LeaseGrantRequest {
                // None of them ends while the test runs.
                ttl: self.pick(&[3600, 100_000, 9_000_000_001]),
                id: self.pick(&LEASES),
            }),
            37 => Ask::Revoke(pb::LeaseRevokeRequest { id: self.pick(&LEASES) }),
            _ => Ask::TimeToLive(pb::LeaseTimeToLiveRequest {
                id: self.pick(&LEASES),
                keys: self.often(2),
            }),
        }
    }
}

fn settle_header(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}

/// What `docs/differences.md` has is made equal.
fn settle_range(ask: &pb::RangeRequest, range: &mut pb::RangeResponse) {
    settle_header(&mut range.header);
    if ask.keys_only {
        range.kvs.iter_mut().for_each(|kv| kv.lease = 0);
    }
    if ask.sort_target != 0 {
        range.kvs.sort_by(|a, b| a.key.cmp(&b.key));
    }
}

fn settle_txn(operations: &[pb::RequestOp], responses: &mut [pb::ResponseOp]) {
    use pb::response_op::Response as Answer;
    for (operation, response) in operations.iter().zip(responses) {
        match (&operation.request, &mut response.response) {
            (Some(Op::RequestRange(ask)), Some(Answer::ResponseRange(range))) => {
                settle_range(ask, range);
            }
            (Some(Op::RequestTxn(ask)), Some(Answer::ResponseTxn(txn))) => {
                let taken = if txn.succeeded { &ask.success } else { &ask.failure };
                settle_txn(taken, &mut txn.responses);
            }
            _ => {}
        }
    }
}

fn shown<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
    settle: impl FnOnce(&mut T),
) -> String {
    match answer {
        Ok(answer) => {
            let mut answer = answer.into_inner();
            settle(&mut answer);
            format!("{answer:?}")
        }
        Err(status) => format!("{:?} {}", status.code(), status.message()),
    }
}

/// One of the two.
struct Side {
    _cluster: Cluster,
    channel: Channel,
}

impl Side {
    async fn start(target: &Target) -> Self {
        let target = Some(target.clone());
        let cluster = Cluster::start_plan(&ClusterPlan {
            size: 1,
            started: 1,
            target,
            ..ClusterPlan::default()
        });
        let url = format!("http://{}", cluster.endpoint(0));
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        Self { _cluster: cluster, channel }
    }

    async fn send(&self, ask: Ask) -> String {
        let mut kv = KvClient::new(self.channel.clone());
        let mut lease = LeaseClient::new(self.channel.clone());
        match ask {
            Ask::Range(range) => {
                shown(kv.range(range.clone()).await, |answer| settle_range(&range, answer))
            }
            Ask::Put(put) => shown(kv.put(put).await, |answer| settle_header(&mut answer.header)),
            Ask::Delete(delete) => {
                shown(kv.delete_range(delete).await, |answer| settle_header(&mut answer.header))
            }
            Ask::Txn(txn) => shown(kv.txn(txn.clone()).await, |answer| {
                settle_header(&mut answer.header);
                let taken = if answer.succeeded { &txn.success } else { &txn.failure };
                settle_txn(taken, &mut answer.responses);
            }),
            Ask::Compact(compact) => {
                shown(kv.compact(compact).await, |answer| settle_header(&mut answer.header))
            }
            Ask::Grant(grant) => {
                shown(lease.lease_grant(grant).await, |answer| settle_header(&mut answer.header))
            }
            Ask::Revoke(revoke) => {
                shown(lease.lease_revoke(revoke).await, |answer| settle_header(&mut answer.header))
            }
            Ask::TimeToLive(ask) => shown(lease.lease_time_to_live(ask).await, |answer| {
                settle_header(&mut answer.header);
                // What is left depends on the moment.
                answer.ttl = answer.ttl.signum();
                answer.keys.sort();
            }),
        }
    }

    async fn revision(&self) -> i64 {
        let range = pb::RangeRequest { key: Bytes::from_static(b"x"), ..Default::default() };
        let answer = KvClient::new(self.channel.clone()).range(range).await.unwrap();
        answer.into_inner().header.unwrap().revision
    }

    /// All events from a revision to another.
    async fn events(&self, from: i64, to: i64) -> Vec<mvccpb::Event> {
        let create = pb::WatchCreateRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            start_revision: from,
            prev_kv: true,
            ..Default::default()
        };
        let request_union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
        let (requests, stream) = tokio::sync::mpsc::channel(1);
        requests.send(pb::WatchRequest { request_union }).await.unwrap();
        let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
        let watch = WatchClient::new(self.channel.clone()).watch(stream).await;
        let mut answers = watch.unwrap().into_inner();
        let mut events = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            assert!(!answer.canceled, "{answer:?}");
            events.extend(answer.events);
            let last = events.last().and_then(|event: &mvccpb::Event| event.kv.as_ref());
            if last.is_some_and(|kv| kv.mod_revision >= to) {
                break;
            }
        }
        events
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |value| value.parse().unwrap())
}

#[test]
fn random_requests_are_answered_as_etcd_answers_them() {
    let Some(etcd) = Target::etcd() else {
        return skip("random_requests_are_answered_as_etcd_answers_them", "etcd");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (requests, seed) = (number("DIFFERENTIAL_REQUESTS", 2000), number("DIFFERENTIAL_SEED", 1));
    runtime.block_on(async {
        let ours = Side::start(&Target::flotilla()).await;
        let theirs = Side::start(&etcd).await;
        let mut chooser = Chooser { dice: SplitMix::new(seed), revision: 1 };
        let mut compacted = 0;
        let mut differences: Vec<String> = Vec::new();
        for count in 0..requests {
            let ask = chooser.ask();
            let (our, their) = (ours.send(ask.clone()).await, theirs.send(ask.clone()).await);
            if our != their {
                let line = format!("request {count}: {ask:?}\n  ours   {our}\n  etcd's {their}\n");
                differences.push(line);
            }
            if let (Ask::Compact(compact), true) = (&ask, our.starts_with("Compaction")) {
                compacted = compact.revision;
            }
            let revision = ours.revision().await;
            // Also of what was refused: it must not have been done.
            assert_eq!(
                revision,
                theirs.revision().await,
                "the revision after request {count} of seed {seed}: {ask:?}, answered {our}; before: \
                 {differences:?}"
            );
            chooser.revision = revision;
        }
        // One more, so that both watchers have an end to see.
        let last = pb::PutRequest { key: Bytes::from_static(b"end"), ..Default::default() };
        assert_eq!(ours.send(Ask::Put(last.clone())).await, theirs.send(Ask::Put(last)).await);
        let to = ours.revision().await;
        let from = compacted.max(1) + 1;
        assert_eq!(ours.events(from, to).await, theirs.events(from, to).await, "seed {seed}");
        let first: String =
            differences.iter().take(DIFFERENCES_SHOWN).map(String::as_str).collect();
        assert!(
            differences.is_empty(),
            "seed {seed}: {} of {requests} are answered otherwise, the first of them:\n{first}",
            differences.len()
        );
    });
}
