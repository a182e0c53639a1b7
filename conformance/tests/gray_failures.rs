//! Members that are neither well nor gone: cut off, slow, or back before they know what happened.

use std::time::Duration;

use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::lease_client::LeaseClient;
use api::etcdserverpb::{
    CompactionRequest, LeaseGrantRequest, PutRequest, RangeRequest, RangeResponse, RequestOp,
    TxnRequest, request_op::Request,
};
use conformance::load::{Load, lazy};
use conformance::{Cluster, ClusterPlan, audit, eventually, pause};
use env::Clock;
use env::os::OsClock;
use tokio::runtime::Runtime;
use tonic::{Code, Status};

const ELECTION_TIMEOUT: Duration = Duration::from_millis(300);
/// What a request may take: five seconds and two election timeouts.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(5600);
const WITHIN: Duration = Duration::from_secs(30);
/// Of a member that gets a twentieth of a processor.
const RUNS: Duration = Duration::from_millis(5);
const RESTS: Duration = Duration::from_millis(95);

/// Three members that notice soon that somebody is gone.
fn start() -> Cluster {
    let timeout = format!("--election-timeout={}", ELECTION_TIMEOUT.as_millis());
    let flags = vec![timeout, "--heartbeat-interval=30".to_owned()];
    Cluster::start_plan(&ClusterPlan { flags, ..ClusterPlan::default() })
}

fn put_request(value: &str) -> PutRequest {
    PutRequest { key: "k".into(), value: value.to_owned().into(), ..PutRequest::default() }
}

async fn put(endpoint: &str, value: &str) -> Result<i64, Status> {
    let answer = KvClient::new(lazy(endpoint)).put(put_request(value)).await?.into_inner();
    Ok(answer.header.map_or(0, |header| header.revision))
}

async fn get(endpoint: &str, serializable: bool) -> Result<RangeResponse, Status> {
    let request = RangeRequest { key: "k".into(), serializable, ..RangeRequest::default() };
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{endpoint}"))
        .expect("an address")
        .connect_lazy();
    Ok(KvClient::new(channel).range(request).await?.into_inner())
}

/// R13: what a member reads by itself before it has heard of the others is labelled with its
/// revision, and is never served as what is.
#[test]
fn r13_a_member_that_is_back_alone_reads_what_was_and_says_so() {
    let runtime = Runtime::new().unwrap();
    let mut cluster = start();
    let endpoints = cluster.endpoints();
    let leader = runtime.block_on(audit::leader(&endpoints)).unwrap();
    let away = (leader + 1) % 3;
    let old = runtime.block_on(put(&endpoints[leader], "old")).unwrap();
    let knows = || runtime.block_on(audit::serializable_revision(&endpoints[away]));
    eventually("the follower has it", WITHIN, || (knows() == old).then_some(()));
    cluster.kill(away);
    let new = runtime.block_on(put(&endpoints[leader], "new")).unwrap();
    (0..3).filter(|number| *number != away).for_each(|number| cluster.freeze(number));

    cluster.spawn(away);
    let told = eventually("it reads by itself", WITHIN, || {
        runtime.block_on(get(&endpoints[away], true)).ok()
    });
    let revision = told.header.map_or(0, |header| header.revision);
    // It may not have applied again what it had; then it says that as well.
    let value = told.kvs.first().map(|kv| kv.value.clone()).unwrap_or_default();
    assert!(revision <= old && revision < new, "{revision}");
    assert_eq!(&value[..], if revision == old { &b"old"[..] } else { b"" });
    let asked = Duration::from_millis(500);
    let read = async { tokio::time::timeout(asked, get(&endpoints[away], false)).await };
    let refused = runtime.block_on(read);
    assert!(!matches!(refused, Ok(Ok(_))), "served as what is: {refused:?}");

    (0..3).filter(|number| *number != away).for_each(|number| cluster.thaw(number));
    let read = eventually("it has heard of the others", WITHIN, || {
        runtime.block_on(get(&endpoints[away], false)).ok()
    });
    assert_eq!(&read.kvs[0].value[..], b"new");
}

