//! A leader and its followers' logs (Raft §5.3): AppendEntries and heartbeats, sending side.
//!
//! Nothing is sent when something happens; everything is sent when the output is taken. So all
//! that arrived meanwhile travels in one message, and a quiet group does not wait for anything.
//!
//! ```text
//!            accepted                          needs what the log lacks
//!   Probe ─────────────> Replicate            Probe ──────────────> Snapshot
//!     ^                      │                  ^                       │
//!     └──────────────────────┘                  └───────────────────────┘
//!             rejected                             delivered or failed
//! ```
//!
//! Scripts: `testdata/replication/`.

use crate::feeder::{Feed, Feeder};
use crate::progress::{Progress, ProgressState};
use crate::role::{Leaver, RoleState};
use crate::seeded::{Bug, bug};
use crate::{
    AppendOutcome, Body, Entries, Event, LogIndex, Message, Node, NodeId, PeerFault, SendSnapshot,
    Tick,
};

impl Node {
    /// Sends every follower what it should have by now.
    pub(crate) fn replicate(&mut self) {
        if !matches!(self.role, RoleState::Leader(_)) {
            return;
        }
        // Sending changes nothing of what counts for it.
        let witness_limit = self.witness_hears_upto(self.log.last().index);
        let RoleState::Leader(leader) = &self.role else { return };
        let leavers = leader.leaving.len();
        for place in 0..leader.members.len() + leavers {
            // One message at a time, until the window is full or the follower has everything.
            while self.replicate_to(place, witness_limit) {}
        }
        if leavers > 0 {
            self.forget_leavers();
        }
    }

    /// Those that were told the last they are told, or cannot be.
    fn forget_leavers(&mut self) {
        let (mark, commit_index) = (self.log.mark().index, self.commit_index);
        if let RoleState::Leader(leader) = &mut self.role {
            let options = &self.options;
            leader.leaving.retain(|Leaver { book, last_word }| {
                // Until then it may matter what a witness has heard (`witness.rs`).
                let is_over = *last_word <= commit_index && !bug(Bug::LeaverHoldsItsWindow);
                let lacks_too_much = book.next_index <= mark
                    || book.next_index <= *last_word && book.is_paused(options);
                book.commit_sent < *last_word && !(is_over && lacks_too_much)
            });
        }
    }

    /// Sends one message to one follower; says whether another may follow at once.
    fn replicate_to(&mut self, place: usize, witness_limit: LogIndex) -> bool {
        let RoleState::Leader(leader) = &mut self.role else { return false };
        let last_word = leader.last_word_at(place);
        let member = leader.book_at(place);
        let is_told = member.was_told_all(self.log.last().index, self.commit_index);
        if is_told || member.id == self.options.id {
            return false;
        }
        let to = member.id;
        let mut feeder = Feeder {
            options: &self.options,
            log: &self.log,
            outbox: &mut self.outbox,
            term: self.hard_state.current_term,
            commit_index: self.commit_index,
            witness_limit,
            last_word,
        };
        match feeder.feed(member) {
            Feed::Quiet => false,
            Feed::Sent => member.next_index <= self.log.last().index,
            Feed::Fetch(fetch) => {
                if member.reads_from.is_none() {
                    member.reads_from = Some(fetch.from);
                    self.fetch(fetch);
                }
                false
            }
            Feed::NeedsSnapshot if last_word.is_some() => false,
            Feed::NeedsSnapshot if member.is_witness => {
                self.send_mark(to);
                false
            }
            Feed::NeedsSnapshot => {
                let covers_nothing = bug(Bug::SnapshotNeedNotReachTheLog);
                let at_least = if covers_nothing { LogIndex(0) } else { self.log.mark().index };
                member.wants_nudge = false;
                member.state = ProgressState::Snapshot { at_least };
                let term = self.current_term();
                self.output.send_snapshots.push(SendSnapshot { to, term, at_least });
                self.record(|| Event::SnapshotNeeded { to, at_least });
                false
            }
        }
    }

