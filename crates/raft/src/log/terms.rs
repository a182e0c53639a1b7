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
#[derive(Clone, Debug, Hash)]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jitter::Jitter;

    /// The dumbest way to keep terms: one for each index, from the mark on.
    fn oracle(terms: &[u64], mark: u64, index: u64, term: u64) -> Option<EntryId> {
        let all = terms.iter().zip(mark..);
        let fitting = all.filter(|(of, at)| **of <= term && *at <= index);
        fitting.last().map(|(of, at)| EntryId::new(*of, at))
    }

    fn check(runs: &TermRuns, terms: &[u64], mark: u64) {
        for (term, index) in terms.iter().zip(mark..) {
            assert_eq!(runs.term_at(LogIndex(index)), Term(*term));
            for limit in 0..8 {
                let found = runs.last_at_most(LogIndex(index), Term(limit));
                assert_eq!(found, oracle(terms, mark, index, limit), "{runs:?}");
            }
        }
    }

    #[test]
    fn runs_say_what_a_term_for_each_index_says() {
        let mut dice = Jitter::new(1);
        for _ in 0..500 {
            let mut mark = dice.next() % 3;
            let mut terms = alloc::vec![dice.next() % 3];
            let mut runs = TermRuns::new(EntryId::new(terms[0], mark));
            for _ in 0..12 {
                let last = mark + u64::try_from(terms.len()).unwrap() - 1;
                match dice.next() % 6 {
                    0 if last > mark => {
                        let from = mark + 1 + dice.next() % (last - mark);
                        runs.truncate(LogIndex(from));
                        terms.truncate(usize::try_from(from - mark).unwrap());
                    }
                    1 if last > mark => {
                        let to = mark + dice.next() % (last - mark + 1);
                        terms.drain(..usize::try_from(to - mark).unwrap());
                        mark = to;
                        runs.compact(EntryId::new(terms[0], mark));
                    }
                    _ => {
                        terms.push(terms.last().unwrap() + dice.next() % 2);
                        runs.append(EntryId::new(*terms.last().unwrap(), last + 1));
                    }
                }
                check(&runs, &terms, mark);
            }
        }
    }
}
