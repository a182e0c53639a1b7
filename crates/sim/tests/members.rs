//! Members that come, go and move, and disks that are lost, on whole hosts.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use common::lead;
use host::{Goal, MemberAttributes};
use raft::{ConfigurationChange, MemberChange, NodeId};
use sim::stores::{Cluster, GROUP, SOON};
use sim::{Ending, NoStart, WorldOptions, address_of};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
const N4: NodeId = NodeId(4);

/// Changes the members by the node that leads, and waits until it is done.
#[track_caller]
fn change(cluster: &mut Cluster, change: ConfigurationChange) {
    let leader = cluster.elect();
    let done: Arc<Mutex<Option<bool>>> = Arc::default();
    let keep = Arc::clone(&done);
    let handle = cluster.world.group(leader, GROUP).expect("it leads");
    handle.change_configuration(change, move |result| {
        *keep.lock().expect("one thread") = Some(result.is_ok());
    });
    assert!(cluster.world.run_until(SOON, |_| done.lock().expect("one thread").is_some()));
    assert_eq!(*done.lock().expect("one thread"), Some(true), "the change is made");
}

/// Adds a member by this goal, starts it, and waits until it is a voter.
#[track_caller]
fn add(cluster: &mut Cluster, id: NodeId, goal: Goal) {
    join(cluster, id, goal);
    gets_its_vote(cluster, id);
}

/// Adds a member by this goal, and starts it.
#[track_caller]
fn join(cluster: &mut Cluster, id: NodeId, goal: Goal) {
    let attributes = MemberAttributes {
        goal,
        peer_urls: vec![address_of(id, 0)],
        ..MemberAttributes::default()
    };
    let join = ConfigurationChange {
        members: vec![MemberChange::AddLearner(id)],
        attributes: BTreeMap::from([(id, attributes.encode())]),
        ..ConfigurationChange::default()
    };
    change(cluster, join);
    cluster.world.add(id);
    cluster.world.start(id).expect("the others know it");
}

#[track_caller]
fn gets_its_vote(cluster: &mut Cluster, id: NodeId) {
    let votes = cluster.world.run_until(SOON, |world| {
        let known = world.settled_members(GROUP);
        known.is_some_and(|(_, members)| members.voters.contains(&id))
    });
    assert!(votes, "a member that joins to vote gets its vote");
}

/// Waits until the loss of any disk would be noticed.
#[track_caller]
fn settle(cluster: &mut Cluster) -> Vec<NodeId> {
    let may_lose = |world: &sim::World<_>| world.may_lose(GROUP);
    assert!(cluster.world.run_until(SOON, |world| !may_lose(world).is_empty()));
    may_lose(&cluster.world)
}

/// Found outside of the simulator (T55), whose network let everybody speak to everybody: n3 begins
/// with a configuration in which n4, its leader, is no member, and has to answer it.
#[test]
fn a_node_answers_a_leader_that_became_a_member_behind_the_end_of_its_log() {
    let mut cluster = Cluster::new(WorldOptions::new(5), 1);
    cluster.world.start(N1).expect("an empty disk");
    cluster.world.start(N2).expect("an empty disk");
    add(&mut cluster, N4, Goal::Vote);
    lead(&mut cluster, N4);
    cluster.put_acknowledged(N4, "key", "value");
    cluster.world.start(N3).expect("an empty disk");
    cluster.converge();
    assert_eq!(cluster.local_value(N3, "key").as_deref(), Some(&b"value"[..]));
}

/// The same for one that called n3 when it joined: it did not know yet where it is reached itself,
/// as no configuration with it had come (T120).
#[test]
fn a_leader_that_called_before_it_knew_its_address_is_answered() {
    let mut cluster = Cluster::started(13);
    lead(&mut cluster, N1);
    cluster.converge();
    // Nothing of what n1 and n2 know comes to n3 until n4 leads.
    cluster.world.net().cut(N1.0, N3.0);
    cluster.world.net().cut(N2.0, N3.0);
    join(&mut cluster, N4, Goal::Vote);
    cluster.world.connect_all();
    gets_its_vote(&mut cluster, N4);
    lead(&mut cluster, N4);
    cluster.put_acknowledged(N4, "key", "value");
    cluster.converge();
    assert_eq!(cluster.local_value(N3, "key").as_deref(), Some(&b"value"[..]));
}

