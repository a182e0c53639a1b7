use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::Waker;

use api::etcdserverpb as pb;
use api::etcdserverpb::kv_client::KvClient;
use env::Moment;
use env::mem::{MemDisk, MemNet, SeededEntropy, VirtualClock};
use host::{GroupId, GroupSetup, HostOptions, Stages};
use raft::Configuration;
use store::{StoreMachine, StoreOptions};
use tonic::{Code, Status};
use wal::{Wal, WalOptions};

use super::*;

const GROUP: GroupId = GroupId(1);
const CLUSTER_ID: u64 = 0xc1;
const MEMBER: NodeId = NodeId(7);

/// A member alone, on virtual time in this thread.
struct Alone {
    clock: VirtualClock,
    stages: Stages<StoreMachine>,
    door: InProcess,
}

impl Alone {
    /// One that leads.
    fn new() -> Self {
        let mut alone = Self::off();
        let is_led = |alone: &Self| alone.door.member.leadership.is_leader();
        while !is_led(&alone) {
            alone.run_once();
        }
        alone
    }

    fn off() -> Self {
        let clock = VirtualClock::new();
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let net = Arc::new(MemNet::new(clock.clone(), 1).endpoint(MEMBER.0));
        let (wal, recovered) =
            Wal::open(Arc::clone(&disk), Path::new("/wal"), WalOptions::default()).unwrap();
        let (machine, store) =
            StoreMachine::open(Arc::clone(&disk), Path::new("/store"), StoreOptions::default())
                .unwrap();
        let leadership = Arc::new(Leadership::new(MEMBER));
        let told = Arc::clone(&leadership);
        let options = HostOptions {
            observer: Arc::new(move |_, status| told.update(status)),
            ..HostOptions::new(MEMBER, CLUSTER_ID, PathBuf::from("/host"))
        };
        let world = host::World {
            disk: Arc::clone(&disk),
            clock: Arc::new(clock.clone()),
            net: net.clone(),
            bulk_net: net,
            entropy: Arc::new(SeededEntropy::new(1)),
        };
        let bootstrap = Configuration::of_voters([MEMBER]);
        let groups = vec![GroupSetup { id: GROUP, machine, bootstrap }];
        let stages = Stages::build(options, world, wal, recovered.groups, groups).unwrap();
        let parts = MemberParts {
            cluster_id: CLUSTER_ID,
            member_id: MEMBER,
            group: stages.group(GROUP).unwrap(),
            store,
            leadership,
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new(2)),
            disk,
        };
        let door = InProcess::new(&ServerOptions::default(), parts);
        Self { clock, stages, door }
    }

    /// Whatever has work does it, or time passes.
    fn run_once(&mut self) {
        let now = self.clock.now();
        let ready: Vec<_> =
            self.stages.stages().filter(|stage| self.stages.has_work(*stage, now)).collect();
        if ready.is_empty() {
            let next = self.stages.next_deadline().unwrap();
            self.clock.set(next.max(Moment(now.0 + 1)));
        }
        for stage in ready {
            self.stages.step(stage).unwrap();
        }
    }

    /// Polls by hand until the answer is there.
    fn wait<T>(&mut self, call: impl Future<Output = T>) -> T {
        let (mut call, mut cx) = (pin!(call), Context::from_waker(Waker::noop()));
        for _ in 0..10_000 {
            if let Poll::Ready(answer) = call.as_mut().poll(&mut cx) {
                return answer;
            }
            self.run_once();
        }
        panic!("no answer");
    }

    fn kv(&self) -> KvClient<InProcess> {
        KvClient::new(self.door.clone())
    }
}

fn put(key: &'static str, value: impl Into<Bytes>) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..pb::PutRequest::default() }
}

fn range(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), ..pb::RangeRequest::default() }
}

#[test]
fn puts_ranges_and_transactions_are_answered_without_a_runtime() {
    let mut alone = Alone::new();
    let mut kv = alone.kv();
    let answered = alone.wait(kv.put(put("key", "1"))).unwrap().into_inner();
    let header = answered.header.unwrap();
    assert_eq!((header.cluster_id, header.member_id), (CLUSTER_ID, MEMBER.0));
    assert_eq!((header.revision, header.raft_term), (2, 1));
    let read = alone.wait(kv.range(range("key"))).unwrap().into_inner();
    assert_eq!((read.count, &*read.kvs[0].value), (1, &b"1"[..]));
    let target = pb::compare::TargetUnion::Version(1);
    let compare = pb::Compare {
        key: "key".into(),
        target: i32::from(pb::compare::CompareTarget::Version),
        target_union: Some(target),
        ..pb::Compare::default()
    };
    let step = pb::request_op::Request::RequestPut(put("key", "2"));
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![pb::RequestOp { request: Some(step) }],
        failure: vec![],
    };
    let first = alone.wait(kv.txn(txn.clone())).unwrap().into_inner();
    let second = alone.wait(kv.txn(txn)).unwrap().into_inner();
    assert_eq!((first.succeeded, second.succeeded), (true, false));
    let refused: Status = alone.wait(kv.put(put("", "1"))).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "etcdserver: key is not provided");
}

/// The refusal comes before the message is read, which is here all the same.
#[test]
fn who_has_no_vote_and_who_knows_no_leader_refuse_without_a_runtime() {
    let mut alone = Alone::off();
    let mut request = tonic::Request::new(put("key", "1"));
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let mut kv = alone.kv();
    let refused = alone.wait(kv.put(request)).unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));
    let mut alone = Alone::new();
    let status = alone.door.member.group.status();
    alone.door.member.leadership.update(&host::GroupStatus { is_learner: true, ..status });
    let mut kv = alone.kv();
    let refused = alone.wait(kv.put(put("key", "1"))).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "etcdserver: rpc not supported for learner");
    let unknown = alone.wait(kv.range(range("key"))).unwrap_err();
    assert_eq!(unknown.message(), "etcdserver: rpc not supported for learner");
}

/// T132: a client that is told `too many requests` may do it again.
#[test]
fn what_is_done_and_cannot_be_answered_is_not_called_refused() {
    let mut alone = Alone::new();
    let mut kv = alone.kv();
    let long = vec![b'.'; 8 << 10];
    alone.wait(kv.put(put("key", long))).unwrap();
    // All that a connection may hold of answers waits to be read.
    let held = alone.door.dispatch.messages().hold_all(64 << 20);
    let refused = alone.wait(kv.range(range("key"))).unwrap_err();
    assert_eq!(refused.message(), "etcdserver: too many requests");
    let delete = pb::DeleteRangeRequest { key: "key".into(), prev_kv: true, ..Default::default() };
    let untold = alone.wait(kv.delete_range(delete)).unwrap_err();
    let expect = (Code::Unavailable, "etcdserver: request timed out");
    assert_eq!((untold.code(), untold.message()), expect);
    drop(held);
    assert_eq!(alone.wait(kv.range(range("key"))).unwrap().into_inner().count, 0, "it was done");
}
