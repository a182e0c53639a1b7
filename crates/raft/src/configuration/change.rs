//! How one configuration follows from another (thesis §4.3).
//!
//! A change that touches voters, however many, takes two entries: a joint configuration, in which
//! agreement takes a majority of C_old and one of C_new, and then C_new alone.
//!
//! ```text
//!                 C_old            C_old,new                     C_new
//!   voters        1 2 3            3 4 5                         3 4 5
//!   outgoing      -                1 2 3                         -
//!   who agrees    two of 1 2 3     two of 3 4 5 and of 1 2 3     two of 3 4 5
//! ```
//!
//! Each of the three shares a voter with its neighbour in every majority, and C_old never decides
//! beside C_new, since the first is over when the second begins. A change of one voter may go
//! without the first entry ([`one_step`](super::one_step)). A change of learners alone leaves all
//! majorities as they are and takes one entry. A change of the quorum rule goes the way of a change
//! of voters: each half keeps its own rule meanwhile.
//!
//! These are pure functions of configurations. Scripts: `testdata/membership/`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;

#[cfg(any(test, feature = "invariants"))]
use super::one_step::is_one_step;
use crate::quorum::rule::QuorumRule;
use crate::seeded::{Bug, bug};
use crate::{ChangeError, Configuration, LeaseTerms, NodeId, Transition};

/// A change of the members of a group, made in one step whatever it holds.
///
/// ```
/// use raft::{ConfigurationChange, MemberChange, NodeId};
///
/// // Node 4 takes the place of node 3.
/// let replace = ConfigurationChange::of([
///     MemberChange::AddVoter(NodeId(4)),
///     MemberChange::Remove(NodeId(3)),
/// ]);
/// # drop(replace);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
pub struct ConfigurationChange {
    /// What becomes of which node; each node is named once.
    pub members: Vec<MemberChange>,
    /// New attributes of nodes that are members once the change is made
    /// ([`Configuration::attributes`]).
    pub attributes: BTreeMap<NodeId, Bytes>,
    /// What becomes of the leases in the log.
    pub lease: LeaseChange,
    /// How the voters decide from now on; `None` leaves the rule as it is. A rule that names voters
    /// must be given anew with each change of them.
    pub rule: Option<QuorumRule>,
    /// From whom learners pull from now on; `None` for the leader, who sends. What is not named
    /// stays ([`Configuration::feeders`]).
    pub feeders: BTreeMap<NodeId, Option<NodeId>>,
    /// New priorities of nodes that are members once the change is made; 0 for none. What is not
    /// named stays ([`Configuration::priorities`]).
    pub priorities: BTreeMap<NodeId, u32>,
    /// The change is refused unless this is the configuration in force.
    pub expected: Option<Configuration>,
    /// Change even if no majority of the new voters is alive and holds the log, so that nothing
    /// will be committed until one does.
    pub allow_stall: bool,
    /// By which way.
    pub transition: Transition,
}

/// What becomes of the leases in the log ([`Configuration::lease`]). Shortening, lengthening and
/// ending them are ordinary changes: whoever leads next waits as long as the last one reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum LeaseChange {
    /// They stay as they are.
    #[default]
    Keep,
    /// From now on under these terms.
    Set(LeaseTerms),
    /// There are none any more.
    End,
}

/// What becomes of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberChange {
    /// A node that is no member becomes a voter. Until it has the log it can only slow the group
    /// down; adding a learner and promoting it later is the gentle way.
    AddVoter(NodeId),
    /// A node that is no member becomes a learner.
    AddLearner(NodeId),
    /// A node that is no member becomes a witness: a voter without the data. Its host must have
    /// been told as well ([`is_witness`](crate::Options::is_witness)). It stays one until it is
    /// removed.
    AddWitness(NodeId),
    /// A learner becomes a voter. It must have caught up
    /// ([`promotion_lag_bytes_max`](crate::Options::promotion_lag_bytes_max)).
    Promote(NodeId),
    /// A voter becomes a learner.
    Demote(NodeId),
    /// A member leaves.
    Remove(NodeId),
}

impl MemberChange {
    /// The node in question.
    #[must_use]
    pub fn node(self) -> NodeId {
        match self {
            Self::AddVoter(node)
            | Self::AddLearner(node)
            | Self::AddWitness(node)
            | Self::Promote(node)
            | Self::Demote(node)
            | Self::Remove(node) => node,
        }
    }
}

impl ConfigurationChange {
    /// A change without a condition.
    #[must_use]
    pub fn of(members: impl IntoIterator<Item = MemberChange>) -> Self {
        Self { members: members.into_iter().collect(), ..Self::default() }
    }
}

