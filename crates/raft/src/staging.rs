//! Learners that become voters as soon as they hold the log (thesis §4.2.1).
//!
//! A learner that lacks the log is not promoted ([`ChangeError::LearnerLags`]): until it has the
//! log it could only delay commits. So whoever wants another voter would have to ask again and
//! again. Instead the leader remembers whom it is to promote, and does it in the moment in which
//! the learner holds enough and no other change is under way.
//!
//! The thesis brings a new server up in rounds, each of which sends what was appended during the
//! one before; the last one must take less than an election timeout, and after ten the change is
//! given up. Here entries are sent as they come, so nothing would be measured by rounds: enough is
//! said in bytes ([`promotion_lag_bytes_max`](crate::Options::promotion_lag_bytes_max)), and how
//! long to wait is said by whoever asks.
//!
//! What is remembered is the leader's alone. Another leader knows nothing of it, and need not: a
//! learner does no harm, and its promotion is checked like any other.
//!
//! Scripts: `testdata/membership/staged_*.txt`.

use alloc::vec::Vec;

use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{ChangeError, ConfigurationChange, Event, MemberChange, Node, NodeId, Tick};

/// A learner that is to vote.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Staged {
    pub(crate) learner: NodeId,
    pub(crate) give_up_at: Tick,
}

impl Node {
    /// Promotes a learner as soon as it holds the log, or gives that up after `within_ticks`. Until
    /// then it is in [`Status::staged`](crate::Status::staged). To ask again sets a new time. It is
    /// forgotten with this leadership: ask the next leader.
    ///
    /// # Errors
    /// This node does not lead, or the other is no learner.
    pub fn promote_when_ready(
        &mut self,
        now: Tick,
        learner: NodeId,
        within_ticks: u64,
    ) -> Result<(), ChangeError> {
        self.tell_time(now);
        self.wake_by(None);
        let give_up_at = self.now.after(within_ticks);
        let is_learner = self.configurations.current().learners.contains(&learner);
        let leader_id = self.leader_id();
        let RoleState::Leader(leader) = &mut self.role else {
            return Err(ChangeError::NotLeader { leader_id });
        };
        if !is_learner {
            return Err(ChangeError::DoesNotFit { change: MemberChange::Promote(learner) });
        }
        leader.staged.retain(|staged| staged.learner != learner);
        leader.staged.push(Staged { learner, give_up_at });
        self.record(|| Event::PromotionStaged { learner });
        self.promote_staged();
        Ok(())
    }

    /// All who hold the log by now, in one change; and who has had its time is waited for no more.
    pub(crate) fn promote_staged(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        if leader.staged.is_empty() {
            return;
        }
        let learners = &self.configurations.current().learners;
        let is_ready =
            |staged: &&Staged| learners.contains(&staged.learner) && self.holds_log(staged.learner);
        let ready = leader.staged.iter().filter(is_ready);
        let changes: Vec<MemberChange> =
            ready.map(|staged| MemberChange::Promote(staged.learner)).collect();
        // A refusal is no end: another change is under way, or leadership is.
        if !changes.is_empty() {
            let _refused = self.begin_change(&ConfigurationChange::of(changes));
        }
        self.give_staged_up();
    }

    /// Who has become a voter, or was removed, is not waited for either.
    fn give_staged_up(&mut self) {
        let now = self.now;
        let learners = &self.configurations.current().learners;
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.staged.retain(|staged| learners.contains(&staged.learner));
        let is_over = |staged: &mut Staged| staged.give_up_at <= now && !bug(Bug::StagingHasNoEnd);
        let given_up: Vec<Staged> = leader.staged.extract_if(.., is_over).collect();
        for Staged { learner, .. } in given_up {
            self.record(|| Event::PromotionGivenUp { learner });
        }
    }
}
