//! When an entry is committed (Raft §5.3, §5.4.2).
//!
//! # Why entries of earlier terms are not counted (Figure 8, C1)
//!
//! ```text
//!   S1 leads term 4 and replicates 2@2 to a majority. Were it counted as committed now …
//!     S1   1@1  2@2  3@4
//!     S2   1@1  2@2
//!     S3   1@1  2@2
//!     S4   1@1
//!     S5   1@1  2@3      … S5, crashed since term 3, could still win term 5 with votes of S2, S3
//!                        and S4, since 3 > 2, and overwrite 2@2 everywhere.
//! ```
//!
//! Once 3@4 is on a majority S5 cannot win, and with 3@4 everything before it is committed too. So
//! the largest index on a quorum is looked at, and it counts if its term is the leader's own. If
//! its term is older, every smaller index has an older term as well: nothing else need be tried
//! (C5).

use crate::quorum::MatchQuorum;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Event, LogIndex, Node, PersistNumber, Tick};

impl Node {
    /// Everything up to and including this persist is durable:
    /// [`Input::Persisted`](crate::Input::Persisted).
    pub fn persisted(&mut self, now: Tick, number: PersistNumber) {
        self.tell_time(now);
        self.handle_persisted(number);
        self.handle_time();
    }

    /// The disk has caught up to `number`: what waited for it happens now.
    pub(crate) fn handle_persisted(&mut self, number: PersistNumber) {
        self.persister.landed(number, self.now);
        self.record(|| Event::BecameDurable { number });
        self.outbox.release(self.persister.durable());
        self.count_own_vote();
        self.announce_installation();
        self.acknowledge_own_log();
    }

    /// A leader's own disk is one of the quorum, and no more than that: the entry counts here when
    /// it is durable here (L13, L14).
    fn acknowledge_own_log(&mut self) {
        let id = self.options.id;
        let durable = self.persister.durable_index();
        let RoleState::Leader(leader) = &mut self.role else { return };
        if let Some(own) = leader.member(id)
            && durable > own.match_index
        {
            own.acknowledge(durable);
            self.count_acknowledged(durable);
        }
    }

    /// A member holds the log up to `index`. Whoever makes a quorum for more than is committed
    /// holds more than that itself: of three the last to answer is not counted.
    pub(crate) fn count_acknowledged(&mut self, index: LogIndex) {
        if index > self.commit_index {
            self.advance_commit_index();
        }
    }

    /// Commits what a quorum holds, if that is an entry of the current term.
    pub(crate) fn advance_commit_index(&mut self) {
        if self.is_deferring() {
            return; // An earlier leader may still be reading (`lease_guard.rs`).
        }
        let term = self.current_term();
        let (own, last) = (self.options.id, self.log.last().index);
        let RoleState::Leader(leader) = &mut self.role else { return };
        if bug(Bug::LeaderCountsWhatItHasNotWritten)
            && let Some(own) = leader.member(own)
        {
            own.acknowledge(last);
        }
        let quorum = leader.match_quorum();
        let limit = if bug(Bug::WitnessStandsInForData) {
            quorum.index()
        } else {
            self.witness_limit(quorum.index())
        };
        let quorum = quorum.at_most(limit);
        let is_news = quorum.index() > self.commit_index;
        let counted =
            if bug(Bug::CommitStopsAtOldTerms) { self.commit_index.next() } else { quorum.index() };
        let is_of_this_term = self.log.id_at(counted).is_some_and(|id| id.term == term);
        if is_news && (is_of_this_term || bug(Bug::CommitsOldTermsByCounting)) {
            self.commit_by_counting(&quorum);
        }
    }

    fn commit_by_counting(&mut self, quorum: &MatchQuorum) {
        let first = self.commit_index.next();
        self.set_commit_index(quorum.index());
        let bytes = self.log.cache().size_bytes_of(first, quorum.index());
        if let RoleState::Leader(leader) = &mut self.role {
            // Entries of earlier terms were not counted when they came; hence the saturation.
            leader.uncommitted_bytes = leader.uncommitted_bytes.saturating_sub(bytes);
        }
        self.continue_change();
    }

    /// What a leader said is committed, as far as this node is known to have the leader's log.
    pub(crate) fn learn_commit_index(&mut self, index: LogIndex) {
        // L5: a new leader may know less than this node.
        if index > self.commit_index || bug(Bug::CommitIndexFalls) && index < self.commit_index {
            self.set_commit_index(index);
        }
    }

    fn set_commit_index(&mut self, index: LogIndex) {
        let falls = index <= self.commit_index && !bug(Bug::CommitIndexFalls);
        assert!(!falls, "the commit index never falls");
        let last = self.log.id_at(index).expect("only what is in the log is committed");
        let before = core::mem::replace(&mut self.commit_index, index);
        if bug(Bug::ConfigurationOnCommit) && index > before {
            let committed = self.log.read(before.next(), index, usize::MAX).unwrap_or_default();
            if self.configurations.append(&committed) {
                self.adopt_configuration();
            }
        }
        self.record(|| Event::Committed { last });
        self.notice_removal();
    }
}
