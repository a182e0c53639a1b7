//! Elections: timeouts, pre-vote, votes, check-quorum (Raft §5.2, §5.4.1; thesis §4.2.3, §9.6).
//!
//! Scripts: `testdata/election/`.

use crate::leadership::Campaigns;
use crate::quorum::ElectionResult;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{
    Body, EntryId, Event, HardState, Message, Node, NodeId, PeerFault, Term, Tick, VoteRefusal,
};

/// Why a node campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Campaign {
    /// Nothing was heard from a leader.
    Timeout,
    /// The leader asked for it: no pre-vote, and stickiness does not apply (thesis §3.10).
    Transfer,
}

impl Node {
    #[inline]
    pub(crate) fn tell_time(&mut self, now: Tick) {
        // A clock that goes back would be the host's bug; standing still is the harmless answer.
        self.now = self.now.max(now);
        if self.campaign_at.is_none() {
            self.begin_time();
        }
    }

    /// The first time that this life is told.
    #[cold]
    fn begin_time(&mut self) {
        self.reset_election_timer();
        if let Some((min, max)) = self.options.first_election_ticks {
            let first = self.jitter.election_timeout_ticks(min, max - min + 1);
            self.campaign_at = Some(self.now.after(first));
        }
        // What is in the log was there by now.
        self.log_grew_at = self.now;
        // The last life may have promised its vote to a leader a moment ago.
        if self.options.lease_drift_ppm.is_some() && !bug(Bug::PromiseEndsWithACrash) {
            self.leader_heard_at = Some(self.now);
        }
        // Alone in the group there is nobody to disturb and nobody to wait for.
        if self.is_sole_voter() {
            self.campaign_at = Some(self.now);
        }
    }

    /// A timeout is the base and a random part. Elections that nobody won double the random part:
    /// the more nodes get in each other's way, the further apart they try again. A node that others
    /// are preferred to waits longer (`preference.rs`), and half as long after each campaign that
    /// led to nothing: the preferred ones may be gone.
    pub(crate) fn reset_election_timer(&mut self) {
        let base = self.options.election_timeout_ticks;
        let Campaigns { fruitless, contended } = self.campaigns;
        let doublings = contended.min(self.options.election_backoff_doublings_max);
        let spread = base.checked_shl(doublings).map_or(base, |spread| spread.max(base));
        let timeout = self.jitter.election_timeout_ticks(base, spread);
        let preferred = self.wait_for_preferred_ticks();
        let fruitless = if bug(Bug::WaitsForThePreferredForEver) { 0 } else { fruitless };
        let delay = self.options.campaign_delay_ticks.saturating_add(preferred);
        let delay = delay.checked_shr(fruitless).unwrap_or(0);
        self.campaign_at = Some(self.now.after(timeout).after(delay));
    }

    pub(crate) fn is_sole_voter(&self) -> bool {
        let configuration = self.configurations.current();
        configuration.is_voter(self.options.id)
            && configuration.voters.len() == 1
            && configuration.outgoing.is_empty()
    }

    /// Only voters campaign (E16), and only from a state that is whole: a snapshot that is being
    /// installed is not (E17).
    ///
    /// A node that is no voter in its own newest configuration still campaigns as long as that one
    /// may be uncommitted (thesis §4.2.2), though it does not count itself:
    ///
    /// ```text
    ///   n1   1  C_old,new(1|2)  C_new(2)     led, and crashed before it could send C_new
    ///   n2   1  C_old,new(1|2)               needs the vote of n1, which must refuse: n1 has more
    /// ```
    ///
    /// Nobody but n1 can be elected, and it steps down as soon as n2 has C_new.
    pub(crate) fn may_campaign(&self) -> bool {
        let votes = self.configurations.votes_from(self.commit_index, self.options.id);
        (votes || bug(Bug::LearnersCampaign))
            && (!self.apply.is_installing() || bug(Bug::CampaignsWhileInstalling))
            && self.removal.by().is_none()
            && !self.is_stranger()
            && (!self.is_witness() || bug(Bug::WitnessCampaigns))
            && !self.elections_are_paused
            && !self.is_write_stalled()
    }

