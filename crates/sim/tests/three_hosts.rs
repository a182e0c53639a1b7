//! Three whole hosts with their logs and stores, in one thread, on a seed.

mod common;

use std::io;
use std::time::Duration;

use common::seeds;
use env::mem::Operation;
use host::GroupId;
use raft::NodeId;
use sim::WorldOptions;
use sim::stores::{Cluster, GROUP, SOON, is_acknowledged};

/// Elects, writes, crashes the leader, recovers, and returns hash and length of the trace.
fn life_of_a_cluster(seed: u64) -> (u64, u64) {
    let mut cluster = Cluster::started(seed);
    let leader = cluster.elect();
    for number in 0..20 {
        cluster.put_acknowledged(leader, &format!("key-{number}"), "before");
    }
    cluster.world.crash(leader);
    let successor = cluster.elect();
    assert_ne!(successor, leader);
    for number in 10..30 {
        cluster.put_acknowledged(successor, &format!("key-{number}"), "after");
    }
    cluster.world.start(leader).expect("it recovers");
    cluster.converge();
    for node in cluster.world.nodes() {
        assert_eq!(cluster.local_value(node, "key-9").as_deref(), Some(&b"before"[..]));
        assert_eq!(cluster.local_value(node, "key-10").as_deref(), Some(&b"after"[..]));
        assert_eq!(cluster.local_value(node, "key-29").as_deref(), Some(&b"after"[..]));
    }
    (cluster.world.trace().hash(), cluster.world.trace().event_count())
}

