//! A follower and its leader's log (Raft §5.3): AppendEntries and heartbeats, receiving side.
//!
//! Scripts: `testdata/replication/`.

use crate::log::slice::LogSlice;
use crate::seeded::{Bug, bug};
use crate::{
    AppendOutcome, Body, Entries, Entry, EntryId, Event, LogIndex, Node, NodeId, PeerFault,
};

/// What a slice of the leader's log is, seen from this log.
enum Fit {
    /// `prev` is here; the entries from `skip` on are new, the ones before are here already.
    Follows { skip: usize },
    /// `prev` is not here.
    Gap,
    /// An entry that is committed here is another one there.
    ConflictsWithCommitted,
}

impl Node {
    /// Figure 2, AppendEntries, receiver. The leader is already accepted.
    pub(crate) fn take_append(
        &mut self,
        from: NodeId,
        prev: EntryId,
        leader_commit: LogIndex,
        session: u64,
        entries: Entries,
    ) {
        self.learn_group_commit(leader_commit);
        let slice = match LogSlice::new(self.current_term(), prev, entries, self.is_witness()) {
            Ok(slice) => slice,
            Err(fault) => return self.fault(from, fault),
        };
        let skip = match self.fit(&slice) {
            Fit::ConflictsWithCommitted => {
                return self.fault(from, PeerFault::ConflictsWithCommitted);
            }
            Fit::Gap => {
                let entries = slice.into_entries_behind(0);
                if !self.keep_for_later(prev, leader_commit, session, entries) {
                    self.reject_append(from, session, prev);
                }
                return;
            }
            Fit::Follows { skip } => skip,
        };
        // L3: what was proved to match ends with the slice. The log may go on behind it with
        // entries that conflict, so neither the answer nor the commit index may look there.
        let mut match_index = slice.last().index;
        if bug(Bug::TruncatesBehindTheMessage) && match_index < self.log.last().index {
            self.truncate(match_index.next());
        }
        let news = slice.into_entries_behind(skip);
        if let Some(first) = news.first() {
            if first.id.index <= self.log.last().index {
                self.truncate(first.id.index);
            }
            self.append(news);
        }
        self.proven_index = self.proven_index.max(match_index);
        let last = self.log.last().index;
        if bug(Bug::AcknowledgesTheWholeLog) {
            match_index = last;
        }
        let known = if bug(Bug::CommitsBehindTheMessage) { last } else { match_index };
        self.learn_commit_index(leader_commit.min(known).min(last));
        let outcome = AppendOutcome::Accepted { session, match_index };
        self.answer_when_durable(from, match_index, Body::AppendEntriesResponse(outcome));
    }

    /// News of the commit index. What it says of the log is as much as an AppendEntries without
    /// entries says, and is taken no further: up to `prev`, if that is here.
    pub(crate) fn handle_commit_index(
        &mut self,
        from: NodeId,
        prev: EntryId,
        leader_commit: LogIndex,
        session: u64,
    ) {
        self.learn_group_commit(leader_commit);
        let place = match LogSlice::place(self.current_term(), prev) {
            Ok(place) => place,
            Err(fault) => return self.fault(from, fault),
        };
        match self.fit(&place) {
            Fit::ConflictsWithCommitted => self.fault(from, PeerFault::ConflictsWithCommitted),
            Fit::Gap if !bug(Bug::NewsNeedsNoPlace) => self.reject_append(from, session, prev),
            Fit::Gap | Fit::Follows { .. } => {
                self.proven_index = self.proven_index.max(prev.index);
                self.learn_commit_index(leader_commit.min(prev.index).min(self.log.last().index));
            }
        }
    }

    /// Takes a slice that is known to be committed, whoever knows it (`feeding.rs`). Nobody is
    /// answered.
    pub(crate) fn take_committed(&mut self, slice: LogSlice) -> Result<(), PeerFault> {
        let skip = match self.fit(&slice) {
            Fit::ConflictsWithCommitted => return Err(PeerFault::ConflictsWithCommitted),
            // What it follows has gone since it was asked for; it will be asked for again.
            Fit::Gap => return Ok(()),
            Fit::Follows { skip } => skip,
        };
        let last = slice.last().index;
        let news = slice.into_entries_behind(skip);
        if let Some(first) = news.first() {
            if first.id.index <= self.log.last().index {
                self.truncate(first.id.index);
            }
            self.append(news);
        }
        self.proven_index = self.proven_index.max(last);
        self.learn_group_commit(last);
        self.learn_commit_index(last);
        Ok(())
    }

