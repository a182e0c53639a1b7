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
mod tests;
