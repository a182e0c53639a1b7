//! Learners that pull from another member than the leader: tiers of readers, another site.
//!
//! A group with many learners would have its leader send everything to each of them. So the
//! configuration may name, for a learner, the member that it is fed by
//! ([`Configuration::feeders`](crate::Configuration::feeders)): another learner, so that tiers
//! hang below each other, or any voter with the data. The learner pulls: at each heartbeat of the
//! leader it asks its feeder for what follows its own commit index, and again as long as more
//! comes.
//!
//! ```text
//!   leader ── AppendEntries ──> n2, n3            heartbeats go to everybody
//!                               n3 <── Pull ── n4 <── Pull ── n5
//! ```
//!
//! **What is pulled is committed.** A feeder tells nothing behind its own commit index, and a
//! learner asks from its own. What is committed is the same everywhere (State Machine Safety, Raft
//! §5.4.3), so it does not matter who tells it, how late, or how often; and what it replaces in the
//! learner's log was committed nowhere. No acknowledgement comes of it: how far the learner
//! is, the leader finds out by AppendEntries without entries, as of anybody.
//!
//! **The leader leaves alone who keeps up.** It goes on feeding a learner that is fed by somebody
//! else if that one is silent, or if the learner has for an election timeout not held what was
//! committed two heartbeats before. So a learner that does not know yet by whom it is fed, whose
//! feeder lacks what it needs, or that is fed in a circle, has its log from the leader: a feeder
//! saves work, and nothing rests on it. Where the link to a feeder that lives is cut for good, the
//! log comes in gulps, one each election timeout.
//!
//! Snapshots come from the leader alone: they speak of its term.
//!
//! Scripts: `testdata/feeding/`.

use alloc::vec::Vec;

use crate::log::slice::LogSlice;
use crate::progress::Progress;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Body, Entries, EntryId, Event, Fetch, LogIndex, Node, NodeId, PeerFault, Tick};

/// A feeder keeps so many questions while it reads old entries; who asked before asks again.
pub(crate) const QUESTIONS_MAX: usize = 64;

/// What a leader notes of a learner that somebody else may feed.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct FedBook {
    /// By whom, if by somebody else.
    pub(crate) feeder: Option<NodeId>,
    /// Nothing with entries goes to it.
    pub(crate) is_left_alone: bool,
    /// When it last held what it should.
    kept_up_at: Option<Tick>,
    /// The commit index at the newest regular heartbeat, and at the one before.
    committed: [Option<LogIndex>; 2],
}

impl FedBook {
    /// Where nothing is known of time.
    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn forget_time(&mut self) {
        self.kept_up_at = None;
    }

    /// The configuration names this feeder, or none.
    pub(crate) fn adopt(&mut self, feeder: Option<NodeId>) {
        if self.feeder != feeder {
            *self = Self { feeder, ..Self::default() };
        }
    }
}

impl Node {
    /// Before heartbeats: to whom among the fed the leader sends entries until the next ones.
    pub(crate) fn look_after_the_fed(&mut self) {
        let (now, timeout) = (self.now, self.options.election_timeout_ticks);
        let commit_index = self.commit_index;
        let RoleState::Leader(leader) = &mut self.role else { return };
        if leader.members.iter().all(|member| member.fed.feeder.is_none()) {
            return;
        }
        let is_near = |at: Option<Tick>| at.is_some_and(|at| now < at.after(timeout));
        let alive = leader.members.iter().filter(|member| is_near(member.heard_at));
        let mut alive: Vec<NodeId> = alive.map(|member| member.id).collect();
        alive.push(self.options.id);
        for member in &mut leader.members {
            let Some(feeder) = member.fed.feeder else { continue };
            let votes = member.votes_incoming || member.votes_outgoing;
            let keeps_up = is_near(member.fed.kept_up_at);
            let is_fed = keeps_up && alive.contains(&feeder) || bug(Bug::FedIsNeverLookedAfter);
            member.fed.is_left_alone = is_fed && !votes;
            member.fed.committed = [Some(commit_index), member.fed.committed[0]];
        }
    }

    /// The leader's heartbeat was heard: time to ask the feeder, if there is one.
    pub(crate) fn pull(&mut self) {
        let own = self.options.id;
        let configuration = self.configurations.current();
        let Some(feeder) = configuration.feeder_of(own) else { return };
        if self.apply.is_installing() {
            return;
        }
        let index = self.commit_index;
        let Some(prev) = self.log.id_at(index) else { return };
        self.answer(feeder, Body::Pull { prev });
    }

