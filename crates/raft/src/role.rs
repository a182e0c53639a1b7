//! The four roles and the ways between them (Raft Figure 4, thesis §9.6).
//!
//! ```text
//!              timeout            quorum would vote           quorum voted
//!   Follower ──────────> PreCandidate ──────────> Candidate ──────────> Leader
//!       ^                     │                       │                   │
//!       └─────────────────────┴───────────────────────┴───────────────────┘
//!                   a leader of this term, a higher term, or no quorum
//! ```
//!
//! Each role carries what only that role knows, so that a leader's books cannot be read by a
//! follower.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::feeding::FedBook;
use crate::leadership::Campaigns;
use crate::lease::LeaderLease;
use crate::lease_guard::LeaderGuard;
use crate::progress::inflights::Inflights;
use crate::progress::{Progress, ProgressState};
use crate::quorum::{Ballots, Counter, MatchQuorum, VoteQuorum};
use crate::read_index::LeaderReads;
use crate::seeded::{Bug, bug};
use crate::staging::Staged;
use crate::{
    Configuration, Entry, EntryId, Event, HardState, LogIndex, Node, NodeId, PersistNumber, Term,
    Tick,
};

/// A node's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Answers; has or seeks a leader.
    Follower,
    /// Asks whether an election could be won; nothing is at stake yet.
    PreCandidate,
    /// Stands for election in its own term.
    Candidate,
    /// Won it.
    Leader,
}

#[derive(Clone, Debug, Hash)]
pub(crate) enum RoleState {
    Follower {
        leader_id: Option<NodeId>,
    },
    PreCandidate(Ballots),
    Candidate {
        ballots: Ballots,
        /// The persist that makes this node's vote for itself durable; it counts from then on.
        own_vote: PersistNumber,
    },
    Leader(Box<Leader>),
}

/// What only a leader has. All of it is lost on step-down, and none of it matters then.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Leader {
    /// The no-op that began this leadership: the first entry of the term.
    pub(crate) first_index: LogIndex,
    /// One book per member, in order of id; this node's own is among them if it is a member.
    pub(crate) members: Vec<Progress>,
    /// Members that a configuration has dropped and that were keeping up.
    pub(crate) leaving: Vec<Leaver>,
    /// Bytes proposed and not committed.
    pub(crate) uncommitted_bytes: usize,
    pub(crate) heartbeat_at: Tick,
    /// The commit index at the last heartbeat.
    pub(crate) commit_at_heartbeat: LogIndex,
    pub(crate) quorum_check_at: Tick,
    pub(crate) reads: LeaderReads,
    pub(crate) lease: LeaderLease,
    pub(crate) guard: LeaderGuard,
    pub(crate) transfer: Option<Transfer>,
    /// Where this leader appended a configuration in one step: that and no other may be given up.
    pub(crate) step_at: Option<LogIndex>,
    /// Learners that are to vote once they hold the log.
    pub(crate) staged: Vec<Staged>,
    /// Books opened so far: the name of the next.
    sessions: u64,
    /// A member's disk may have to be put on record.
    pub(crate) has_unrecorded: bool,
    counter: Counter,
}

/// A member that was dropped. It is sent the configuration that dropped it and then its commit, so
/// that it knows. Its answers count for nothing, so that nothing makes room in a window either: it
/// is sent no more than a window of what it lacks. Whoever lacks more, or what the log has no more,
/// is told by its tombstone, when it asks.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Leaver {
    pub(crate) book: Progress,
    /// Where that configuration is.
    pub(crate) last_word: LogIndex,
}

/// Leadership on its way to another node (thesis §3.10).
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    pub(crate) abort_at: Tick,
    /// The leader began it by itself: nobody waits for it.
    pub(crate) is_own: bool,
    /// The target had everything and was told to campaign, when this was the newest round of
    /// heartbeats.
    pub(crate) requested_in: Option<u64>,
}

impl Leaver {
    fn new(member: &Progress, last_word: LogIndex) -> Self {
        let mut book = member.clone();
        // What is on its way will not be answered, and nobody feeds it any more but this leader.
        if !bug(Bug::LeaverHoldsItsWindow) {
            book.state = ProgressState::Replicate(Inflights::default());
            book.fed = FedBook::default();
        }
        Self { book, last_word }
    }
}

impl Leader {
    pub(crate) fn member(&mut self, id: NodeId) -> Option<&mut Progress> {
        let place = self.members.binary_search_by_key(&id, |member| member.id).ok()?;
        Some(&mut self.members[place])
    }

    /// The book to feed from: of the members first, then of those that leave.
    pub(crate) fn book_at(&mut self, place: usize) -> &mut Progress {
        let members = self.members.len();
        if place < members {
            &mut self.members[place]
        } else {
            &mut self.leaving[place - members].book
        }
    }

