//! What a seed switches on for a core world: the group, its rule, its witnesses and leases, and
//! every option of its nodes. Each seed has a few of them: features that are always on together
//! hide each other's faults (swarm testing: Groce et al., ISSTA 2012).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use env::SplitMix;
use env::mem::{Latency, Shape};
use raft::{Configuration, LeaseTerms, NodeId, Options, QuorumRule};

use super::CoreOptions;
use crate::chaos::pick;

fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn simple(voters: &[u64], learners: &[u64]) -> Configuration {
    Configuration { voters: ids(voters), learners: ids(learners), ..Configuration::default() }
}

/// Learners, each with the member that it is fed by.
fn fed(voters: &[u64], feeders: &[(u64, u64)]) -> Configuration {
    let learners: Vec<u64> = feeders.iter().map(|(learner, _)| *learner).collect();
    let feeders = feeders.iter().map(|(learner, feeder)| (NodeId(*learner), NodeId(*feeder)));
    Configuration { feeders: feeders.collect(), ..simple(voters, &learners) }
}

/// Nodes, and who of them are members at first.
fn group(dice: &mut SplitMix) -> (u64, Configuration) {
    let ruled = |rule, voters: &[u64]| Configuration { rule, ..simple(voters, &[]) };
    match dice.below(24) {
        0 => (1, simple(&[1], &[])),
        1 => (2, simple(&[1, 2], &[])),
        2..5 => (3, simple(&[1, 2, 3], &[])),
        5 => (5, Configuration { outgoing: ids(&[3, 4, 5]), ..simple(&[1, 2, 3], &[]) }),
        6 | 7 => (5, simple(&[1, 2, 3, 4, 5], &[])),
        // With nodes that wait to be added.
        8 => (4, simple(&[1], &[])),
        9 => (5, simple(&[1, 2, 3], &[4])),
        10 => (7, simple(&[1, 2, 3], &[])),
        11 => (3, Configuration { witnesses: ids(&[3]), ..simple(&[1, 2, 3], &[]) }),
        // Where witnesses are a quorum by themselves.
        12 if dice.below(2) == 0 => {
            (5, Configuration { witnesses: ids(&[3, 4]), ..simple(&[1, 3, 4], &[]) })
        }
        12 => (6, Configuration { witnesses: ids(&[4, 5]), ..simple(&[1, 2, 3, 4, 5], &[]) }),
        13 => (4, ruled(QuorumRule::EvenSet { extra: ids(&[1]) }, &[1, 2, 3, 4])),
        14 => (5, ruled(QuorumRule::Flexible { election: 4, commit: 2 }, &[1, 2, 3, 4, 5])),
        15 => {
            let groups = [&[1, 2][..], &[3, 4], &[5, 6]].map(ids);
            (6, ruled(QuorumRule::grouped(groups), &[1, 2, 3, 4, 5, 6]))
        }
        16 => (3, simple(&[1, 2], &[])),
        17 => (3, ruled(weights(&[(1, 3), (2, 1), (3, 1)]), &[1, 2, 3])),
        18 => {
            let rule = QuorumRule::Flexible { election: 4, commit: 2 };
            let witnesses = ids(&[5]);
            (5, Configuration { witnesses, ..ruled(rule, &[1, 2, 3, 4, 5]) })
        }
        19 => (2, simple(&[1], &[2])),
        // Learners that others feed: in a tier behind each other, and in a circle.
        20 => (5, fed(&[1, 2, 3], &[(4, 3), (5, 4)])),
        21 => (5, fed(&[1, 2, 3], &[(4, 5), (5, 4)])),
        22 => (3, fed(&[1], &[(2, 1), (3, 2)])),
        _ => (4, simple(&[1, 2, 3, 4], &[])),
    }
}

fn weights(weights: &[(u64, u32)]) -> QuorumRule {
    QuorumRule::weighted(weights.iter().map(|(id, weight)| (NodeId(*id), *weight)))
}

/// A rule that may fit, if the voters stay.
pub(super) fn any_rule(dice: &mut SplitMix, voters: &BTreeSet<NodeId>) -> QuorumRule {
    let count = u32::try_from(voters.len()).unwrap_or(u32::MAX);
    match dice.below(5) {
        0 => QuorumRule::EvenSet { extra: voters.iter().copied().take(1).collect() },
        1 => {
            let election = count / 2 + 1 + u32::from(dice.below(2) == 0);
            QuorumRule::Flexible { election, commit: (count + 1).saturating_sub(election) }
        }
        2 => {
            let weights = voters.iter().map(|node| (*node, pick(dice, &[1, 2, 3])));
            QuorumRule::weighted(weights.collect::<Vec<_>>())
        }
        3 => QuorumRule::grouped(
            voters.iter().copied().collect::<Vec<_>>().chunks(2).map(<[_]>::to_vec),
        ),
        _ => QuorumRule::Majority,
    }
}

/// Some are equals, and some have none.
pub(super) fn any_priorities(
    dice: &mut SplitMix,
    nodes: &BTreeSet<NodeId>,
) -> BTreeMap<NodeId, u32> {
    nodes.iter().map(|node| (*node, pick(dice, &[0, 1, 2]))).collect()
}

