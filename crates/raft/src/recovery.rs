//! The last way out: a group that has lost a majority of its voters for good.
//!
//! **This loses data.** Whatever only the lost members had is gone, acknowledged or not. And if a
//! member that is called lost lives and has a majority of the old group with it, there are two
//! groups from then on, which both believe to be the one. So it is done by hand, on one node that
//! is stopped, and is nothing that a message or an [`Input`](crate::Input) could ask for: it is a
//! write to the log.
//!
//! ```text
//!   n1  1 2 3 4      lost
//!   n2  1 2 3 4      lost                       n4  1 2 3 F       F: voters=3,4 removed=1,2,5
//!   n3  1 2 3                                   n3  1 2 3 F
//!   n4  1 2 3        is forced:  F              4 is gone; n1, should it come back, is told to
//!   n5  1 2          lost                       shut down
//! ```
//!
//! The survivor writes a configuration of the survivors behind its log, in force on append like any
//! other. Then it begins as always: it is elected by the survivors, and its log becomes theirs. So
//! the survivor with the most up-to-date log must be chosen ([`EntryId`](crate::EntryId)s compare
//! as votes do). One that has committed what the chosen one lacks refuses its log, and has to be
//! replaced.
//!
//! # Why the term leaps
//!
//! The new entry must not be mistaken for one that the lost members made: a name of theirs in the
//! next term could be the same, and stand for another entry. So the upper half of the term counts
//! recoveries, and the lower half begins at a number drawn for this one: two survivors that are
//! forced apart, by two hands, do not make two entries of one name.

use alloc::collections::BTreeSet;
use core::fmt;

use crate::quorum::rule::QuorumRule;
use crate::restore::restore_configurations;
use crate::step::PLAUSIBLE_MAX;
use crate::{
    Configuration, Entry, EntryId, HardState, NodeId, Payload, Persist, PersistNumber, Restored,
    RestoredFault, Term,
};

/// How many recoveries a group has been through.
pub(crate) fn recoveries(term: Term) -> u64 {
    term.0 >> 32
}

impl Restored {
    /// What to write to the log of a stopped node to make its group one of `survivors` alone. Write
    /// it, make it durable, and start the node; nothing is changed before. Survivors keep their
    /// roles, but for this node, which becomes a voter. All other members are gone for good.
    ///
    /// `nonce` is a random number, drawn for this call.
    ///
    /// # Errors
    /// Nothing can or need be recovered in this way.
    pub fn force_survivors(
        &self,
        id: NodeId,
        survivors: &BTreeSet<NodeId>,
        nonce: u32,
    ) -> Result<Persist, RecoveryError> {
        let history = restore_configurations(self).map_err(RecoveryError::Restored)?;
        let current = history.current();
        if !survivors.contains(&id) {
            return Err(RecoveryError::NotAmongThem { node: id });
        }
        if current.witnesses.contains(&id) {
            return Err(RecoveryError::Witness { node: id });
        }
        if let Some(node) = survivors.iter().find(|node| !current.contains(**node)) {
            return Err(RecoveryError::NoMember { node: *node });
        }
        if !current.is_joint() && current.members().all(|member| survivors.contains(&member)) {
            return Err(RecoveryError::NobodyIsLost);
        }
        let term = Term((recoveries(self.hard_state.current_term) + 1) << 32 | u64::from(nonce));
        if term.0 > PLAUSIBLE_MAX {
            return Err(RecoveryError::TooOften);
        }
        let is_voter = |node: &NodeId| current.is_voter(*node) || *node == id;
        let (voters, learners) = survivors.iter().copied().partition(is_voter);
        let next = Configuration {
            voters,
            learners,
            outgoing: BTreeSet::new(),
            // Another rule may need those who are lost.
            rule: QuorumRule::Majority,
            outgoing_rule: QuorumRule::Majority,
            ..current.clone()
        };
        let payload = Payload::Configuration(next.that_follows(current).into());
        let id_of_entry = EntryId { term, index: self.last.index.next() };
        Ok(Persist {
            number: PersistNumber(0),
            mark: None,
            hard_state: Some(HardState { current_term: term, voted_for: Some(id) }),
            entries: alloc::vec![Entry { id: id_of_entry, payload }].into(),
        })
    }
}

/// Why survivors cannot be forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The node itself must be among the survivors.
    NotAmongThem {
        /// The node.
        node: NodeId,
    },
    /// A witness cannot lead the survivors: it has no data.
    Witness {
        /// The node.
        node: NodeId,
    },
    /// A survivor is no member of the newest configuration in this log.
    NoMember {
        /// The node.
        node: NodeId,
    },
    /// All members survive: let them elect a leader.
    NobodyIsLost,
    /// There is no term left for another recovery.
    TooOften,
    /// What the log gave back contradicts itself.
    Restored(RestoredFault),
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAmongThem { node } => {
                write!(f, "node {node} itself is not among the survivors")
            }
            Self::Witness { node } => write!(f, "node {node} is a witness and has no data"),
            Self::NoMember { node } => write!(f, "node {node} is no member"),
            Self::NobodyIsLost => f.write_str("all members are among the survivors"),
            Self::TooOften => f.write_str("no term is left for another recovery"),
            Self::Restored(fault) => write!(f, "restored state contradicts itself: {fault}"),
        }
    }
}

impl core::error::Error for RecoveryError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn nodes(list: &[u64]) -> BTreeSet<NodeId> {
        list.iter().copied().map(NodeId).collect()
    }

    fn forced(restored: &Restored, id: u64, survivors: &[u64]) -> Result<Persist, RecoveryError> {
        restored.force_survivors(NodeId(id), &nodes(survivors), 7)
    }

    #[test]
    fn survivors_keep_their_roles_and_the_rest_is_gone() {
        let configuration = Configuration {
            learners: nodes(&[6, 7]),
            outgoing: nodes(&[1, 2, 3]),
            rule: QuorumRule::EvenSet { extra: nodes(&[5]) },
            outgoing_rule: QuorumRule::EvenSet { extra: nodes(&[1]) },
            ..Configuration::of_voters([3, 4, 5].map(NodeId))
        };
        let restored = Restored::bootstrap(configuration);
        let persist = forced(&restored, 6, &[2, 3, 6, 7]).expect("sound survivors");
        let Payload::Configuration(next) = &persist.entries[0].payload else { panic!() };
        assert_eq!(next.to_string(), "voters=2,3,6 learners=7 removed=1,4,5");
        assert_eq!(persist.entries[0].id, EntryId::new((1 << 32) + 7, 1));
        let hard_state = persist.hard_state.expect("a term of its own");
        assert_eq!(hard_state.voted_for, Some(NodeId(6)), "nobody else is voted for in it");
    }

    #[test]
    fn what_cannot_be_recovered() {
        let restored = Restored::bootstrap(Configuration::of_voters([1, 2, 3].map(NodeId)));
        let error = |id, survivors: &[u64]| forced(&restored, id, survivors).map(|_| ());
        assert_eq!(error(1, &[2]), Err(RecoveryError::NotAmongThem { node: NodeId(1) }));
        assert_eq!(error(1, &[1, 9]), Err(RecoveryError::NoMember { node: NodeId(9) }));
        assert_eq!(error(1, &[1, 2, 3]), Err(RecoveryError::NobodyIsLost));
        let mut old = restored.clone();
        old.hard_state.current_term = Term(PLAUSIBLE_MAX);
        assert_eq!(forced(&old, 1, &[1]).err(), Some(RecoveryError::TooOften));
    }
}