/// The same for a leader that is at another address than n3 believes.
#[test]
fn a_node_answers_a_leader_that_has_moved_since() {
    let mut cluster = Cluster::new(WorldOptions::new(6), 1);
    cluster.world.start(N1).expect("an empty disk");
    cluster.world.start(N2).expect("an empty disk");
    let attributes =
        MemberAttributes { peer_urls: vec![address_of(N1, 1)], ..MemberAttributes::default() };
    let moved = ConfigurationChange {
        attributes: BTreeMap::from([(N1, attributes.encode())]),
        ..ConfigurationChange::default()
    };
    change(&mut cluster, moved);
    cluster.world.kill(N1);
    cluster.world.relocate(N1);
    cluster.world.start(N1).expect("it recovers");
    lead(&mut cluster, N1);
    cluster.put_acknowledged(N1, "key", "value");
    cluster.world.start(N3).expect("an empty disk");
    cluster.converge();
    assert_eq!(cluster.local_value(N3, "key").as_deref(), Some(&b"value"[..]));
}

#[test]
fn a_member_that_is_replaced_ends_and_its_successor_has_everything() {
    let mut cluster = Cluster::started(7);
    settle(&mut cluster);
    let leader = cluster.elect();
    cluster.put_acknowledged(leader, "key", "value");
    let old = cluster.a_follower();
    add(&mut cluster, N4, Goal::Replace(old));
    let ends = |world: &sim::World<_>| world.ending(old) == Some(Ending::Removed);
    let ends = cluster.world.run_until(SOON, ends);
    assert!(ends, "a node that hears of its removal ends");
    cluster.converge();
    assert_eq!(cluster.local_value(N4, "key").as_deref(), Some(&b"value"[..]));
}

/// A node that was away while it was removed hears of it when it calls.
#[test]
fn a_removed_node_that_was_away_is_told_when_it_comes_back() {
    let mut cluster = Cluster::started(8);
    let away = cluster.a_follower();
    cluster.world.crash(away);
    let remove = ConfigurationChange::of([MemberChange::Remove(away)]);
    change(&mut cluster, remove);
    cluster.world.start(away).expect("it recovers");
    for _ in 0..200 {
        cluster.world.run_for(SOON / 100);
        cluster.world.connect_all();
        if cluster.world.ending(away).is_some() {
            break;
        }
    }
    assert_eq!(cluster.world.ending(away), Some(Ending::Removed));
}

#[test]
fn d2_who_starts_without_its_disk_is_told_by_the_others_or_by_its_group() {
    for (is_all_lost, seed) in [(true, 9), (false, 10)] {
        let mut cluster = Cluster::started(seed);
        let node = settle(&mut cluster)[0];
        cluster.world.crash(node);
        cluster.world.lose_disk(node, is_all_lost);
        let started = cluster.world.start(node);
        if is_all_lost {
            assert!(matches!(started, Err(NoStart::DataLost)), "{started:?}");
            continue;
        }
        started.expect("its folder says who it is, and nobody is asked");
        let is_told = |world: &sim::World<_>| world.ending(node) == Some(Ending::DataLost);
        assert!(cluster.world.run_until(SOON, is_told), "the group knows it by another disk");
    }
}

/// Found by seed 9006680 (T89): the first configuration of n1 has it alone.
#[test]
fn d2_who_began_alone_and_lost_its_disk_begins_no_second_group() {
    for (is_all_lost, seed) in [(true, 14), (false, 15)] {
        let mut cluster =
            Cluster::new(WorldOptions { node_count: 1, ..WorldOptions::new(seed) }, 1);
        cluster.world.start(N1).expect("an empty disk");
        add(&mut cluster, N2, Goal::Vote);
        add(&mut cluster, N3, Goal::Vote);
        lead(&mut cluster, N2);
        assert!(settle(&mut cluster).contains(&N1));
        cluster.world.crash(N1);
        cluster.world.lose_disk(N1, is_all_lost);
        cluster.world.net().isolate(N1.0);
        let started = cluster.world.start(N1);
        if is_all_lost {
            assert!(matches!(started, Err(NoStart::NobodyAnswers)), "{started:?}");
            continue;
        }
        started.expect("its folder says who it is, and nobody is asked");
        cluster.world.run_for(SOON);
        let status = cluster.world.group(N1, GROUP).expect("it is on").status();
        assert_eq!((status.leader_id, status.last_index.0), (None, 0), "{status:?}");
        cluster.world.net().heal_all();
        let is_told = |world: &sim::World<_>| world.ending(N1) == Some(Ending::DataLost);
        assert!(cluster.world.run_until(SOON, is_told), "the group knows it by another disk");
    }
}

