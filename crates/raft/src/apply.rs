//! From committed to applied: handing entries to the state machine, in order and without a gap.
//!
//! An entry is handed out when it is committed **and** durable on this very node. The second half
//! is stricter than Raft asks for. It buys a simple truth: the state machine is never ahead of the
//! log beside it, whatever a crash takes (C13, L14).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::queue::pop_front_if;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Entries, Entry, Event, Fetch, LogIndex, Node, SnapshotMark, Tick};

/// Where the state machine stands.
///
/// Invariant: `applied <= handed_out <= commit_index`, except while a snapshot is installed.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ApplyQueue {
    handed_out: LogIndex,
    applied: LogIndex,
    /// Last index and bytes of what is handed out and not applied, oldest first.
    unapplied: VecDeque<(LogIndex, usize)>,
    unapplied_bytes: usize,
    /// The snapshot that is becoming the state; until it is, nothing is handed out.
    installing: Option<SnapshotMark>,
    /// The host was told to install it.
    is_announced: bool,
}

impl ApplyQueue {
    pub(crate) fn new(applied: LogIndex) -> Self {
        Self {
            handed_out: applied,
            applied,
            unapplied: VecDeque::new(),
            unapplied_bytes: 0,
            installing: None,
            is_announced: false,
        }
    }

    pub(crate) fn applied(&self) -> LogIndex {
        self.applied
    }

    pub(crate) fn is_installing(&self) -> bool {
        self.installing.is_some()
    }

    pub(crate) fn installing(&self) -> Option<&SnapshotMark> {
        self.installing.as_ref()
    }

    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn handed_out(&self) -> LogIndex {
        self.handed_out
    }

    pub(crate) fn begin_installation(&mut self, mark: SnapshotMark) {
        self.handed_out = mark.last.index;
        self.unapplied.clear();
        self.unapplied_bytes = 0;
        self.installing = Some(mark);
        self.is_announced = false;
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.is_announced
    }

    pub(crate) fn announce(&mut self) {
        self.is_announced = true;
    }

    /// Whether `mark` was being installed, and now is.
    pub(crate) fn end_installation(&mut self, mark: &SnapshotMark) -> bool {
        if self.installing.as_ref() != Some(mark) {
            return false;
        }
        self.installing = None;
        self.applied = self.applied.max(mark.last.index);
        true
    }

    /// A witness has nothing to apply to.
    fn skip_to(&mut self, index: LogIndex) {
        self.handed_out = index.max(self.handed_out);
        self.applied = self.handed_out;
    }

    fn hand_out(&mut self, entries: &[Entry]) {
        let Some(last) = entries.last() else { return };
        let bytes = entries.iter().map(Entry::size_bytes).sum();
        self.unapplied.push_back((last.id.index, bytes));
        self.unapplied_bytes += bytes;
        self.handed_out = last.id.index;
        if bug(Bug::ApplySkipsAnEntry) && entries.len() > 1 {
            self.handed_out = last.id.index.next();
        }
    }

    fn applied_to(&mut self, index: LogIndex) {
        self.applied = self.applied.max(index);
        if bug(Bug::AppliedIndexFalls) {
            self.applied = index;
        }
        while let Some((_, bytes)) = pop_front_if(&mut self.unapplied, |(last, _)| *last <= index) {
            self.unapplied_bytes -= bytes;
        }
    }
}

impl Node {
    /// The state machine has applied all entries up to and including this index:
    /// [`Input::Applied`](crate::Input::Applied).
    pub fn applied(&mut self, now: Tick, index: LogIndex) {
        self.tell_time(now);
        self.handle_applied(index);
        self.handle_time();
    }

    /// Puts what is committed and durable into the output, within the window.
    pub(crate) fn hand_out_committed(&mut self) {
        if self.apply.is_installing() {
            return;
        }
        let mut last = self.commit_index.min(self.persister.durable_index());
        if bug(Bug::AppliesWhatIsNotDurable) {
            last = self.commit_index;
        }
        if self.is_witness() {
            self.apply.skip_to(last);
            return self.log.evict(last, self.options.cache_bytes_max);
        }
        while self.apply.handed_out < last {
            let room =
                self.options.apply_window_bytes_max.saturating_sub(self.apply.unapplied_bytes);
            if room == 0 {
                break;
            }
            let from = self.apply.handed_out.next();
            let Some(entries) = self.log.read(from, last, room) else {
                let bytes_max = room.min(self.options.window_bytes_max);
                self.fetch(Fetch { from, to: last.next(), bytes_max });
                break;
            };
            self.hand_out(entries);
        }
        self.log.evict(self.apply.handed_out, self.options.cache_bytes_max);
    }

