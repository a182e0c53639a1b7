//! A group under dice: what it begins as, one step of it, and how it comes to rest. The programs
//! that use it say what they are about.
#![allow(dead_code, reason = "each program uses another part")]
#![allow(clippy::allow_attributes, reason = "an expectation would fail in the one that uses all")]

pub(crate) mod changes;
pub(crate) mod rest;

use raft::*;

use crate::cluster::dice::Dice;
use crate::cluster::{Cluster, id};
use changes::{change, lease, lose_disk, repair};

fn members(ids: &[u64]) -> std::collections::BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn group(dice: &mut Dice) -> (u64, Configuration) {
    let simple = |voters: &[u64], learners: &[u64]| Configuration {
        voters: members(voters),
        learners: members(learners),
        ..Configuration::default()
    };
    let ruled = |rule, voters: &[u64]| Configuration { rule, ..simple(voters, &[]) };
    match dice.roll(14) {
        0 => (1, simple(&[1], &[])),
        1 => (2, simple(&[1, 2], &[])),
        2 => (3, simple(&[1, 2, 3], &[])),
        3 => (4, simple(&[1, 2, 3], &[4])),
        4 => (5, Configuration { outgoing: members(&[3, 4, 5]), ..simple(&[1, 2, 3], &[]) }),
        5 => (5, simple(&[1, 2, 3, 4, 5], &[])),
        // With nodes that wait to be added.
        6 => (4, simple(&[1], &[])),
        7 => (5, simple(&[1, 2, 3], &[4])),
        8 => (3, Configuration { witnesses: members(&[3]), ..simple(&[1, 2, 3], &[]) }),
        9 => (6, Configuration { witnesses: members(&[4, 5]), ..simple(&[1, 2, 3, 4, 5], &[]) }),
        10 => (4, ruled(QuorumRule::EvenSet { extra: members(&[1]) }, &[1, 2, 3, 4])),
        11 => (5, ruled(QuorumRule::Flexible { election: 4, commit: 2 }, &[1, 2, 3, 4, 5])),
        12 => {
            let groups = [&[1, 2][..], &[3, 4], &[5, 6]].map(members);
            (6, ruled(QuorumRule::grouped(groups), &[1, 2, 3, 4, 5, 6]))
        }
        _ => (7, simple(&[1, 2, 3], &[])),
    }
}

pub(crate) fn new_cluster(dice: &mut Dice, seed: u64) -> Cluster {
    let (nodes, mut configuration) = group(dice);
    let pre_vote = !dice.one_in(3);
    let check_quorum = !dice.one_in(3);
    let small = dice.one_in(2);
    let quiesces = dice.one_in(3);
    let kept = if dice.one_in(2) { dice.roll(12) } else { 0 };
    let leases = check_quorum && dice.one_in(2);
    let disks_are_known = dice.one_in(2);
    let guarded = dice.one_in(2);
    configuration.lease = guarded.then(|| lease(dice));
    if dice.one_in(3) {
        // Some are equals, and some have none.
        let node = configuration.voters.iter().copied();
        let at = node.map(|node| (node, u32::try_from(dice.roll(3)).unwrap()));
        configuration.priorities = at.filter(|(_, at)| *at > 0).collect();
    }
    let mut cluster = Cluster::with(nodes, &configuration, |options| {
        options.seed = seed;
        options.pre_vote = pre_vote;
        options.check_quorum = check_quorum;
        options.quiesce_after_ticks = quiesces.then_some(5);
        options.lease_drift_ppm = leases.then_some(0);
        options.log_tail_kept = 3;
        options.log_kept_for_slowest_max = kept;
        if disks_are_known {
            options.incarnation = Incarnation(options.id.0);
        }
        if options.id == NodeId(2) {
            options.campaign_delay_ticks = 20;
        }
        if small {
            options.write_stall_ticks_max = 25;
        }
        if small {
            options.append_batch_bytes_max = 100;
            options.window_messages_max = 3;
            options.cache_bytes_max = 200;
            options.apply_window_bytes_max = 150;
            options.uncommitted_bytes_max = 600;
        }
    });
    cluster.clocks_agree = leases || guarded;
    for node in 1..=nodes {
        cluster.member(node).disk_is_instant = dice.one_in(3);
        cluster.member(node).fetch_is_instant = dice.one_in(2);
        cluster.member(node).apply_is_instant = dice.one_in(2);
    }
    cluster
}

/// Who has learned of its removal is ended, and a new node waits in its place.
pub(crate) fn replace_removed(cluster: &mut Cluster) {
    for node in cluster.ids() {
        if cluster.members[&node].removed_by.is_some() {
            let by = cluster.ids().last().unwrap().max(&99) + 1;
            cluster.replace(node, by);
        }
    }
}

