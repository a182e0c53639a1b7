//! Three members in one process.

use crate::common::{Node, bytes, put, range, three, three_with, within};
use api::etcdserverpb::cluster_client::ClusterClient;
use api::etcdserverpb::{self as pb};
use tonic::Code;

fn leader(nodes: &[Node]) -> usize {
    let leader_id = nodes[0].server.status().leader_id;
    nodes.iter().position(|node| Some(node.server.status().member_id) == leader_id).unwrap()
}

async fn shutdown(nodes: Vec<Node>) {
    for node in nodes {
        node.server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_member_takes_writes_and_every_member_reads_them() {
    let nodes = three().await;
    for (at, node) in nodes.iter().enumerate() {
        let key = format!("k{at}");
        node.kv().put(put(&key, "v")).await.unwrap();
        for reader in &nodes {
            let answer = reader.kv().range(range(&key)).await.unwrap().into_inner();
            assert_eq!(answer.count, 1, "a linearizable read sees what was acknowledged");
        }
    }
    let hashes: Vec<_> = nodes.iter().map(|node| node.server.hash().unwrap()).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    shutdown(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_listed_with_where_clients_reach_them() {
    let nodes = three().await;
    for node in &nodes {
        let mut cluster = ClusterClient::new(node.channel.clone());
        let request = pb::MemberListRequest { linearizable: true };
        let answer = cluster.member_list(request).await.unwrap().into_inner();
        assert_eq!(answer.header.unwrap().revision, 0, "members are not of any revision");
        let names: Vec<&str> = answer.members.iter().map(|member| member.name.as_str()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ["a", "b", "c"]);
        for member in &answer.members {
            let of = nodes.iter().find(|node| node.server.status().member_id == member.id);
            let url = format!("http://{}", of.unwrap().server.client_address());
            assert_eq!(member.client_ur_ls, [url]);
        }
    }
    shutdown(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_keeps_leases_alive_by_its_leader_and_watches_for_itself() {
    let nodes = three().await;
    let follower = &nodes[(leader(&nodes) + 1) % 3];
    let mut lease = follower.lease();
    lease.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 5 }).await.unwrap();
    let requests = tokio_stream::iter([pb::LeaseKeepAliveRequest { id: 5 }]);
    let mut kept = lease.lease_keep_alive(requests).await.unwrap().into_inner();
    let answer = within("the leader's answer", kept.message()).await.unwrap().unwrap();
    assert_eq!((answer.id, answer.ttl), (5, 60));
    follower.kv().put(pb::PutRequest { lease: 5, ..put("k", "v") }).await.unwrap();
    let ask = pb::LeaseTimeToLiveRequest { id: 5, keys: true };
    let life = lease.lease_time_to_live(ask).await.unwrap().into_inner();
    assert_eq!((life.granted_ttl, life.keys), (60, vec![bytes("k")]));

    let create = pb::WatchCreateRequest { key: bytes("w"), ..Default::default() };
    let request_union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
    let (requests, stream) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut answers = follower.watch().watch(stream).await.unwrap().into_inner();
    requests.send(pb::WatchRequest { request_union }).await.unwrap();
    assert!(answers.message().await.unwrap().unwrap().created);
    nodes[leader(&nodes)].kv().put(put("w", "v")).await.unwrap();
    let heard = within("the event", answers.message()).await.unwrap().unwrap();
    assert_eq!(&heard.events[0].kv.as_ref().unwrap().value[..], b"v");
    shutdown(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_on_request_and_on_shutdown_and_nothing_is_lost() {
    let mut nodes = three().await;
    let old = leader(&nodes);
    let target_id = nodes[(old + 1) % 3].server.status().member_id;
    let request = pb::MoveLeaderRequest { target_id };
    let refused = nodes[(old + 1) % 3].maintenance().move_leader(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::FailedPrecondition, "etcdserver: not leader")
    );
    let unknown = pb::MoveLeaderRequest { target_id: 99 };
    let refused = nodes[old].maintenance().move_leader(unknown).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: bad leader transferee");
    let moved = nodes[old].maintenance().move_leader(request).await.unwrap().into_inner();
    assert_eq!(moved.header, None);
    assert_eq!(nodes[old].server.status().leader_id, Some(target_id));

    nodes[0].kv().put(put("k", "before")).await.unwrap();
    let leading = nodes.remove(leader(&nodes));
    leading.server.shutdown().await;
    // The others elect or have elected; a write is answered as soon as they have.
    let written = within("a new leader", async {
        loop {
            match nodes[0].kv().put(put("k", "after")).await {
                Ok(answer) => return answer.into_inner().header.unwrap().revision,
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
            }
        }
    });
    assert!(written.await >= 3);
    let read = nodes[1].kv().range(range("k")).await.unwrap().into_inner();
    assert_eq!(&read.kvs[0].value[..], b"after");
    shutdown(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_requests_fail_and_do_not_hang() {
    let mut nodes = three().await;
    let left = nodes.remove((leader(&nodes) + 1) % 3);
    shutdown(nodes).await;
    let refused = within("a refusal", left.kv().put(put("k", "v"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let serializable = pb::RangeRequest { serializable: true, ..range("k") };
    assert_eq!(left.kv().range(serializable).await.unwrap().into_inner().count, 0);
    let mut request = tonic::Request::new(range("k"));
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    within("the loss of the leader", async {
        while left.server.status().leader_id.is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let refused = left.kv().range(request).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));
    assert_eq!(left.get("/health").await.0, 503);
    assert_eq!(left.get("/livez").await.0, 200, "it lives");
    left.server.shutdown().await;
}

/// W10: what a lease has left outlives a change of leader, and so does a renewal.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lease_has_left_outlives_its_leader() {
    let nodes = three_with(|options| options.lease_checkpoint_interval_ms = 1500).await;
    nodes[0].lease().lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 5 }).await.unwrap();
    let left = async |node: &Node| {
        let ask = pb::LeaseTimeToLiveRequest { id: 5, keys: false };
        within("the leader's answer", node.lease().lease_time_to_live(ask))
            .await
            .unwrap()
            .into_inner()
            .ttl
    };
    let move_leader = async || {
        let old = leader(&nodes);
        let target_id = nodes[(old + 1) % 3].server.status().member_id;
        let request = pb::MoveLeaderRequest { target_id };
        nodes[old].maintenance().move_leader(request).await.unwrap();
        within("all to know the leader", async {
            while nodes.iter().any(|node| node.server.status().leader_id != Some(target_id)) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    within("the lease to get shorter", async {
        while left(&nodes[0]).await > 55 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    move_leader().await;
    let after = left(&nodes[1]).await;
    assert!((50..=57).contains(&after), "{after}: not its whole time anew");
    let requests = tokio_stream::iter([pb::LeaseKeepAliveRequest { id: 5 }]);
    let mut kept = nodes[1].lease().lease_keep_alive(requests).await.unwrap().into_inner();
    assert_eq!(within("the renewal", kept.message()).await.unwrap().unwrap().ttl, 60);
    move_leader().await;
    let after = left(&nodes[2]).await;
    assert!(after >= 59, "{after}: the renewal was forgotten");
    shutdown(nodes).await;
}
