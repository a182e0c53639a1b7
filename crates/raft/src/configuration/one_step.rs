//! Changes of one voter that go in one entry: C_old, and then C_new (thesis §4.1).
//!
//! ```text
//!                 C_old              C_new
//!   voters        1 2 3              1 2 3 4
//!   who agrees    two of 1 2 3       three of 1 2 3 4      any two and any three share a voter
//! ```
//!
//! Of n voters n/2 + 1 are a majority, and (n+1)/2 + 1 of n + 1 (both rounded down): together
//! n + 2, one more than there are. So whoever is elected under one of the two meets whoever decided
//! anything under the other, as a joint configuration meets its neighbours, and an entry is saved.
//! That is so of the neighbours alone:
//!
//! ```text
//!   C_old = 1 2    C+3 = 1 2 3, decided by 1 and 3    C-1 = 2, decided by 2: they share nobody
//! ```
//!
//! Therefore a change must know from what it begins. The first version of single-server changes did
//! not see to it that an uncommitted change of an earlier term was gone; that the leader first
//! commits an entry of its own term is what mends it (M1; `membership.rs` has the rule, which is
//! the same for both ways).
//!
//! What is decided by more than heads is left to joint consensus, which asks nothing of it:
//!
//! - *Other rules than the majority.* With the weights 3, 1, 1 and then 1, 1, 1, 1 the first
//!   voter decides alone before, and the other three after.
//! - *Witnesses.* What a witness may hear of depends on who the full voters are (`witness.rs`), and
//!   a change that is lost with its leader would take that back.
//! - *Replacements.* One comes and one goes: two changes, one behind the other.
//!
//! Leases, incarnations, tombstones and reads rest on nothing but that quorums meet, and that a
//! candidate which knows of C_new has all that is before it in the log.
//!
//! # Going back
//!
//! As a joint configuration, C_new may be given up before it is committed by the leader that began
//! it (M18): C_old is appended behind it. All three decide by majorities of C_old or of C_new,
//! which meet; and that nothing else has followed C_new only this leader knows.
//!
//! Not from a removal. Between the two entries C_new alone may become known to be committed, and a
//! node that is told so ends for good:
//!
//! ```text
//!   n1   C   C-3   C      two of 1 2 3 have C-3, and not yet the way back
//!   n2   C   C-3
//!   n3   C   C-3          hears that C-3 is committed, and shuts down: C would count on it
//! ```
//!
//! So who wants to be able to change its mind removes by a joint configuration.

use core::fmt;

use crate::Configuration;
use crate::quorum::rule::QuorumRule;
use crate::seeded::{Bug, bug};

/// How a group comes from one configuration to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum Transition {
    /// By a joint configuration, if voters or their rule change: two entries, for any change there
    /// is (thesis §4.3).
    #[default]
    Joint,
    /// By one entry (thesis §4.1): of a change that adds, removes, promotes or demotes one voter,
    /// in a group without witnesses that decides by majority. Any other is refused. A removal
    /// cannot be [given up](crate::Node::abandon_change): those who stay must be able to decide.
    OneStep,
}

/// Why a change of configuration cannot go in one step. By a joint configuration it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OneStepFault {
    /// More than one voter would come or go.
    Voters {
        /// How many.
        changed: usize,
    },
    /// The voters decide, or are to decide, by another rule than the majority.
    Rule,
    /// A voter is, or is to be, a witness.
    Witness,
}

/// Whether majorities of `current` and of `next` always share a voter, and nothing else is asked of
/// a decision. What changes no voter takes one entry in any case.
pub(crate) fn check(current: &Configuration, next: &Configuration) -> Result<(), OneStepFault> {
    assert!(!current.is_joint() && !next.is_joint(), "one change at a time");
    if current.voters == next.voters && current.rule == next.rule {
        return Ok(());
    }
    let takes_majority =
        |one: &Configuration| one.rule == QuorumRule::Majority || bug(Bug::AnyRuleInOneStep);
    if !takes_majority(current) || !takes_majority(next) {
        return Err(OneStepFault::Rule);
    }
    if !current.witnesses.is_empty() || !next.witnesses.is_empty() {
        return Err(OneStepFault::Witness);
    }
    let changed = current.voters.symmetric_difference(&next.voters).count();
    let changed_max = if bug(Bug::TwoVotersInOneStep) { 2 } else { 1 };
    if changed > changed_max {
        return Err(OneStepFault::Voters { changed });
    }
    Ok(())
}

/// Whether a step to `next` may be given up for `before`.
pub(crate) fn may_go_back(before: &Configuration, next: &Configuration) -> bool {
    let is_removal = before.voters.iter().any(|voter| !next.contains(*voter));
    !is_removal || bug(Bug::GoesBackFromARemoval)
}

/// Whether one follows from the other in one step of voters, for the catalogue of invariants.
#[cfg(any(test, feature = "invariants"))]
pub(crate) fn is_one_step(before: &Configuration, next: &Configuration) -> bool {
    [before, next]
        .iter()
        .all(|one| !one.is_joint() && one.rule == QuorumRule::Majority && one.witnesses.is_empty())
        && before.voters.symmetric_difference(&next.voters).count() == 1
}

impl fmt::Display for OneStepFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Voters { changed } => write!(f, "{changed} voters would change in one step")?,
            Self::Rule => f.write_str("not in one step unless majorities decide")?,
            Self::Witness => f.write_str("not in one step in a group with witnesses")?,
        }
        f.write_str("; a joint configuration takes it")
    }
}

