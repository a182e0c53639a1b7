//! The etcd API in a world: what goes by the handlers of a node and what goes past them is one.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::{PutRequest, RangeRequest, RangeResponse};
use bytes::Bytes;
use raft::NodeId;
use sim::stores::{Cluster, GROUP, SOON};

type Polled<'a, T> = Pin<&'a mut dyn Future<Output = T>>;

/// Polls a call after every event of the world, until it is answered.
fn wait<T>(cluster: &mut Cluster, mut call: Polled<'_, T>) -> T {
    let mut answer = None;
    let mut cx = Context::from_waker(Waker::noop());
    let is_done = cluster.world.run_until(SOON, |_| {
        if let Poll::Ready(told) = call.as_mut().poll(&mut cx) {
            answer = Some(told);
        }
        answer.is_some()
    });
    assert!(is_done, "no answer in time");
    answer.expect("it is done")
}

fn put(key: &str, value: &str) -> PutRequest {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() }
}

fn range(cluster: &mut Cluster, node: NodeId, key: &str) -> RangeResponse {
    let mut kv = KvClient::new(cluster.door(node, GROUP));
    let key = Bytes::copy_from_slice(key.as_bytes());
    let call = kv.range(RangeRequest { key, ..RangeRequest::default() });
    wait(cluster, pin!(call)).expect("a leader is there").into_inner()
}

#[test]
fn what_one_way_writes_the_other_reads() {
    let mut cluster = Cluster::started(9);
    for (number, node) in cluster.world.nodes().into_iter().enumerate() {
        let (written, passed) = (format!("api-{number}"), format!("past-{number}"));
        let mut kv = KvClient::new(cluster.door(node, GROUP));
        let put = wait(&mut cluster, pin!(kv.put(put(&written, "1")))).expect("it is well");
        let put = put.into_inner().header.expect("every answer has one");
        assert_eq!(put.member_id, node.0);
        cluster.put_acknowledged(node, &passed, "2");
        for reader in cluster.world.nodes() {
            assert_eq!(cluster.read(reader, &written).as_deref(), Some(&b"1"[..]));
            let read = range(&mut cluster, reader, &passed);
            let header = read.header.expect("every answer has one");
            assert_eq!((&*read.kvs[0].value, read.count), (&b"2"[..], 1));
            assert_eq!((header.member_id, header.cluster_id), (reader.0, put.cluster_id));
            assert_eq!(header.revision, put.revision + 1);
            assert_eq!(header.raft_term, put.raft_term);
        }
    }
}

#[test]
fn who_waits_for_a_member_that_ends_knows_nothing_and_asks_its_next_life() {
    let mut cluster = Cluster::started(10);
    let node = cluster.a_follower();
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut kv = KvClient::new(cluster.door(node, GROUP));
        let mut call = pin!(kv.put(put("key", "1")));
        assert!(call.as_mut().poll(&mut cx).is_pending());
        cluster.world.crash(node);
        cluster.world.run_for(SOON);
        assert!(call.as_mut().poll(&mut cx).is_pending(), "nobody knows, and nobody says so");
    }
    cluster.world.start(node).expect("it recovers");
    assert!(range(&mut cluster, node, "key").count <= 1, "once or never");
    let mut kv = KvClient::new(cluster.door(node, GROUP));
    let put = wait(&mut cluster, pin!(kv.put(put("key", "2")))).expect("it is well");
    let read = range(&mut cluster, node, "key");
    assert_eq!(read.kvs[0].mod_revision, put.into_inner().header.expect("a header").revision);
}
