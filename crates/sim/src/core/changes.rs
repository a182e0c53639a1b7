//! What a leader of a core world is asked for beside entries: to hand over, to change the members,
//! to give a change up, to wait longer or less long. What it takes on, it had reason to.

use std::collections::BTreeSet;

use raft::{
    ChangeError, ConfigurationChange, Entry, EntryId, LogIndex, MemberChange, NodeId, OptionsError,
    QuorumRule, Timeouts, TransferError,
};

use super::CoreWorld;
use super::sometimes::{JOINS_BEHIND_READS, STEP};
use crate::Failure;

/// So long an operator waits for a learner.
const STAGED_ELECTION_TIMEOUTS: u64 = 8;

impl CoreWorld {
    /// Hands leadership over.
    ///
    /// # Errors
    /// It did not begin.
    pub fn transfer(&mut self, id: NodeId, to: Option<NodeId>) -> Result<(), TransferError> {
        self.forget_hand_over(id);
        self.act(id, |node, now| node.transfer_leadership(now, to))
    }

    /// Changes the members.
    ///
    /// # Errors
    /// The change did not begin.
    pub fn change(
        &mut self,
        id: NodeId,
        change: &ConfigurationChange,
    ) -> Result<EntryId, ChangeError> {
        let voters = self.node(id).map(|node| node.configuration().voters.clone());
        let asks = self.options.hinders_changes && !self.clients_rest && self.dice.below(2) == 0;
        if asks {
            self.ask_before_change(id);
        }
        let began = self.act(id, |node, now| node.propose_configuration_change(now, change));
        if began.is_ok() {
            let joins = change.members.iter().any(|change| {
                matches!(change, MemberChange::AddVoter(_) | MemberChange::AddWitness(_))
            });
            if asks && joins {
                self.census.meet(JOINS_BEHIND_READS);
            }
            self.check_change(id, change, &voters.unwrap_or_default());
        }
        began
    }

    /// Whether a member lacks more of this leader's log than may be missing of a voter's.
    pub(super) fn lacks_log(&self, leader: NodeId, member: NodeId) -> bool {
        let Some(node) = self.node(leader) else { return false };
        let held = self.members.get(&member).map_or(LogIndex(0), |its| its.disk.last().index);
        let missing = self.members[&leader].disk.entries.iter().filter(|e| e.id.index > held);
        let bytes: usize = missing.map(Entry::size_bytes).sum();
        // That a disk has forgotten is found out later. Who was removed in a later term has taken
        // its disk along, and a leader that was deposed does not know.
        let is_whole = !self.forgetful.contains(&member) && !self.removed.contains(&member);
        let is_cut = held < node.mark().index;
        let lag_max = self.members[&leader].options.promotion_lag_bytes_max;
        let is_long = is_cut || bytes > lag_max;
        member != leader && is_whole && held < node.commit_index() && is_long
    }

    /// An operator makes a voter of a learner, or tries to.
    pub(super) fn promote(&mut self, leader: NodeId, learner: NodeId) {
        let change = ConfigurationChange::of([MemberChange::Promote(learner)]);
        let change = ConfigurationChange { allow_stall: true, ..change };
        let _refused = self.change(leader, &change);
    }

    /// An operator wants a learner to vote as soon as it holds the log, within a while.
    pub(super) fn stage(&mut self, leader: NodeId, learner: NodeId) {
        let within =
            STAGED_ELECTION_TIMEOUTS * self.members[&leader].options.election_timeout_ticks;
        let staged = self.act(leader, |node, now| node.promote_when_ready(now, learner, within));
        if staged.is_ok() {
            self.census.meet("sometimes: a learner is to vote when it holds the log");
            let term = self.node(leader).map(raft::Node::term).unwrap_or_default();
            let member = self.member(leader);
            member.seen.staged = Some((learner, term, member.tick().after(within)));
        }
    }