    /// A learner asks for what is committed behind `prev`, which is committed there.
    pub(crate) fn handle_pull(&mut self, from: NodeId, prev: EntryId) {
        if !self.configurations.current().contains(from) || self.is_witness() {
            let term = self.current_term();
            return self.record(|| Event::StaleMessage { from, term });
        }
        let upto = if bug(Bug::FeedsWhatIsNotCommitted) {
            self.log.last().index
        } else {
            self.commit_index
        };
        if prev.index >= upto || prev.index < self.log.mark().index {
            // Nothing to tell, or nothing any more: the leader will see that it lacks something.
            return;
        }
        if !self.log.contains(prev) {
            return self.fault(from, PeerFault::ConflictsWithCommitted);
        }
        let (first, bytes_max) = (prev.index.next(), self.options.append_batch_bytes_max);
        match self.log.read(first, upto, bytes_max) {
            Some(entries) => self.tell_pulled(from, prev, entries),
            None => {
                self.questions.retain(|(asker, _)| *asker != from);
                self.questions.truncate(QUESTIONS_MAX - 1);
                self.questions.push((from, prev));
                self.fetch(Fetch { from: first, to: upto.next(), bytes_max });
            }
        }
    }

    /// Old entries came from the log: they go to the learners that asked for just these.
    pub(crate) fn answer_pulls(&mut self, entries: &Entries) {
        let Some(first) = entries.first().map(|entry| entry.id.index) else { return };
        let commit_index = self.commit_index;
        let is_asked = |(_, prev): &mut (NodeId, EntryId)| prev.index.next() == first;
        let asked: Vec<_> = self.questions.extract_if(.., is_asked).collect();
        for (from, prev) in asked {
            let mut entries = entries.clone();
            let known = entries.iter().take_while(|entry| entry.id.index <= commit_index).count();
            entries.truncate(known);
            if !entries.is_empty() && self.log.contains(prev) {
                self.tell_pulled(from, prev, entries);
            }
        }
    }

    fn tell_pulled(&mut self, to: NodeId, prev: EntryId, entries: Entries) {
        let commit_index = self.commit_index;
        self.answer(to, Body::PullResponse { prev, commit_index, entries });
    }

    /// The feeder tells what follows `prev`; all of it is committed.
    pub(crate) fn handle_pull_response(
        &mut self,
        from: NodeId,
        prev: EntryId,
        commit_index: LogIndex,
        entries: Entries,
    ) {
        let is_feeder = self.configurations.current().feeder_of(self.options.id) == Some(from);
        let follows = matches!(self.role, RoleState::Follower { .. });
        if !is_feeder || !follows || self.apply.is_installing() {
            let term = self.current_term();
            return self.record(|| Event::StaleMessage { from, term });
        }
        let slice = match LogSlice::new(self.current_term(), prev, entries, false) {
            Ok(slice) if slice.last().index <= commit_index => slice,
            Ok(_) => return self.fault(from, PeerFault::CommitBeyondLog),
            Err(fault) => return self.fault(from, fault),
        };
        let last = slice.last().index;
        if last <= self.commit_index {
            return;
        }
        if let Err(fault) = self.take_committed(slice) {
            return self.fault(from, fault);
        }
        self.record(|| Event::Pulled { from, upto: last });
        // The leader sends as well to whoever has not kept up, and that may have come too early.
        if let Some(leader) = self.leader_id() {
            self.take_what_waited(leader);
        }
        if last < commit_index {
            self.pull();
        }
    }
}

impl Progress {
    /// A heartbeat was answered by a member that somebody else feeds: is it where it should be, and
    /// up to where do the logs agree? The next message asks that, where the member says it stands.
    /// It also asks what such a member holds, if that is to be known: there is no other (T221).
    pub(crate) fn note_fed(&mut self, now: Tick, holds: LogIndex, last: LogIndex) {
        if self.fed.feeder.is_none() {
            return;
        }
        let keeps_up = self.fed.committed[1].is_some_and(|committed| holds >= committed);
        if keeps_up || bug(Bug::FeederLags) {
            self.fed.kept_up_at = Some(now);
        }
        if self.fed.is_left_alone && (holds > self.match_index || self.is_asked) {
            self.probe_from(holds.min(last).next(), false);
            self.wants_nudge = true;
        }
    }
}
