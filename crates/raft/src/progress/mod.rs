//! What a leader knows about one member, itself included.

pub(crate) mod inflights;
pub(crate) mod slowness;
pub(crate) mod standstill;

use self::inflights::Inflights;
use self::slowness::Slowness;
use self::standstill::Standstill;
use crate::feeding::FedBook;
use crate::seeded::{Bug, bug};
use crate::{Configuration, Incarnation, LogIndex, NodeId, Tick};

/// The leader's book on one member. Lives as long as the leadership.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Progress {
    pub(crate) id: NodeId,
    /// Tells this book from an earlier one on the same node (L11). Books are counted in a
    /// leadership; 0 are those of the members at the election.
    pub(crate) session: u64,
    /// The disk that this book is about; unknown until the member says.
    pub(crate) incarnation: Incarnation,
    /// The configuration in force records another disk.
    pub(crate) is_stranger: bool,
    /// What an earlier book of this leadership says that the member held: below that it has
    /// forgotten something, and counts for nothing.
    pub(crate) frontier: LogIndex,
    /// This session began with the question whether the member still holds the log up to here, and
    /// nothing was sent in it that follows an earlier entry. So nothing up to here can be refused
    /// in it, unless it was forgotten.
    pub(crate) session_asks: Option<LogIndex>,
    /// The question is not answered.
    pub(crate) is_asked: bool,
    /// Has a vote in C_new, in C_old: both while a joint configuration keeps a voter.
    pub(crate) votes_incoming: bool,
    pub(crate) votes_outgoing: bool,
    /// Is sent no commands.
    pub(crate) is_witness: bool,
    /// The member's log is durably the leader's up to here. Invariant: never falls.
    pub(crate) match_index: LogIndex,
    /// The next entry to send. Invariant: above `match_index`.
    pub(crate) next_index: LogIndex,
    /// The member may hold entries up to here: what was in its log when this leadership began, and
    /// what was sent since. A message that was lost, for all this leader knows, has arrived, which
    /// `next_index` forgets where it goes back. Invariant: never falls.
    pub(crate) told_index: LogIndex,
    pub(crate) state: ProgressState,
    /// Heard from since the last quorum check.
    pub(crate) is_active: bool,
    /// When it was last heard from in this leadership.
    pub(crate) heard_at: Option<Tick>,
    /// Since when it has been silent: as `heard_at`, but from when it could first be heard.
    pub(crate) silent_since: Tick,
    /// The newest ReadIndex round that the member confirmed; rounds from before this book began do
    /// not count. Invariant: a round above `rounds_before`, or 0.
    pub(crate) confirmed_round: u64,
    /// The newest round when this book began.
    pub(crate) rounds_before: u64,
    /// The commit index that the member was last told.
    pub(crate) commit_sent: LogIndex,
    /// `match_index` when the last heartbeat was answered: standing still with messages in flight
    /// means that one got lost.
    pub(crate) match_at_heartbeat: LogIndex,
    /// The log was asked for entries from here, for this member. One read at a time: each of many
    /// late acknowledgements would ask for another place (T224). Invariant: that read is
    /// still to be answered.
    pub(crate) reads_from: Option<LogIndex>,
    /// An empty AppendEntries must go, to find out what the member has.
    pub(crate) wants_nudge: bool,
    pub(crate) slowness: Slowness,
    pub(crate) standstill: Standstill,
    pub(crate) fed: FedBook,
}

/// How a member is being fed.
#[derive(Clone, Debug, Hash)]
pub(crate) enum ProgressState {
    /// Where the logs agree is not known: one message at a time.
    Probe {
        /// A probe is on its way; the next goes after its answer or after a heartbeat's.
        is_waiting: bool,
    },
    /// The logs agree up to `next_index`: messages follow each other within the window.
    Replicate(Inflights),
    /// The log no longer has `next_index`: a snapshot is on its way.
    Snapshot {
        /// The log could go on from here when the snapshot was asked for.
        at_least: LogIndex,
    },
}

impl Progress {
    pub(crate) fn new(id: NodeId, last_index: LogIndex) -> Self {
        Self {
            id,
            session: 0,
            incarnation: Incarnation::default(),
            is_stranger: false,
            frontier: LogIndex::default(),
            session_asks: None,
            is_asked: false,
            votes_incoming: false,
            votes_outgoing: false,
            is_witness: false,
            match_index: LogIndex::default(),
            // Figure 2: "initialized to leader last log index + 1".
            next_index: last_index.next(),
            told_index: last_index,
            state: ProgressState::Probe { is_waiting: false },
            // A member is given one election timeout to be heard from.
            is_active: true,
            heard_at: None,
            silent_since: Tick(0),
            confirmed_round: 0,
            rounds_before: 0,
            commit_sent: LogIndex::default(),
            match_at_heartbeat: LogIndex::default(),
            reads_from: None,
            wants_nudge: false,
            slowness: Slowness::default(),
            standstill: Standstill::default(),
            fed: FedBook::default(),
        }
    }

