//! A group with nothing to do stops ticking: no heartbeats, no timers, nothing for a node with
//! thousands of such groups to do.
//!
//! The leader rests when everybody has everything and has just said so, and tells them. A member
//! that agrees rests too; one that does not answers, and that wakes the leader. Resting changes
//! neither term nor vote nor log, so safety is not touched. What it gives up is the timer that
//! finds a dead leader; the host takes that over for all groups of a node together, with
//! [`Input::PeerLost`](crate::Input::PeerLost).
//!
//! Whatever else happens wakes: a proposal, a read, any message (G1, G2). Who wakes gives its
//! leader one election timeout to be heard, and then campaigns like anybody. So the leader is told:
//! one that rests and lives wakes, and is heard again. Without that, a late message would cost a
//! living leader its term where nobody asks for pre-votes:
//!   n1  leads and rests
//!   n2  rests, is woken by a request of an old term that n3 sent long ago, and answers it; waits
//!       for an election timeout, campaigns, and n3, which that answer woke, votes for it
//!
//! Scripts: `testdata/quiesce/`.

use crate::progress::ProgressState;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Body, EntryId, Event, LogIndex, Node, NodeId, Tick};

impl Node {
    /// Something was asked of this group: it has something to do.
    pub(crate) fn touch(&mut self) {
        self.active_at = self.now;
        self.wake_by(None);
    }

    #[inline]
    pub(crate) fn wake(&mut self) {
        if self.is_resting {
            self.end_rest();
        }
    }

    #[cold]
    fn end_rest(&mut self) {
        self.is_resting = false;
        // Who was woken stays up for a while: there may be more to come.
        self.active_at = self.now;
        self.put_hand_over_off();
        let check_at = self.now.after(self.options.election_timeout_ticks);
        match &mut self.role {
            RoleState::Leader(leader) => {
                leader.heartbeat_at = self.now;
                leader.quorum_check_at = check_at;
                // Nobody was asked meanwhile, so nobody is to blame.
                for member in &mut leader.members {
                    member.is_active = true;
                    member.silent_since = self.now;
                }
            }
            RoleState::Follower { .. } => {
                self.leader_heard_at = Some(self.now);
                self.reset_election_timer();
            }
            RoleState::PreCandidate(_) | RoleState::Candidate { .. } => {}
        }
        self.record(|| Event::Woke);
    }

    /// The same, for a reason that this node's leader may not know of: it is told, unless it is
    /// `by`, who gets an answer or is lost. Said once: if that is lost it may cost a term.
    #[inline]
    pub(crate) fn wake_by(&mut self, by: Option<NodeId>) {
        if self.is_resting {
            self.end_rest_by(by);
        }
    }

    #[cold]
    fn end_rest_by(&mut self, by: Option<NodeId>) {
        self.end_rest();
        let leader_id = self.leader_id().filter(|id| Some(*id) != by && *id != self.options.id);
        if let Some(leader_id) = leader_id.filter(|_| !bug(Bug::WakesAlone)) {
            let last_index = self.log.last().index;
            self.answer(leader_id, Body::HeartbeatResponse { round: 0, last_index });
        }
    }

    /// Whether all is said: nothing was asked for a while, and everybody has everything and has
    /// answered the last heartbeat. A member that is down keeps the group awake.
    fn may_rest(&self) -> bool {
        let (Some(ticks), RoleState::Leader(leader)) =
            (self.options.quiesce_after_ticks, &self.role)
        else {
            return false;
        };
        let last = self.log.last().index;
        let beaten_at = leader.heartbeat_at.0.saturating_sub(self.options.heartbeat_interval_ticks);
        let is_idle = self.active_at.after(ticks) <= self.now
            && self.commit_index == last
            && !self.configurations.current().is_joint()
            && leader.transfer.is_none()
            && !self.owes_a_hand_over()
            && leader.leaving.is_empty()
            && (leader.staged.is_empty() || bug(Bug::RestsBesideAPromotion))
            && leader.reads.are_empty();
        is_idle
            && leader.members.iter().all(|member| {
                let has_answered = member.heard_at >= Some(Tick(beaten_at))
                    && matches!(member.state, ProgressState::Replicate(_));
                bug(Bug::RestsWithALaggard)
                    || member.match_index == last && (has_answered || member.id == self.options.id)
            })
    }

    /// At a heartbeat: rests, and tells the others, if there is nothing to do.
    pub(crate) fn rest_if_idle(&mut self) -> bool {
        if !self.may_rest() {
            return false;
        }
        let RoleState::Leader(leader) = &self.role else { return false };
        let others = leader.members.iter().map(|member| member.id);
        let others: alloc::vec::Vec<NodeId> =
            others.filter(|member| *member != self.options.id).collect();
        let (last, commit_index) = (self.log.last(), self.commit_index);
        for to in others {
            self.send_as_leader(to, Body::Quiesce { last, commit_index });
        }
        self.is_resting = true;
        self.record(|| Event::Rests);
        true
    }

    /// The leader rests. So does this node, if it has everything; the leader is already accepted.
    pub(crate) fn handle_quiesce(&mut self, from: NodeId, last: EntryId, commit_index: LogIndex) {
        self.learn_group_commit(commit_index);
        let has_everything = self.log.last() == last && commit_index == last.index;
        if !has_everything || self.apply.is_installing() {
            self.wake();
            let last_index = self.log.last().index;
            return self.answer(from, Body::HeartbeatResponse { round: 0, last_index });
        }
        self.learn_commit_index(commit_index);
        if !self.is_resting {
            self.is_resting = true;
            self.record(|| Event::Rests);
        }
    }
}
