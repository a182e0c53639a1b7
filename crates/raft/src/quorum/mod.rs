//! The arithmetic of agreement: who has won, and what a quorum holds. Pure functions of small
//! sets; they know nothing of nodes, logs or terms.
//!
//! All of it rests on one question, [`Quorum::is_quorum`]: can these voters decide alone? Where a
//! vote stands and how far a quorum has come follow from the answers, for every rule in the same
//! way. The rules are in [`rule`]; one that would let two quorums decide apart is refused there.
//!
//! ```text
//!   Configuration ── both of ──┬── voters,   rule            majority (by default)
//!                              └── outgoing, outgoing_rule   half and an extra set
//!                                                            two sizes, for elections and commits
//!                                                            weights, and groups of groups
//! ```
//!
//! The results are witnesses. `VoteQuorum` and `MatchQuorum` can be made nowhere else, and
//! `become_leader` and `advance_commit_index` take them: leadership without a majority, or a commit
//! that no quorum holds, does not compile.
//!
//! Scripts: `testdata/quorum/`. Every rule against the dumbest way to say the same, for all small
//! groups: `tests/quorum_oracle.rs`, `tests/quorum_rules.rs`.

mod counter;
pub mod hierarchy;
pub mod joint;
pub mod majority;
pub mod rule;

use alloc::vec::Vec;

pub(crate) use self::counter::Counter;
use self::rule::Half;
use crate::seeded::{Bug, bug};
use crate::{Configuration, LogIndex, NodeId};

/// What is decided. The two may take different quorums, as long as they meet ([`rule`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Who leads a term, or would: votes and pre-votes.
    Election,
    /// Everything that the next leader must not undo: that an entry is committed, that this leader
    /// led when a read was asked for, that it need not step down, that its lease holds. Each is
    /// safe because whoever elects the next leader includes one who had a part in it.
    Commit,
}

/// Where a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vote {
    /// A quorum granted.
    Won,
    /// A quorum can no longer grant.
    Lost,
    /// Answers are missing.
    Open,
}

/// Who can decide alone.
pub trait Quorum {
    /// Whether the voters for whom `has` says yes can make the decision without the others. Never
    /// undone by one more voter.
    fn is_quorum(&self, decision: Decision, has: &dyn Fn(NodeId) -> bool) -> bool;

    /// Where a vote stands, with `None` from a voter that has not answered.
    fn vote(&self, decision: Decision, answer: &dyn Fn(NodeId) -> Option<bool>) -> Vote {
        if self.is_quorum(decision, &|voter| answer(voter) == Some(true)) {
            Vote::Won
        } else if self.is_quorum(decision, &|voter| answer(voter) != Some(false)) {
            Vote::Open
        } else {
            Vote::Lost
        }
    }

    /// The largest of `candidates` that a quorum of voters has reached, 0 if none is. The
    /// candidates are sorted; the values of all voters are among them.
    ///
    /// ```text
    ///   candidates          2      4      7      9
    ///   reached by a quorum yes    yes    no     no       what is reached goes up to some place:
    ///                              ^                      if four is enough voters, so are more
    /// ```
    fn quorum_value(
        &self,
        decision: Decision,
        candidates: &[u64],
        value: &dyn Fn(NodeId) -> u64,
    ) -> u64 {
        let reached = candidates.partition_point(|candidate| {
            self.is_quorum(decision, &|voter| value(voter) >= *candidate)
        });
        reached.checked_sub(1).map_or(0, |last| candidates[last])
    }
}

/// Both halves of a joint configuration must agree, each by its own rule (thesis §4.3). What a
/// decision takes beyond a quorum of voters has its place here.
impl Quorum for Configuration {
    fn is_quorum(&self, decision: Decision, has: &dyn Fn(NodeId) -> bool) -> bool {
        let outgoing_is_dropped =
            decision == Decision::Election && bug(Bug::JointElectionTakesTheNewHalf);
        self.incoming_half().is_quorum(decision, has)
            && (outgoing_is_dropped || self.outgoing_half().is_quorum(decision, has))
    }
}

impl Configuration {
    /// C_new, or all of it when it is not joint.
    pub(crate) fn incoming_half(&self) -> Half<'_> {
        Half { voters: &self.voters, rule: &self.rule }
    }

    /// C_old while the configuration is joint; otherwise nobody, who agrees to everything.
    pub(crate) fn outgoing_half(&self) -> Half<'_> {
        Half { voters: &self.outgoing, rule: &self.outgoing_rule }
    }

    /// Whether a decision takes more heads than not of each half, and nothing else.
    pub(crate) fn takes_majorities(&self) -> bool {
        self.rule == rule::QuorumRule::Majority && self.outgoing_rule == rule::QuorumRule::Majority
    }
}

/// Proof that a quorum of every half of the configuration granted its vote.
#[derive(Debug, Hash)]
pub(crate) struct VoteQuorum(());

/// Proof that a quorum of every half of the configuration holds the log durably up to an index.
#[derive(Debug, Hash)]
pub(crate) struct MatchQuorum(LogIndex);

impl MatchQuorum {
    pub(crate) fn index(&self) -> LogIndex {
        self.0
    }

    /// The same proof of less.
    pub(crate) fn at_most(self, index: LogIndex) -> Self {
        Self(self.0.min(index))
    }
}

/// Where an election stands.
#[derive(Debug, Hash)]
pub(crate) enum ElectionResult {
    Won(VoteQuorum),
    /// So many refused that no quorum can form any more.
    Lost,
    Open,
}

/// The answers of one campaign: one per voter, the first counts (E8).
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Ballots(Vec<(NodeId, bool)>);

impl Ballots {
    pub(crate) fn record(&mut self, voter: NodeId, granted: bool) {
        if self.answer(voter).is_none() || bug(Bug::RepeatedGrantsCount) {
            self.0.push((voter, granted));
        }
    }

    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn answer(&self, voter: NodeId) -> Option<bool> {
        self.0.iter().find(|(node, _)| *node == voter).map(|(_, granted)| *granted)
    }

    /// Counts the answers of the voters of `configuration` and of nobody else.
    pub(crate) fn tally(&self, configuration: &Configuration) -> ElectionResult {
        let is_counted = |voter| configuration.is_voter(voter) || bug(Bug::GrantsOfStrangersCount);
        if bug(Bug::RepeatedGrantsCount) || bug(Bug::GrantsOfStrangersCount) {
            let granted = self.0.iter().filter(|(voter, granted)| *granted && is_counted(*voter));
            if granted.count() >= majority::size(configuration.voters.len())
                && !configuration.is_joint()
            {
                return ElectionResult::Won(VoteQuorum(()));
            }
        }
        match configuration.vote(Decision::Election, &|voter| self.answer(voter)) {
            // A configuration without any voter elects nobody; the arithmetic alone would say
            // that all of its no voters agree.
            Vote::Won if configuration.voters.is_empty() => ElectionResult::Open,
            Vote::Won => ElectionResult::Won(VoteQuorum(())),
            Vote::Lost => ElectionResult::Lost,
            Vote::Open => ElectionResult::Open,
        }
    }
}
