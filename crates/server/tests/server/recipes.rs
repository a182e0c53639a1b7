//! Locks and elections as services.

use api::etcdserverpb::{self as pb};
use api::v3electionpb::{self as election, election_client::ElectionClient};
use api::v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient};
use tonic::Code;

use crate::common::{Node, bytes, one, three, within};

async fn grant(node: &Node, id: i64) {
    node.lease().lease_grant(pb::LeaseGrantRequest { ttl: 600, id }).await.unwrap();
}

fn lock_of(name: &str, lease: i64) -> LockRequest {
    LockRequest { name: bytes(name), lease }
}

async fn count(node: &Node, prefix: &str, end: &str) -> i64 {
    let range =
        pb::RangeRequest { key: bytes(prefix), range_end: bytes(end), ..Default::default() };
    node.kv().range(range).await.unwrap().into_inner().count
}

/// Waits until so many keys stand for a name.
async fn until(node: &Node, prefix: &str, end: &str, wanted: i64) {
    within("competitors", async {
        while count(node, prefix, end).await != wanted {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_held_by_one_lease_until_it_lets_go_or_ends() {
    let node = one().await;
    let mut lock = LockClient::new(node.channel.clone());
    for lease in [0x11, 0x12, 0x13] {
        grant(&node, lease).await;
    }
    let first = lock.lock(lock_of("l", 0x11)).await.unwrap().into_inner();
    assert_eq!(&first.key[..], b"l/11");
    let again = lock.lock(lock_of("l", 0x11)).await.unwrap().into_inner();
    assert_eq!(again.key, first.key, "who holds it may ask again");
    let (mut other, mut third) = (lock.clone(), lock.clone());
    let second = tokio::spawn(async move { other.lock(lock_of("l", 0x12)).await });
    until(&node, "l/", "l0", 2).await;
    let third = tokio::spawn(async move { third.lock(lock_of("l", 0x13)).await });
    until(&node, "l/", "l0", 3).await;
    assert!(!second.is_finished() && !third.is_finished());
    lock.unlock(UnlockRequest { key: first.key }).await.unwrap();
    let second = within("the second", second).await.unwrap().unwrap().into_inner();
    assert_eq!(&second.key[..], b"l/12");
    assert!(!third.is_finished());
    node.lease().lease_revoke(pb::LeaseRevokeRequest { id: 0x12 }).await.unwrap();
    let third = within("the third", third).await.unwrap().unwrap().into_inner();
    assert_eq!(&third.key[..], b"l/13");
    node.server.shutdown().await;
}

/// W9: the lock's key, with the revision that created it, guards what is written under the lock.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_no_longer_leaves_no_key_and_who_lost_its_lease_is_told() {
    let node = one().await;
    let mut lock = LockClient::new(node.channel.clone());
    for lease in [1, 2, 3] {
        grant(&node, lease).await;
    }
    let held = lock.lock(lock_of("l", 1)).await.unwrap().into_inner();
    let mut other = lock.clone();
    let waiting = tokio::spawn(async move { other.lock(lock_of("l", 2)).await });
    until(&node, "l/", "l0", 2).await;
    waiting.abort();
    until(&node, "l/", "l0", 1).await;
    let mut other = lock.clone();
    let waiting = tokio::spawn(async move { other.lock(lock_of("l", 3)).await });
    until(&node, "l/", "l0", 2).await;
    node.lease().lease_revoke(pb::LeaseRevokeRequest { id: 3 }).await.unwrap();
    lock.unlock(UnlockRequest { key: held.key }).await.unwrap();
    let lost = within("the refusal", waiting).await.unwrap().unwrap_err();
    assert_eq!((lost.code(), lost.message()), (Code::Unknown, "mutex: session is expired"));
    let unknown = lock.lock(lock_of("l", 99)).await.unwrap_err();
    let text = "etcdserver: requested lease not found";
    assert_eq!((unknown.code(), unknown.message()), (Code::Unknown, text));
    let own = lock.lock(lock_of("o", 0)).await.unwrap().into_inner();
    let lease = i64::from_str_radix(std::str::from_utf8(&own.key[2..]).unwrap(), 16).unwrap();
    let ask = pb::LeaseTimeToLiveRequest { id: lease, keys: true };
    let life = node.lease().lease_time_to_live(ask).await.unwrap().into_inner();
    assert_eq!((life.granted_ttl, life.keys), (60, vec![own.key]));
    node.server.shutdown().await;
}

/// Wherever a request ends, at its lease's grant, while its key is on its way, or waiting: what the
/// server made for it alone goes.
#[tokio::test(flavor = "multi_thread")]
async fn whenever_a_client_gives_up_the_lease_that_it_never_knew_ends() {
    let node = one().await;
    give_up(&node).await;
    node.server.shutdown().await;
}

/// A member that does not lead hands on what it is asked for, and ends it with what it hands on
/// next.
#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_at_a_follower_leaves_nothing_either() {
    let nodes = three().await;
    let follows = |node: &&Node| {
        let status = node.server.status();
        status.leader_id != Some(status.member_id)
    };
    give_up(nodes.iter().find(follows).unwrap()).await;
    for node in nodes {
        node.server.shutdown().await;
    }
}

/// Locks and campaigns for what is held, each given up a little later than the last.
async fn give_up(node: &Node) {
    let mut lock = LockClient::new(node.channel.clone());
    let mut elections = ElectionClient::new(node.channel.clone());
    let held = lock.lock(lock_of("l", 0)).await.unwrap().into_inner();
    let campaign = || election::CampaignRequest { name: bytes("l"), ..Default::default() };
    for micros in (100..8000).step_by(200) {
        let mut request = tonic::Request::new(lock_of("l", 0));
        request.metadata_mut().insert("grpc-timeout", format!("{micros}u").parse().unwrap());
        lock.lock(request).await.unwrap_err();
        let mut request = tonic::Request::new(campaign());
        request.metadata_mut().insert("grpc-timeout", format!("{micros}u").parse().unwrap());
        elections.campaign(request).await.unwrap_err();
    }
    until(node, "l/", "l0", 1).await;
    within("the leases to end", async {
        let leases = async || {
            node.lease().lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner().leases
        };
        while leases().await.len() != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    lock.unlock(UnlockRequest { key: held.key }).await.unwrap();
    lock.lock(lock_of("l", 0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_shows_its_leaders_in_turn() {
    let node = one().await;
    let mut elections = ElectionClient::new(node.channel.clone());
    let name = || election::LeaderRequest { name: bytes("e") };
    let refused = elections.leader(name()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unknown, "election: no leader"));
    let refused = elections.resign(election::ResignRequest { leader: None }).await.unwrap_err();
    let text = "\"leader\" field must be provided";
    assert_eq!((refused.code(), refused.message()), (Code::Unknown, text));
    let mut observed = elections.observe(name()).await.unwrap().into_inner();
    let mut shown = async || {
        let leader = within("a leader", observed.message()).await.unwrap().unwrap();
        let kv = leader.kv.unwrap();
        assert!(leader.header.unwrap().revision >= kv.mod_revision);
        String::from_utf8(kv.value.to_vec()).unwrap()
    };
    grant(&node, 1).await;
    grant(&node, 2).await;
    let campaign = |lease, value: &str| election::CampaignRequest {
        name: bytes("e"),
        lease,
        value: bytes(value),
    };
    let one = elections.campaign(campaign(1, "one")).await.unwrap().into_inner().leader.unwrap();
    assert_eq!((&one.key[..], one.lease), (&b"e/1"[..], 1));
    assert_eq!(shown().await, "one");
    let mut other = elections.clone();
    let two = tokio::spawn(async move { other.campaign(campaign(2, "two")).await });
    until(&node, "e/", "e0", 2).await;
    let proclaim = |leader: &election::LeaderKey, value: &str| election::ProclaimRequest {
        leader: Some(leader.clone()),
        value: bytes(value),
    };
    elections.proclaim(proclaim(&one, "one again")).await.unwrap();
    assert_eq!(shown().await, "one again");
    assert!(!two.is_finished());
    elections.resign(election::ResignRequest { leader: Some(one.clone()) }).await.unwrap();
    let two = within("the second", two).await.unwrap().unwrap().into_inner().leader.unwrap();
    assert_eq!(shown().await, "two");
    let refused = elections.proclaim(proclaim(&one, "three")).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unknown, "election: not leader"));
    let leader = elections.leader(name()).await.unwrap().into_inner().kv.unwrap();
    assert_eq!((leader.key, leader.create_revision), (two.key, two.rev));
    node.server.shutdown().await;
}
