//! Witnesses together with every other rule of quorums: what is committed is where it must be
//! (`Cluster` checks `Durable Quorum`, `Payload Durability` and all the rest after each step), and
//! when the faults end the group goes on.
#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod cluster;

use std::collections::BTreeSet;

use cluster::dice::Dice;
use cluster::{Cluster, id};
use raft::*;

fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn check(rule: QuorumRule, voters: &[u64], witnesses: &[u64]) {
    let all = voters.iter().copied().map(NodeId);
    let mut configuration = Configuration::of_voters_by(rule, all).unwrap();
    configuration.witnesses = nodes(witnesses);
    for seed in 0..25 {
        run(&configuration, seed);
    }
}

fn run(configuration: &Configuration, seed: u64) {
    let mut dice = Dice(seed);
    let count = u64::try_from(configuration.voters.len()).unwrap();
    let mut cluster = Cluster::with(count, configuration, |options| {
        options.seed = seed;
        options.window_messages_max = 4;
    });
    for node in 1..=count {
        cluster.member(node).disk_is_instant = dice.roll(2) == 0;
    }
    for number in 0..700_u64 {
        let node = dice.roll(count) + 1;
        if cluster.members[&node].node.is_none() {
            if dice.roll(4) == 0 {
                cluster.restart(node);
            }
            continue;
        }
        match dice.roll(40) {
            0..=18 if !cluster.network.is_empty() => {
                let place = dice.place(cluster.network.len().min(4));
                let message = cluster.network.remove(place);
                if dice.roll(12) > 0 {
                    cluster.deliver(message);
                }
            }
            19..=26 => cluster.tick(node, dice.roll(4) + 1),
            27..=31 => drop(cluster.propose(node, &[&number.to_string()])),
            32..=36 => drop(cluster.write_one(node)),
            37 => cluster.crash(node),
            38 => drop(cluster.isolated.insert(node)),
            _ => cluster.isolated.clear(),
        }
    }
    come_to_rest(&mut cluster, configuration, seed);
}

fn come_to_rest(cluster: &mut Cluster, configuration: &Configuration, seed: u64) {
    cluster.isolated.clear();
    for node in cluster.ids() {
        if cluster.members[&node].node.is_none() {
            cluster.restart(node);
        }
        cluster.member(node).disk_is_instant = true;
        while cluster.write_one(node) {}
    }
    for round in 0..200 {
        for node in cluster.ids() {
            cluster.tick(node, 1);
        }
        cluster.stabilize();
        if round == 150 {
            for node in cluster.ids() {
                let _refused = cluster.propose(node, &["the last"]);
            }
            cluster.stabilize();
        }
    }
    for node in
        cluster.ids().into_iter().filter(|node| !configuration.witnesses.contains(&id(*node)))
    {
        let last = cluster.applied_commands(node).pop();
        assert_eq!(last.as_deref(), Some("the last"), "{configuration}, seed {seed}, node {node}");
    }
}

#[test]
fn witnesses_with_weights() {
    let weights = |list: &[(u64, u32)]| {
        QuorumRule::weighted(list.iter().map(|(node, weight)| (NodeId(*node), *weight)))
    };
    // The witness alone weighs as much as two of the others.
    check(weights(&[(1, 1), (2, 1), (3, 1), (4, 2)]), &[1, 2, 3, 4], &[4]);
    check(weights(&[(1, 3), (2, 1), (3, 1)]), &[1, 2, 3], &[2]);
}

#[test]
fn witnesses_in_groups_of_groups() {
    // A site of a full voter and a witness, and one of witnesses alone.
    let sites = [&[1, 2][..], &[3, 4], &[5]].map(nodes);
    check(QuorumRule::grouped(sites.clone()), &[1, 2, 3, 4, 5], &[4, 5]);
    check(QuorumRule::grouped(sites), &[1, 2, 3, 4, 5], &[2]);
}

#[test]
fn witnesses_in_even_sets() {
    let extra = |node| QuorumRule::EvenSet { extra: nodes(&[node]) };
    // The witness breaks the tie, or a full voter does.
    check(extra(4), &[1, 2, 3, 4], &[4]);
    check(extra(1), &[1, 2, 3, 4], &[4]);
}

#[test]
fn witnesses_with_two_sizes() {
    // As many as a witness and one full voter commit, as far as the rule is concerned; the data
    // must be on two full voters all the same.
    check(QuorumRule::Flexible { election: 4, commit: 2 }, &[1, 2, 3, 4, 5], &[5]);
    check(QuorumRule::Flexible { election: 3, commit: 2 }, &[1, 2, 3, 4], &[4]);
}

/// The rule alone would let node 1 and the witness commit a command. Its data is on two of three
/// full voters all the same.
#[test]
fn a_rule_that_a_witness_fulfils_does_not_stand_in_for_data() {
    let rule = QuorumRule::Flexible { election: 3, commit: 2 };
    let mut configuration = Configuration::of_voters_by(rule, (1..=4).map(NodeId)).unwrap();
    configuration.witnesses = nodes(&[4]);
    let mut cluster = Cluster::with(4, &configuration, |_| {});
    cluster.elect(1);
    cluster.isolated = [2, 3].into();
    let proposed = cluster.propose(1, &["a"]).unwrap();
    cluster.stabilize();
    assert!(cluster.status(1).commit_index < proposed.index, "the data is on one disk");
    cluster.isolated = [3].into();
    for _ in 0..4 {
        cluster.tick(1, 2);
        cluster.stabilize();
    }
    assert_eq!(cluster.status(1).commit_index, proposed.index);
}

/// Until C_new is committed the joint configuration may have to elect a leader by the witness that
/// leaves. Had it the name of a command that only the dead leader holds, it would refuse everybody.
#[test]
fn a_witness_that_leaves_hears_of_a_command_when_the_data_is_where_it_must_be() {
    let mut configuration = Configuration::of_voters((1..=4).map(NodeId));
    configuration.witnesses = nodes(&[4]);
    let mut cluster = Cluster::with(4, &configuration, |_| {});
    (1..=4).for_each(|node| cluster.member(node).disk_is_instant = true);
    cluster.elect(1);
    cluster.stabilize();
    cluster.change(1, &ConfigurationChange::of([MemberChange::Remove(NodeId(4))])).unwrap();
    let joint = cluster.status(1).last.index;
    let begins = std::mem::take(&mut cluster.network);
    cluster.propose(1, &["held by the leader alone"]).unwrap();
    let command = cluster.status(1).last.index;
    cluster.network.clear();
    begins.into_iter().for_each(|message| cluster.deliver(message));
    let answers = std::mem::take(&mut cluster.network);
    answers.into_iter().for_each(|message| cluster.deliver(message));
    let status = cluster.status(1);
    assert_eq!(status.commit_index, joint, "the joint configuration is committed");
    assert_eq!(status.configuration_index, command.next(), "and left, behind the command");
    let names = |message: &Message| {
        let Body::AppendEntries { entries, .. } = &message.body else { return false };
        entries.iter().any(|entry| entry.id.index == command)
    };
    let told = cluster.network.iter().any(|message| message.to == NodeId(4) && names(message));
    assert!(!told, "{:?}", cluster.network);
    cluster.stabilize();
    assert_eq!(cluster.status(1).commit_index, command.next());
}