    /// The last entry that the book at `place` is to hear of, if it is one of those that leave.
    pub(crate) fn last_word_at(&self, place: usize) -> Option<LogIndex> {
        self.leaving.get(place.checked_sub(self.members.len())?).map(|leaver| leaver.last_word)
    }

    /// The books of the members, and of those that leave.
    pub(crate) fn books(&self) -> impl Iterator<Item = &Progress> {
        self.members.iter().chain(self.leaving.iter().map(|leaver| &leaver.book))
    }

    pub(crate) fn books_mut(&mut self) -> impl Iterator<Item = &mut Progress> {
        self.members.iter_mut().chain(self.leaving.iter_mut().map(|leaver| &mut leaver.book))
    }

    /// The name of a new book, or of new books that begin together.
    pub(crate) fn next_session(&mut self) -> u64 {
        let session = self.sessions;
        self.sessions += 1;
        session
    }

    /// Follows a change of configuration, which is at `index`: new members start as unknown, old
    /// ones keep their books.
    pub(crate) fn adopt(
        &mut self,
        (index, configuration): (LogIndex, &Configuration),
        last_index: LogIndex,
        now: Tick,
    ) {
        let session = self.next_session();
        self.has_unrecorded = true;
        let rounds_before = self.reads.newest_round();
        self.counter.adopt(configuration);
        let old = core::mem::take(&mut self.members);
        let is_kept =
            |member: &&Progress| bug(Bug::RemovedVotersCount) && !configuration.contains(member.id);
        self.leaving.retain(|leaver| {
            !configuration.contains(leaver.book.id) && !bug(Bug::LastWordIsForgotten)
        });
        let dropped = old.iter().filter(|member| !configuration.contains(member.id));
        // Who is fed by another member is asked where it stands each time that it has gone on, and
        // says before that where it believes to be (T223).
        let is_known = |member: &&Progress| {
            let is_probe = matches!(member.state, ProgressState::Probe { .. });
            matches!(member.state, ProgressState::Replicate(_))
                || is_probe && member.fed.is_left_alone
        };
        let dropped = dropped.filter(is_known);
        self.leaving.extend(dropped.map(|member| Leaver::new(member, index)));
        self.members = configuration
            .members()
            .map(|id| {
                let known = old.iter().find(|member| member.id == id).cloned();
                let mut member = known.unwrap_or_else(|| Progress {
                    session,
                    rounds_before,
                    silent_since: now,
                    ..Progress::new(id, last_index)
                });
                member.is_witness = configuration.witnesses.contains(&id);
                member.look_up(configuration);
                member.fed.adopt(configuration.feeder_of(id));
                member.votes_incoming = configuration.voters.contains(&id)
                    || bug(Bug::LearnersCount) && configuration.learners.contains(&id);
                member.votes_outgoing = configuration.outgoing.contains(&id);
                member
            })
            .chain(old.iter().filter(is_kept).cloned())
            .collect();
    }

    /// The largest index up to which the commands are where they must be (`witness.rs`).
    pub(crate) fn payloads_held(&mut self) -> u64 {
        let held = self.counter.payloads_held(&self.members);
        let witnesses = self.members.iter().filter(|member| member.is_witness);
        let witnessed = witnesses.map(Progress::counted_index).max().unwrap_or(0);
        held.max(witnessed.min(self.first_index.previous().0))
    }

    /// Empties the room for counting.
    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn forget_counting(&mut self) {
        self.counter.forget();
    }

    /// The largest `value` that a commit quorum of voters has reached.
    pub(crate) fn quorum_value(&mut self, value: impl Fn(&Progress) -> u64) -> u64 {
        self.counter.quorum_value(&self.members, value)
    }

    pub(crate) fn match_quorum(&mut self) -> MatchQuorum {
        self.counter.match_quorum(&self.members)
    }
}

impl Node {
    pub(crate) fn current_term(&self) -> Term {
        self.hard_state.current_term
    }

    pub(crate) fn leader_id(&self) -> Option<NodeId> {
        match &self.role {
            RoleState::Follower { leader_id } => *leader_id,
            RoleState::PreCandidate(_) | RoleState::Candidate { .. } => None,
            RoleState::Leader(_) => Some(self.options.id),
        }
    }

