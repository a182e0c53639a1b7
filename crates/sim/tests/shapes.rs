//! Networks, clocks and disks that are broken in one shape, over many seeds each: who leads, and
//! how often that changes. A test is named after its row in the list of published accidents.

use std::collections::BTreeSet;
use std::time::Duration;

use raft::{NodeId, Role};
use sim::core::{CoreOptions, CoreWorld};

const SEEDS: std::ops::Range<u64> = 0..20;
/// The longest election timeout: twice the shortest (Raft §9.3).
const TIMEOUT_MS: u64 = 300;

fn n(id: u64) -> NodeId {
    NodeId(id)
}

fn world(seed: u64, node_count: u64) -> CoreWorld {
    let mut world = CoreWorld::new(&CoreOptions::new(seed, node_count));
    world.start_all();
    world
}

fn leads(world: &CoreWorld, id: NodeId) -> bool {
    world.node(id).is_some_and(|node| node.role() == Role::Leader)
}

fn elect(world: &mut CoreWorld, id: u64) {
    for _ in 0..10 {
        world.run_ms(60);
        world.time_out(n(id));
        if world.run_until(Duration::from_millis(90), |world| leads(world, n(id))) {
            let settled = |world: &CoreWorld| world.applied(n(id)).0 > 0;
            assert!(world.run_until(Duration::from_secs(1), settled));
            world.run_ms(60);
            return;
        }
    }
    panic!("n{id} is not elected");
}

/// Cuts every wire that is not named.
fn only(world: &mut CoreWorld, wires: &[(u64, u64)]) {
    let nodes = world.nodes();
    for (a, b) in nodes.iter().flat_map(|a| nodes.iter().map(move |b| (a.0, b.0))) {
        if a != b && !wires.contains(&(a, b)) && !wires.contains(&(b, a)) {
            world.net().cut(a, b);
        }
    }
}

/// Runs for so long; who led, and in which term.
fn leaders_of(world: &mut CoreWorld, ms: u64) -> BTreeSet<(u64, u64)> {
    let mut seen = BTreeSet::new();
    for _ in 0..ms / 5 {
        world.run_ms(5);
        let nodes = world.nodes();
        let on = nodes.iter().filter_map(|id| world.node(*id));
        let leaders = on.filter(|node| node.role() == Role::Leader);
        seen.extend(leaders.map(|node| (node.term().0, node.id().0)));
    }
    check(world);
    seen
}

fn check(world: &CoreWorld) {
    assert!(world.broken().is_none(), "{:?}", world.broken());
}

fn writes(world: &mut CoreWorld, leader: u64) {
    let entry = world.propose(n(leader), "x").expect("it leads");
    let is_applied = |world: &CoreWorld| world.applied(n(leader)) >= entry.index;
    assert!(world.run_until(Duration::from_secs(1), is_applied), "n{leader} commits");
}

fn leads_within(world: &mut CoreWorld, ms: u64, of: &[u64]) -> u64 {
    let found = |world: &CoreWorld| of.iter().copied().find(|id| leads(world, n(*id)));
    assert!(world.run_until(Duration::from_millis(ms), |world| found(world).is_some()), "{of:?}");
    found(world).expect("it was found")
}

/// Howard and Abraham, 2020: a full triangle with a node hanging on each of two corners.
#[test]
fn n1_two_nodes_on_one_wire_each_do_not_disturb_the_triangle() {
    for seed in SEEDS {
        for first in [1, 2, 4] {
            let mut world = world(seed, 5);
            elect(&mut world, first);
            only(&mut world, &[(1, 2), (1, 3), (2, 3), (2, 4), (3, 5)]);
            let changes: BTreeSet<_> = leaders_of(&mut world, 20 * TIMEOUT_MS);
            assert!(changes.len() <= 2, "seed {seed}: {changes:?}");
            let (_, last) = *changes.last().expect("somebody led");
            assert!(last <= 3 && leads(&world, n(last)), "seed {seed}: {changes:?}");
            writes(&mut world, last);
        }
    }
}

/// The same paper: a leader that reaches one of four steps down, so that the others can elect.
#[test]
fn n2_a_leader_that_reaches_one_other_makes_way() {
    for seed in SEEDS {
        let mut world = world(seed, 5);
        elect(&mut world, 4);
        world.crash(n(5));
        only(&mut world, &[(1, 2), (1, 3), (2, 3), (2, 4)]);
        let next = leads_within(&mut world, 4 * TIMEOUT_MS, &[1, 2, 3]);
        assert!(!leads(&world, n(4)), "seed {seed}");
        writes(&mut world, next);
    }
}

/// OmniPaxos, EuroSys 2023: everybody hears only one node, and that is not the leader.
#[test]
fn n3_the_only_node_that_hears_a_majority_leads() {
    for seed in SEEDS {
        let mut world = world(seed, 5);
        elect(&mut world, 3);
        only(&mut world, &[(1, 2), (1, 3), (1, 4), (1, 5)]);
        assert_eq!(leads_within(&mut world, 4 * TIMEOUT_MS, &[1]), 1);
        writes(&mut world, 1);
        let later = leaders_of(&mut world, 10 * TIMEOUT_MS);
        assert_eq!(later.len(), 1, "seed {seed}: {later:?}");
    }
}

