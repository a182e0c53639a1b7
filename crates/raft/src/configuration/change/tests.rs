//! What becomes of a configuration, change by change.

use super::*;
use crate::TOMBSTONES_MAX;
use crate::quorum::{Decision, Quorum};
use alloc::string::{String, ToString};

fn nodes(list: &[u64]) -> BTreeSet<NodeId> {
    list.iter().copied().map(NodeId).collect()
}

fn configuration(voters: &[u64], learners: &[u64]) -> Configuration {
    Configuration { learners: nodes(learners), voters: nodes(voters), ..Default::default() }
}

fn written(configuration: &Configuration) -> String {
    configuration.to_string()
}

fn check(changes: &[MemberChange], expect: &str) {
    let before = configuration(&[1, 2, 3], &[4]);
    let change = ConfigurationChange::of(changes.iter().copied());
    let said = match target(&before, &change) {
        Ok(next) => {
            let entered = enter(&before, next.clone());
            assert!(may_follow(&before, &entered));
            if entered.is_joint() {
                let left = leave(&entered);
                let removed = left.removed.clone();
                assert_eq!(left, Configuration { removed, ..next });
                assert!(may_follow(&entered, &left));
            }
            written(&entered)
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(said, expect);
}

#[test]
fn every_kind_of_change() {
    use MemberChange::{AddLearner, AddVoter, Demote, Promote, Remove};
    let n = NodeId;
    check(&[AddVoter(n(5))], "voters=1,2,3,5 outgoing=1,2,3 learners=4");
    check(&[AddLearner(n(5))], "voters=1,2,3 learners=4,5");
    check(&[Promote(n(4))], "voters=1,2,3,4 outgoing=1,2,3");
    check(&[Demote(n(3))], "voters=1,2 outgoing=1,2,3 learners=3,4");
    check(&[Remove(n(3))], "voters=1,2 outgoing=1,2,3 learners=4");
    check(&[Remove(n(4))], "voters=1,2,3 removed=4");
    check(&[AddVoter(n(5)), Remove(n(3))], "voters=1,2,5 outgoing=1,2,3 learners=4");
    check(&[Promote(n(4)), Demote(n(1))], "voters=2,3,4 outgoing=1,2,3 learners=1");
    check(&[AddVoter(n(3))], "add voter 3 does not fit the configuration");
    check(&[AddLearner(n(4))], "add learner 4 does not fit the configuration");
    check(&[Promote(n(3))], "promote 3 does not fit the configuration");
    check(&[Demote(n(4))], "demote 4 does not fit the configuration");
    check(&[Remove(n(9))], "remove 9 does not fit the configuration");
    check(&[Remove(n(3)), AddVoter(n(3))], "node 3 is named twice");
    check(&[], "nothing to change");
    check(&[1, 2, 3].map(|node| Remove(n(node))), "no voters would be left");
}

/// Attributes stay as long as their node is a member in any role, and no longer.
#[test]
fn attributes_come_and_go_with_their_member() {
    let attributes = |list: &[u64]| -> BTreeMap<NodeId, Bytes> {
        list.iter().map(|node| (NodeId(*node), Bytes::from(alloc::vec![7]))).collect()
    };
    let before =
        Configuration { attributes: attributes(&[2, 3]), ..configuration(&[1, 2, 3], &[]) };
    let mut change = ConfigurationChange::of([
        MemberChange::AddVoter(NodeId(5)),
        MemberChange::Remove(NodeId(3)),
    ]);
    change.attributes = attributes(&[5]);
    let joint = enter(&before, target(&before, &change).expect("a sound change"));
    assert_eq!(joint.attributes, attributes(&[2, 3, 5]), "node 3 must still be reached");
    assert_eq!(leave(&joint).attributes, attributes(&[2, 5]));

    let change = ConfigurationChange { attributes: attributes(&[9]), ..Default::default() };
    let refused = target(&before, &change).map_err(|error| error.to_string());
    assert_eq!(refused, Err("node 9 is no member".to_string()));
    let change = ConfigurationChange { attributes: attributes(&[1]), ..Default::default() };
    let entered = enter(&before, target(&before, &change).expect("attributes alone"));
    assert!(!entered.is_joint(), "attributes change no majority");
}

/// A tombstone stands from when its node is a member no more; the oldest goes when there are
/// too many.
#[test]
fn tombstones() {
    let removed = alloc::vec![NodeId(9)];
    let before = Configuration { removed, ..configuration(&[1, 2], &[4]) };
    let remove = |nodes: &[u64]| {
        ConfigurationChange::of(nodes.iter().map(|node| MemberChange::Remove(NodeId(*node))))
    };
    let next = target(&before, &remove(&[2, 4])).expect("a sound change");
    let joint = enter(&before, next);
    assert_eq!(written(&joint), "voters=1 outgoing=1,2 removed=9,4", "2 has a vote still");
    let left = leave(&joint);
    assert_eq!(written(&left), "voters=1 removed=9,4,2");
    for change in [MemberChange::AddVoter(NodeId(2)), MemberChange::AddLearner(NodeId(9))] {
        let refused = target(&left, &ConfigurationChange::of([change]));
        assert_eq!(refused, Err(ChangeError::WasRemoved { node: change.node() }));
    }

    let removed = (100..100 + TOMBSTONES_MAX as u64).map(NodeId).collect();
    let full = Configuration { removed, ..configuration(&[1], &[4]) };
    let next = enter(&full, target(&full, &remove(&[4])).expect("a sound change"));
    assert_eq!(next.removed.len(), TOMBSTONES_MAX);
    assert_eq!((next.removed[0], next.removed[TOMBSTONES_MAX - 1]), (NodeId(101), NodeId(4)));
}

/// A change of the rule alone changes who can agree, and a rule stays until it is changed.
#[test]
fn rules_change_in_two_steps() {
    let rule = QuorumRule::Flexible { election: 3, commit: 2 };
    let before = configuration(&[1, 2, 3, 4], &[]);
    let change = |rule: &QuorumRule, members: &[MemberChange]| ConfigurationChange {
        rule: Some(rule.clone()),
        ..ConfigurationChange::of(members.iter().copied())
    };
    let next = target(&before, &change(&rule, &[])).expect("a sound rule");
    let joint = enter(&before, next.clone());
    let both = "voters=1,2,3,4 outgoing=1,2,3,4 rule=elect:3/commit:2";
    assert_eq!((written(&joint), leave(&joint)), (both.to_string(), next.clone()));
    assert!(may_follow(&before, &joint) && may_follow(&joint, &next));
    assert!(!may_follow(&before, &next), "the old and the new rule need not meet");

    let fifth = [MemberChange::AddVoter(NodeId(5))];
    let refused = target(&next, &ConfigurationChange::of(fifth));
    let fault = crate::RuleFault::QuorumsApart { voters: 5 };
    assert_eq!(refused, Err(ChangeError::Rule { fault }));
    let wider = QuorumRule::Flexible { election: 4, commit: 2 };
    let joint = enter(&next, target(&next, &change(&wider, &fifth)).expect("a sound rule"));
    let both = "voters=1,2,3,4,5 outgoing=1,2,3,4 rule=elect:4/commit:2 \
                outgoing-rule=elect:3/commit:2";
    assert_eq!(written(&joint), both);
    assert_eq!(written(&leave(&joint)), "voters=1,2,3,4,5 rule=elect:4/commit:2");
}

/// The thesis' claim (§4.3), exhaustively for five nodes: whoever agrees in one configuration
/// of the way shares a voter with whoever agrees in the next, in every change there is.
#[test]
fn neighbours_intersect() {
    let sets: Vec<Vec<u64>> = (1..32u32)
        .map(|bits| (1..=5).filter(|node| bits & (1 << (node - 1)) != 0).collect())
        .collect();
    let agrees = |configuration: &Configuration, granted: &[u64]| {
        configuration.is_quorum(Decision::Election, &|voter| granted.contains(&voter.0))
    };
    let intersect = |one: &Configuration, other: &Configuration| {
        sets.iter().filter(|granted| agrees(one, granted)).all(|quorum| {
            let rest: Vec<u64> = (1..=5).filter(|node| !quorum.contains(node)).collect();
            !agrees(other, &rest)
        })
    };
    let pairs = sets.iter().flat_map(|old| sets.iter().map(move |new| (old, new)));
    for (old, new) in pairs {
        let (old, new) = (configuration(old, &[]), configuration(new, &[]));
        let joint = enter(&old, new.clone());
        for (one, other) in [(&old, &joint), (&joint, &new), (&joint, &joint)] {
            assert!(intersect(one, other), "{one} and {other} agree apart");
        }
    }
    // Without the joint configuration between them they may not.
    assert!(!intersect(&configuration(&[1, 2], &[]), &configuration(&[3, 4], &[])));
}