    /// Does what time has made due. Nearly always that is nothing, which is seen here.
    #[inline]
    pub(crate) fn handle_time(&mut self) {
        self.expire_forwarded_reads();
        self.expire_awaited();
        if self.is_resting {
            return;
        }
        self.watch_writes();
        self.refuse_reordered();
        if let RoleState::Leader(leader) = &self.role {
            let regular = leader.heartbeat_at.min(leader.quorum_check_at);
            let has_more = leader.transfer.is_some()
                || !leader.staged.is_empty()
                || leader.guard.deferral.is_some();
            if regular <= self.now || has_more {
                self.handle_leaders_time();
            }
        } else if self.campaign_at.is_some_and(|at| at <= self.now) {
            self.campaign_if_allowed();
        }
    }

    #[cold]
    fn campaign_if_allowed(&mut self) {
        if self.may_campaign() {
            self.campaign(Campaign::Timeout);
        }
    }

    #[inline(never)]
    fn handle_leaders_time(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        let (beat, check) = (leader.heartbeat_at, leader.quorum_check_at);
        if check <= self.now {
            self.check_quorum();
        }
        self.expire_transfer();
        self.promote_staged();
        self.end_deferral();
        if beat <= self.now && !self.rest_if_idle() {
            self.beat();
        }
    }

    /// The regular heartbeats. With leases each of them extends one, and is a round of its own.
    pub(crate) fn beat(&mut self) {
        if self.options.lease_drift_ppm.is_some() || self.asks_in_vain() || self.doubts_hand_over()
        {
            self.begin_heartbeat_round();
        }
        self.hand_over_if_due();
        self.notice_slow_followers();
        self.look_after_the_fed();
        self.send_heartbeats();
    }

    /// A leader that a quorum no longer answers cannot commit, and must not serve: it steps down,
    /// so that clients look for the leader that the others may have elected (thesis §6.2).
    fn check_quorum(&mut self) {
        let id = self.options.id;
        let next = self.now.after(self.options.election_timeout_ticks);
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.quorum_check_at = next;
        let quorum_is_active =
            leader.quorum_value(|member| u64::from(member.is_active || member.id == id)) > 0;
        let is_lost = self.options.check_quorum && !quorum_is_active && !bug(Bug::NoCheckQuorum);
        let looks = self.options.check_quorum && !bug(Bug::LostDataIsWaitedFor);
        let gives_up = (is_lost || looks) && self.abandon_without_quorum(is_lost);
        let steps_down = is_lost && !gives_up;
        if let RoleState::Leader(leader) = &mut self.role {
            leader.members.iter_mut().for_each(|member| member.is_active = false);
        }
        if steps_down {
            let term = self.current_term();
            self.record(|| Event::QuorumLost { term });
            self.become_follower(term, None);
        }
    }

    /// Stickiness: a leader lives, as far as this node can tell. A leader vouches for itself as
    /// long as check-quorum lets it lead.
    pub(crate) fn hears_a_leader(&self) -> bool {
        if !self.options.check_quorum && !self.options.pre_vote || bug(Bug::NoStickiness) {
            return false;
        }
        if self.is_promised() {
            return true;
        }
        match &self.role {
            RoleState::Leader(_) => self.options.check_quorum,
            RoleState::Follower { leader_id: Some(_) } => {
                let timeout = self.options.election_timeout_ticks;
                self.leader_heard_at.is_some_and(|heard| self.now < heard.after(timeout))
            }
            RoleState::Follower { leader_id: None }
            | RoleState::PreCandidate(_)
            | RoleState::Candidate { .. } => false,
        }
    }

    pub(crate) fn campaign(&mut self, why: Campaign) {
        if why == Campaign::Timeout && self.may_not_vote_for_itself() {
            return self.reset_election_timer();
        }
        self.campaigns.fruitless = self.campaigns.fruitless.saturating_add(1);
        if matches!(self.role, RoleState::Candidate { .. }) {
            self.campaigns.contended = self.campaigns.contended.saturating_add(1);
        }
        if self.options.pre_vote && why == Campaign::Timeout {
            self.become_pre_candidate();
            self.ask_for_pre_votes();
        } else {
            self.stand(why);
        }
    }