impl core::error::Error for OneStepFault {}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;
    use crate::configuration::change::target;
    use crate::quorum::{Decision, Quorum};
    use crate::{ChangeError, ConfigurationChange, MemberChange, NodeId};

    fn of(voters: &[u64]) -> Configuration {
        Configuration::of_voters(voters.iter().copied().map(NodeId))
    }

    fn subsets(of: &[u64]) -> Vec<Vec<u64>> {
        (0..1_u32 << of.len())
            .map(|bits| of.iter().enumerate().filter(move |(at, _)| bits & (1 << at) != 0))
            .map(|chosen| chosen.map(|(_, node)| *node).collect())
            .collect()
    }

    /// Whether some quorum of the one shares nobody with some quorum of the other.
    fn are_apart(one: &Configuration, other: &Configuration) -> bool {
        let all = [1, 2, 3, 4, 5, 6];
        let agrees = |configuration: &Configuration, granted: &[u64]| {
            configuration.is_quorum(Decision::Election, &|voter| granted.contains(&voter.0))
        };
        subsets(&all).iter().filter(|quorum| agrees(one, quorum)).any(|quorum| {
            let rest: Vec<u64> = all.into_iter().filter(|node| !quorum.contains(node)).collect();
            agrees(other, &rest)
        })
    }

    /// The thesis' claim (§4.1), exhaustively: what is let through meets, and much of what is
    /// refused for its voters does not.
    #[test]
    fn what_goes_in_one_step_meets_what_was_before() {
        let (mut taken, mut apart) = (0, 0);
        let groups = subsets(&[1, 2, 3, 4, 5, 6]);
        let groups: Vec<&Vec<u64>> = groups.iter().filter(|group| !group.is_empty()).collect();
        for old in &groups {
            for new in &groups {
                let (old, new) = (of(old), of(new));
                if check(&old, &new).is_ok() {
                    taken += usize::from(old.voters != new.voters);
                    assert!(!are_apart(&old, &new), "{old} and {new} agree apart");
                    assert!(old == new || is_one_step(&old, &new));
                } else {
                    apart += usize::from(are_apart(&old, &new));
                    assert!(!is_one_step(&old, &new));
                }
            }
        }
        // Each of 63 groups has six neighbours, and six times nobody is one of them.
        assert_eq!(taken, 63 * 6 - 6);
        assert!(apart > 1000, "{apart}");
    }

    #[test]
    fn what_is_refused_says_what_to_do() {
        let checked = |before: &Configuration,
                       changes: &[MemberChange],
                       rule: Option<QuorumRule>| {
            let change =
                ConfigurationChange { rule, ..ConfigurationChange::of(changes.iter().copied()) };
            let next = target(before, &change)?;
            check(before, &next).map_err(|fault| ChangeError::NotInOneStep { fault })
        };
        let said = |before: &Configuration, changes: &[MemberChange], rule| {
            checked(before, changes, rule).map_err(|error| error.to_string())
        };
        use MemberChange::{AddLearner, AddVoter, AddWitness, Demote, Promote, Remove};
        let n = NodeId;
        let learners: BTreeSet<NodeId> = [n(4)].into();
        let three = Configuration { learners, ..of(&[1, 2, 3]) };
        for change in [AddVoter(n(5)), Promote(n(4)), Demote(n(3)), Remove(n(1)), Remove(n(4))] {
            assert_eq!(said(&three, &[change], None), Ok(()), "{change}");
            // Who learns does not count.
            assert_eq!(said(&three, &[change, AddLearner(n(6))], None), Ok(()), "{change}");
        }
        let refused = |before: &Configuration, changes: &[MemberChange], rule, why: &str| {
            let expected = alloc::format!("{why}; a joint configuration takes it");
            assert_eq!(said(before, changes, rule), Err(expected));
        };
        let two = "2 voters would change in one step";
        refused(&three, &[AddVoter(n(5)), Remove(n(3))], None, two);
        refused(&three, &[AddVoter(n(5)), AddVoter(n(6))], None, two);
        refused(&three, &[Promote(n(4)), Demote(n(1))], None, two);
        let witness = "not in one step in a group with witnesses";
        refused(&three, &[AddWitness(n(5))], None, witness);
        let guarded = Configuration { witnesses: [n(3)].into(), ..three.clone() };
        refused(&guarded, &[Remove(n(3))], None, witness);
        refused(&guarded, &[AddVoter(n(5))], None, witness);
        let rule = "not in one step unless majorities decide";
        let flexible = QuorumRule::Flexible { election: 2, commit: 2 };
        refused(&three, &[], Some(flexible.clone()), rule);
        let ruled = Configuration { rule: flexible, ..three };
        refused(&ruled, &[], Some(QuorumRule::Majority), rule);
        refused(&ruled, &[Remove(n(3))], None, rule);
    }

    /// Why other rules are left to joint consensus: a voter more, or less, and quorums are apart.
    #[test]
    fn one_voter_of_another_rule_is_enough_to_be_apart() {
        let weighted = |weights: &[(u64, u32)]| {
            let rule = QuorumRule::weighted(weights.iter().map(|(id, at)| (NodeId(*id), *at)));
            Configuration { rule, ..of(&weights.iter().map(|(id, _)| *id).collect::<Vec<_>>()) }
        };
        let (heavy, light) =
            (weighted(&[(1, 3), (2, 1), (3, 1)]), weighted(&[(1, 1), (2, 1), (3, 1), (4, 1)]));
        assert!(are_apart(&heavy, &light));
        assert_eq!(check(&heavy, &light), Err(OneStepFault::Rule));
    }
}
