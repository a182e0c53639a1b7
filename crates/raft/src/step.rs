//! The term gate and the dispatch of messages (Raft §5.1). Nothing else, but all of that:
//!
//! > Current terms are exchanged whenever servers communicate; if one server's current term is
//! > smaller than the other's, then it updates its current term to the larger value. If a candidate
//! > or leader discovers that its term is out of date, it immediately reverts to follower state. If
//! > a server receives a request with a stale term number, it rejects the request.

use core::cmp::Ordering;

use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{
    AppendOutcome, Body, Event, HardState, LogIndex, Message, Node, NodeId, PeerFault, Term, Tick,
};

/// Numbers above this cannot be reached by electing and appending; a peer that sends one is
/// broken, and believing it would leave no room to count on.
pub(crate) const PLAUSIBLE_MAX: u64 = 1 << 62;

impl Node {
    /// A message came from a peer: [`Input::Message`](crate::Input::Message), for a host that has
    /// it in its hands. A message is large to be wrapped, and it comes with every entry.
    pub fn receive(&mut self, now: Tick, message: Message) {
        self.tell_time(now);
        self.step(message);
        self.handle_time();
    }

    pub(crate) fn step(&mut self, message: Message) {
        let Message { from, to, term, incarnation, body } = message;
        let is_mine = to == self.options.id || bug(Bug::TakesTheMailOfOthers);
        if !is_mine || from == self.options.id {
            return self.fault(from, PeerFault::Misaddressed);
        }
        if term.0 > PLAUSIBLE_MAX || largest_number(&body) > PLAUSIBLE_MAX {
            return self.fault(from, PeerFault::ImplausibleNumber);
        }
        // Neither is about a term: a removed node may have gone through many on its own.
        if let Body::Removed { by, incarnation } = body {
            return self.handle_removed(from, *by, incarnation);
        }
        if self.is_tombstone(from) {
            return self.tell_of_removal(from, incarnation, &body);
        }
        if !matches!(body, Body::Quiesce { .. }) {
            // What a leader asks is answered, and so it hears of it; its late answers are not, nor
            // is the news of a commit.
            let is_answered = matches!(
                body,
                Body::AppendEntries { .. } | Body::Heartbeat { .. } | Body::InstallSnapshot { .. }
            );
            let is_told = is_answered || bug(Bug::LateAnswersWakeAlone);
            self.wake_by(is_told.then_some(from));
        }
        if !self.may_count(from, incarnation, &body) {
            return self.fault(from, PeerFault::OtherDisk);
        }
        match term.cmp(&self.current_term()) {
            Ordering::Less => return self.handle_lower_term(from, term, &body),
            Ordering::Equal => self.look_at_disk(from, incarnation, &body),
            Ordering::Greater => {
                if !self.begin_higher_term(from, term, &body) {
                    return;
                }
            }
        }
        self.dispatch(from, term, body);
    }

    /// A higher term ends whatever this node was doing in its own, with three exceptions. Says
    /// whether there is more to do: the message is of the current term now.
    fn begin_higher_term(&mut self, from: NodeId, term: Term, body: &Body) -> bool {
        match body {
            // A pre-vote is about a term that nobody has begun yet.
            Body::PreVote { last } if !bug(Bug::PreVoteRaisesTheTerm) => {
                self.handle_pre_vote(from, term, *last);
                return false;
            }
            Body::PreVoteResponse { granted: true } => {
                self.handle_pre_vote_response(from, term, true);
                return false;
            }
            // A node that cannot hear the leader must not depose it (thesis §4.2.3). It is not even
            // answered: an answer would carry no news that helps it.
            Body::RequestVote { leadership_transfer: false, .. } if self.hears_a_leader() => {
                self.refuse_vote(from, term, crate::VoteRefusal::LeaderAlive);
                return false;
            }
            // These come from the leader of that term.
            Body::AppendEntries { .. }
            | Body::CommitIndex { .. }
            | Body::Heartbeat { .. }
            | Body::Quiesce { .. }
            | Body::InstallSnapshot { .. } => {
                self.become_follower(term, Some(from));
            }
            Body::AppendEntriesResponse(_) | Body::HeartbeatResponse { .. }
                if bug(Bug::HigherTermInAnAnswerIsIgnored) =>
            {
                return false;
            }
            Body::PreVote { .. }
            | Body::PreVoteResponse { granted: false }
            | Body::RequestVote { .. }
            | Body::RequestVoteResponse { .. }
            | Body::AppendEntriesResponse(_)
            | Body::HeartbeatResponse { .. }
            | Body::InstallSnapshotResponse { .. }
            | Body::TimeoutNow { .. }
            | Body::ReadIndex { .. }
            | Body::Removed { .. }
            | Body::Pull { .. }
            | Body::PullResponse { .. }
            | Body::ReadIndexResponse { .. } => self.become_follower(term, None),
        }
        if bug(Bug::HigherTermIsPermission) && matches!(body, Body::RequestVoteResponse { .. }) {
            self.set_hard_state(HardState { current_term: term, voted_for: Some(self.id()) });
        }
        true
    }

