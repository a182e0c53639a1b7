//! Priorities move leadership and nothing else (`preference.rs`): where it comes to rest, and that
//! it does.

mod cluster;

use cluster::{Cluster, id};
use raft::*;

fn preferring(nodes: u64, priorities: &[(u64, u32)]) -> Cluster {
    let priorities = priorities.iter().map(|(node, at)| (id(*node), *at)).collect();
    let voters = Configuration::of_voters((1..=nodes).map(id));
    Cluster::with(nodes, &Configuration { priorities, ..voters }, |_| {})
}

/// Lets time pass for all; returns how often somebody handed over, and how many terms began.
fn pass(cluster: &mut Cluster, rounds: u64) -> (usize, u64) {
    let newest = |cluster: &Cluster| {
        cluster.ids().iter().map(|node| cluster.node(*node).term().0).max().expect("some")
    };
    let before = newest(cluster);
    cluster.lines.clear();
    for _ in 0..rounds {
        for node in cluster.ids() {
            cluster.tick(node, 1);
        }
        cluster.stabilize();
    }
    let hand_overs = cluster.lines.iter().filter(|line| line.contains("hands over")).count();
    (hand_overs, newest(cluster) - before)
}

fn leader(cluster: &Cluster) -> Option<u64> {
    let leads = |node: &u64| cluster.node(*node).role() == Role::Leader;
    cluster.ids().into_iter().filter(leads).max_by_key(|node| cluster.node(*node).term())
}

/// From whoever leads it goes up to the top, and stays there.
#[test]
fn leadership_comes_to_rest_at_the_top() {
    for first in 1..=5 {
        let mut cluster = preferring(5, &[(2, 3), (4, 9), (5, 3)]);
        cluster.elect(first);
        let (hand_overs, _) = pass(&mut cluster, 60);
        assert_eq!((leader(&cluster), hand_overs), (Some(4), usize::from(first != 4)));
        assert_eq!(pass(&mut cluster, 300), (0, 0), "and stays");
    }
}

/// Two of one site are equals: nothing is handed to and fro.
#[test]
fn among_equals_nothing_is_handed_over() {
    for first in [1, 2] {
        let mut cluster = preferring(4, &[(1, 5), (2, 5)]);
        cluster.elect(first);
        assert_eq!(pass(&mut cluster, 300), (0, 0));
        assert_eq!(leader(&cluster), Some(first));
    }
}

/// Without priorities there is none of it, whoever leads.
#[test]
fn without_priorities_nothing_is_handed_over() {
    let mut cluster = preferring(3, &[]);
    cluster.elect(3);
    assert_eq!(pass(&mut cluster, 300), (0, 0));
}

/// The one above can be heard and does not take over: it is tried less and less often. In 4000
/// ticks, 400 election timeouts, that is at 1, 3, 7, 15, 31, 63, 127, 191 of them and so on.
#[test]
fn who_does_not_take_over_is_tried_less_and_less() {
    let mut cluster = preferring(3, &[(3, 1)]);
    cluster.elect(1);
    let now = cluster.members[&3].now;
    cluster.input(3, now, Input::PauseElections(true));
    let (hand_overs, terms) = pass(&mut cluster, 4000);
    assert!((8..=11).contains(&hand_overs), "{hand_overs} times");
    assert_eq!((terms, leader(&cluster)), (0, Some(1)));
}

/// The one above hears the leader alone, so that each hand-over costs a term and leads back. The
/// group leads itself most of the time all the same.
#[test]
fn who_cannot_be_elected_does_not_keep_the_group_busy() {
    let mut cluster = preferring(5, &[(5, 1)]);
    cluster.elect(1);
    let (mut led, mut hand_overs) = (0, 0);
    for _ in 0..2000 {
        for node in cluster.ids() {
            cluster.tick(node, 1);
        }
        // Node 5 reaches node 1 and is reached by it, and nobody else.
        loop {
            cluster.network.retain(|message| {
                let ends = [message.from.0, message.to.0];
                !ends.contains(&5) || ends.contains(&1)
            });
            if cluster.network.is_empty() {
                break;
            }
            let message = cluster.network.remove(0);
            cluster.deliver(message);
        }
        led += usize::from(leader(&cluster).is_some_and(|leader| leader != 5));
        hand_overs += cluster.lines.iter().filter(|line| line.contains("hands over")).count();
        cluster.lines.clear();
    }
    assert!(hand_overs > 0, "it was tried");
    // 200 election timeouts; without an end to it every third or fourth would be one.
    assert!(hand_overs <= 12, "{hand_overs} times");
    assert!(led > 1600, "{led} of 2000 ticks");
}

/// When the one above is gone, those below wait longer for it once, and not for ever.
#[test]
fn who_is_left_leads_without_the_preferred() {
    let mut cluster = preferring(3, &[(3, 9), (2, 9)]);
    cluster.elect(3);
    cluster.isolated.extend([2, 3]);
    // Node 1 campaigns though both above it are gone, round after round, each sooner than the last.
    let mut waits = Vec::new();
    for _ in 0..6 {
        let before = cluster.members[&1].now;
        cluster.timeout(1);
        waits.push(cluster.members[&1].now.0 - before.0);
    }
    assert!(waits[1..].iter().all(|wait| *wait < 20 + 5), "{waits:?}");
    assert!(waits[3..].iter().all(|wait| *wait < 20 + 2), "{waits:?}");
}

/// A leader that rests below one that did not take over is woken by a read: it answers, and hands
/// over no sooner than an election timeout later.
#[test]
fn who_wakes_a_leader_is_answered_by_it() {
    let priorities = [(id(3), 1)].into();
    let voters = Configuration::of_voters([1, 2, 3].map(id));
    let mut cluster = Cluster::with(3, &Configuration { priorities, ..voters }, |options| {
        options.quiesce_after_ticks = Some(5);
    });
    cluster.elect(1);
    let pause = |cluster: &mut Cluster, are_paused| {
        let now = cluster.members[&3].now;
        cluster.input(3, now, Input::PauseElections(are_paused));
    };
    pause(&mut cluster, true);
    let (hand_overs, _) = pass(&mut cluster, 200);
    assert_eq!(hand_overs, 1, "it was tried, and then there was nothing to do");
    pause(&mut cluster, false);
    cluster.read(2, 1, ReadMode::ReadIndex);
    assert_eq!(pass(&mut cluster, 8), (0, 0));
    assert!(cluster.members[&2].reads.iter().any(|read| read.result.is_ok()), "it is answered");
}
