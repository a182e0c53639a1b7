//! What a leader knows about one member, itself included.

pub(crate) mod inflights;

use self::inflights::Inflights;
use crate::seeded::{Bug, bug};
use crate::{LogIndex, NodeId, Tick};

/// The leader's book on one member. Lives as long as the leadership.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) id: NodeId,
    /// Tells this book from an earlier one on the same node, which was removed and has come back
    /// (L11). 0 for the members at the election, else the index of the configuration that added it.
    pub(crate) session: u64,
    /// Has a vote in C_new, in C_old: both while a joint configuration keeps a voter.
    pub(crate) votes_incoming: bool,
    pub(crate) votes_outgoing: bool,
    /// The member's log is durably the leader's up to here. Invariant: never falls.
    pub(crate) match_index: LogIndex,
    /// The next entry to send. Invariant: above `match_index`.
    pub(crate) next_index: LogIndex,
    pub(crate) state: ProgressState,
    /// Heard from since the last quorum check.
    pub(crate) is_active: bool,
    /// When it was last heard from in this leadership.
    pub(crate) heard_at: Option<Tick>,
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
    /// An empty AppendEntries must go, to find out what the member has.
    pub(crate) wants_nudge: bool,
}

/// How a member is being fed.
#[derive(Clone, Debug)]
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
            votes_incoming: false,
            votes_outgoing: false,
            match_index: LogIndex::default(),
            // Figure 2: "initialized to leader last log index + 1".
            next_index: last_index.next(),
            state: ProgressState::Probe { is_waiting: false },
            // A member is given one election timeout to be heard from.
            is_active: true,
            heard_at: None,
            confirmed_round: 0,
            rounds_before: 0,
            commit_sent: LogIndex::default(),
            match_at_heartbeat: LogIndex::default(),
            wants_nudge: false,
        }
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