#[test]
fn elects_writes_crashes_and_recovers() {
    for seed in 1..=5 {
        life_of_a_cluster(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    assert_eq!(life_of_a_cluster(42), life_of_a_cluster(42));
    assert_ne!(life_of_a_cluster(42), life_of_a_cluster(43));
}

#[test]
fn any_node_takes_writes_and_answers_what_it_wrote() {
    let mut cluster = Cluster::started(7);
    for (number, node) in cluster.world.nodes().into_iter().enumerate() {
        let value = number.to_string();
        cluster.put_acknowledged(node, "key", &value);
        assert_eq!(cluster.local_value(node, "key").as_deref(), Some(value.as_bytes()));
    }
}

#[test]
fn c11_a_command_that_died_with_its_leader_is_handed_to_the_next_and_applied_once() {
    for seed in 1..=20 {
        let mut cluster = Cluster::started(seed);
        let (leader, follower) = (cluster.elect(), cluster.a_follower());
        cluster.put_acknowledged(follower, "before", "1");
        let answers: Vec<_> =
            (0..20).map(|number| cluster.put(follower, &format!("key-{number}"), "x")).collect();
        // The commands are somewhere between the client and the logs of the two others.
        let moment = Duration::from_micros(seed * 100);
        cluster.world.run_for(moment);
        cluster.world.crash(leader);
        let all = |_: &sim::World<_>| answers.iter().all(is_acknowledged);
        let patience = Duration::from_secs(5);
        assert!(cluster.world.run_until(patience, all), "seed {seed}: clients wait for nothing");
        for number in 0..20 {
            let key = format!("key-{number}");
            assert_eq!(cluster.version(follower, &key), Some(1), "seed {seed}: {key} once");
        }
    }
}

/// T126: frames of long ago come again, and find the leader's next life, which does not know them.
#[test]
fn a_command_whose_frame_comes_again_to_a_leader_that_began_anew_is_applied_once() {
    for seed in 1..=20 {
        let mut cluster = Cluster::started(seed);
        let (leader, follower) = (cluster.elect(), cluster.a_follower());
        cluster.world.net().set_replay_permille(1000);
        cluster.put_acknowledged(follower, "before", "1");
        let answers: Vec<_> =
            (0..20).map(|number| cluster.put(follower, &format!("key-{number}"), "x")).collect();
        // Some are in the log, some are not, and some are in the log and nobody knows it yet.
        cluster.world.run_for(Duration::from_micros(seed * 100));
        cluster.world.kill(leader);
        cluster.world.start(leader).expect("it recovers");
        let all = |_: &sim::World<_>| answers.iter().all(is_acknowledged);
        let patience = Duration::from_secs(5);
        assert!(cluster.world.run_until(patience, all), "seed {seed}: clients wait for nothing");
        cluster.converge();
        assert_eq!(cluster.version(follower, "before"), Some(1), "seed {seed}: once");
        for number in 0..20 {
            let key = format!("key-{number}");
            assert_eq!(cluster.version(follower, &key), Some(1), "seed {seed}: {key} once");
        }
    }
}

#[test]
fn a_linearizable_read_on_any_node_sees_what_was_acknowledged_anywhere() {
    let mut cluster = Cluster::started(8);
    let nodes = cluster.world.nodes();
    for number in 0..12 {
        let value = number.to_string();
        cluster.put_acknowledged(nodes[number % 3], "key", &value);
        let reader = nodes[(number + 1) % 3];
        assert_eq!(cluster.read(reader, "key").as_deref(), Some(value.as_bytes()));
    }
}

#[test]
fn d1_power_loss_of_all_nodes_right_after_an_acknowledgement_loses_nothing() {
    for seed in 1..=10 {
        let mut cluster = Cluster::started(seed);
        let leader = cluster.elect();
        for number in 0..5 {
            cluster.put_acknowledged(leader, &format!("key-{number}"), "kept");
        }
        for node in cluster.world.nodes() {
            cluster.world.crash(node);
        }
        cluster.world.start_all().expect("they recover");
        let leader = cluster.elect();
        cluster.put_acknowledged(leader, "after", "too");
        cluster.converge();
        for node in cluster.world.nodes() {
            for number in 0..5 {
                let value = cluster.local_value(node, &format!("key-{number}"));
                assert_eq!(value.as_deref(), Some(&b"kept"[..]), "seed {seed}, {node}");
            }
        }
    }
}

#[test]
fn d3_a_failed_sync_ends_the_node_and_acknowledges_nothing() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.elect();
    cluster.put_acknowledged(leader, "before", "1");
    cluster.world.disk(leader).fail(Operation::Sync, 1, io::ErrorKind::Other);
    let answer = cluster.put(leader, "during", "2");
    assert!(cluster.world.run_until(SOON, |world| world.fatal(leader).is_some()));
    assert!(!is_acknowledged(&answer), "a write that may not be on disk is not acknowledged");
    let successor = cluster.elect();
    assert_ne!(successor, leader);
    cluster.put_acknowledged(successor, "after", "3");
    cluster.world.start(leader).expect("a restart reads what is really there");
    cluster.converge();
    assert_eq!(cluster.local_value(leader, "before").as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_node_that_was_away_catches_up_by_snapshot_while_writes_go_on() {
    let mut cluster = Cluster::started(11);
    let away = cluster.a_follower();
    cluster.world.crash(away);
    catch_up(&mut cluster, away);
}

#[test]
fn a_node_that_starts_empty_catches_up_by_snapshot_while_writes_go_on() {
    let mut cluster = Cluster::new(WorldOptions::new(12), 1);
    cluster.world.start(NodeId(1)).expect("an empty disk");
    cluster.world.start(NodeId(2)).expect("an empty disk");
    cluster.elect();
    catch_up(&mut cluster, NodeId(3));
}

/// Writes until the log that `away` needs is cut, starts it under load, and sees it arrive.
fn catch_up(cluster: &mut Cluster, away: NodeId) {
    let leader = cluster.elect();
    for number in 0..600 {
        cluster.put_acknowledged(leader, &format!("key-{}", number % 100), &number.to_string());
    }
    let log_begins = cluster.world.group(leader, GROUP).expect("on").status().snapshot_index;
    assert!(log_begins.0 > 300, "the log was cut: it begins at {log_begins}");
    cluster.world.start(away).expect("it starts");
    for number in 600..800 {
        cluster.put_acknowledged(leader, &format!("key-{}", number % 100), &number.to_string());
    }
    cluster.converge();
    let counters = cluster.world.group(away, GROUP).expect("on").counters();
    assert!(counters.snapshots_installed > 0, "it came by snapshot");
    assert_eq!(cluster.local_value(away, "key-99").as_deref(), Some(&b"799"[..]));
}

#[test]
fn several_groups_live_in_one_process_and_each_keeps_its_own() {
    let mut cluster = Cluster::new(WorldOptions::new(5), 4);
    cluster.world.start_all().expect("empty disks");
    let groups: Vec<GroupId> = (1..=4).map(GroupId).collect();
    let all_led = |world: &sim::World<_>| groups.iter().all(|group| world.leader(*group).is_some());
    assert!(cluster.world.run_until(SOON, all_led), "every group elects");
    let answers: Vec<_> = groups
        .iter()
        .map(|group| cluster.put_in(*group, NodeId(1), "key", &group.0.to_string()))
        .collect();
    assert!(cluster.world.run_until(SOON, |_| answers.iter().all(is_acknowledged)));
    cluster.world.crash(NodeId(1));
    cluster.world.start(NodeId(1)).expect("one log recovers all groups");
    cluster.converge();
    assert_eq!(cluster.local_value(NodeId(1), "key").as_deref(), Some(&b"1"[..]));
}

/// Crashes, partitions and loss at random; at the end every acknowledged write is there.
fn chaos(seed: u64) {
    let mut cluster = Cluster::started(seed);
    let nodes = cluster.world.nodes();
    let mut sent = Vec::new();
    for round in 0..30 {
        let dice = cluster.world.dice();
        let (turn, victim, other) = (dice.below(6), dice.below(3), dice.below(3));
        let (victim, other) = (NodeId(victim + 1), NodeId(other + 1));
        match turn {
            0 if cluster.world.is_on(victim) => cluster.world.crash(victim),
            1 => cluster.world.net().isolate(victim.0),
            2 if victim != other => cluster.world.net().cut_one_way(victim.0, other.0),
            3 => cluster.world.net().set_loss_permille(100),
            _ => {
                cluster.world.net().heal_all();
                cluster.world.net().set_loss_permille(0);
                cluster.world.start_all().expect("they recover");
            }
        }
        for write in 0..8 {
            let node = nodes[(round + write) % 3];
            if cluster.world.is_on(node) {
                let key = format!("key-{round}-{write}");
                sent.push((key.clone(), cluster.put(node, &key, "x")));
            }
        }
        cluster.world.run_for(Duration::from_millis(700));
    }
    cluster.world.net().heal_all();
    cluster.world.net().set_loss_permille(0);
    cluster.world.start_all().expect("they recover");
    // A leader that was cut off may be about to hear of its successor: what it is given now has an
    // unknown outcome, and that is no fault.
    cluster.world.run_for(Duration::from_secs(5));
    let leader = cluster.elect();
    cluster.put_acknowledged(leader, "the end", "x");
    cluster.converge();
    let acknowledged: Vec<_> = sent.iter().filter(|(_, answer)| is_acknowledged(answer)).collect();
    assert!(acknowledged.len() > 20, "seed {seed}: only {} got through", acknowledged.len());
    for (key, _) in acknowledged {
        assert!(cluster.local_value(leader, key).is_some(), "seed {seed}: {key} was lost");
    }
}

#[test]
fn no_acknowledged_write_is_lost_in_crashes_partitions_and_loss() {
    for seed in seeds(30) {
        chaos(seed);
    }
}
