//! A member whose keys are not those of the others.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use api::etcdserverpb as pb;
use bytes::Bytes;
use env::os::OsDisk;
use host::{CommittedEntry, StateMachine};
use raft::EntryId;
use server::{ClusterState, Server, ServerOptions};
use store::{Command, PutRequest, StoreMachine, StoreOptions};
use tempfile::TempDir;
use tonic::Code;

use crate::common::{Node, bytes, listener, options, within};

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes("v"), ..Default::default() }
}

/// Revisions that the members make.
const PUTS: u64 = 5;

/// Makes a store that has applied as many entries and made as many revisions as the real one, and
/// has other values: as after a bad memory. Both are what the real one says of itself: a member's
/// status tells of a revision before it tells of the entry that made it, and a store with one more
/// than the others could not be compared with theirs.
fn falsify(dir: &Path) {
    let dir = dir.join("data/store");
    let open = || StoreMachine::open(Arc::new(OsDisk), &dir, StoreOptions::default()).unwrap();
    let (mut machine, store) = open();
    let (last, revision) = (machine.applied(), store.revision());
    machine.shutdown().unwrap();
    drop(store);
    std::fs::remove_dir_all(&dir).unwrap();
    let (mut machine, store) = open();
    // A store begins at revision 1.
    let puts = u64::try_from(revision - 1).unwrap();
    let entry = |index: u64| {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from(format!("false {index}")));
        let command = Command::Put(PutRequest { key, value, ..PutRequest::default() });
        let command = (index + puts > last.index.0).then(|| command.encode());
        CommittedEntry { id: EntryId { index: raft::LogIndex(index), ..last }, command }
    };
    let entries: Vec<CommittedEntry> = (1..=last.index.0).map(entry).collect();
    machine.apply(&entries, &mut Vec::new()).unwrap();
    assert_eq!((machine.applied(), store.revision()), (last, revision));
    machine.shutdown().unwrap();
}

/// Three members that hold the same keys, and their addresses.
async fn three_that_agree() -> (Vec<Node>, Vec<SocketAddr>) {
    let peers: Vec<_> = (0..3).map(|_| listener()).collect();
    let addresses: Vec<_> = peers.iter().map(|peer| peer.local_addr().unwrap()).collect();
    let entry = |at: usize| format!("n{at}=http://{}", addresses[at]);
    let initial_cluster = [0, 1, 2].map(entry).join(",");
    let mut nodes = Vec::new();
    for (at, peer) in peers.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions {
            peer_listener: Some(peer),
            initial_cluster: initial_cluster.clone(),
            ..options(&format!("n{at}"), dir.path())
        };
        nodes.push(Node::start(dir, options).await);
    }
    for node in &nodes {
        within("three members to be ready", node.server.wait_ready()).await;
    }
    for number in 0..PUTS {
        nodes[0].kv().put(put(&format!("k{number}"))).await.unwrap();
    }
    // They must have everything in their stores before one ends.
    let revision = nodes[0].server.status().revision;
    within("the others to follow", async {
        while nodes.iter().any(|node| node.server.status().revision < revision) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    (nodes, addresses)
}

/// What a member that was crashed is started with again.
async fn again(at: usize, dir: &Path, address: SocketAddr) -> ServerOptions {
    let peer = within("the port to be free", async {
        loop {
            match std::net::TcpListener::bind(address) {
                Ok(peer) => return peer,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    ServerOptions {
        peer_listener: Some(peer),
        initial_cluster_state: ClusterState::New,
        ..options(&format!("n{at}"), dir)
    }
}

/// Ends the last member, whose store is then whole on its disk, and gives it keys of its own.
async fn fall_ill(nodes: &mut Vec<Node>) -> TempDir {
    let ill = nodes.pop().unwrap();
    ill.server.shutdown().await;
    falsify(ill.dir.path());
    ill.dir
}

/// Three members; the last one is started again with keys of its own. What it then has for options,
/// `change` says.
async fn with_an_ill_one(
    change: impl Fn(&mut ServerOptions),
) -> (Vec<Node>, TempDir, server::RunningServer) {
    let (mut nodes, addresses) = three_that_agree().await;
    let dir = fall_ill(&mut nodes).await;
    // It compares its keys with the leader's. Were it elected itself, it had nobody to ask.
    within("a leader among the others", async {
        while nodes[0].kv().put(put("led")).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut options = again(2, dir.path(), addresses[2]).await;
    change(&mut options);
    let started = Server::start(options).await.unwrap();
    (nodes, dir, started)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_other_keys_raises_the_alarm_and_nothing_is_served() {
    let (nodes, _dir, ill) = with_an_ill_one(|options| options.corrupt_check_time_ms = 100).await;
    let corrupt = async {
        loop {
            if let Err(status) = nodes[0].kv().put(put("k")).await
                && status.code() == Code::DataLoss
            {
                return status;
            }
        }
    };
    let status = within("the alarm", corrupt).await;
    assert_eq!(status.message(), "etcdserver: corrupt cluster");
    let request = pb::AlarmRequest { action: 0, member_id: 0, alarm: 0 };
    let alarms = nodes[0].maintenance().alarm(request).await.unwrap().into_inner().alarms;
    assert_eq!(alarms.len(), 1);
    assert_eq!(alarms[0].member_id, ill.status().member_id);
    ill.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_other_keys_does_not_begin_to_serve() {
    let (nodes, _dir, ill) = with_an_ill_one(|options| options.initial_corrupt_check = true).await;
    let reason = within("its end", ill.wait()).await;
    assert_eq!(reason.exit_code(), 24, "{reason}");
    assert!(!ill.status().ready);
    nodes[0].kv().put(put("k")).await.unwrap();
}

/// All start at once, and the one that is ill is the first to campaign: it has no leader to compare
/// itself with, and the others have it for theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_other_keys_does_not_begin_to_serve_as_the_leader_either() {
    let (mut nodes, addresses) = three_that_agree().await;
    let ill = fall_ill(&mut nodes).await;
    let dirs: Vec<TempDir> = nodes.into_iter().map(|node| node.dir).chain([ill]).collect();
    let mut started = Vec::new();
    for (at, dir) in dirs.iter().enumerate() {
        let again = again(at, dir.path(), addresses[at]).await;
        let election_timeout_ms = if at == 2 { again.election_timeout_ms } else { 1500 };
        let options = ServerOptions { initial_corrupt_check: true, election_timeout_ms, ..again };
        started.push(Server::start(options).await.unwrap());
    }
    let ill = started.pop().unwrap();
    let reason = within("its end", ill.wait()).await;
    assert_eq!(reason.exit_code(), 24, "{reason}");
    assert!(!ill.status().ready);
    for other in &started {
        within("the others to serve", other.wait_ready()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_with_the_same_keys_are_left_alone() {
    let nodes = crate::common::three_with(|options| {
        options.corrupt_check_time_ms = 20;
        options.initial_corrupt_check = true;
    })
    .await;
    for number in 0..300 {
        nodes[number % 3].kv().put(put(&format!("k{}", number % 7))).await.unwrap();
        if number % 100 == 50 {
            let revision = i64::try_from(number).unwrap() - 20;
            let request = pb::CompactionRequest { revision, physical: false };
            nodes[0].kv().compact(request).await.unwrap();
        }
    }
    let request = pb::AlarmRequest { action: 0, member_id: 0, alarm: 0 };
    let alarms = nodes[0].maintenance().alarm(request).await.unwrap().into_inner().alarms;
    assert!(alarms.is_empty(), "{alarms:?}");
}