    /// What was to be waited for so long is not waited for any longer.
    pub(super) fn check_staged(&mut self, id: NodeId) {
        let member = &self.members[&id];
        let Some((learner, term, until)) = member.seen.staged else { return };
        if member.tick() <= until.after(member.seen.heartbeat_interval_ticks) {
            return;
        }
        let node = member.node.as_ref().filter(|node| node.term() == term);
        let waits = node.is_some_and(|node| node.status().staged.contains(&learner));
        self.member(id).seen.staged = None;
        if waits {
            let detail = format!("leader {id} waits for {learner} since {until}");
            self.fail(id, Failure::new("a learner is waited for as long as was said", detail));
        }
    }

    /// A change that began had reason to (M14, M17): nobody comes back under an old id, and whoever
    /// is promoted, or is to decide from now on, holds the log.
    fn check_change(
        &mut self,
        id: NodeId,
        change: &ConfigurationChange,
        before: &BTreeSet<NodeId>,
    ) {
        let Some(node) = self.node(id) else { return };
        let configuration = node.configuration().clone();
        let (commit, last) = (node.commit_index(), node.last().index);
        let lacks_log = |member: &NodeId| self.lacks_log(id, *member);
        let promoted = change.members.iter().filter_map(|change| match change {
            MemberChange::Promote(learner) => Some(*learner),
            MemberChange::AddVoter(_)
            | MemberChange::AddLearner(_)
            | MemberChange::AddWitness(_)
            | MemberChange::Demote(_)
            | MemberChange::Remove(_) => None,
        });
        let early = promoted.clone().find(lacks_log);
        let voters = &configuration.voters;
        let lacking = voters.iter().filter(|voter| lacks_log(voter)).count();
        let is_new = before != voters;
        let stalls = !change.allow_stall
            && is_new
            && configuration.rule == QuorumRule::Majority
            && lacking * 2 >= voters.len()
            && lacking > 0;
        let its = node.status().followers;
        let is_off_record = |learner: &NodeId| {
            let known = its.iter().find(|its| its.id == *learner && its.incarnation.is_known());
            let is_whole = known.is_some_and(|its| its.match_index >= its.frontier);
            is_whole && !configuration.incarnations.contains_key(learner)
        };
        let unrecorded = promoted.clone().find(is_off_record);
        let again = configuration.members().find(|member| configuration.removed.contains(member));
        let why = if let Some(learner) = early {
            format!("{learner} is promoted, and lacks the log up to {commit} of {last}")
        } else if stalls {
            format!("{lacking} of {voters:?} lack the log up to {commit} of {last}")
        } else if let Some(learner) = unrecorded {
            format!("{learner} is promoted, and its disk is not on record (T74)")
        } else if let Some(again) = again {
            format!("{again} was removed, and comes back")
        } else {
            if is_new && !configuration.is_joint() {
                self.census.meet(STEP);
            }
            return;
        };
        let detail = format!("leader {id}, {change:?}: {why}");
        self.fail(id, Failure::new("a change begins when it may", detail));
    }

    /// Gives up a change that does not come to its end.
    ///
    /// # Errors
    /// There is none, or it is not this leader's to give up (M18).
    pub fn abandon(&mut self, id: NodeId) -> Result<EntryId, ChangeError> {
        let Some(node) = self.node(id) else { return Err(ChangeError::NothingToAbandon) };
        let (term, index) = (node.term(), node.configuration_index());
        let began = node.id_at(index);
        let given_up = self.act(id, |node, now| node.abandon_change(now));
        if given_up.is_ok() && began.is_some_and(|began| began.term != term) {
            let detail = format!("leader {id} of {term} gives up {began:?}");
            self.fail(id, Failure::new("a leader gives up its own changes alone", detail));
        }
        given_up
    }

    /// Other timeouts from now on.
    ///
    /// # Errors
    /// They are not sound, or leases rest on them.
    pub fn set_timeouts(&mut self, id: NodeId, timeouts: Timeouts) -> Result<(), OptionsError> {
        let election_before = self.members[&id].seen.election_timeout_ticks;
        let set = self.act(id, |node, now| node.set_timeouts(now, timeouts));
        let is_other = timeouts.election_timeout_ticks != election_before;
        if set.is_ok() && is_other && self.members[&id].options.lease_drift_ppm.is_some() {
            let detail = format!("node {id} takes {timeouts:?}, and others read on its promise");
            self.fail(id, Failure::new("timeouts stay as long as leases rest on them", detail));
        }
        set
    }
}