/// Found by seed 9007217 (T98): after a start the log may end in a change that is not finished, and
/// the members before it are committed.
#[test]
fn who_starts_shows_the_members_that_are_committed_behind_a_change_under_way() {
    let mut cluster = Cluster::started(16);
    let gone = cluster.a_follower();
    change(&mut cluster, ConfigurationChange::of([MemberChange::Remove(gone)]));
    let leader = cluster.elect();
    // Enough that the removal is in a snapshot: what follows is not known to be committed.
    for number in 0..300 {
        cluster.put_acknowledged(leader, &format!("key-{number}"), "x");
    }
    cluster.world.net().isolate(leader.0);
    let handle = cluster.world.group(leader, GROUP).expect("it leads");
    let join = ConfigurationChange::of([MemberChange::AddLearner(N4)]);
    handle.change_configuration(join, |_| {});
    let is_there = |world: &sim::World<_>| {
        let known = world.configuration(leader, GROUP);
        known.is_some_and(|known| known.learners.contains(&N4))
    };
    assert!(cluster.world.run_until(SOON, is_there), "it is in the leader's log");
    cluster.world.run_for(SOON / 100);
    cluster.world.kill(leader);
    cluster.world.start(leader).expect("it recovers");
    let handle = cluster.world.group(leader, GROUP).expect("it is on");
    let (newest, known) = (handle.configuration(), handle.committed_configuration());
    assert!(newest.configuration.learners.contains(&N4) && !newest.is_committed);
    assert!(known.configuration.removed.contains(&gone) && known.is_committed, "{known:?}");
    assert!(known.configuration.learners.is_empty() && known.index < newest.index, "{known:?}");
}

/// With nobody to ask it begins, and its word counts for nothing.
#[test]
fn d2_a_lost_disk_is_found_out_though_nobody_answered_at_its_start() {
    let mut cluster = Cluster::started(11);
    let node = settle(&mut cluster)[0];
    cluster.world.crash(node);
    cluster.world.lose_disk(node, true);
    cluster.world.net().isolate(node.0);
    cluster.world.start(node).expect("nobody answers");
    cluster.world.net().heal_all();
    let is_told = |world: &sim::World<_>| world.ending(node) == Some(Ending::DataLost);
    assert!(cluster.world.run_until(SOON, is_told), "the group knows it by another disk");
}

#[test]
fn an_old_disk_catches_up_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::started(12);
    cluster.put_acknowledged(N1, "before", "x");
    let old = cluster.a_follower();
    cluster.world.copy_disk(old);
    let leader = cluster.elect();
    for number in 0..30 {
        cluster.put_acknowledged(leader, &format!("key-{number}"), "y");
    }
    let is_settled = |world: &sim::World<_>| world.may_set_back(GROUP).contains(&old);
    assert!(cluster.world.run_until(SOON, is_settled));
    cluster.world.kill(old);
    assert!(cluster.world.set_back_disk(old));
    cluster.world.start(old).expect("it is a good disk");
    let third = [N1, N2, N3].into_iter().find(|id| *id != leader && *id != old).expect("three");
    cluster.world.crash(third);
    cluster.put_acknowledged(leader, "after", "z");
    cluster.world.start(third).expect("it recovers");
    cluster.converge();
    assert_eq!(cluster.local_value(old, "key-29").as_deref(), Some(&b"y"[..]));
}

/// T128: frames of long ago come again, and find the leader's next life, which does not know them.
#[test]
fn a_change_that_was_made_is_not_called_refused_when_its_frame_comes_again() {
    for seed in 1..=60 {
        let mut cluster = Cluster::started(seed);
        let (leader, follower) = (cluster.elect(), cluster.a_follower());
        cluster.put_acknowledged(follower, "before", "1");
        cluster.world.net().set_replay_permille(1000);
        let is_settled = |world: &sim::World<_>| world.settled_members(GROUP).is_some();
        assert!(cluster.world.run_until(SOON, is_settled));
        let (_, known) = cluster.world.settled_members(GROUP).expect("it is settled");
        let join = ConfigurationChange {
            members: vec![MemberChange::AddLearner(N4)],
            expected: Some(known),
            ..ConfigurationChange::default()
        };
        let told: Arc<Mutex<Option<_>>> = Arc::default();
        let keep = Arc::clone(&told);
        let handle = cluster.world.group(follower, GROUP).expect("it runs");
        handle.change_configuration(join, move |result| {
            *keep.lock().expect("one thread") = Some(result.err());
        });
        cluster.world.run_for(std::time::Duration::from_micros(600 + seed * 30));
        cluster.world.kill(leader);
        cluster.world.start(leader).expect("it recovers");
        assert!(cluster.world.run_until(SOON, |_| told.lock().expect("one thread").is_some()));
        let error = told.lock().expect("one thread").take().expect("told");
        cluster.world.run_for(SOON);
        let (_, known) = cluster.world.settled_members(GROUP).expect("it is settled");
        let may_be = error.is_none_or(|error| !error.definitely_failed());
        assert!(may_be || !known.contains(N4), "seed {seed}: it was made, and told: {error:?}");
    }
}