    /// Entries came from the log: they go to the followers that wait just there.
    pub(crate) fn send_fetched(&mut self, entries: &Entries) {
        let Some(first) = entries.first().map(|entry| entry.id.index) else { return };
        let witness_limit = self.witness_hears_upto(self.log.last().index);
        let RoleState::Leader(leader) = &self.role else { return };
        // Who leaves has asked as well, and would ask again at once.
        let leaving = if bug(Bug::WhoLeavesIsReadForInVain) { 0 } else { leader.leaving.len() };
        for place in 0..leader.members.len() + leaving {
            let RoleState::Leader(leader) = &mut self.role else { return };
            let last_word = leader.last_word_at(place);
            let member = leader.book_at(place);
            if member.id == self.options.id
                || member.fed.is_left_alone
                || member.next_index != first
                || member.is_paused(&self.options)
            {
                continue;
            }
            let mut feeder = Feeder {
                options: &self.options,
                log: &self.log,
                outbox: &mut self.outbox,
                term: self.hard_state.current_term,
                commit_index: self.commit_index,
                witness_limit,
                last_word,
            };
            // Where the log has gone meanwhile, the next output says what helps.
            let _is_sent = feeder.append(member, entries.clone());
        }
    }

    /// What a leader says leaves at once.
    pub(crate) fn send_as_leader(&mut self, to: NodeId, body: Body) {
        let message = self.message(to, self.current_term(), body);
        self.outbox.send(message);
    }

    /// The next heartbeats confirm what happened up to now, and nothing older does.
    pub(crate) fn begin_heartbeat_round(&mut self) {
        let (id, now) = (self.options.id, self.now);
        let lease_ticks = self.options.lease_ticks();
        let RoleState::Leader(leader) = &mut self.role else { return };
        let round = leader.reads.begin_round();
        if let Some(ticks) = lease_ticks {
            leader.lease.forget_before(Tick(now.0.saturating_sub(ticks)));
            leader.lease.sent(round, now);
            if let Some(own) = leader.member(id) {
                own.confirm(round);
            }
        }
    }

    /// Heartbeats carry no entries and wait for no disk, so that neither a full window nor a
    /// snapshot on its way lets a follower believe that the leader is gone (S14).
    pub(crate) fn send_heartbeats(&mut self) {
        let (id, now, commit_index) = (self.options.id, self.now, self.commit_index);
        let (term, incarnation) = (self.current_term(), self.options.incarnation);
        let interval = self.options.heartbeat_interval_ticks;
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.heartbeat_at = now.after(interval);
        let round = leader.reads.newest_round();
        let is_passed_over = |member: &Progress| {
            bug(Bug::NoHeartbeatsBesideASnapshot)
                && matches!(member.state, ProgressState::Snapshot { .. })
        };
        let others = leader.members.iter().filter(|member| member.id != id);
        for member in others.filter(|member| !is_passed_over(member)) {
            // Never beyond what this follower is known to hold: it may have other entries there.
            let commit_index = if bug(Bug::HeartbeatSaysTheWholeCommit) {
                commit_index
            } else {
                commit_index.min(member.match_index)
            };
            let body = Body::Heartbeat { commit_index, round };
            self.outbox.send(Message { from: id, to: member.id, term, incarnation, body });
        }
    }

