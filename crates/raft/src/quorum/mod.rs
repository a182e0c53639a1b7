//! The arithmetic of agreement: who has won, and what a quorum holds. Pure functions of small
//! slices; they know nothing of nodes, logs or terms.
//!
//! The results are witnesses. `VoteQuorum` and `MatchQuorum` can be made nowhere else, and
//! `become_leader` and `advance_commit_index` take them: leadership without a majority, or a commit
//! that no quorum holds, does not compile.

pub mod joint;
pub mod majority;

use alloc::vec::Vec;

use crate::seeded::{Bug, bug};
use crate::{Configuration, LogIndex, NodeId};

/// Proof that a quorum of every half of the configuration granted its vote.
#[derive(Debug)]
pub(crate) struct VoteQuorum(());

/// Proof that a quorum of every half of the configuration holds the log durably up to an index.
#[derive(Debug)]
pub(crate) struct MatchQuorum(LogIndex);

impl MatchQuorum {
    pub(crate) fn index(&self) -> LogIndex {
        self.0
    }

    /// The same proof of less.
    pub(crate) fn at_most(self, index: LogIndex) -> Self {
        Self(self.0.min(index))
    }

    /// What the match indexes of the voters prove.
    pub(crate) fn of(incoming: &mut [u64], outgoing: &mut [u64]) -> Self {
        Self(LogIndex(joint::quorum_value(incoming, outgoing)))
    }
}

/// Where an election stands.
#[derive(Debug)]
pub(crate) enum ElectionResult {
    Won(VoteQuorum),
    /// So many refused that no quorum can form any more.
    Lost,
    Open,
}

/// The answers of one campaign: one per voter, the first counts (E8).
#[derive(Clone, Debug, Default)]
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
        let half = |voters: &alloc::collections::BTreeSet<NodeId>| {
            let answers: Vec<Option<bool>> =
                voters.iter().map(|voter| self.answer(*voter)).collect();
            majority::vote(&answers)
        };
        let is_counted = |voter| configuration.is_voter(voter) || bug(Bug::GrantsOfStrangersCount);
        if bug(Bug::RepeatedGrantsCount) || bug(Bug::GrantsOfStrangersCount) {
            let granted = self.0.iter().filter(|(voter, granted)| *granted && is_counted(*voter));
            if granted.count() >= majority::size(configuration.voters.len())
                && !configuration.is_joint()
            {
                return ElectionResult::Won(VoteQuorum(()));
            }
        }
        match joint::vote(half(&configuration.voters), half(&configuration.outgoing)) {
            // A configuration without any voter elects nobody; the arithmetic alone would say
            // that all of its no voters agree.
            majority::Vote::Won if configuration.voters.is_empty() => ElectionResult::Open,
            majority::Vote::Won => ElectionResult::Won(VoteQuorum(())),
            majority::Vote::Lost => ElectionResult::Lost,
            majority::Vote::Open => ElectionResult::Open,
        }
    }
}