    /// Requests are rejected with the current term, so that the sender learns of it (E11);
    /// answers answer nothing any more.
    fn handle_lower_term(&mut self, from: NodeId, term: Term, body: &Body) {
        self.record(|| Event::StaleMessage { from, term });
        match body {
            Body::RequestVoteResponse { granted } if bug(Bug::LateGrantsCount) => {
                self.handle_request_vote_response(from, *granted);
            }
            Body::AppendEntries { .. } if bug(Bug::StaleLeaderIsFollowed) => {
                self.dispatch(from, term, body.clone());
            }
            Body::PreVote { .. } if bug(Bug::StaleRequestsAreNotAnswered) => {}
            Body::PreVote { .. } => self.answer(from, Body::PreVoteResponse { granted: false }),
            Body::RequestVote { .. } => {
                self.answer(from, Body::RequestVoteResponse { granted: false });
            }
            Body::AppendEntries { prev, session, .. } if bug(Bug::OldSessionsAreAnswered) => {
                let hint = self.log.last_at_most(prev.index, prev.term);
                let outcome =
                    AppendOutcome::Rejected { session: *session, prev_index: prev.index, hint };
                self.answer(from, Body::AppendEntriesResponse(outcome));
            }
            // The term is all there is to say. A refusal would name a session of the old term, and
            // who leads again would take it for one of its own that has the same number.
            Body::AppendEntries { .. }
            | Body::CommitIndex { .. }
            | Body::Heartbeat { .. }
            | Body::Quiesce { .. }
            | Body::InstallSnapshot { .. } => {
                let last_index = self.log.last().index;
                self.answer(from, Body::HeartbeatResponse { round: 0, last_index });
            }
            Body::ReadIndex { context, .. } => {
                self.answer(from, Body::ReadIndexResponse { context: *context, index: None });
            }
            Body::PreVoteResponse { .. }
            | Body::RequestVoteResponse { .. }
            | Body::AppendEntriesResponse(_)
            | Body::HeartbeatResponse { .. }
            | Body::InstallSnapshotResponse { .. }
            | Body::TimeoutNow { .. }
            | Body::Removed { .. }
            // Its leader will tell the learner of the term.
            | Body::Pull { .. }
            | Body::PullResponse { .. }
            | Body::ReadIndexResponse { .. } => {}
        }
    }

    /// The message is of the current term.
    fn dispatch(&mut self, from: NodeId, term: Term, body: Body) {
        match body {
            Body::PreVote { last } => self.handle_pre_vote(from, term, last),
            Body::PreVoteResponse { granted } => self.handle_pre_vote_response(from, term, granted),
            Body::RequestVote { last, leadership_transfer } => {
                self.handle_request_vote(from, last, leadership_transfer);
            }
            Body::RequestVoteResponse { granted } => {
                self.handle_request_vote_response(from, granted);
            }
            Body::AppendEntries { prev, commit_index, session, entries } => {
                if self.follow(from) {
                    self.handle_append_entries(from, prev, commit_index, session, entries);
                }
            }
            Body::CommitIndex { prev, commit_index, session } => {
                if self.follow(from) {
                    self.handle_commit_index(from, prev, commit_index, session);
                }
            }
            Body::Heartbeat { commit_index, round } => {
                if self.follow(from) {
                    self.handle_heartbeat(from, commit_index, round);
                    self.pull();
                }
            }
            Body::Quiesce { last, commit_index } => {
                if self.follow(from) {
                    self.handle_quiesce(from, last, commit_index);
                }
            }
            Body::InstallSnapshot { mark } => {
                if self.follow(from) {
                    self.handle_install_snapshot(from, *mark);
                }
            }
            Body::AppendEntriesResponse(outcome) => {
                self.handle_append_entries_response(from, outcome);
            }
            Body::HeartbeatResponse { round, last_index } => {
                self.handle_heartbeat_response(from, round, last_index);
            }
            Body::InstallSnapshotResponse { match_index } => {
                self.handle_install_snapshot_response(from, match_index);
            }
            Body::TimeoutNow { lease_ended } => self.handle_timeout_now(from, lease_ended),
            Body::ReadIndex { context, replied } => self.handle_read_index(from, context, replied),
            Body::ReadIndexResponse { context, index } => {
                self.handle_read_index_response(from, context, index);
            }
            Body::Pull { prev } => self.handle_pull(from, prev),
            Body::PullResponse { prev, commit_index, entries } => {
                self.handle_pull_response(from, prev, commit_index, entries);
            }
            // Taken at the gate, whatever its term.
            Body::Removed { .. } => {}
        }
    }

