//! The faults stop: the group elects, commits, and everybody catches up.

use raft::*;

use super::changes::{leader, repair};
use super::replace_removed;
use crate::cluster::{Cluster, id};

/// # Panics
/// If it does not.
pub(crate) fn come_to_rest(cluster: &mut Cluster) {
    replace_removed(cluster);
    cluster.isolated.clear();
    for node in cluster.ids() {
        if cluster.members[&node].node.is_none() {
            cluster.restart(node);
        }
        cluster.input(node, cluster.members[&node].now, Input::PauseElections(false));
        cluster.member(node).disk_is_instant = true;
        cluster.member(node).fetch_is_instant = true;
        cluster.member(node).apply_is_instant = true;
        while cluster.write_one(node) || cluster.fetch_one(node) || cluster.report_applied(node) {}
    }
    for round in 0..400 {
        for node in cluster.ids() {
            // Neither pre-vote nor stickiness: whoever missed its own removal would campaign for
            // ever, until its host ends it.
            let options = &cluster.members[&node].options;
            let is_protected = options.pre_vote || options.check_quorum;
            if round == 100 && !is_protected && !newest_configuration(cluster).contains(id(node)) {
                cluster.isolated.insert(node);
            }
            cluster.tick(node, 1);
            let mut carried = 0;
            while cluster.carry_snapshot(node).is_some() {
                carried += 1;
                assert!(carried < 100, "node {node} is asked without end:\n{}", lines(cluster));
            }
        }
        cluster.stabilize();
        if round % 20 == 0 && round < 300 {
            let nodes = cluster.ids();
            repair(cluster, &nodes);
            cluster.stabilize();
        }
        if round == 320 {
            hand_over_to_the_top(cluster);
        }
        if round == 350 {
            for node in cluster.ids() {
                let _refused = cluster.propose(node, &["the last"]);
            }
            cluster.stabilize();
        }
    }
    let leads =
        |node: &u64| cluster.node(*node).role() == Role::Leader && !cluster.isolated.contains(node);
    let leaders: Vec<u64> = cluster.ids().into_iter().filter(leads).collect();
    assert_eq!(leaders.len(), 1, "one leader:\n{}", lines(cluster));
    let last = cluster.status(leaders[0]).last;
    let configuration = cluster.node(leaders[0]).configuration().clone();
    assert!(!configuration.is_joint(), "{configuration} is left\n{}", lines(cluster));
    for node in cluster.ids() {
        let faults = cluster.status(node).peer_faults;
        let is_honest = cluster.disks_were_lost || faults.total() == 0;
        assert!(is_honest, "honest peers make no faults: {faults:?}");
        // Who was removed has what it had.
        if !configuration.contains(id(node)) {
            continue;
        }
        let status = cluster.status(node);
        let there = (status.last, status.commit_index, status.applied_index);
        let rest = (last, last.index, last.index);
        assert_eq!(there, rest, "node {node} is at rest:\n{}", lines(cluster));
    }
    answer_reads(cluster, &configuration);
}

/// What a leader below another has tried in vain it tries again much later: nobody waits for that.
fn hand_over_to_the_top(cluster: &mut Cluster) {
    let nodes = cluster.ids();
    let Some(leader) = leader(cluster, &nodes) else { return };
    let configuration = cluster.node(leader).configuration().clone();
    let at = |node: &NodeId| configuration.priorities.get(node).copied().unwrap_or(0);
    let full = configuration.voters.difference(&configuration.witnesses);
    let top = full.max_by_key(|node| at(node));
    if let Some(top) = top.filter(|top| at(top) > at(&id(leader))) {
        let _refused = cluster.transfer(leader, Some(top.0));
        cluster.stabilize();
    }
}

/// G2: whether the group rests or not, who is asked for a read answers it.
fn answer_reads(cluster: &mut Cluster, configuration: &Configuration) {
    let asked: Vec<u64> = configuration
        .members()
        .map(|member| member.0)
        .filter(|member| !configuration.witnesses.contains(&NodeId(*member)))
        .collect();
    for node in &asked {
        cluster.read(*node, u64::MAX, ReadMode::ReadIndex);
    }
    for _ in 0..60 {
        cluster.stabilize();
        asked.iter().for_each(|node| cluster.tick(*node, 1));
    }
    for node in asked {
        let mut reads = cluster.members[&node].reads.iter();
        let is_answered = reads.any(|read| read.context == u64::MAX && read.result.is_ok());
        assert!(is_answered, "node {node} leaves a read alone:\n{}", lines(cluster));
    }
}

/// The configuration of the most up-to-date log.
fn newest_configuration(cluster: &Cluster) -> Configuration {
    let newest = cluster.ids().into_iter().max_by_key(|node| cluster.status(*node).last).unwrap();
    cluster.node(newest).configuration().clone()
}

pub(crate) fn lines(cluster: &Cluster) -> String {
    cluster.ids().into_iter().map(|node| cluster.status_line(node)).collect::<Vec<_>>().join("\n")
}