    /// Begins a term, unless the group has committed what this node lacks: it would lose, unless
    /// others have forgotten that as well.
    fn stand(&mut self, why: Campaign) {
        if !self.reaches_group_commit(self.log.last()) {
            let index = self.group_commit.index;
            self.record(|| Event::LacksCommitted { index });
            return self.reset_election_timer();
        }
        self.become_candidate();
        self.ask_for_votes(why);
    }

    fn ask_for_pre_votes(&mut self) {
        let last = self.log.last();
        let after = self.persister.of_index(last.index);
        // The term that would begin; this node's own stays as it is.
        let term = self.current_term().next();
        self.ask_voters(after, term, &Body::PreVote { last });
        self.count_pre_vote(self.options.id, true);
    }

    /// The requests leave when this node's own vote is durable (E4): otherwise a crash could let it
    /// vote for another in a term in which it won.
    fn ask_for_votes(&mut self, why: Campaign) {
        let last = self.log.last();
        let mut after = self.persister.of_index(last.index).max(self.persister.of_hard_state());
        if bug(Bug::VoteRequestLeavesBeforeOwnVote) {
            after = self.persister.durable();
        }
        let leadership_transfer = why == Campaign::Transfer;
        self.ask_voters(
            after,
            self.current_term(),
            &Body::RequestVote { last, leadership_transfer },
        );
    }

    fn ask_voters(&mut self, after: crate::PersistNumber, term: Term, body: &Body) {
        let (from, incarnation) = (self.options.id, self.options.incarnation);
        let configuration = self.configurations.current();
        let voters = configuration.members().filter(|member| configuration.is_voter(*member));
        for to in voters.filter(|to| *to != from) {
            let message = Message { from, to, term, incarnation, body: body.clone() };
            self.outbox.send_after(after, self.persister.durable(), message);
        }
    }

    /// Thesis §9.6: would this node vote for the candidate in `term`, if it came to that?
    pub(crate) fn handle_pre_vote(&mut self, from: NodeId, term: Term, last: EntryId) {
        let refusal = if term <= self.current_term() {
            Some(VoteRefusal::OldTerm)
        } else if self.hears_a_leader() {
            Some(VoteRefusal::LeaderAlive)
        } else {
            let is_behind = last < self.log.last() && !bug(Bug::PreVotesForAnyLog)
                || !self.reaches_group_commit(last);
            let is_unknown = bug(Bug::VoterJudgesItsOwnDisk) && self.is_stranger();
            (is_behind || is_unknown).then_some(VoteRefusal::LogBehind)
        };
        if let Some(because) = refusal {
            self.refuse_vote(from, term, because);
            return self.answer(from, Body::PreVoteResponse { granted: false });
        }
        // The grant carries the term it is about; granting promises nothing, so nothing is saved.
        let body = Body::PreVoteResponse { granted: true };
        let message = self.message(from, term, body);
        self.outbox.send_after(self.persister.of_hard_state(), self.persister.durable(), message);
    }

    pub(crate) fn handle_pre_vote_response(&mut self, from: NodeId, term: Term, granted: bool) {
        let is_about_next = term == self.current_term().next();
        if !matches!(self.role, RoleState::PreCandidate(_)) || granted != is_about_next {
            return self.record(|| Event::StaleMessage { from, term });
        }
        self.count_pre_vote(from, granted);
    }

    fn count_pre_vote(&mut self, from: NodeId, granted: bool) {
        // Strangers have no say, and there is no end to their names.
        let is_voter = self.configurations.current().is_voter(from);
        let RoleState::PreCandidate(ballots) = &mut self.role else { return };
        if is_voter || bug(Bug::StrangersGatherForEver) {
            ballots.record(from, granted);
        }
        match ballots.tally(self.configurations.current()) {
            ElectionResult::Won(_) => {
                self.stand(Campaign::Timeout);
            }
            // The timer goes on; the next round may meet a leader, or fewer refusals.
            ElectionResult::Lost | ElectionResult::Open => {}
        }
    }

