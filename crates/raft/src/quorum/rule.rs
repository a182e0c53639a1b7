//! Which sets of voters can decide alone.
//!
//! Two things must meet, or the group has two leaders of a term, or loses what it committed:
//!
//! ```text
//!   election and election    each voter votes once in a term: who votes for both, votes for one
//!   election and commit      the voter that holds the entry refuses a candidate that lacks it
//!   commit and commit        need not meet: nothing is decided twice without an election between
//! ```
//!
//! The first is why Flexible Paxos, which asks only for the second, cannot be taken over as it is:
//! its ballots carry their owner's name, while here any node may campaign in any term. With three
//! voters, elections of one and commits of three, two nodes could lead term 1.
//!
//! # Half and an extra set
//!
//! A group of four stands the loss of one voter, as a group of three does; the fourth is there for
//! nothing but its copy. Of two halves that face each other, one could go on, if both knew which:
//!
//! ```text
//!   voters 1 2 3 4      any three, and of the pairs, with the extra set
//!                         {1}:      12 13 14           not 34 24 23     voter 1 breaks ties
//!                         {1,2,3}:  12 13 23           not 34 24 14     two of the three do
//!                         {1,2}:    12                 not 34           the others stay ties
//! ```
//!
//! Two halves that do not meet are each other's rest, so at most one of them holds the greater
//! part of the extra set; and a half meets every majority. With an extra set of one, that voter is
//! what elsewhere is called an oracle or tie-breaker. One outside of the group would have to keep
//! votes as a voter does, so it is one: a witness.
//!
//! # Two sizes
//!
//! ```text
//!   voters 1 2 3 4      elections take three, commits two: a commit waits for one follower
//!   voters 1 2 3 4 5    elections take four,  commits two: it survives one lost disk, not two
//! ```
//!
//! # Weights and groups of groups
//!
//! See [`hierarchy`].
//!
//! Scripts: `testdata/quorum/`. All pairs of quorums of all small groups: `tests/quorum_rules.rs`.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use super::hierarchy::{self, Part};
use super::majority::Majority;
use super::{Decision, Quorum};
use crate::NodeId;
use crate::seeded::{Bug, bug};

/// Which sets of voters can decide alone. Part of the configuration: it comes into force with the
/// entry that holds it, and a change of it goes through a joint configuration, in which both the
/// old and the new rule must be met.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
pub enum QuorumRule {
    /// More than half of the voters.
    #[default]
    Majority,
    /// More than half of the voters, or just half of them with more than half of the extra set.
    EvenSet {
        /// Voters, one at least.
        extra: BTreeSet<NodeId>,
    },
    /// So many voters, whoever they are; more for elections than for commits, most likely.
    Flexible {
        /// Votes that make a leader; more than half of the voters.
        election: u32,
        /// Copies that commit an entry; with `election`, more than there are voters.
        commit: u32,
    },
    /// More than half of the weight of parts, which are voters or groups of parts. Names every
    /// voter.
    Hierarchy(Vec<Part>),
}

impl QuorumRule {
    /// More than half of the weight.
    #[must_use]
    pub fn weighted(weights: impl IntoIterator<Item = (NodeId, u32)>) -> Self {
        let voter = |(node, weight)| Part::Voter { node, weight };
        Self::Hierarchy(weights.into_iter().map(voter).collect())
    }

    /// A majority of the groups, each by a majority of its voters.
    #[must_use]
    pub fn grouped<Group>(groups: impl IntoIterator<Item = Group>) -> Self
    where
        Group: IntoIterator<Item = NodeId>,
    {
        let voter = |node| Part::Voter { node, weight: 1 };
        let group = |group: Group| {
            let parts = group.into_iter().map(voter).collect();
            Part::Group { parts, weight: 1 }
        };
        Self::Hierarchy(groups.into_iter().map(group).collect())
    }

