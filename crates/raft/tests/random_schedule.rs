//! Groups of one to seven nodes under random schedules: messages lost, repeated and reordered,
//! disks that are slow, crashes between writes, reads, transfers, compactions, snapshots, and
//! changes of configuration of every kind. Every
//! invariant is checked after every step; at the end the faults stop, and the group must come to
//! rest with equal logs. `SEEDS=10000` runs more than the usual number.
#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod cluster;
mod schedule;

use cluster::dice::{Dice, Seeds};
use schedule::rest::come_to_rest;
use schedule::{new_cluster, step};

fn run(seed: u64) -> (u64, u64) {
    let mut dice = Dice(seed);
    let mut cluster = new_cluster(&mut dice, seed);
    for number in 0..1500 {
        step(&mut cluster, &mut dice, number);
        let excess = cluster.lines.len().saturating_sub(400);
        cluster.lines.drain(..excess);
    }
    come_to_rest(&mut cluster);
    let statuses = cluster.ids().into_iter().map(|node| cluster.status(node));
    let status = statuses.max_by_key(|status| status.last).unwrap();
    (status.commit_index.0, status.configuration_index.0)
}

#[test]
fn random_schedules_keep_every_invariant_and_come_to_rest() {
    let seeds = Seeds::usually(300);
    let outcomes = seeds.run("random_schedule", run);
    let committed: u64 = outcomes.iter().map(|(commit_index, _)| commit_index).sum();
    let changed = outcomes.iter().filter(|(_, configuration_index)| *configuration_index > 0);
    let (changed, count) = (changed.count() as u64, seeds.count());
    // A schedule in which nothing ever commits would prove nothing.
    assert!(committed > 0, "nothing was committed");
    assert!(changed * 2 > count || seeds.is_single, "{changed} of {count} groups were changed");
}

#[test]
fn equal_seeds_give_equal_runs() {
    let trace = |seed| {
        let mut dice = Dice(seed);
        let mut cluster = new_cluster(&mut dice, seed);
        (0..1500).for_each(|number| step(&mut cluster, &mut dice, number));
        cluster.take_lines()
    };
    assert_eq!(trace(42), trace(42));
    assert_ne!(trace(42), trace(43));
}