pub(crate) fn step(cluster: &mut Cluster, dice: &mut Dice, step: u64) {
    replace_removed(cluster);
    let nodes = cluster.ids();
    let node = nodes[dice.place(nodes.len())];
    if cluster.members[&node].node.is_none() {
        if dice.one_in(4) {
            let tail = if dice.one_in(2) { usize::MAX } else { dice.place(4) };
            cluster.restart_with_tail(node, tail);
        }
        return;
    }
    match dice.roll(100) {
        0..=44 => deliver(cluster, dice),
        45..=59 => pass_time(cluster, dice, node, &nodes),
        60..=74 => drop(cluster.write_one(node)),
        75..=77 => drop(cluster.fetch_one(node)),
        78..=80 => drop(cluster.report_applied(node)),
        81..=87 => {
            let commands: Vec<String> = (0..=dice.roll(3)).map(|n| format!("{step}.{n}")).collect();
            let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
            // A refusal is an answer like any other here.
            let _refused = cluster.propose(node, &commands);
        }
        88..=89 => cluster.read(node, step, ReadMode::ReadIndex),
        90..=91 => {
            let mode = any_mode(cluster, dice, node);
            cluster.read(node, step, mode);
        }
        92 => who_leads(cluster, dice, node),
        93 => change(cluster, dice, &nodes),
        94 if dice.one_in(2) => {
            lose_disk(cluster, dice, &nodes);
            repair(cluster, &nodes);
        }
        94 => match dice.roll(4) {
            0 => cluster.input(node, cluster.members[&node].now, Input::StepDown),
            1 => {
                let are_paused = dice.one_in(2);
                cluster.input(node, cluster.members[&node].now, Input::PauseElections(are_paused));
            }
            _ => cluster.compact(node),
        },
        95 => {
            cluster.carry_snapshot(node);
        }
        96 => {
            if let Some(wanted) = cluster.member(node).snapshots_wanted.pop() {
                let now = cluster.members[&node].now;
                let input = Input::SnapshotSent { to: wanted.to, delivered: None };
                cluster.input(node, now, input);
            }
        }
        97 => {
            crash(cluster, dice, node);
            // Some hosts notice.
            for other in nodes.into_iter().filter(|_| dice.one_in(2)) {
                if cluster.members[&other].node.is_some() {
                    let now = cluster.members[&other].now;
                    cluster.input(other, now, Input::PeerLost(id(node)));
                }
            }
        }
        98 => drop(cluster.isolated.insert(node)),
        _ => cluster.isolated.clear(),
    }
}

/// Leadership is handed over, or not after all; and a learner is to vote when it can.
fn who_leads(cluster: &mut Cluster, dice: &mut Dice, node: u64) {
    let now = cluster.members[&node].now;
    // A refusal is an answer like any other here.
    match dice.roll(4) {
        0 => drop(cluster.act(node, |raft| raft.abort_transfer(now))),
        1 => {
            let learners: Vec<NodeId> =
                cluster.node(node).configuration().learners.iter().copied().collect();
            if !learners.is_empty() {
                let learner = learners[dice.place(learners.len())];
                let within = dice.roll(60);
                let _refused =
                    cluster.act(node, |raft| raft.promote_when_ready(now, learner, within));
            }
        }
        _ => drop(cluster.transfer(node, None)),
    }
}

fn any_mode(cluster: &Cluster, dice: &mut Dice, node: u64) -> ReadMode {
    match dice.roll(8) {
        0..=1 => ReadMode::Lease,
        2 | 6 | 7 => ReadMode::LeaseGuard { checks_limbo: dice.one_in(2) },
        3 => ReadMode::Replied,
        4 => {
            let last = cluster.status(node).last;
            let term = dice.one_in(2).then_some(last.term);
            ReadMode::AfterWrite { index: LogIndex(last.index.0 + dice.roll(3)), term }
        }
        _ => ReadMode::Stale(Staleness {
            at_least: cluster.status(node).commit_index,
            lag_entries_max: dice.one_in(2).then_some(2),
            silence_ticks_max: dice.one_in(2).then_some(10),
        }),
    }
}

/// Every clock has its own speed, unless leases rest on them: then they agree, but the nodes look
/// at them when they please (R6).
fn pass_time(cluster: &mut Cluster, dice: &mut Dice, node: u64, nodes: &[u64]) {
    let ticks = dice.roll(4) + 1;
    if !cluster.clocks_agree {
        return cluster.tick(node, ticks);
    }
    for &other in nodes {
        if dice.one_in(3) {
            let member = cluster.member(other);
            member.now = member.now.after(ticks);
        } else {
            cluster.tick(other, ticks);
        }
    }
}

pub(crate) fn deliver(cluster: &mut Cluster, dice: &mut Dice) {
    if cluster.network.is_empty() {
        return;
    }
    // Mostly in order, sometimes not.
    let len = cluster.network.len();
    let place = if dice.one_in(4) { dice.place(len) } else { 0 };
    let message = cluster.network.remove(place);
    if dice.one_in(20) {
        return; // Lost.
    }
    if dice.one_in(20) {
        cluster.network.push(message.clone()); // And once more, later.
    }
    cluster.deliver(message);
}

/// A crash may leave any prefix of what was on its way to the disk.
pub(crate) fn crash(cluster: &mut Cluster, dice: &mut Dice, node: u64) {
    let member = cluster.member(node);
    let survive = dice.place(member.in_flight.len() + 1);
    for persist in member.in_flight.drain(..survive) {
        member.disk.write(persist);
    }
    cluster.crash(node);
}