    /// Compares, and changes nothing.
    fn fit(&self, slice: &LogSlice) -> Fit {
        let prev = slice.prev();
        // What follows the end of this log is new from its first entry on.
        if prev == self.log.last() {
            return Fit::Follows { skip: 0 };
        }
        // L8: what is before the mark is committed, here and therefore there.
        let is_here = self.log.contains(prev)
            || bug(Bug::NoConsistencyCheck) && prev.index <= self.log.last().index;
        let is_cut = prev.index < self.log.mark().index && !bug(Bug::PurgedEntryIsAConflict);
        if !is_cut && !is_here {
            // A committed `prev` that differs is no gap that probing could close.
            let is_committed = prev.index <= self.commit_index;
            return if is_committed { Fit::ConflictsWithCommitted } else { Fit::Gap };
        }
        // L1: entries are compared one by one, since a delayed message may carry a prefix of what
        // is here; cutting behind it would lose entries that were acknowledged since.
        let is_here =
            |entry: &&Entry| entry.id.index < self.log.mark().index || self.log.contains(entry.id);
        let skip = slice.entries().iter().take_while(is_here).count();
        match slice.entries().get(skip) {
            Some(entry) if entry.id.index <= self.commit_index => Fit::ConflictsWithCommitted,
            Some(entry)
                if bug(Bug::KeepsConflictingEntries) && entry.id.index <= self.log.last().index =>
            {
                Fit::Follows { skip: slice.entries().len() }
            }
            Some(_) | None => Fit::Follows { skip },
        }
    }

    /// Tells the leader where the logs may still agree. The hint skips, in one round, every entry
    /// whose term is above `prev`'s:
    ///
    /// ```text
    ///   index     1 2 3 4 5 6 7 8 9
    ///   leader    1 3 3 3 5 5 5 5 5      probes with prev = 9@5
    ///   follower  1 1 1 1 2 2            answers 6@2: "I have nothing of term 5"
    ///                                    the leader's last of at most term 2 is 1@1: next = 2
    /// ```
    pub(crate) fn reject_append(&mut self, to: NodeId, session: u64, prev: EntryId) {
        let hint = self.log.last_at_most(prev.index, prev.term);
        let outcome = AppendOutcome::Rejected { session, prev_index: prev.index, hint };
        self.answer(to, Body::AppendEntriesResponse(outcome));
    }

    /// The heartbeat's commit index is bounded by the match index that the leader holds for this
    /// node in this term, so the log here was the leader's up to it. A leader that claims more than
    /// the log has is not believed (L9); nor is one that claims more than this life has seen to
    /// match, since the disk may be an old copy:
    ///
    /// ```text
    ///   n1   1@1 2@3     leads term 3, commits 2; n2's match index is 2
    ///   n2   1@1 2@3  →  1@1 2@2     its disk is set back; the heartbeat says: commit 2
    /// ```
    ///
    /// It says how far it knows the logs to match, and the leader asks what it holds.
    pub(crate) fn handle_heartbeat(&mut self, from: NodeId, commit_index: LogIndex, round: u64) {
        let mut last_index = self.log.last().index;
        self.learn_group_commit(commit_index);
        if bug(Bug::HeartbeatIsBelieved) {
            self.learn_commit_index(commit_index.min(last_index));
        } else if commit_index > last_index {
            self.fault(from, PeerFault::CommitBeyondLog);
        } else {
            let known = self.proven_index.max(self.commit_index);
            if commit_index > known && !bug(Bug::UnprovenIsCommitted) {
                last_index = last_index.min(known);
            } else {
                self.learn_commit_index(commit_index);
            }
        }
        self.answer(from, Body::HeartbeatResponse { round, last_index });
    }

    /// Appends to the log, to the disk's queue and to the history of configurations: a leader its
    /// own entries, a follower its leader's.
    pub(crate) fn append(&mut self, entries: Entries) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let (first, last) = (first.id, last.id);
        self.touch();
        let is_change = !bug(Bug::ConfigurationOnCommit) && self.configurations.append(&entries);
        self.lease_times.note(&entries);
        self.log.append(entries);
        if is_change {
            self.adopt_configuration();
        }
        self.note_growth(last.index);
        self.persister.write_entries(first.index, last.index);
        self.record(|| Event::Appended { first, last });
        if is_change {
            self.count_anew();
        }
    }

    /// Drops `from` and all behind it; only uncommitted entries are ever dropped.
    fn truncate(&mut self, from: LogIndex) {
        assert!(from > self.commit_index, "committed entries are never truncated");
        self.log.truncate(from);
        self.lease_times.truncate(from);
        self.record(|| Event::Truncated { from });
        if !bug(Bug::ConfigurationOutlivesItsEntry) && self.configurations.truncate(from) {
            self.adopt_configuration();
        }
    }
}
