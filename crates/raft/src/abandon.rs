//! A change of members that does not come to its end (M18), on the leader that began it.
//!
//! If half of a joint configuration has no majority alive, nothing is committed. The leader that
//! began the change may go back to C_old, by one more configuration in force on append:
//!
//! ```text
//!   C_old   C_old,new   C_old        while C_old,new is not committed
//! ```
//!
//! Every decision under C_old,new takes a majority of C_old, as under C_old itself, so those never
//! decide apart. Only C_new could, and it is appended once C_old,new is committed. That can be done
//! by this leader, which has not, or by one of a later term, which was elected by a majority of
//! C_old: then this leader's C_old is never committed. A leader of a later term may not go back:
//! the one before may have committed C_old,new and appended C_new. The same way leads back from a
//! C_new that was appended in one step.
//!
//! So a leader with check-quorum does not wait for an operator. Scripts: `testdata/membership/`,
//! `testdata/witness/`.

use crate::configuration::one_step;
use crate::progress::{Progress, ProgressState};
use crate::quorum::{Decision, Quorum};
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{ChangeError, Configuration, EntryId, Event, LogIndex, Node, NodeId};

impl Node {
    /// M18: back to C_old; the head of this file says why that is safe.
    pub(crate) fn abandon(&mut self) -> Result<EntryId, ChangeError> {
        let RoleState::Leader(leader) = &self.role else {
            return Err(ChangeError::NotLeader { leader_id: self.leader_id() });
        };
        if let Some(transfer) = leader.transfer {
            return Err(ChangeError::TransferInProgress { to: transfer.to });
        }
        let index = self.configurations.index();
        let began_here = self.log.id_at(index).is_some_and(|id| id.term == self.current_term())
            || bug(Bug::AnyLeaderAbandons);
        let is_open = index > self.commit_index;
        if !is_open || !began_here || !self.may_go_back(index) {
            return Err(ChangeError::NothingToAbandon);
        }
        if self.witness_may_know_too_much(index) && !bug(Bug::WayBackForgetsTheWitness) {
            return Err(ChangeError::NothingToAbandon);
        }
        let given_up = self.configurations.current();
        let mut before = self.configurations.at(index.previous()).clone();
        // A learner that the change removed may know that it is: its tombstone stays.
        before.learners.retain(|learner| given_up.contains(*learner));
        let (voters, learners) = (before.voters.clone(), before.learners.clone());
        before.attributes.retain(|node, _| voters.contains(node) || learners.contains(node));
        before.incarnations.retain(|node, _| voters.contains(node) || learners.contains(node));
        before.priorities.retain(|node, _| voters.contains(node) || learners.contains(node));
        // Such a learner neither pulls any more nor feeds another one.
        before.feeders.retain(|learner, feeder| {
            learners.contains(learner) && (voters.contains(feeder) || learners.contains(feeder))
        });
        before.removed.clone_from(&given_up.removed);
        if bug(Bug::GoesBackFromARemoval) {
            before.removed.retain(|node| !voters.contains(node));
        }
        self.record(|| Event::ChangeAbandoned { index });
        Ok(self.append_configuration(before))
    }

    /// Whether the configuration at `index`, which is not committed, is a step to other voters, and
    /// not the way back from one.
    fn may_go_back(&self, index: LogIndex) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let configuration = self.configurations.current();
        let before = self.configurations.at(index.previous());
        configuration.is_joint()
            || leader.step_at == Some(index) && one_step::may_go_back(before, configuration)
    }

    /// Nothing can be committed with those that answer. If that is for C_new alone, the change is
    /// given up rather than the group.
    ///
    /// ```text
    ///   C_old = n1 w w', n2 learns; C_new = n1 n2 w w'.  n2 loses its disk as it is promoted
    /// ```
    ///
    /// Three of four answer there, and yet no command is on two disks that are on record; nor is
    /// the new one put on record before the change is over. Nor does it help that n2 answers, from
    /// a disk that it cannot write to. Where no quorum answers (`is_lost`) the leadership is over
    /// otherwise.
    pub(crate) fn abandon_without_quorum(&mut self, is_lost: bool) -> bool {
        self.note_standstill();
        let index = self.configurations.index();
        if index <= self.commit_index {
            return false;
        }
        let (joint, before) =
            (self.configurations.current(), self.configurations.at(index.previous()));
        // Whoever has forgotten a part of its log will hold it again, and is waited for while this
        // node leads: after it nobody may go back.
        let waits =
            !is_lost && !bug(Bug::WhoIsBehindIsGivenUp) || bug(Bug::LeadIsThePriceOfAChange);
        let may_agree = |book: &Progress| if waits { !book.is_stranger } else { book.counts() };
        // So is whoever is behind, as long as it advances.
        let ticks = self.options.slow_follower_ticks;
        let moves = |book: &Progress| !book.stands_still(self.now, ticks);
        let is_in_vain = !self.is_committed_by(joint, may_agree)
            && self.is_committed_by(before, Progress::counts);
        let has_stopped = !self.is_committed_by(joint, |book| may_agree(book) && moves(book))
            && self.is_committed_by(before, |book| {
                book.counts() && (moves(book) || bug(Bug::GoesBackToWhoCannotAgree))
            });
        (is_in_vain || has_stopped) && self.abandon().is_ok()
    }

    /// With each quorum check: who lacks the change that is open, and has not moved since the last
    /// check.
    fn note_standstill(&mut self) {
        let (index, now) = (self.configurations.index(), self.now);
        let is_open = index > self.commit_index;
        // A witness lacks nothing that it is not told yet.
        let told = if is_open { self.witness_limit(index) } else { index };
        let RoleState::Leader(leader) = &mut self.role else { return };
        for member in &mut leader.members {
            let hears_late = member.is_witness && !bug(Bug::WitnessOwesWhatItIsNotTold);
            let due = if hears_late { told } else { index };
            let lacks = is_open && member.match_index < due;
            let awaits_snapshot = matches!(member.state, ProgressState::Snapshot { .. });
            member.standstill.observe(member.match_index, lacks, awaits_snapshot, now);
        }
    }

    /// Whether the voters that answer, and of which `may_agree` says yes, can commit a command.
    fn is_committed_by(
        &self,
        configuration: &Configuration,
        may_agree: impl Fn(&Progress) -> bool,
    ) -> bool {
        let own = self.options.id;
        let agrees = |voter: NodeId| {
            let book = self.book(voter);
            book.is_some_and(|book| (book.is_active || voter == own) && may_agree(book))
        };
        let full = || configuration.voters.difference(&configuration.witnesses);
        let copies = full().filter(|voter| agrees(**voter)).count();
        let is_held = configuration.witnesses.is_empty() || 2 * copies > full().count();
        is_held && configuration.is_quorum(Decision::Commit, &agrees)
    }
}