    fn hand_out(&mut self, entries: Entries) {
        assert!(
            entries.first().is_some_and(|first| first.id.index == self.apply.handed_out.next()),
            "entries are handed out in order and without a gap"
        );
        self.apply.hand_out(&entries);
        if self.output.committed.is_empty() {
            self.output.committed = entries;
        } else {
            let before = core::mem::take(&mut self.output.committed);
            let count = before.len() + entries.len();
            self.output.committed = Entries::gather(count, [before, entries]);
        }
    }

    /// Asks for old entries, once.
    pub(crate) fn fetch(&mut self, fetch: Fetch) {
        if !self.fetching.contains(&fetch.from) {
            self.fetching.push(fetch.from);
            self.output.fetches.push(fetch);
        }
    }

    /// Old entries came back from the log, for the state machine, for followers, or for both.
    pub(crate) fn handle_fetched(&mut self, from: LogIndex, mut entries: Vec<Entry>) {
        self.fetching.retain(|asked| *asked != from);
        if let RoleState::Leader(leader) = &mut self.role {
            let of_this = leader.books_mut().filter(|book| book.reads_from == Some(from));
            of_this.for_each(|book| book.reads_from = None);
        }
        if from <= self.log.mark().index {
            return; // Compacted, or replaced by a snapshot, since it was asked for.
        }
        // The log may have been cut and written anew since; then the answer ends where it differs.
        let valid = entries.iter().take_while(|entry| self.log.contains(entry.id)).count();
        entries.truncate(valid);
        let mut entries = Entries::from(entries);
        let Some(first) = entries.first() else { return };
        assert!(first.id.index == from, "a fetch from {from} was answered from {}", first.id.index);
        self.send_fetched(&entries);
        self.answer_pulls(&entries);
        let last = self.commit_index.min(self.persister.durable_index());
        if from == self.apply.handed_out.next() && !self.apply.is_installing() {
            entries.truncate(entries.iter().take_while(|entry| entry.id.index <= last).count());
            if !entries.is_empty() {
                self.hand_out(entries);
            }
        }
    }

    /// The state machine has caught up; memory that was kept for it may go.
    pub(crate) fn handle_applied(&mut self, index: LogIndex) {
        assert!(
            index <= self.apply.handed_out,
            "index {index} was applied, but only {} handed out",
            self.apply.handed_out
        );
        // S2: what was applied before a snapshot came may be reported after it.
        self.apply.applied_to(index);
        self.log.evict(self.apply.handed_out, self.options.cache_bytes_max);
    }

    pub(crate) fn handle_snapshot_installed(&mut self, mark: &SnapshotMark) {
        if self.apply.end_installation(mark) {
            let last = mark.last;
            self.record(|| Event::SnapshotInstalled { last });
            self.reset_election_timer();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Configuration, Input, NodeId, Options, Restored, Tick};

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.id.index.0).collect()
    }

    /// A state machine that is slow is handed no more than the window, and the rest when it has
    /// caught up.
    #[test]
    fn no_more_than_the_window_is_handed_out() {
        // The no-op and two commands of one byte: 32 + 33 + 33.
        let options = Options { apply_window_bytes_max: 98, ..Options::new(NodeId(1), 1) };
        let voters = Configuration::of_voters([NodeId(1)]);
        let mut node = Node::new(options, Restored::bootstrap(voters)).expect("sound options");
        let settle = |node: &mut Node| {
            let mut committed = Vec::new();
            for _ in 0..4 {
                let output = node.take_output();
                committed.extend(output.committed);
                for persist in output.persists {
                    node.handle(Tick(0), Input::Persisted(persist.number));
                }
            }
            indexes(&committed)
        };
        node.handle(Tick(0), Input::Tick);
        assert_eq!(settle(&mut node), [1]);
        let commands = alloc::vec!["a".into(), "b".into(), "c".into(), "d".into()];
        node.propose(Tick(0), commands).expect("it leads");
        assert_eq!(settle(&mut node), [2, 3]);
        assert_eq!(node.commit_index, LogIndex(5));
        node.handle(Tick(0), Input::Applied(LogIndex(1)));
        assert_eq!(settle(&mut node), [4]);
        node.handle(Tick(0), Input::Applied(LogIndex(4)));
        assert_eq!(settle(&mut node), [5]);
    }
}