    /// Whether `voters` can decide by this rule: no two decisions are made apart, and all voters
    /// together can make any.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, voters: &BTreeSet<NodeId>) -> Result<(), RuleFault> {
        match self {
            Self::Majority => Ok(()),
            Self::EvenSet { extra } => {
                if extra.is_empty() {
                    return Err(RuleFault::EmptyGroup);
                }
                extra
                    .difference(voters)
                    .next()
                    .map_or(Ok(()), |node| Err(RuleFault::NoVoter { node: *node }))
            }
            Self::Flexible { election, commit } => {
                let (election, commit) = (u64::from(*election), u64::from(*commit));
                let count = u64::try_from(voters.len()).unwrap_or(u64::MAX);
                if election > count || commit > count {
                    return Err(RuleFault::OutOfReach { voters: voters.len() });
                }
                let meet = 2 * election > count && election + commit > count;
                if meet { Ok(()) } else { Err(RuleFault::QuorumsApart { voters: voters.len() }) }
            }
            Self::Hierarchy(parts) => {
                let mut named = BTreeSet::new();
                hierarchy::check(parts, 1, &mut named)?;
                if let Some(node) = named.difference(voters).next() {
                    return Err(RuleFault::NoVoter { node: *node });
                }
                voters
                    .difference(&named)
                    .next()
                    .map_or(Ok(()), |node| Err(RuleFault::NotNamed { node: *node }))
            }
        }
    }

    /// Bytes that the rule counts against windows and batch limits.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Majority => 0,
            Self::EvenSet { extra } => 8 * extra.len(),
            Self::Flexible { .. } => 8,
            Self::Hierarchy(parts) => 16 * hierarchy::count(parts),
        }
    }
}

/// Why a rule is none for the given voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RuleFault {
    /// Two quorums need not share a voter.
    QuorumsApart {
        /// How many voters there are.
        voters: usize,
    },
    /// All voters together are no quorum.
    OutOfReach {
        /// How many voters there are.
        voters: usize,
    },
    /// A node is named that is no voter.
    NoVoter {
        /// The node.
        node: NodeId,
    },
    /// A voter is not named.
    NotNamed {
        /// The voter.
        node: NodeId,
    },
    /// A voter is named more than once.
    NamedTwice {
        /// The voter.
        node: NodeId,
    },
    /// A weight is zero.
    NoWeight,
    /// A group, or the extra set, has nobody in it.
    EmptyGroup,
    /// Groups within groups beyond [`DEPTH_MAX`](hierarchy::DEPTH_MAX).
    TooDeep,
}

impl fmt::Display for RuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QuorumsApart { voters } => {
                write!(f, "two quorums of {voters} voters need not share one")
            }
            Self::OutOfReach { voters } => write!(f, "{voters} voters are not enough for a quorum"),
            Self::NoVoter { node } => write!(f, "the rule names node {node}, which is no voter"),
            Self::NotNamed { node } => write!(f, "the rule does not name voter {node}"),
            Self::NamedTwice { node } => write!(f, "the rule names voter {node} twice"),
            Self::NoWeight => f.write_str("a weight is zero"),
            Self::EmptyGroup => f.write_str("a group of the rule is empty"),
            Self::TooDeep => {
                write!(f, "the rule has groups within groups beyond {}", hierarchy::DEPTH_MAX)
            }
        }
    }
}

impl core::error::Error for RuleFault {}

/// Voters and their rule: a half of a joint configuration, or all of a simple one.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Half<'a> {
    /// The voters. Nobody agrees to everything.
    pub voters: &'a BTreeSet<NodeId>,
    /// Which of them can decide alone.
    pub rule: &'a QuorumRule,
}

impl Half<'_> {
    fn count(&self, has: &dyn Fn(NodeId) -> bool) -> usize {
        self.voters.iter().filter(|voter| has(**voter)).count()
    }
}

impl Quorum for Half<'_> {
    fn is_quorum(&self, decision: Decision, has: &dyn Fn(NodeId) -> bool) -> bool {
        if self.voters.is_empty() {
            return true;
        }
        match self.rule {
            QuorumRule::Majority => Majority(self.voters).is_quorum(decision, has),
            QuorumRule::EvenSet { extra } => match (2 * self.count(has)).cmp(&self.voters.len()) {
                core::cmp::Ordering::Less => false,
                core::cmp::Ordering::Equal => {
                    Majority(extra).is_quorum(decision, has) || bug(Bug::AnyHalfIsAQuorum)
                }
                core::cmp::Ordering::Greater => true,
            },
            QuorumRule::Flexible { election, commit } => {
                let needed = match decision {
                    Decision::Election if !bug(Bug::CommitQuorumElects) => *election,
                    Decision::Election | Decision::Commit => *commit,
                };
                u32::try_from(self.count(has)).is_ok_and(|count| count >= needed)
            }
            QuorumRule::Hierarchy(parts) => hierarchy::agree(parts, has),
        }
    }
}

/// As the scripts write it.
impl fmt::Display for QuorumRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Majority => f.write_str("majority"),
            Self::EvenSet { extra } => {
                f.write_str("half+")?;
                crate::entry::write_nodes(f, extra)
            }
            Self::Flexible { election, commit } => write!(f, "elect:{election}/commit:{commit}"),
            Self::Hierarchy(parts) => hierarchy::write_parts(f, parts),
        }
    }
}