/// N12: a client reaches one member, and that one reaches nobody: each request has an answer in
/// time, and the answer is an error.
#[test]
fn n12_a_member_that_is_cut_off_answers_every_request_in_time() {
    let runtime = Runtime::new().unwrap();
    let cluster = start();
    let endpoints = cluster.endpoints();
    runtime.block_on(put(&endpoints[0], "old")).unwrap();
    let leader = runtime.block_on(audit::leader(&endpoints)).unwrap();
    let left = (leader + 1) % 3;
    (0..3).filter(|number| *number != left).for_each(|number| cluster.freeze(number));
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{}", endpoints[left])).unwrap();
    let clock = OsClock::new();
    let begun = clock.now();
    let refused = runtime.block_on(async {
        let channel = channel.connect().await.unwrap();
        let mut kv = [0; 4].map(|_| KvClient::new(channel.clone()));
        let mut lease = LeaseClient::new(channel);
        let [puts, reads, txns, compactions] = &mut kv;
        // One without operations reads nothing, and is answered by whoever is asked.
        let operation = RequestOp { request: Some(Request::RequestPut(put_request("lost"))) };
        let txn = TxnRequest { success: vec![operation], ..TxnRequest::default() };
        let grant = LeaseGrantRequest { ttl: 60, id: 0 };
        let compact = CompactionRequest { revision: 2, physical: true };
        let read = RangeRequest { key: "k".into(), ..RangeRequest::default() };
        let all = async {
            tokio::join!(
                puts.put(put_request("lost")),
                reads.range(read),
                txns.txn(txn),
                compactions.compact(compact),
                lease.lease_grant(grant)
            )
        };
        let slack = Duration::from_secs(5);
        let answers = tokio::time::timeout(REQUEST_TIMEOUT + slack, all).await;
        let (put, read, txn, compaction, grant) = answers.expect("nothing hangs");
        [put.err(), read.err(), txn.err(), compaction.err(), grant.err()]
    });
    for status in refused {
        let status = status.expect("nothing was done");
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    println!("answered within {} ms", clock.now().since(begun).as_millis());
    // A client that says how long it waits is told then.
    let status = runtime.block_on(async {
        let channel = channel.connect().await.unwrap();
        let mut request = tonic::Request::new(put_request("lost"));
        request.set_timeout(Duration::from_millis(300));
        KvClient::new(channel).put(request).await.unwrap_err()
    });
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");

    (0..3).for_each(|number| cluster.thaw(number));
    eventually("writes go on", WITHIN, || runtime.block_on(put(&endpoints[left], "new")).ok());
}

/// T5: a leader with a twentieth of a processor leads on or is replaced, nothing is lost or read
/// too late, and it is well again when it has its time back.
#[test]
fn t5_a_leader_with_a_twentieth_of_a_processor_loses_nothing() {
    let runtime = Runtime::new().unwrap();
    let mut cluster = start();
    let endpoints = cluster.endpoints();
    let load = runtime.block_on(async { Load::start(&endpoints, 8, 64, 5) });
    let clock = OsClock::new();
    for _ in 0..2 {
        let leader =
            eventually("somebody leads", WITHIN, || runtime.block_on(audit::leader(&endpoints)));
        let end = clock.now().after(Duration::from_millis(1500));
        while clock.now() < end {
            cluster.freeze(leader);
            pause(RESTS);
            cluster.thaw(leader);
            pause(RUNS);
        }
    }
    let before = load.acknowledged();
    eventually("writes go on", WITHIN, || (load.acknowledged() > before + 50).then_some(()));
    let histories = runtime.block_on(load.stop());
    (0..3).for_each(|number| cluster.wait_healthy(number));
    runtime.block_on(audit::audit(&endpoints, &histories)).unwrap();
}