/// The same paper: three in a row.
#[test]
fn n5_a_chain_keeps_its_leader() {
    for seed in SEEDS {
        for leader in [1, 2, 3] {
            let mut world = world(seed, 3);
            elect(&mut world, leader);
            only(&mut world, &[(1, 2), (2, 3)]);
            let seen = leaders_of(&mut world, 20 * TIMEOUT_MS);
            assert_eq!(seen.len(), 1, "seed {seed}, leader {leader}: {seen:?}");
            writes(&mut world, leader);
        }
    }
}

#[test]
fn n7_a_leader_that_hears_nobody_steps_down_and_one_that_is_not_heard_is_replaced() {
    for seed in SEEDS {
        let mut deaf = world(seed, 3);
        elect(&mut deaf, 1);
        deaf.net().cut(2, 1);
        deaf.net().cut(3, 1);
        let down = |world: &CoreWorld| !leads(world, n(1));
        assert!(deaf.run_until(Duration::from_millis(2 * TIMEOUT_MS), down), "seed {seed}");
        let next = leads_within(&mut deaf, 4 * TIMEOUT_MS, &[2, 3]);
        writes(&mut deaf, next);

        let mut mute = world(seed, 3);
        elect(&mut mute, 1);
        mute.net().cut(1, 2);
        mute.net().cut(1, 3);
        let next = leads_within(&mut mute, 4 * TIMEOUT_MS, &[2, 3]);
        writes(&mut mute, next);
        assert!(mute.run_until(Duration::from_millis(TIMEOUT_MS), down), "seed {seed}");
    }
}

#[test]
fn n7_a_follower_that_is_deaf_or_mute_disturbs_nobody() {
    for seed in SEEDS {
        for is_deaf in [false, true] {
            let mut world = world(seed, 3);
            elect(&mut world, 1);
            for other in [1, 2] {
                let (from, to) = if is_deaf { (other, 3) } else { (3, other) };
                world.net().cut(from, to);
            }
            let broken = leaders_of(&mut world, 10 * TIMEOUT_MS);
            world.net().heal_all();
            let healed = leaders_of(&mut world, 10 * TIMEOUT_MS);
            assert_eq!(broken.union(&healed).count(), 1, "seed {seed}, deaf: {is_deaf}");
            writes(&mut world, 1);
        }
    }
}

#[test]
fn n8_progress_through_loss_replay_reordering_and_clogs() {
    for seed in SEEDS {
        let mut world = world(seed, 5);
        elect(&mut world, 1);
        world.net().loss_permille = 300;
        world.net().replay_permille = 500;
        world.net().reorder_permille = 300;
        let mut placed = 0;
        let mut committed_before = 0;
        for round in 0..40_u64 {
            if round % 8 == 0 {
                let (from, to) = (1 + round % 5, 1 + (round + 2) % 5);
                let until = world.now().after(Duration::from_secs(5));
                world.net().clog(from, to, until);
            }
            if let Some(leader) = world.leader() {
                placed += u64::from(world.propose(leader, "x").is_ok());
            }
            world.run_ms(TIMEOUT_MS);
            if round % 20 == 19 {
                let applied = world.nodes().iter().map(|id| world.applied(*id).0).max();
                assert!(applied > Some(committed_before), "seed {seed}: no progress");
                committed_before = applied.unwrap_or(0);
            }
        }
        check(&world);
        assert!(placed >= 20, "seed {seed}: hardly ever a leader");
    }
}

/// A wire between the leader and a follower that comes and goes about once in an election timeout,
/// for a minute.
#[test]
fn n10_a_flapping_wire_changes_the_leader_at_most_once_a_minute() {
    for seed in 0..4 {
        for period_ms in [120, 200, 310] {
            let mut world = world(seed, 3);
            elect(&mut world, 1);
            let mut seen = BTreeSet::new();
            while world.now().0 < 60_000_000_000 {
                world.net().cut(1, 3);
                world.net().cut(3, 1);
                seen.extend(leaders_of(&mut world, period_ms));
                world.net().heal_all();
                seen.extend(leaders_of(&mut world, period_ms));
            }
            assert!(seen.len() <= 2, "seed {seed}, {period_ms} ms: {seen:?}");
        }
    }
}

/// A node that can never win asks for pre-votes for ever: it costs little, changes no term, and
/// catches up when it can.
#[test]
fn n11_a_node_that_can_never_win_costs_little_and_catches_up() {
    for seed in SEEDS {
        let mut world = world(seed, 3);
        elect(&mut world, 1);
        only(&mut world, &[(1, 2), (2, 3)]);
        for _ in 0..20 {
            writes(&mut world, 1);
        }
        let (term, quiet) = (world.node(n(1)).expect("on").term(), world.steps());
        let seconds = 30;
        world.run_ms(seconds * 1000);
        let steps = world.steps() - quiet;
        // 20 heartbeats a second to one follower, with their answers, and some pre-votes.
        assert!(steps < seconds * 200, "seed {seed}: {steps} steps in {seconds} s");
        assert_eq!(world.node(n(3)).expect("on").term(), term, "seed {seed}");
        world.net().heal_all();
        let even = |world: &CoreWorld| world.applied(n(3)) == world.applied(n(1));
        assert!(world.run_until(Duration::from_secs(2), even), "seed {seed}");
        assert!(leads(&world, n(1)));
        check(&world);
    }
}

