//! Where the entries of one group are.

use std::collections::BTreeMap;

use raft::{EntryId, LogIndex, Term};
use seglog::Position;

/// Consecutive entries of one term in one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Index behind the last entry.
    pub(crate) end: u64,
    pub(crate) term: Term,
    /// The record. It may hold entries before and behind the run.
    pub(crate) position: Position,
}

/// How many runs each segment holds. A segment with none has no live entry.
pub(crate) type Live = BTreeMap<u64, usize>;

/// The runs of a group by their first index. Invariant: they do not overlap. While a log is
/// replayed there may be gaps, since entries that were copied forward come late.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    by_first: BTreeMap<u64, Run>,
}

impl Runs {
    /// Drops everything from `index` on.
    pub(crate) fn cut_from(&mut self, index: u64, live: &mut Live) {
        for run in self.by_first.split_off(&index).into_values() {
            uncount(live, run.position.segment);
        }
        if let Some(mut last) = self.by_first.last_entry() {
            let run = last.get_mut();
            run.end = run.end.min(index);
        }
    }

    /// Drops everything up to and including `index`.
    pub(crate) fn cut_upto(&mut self, index: u64, live: &mut Live) {
        while let Some(first) = self.by_first.first_entry().filter(|entry| *entry.key() <= index) {
            let run = first.remove();
            if run.end > index.saturating_add(1) {
                self.by_first.insert(index + 1, run);
                return;
            }
            uncount(live, run.position.segment);
        }
    }

    /// Adds a run of entries that are nowhere else, or that replace the same entries elsewhere.
    pub(crate) fn insert(&mut self, first: u64, run: Run, live: &mut Live) {
        debug_assert!(first < run.end, "a run has at least one entry");
        self.clear_range(first, run.end, live);
        *live.entry(run.position.segment).or_default() += 1;
        self.by_first.insert(first, run);
    }

    fn clear_range(&mut self, first: u64, end: u64, live: &mut Live) {
        // A run that begins before and reaches in, perhaps across.
        let before = self.by_first.range_mut(..first).next_back();
        if let Some((_, run)) = before
            && run.end > first
        {
            let whole = *run;
            run.end = first;
            if whole.end > end {
                *live.entry(whole.position.segment).or_default() += 1;
                self.by_first.insert(end, whole);
            }
        }
        while let Some((at, run)) = self.by_first.range(first..end).next().map(|(k, v)| (*k, *v)) {
            self.by_first.remove(&at);
            if run.end > end {
                self.by_first.insert(end, run);
            } else {
                uncount(live, run.position.segment);
            }
        }
    }

    pub(crate) fn clear(&mut self, live: &mut Live) {
        for run in std::mem::take(&mut self.by_first).into_values() {
            uncount(live, run.position.segment);
        }
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<EntryId> {
        let (_, run) = self.by_first.last_key_value()?;
        Some(EntryId { term: run.term, index: LogIndex(run.end - 1) })
    }

    /// Runs that hold entries of `from..to`, in order.
    pub(crate) fn range(&self, from: u64, to: u64) -> impl DoubleEndedIterator<Item = (u64, &Run)> {
        let start = self.by_first.range(..=from).next_back().map_or(from, |(first, _)| *first);
        self.by_first
            .range(start..to.max(start))
            .map(|(first, run)| (*first, run))
            .filter(move |(_, run)| run.end > from)
    }

    /// The first index that is missing behind `mark`, if the runs are not without a gap.
    pub(crate) fn gap_behind(&self, mark: u64) -> Option<u64> {
        let mut next = mark + 1;
        for (first, run) in &self.by_first {
            if *first != next {
                return Some(next);
            }
            next = run.end;
        }
        None
    }

    /// Where each term begins.
    pub(crate) fn term_runs(&self) -> Vec<(LogIndex, Term)> {
        let mut terms: Vec<(LogIndex, Term)> = Vec::new();
        for (first, run) in &self.by_first {
            if terms.last().is_none_or(|(_, term)| *term != run.term) {
                terms.push((LogIndex(*first), run.term));
            }
        }
        terms
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Run)> {
        self.by_first.iter().map(|(first, run)| (*first, run))
    }
}

fn uncount(live: &mut Live, segment: u64) {
    let Some(count) = live.get_mut(&segment) else {
        panic!("segment {segment} gives up a run that it was not known to hold");
    };
    *count -= 1;
    if *count == 0 {
        live.remove(&segment);
    }
}
