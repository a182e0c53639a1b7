//! The term of every index, in a few words: a log of a million entries has a handful of terms.

use alloc::vec::Vec;

use crate::{EntryId, LogIndex, Term};

/// Where each term begins, from the mark to the end of the log.
///
/// ```text
///   index   10  11  12  13  14  15        mark at 10
///   term     2   2   2   5   5   6        runs: (10, 2) (13, 5) (15, 6)
/// ```
///
/// Invariant: never empty; the first run begins at the mark; indexes and terms strictly rise.
#[derive(Clone, Debug)]
pub(crate) struct TermRuns(Vec<(LogIndex, Term)>);

impl TermRuns {
    pub(crate) fn new(mark: EntryId) -> Self {
        Self(alloc::vec![(mark.index, mark.term)])
    }

    /// The term at `index`, which must be between the mark and the end of the log.
    pub(crate) fn term_at(&self, index: LogIndex) -> Term {
        // Nearly every question is about the newest term.
        let (first, term) = self.newest();
        if index >= first {
            return term;
        }
        let behind = self.0.partition_point(|(first, _)| *first <= index);
        assert!(behind > 0, "the term of index {index} was asked for, which is before the mark");
        self.0[behind - 1].1
    }

    fn newest(&self) -> (LogIndex, Term) {
        *self.0.last().expect("the run of the mark is never removed")
    }

    /// Takes note of an entry behind the end of the log.
    pub(crate) fn append(&mut self, id: EntryId) {
        let (_, newest) = self.newest();
        assert!(id.term >= newest, "terms in a log never fall: {id} behind term {newest}");
        if id.term > newest {
            self.0.push((id.index, id.term));
        }
    }

    /// Forgets `from` and all behind it; `from` is behind the mark.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        assert!(from > self.0[0].0, "a truncation from {from} would remove the mark");
        while self.newest().0 >= from {
            self.0.pop();
        }
    }

    /// Forgets what is before the new mark.
    pub(crate) fn compact(&mut self, mark: EntryId) {
        let behind = self.0.partition_point(|(first, _)| *first <= mark.index);
        self.0.drain(..behind - 1);
        self.0[0].0 = mark.index;
    }

    /// The largest index at or before `index` whose term is at most `term`, if the log has one.
    pub(crate) fn last_at_most(&self, index: LogIndex, term: Term) -> Option<EntryId> {
        let mut end = index;
        for &(first, run_term) in self.0.iter().rev() {
            if first <= end {
                if run_term <= term {
                    return Some(EntryId { term: run_term, index: end });
                }
                end = first.previous();
            }
        }
        None
    }
}