    /// Accepts `from` as the leader of the current term; there is at most one (Election Safety).
    fn follow(&mut self, from: NodeId) -> bool {
        match &self.role {
            RoleState::Leader(_) => {
                self.fault(from, PeerFault::SecondLeaderInTerm);
                return false;
            }
            RoleState::Follower { leader_id: Some(leader_id) }
                if *leader_id != from && !bug(Bug::SecondLeaderIsFollowed) =>
            {
                self.fault(from, PeerFault::SecondLeaderInTerm);
                return false;
            }
            RoleState::Follower { leader_id: Some(_) } => self.reset_election_timer(),
            RoleState::Candidate { .. } if bug(Bug::CandidateIgnoresTheLeader) => return false,
            // Raft §5.2: a candidate that hears from the leader of its term returns to follower.
            RoleState::Follower { leader_id: None }
            | RoleState::PreCandidate(_)
            | RoleState::Candidate { .. } => {
                self.become_follower(self.current_term(), Some(from));
            }
        }
        self.leader_heard_at = Some(self.now);
        self.removal.forget_claims();
        true
    }

    /// A message of this node.
    #[inline]
    pub(crate) fn message(&self, to: NodeId, term: Term, body: Body) -> Message {
        Message { from: self.options.id, to, term, incarnation: self.options.incarnation, body }
    }

    /// Queues an answer in the current term; it leaves when term and vote are durable.
    pub(crate) fn answer(&mut self, to: NodeId, body: Body) {
        let message = self.message(to, self.current_term(), body);
        if bug(Bug::VoteLeavesBeforeItIsDurable) {
            return self.outbox.send(message);
        }
        self.outbox.send_after(self.persister.of_hard_state(), self.persister.durable(), message);
    }

    /// Queues an answer that also says that the log up to `index` is durable.
    #[inline]
    pub(crate) fn answer_when_durable(&mut self, to: NodeId, index: LogIndex, body: Body) {
        let message = self.message(to, self.current_term(), body);
        let after = if bug(Bug::AnswersBeforeItIsDurable) {
            self.persister.of_hard_state()
        } else {
            self.persister.of_index(index)
        };
        self.outbox.send_after(after, self.persister.durable(), message);
    }
}

fn largest_number(body: &Body) -> u64 {
    match body {
        Body::PreVote { last } | Body::RequestVote { last, .. } => last.term.0.max(last.index.0),
        Body::Quiesce { last, commit_index } => last.term.0.max(last.index.0).max(commit_index.0),
        Body::Pull { prev } => prev.term.0.max(prev.index.0),
        Body::CommitIndex { prev, commit_index, .. } => {
            prev.term.0.max(prev.index.0).max(commit_index.0)
        }
        Body::AppendEntries { prev, commit_index, entries, .. }
        | Body::PullResponse { prev, commit_index, entries } => {
            // Entries are consecutive from `prev` on, which the slice checks.
            let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
            prev.term.0.max(prev.index.0.saturating_add(count)).max(commit_index.0)
        }
        Body::AppendEntriesResponse(AppendOutcome::Accepted { match_index, .. })
        | Body::InstallSnapshotResponse { match_index } => match_index.0,
        Body::AppendEntriesResponse(AppendOutcome::Rejected { prev_index, hint, .. }) => {
            prev_index.0.max(hint.index.0).max(hint.term.0)
        }
        Body::Heartbeat { commit_index, round } => commit_index.0.max(*round),
        Body::HeartbeatResponse { round, last_index } => last_index.0.max(*round),
        Body::InstallSnapshot { mark } | Body::Removed { by: mark, .. } => {
            mark.last.index.0.max(mark.last.term.0)
        }
        Body::ReadIndexResponse { index, .. } => index.map_or(0, |index| index.0),
        Body::PreVoteResponse { .. }
        | Body::RequestVoteResponse { .. }
        | Body::TimeoutNow { .. }
        | Body::ReadIndex { .. } => 0,
    }
}
