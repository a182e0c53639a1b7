//! AppendEntries that arrived before what they follow (braft, PolarFS).
//!
//! Where a leader's messages come by several ways, a later one may overtake an earlier one. The
//! consistency check would refuse it, and the leader would probe and send everything once more,
//! though nothing was lost. With [`reorder_bytes_max`](crate::Options::reorder_bytes_max) a
//! follower keeps such a message for as long as a heartbeat takes, and looks at it again when the
//! log has grown up to it:
//!
//! ```text
//!   log    1 2 3            kept    6 7 behind 5,  8 behind 7
//!   comes  4 5 behind 3     then    4 5, 6 7 and 8 are appended in this order
//! ```
//!
//! Nothing is taken on trust: what was kept is handled as if it came now, with every check. What
//! was kept speaks for a leader of this term, and is forgotten with the term. If the gap is not
//! closed in time, the first of what waits is refused as it would have been at once. An
//! AppendEntries without entries is a question, and is answered at once.
//!
//! It is off by default: over one ordered connection a gap means that something was lost, and
//! waiting would only cost time. Shown by `tests/order.rs`.

use alloc::collections::BTreeMap;

use crate::seeded::{Bug, bug};
use crate::{Entries, Entry, EntryId, Event, LogIndex, Node, NodeId, Tick};

/// A message that waits.
#[derive(Clone, Debug, Hash)]
struct Ahead {
    prev: EntryId,
    commit_index: LogIndex,
    session: u64,
    entries: Entries,
    size_bytes: usize,
}

/// Messages of this term's leader that wait for what they follow, by the index of that.
///
/// Invariant: what they follow is behind the end of the log.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Reordered {
    waiting: BTreeMap<LogIndex, Ahead>,
    /// Invariant: the sum over `waiting`.
    size_bytes: usize,
    /// When the first of them is refused.
    pub(crate) give_up_at: Option<Tick>,
}

impl Reordered {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn take_first(&mut self, upto: LogIndex) -> Option<Ahead> {
        let first = self.waiting.first_entry().filter(|first| *first.key() <= upto)?.remove();
        self.size_bytes -= first.size_bytes;
        Some(first)
    }

    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// What the first of them follows.
    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn first(&self) -> Option<LogIndex> {
        self.waiting.first_key_value().map(|(index, _)| *index)
    }
}

impl Node {
    /// Figure 2, AppendEntries, receiver; and then what was waiting for just that.
    pub(crate) fn handle_append_entries(
        &mut self,
        from: NodeId,
        prev: EntryId,
        leader_commit: LogIndex,
        session: u64,
        entries: Entries,
    ) {
        self.take_append(from, prev, leader_commit, session, entries);
        self.take_what_waited(from);
    }

    /// The log has grown, by whatever way: the leader's messages that waited for that are due.
    pub(crate) fn take_what_waited(&mut self, leader: NodeId) {
        if self.reordered.waiting.is_empty() {
            return;
        }
        while let Some(ahead) = self.reordered.take_first(self.log.last().index) {
            let Ahead { prev, commit_index, session, entries, .. } = ahead;
            self.take_append(leader, prev, commit_index, session, entries);
        }
        if self.reordered.waiting.is_empty() {
            self.reordered.give_up_at = None;
        }
    }

    /// Keeps what follows something behind the end of the log, if there is room.
    pub(crate) fn keep_for_later(
        &mut self,
        prev: EntryId,
        commit_index: LogIndex,
        session: u64,
        entries: Entries,
    ) -> bool {
        let size_bytes: usize = entries.iter().map(Entry::size_bytes).sum();
        let room = self.options.reorder_bytes_max.saturating_sub(self.reordered.size_bytes);
        let fits = size_bytes <= room || bug(Bug::OvertakersGatherForEver) && room > 0;
        let is_known = self.reordered.waiting.contains_key(&prev.index);
        if entries.is_empty() || prev.index <= self.log.last().index || is_known || !fits {
            return false;
        }
        let until = self.now.after(self.options.heartbeat_interval_ticks);
        self.reordered.give_up_at.get_or_insert(until);
        self.reordered.size_bytes += size_bytes;
        let ahead = Ahead { prev, commit_index, session, entries, size_bytes };
        self.reordered.waiting.insert(prev.index, ahead);
        self.record(|| Event::KeptForLater { prev });
        true
    }

    /// What is missing does not come: the leader is told.
    #[inline]
    pub(crate) fn refuse_reordered(&mut self) {
        if self.reordered.give_up_at.is_some_and(|at| at <= self.now) {
            self.refuse_first_reordered();
        }
    }

    #[cold]
    fn refuse_first_reordered(&mut self) {
        let first = self.reordered.waiting.pop_first();
        self.reordered.clear();
        if let (Some((_, first)), Some(leader_id)) = (first, self.leader_id()) {
            self.reject_append(leader_id, first.session, first.prev);
        }
    }
}
