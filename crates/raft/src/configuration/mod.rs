//! The configurations in the log. The newest one is in force, committed or not (thesis §4.1); when
//! its entry is truncated, the one before it is in force again. How one follows from another is
//! said in [`change`] and, for one voter, in [`one_step`]; when that may begin, in `membership.rs`.

pub(crate) mod change;
pub(crate) mod one_step;

use alloc::vec::Vec;

use crate::quorum::rule::QuorumRule;
use crate::seeded::{Bug, bug};
use crate::{
    Configuration, Entry, LeaseTerms, LogIndex, NodeId, Payload, RestoredFault, SnapshotMark,
    TOMBSTONES_MAX,
};

/// The configuration at the mark and every one behind it.
///
/// Invariant: never empty; indexes strictly rise.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ConfigurationHistory(Vec<(LogIndex, Configuration)>);

impl ConfigurationHistory {
    pub(crate) fn new(mark: &SnapshotMark) -> Self {
        Self(alloc::vec![(mark.last.index, mark.configuration.clone())])
    }

    pub(crate) fn restore(
        mark: &SnapshotMark,
        behind: &[(LogIndex, Configuration)],
        last: LogIndex,
    ) -> Result<Self, RestoredFault> {
        // A node that waits to be added to a group begins with nobody (M13: two roles are refused).
        let is_unborn = mark.last.index.0 == 0 && mark.configuration == Configuration::default();
        if !is_unborn && !is_sound(&mark.configuration) {
            return Err(RestoredFault::Configurations);
        }
        let mut history = Self::new(mark);
        for (index, configuration) in behind {
            if *index <= history.index() || *index > last || !is_sound(configuration) {
                return Err(RestoredFault::Configurations);
            }
            history.0.push((*index, configuration.clone()));
        }
        Ok(history)
    }

    /// The configuration in force.
    pub(crate) fn current(&self) -> &Configuration {
        &self.0.last().expect("the configuration of the mark is never removed").1
    }

    /// Where it came into force.
    pub(crate) fn index(&self) -> LogIndex {
        self.0.last().expect("the configuration of the mark is never removed").0
    }

    /// The configuration that was in force at `index`, which is not before the mark.
    pub(crate) fn at(&self, index: LogIndex) -> &Configuration {
        // Nearly every question is about the newest.
        if self.index() <= index {
            return self.current();
        }
        let behind = self.0.partition_point(|(first, _)| *first <= index);
        assert!(behind > 0, "the configuration at {index} was asked for, which is before the mark");
        &self.0[behind - 1].1
    }

    /// Where the configuration that was in force at `index` came into force, or the mark.
    pub(crate) fn index_at(&self, index: LogIndex) -> LogIndex {
        let behind = self.0.partition_point(|(first, _)| *first <= index);
        assert!(behind > 0, "the configuration at {index} was asked for, which is before the mark");
        self.0[behind - 1].0
    }

    /// Since which configuration the disk of `node` is on record as it is now.
    pub(crate) fn recorded_at(&self, node: NodeId) -> Option<LogIndex> {
        let recorded = self.current().incarnations.get(&node)?;
        let newest_first = self.0.iter().rev();
        let same = newest_first.take_while(|(_, configuration)| {
            configuration.incarnations.get(&node) == Some(recorded)
        });
        same.last().map(|(index, _)| *index)
    }

    /// Whether `node` votes in the newest configuration that is known to be committed, or in one
    /// behind it: until the last of those is committed, the others may still need this node.
    pub(crate) fn votes_from(&self, commit_index: LogIndex, node: NodeId) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= commit_index);
        let (_, since) = self.0.split_at(behind.saturating_sub(1));
        let since =
            if bug(Bug::OnlyTheNewestHalfCampaigns) { &since[since.len() - 1..] } else { since };
        since.iter().any(|(_, configuration)| configuration.is_voter(node))
    }

    /// The configurations in force from `index` to the end of the log, oldest first.
    pub(crate) fn since(&self, index: LogIndex) -> impl Iterator<Item = &Configuration> {
        let behind = self.0.partition_point(|(first, _)| *first <= index);
        self.0[behind.saturating_sub(1)..].iter().map(|(_, configuration)| configuration)
    }

    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(LogIndex, Configuration)> {
        self.0.iter()
    }

    /// Takes note of the configurations among new entries; says whether there was one.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> bool {
        let before = self.0.len();
        for entry in entries {
            if let Payload::Configuration(configuration) = &entry.payload {
                self.0.push((entry.id.index, configuration.as_ref().clone()));
            }
        }
        self.0.len() > before
    }

    /// Rolls back to what was in force before `from`; says whether that is another one.
    pub(crate) fn truncate(&mut self, from: LogIndex) -> bool {
        let before = self.0.len();
        while self.index() >= from && self.0.len() > 1 {
            self.0.pop();
        }
        self.0.len() < before
    }

    /// Forgets what was in force before the mark.
    pub(crate) fn compact(&mut self, mark: LogIndex) {
        let behind = self.0.partition_point(|(first, _)| *first <= mark);
        self.0.drain(..behind - 1);
        self.0[0].0 = mark;
    }
}

/// Whether a configuration can be in force: it has voters, nobody is voter and learner of C_new at
/// once (M13), nobody is member and removed, and no two quorums of a half decide apart. A voter of
/// C_old may be a learner of C_new: that is a demotion.
pub(crate) fn is_sound(configuration: &Configuration) -> bool {
    let Configuration { voters, outgoing, learners, witnesses, .. } = configuration;
    let Configuration { removed, incarnations, lease, rule, outgoing_rule, .. } = configuration;
    let has_one_role_each = voters.is_disjoint(learners) || bug(Bug::TwoRolesAreTaken);
    let outgoing_is_sound = if outgoing.is_empty() {
        *outgoing_rule == QuorumRule::Majority
    } else {
        outgoing_rule.check(outgoing).is_ok()
    };
    // Somebody must be able to lead.
    !voters.is_subset(witnesses)
        && witnesses.iter().all(|node| configuration.is_voter(*node) && !learners.contains(node))
        && has_one_role_each
        && removed.len() <= TOMBSTONES_MAX
        && !removed.iter().any(|node| configuration.contains(*node))
        && lease.is_none_or(LeaseTerms::is_sound)
        && incarnations.iter().all(|(node, at)| at.is_known() && configuration.contains(*node))
        && rule.check(voters).is_ok()
        && outgoing_is_sound
        && configuration
            .priorities
            .iter()
            .all(|(node, at)| *at > 0 && configuration.contains(*node))
        && configuration.feeders.iter().all(|(learner, feeder)| {
            learners.contains(learner)
                && learner != feeder
                && configuration.contains(*feeder)
                && !witnesses.contains(feeder)
        })
}
