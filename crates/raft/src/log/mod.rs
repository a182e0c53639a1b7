//! The log as the protocol sees it: which entry is at which index, and the recent ones in full.
//!
//! The log on disk is the host's. This view knows the term of *every* index behind the mark
//! ([`terms`]) and keeps a recent tail in memory ([`cache`]), so that the core never waits for a
//! disk: what it does not have, it asks for with a [`Fetch`](crate::Fetch).

pub(crate) mod cache;
pub(crate) mod slice;
pub(crate) mod terms;

use self::cache::Cache;
use self::terms::TermRuns;
use crate::{Entries, EntryId, LogIndex, Restored, RestoredFault, Term};

/// The view. What is durable of it is the business of [`persist`](crate::persist).
///
/// Invariant: `mark.index <= last.index`, and both have the term that `terms` says.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Log {
    mark: EntryId,
    last: EntryId,
    terms: TermRuns,
    cache: Cache,
}

impl Log {
    pub(crate) fn restore(restored: &Restored) -> Result<Self, RestoredFault> {
        let mark = restored.mark.last;
        let last = restored.last;
        if last.index < mark.index || (last.index == mark.index && last.term != mark.term) {
            return Err(RestoredFault::LastBeforeMark);
        }
        let mut log = Self { mark, last, terms: TermRuns::new(mark), cache: Cache::default() };
        let mut before = mark;
        for &(first, term) in &restored.term_runs {
            // A run that began before the mark goes on behind it.
            let id = EntryId { term, index: first.max(mark.index.next()) };
            if id.index > last.index || id.term < before.term || id.index < before.index {
                return Err(RestoredFault::TermRuns);
            }
            log.terms.append(id);
            before = id;
        }
        if log.terms.term_at(last.index) != last.term {
            return Err(RestoredFault::TermRuns);
        }
        log.restore_cache(&restored.entries)?;
        Ok(log)
    }

    fn restore_cache(&mut self, entries: &[crate::Entry]) -> Result<(), RestoredFault> {
        let Some(last) = entries.last() else { return Ok(()) };
        if last.id != self.last {
            return Err(RestoredFault::Entries);
        }
        let consecutive =
            entries.windows(2).all(|pair| pair[0].id.index.next() == pair[1].id.index);
        let known =
            entries.iter().all(|entry| entry.id.index > self.mark.index && self.contains(entry.id));
        if !consecutive || !known {
            return Err(RestoredFault::Entries);
        }
        self.cache.push(entries.iter().cloned().collect());
        Ok(())
    }

    /// The last entry that a snapshot stands for; the log proper begins behind it.
    pub(crate) fn mark(&self) -> EntryId {
        self.mark
    }

    pub(crate) fn last(&self) -> EntryId {
        self.last
    }

    /// The name of the entry at `index`; `None` before the mark and behind the end.
    pub(crate) fn id_at(&self, index: LogIndex) -> Option<EntryId> {
        (self.mark.index <= index && index <= self.last.index)
            .then(|| EntryId { term: self.terms.term_at(index), index })
    }

    /// Whether the log, or the place of its mark, is this entry.
    pub(crate) fn contains(&self, id: EntryId) -> bool {
        self.id_at(id.index) == Some(id)
    }

    /// The largest entry at or before `index` whose term is at most `term`; the mark if there is
    /// none. Both sides of the fast back-off use it (Raft §5.3, last paragraphs).
    pub(crate) fn last_at_most(&self, index: LogIndex, term: Term) -> EntryId {
        let index = index.min(self.last.index);
        self.terms.last_at_most(index, term).unwrap_or(self.mark)
    }

    /// Appends entries that follow the end.
    pub(crate) fn append(&mut self, entries: Entries) {
        for entry in &entries {
            assert!(
                entry.id.index == self.last.index.next(),
                "an append leaves no hole: {} behind {}",
                entry.id,
                self.last
            );
            self.terms.append(entry.id);
            self.last = entry.id;
        }
        self.cache.push(entries);
    }

    /// Drops `from` and all behind it.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        self.terms.truncate(from);
        self.cache.truncate(from);
        let index = from.previous();
        self.last = EntryId { term: self.terms.term_at(index), index };
    }

    /// Forgets everything: the log is empty behind `mark`.
    pub(crate) fn reset(&mut self, mark: EntryId) {
        self.cache.clear();
        self.terms = TermRuns::new(mark);
        self.mark = mark;
        self.last = mark;
    }

    /// Moves the mark forward to `index`; the entries behind it stay.
    pub(crate) fn compact(&mut self, index: LogIndex) -> EntryId {
        let mark = EntryId { term: self.terms.term_at(index), index };
        self.terms.compact(mark);
        self.mark = mark;
        // Entries up to the mark are gone from disk; a budget of zero drops them here too.
        self.cache.evict(index, 0);
        mark
    }

    /// Entries of `from..=last` within the budget, if they are in memory.
    #[inline]
    pub(crate) fn read(&self, from: LogIndex, last: LogIndex, bytes_max: usize) -> Option<Entries> {
        self.cache.read(from, last, bytes_max)
    }

    /// Makes what lies at `from` and behind one run, for all who will read it.
    #[inline]
    pub(crate) fn gather(&mut self, from: LogIndex) {
        self.cache.gather(from);
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    #[inline]
    pub(crate) fn evict(&mut self, upto: LogIndex, bytes_max: usize) {
        self.cache.evict(upto, bytes_max);
    }
}
