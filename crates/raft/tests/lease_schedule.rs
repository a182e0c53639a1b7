//! Leases, those in the log (`lease_guard.rs`) and those on votes (`lease.rs`), under schedules
//! made for them: leaders that are cut off and go on reading, elections and transfers at any
//! moment, terms of leases that change, snapshots, crashes, and reads all the time. No clock is
//! faster than another, but a node may look at it late. The one thing to see is that no read misses
//! what was committed when it was asked for; the cluster checks that.

mod cluster;

use cluster::Cluster;
use cluster::dice::{Dice, Seeds};
use raft::*;

fn terms(dice: &mut Dice) -> LeaseTerms {
    let ticks = if dice.one_in(2) { dice.roll(6) + 2 } else { dice.roll(30) + 20 };
    LeaseTerms { duration_us: ticks * 1000, drift_ppm: 0, clock: LeaseClock::Monotonic }
}

fn new_cluster(dice: &mut Dice) -> Cluster {
    let on_votes = dice.one_in(3);
    let lease = (!on_votes).then(|| terms(dice));
    let voters = Configuration { lease, ..Configuration::of_voters((1..=3).map(NodeId)) };
    let seed = dice.roll(1 << 32);
    let mut cluster = Cluster::with(3, &voters, |options| {
        options.seed = seed;
        // Whoever asks is voted for, and a leader that is cut off goes on: the lease alone must do.
        (options.pre_vote, options.check_quorum) = (false, on_votes);
        options.lease_drift_ppm = on_votes.then_some(0);
    });
    for node in 1..=3 {
        cluster.member(node).disk_is_instant = dice.one_in(2);
    }
    cluster
}

fn leaders(cluster: &Cluster) -> Vec<u64> {
    (1..=3).filter(|node| cluster.node(*node).role() == Role::Leader).collect()
}

/// Every clock goes on, and some look.
fn pass_time(cluster: &mut Cluster, dice: &mut Dice) {
    for node in 1..=3 {
        if dice.one_in(4) {
            let member = cluster.member(node);
            member.now = member.now.after(1);
        } else {
            cluster.tick(node, 1);
        }
    }
}

fn deliver(cluster: &mut Cluster, dice: &mut Dice) {
    if cluster.network.is_empty() {
        return;
    }
    let len = cluster.network.len() as u64;
    let place = if dice.one_in(8) { dice.roll(len) } else { 0 };
    let message = cluster.network.remove(usize::try_from(place).unwrap_or(0));
    if !dice.one_in(50) {
        cluster.deliver(message);
    }
}

fn step(cluster: &mut Cluster, dice: &mut Dice, number: u64) {
    let leaders = leaders(cluster);
    match dice.roll(100) {
        0..=44 => deliver(cluster, dice),
        45..=58 => pass_time(cluster, dice),
        59..=66 => {
            let node = dice.roll(3) + 1;
            cluster.write_one(node);
        }
        67..=77 => {
            // Whoever leads, or led and has not heard of it.
            if let Some(node) = dice.any(&leaders) {
                let guard = ReadMode::LeaseGuard { checks_limbo: dice.one_in(2) };
                let is_on_votes = cluster.members[&node].options.lease_drift_ppm.is_some();
                cluster.read(node, number, if is_on_votes { ReadMode::Lease } else { guard });
            }
        }
        78 => {
            let node = dice.roll(3) + 1;
            cluster.compact(node);
            for leader in leaders {
                drop(cluster.carry_snapshot(leader));
            }
        }
        79..=87 => {
            if let Some(node) = dice.any(&leaders) {
                let _refused = cluster.propose(node, &[&number.to_string()]);
            }
        }
        88..=89 => {
            if let Some(node) = dice.any(&leaders) {
                let _refused = cluster.transfer(node, None);
            }
        }
        90..=91 => {
            if let Some(node) = dice.any(&leaders) {
                let lease = LeaseChange::Set(terms(dice));
                let change = ConfigurationChange { lease, ..ConfigurationChange::of([]) };
                let _refused = cluster.change(node, &change);
            }
        }
        92..=93 => {
            let node = dice.roll(3) + 1;
            cluster.input(node, cluster.members[&node].now, Input::Campaign);
        }
        94..=95 => {
            // Best of all: a leader that somebody else is about to replace.
            let node = dice.any(&leaders).unwrap_or(1);
            cluster.isolated = [node].into();
        }
        96..=97 => {
            let node = dice.roll(3) + 1;
            cluster.crash(node);
            cluster.restart(node);
        }
        98 if dice.one_in(2) => cluster.isolated.clear(),
        _ => (0..cluster.network.len().min(12)).for_each(|_| deliver(cluster, dice)),
    }
}

/// How many reads were answered, and how many of them with a limbo to be looked at.
fn run(seed: u64) -> (usize, usize) {
    let mut dice = Dice(seed);
    let mut cluster = new_cluster(&mut dice);
    for number in 0..600 {
        step(&mut cluster, &mut dice, number);
        let excess = cluster.lines.len().saturating_sub(200);
        cluster.lines.drain(..excess);
    }
    let reads = cluster.members.values().flat_map(|member| &member.reads);
    let points: Vec<ReadPoint> = reads.filter_map(|read| read.result.ok()).collect();
    (points.len(), points.iter().filter(|point| point.limbo.is_some()).count())
}

#[test]
fn no_read_on_an_entry_misses_what_was_committed() {
    let seeds = Seeds::usually(400);
    let (mut answered, mut with_limbo) = (0, 0);
    for (points, limbos) in seeds.run("lease_schedule", run) {
        answered += points;
        with_limbo += limbos;
    }
    assert!(answered > 1000 || seeds.is_single, "{answered} reads were answered");
    assert!(with_limbo > 50 || seeds.is_single, "{with_limbo} of them had a limbo");
}