    /// Figure 2, RequestVote, receiver. Anybody is answered, member or not: who may vote, and by
    /// which disk, is for the candidate's configuration to say, which may be newer than this node's
    /// (M6; `incarnation.rs`).
    pub(crate) fn handle_request_vote(
        &mut self,
        from: NodeId,
        last: EntryId,
        leadership_transfer: bool,
    ) {
        let term = self.current_term();
        let vote_is_free = match self.hard_state.voted_for {
            Some(_) if bug(Bug::VotesTwice) => true,
            Some(_) if bug(Bug::LeaderVotesForOthers) && self.leader_id().is_some() => true,
            Some(candidate) => candidate == from,
            // A leader of this term was elected already: the vote would only be wasted.
            None => self.leader_id().is_none(),
        };
        let is_promised = self.is_promised() && !leadership_transfer;
        let is_behind = if bug(Bug::ComparesLogsByLength) {
            last.index < self.log.last().index
        } else {
            last < self.log.last() && !bug(Bug::VotesForAnyLog) || !self.reaches_group_commit(last)
        };
        let is_unknown = bug(Bug::VoterMustKnowTheCandidate)
            && !self.configurations.current().contains(from)
            || bug(Bug::VoterJudgesItsOwnDisk) && self.is_stranger();
        let refusal = if !vote_is_free {
            Some(VoteRefusal::AlreadyVoted)
        } else if is_promised && self.hard_state.voted_for.is_none() {
            Some(VoteRefusal::LeaderAlive)
        } else {
            (is_behind || is_unknown).then_some(VoteRefusal::LogBehind)
        };
        if let Some(because) = refusal {
            self.refuse_vote(from, term, because);
            return self.answer(from, Body::RequestVoteResponse { granted: false });
        }
        self.set_hard_state(HardState { current_term: term, voted_for: Some(from) });
        self.reset_election_timer();
        self.record(|| Event::Voted { term, candidate: from });
        // Leaves when the vote is durable (E1): a vote that is forgotten can be given twice.
        self.answer(from, Body::RequestVoteResponse { granted: true });
    }

    pub(crate) fn refuse_vote(&mut self, candidate: NodeId, term: Term, because: VoteRefusal) {
        self.record(|| Event::VoteRefused { term, candidate, because });
    }

    pub(crate) fn handle_request_vote_response(&mut self, from: NodeId, granted: bool) {
        // Nobody was asked before the own vote was on disk: a grant from then answers nothing.
        let was_asked = match &self.role {
            RoleState::Candidate { own_vote, .. } => {
                *own_vote <= self.persister.durable() || bug(Bug::VoteRequestLeavesBeforeOwnVote)
            }
            RoleState::Follower { .. } | RoleState::PreCandidate(_) | RoleState::Leader(_) => false,
        };
        if !was_asked {
            let term = self.current_term();
            return self.record(|| Event::StaleMessage { from, term });
        }
        let is_voter = self.configurations.current().is_voter(from);
        if !is_voter && !granted {
            // Who has begun this term by itself answers a request of an earlier one with it, and
            // may have been a voter when it was asked.
            let term = self.current_term();
            return self.record(|| Event::StaleMessage { from, term });
        }
        if !is_voter && !bug(Bug::GrantsOfStrangersCount) {
            return self.fault(from, PeerFault::UnknownSender);
        }
        self.count_vote(from, granted);
    }

    /// This node's vote for itself counts once it is durable, like any other.
    pub(crate) fn count_own_vote(&mut self) {
        if let RoleState::Candidate { own_vote, .. } = &self.role
            && (*own_vote <= self.persister.durable() || bug(Bug::OwnVoteCountsBeforeItIsDurable))
        {
            self.count_vote(self.options.id, true);
        }
    }

    fn count_vote(&mut self, from: NodeId, granted: bool) {
        let RoleState::Candidate { ballots, .. } = &mut self.role else { return };
        ballots.record(from, granted);
        match ballots.tally(self.configurations.current()) {
            ElectionResult::Won(quorum) => self.become_leader(quorum),
            // Raft §5.2: wait for the timeout; the term is lost, not the group.
            ElectionResult::Lost | ElectionResult::Open => {}
        }
    }
}
