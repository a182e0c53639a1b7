//! Changes of the members under dice, sensible and not, and the operator who mends what is broken.

use raft::*;

use crate::cluster::Cluster;
use crate::cluster::dice::Dice;

/// Any change, sensible or not, asked of whoever leads.
pub(crate) fn change(cluster: &mut Cluster, dice: &mut Dice, nodes: &[u64]) {
    let Some(leader) = leader(cluster, nodes) else { return };
    let configuration = cluster.node(leader).configuration().clone();
    if !disks_are_on_record(cluster, &configuration) {
        return;
    }
    let mut members = Vec::new();
    for node in nodes.iter().copied().map(NodeId) {
        if dice.one_in(2) {
            continue;
        }
        let is_voter = configuration.voters.contains(&node);
        members.push(match (is_voter, configuration.learners.contains(&node), dice.roll(3)) {
            (true, _, 0) => MemberChange::Demote(node),
            (false, true, 0 | 1) => MemberChange::Promote(node),
            (true, ..) | (_, true, _) => MemberChange::Remove(node),
            (false, false, _) if cluster.members[&node.0].options.is_witness => {
                MemberChange::AddWitness(node)
            }
            (false, false, 0) => MemberChange::AddLearner(node),
            (false, false, _) => MemberChange::AddVoter(node),
        });
    }
    let allow_stall = dice.one_in(2);
    let rule = dice.one_in(2).then(|| any_rule(dice, &configuration.voters));
    let lease = match dice.roll(4) {
        0 if cluster.clocks_agree => LeaseChange::Set(lease(dice)),
        1 => LeaseChange::End,
        _ => LeaseChange::Keep,
    };
    let mut change =
        ConfigurationChange { allow_stall, rule, lease, ..ConfigurationChange::of(members) };
    if dice.one_in(3) {
        let voters = configuration.voters.iter();
        change.priorities =
            voters.map(|node| (*node, u32::try_from(dice.roll(3)).unwrap())).collect();
    }
    if dice.one_in(2) {
        change.transition = Transition::OneStep;
        if dice.one_in(2) {
            change.members.truncate(1);
            change.rule = None;
        }
    }
    // Mostly the change of feeders alone, which takes a learner that is one already.
    if !configuration.learners.is_empty() && dice.one_in(2) {
        let mut any = || NodeId(nodes[dice.place(nodes.len())]);
        let feeders = configuration.learners.iter().map(|learner| (*learner, Some(any())));
        change = ConfigurationChange { feeders: feeders.collect(), ..Default::default() };
    }
    // A refusal is an answer like any other here.
    let _refused = cluster.change(leader, &change);
}

/// A rule that may fit, if the voters stay.
fn any_rule(dice: &mut Dice, voters: &std::collections::BTreeSet<NodeId>) -> QuorumRule {
    let count = u32::try_from(voters.len()).unwrap();
    match dice.roll(5) {
        0 => QuorumRule::EvenSet { extra: voters.iter().copied().take(1).collect() },
        1 => {
            let election = count / 2 + 1 + u32::from(dice.one_in(2));
            QuorumRule::Flexible { election, commit: (count + 1).saturating_sub(election) }
        }
        2 => {
            let weight = |node: &NodeId| (*node, u32::try_from(dice.roll(3) + 1).unwrap());
            QuorumRule::weighted(voters.iter().map(weight).collect::<Vec<_>>())
        }
        3 => QuorumRule::grouped(
            voters.iter().copied().collect::<Vec<_>>().chunks(2).map(<[_]>::to_vec),
        ),
        _ => QuorumRule::Majority,
    }
}

/// From shorter than an election to longer than two.
pub(crate) fn lease(dice: &mut Dice) -> LeaseTerms {
    LeaseTerms::monotonic((dice.roll(30) + 1) * 1000, 0)
}

/// The disk of a voter that is guarded is lost: it is found out, and the operator makes the node a
/// learner and then a voter again. One at a time, as a quorum of disks must stay.
pub(crate) fn lose_disk(cluster: &mut Cluster, dice: &mut Dice, nodes: &[u64]) {
    let Some(leader) = leader(cluster, nodes) else { return };
    let status = cluster.status(leader);
    let recorded = &status.configuration.incarnations;
    let members: Vec<u64> = status.configuration.members().map(|member| member.0).collect();
    let voters = status.configuration.voters.len();
    let all_are_well = members.iter().all(|node| cluster.members[node].node.is_some())
        && disks_are_on_record(cluster, &status.configuration)
        && status.unguarded.is_empty()
        && disks_hold_what_counts(cluster, leader)
        // Without one of two nobody can agree.
        && voters >= 3;
    let is_settled = status.configuration_index <= status.commit_index;
    let others: Vec<u64> = members.into_iter().filter(|node| *node != leader).collect();
    // Only whoever leads the newest term knows what is on record.
    let newest =
        nodes.iter().filter_map(|node| cluster.members[node].node.as_ref()).map(Node::term);
    if all_are_well
        && is_settled
        && !others.is_empty()
        && recorded.len() > others.len()
        && newest.max() == Some(status.hard_state.current_term)
    {
        cluster.lose_disk(others[dice.place(others.len())]);
    }
}

fn disks_are_on_record(cluster: &Cluster, configuration: &Configuration) -> bool {
    configuration.incarnations.iter().all(|(node, recorded)| {
        let member = cluster.members.get(&node.0);
        member.is_none_or(|member| member.options.incarnation == *recorded)
    })
}

/// No disk was set back that the leader takes for what it was: a record that was forgotten guards
/// nobody.
fn disks_hold_what_counts(cluster: &Cluster, leader: u64) -> bool {
    let raft = cluster.node(leader);
    cluster.status(leader).followers.iter().all(|follower| {
        let disk = cluster.members[&follower.id.0].disk.durable();
        raft.id_at(follower.match_index).is_none_or(|entry| disk.holds(entry))
    })
}

/// Who speaks from another disk than the one on record is made a learner.
pub(crate) fn repair(cluster: &mut Cluster, nodes: &[u64]) {
    let Some(leader) = leader(cluster, nodes) else { return };
    let status = cluster.status(leader);
    let recorded = &status.configuration.incarnations;
    for follower in &status.followers {
        let is_stranger = recorded.get(&follower.id).is_some_and(|at| *at != follower.incarnation);
        let change = if follower.incarnation.is_known() && is_stranger {
            if status.configuration.witnesses.contains(&follower.id) {
                MemberChange::Remove(follower.id)
            } else {
                MemberChange::Demote(follower.id)
            }
        } else if status.configuration.learners.contains(&follower.id) {
            MemberChange::Promote(follower.id)
        } else {
            continue;
        };
        let change = ConfigurationChange::of([change]);
        let _refused = cluster.change(leader, &ConfigurationChange { allow_stall: true, ..change });
        return;
    }
}

pub(crate) fn leader(cluster: &Cluster, nodes: &[u64]) -> Option<u64> {
    let leads = |node: &&u64| {
        let raft = cluster.members[node].node.as_ref();
        raft.is_some_and(|raft| raft.role() == Role::Leader)
    };
    nodes.iter().find(leads).copied()
}