    pub(crate) fn handle_append_entries_response(&mut self, from: NodeId, outcome: AppendOutcome) {
        let last = self.log.last();
        let (AppendOutcome::Accepted { session, .. } | AppendOutcome::Rejected { session, .. }) =
            outcome;
        let Some(member) = self.answering_member(from) else { return };
        if session != member.session && !bug(Bug::OtherSessionsCount) {
            let term = last.term;
            return self.record(|| Event::StaleMessage { from, term });
        }
        match outcome {
            AppendOutcome::Accepted { match_index, .. }
                if match_index > last.index && !bug(Bug::UnsentIsAcknowledged) =>
            {
                self.fault(from, PeerFault::AcknowledgedUnsent);
            }
            AppendOutcome::Accepted { match_index, .. } => self.handle_accepted(from, match_index),
            AppendOutcome::Rejected { prev_index, hint, .. } if member.is_forgetful(prev_index) => {
                self.begin_book_anew(from, hint.index);
            }
            AppendOutcome::Rejected { prev_index, hint, .. } => {
                // A late refusal (L10): the follower has accepted that entry since, or another
                // probe is on its way.
                let is_stale = match &member.state {
                    ProgressState::Replicate(_) => prev_index <= member.match_index,
                    ProgressState::Probe { .. } => prev_index != member.next_index.previous(),
                    ProgressState::Snapshot { .. } => true,
                };
                if is_stale && !bug(Bug::StaleRefusalCounts) {
                    let term = last.term;
                    return self.record(|| Event::StaleMessage { from, term });
                }
                // There is nothing further back to try, and the same question would be refused
                // again, as often as the network can carry it; and twice where it carries it twice.
                let is_held = prev_index <= member.match_index && prev_index > LogIndex(0);
                if is_held && !bug(Bug::RefusedIsAskedForAgain) {
                    return self.ask_what_it_holds(from);
                }
                // No entry of the follower's from the hint to the refused one can match: the hint
                // is its last with a term at most `prev`'s. And no entry of this log behind `next`
                // can: its term is above the hint's, and terms never fall.
                let next = self.log.last_at_most(hint.index, hint.term).index.next();
                if let Some(member) = self.answering_member(from) {
                    member.probe_from(next.min(LogIndex(prev_index.0.max(1))), false);
                }
            }
        }
    }

    /// The follower holds the log durably up to `match_index`.
    pub(crate) fn handle_accepted(&mut self, from: NodeId, match_index: LogIndex) {
        let mark = self.log.mark().index;
        let Some(member) = self.answering_member(from) else { return };
        let is_news = match_index > member.match_index;
        member.acknowledge(match_index);
        member.is_asked &= member.session_asks.is_some_and(|held| match_index < held);
        match &member.state {
            ProgressState::Probe { .. } => member.replicate(),
            // The follower has caught up to the log by itself.
            ProgressState::Snapshot { at_least } if match_index >= *at_least => {
                if match_index >= mark {
                    member.replicate();
                } else {
                    member.probe_from(match_index.next(), false);
                }
            }
            ProgressState::Snapshot { .. } | ProgressState::Replicate(_) => {}
        }
        if is_news {
            self.count_acknowledged(match_index);
            self.continue_transfer(from);
        }
    }

    pub(crate) fn handle_heartbeat_response(
        &mut self,
        from: NodeId,
        round: u64,
        last_index: LogIndex,
    ) {
        let (now, last) = (self.now, self.log.last().index);
        let Some(member) = self.answering_member(from) else { return };
        match &mut member.state {
            ProgressState::Probe { is_waiting } => *is_waiting = false,
            ProgressState::Replicate(_) => {
                // Messages in flight and nothing acknowledged for a whole heartbeat: one may be
                // lost, or the disk is slow. Ask; the answer tells which.
                let in_flight = member.next_index > member.match_index.next();
                let stands_still = member.match_index == member.match_at_heartbeat;
                member.wants_nudge = in_flight && (stands_still || last_index < member.match_index);
            }
            ProgressState::Snapshot { .. } => {}
        }
        member.match_at_heartbeat = member.match_index;
        member.note_fed(now, last_index, last);
        if last_index < member.match_index {
            self.ask_what_it_holds(from);
        }
        self.confirm_reads(from, round);
        self.end_refused_hand_over();
    }

    /// The book of the member that answered, marked as alive.
    pub(crate) fn answering_member(&mut self, from: NodeId) -> Option<&mut Progress> {
        let (now, term) = (self.now, self.current_term());
        let RoleState::Leader(leader) = &mut self.role else { return None };
        let Ok(place) = leader.members.binary_search_by_key(&from, |member| member.id) else {
            // A member that was removed since it was asked, or a stranger: it counts for nothing.
            self.record(|| Event::StaleMessage { from, term });
            return None;
        };
        let RoleState::Leader(leader) = &mut self.role else { return None };
        let member = &mut leader.members[place];
        member.is_active = true;
        member.heard_at = Some(now);
        member.silent_since = now;
        Some(member)
    }
}