    /// The only place that changes term and vote. The pair goes to disk in one record (E2).
    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        if hard_state == self.hard_state {
            return;
        }
        assert!(hard_state.current_term >= self.current_term(), "a term never goes back");
        if hard_state.current_term > self.current_term() {
            self.outbox.forget_before(hard_state.current_term);
            self.claimed_commit_index = LogIndex::default();
            self.proven_index = LogIndex::default();
            if !bug(Bug::OvertakersOutliveTheirTerm) {
                self.reordered.clear();
            }
        } else {
            assert!(self.hard_state.voted_for.is_none(), "a vote, once given, stays in its term");
        }
        self.hard_state = hard_state;
        self.persister.write_hard_state(hard_state);
    }

    /// Follows `leader_id`, or nobody yet, in `term`, which is not below the current one.
    pub(crate) fn become_follower(&mut self, term: Term, leader_id: Option<NodeId>) {
        if term > self.current_term() {
            self.set_hard_state(HardState { current_term: term, voted_for: None });
        }
        let was_leader = matches!(self.role, RoleState::Leader(_));
        self.is_resting = false;
        if leader_id.is_some() {
            self.campaigns = Campaigns::default();
        }
        self.abandon_reads();
        self.role = RoleState::Follower { leader_id };
        if was_leader || leader_id.is_some() {
            self.reset_election_timer();
        }
        if was_leader {
            let wait = self.options.reelection_wait_ticks;
            self.campaign_at = self.campaign_at.map(|at| at.after(wait));
        }
        self.record(|| Event::BecameFollower { term, leader_id });
    }

    /// Changes neither term nor vote (E6): that is the point of it.
    pub(crate) fn become_pre_candidate(&mut self) {
        assert!(!matches!(self.role, RoleState::Leader(_)), "a leader does not campaign (E14)");
        self.abandon_reads();
        if bug(Bug::PreVoteClearsTheVote) {
            self.hard_state.voted_for = None;
        }
        self.role = RoleState::PreCandidate(Ballots::default());
        self.reset_election_timer();
        let term = self.current_term();
        self.record(|| Event::BecamePreCandidate { term });
    }

    /// Raft §5.2: increments the current term and votes for itself. The vote counts when durable.
    pub(crate) fn become_candidate(&mut self) {
        assert!(!matches!(self.role, RoleState::Leader(_)), "a leader does not campaign (E14)");
        self.abandon_reads();
        let term = self.current_term().next();
        self.set_hard_state(HardState { current_term: term, voted_for: Some(self.options.id) });
        let own_vote = self.persister.of_hard_state();
        let mut ballots = Ballots::default();
        if let RoleState::PreCandidate(asked) = &self.role
            && bug(Bug::PreVotesCountAsVotes)
        {
            ballots = asked.clone();
        }
        self.role = RoleState::Candidate { ballots, own_vote };
        self.reset_election_timer();
        self.record(|| Event::BecameCandidate { term });
    }

    /// Leads, by the witness of a quorum of votes in this term. The first act is a no-op, so that
    /// an entry of the own term can commit (Raft §8).
    pub(crate) fn become_leader(&mut self, _: VoteQuorum) {
        assert!(matches!(self.role, RoleState::Candidate { .. }), "only candidates win elections");
        self.campaigns = Campaigns::default();
        self.active_at = self.now;
        let term = self.current_term();
        let last = self.log.last();
        let deferral = self.deferral(term);
        let payload = self.lease_payload();
        let mut leader = Leader {
            first_index: last.index.next(),
            members: Vec::new(),
            leaving: Vec::new(),
            uncommitted_bytes: 0,
            heartbeat_at: self.now.after(self.options.heartbeat_interval_ticks),
            commit_at_heartbeat: LogIndex::default(),
            quorum_check_at: self.now.after(self.options.election_timeout_ticks),
            reads: LeaderReads::default(),
            lease: LeaderLease::default(),
            guard: LeaderGuard::new(deferral),
            transfer: None,
            step_at: None,
            staged: Vec::new(),
            sessions: 0,
            has_unrecorded: true,
            counter: Counter::default(),
        };
        let configuration = (self.configurations.index(), self.configurations.current());
        leader.adopt(configuration, last.index, self.now);
        if let Some(own) = leader.member(self.options.id) {
            own.incarnation = self.options.incarnation;
        }
        self.role = RoleState::Leader(Box::new(leader));
        self.plan_hand_over();
        self.record(|| Event::BecameLeader { term });
        if let Some(deferral) = deferral {
            let until = deferral.look_at.map_or(deferral.until, |at| at.min(deferral.until));
            let ticks = until.0.saturating_sub(self.now.0);
            self.record(|| Event::CommitsLater { ticks });
        }
        let id = EntryId { term, index: last.index.next() };
        self.append(alloc::vec![Entry { id, payload }].into());
        // Figure 2: "upon election: send initial empty AppendEntries RPCs (heartbeat)". The probes
        // that carry the no-op follow at once, but only heartbeats pass a full log or a slow disk.
        self.beat();
    }
}