    /// Whether what this member says counts: it speaks from the disk that is on record, and holds
    /// what it was ever counted for.
    pub(crate) fn counts(&self) -> bool {
        let is_known = !self.is_stranger || bug(Bug::AnyDiskCounts);
        is_known && (self.match_index >= self.frontier || bug(Bug::ForgetfulMembersCount))
    }

    /// Up to where the member's word is taken that it holds the log; 0 if it is not.
    pub(crate) fn counted_index(&self) -> u64 {
        if self.counts() { self.match_index.0 } else { 0 }
    }

    /// Whether a refusal of what follows `prev_index` shows that the member has forgotten entries.
    pub(crate) fn is_forgetful(&self, prev_index: LogIndex) -> bool {
        self.session_asks.is_some_and(|held| prev_index <= held)
    }

    /// Whether the member has lacked a change of members for long, without a step towards it.
    pub(crate) fn stands_still(&self, now: Tick, ticks: u64) -> bool {
        self.standstill.lasts(now, ticks) && !bug(Bug::WhoCannotWriteIsWaitedFor)
    }

    /// Compares the disk with the one that `configuration` records.
    pub(crate) fn look_up(&mut self, configuration: &Configuration) {
        let recorded = configuration.incarnations.get(&self.id);
        self.is_stranger = self.incarnation_was_heard()
            && recorded.is_some_and(|recorded| *recorded != self.incarnation);
    }

    fn incarnation_was_heard(&self) -> bool {
        self.incarnation.is_known() || self.heard_at.is_some()
    }

    /// A new book on the same member, which has less than the old one says: it is fed from the
    /// beginning, and counts again when it has caught up with what it was counted for.
    pub(crate) fn begin_anew(&mut self, session: u64, rounds_before: u64, last_index: LogIndex) {
        *self = Self {
            session,
            rounds_before,
            incarnation: self.incarnation,
            is_stranger: self.is_stranger,
            frontier: self.frontier.max(self.match_index),
            votes_incoming: self.votes_incoming,
            votes_outgoing: self.votes_outgoing,
            is_witness: self.is_witness,
            told_index: self.told_index,
            is_active: false,
            heard_at: self.heard_at,
            silent_since: self.silent_since,
            fed: self.fed.clone(),
            ..Self::new(self.id, last_index)
        };
    }

    /// The member holds everything up to `index`; a late answer (L4) changes nothing.
    pub(crate) fn acknowledge(&mut self, index: LogIndex) {
        if bug(Bug::MatchIndexFalls) {
            self.match_index = index;
        }
        self.match_index = self.match_index.max(index);
        self.next_index = self.next_index.max(index.next());
        if let ProgressState::Replicate(inflights) = &mut self.state {
            inflights.free_to(index);
        }
    }

    /// The member follows this leader, and did so after `round` began.
    pub(crate) fn confirm(&mut self, round: u64) {
        if round > self.rounds_before || bug(Bug::OtherSessionsCount) {
            self.confirmed_round = self.confirmed_round.max(round);
        }
    }

    /// Goes back to one message at a time, from `next_index` on.
    pub(crate) fn probe_from(&mut self, next_index: LogIndex, is_waiting: bool) {
        self.next_index = next_index;
        if !bug(Bug::NextFallsBelowMatch) {
            self.next_index = next_index.max(self.match_index.next());
        }
        self.wants_nudge = false;
        self.state = ProgressState::Probe { is_waiting };
    }

    /// The logs agree up to `match_index`: everything behind it may follow at once.
    pub(crate) fn replicate(&mut self) {
        self.next_index = self.match_index.next();
        self.state = ProgressState::Replicate(Inflights::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L11: what a node confirmed before it was removed is of another book.
    #[test]
    fn a_new_book_confirms_no_earlier_round() {
        let mut book = Progress { rounds_before: 4, ..Progress::new(NodeId(1), LogIndex(9)) };
        book.confirm(4);
        assert_eq!(book.confirmed_round, 0);
        book.confirm(5);
        book.confirm(3);
        assert_eq!(book.confirmed_round, 5);
    }
}
