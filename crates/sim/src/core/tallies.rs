//! Elections counted anew, by somebody who counts on his fingers and shares no code with the core.

use std::collections::BTreeSet;

use raft::quorum::hierarchy::Part;
use raft::quorum::{Decision, Quorum};
use raft::{Configuration, NodeId, QuorumRule};

/// Whether these voters may elect a leader.
pub(super) fn may_elect(configuration: &Configuration, granted: &BTreeSet<NodeId>) -> bool {
    let incoming = half_elects(&configuration.voters, &configuration.rule, granted);
    let outgoing = configuration.outgoing.is_empty()
        || half_elects(&configuration.outgoing, &configuration.outgoing_rule, granted);
    incoming && outgoing
}

/// Whether who knows `known`, and not what came after it, can decide nothing with `node`, should
/// that one have forgotten what it held: by which the group can bear that it does. The voters of
/// then that are members now have everything, and say no to who has not. The others have left and
/// may have nothing; where they suffice, or where the node was the only voter, nobody is there to
/// say no.
pub(crate) fn is_held_back(node: NodeId, known: &Configuration, now: &Configuration) -> bool {
    let says_yes = |voter| voter == node || !now.contains(voter);
    ![Decision::Election, Decision::Commit].iter().any(|what| known.is_quorum(*what, &says_yes))
}

fn half_elects(voters: &BTreeSet<NodeId>, rule: &QuorumRule, granted: &BTreeSet<NodeId>) -> bool {
    let yes = voters.intersection(granted).count();
    let no = voters.len() - yes;
    match rule {
        QuorumRule::Majority => yes > no,
        QuorumRule::EvenSet { extra } => {
            let with = extra.intersection(granted).count();
            yes > no || yes == no && with > extra.len() - with
        }
        QuorumRule::Flexible { election, .. } => {
            u32::try_from(yes).is_ok_and(|yes| yes >= *election)
        }
        QuorumRule::Hierarchy(parts) => outweighs(parts, granted),
    }
}

fn outweighs(parts: &[Part], granted: &BTreeSet<NodeId>) -> bool {
    let mut balance = 0_i64;
    for part in parts {
        let (agrees, weight) = match part {
            Part::Voter { node, weight } => (granted.contains(node), *weight),
            Part::Group { parts, weight } => (outweighs(parts, granted), *weight),
        };
        balance += if agrees { i64::from(weight) } else { -i64::from(weight) };
    }
    balance > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn an_election_that_was_not_won_is_told_from_one_that_was() {
        let plain = Configuration::of_voters([1, 2, 3, 4].map(NodeId));
        let of = |rule| Configuration { rule, ..plain.clone() };
        assert!(may_elect(&plain, &ids(&[1, 2, 3])) && !may_elect(&plain, &ids(&[1, 2, 9])));
        let even = of(QuorumRule::EvenSet { extra: ids(&[1]) });
        assert!(may_elect(&even, &ids(&[1, 4])) && !may_elect(&even, &ids(&[2, 4])));
        let flexible = of(QuorumRule::Flexible { election: 4, commit: 1 });
        assert!(!may_elect(&flexible, &ids(&[1, 2, 3])));
        let groups = of(QuorumRule::grouped([&[1][..], &[2], &[3, 4]].map(ids)));
        assert!(may_elect(&groups, &ids(&[1, 2])) && !may_elect(&groups, &ids(&[1, 3])));
        let joint = Configuration { outgoing: ids(&[5]), ..plain };
        assert!(!may_elect(&joint, &ids(&[1, 2, 3])) && may_elect(&joint, &ids(&[1, 2, 3, 5])));
    }

    #[test]
    fn an_old_disk_is_put_back_only_where_somebody_says_no_to_it() {
        let of = |voters: &[u64]| Configuration::of_voters(ids(voters));
        let is_held_back = |known, now| is_held_back(NodeId(1), &of(known), &of(now));
        assert!(is_held_back(&[1, 2, 3], &[1, 2, 3]));
        assert!(is_held_back(&[1, 2, 3, 4], &[1, 2, 3]), "one that has left is not enough");
        assert!(!is_held_back(&[1, 2, 3], &[1, 2, 4]), "one that has left is enough");
        assert!(!is_held_back(&[1], &[1, 2, 3]), "it was alone");
    }
}
