//! The recent tail of the log in memory: what followers and the state machine will want next.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::{Entry, LogIndex, Payload};

/// Consecutive entries up to the end of the log. Older ones are on disk and are fetched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    entries: VecDeque<Entry>,
    /// Invariant: the sum of [`Entry::size_bytes`] over `entries`.
    size_bytes: usize,
}

impl Cache {
    pub(crate) fn push(&mut self, entry: Entry) {
        debug_assert!(
            self.entries.back().is_none_or(|last| last.id.index.next() == entry.id.index),
            "the cache holds consecutive entries"
        );
        self.size_bytes += entry.size_bytes();
        self.entries.push_back(entry);
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.size_bytes = 0;
    }

    /// Drops `from` and all behind it.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        while self.entries.back().is_some_and(|last| last.id.index >= from) {
            self.drop_one(VecDeque::pop_back);
        }
    }

    /// Drops the oldest entries until the budget holds, but none behind `upto`.
    pub(crate) fn evict(&mut self, upto: LogIndex, bytes_max: usize) {
        while self.size_bytes > bytes_max
            && self.entries.front().is_some_and(|first| first.id.index <= upto)
        {
            self.drop_one(VecDeque::pop_front);
        }
    }

    fn drop_one(&mut self, pop: fn(&mut VecDeque<Entry>) -> Option<Entry>) {
        if let Some(entry) = pop(&mut self.entries) {
            self.size_bytes -= entry.size_bytes();
        }
    }

    /// Whether the entry at `index` is here.
    pub(crate) fn contains(&self, index: LogIndex) -> bool {
        self.place(index).is_some_and(|place| place < self.entries.len())
    }

    fn place(&self, index: LogIndex) -> Option<usize> {
        let first = self.entries.front()?.id.index;
        usize::try_from(index.0.checked_sub(first.0)?).ok()
    }

    /// The entries of `from..=last` that fit into `bytes_max`, at least one; `None` if `from` is
    /// not here.
    pub(crate) fn read(
        &self,
        from: LogIndex,
        last: LogIndex,
        bytes_max: usize,
    ) -> Option<Vec<Entry>> {
        if !self.contains(from) {
            return None;
        }
        let place = self.place(from)?;
        let mut count = 0;
        let mut bytes = 0;
        for entry in self.entries.range(place..) {
            bytes += entry.size_bytes();
            if entry.id.index > last || (count > 0 && bytes > bytes_max) {
                break;
            }
            count += 1;
        }
        Some(self.entries.range(place..place + count).cloned().collect())
    }

    /// The first command of those behind `floor`, up to `upto`. What is not here may be one.
    pub(crate) fn first_command(&self, floor: LogIndex, upto: LogIndex) -> Option<LogIndex> {
        let from = floor.next();
        let place = self.place(from).filter(|place| *place < self.entries.len());
        let Some(place) = place else { return (from <= upto).then_some(from) };
        let mut entries = self.entries.range(place..).take_while(|entry| entry.id.index <= upto);
        let is_command =
            |entry: &&Entry| matches!(entry.payload, Payload::Command(_) | Payload::Withheld);
        entries.find(is_command).map(|entry| entry.id.index)
    }

    /// Bytes of the entries of `first..=last` that are here.
    pub(crate) fn size_bytes_of(&self, first: LogIndex, last: LogIndex) -> usize {
        let Some(oldest) = self.entries.front() else { return 0 };
        let Some(begin) = self.place(first.max(oldest.id.index)) else { return 0 };
        let Some(end) = self.place(last.next()) else { return 0 };
        let end = end.min(self.entries.len());
        self.entries.range(begin.min(end)..end).map(Entry::size_bytes).sum()
    }

    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}