/// What the members are when all is done: C_new. `current` is not joint.
pub(crate) fn target(
    current: &Configuration,
    change: &ConfigurationChange,
) -> Result<Configuration, ChangeError> {
    let mut next = current.clone();
    let mut named = BTreeSet::new();
    for change in &change.members {
        let node = change.node();
        if !named.insert(node) {
            return Err(ChangeError::NamedTwice { node });
        }
        if current.removed.contains(&node) && !bug(Bug::RemovedIdComesBack) {
            return Err(ChangeError::WasRemoved { node });
        }
        let fits = match change {
            MemberChange::AddVoter(_) => !next.contains(node) && next.voters.insert(node),
            MemberChange::AddLearner(_) => !next.contains(node) && next.learners.insert(node),
            MemberChange::AddWitness(_) => {
                !next.contains(node) && next.voters.insert(node) && next.witnesses.insert(node)
            }
            // What a witness has is no log that a learner could go on from.
            MemberChange::Demote(_) if current.witnesses.contains(&node) => false,
            MemberChange::Promote(_) => next.learners.remove(&node) && next.voters.insert(node),
            MemberChange::Demote(_) => next.voters.remove(&node) && next.learners.insert(node),
            MemberChange::Remove(_) => next.voters.remove(&node) || next.learners.remove(&node),
        };
        if !fits {
            return Err(ChangeError::DoesNotFit { change: *change });
        }
    }
    if let Some(rule) = &change.rule {
        next.rule.clone_from(rule);
    }
    match change.lease {
        LeaseChange::Keep => {}
        LeaseChange::Set(terms) if !terms.is_sound() => {
            return Err(ChangeError::LeaseOutOfBounds { duration_us: terms.duration_us });
        }
        LeaseChange::Set(terms) => next.lease = Some(terms),
        LeaseChange::End => next.lease = None,
    }
    let says_nothing = change.members.is_empty()
        && change.attributes.is_empty()
        && change.rule.is_none()
        && change.feeders.is_empty()
        && change.priorities.is_empty();
    if says_nothing && change.lease == LeaseChange::Keep {
        return Err(ChangeError::Empty);
    }
    if next.voters.is_empty() {
        return Err(ChangeError::NoVoters);
    }
    if next.voters.is_subset(&next.witnesses) {
        return Err(ChangeError::OnlyWitnesses);
    }
    next.rule.check(&next.voters).map_err(|fault| ChangeError::Rule { fault })?;
    for (node, attributes) in &change.attributes {
        if !next.contains(*node) {
            return Err(ChangeError::NoMember { node: *node });
        }
        next.attributes.insert(*node, attributes.clone());
    }
    name_feeders(&mut next, change)?;
    prefer(&mut next, change)?;
    Ok(next)
}

fn prefer(next: &mut Configuration, change: &ConfigurationChange) -> Result<(), ChangeError> {
    for (node, priority) in &change.priorities {
        if !next.contains(*node) {
            return Err(ChangeError::NoMember { node: *node });
        }
        if *priority == 0 {
            next.priorities.remove(node);
        } else {
            next.priorities.insert(*node, *priority);
        }
    }
    Ok(())
}

fn name_feeders(next: &mut Configuration, change: &ConfigurationChange) -> Result<(), ChangeError> {
    for (learner, feeder) in &change.feeders {
        let Some(feeder) = *feeder else {
            next.feeders.remove(learner);
            continue;
        };
        let can_feed = next.contains(feeder) && !next.witnesses.contains(&feeder);
        if !next.learners.contains(learner) || feeder == *learner || !can_feed {
            return Err(ChangeError::CannotFeed { learner: *learner, feeder });
        }
        next.feeders.insert(*learner, feeder);
    }
    // Who becomes a voter is fed by the leader, and so is whose feeder leaves.
    let mut feeders = core::mem::take(&mut next.feeders);
    feeders.retain(|learner, feeder| next.learners.contains(learner) && next.contains(*feeder));
    next.feeders = feeders;
    Ok(())
}

/// The first entry of the way from `current` to `target`: C_old,new, or C_new where the voters
/// stay.
pub(crate) fn enter(current: &Configuration, target: Configuration) -> Configuration {
    assert!(!current.is_joint() && !target.is_joint(), "one change at a time");
    let rule_stays = current.rule == target.rule || bug(Bug::RuleChangesInOneStep);
    if current.voters == target.voters && rule_stays {
        return target.that_follows(current);
    }
    let outgoing_rule = current.rule.clone();
    Configuration { outgoing: current.voters.clone(), outgoing_rule, ..target }
        .that_follows(current)
}

/// The second entry: C_new.
pub(crate) fn leave(joint: &Configuration) -> Configuration {
    assert!(joint.is_joint(), "only a joint configuration is left");
    let outgoing_rule = QuorumRule::Majority;
    Configuration { outgoing: BTreeSet::new(), outgoing_rule, ..joint.clone() }.that_follows(joint)
}

/// Whether `next` may follow `before` in a log, for the catalogue of invariants.
#[cfg(any(test, feature = "invariants"))]
pub(crate) fn may_follow(before: &Configuration, next: &Configuration) -> bool {
    let keeps_tombstones = next.removed == next.clone().that_follows(before).removed;
    match (before.is_joint(), next.is_joint()) {
        (false, false) => {
            let voters_stay = before.voters == next.voters && before.rule == next.rule;
            (voters_stay || is_one_step(before, next)) && keeps_tombstones
        }
        (false, true) => {
            let is_kept = next.outgoing == before.voters && next.outgoing_rule == before.rule;
            is_kept && keeps_tombstones
        }
        (true, false) => *next == leave(before),
        (true, true) => false,
    }
}

#[cfg(test)]
mod tests {
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
}