/// From shorter than an election to longer than two.
pub(super) fn any_lease(dice: &mut SplitMix, options: &CoreOptions) -> LeaseTerms {
    let longest_us = options.node_options.election_timeout_ticks * 2500;
    let duration_us = 1000 + dice.below(longest_us);
    let drift_ppm = options.clock_spread_ppm;
    match options.clock_uncertainty_us {
        Some(uncertainty_us_max) if dice.below(5) > 0 => {
            let shortest_us = u64::from(uncertainty_us_max) * 2 + 1;
            LeaseTerms::declared(duration_us + shortest_us, drift_ppm, uncertainty_us_max)
        }
        _ => LeaseTerms::monotonic(duration_us, drift_ppm),
    }
}

fn node_options(dice: &mut SplitMix, seed: u64, spread_ppm: u32) -> Options {
    let check_quorum = dice.below(4) > 0;
    // Short timeouts mean many elections.
    let election_timeout_ticks = pick(dice, &[100, 300, 1000]);
    let plain = Options {
        election_timeout_ticks,
        heartbeat_interval_ticks: election_timeout_ticks / pick(dice, &[10, 10, 3]),
        pre_vote: dice.below(4) > 0,
        check_quorum,
        quiesce_after_ticks: (dice.below(3) == 0).then_some(500),
        lease_drift_ppm: (check_quorum && dice.below(2) == 0).then_some(spread_ppm),
        log_tail_kept: dice.below(6),
        log_kept_for_slowest_max: pick(dice, &[0, 0, 5, 50]),
        slow_follower_ticks: pick(dice, &[400, 2000]),
        reorder_bytes_max: pick(dice, &[0, 0, 500]),
        promotion_lag_bytes_max: pick(dice, &[60, 1 << 20]),
        record_events: true,
        cache_bytes_max: 4000,
        ..Options::new(NodeId(1), seed)
    };
    let plain = match dice.below(6) {
        0 => Options { first_election_ticks: Some((10, election_timeout_ticks)), ..plain },
        1 => Options { reelection_wait_ticks: election_timeout_ticks, ..plain },
        _ => plain,
    };
    if dice.below(2) == 0 {
        return plain;
    }
    Options {
        write_stall_ticks_max: 2500,
        append_batch_bytes_max: 100,
        window_messages_max: 3,
        cache_bytes_max: 200,
        apply_window_bytes_max: 150,
        uncommitted_bytes_max: 600,
        pending_reads_max: 4,
        ..plain
    }
}

/// The world of a seed.
pub(super) fn options(dice: &mut SplitMix, seed: u64) -> CoreOptions {
    let (node_count, members) = group(dice);
    let spread_ppm = pick(dice, &[0, 0, 50_000]);
    let node_options = node_options(dice, seed, spread_ppm);
    let timeout = node_options.election_timeout_ticks;
    // A round takes no longer than a good part of an election timeout.
    let slowest = pick(dice, &[2, 20, 80]).min(timeout / 8);
    let quick = |most_ms| (Duration::from_micros(200), Duration::from_millis(most_ms));
    let mut witnesses = members.witnesses.clone();
    if dice.below(6) == 0 && node_count > members.member_count() as u64 {
        witnesses.insert(NodeId(node_count));
    }
    let mut options = CoreOptions {
        members,
        witnesses,
        disks_are_known: dice.below(3) > 0,
        modest: (dice.below(3) == 0).then_some((NodeId(2), timeout * 2)),
        clock_spread_ppm: spread_ppm,
        apply_time: quick(pick(dice, &[1, 1, 1, 60])),
        carry_time: quick(pick(dice, &[20, 20, timeout * 3])),
        install_time: quick(pick(dice, &[10, 10, timeout * 4])),
        compact_permille: pick(dice, &[0, 0, 80]),
        late_reports_permille: pick(dice, &[0, 0, 200]),
        lost_snapshots_permille: pick(dice, &[0, 0, 400]),
        delay: quick(slowest),
        write_time: quick(slowest),
        hinders_changes: true,
        node_options,
        ..CoreOptions::new(seed, node_count)
    };
    if dice.below(3) == 0 {
        options.members.priorities = any_priorities(dice, &options.members.voters);
        options.members.priorities.retain(|_, priority| *priority > 0);
    }
    if dice.below(2) == 0 {
        options.clock_uncertainty_us = pick(dice, &[None, Some(1000), Some(20_000), Some(60_000)]);
        options.members.lease = Some(any_lease(dice, &options));
    }
    options.shape = any_shape(dice);
    if dice.below(4) == 0 {
        let times = (Duration::from_millis(timeout / 16), Duration::from_millis(timeout / 5));
        let nodes: Vec<u64> = (1..=node_count).collect();
        options.long_ways = any_long_ways(dice, &nodes, times);
    }
    options
}

/// Half of all networks take every time as often as any other.
pub(crate) fn any_shape(dice: &mut SplitMix) -> Shape {
    if dice.below(2) == 0 { Shape::Uniform } else { pick(dice, &Shape::ALL) }
}

/// One direction of a wire is far longer than the others, or a wire, or all that lead to and from
/// one node.
pub(crate) fn any_long_ways(
    dice: &mut SplitMix,
    nodes: &[u64],
    (min, max): (Duration, Duration),
) -> BTreeMap<(u64, u64), Latency> {
    let (one, other, how) = (pick(dice, nodes), pick(dice, nodes), dice.below(3));
    let way = Latency { shape: pick(dice, &Shape::ALL), ..Latency::uniform(min, max) };
    let all = nodes.iter().filter(|node| **node != one && (how == 2 || **node == other));
    let wires = all.flat_map(|node| [(one, *node), (*node, one)]);
    wires.filter(|(from, _)| how > 0 || *from == one).map(|wire| (wire, way)).collect()
}