#[test]
fn e12_a_follower_that_was_cut_off_comes_back_without_an_election() {
    for seed in SEEDS {
        let mut world = world(seed, 3);
        elect(&mut world, 1);
        only(&mut world, &[(1, 2)]);
        let apart = leaders_of(&mut world, 10 * TIMEOUT_MS);
        world.net().heal_all();
        let together = leaders_of(&mut world, 10 * TIMEOUT_MS);
        assert_eq!(apart.union(&together).count(), 1, "seed {seed}");
        assert_eq!(world.node(n(3)).and_then(raft::Node::leader), Some(n(1)));
    }
}

/// The others' leases forbid them to vote; a transfer must be stronger, and must end the lease.
#[test]
fn e19_a_transfer_under_a_lease_succeeds_and_the_old_leader_reads_on_it_no_more() {
    for seed in SEEDS {
        let mut options = CoreOptions::new(seed, 5);
        options.node_options.lease_drift_ppm = Some(500);
        let mut world = CoreWorld::new(&options);
        world.start_all();
        let old = leads_within(&mut world, 5 * TIMEOUT_MS, &[1, 2, 3, 4, 5]);
        let (old, target) = (n(old), n(1 + old % 5));
        world.run_ms(100);
        writes(&mut world, old.0);
        world.run_ms(100);
        let served =
            |world: &CoreWorld, context| world.answer_of(old, context).and_then(|read| read.answer);
        world.read_lease(old, 1);
        assert!(served(&world, 1).flatten().is_some(), "seed {seed}: it has a lease");
        world.transfer(old, Some(target)).expect("it leads");
        // The world compares each answer with what was committed when the read was asked for.
        let mut context = 1;
        while !leads(&world, target) {
            context += 1;
            world.read_lease(old, context);
            assert!(context < 100, "seed {seed}: the transfer succeeds within half a second");
            world.run_ms(5);
        }
        writes(&mut world, target.0);
        world.read_lease(old, 1000);
        world.run_ms(5);
        let late = served(&world, 1000).flatten();
        assert!(late.is_none_or(|at| at >= world.applied(target)), "seed {seed}: {late:?}");
        check(&world);
    }
}

#[test]
fn t7_a_clock_that_races_or_stands_still_deposes_nobody() {
    for seed in SEEDS {
        for rate_ppm in [0, 10_000_000] {
            let mut world = world(seed, 3);
            elect(&mut world, 1);
            world.clock_of(n(3)).set_rate_ppm(rate_ppm);
            world.clock_was_set(n(3));
            let seen = leaders_of(&mut world, 20 * TIMEOUT_MS);
            assert_eq!(seen.len(), 1, "seed {seed}, {rate_ppm} ppm: {seen:?}");
            writes(&mut world, 1);
        }
    }
}

/// Heartbeats are answered by a node whose disk is gone; they are no sign of health.
#[test]
fn l19_a_follower_whose_disk_hangs_holds_up_nobody_and_goes_on_when_it_is_back() {
    for seed in SEEDS {
        let mut world = world(seed, 3);
        elect(&mut world, 1);
        world.hang_disk(n(3));
        for _ in 0..10 {
            writes(&mut world, 1);
        }
        world.run_ms(5 * TIMEOUT_MS);
        let status = world.node(n(1)).expect("on").status();
        let slow = status.followers.iter().find(|follower| follower.id == n(3));
        let held = slow.expect("a member").match_index;
        assert!(held < world.applied(n(1)), "seed {seed}: what is not on its disk is not counted");
        world.mend_disk(n(3));
        let even = |world: &CoreWorld| world.applied(n(3)) == world.applied(n(1));
        assert!(world.run_until(Duration::from_secs(2), even), "seed {seed}");
        check(&world);
    }
}

/// While a snapshot is on its way, or lost, its receiver hears heartbeats and does not campaign.
#[test]
fn s14_a_lost_snapshot_is_sent_again_and_its_receiver_stays_quiet() {
    for seed in SEEDS {
        let mut world = world(seed, 3);
        elect(&mut world, 1);
        only(&mut world, &[(1, 2)]);
        for _ in 0..10 {
            writes(&mut world, 1);
        }
        world.run_ms(100);
        world.compact(n(1));
        world.net().heal_all();
        for _ in 0..6 {
            // Long enough to ask for it, too short to carry it.
            world.run_ms(15);
            world.net().cut(1, 3);
            world.run_ms(15);
            world.net().heal_all();
        }
        let seen = leaders_of(&mut world, 4 * TIMEOUT_MS);
        assert_eq!(seen.len(), 1, "seed {seed}: {seen:?}");
        assert_eq!(world.applied(n(3)), world.applied(n(1)), "seed {seed}");
    }
}
