//! Published accidents of other systems, by their id in the list of scenarios, on whole hosts.

use std::io;
use std::time::Duration;

use env::mem::Operation;
use host::{GroupId, ProposeError, Stage};
use raft::NodeId;
use sim::stores::{Answer, Cluster, GROUP, SOON, is_acknowledged};
use sim::{World, WorldOptions};
use store::StoreMachine;

fn leads_all(world: &World<StoreMachine>, groups: &[GroupId]) -> bool {
    groups.iter().all(|group| world.leader(*group).is_some())
}

/// Nodes with four groups each, all led, and one acknowledged write in each group.
fn four_groups(seed: u64) -> (Cluster, Vec<GroupId>) {
    let mut cluster = Cluster::new(WorldOptions::new(seed), 4);
    cluster.world.start_all().expect("empty disks");
    let groups: Vec<GroupId> = (1..=4).map(GroupId).collect();
    assert!(cluster.world.run_until(SOON, |world| leads_all(world, &groups)));
    let answers: Vec<_> =
        groups.iter().map(|group| cluster.put_in(*group, NodeId(1), "before", "x")).collect();
    assert!(cluster.world.run_until(SOON, |_| answers.iter().all(is_acknowledged)));
    (cluster, groups)
}

fn is_answered(answer: &Answer) -> bool {
    answer.lock().expect("one thread").is_some()
}

fn failure(answer: &Answer) -> ProposeError {
    let told = answer.lock().expect("one thread").take().expect("it is told");
    told.expect_err("it has failed")
}

#[test]
fn g7_one_failed_sync_of_the_shared_log_ends_every_group_of_the_node() {
    let (mut cluster, groups) = four_groups(21);
    let node = cluster.world.leader(groups[0]).expect("led");
    cluster.world.disk(node).fail(Operation::Sync, 1, io::ErrorKind::Other);
    let answers: Vec<_> =
        groups.iter().map(|group| cluster.put_in(*group, node, "during", "x")).collect();
    assert!(cluster.world.run_until(SOON, |world| world.fatal(node).is_some()));
    assert!(!cluster.world.is_on(node), "no group of it answers anybody");
    assert!(!answers.iter().any(is_acknowledged), "nothing is acknowledged behind a failed sync");
    assert!(cluster.world.run_until(SOON, |world| leads_all(world, &groups)));
}

#[test]
fn d15_a_torn_tail_of_the_shared_log_leaves_each_group_what_it_acknowledged() {
    for seed in 0..10 {
        let (mut cluster, groups) = four_groups(seed);
        let mut acknowledged = Vec::new();
        for round in 0..6_u64 {
            let sent: Vec<_> = (0..12_u64)
                .map(|number| {
                    let group = GroupId(1 + number % 4);
                    let key = format!("key-{round}-{number}");
                    let node = NodeId(1 + number % 3);
                    (group, key.clone(), cluster.put_in(group, node, &key, "x"))
                })
                .collect();
            // The power goes in the middle of a write.
            let pause = Duration::from_micros(cluster.world.dice().below(8_000));
            cluster.world.run_for(pause);
            for node in cluster.world.nodes() {
                cluster.world.crash(node);
            }
            acknowledged.extend(sent.into_iter().filter(|(_, _, answer)| is_acknowledged(answer)));
            cluster.world.start_all().expect("a torn tail is cut");
            assert!(cluster.world.run_until(SOON, |world| leads_all(world, &groups)));
        }
        let last: Vec<_> =
            groups.iter().map(|group| cluster.put_in(*group, NodeId(1), "end", "x")).collect();
        assert!(cluster.world.run_until(SOON, |_| last.iter().all(is_acknowledged)));
        assert!(!acknowledged.is_empty(), "seed {seed}: some writes were in time");
        for (group, key, _) in &acknowledged {
            let value = cluster.local_value_in(*group, NodeId(1), key);
            assert!(value.is_some(), "seed {seed}: {key} of {group:?} was lost");
        }
    }
}

#[test]
fn c10_a_proposal_of_an_isolated_leader_has_an_unknown_outcome_and_is_answered_in_time() {
    let mut cluster = Cluster::started(31);
    let leader = cluster.elect();
    cluster.world.net().isolate(leader.0);
    let answer = cluster.put(leader, "key", "x");
    assert!(cluster.world.run_until(Duration::from_secs(8), |_| is_answered(&answer)));
    assert_eq!(failure(&answer), ProposeError::OutcomeUnknown);
}

/// The entry is under a snapshot that the client's node installs: its result never comes.
#[test]
fn c10_a_proposal_under_an_installed_snapshot_has_an_unknown_outcome() {
    let mut cluster = Cluster::started(32);
    let (leader, away) = (cluster.elect(), cluster.a_follower());
    cluster.put_acknowledged(away, "before", "x");
    // The command gets out, and nothing comes back.
    cluster.world.net().cut_one_way(leader.0, away.0);
    let answer = cluster.put(away, "key", "x");
    cluster.world.run_for(Duration::from_millis(50));
    assert!(cluster.local_value(leader, "key").is_some(), "the leader has it");
    cluster.world.net().cut_one_way(away.0, leader.0);
    for number in 0..600 {
        cluster.put_acknowledged(leader, &format!("key-{}", number % 50), "x");
    }
    cluster.world.net().heal_all();
    cluster.converge();
    let counters = cluster.world.group(away, GROUP).expect("on").counters();
    assert!(counters.snapshots_installed > 0, "it came by snapshot");
    assert!(cluster.world.run_until(Duration::from_secs(8), |_| is_answered(&answer)));
    assert_eq!(failure(&answer), ProposeError::OutcomeUnknown);
}

/// A leader whose disk never answers acknowledges nothing of its own, and another takes its place.
#[test]
fn t1_a_leader_whose_disk_hangs_is_replaced_and_acknowledges_nothing() {
    let mut cluster = Cluster::started(33);
    let leader = cluster.elect();
    let other = cluster.a_follower();
    cluster.put_acknowledged(other, "before", "x");
    cluster.world.pause_stage(leader, Stage::LogWriter);
    let at_leader = cluster.put(leader, "at the leader", "x");
    // Two election timeouts until it counts as hanging, and two more to elect.
    let is_replaced = |world: &World<StoreMachine>| {
        world.leader(GROUP).is_some_and(|successor| successor != leader)
    };
    assert!(cluster.world.run_until(Duration::from_secs(4), is_replaced));
    cluster.put_acknowledged(other, "key", "x");
    assert_eq!(cluster.read(other, "key").as_deref(), Some(&b"x"[..]));
    assert!(!is_acknowledged(&at_leader), "its own disk does not have it");
    // It can still pass on what its clients want.
    let passed_on = cluster.put(leader, "passed on", "x");
    cluster.world.run_for(Duration::from_secs(1));
    assert_eq!(cluster.local_value(other, "passed on").as_deref(), Some(&b"x"[..]));
    assert!(!is_acknowledged(&passed_on), "and not apply it");
    cluster.world.resume(leader);
    cluster.converge();
    assert!(is_acknowledged(&passed_on));
}
