//! The recent tail of the log in memory: what followers and the state machine will want next.

use alloc::collections::VecDeque;

use crate::{Entries, Entry, LogIndex};

/// Consecutive entries up to the end of the log. Older ones are on disk and are fetched.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Cache {
    /// Invariant: none is empty, and each begins where the one before ends.
    runs: VecDeque<Entries>,
    /// Invariant: the sum of [`Entry::size_bytes`] over `runs`.
    size_bytes: usize,
}

fn first_of(run: &Entries) -> LogIndex {
    run.first().map_or_else(LogIndex::default, |entry| entry.id.index)
}

fn last_of(run: &Entries) -> LogIndex {
    run.last().map_or_else(LogIndex::default, |entry| entry.id.index)
}

/// How many places `to` lies behind `from`.
fn distance(from: LogIndex, to: LogIndex) -> usize {
    usize::try_from(to.0.saturating_sub(from.0)).unwrap_or(usize::MAX)
}

/// How many of these entries, up to `last`, fit into `bytes_max`; at least one, if there is one.
fn fitting<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    last: LogIndex,
    bytes_max: usize,
) -> usize {
    let mut bytes = 0;
    let mut count = 0;
    for entry in entries {
        bytes += entry.size_bytes();
        if entry.id.index > last || (count > 0 && bytes > bytes_max) {
            break;
        }
        count += 1;
    }
    count
}

impl Cache {
    pub(crate) fn push(&mut self, entries: Entries) {
        let Some(first) = entries.first() else { return };
        debug_assert!(
            self.runs.back().is_none_or(|last| last_of(last).next() == first.id.index),
            "the cache holds consecutive entries"
        );
        self.size_bytes += entries.iter().map(Entry::size_bytes).sum::<usize>();
        self.runs.push_back(entries);
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.size_bytes = 0;
    }

    /// Drops `from` and all behind it.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        while let Some(run) = self.runs.back_mut().filter(|run| last_of(run) >= from) {
            let kept = distance(first_of(run), from);
            self.size_bytes -= run[kept..].iter().map(Entry::size_bytes).sum::<usize>();
            run.truncate(kept);
            if run.is_empty() {
                self.runs.pop_back();
            }
        }
    }

    /// Drops the oldest entries until the budget holds, but none behind `upto`.
    #[inline]
    pub(crate) fn evict(&mut self, upto: LogIndex, bytes_max: usize) {
        // Asked with every output and every input, and there is nearly always room.
        if self.size_bytes > bytes_max {
            self.make_room(upto, bytes_max);
        }
    }

    #[inline(never)]
    fn make_room(&mut self, upto: LogIndex, bytes_max: usize) {
        while self.size_bytes > bytes_max {
            let Some(run) = self.runs.front_mut() else { return };
            let mut count = 0;
            for entry in run.iter().take_while(|entry| entry.id.index <= upto) {
                if self.size_bytes <= bytes_max {
                    break;
                }
                self.size_bytes -= entry.size_bytes();
                count += 1;
            }
            if count == 0 {
                return;
            }
            run.advance(count);
            if run.is_empty() {
                self.runs.pop_front();
            }
        }
    }

    /// Makes one run of all that lies at `from` or behind, so that whoever reads there shares it.
    pub(crate) fn gather(&mut self, from: LogIndex) {
        if self.runs.back().is_none_or(|newest| first_of(newest) <= from) {
            return; // One run already.
        }
        let Some((begin, _)) = self.find(from) else { return };
        let count = self.runs.range(begin..).map(Entries::len).sum();
        let gathered = Entries::gather(count, self.runs.drain(begin..));
        self.runs.push_back(gathered);
    }

    /// Whether the entry at `index` is here.
    pub(crate) fn contains(&self, index: LogIndex) -> bool {
        self.find(index).is_some()
    }

    /// The place of the run that has the entry at `index`, and the entry's place in it.
    #[inline]
    fn find(&self, index: LogIndex) -> Option<(usize, usize)> {
        // What is wanted is in the newest, mostly.
        let newest = self.runs.back()?;
        let first = first_of(newest);
        if first > index {
            return self.find_older(index);
        }
        let within = distance(first, index);
        (within < newest.len()).then(|| (self.runs.len() - 1, within))
    }

    /// The same of an entry before the newest run: look near its end before searching all.
    #[inline(never)]
    fn find_older(&self, index: LogIndex) -> Option<(usize, usize)> {
        const NEAR: usize = 4;
        let older = self.runs.len() - 1;
        let is_before = |run: &Entries| first_of(run) <= index;
        let mut near = (older.saturating_sub(NEAR)..older).rev();
        let place = near.find(|place| is_before(&self.runs[*place]));
        let place = place.or_else(|| self.runs.partition_point(is_before).checked_sub(1))?;
        Some((place, distance(first_of(&self.runs[place]), index)))
    }

    /// The entries from this place on.
    fn iter_at(&self, (run, place): (usize, usize)) -> impl Iterator<Item = &Entry> {
        self.runs.range(run..).flat_map(|run| run.iter()).skip(place)
    }

    /// The entries of `from..=last` that fit into `bytes_max`, at least one; `None` if `from` is
    /// not here. Shared if they lie in one run, copied together if not.
    #[inline]
    pub(crate) fn read(&self, from: LogIndex, last: LogIndex, bytes_max: usize) -> Option<Entries> {
        // One entry at a time is read as it was appended, and has at most one behind it.
        if from == last
            && let Some(run) = self.run_of_one(from)
        {
            debug_assert_eq!(fitting(run, last, bytes_max), 1, "one always fits");
            return Some(run.clone());
        }
        self.read_part(from, last, bytes_max)
    }

    /// The newest run, or the one before, if it is this entry alone.
    #[inline]
    fn run_of_one(&self, index: LogIndex) -> Option<&Entries> {
        let newest = self.runs.back()?;
        let run = if first_of(newest) > index {
            self.runs.get(self.runs.len().checked_sub(2)?)?
        } else {
            newest
        };
        (run.len() == 1 && first_of(run) == index).then_some(run)
    }

    #[inline(never)]
    fn read_part(&self, from: LogIndex, last: LogIndex, bytes_max: usize) -> Option<Entries> {
        let at @ (run, place) = self.find(from)?;
        let first = &self.runs[run];
        let mut count = if bytes_max == usize::MAX {
            // As for the disk: all of them, and no sizes matter.
            let end = self.runs.back().map_or(from, last_of).min(last).next();
            distance(from, end)
        } else {
            fitting(&first[place..], last, bytes_max)
        };
        if place + count == first.len() && last_of(first) < last {
            count = fitting(self.iter_at(at), last, bytes_max);
        }
        if place + count <= first.len() {
            return Some(first.slice(place..place + count));
        }
        let (mut begin, mut rest) = (place, count);
        let parts = self.runs.range(run..).map_while(|run| {
            let end = run.len().min(begin + rest);
            let part = (rest > 0).then(|| run.slice(begin..end))?;
            rest -= part.len();
            begin = 0;
            Some(part)
        });
        Some(Entries::gather(count, parts))
    }

    /// The first command of those behind `floor`, up to `upto`. What is not here may be one.
    pub(crate) fn first_command(&self, floor: LogIndex, upto: LogIndex) -> Option<LogIndex> {
        let from = floor.next();
        let Some(at) = self.find(from) else {
            return (from <= upto).then_some(from);
        };
        let mut entries = self.iter_at(at).take_while(|entry| entry.id.index <= upto);
        entries.find(|entry| entry.payload.is_command()).map(|entry| entry.id.index)
    }

    /// Bytes of the entries of `first..=last` that are here.
    pub(crate) fn size_bytes_of(&self, first: LogIndex, last: LogIndex) -> usize {
        if first == last
            && let Some([entry]) = self.run_of_one(first).map(|run| &run[..])
        {
            return entry.size_bytes();
        }
        // If the first is not here, all that is here may be behind it.
        let entries = self.iter_at(self.find(first).unwrap_or_default());
        let entries = entries.skip_while(|entry| entry.id.index < first);
        entries.take_while(|entry| entry.id.index <= last).map(Entry::size_bytes).sum()
    }

    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.runs.iter().flat_map(|run| run.iter())
    }

    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{EntryId, Payload};

    fn entries(indexes: core::ops::RangeInclusive<u64>) -> Entries {
        let entry = |index| Entry { id: EntryId::new(1, index), payload: Payload::Noop };
        indexes.map(entry).collect()
    }

    fn indexes<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<u64> {
        entries.into_iter().map(|entry| entry.id.index.0).collect()
    }

    /// Every read of a cache in several runs is that of one in a single run, whatever was cut off
    /// at either end.
    fn check(pieces: &[core::ops::RangeInclusive<u64>], front: u64, back: u64) {
        let (mut runs, mut one) = (Cache::default(), Cache::default());
        pieces.iter().cloned().map(entries).for_each(|run| runs.push(run));
        one.push(entries(3..=11));
        for cache in [&mut runs, &mut one] {
            cache.truncate(LogIndex(back));
            cache.evict(LogIndex(front), 0);
        }
        assert_eq!(indexes(runs.iter()), (front + 1..back).collect::<Vec<_>>());
        assert_eq!(runs.size_bytes(), one.size_bytes());
        for (from, last) in (0..14).flat_map(|from| (from..14).map(move |last| (from, last))) {
            let (from, last) = (LogIndex(from), LogIndex(last));
            for bytes_max in [0, 70, usize::MAX] {
                let read = runs.read(from, last, bytes_max);
                assert_eq!(read, one.read(from, last, bytes_max), "{from} to {last}");
            }
            if let Some(all) = runs.read(from, last, usize::MAX) {
                let expected: Vec<u64> = (from.0..=last.0.min(back - 1).min(11)).collect();
                assert_eq!(indexes(&all), expected, "{from} to {last}");
            }
            assert_eq!(runs.size_bytes_of(from, last), one.size_bytes_of(from, last));
            assert_eq!(runs.contains(from), one.contains(from));
            let mut gathered = runs.clone();
            gathered.gather(from);
            assert_eq!(indexes(gathered.iter()), indexes(runs.iter()));
        }
    }

    #[test]
    fn runs_are_not_seen() {
        let singles: Vec<_> = (3..=11).map(|index| index..=index).collect();
        for (front, back) in (3..=12).flat_map(|front| (front..=12).map(move |back| (front, back)))
        {
            check(&[3..=3, 4..=7, 8..=9, 10..=11], front, back);
            check(&singles, front, back);
        }
    }

    /// Gathered runs are shared by all who read behind `from`.
    #[test]
    fn what_is_gathered_is_read_without_a_copy() {
        let mut cache = Cache::default();
        [1..=2, 3..=4, 5..=6].map(entries).into_iter().for_each(|run| cache.push(run));
        cache.gather(LogIndex(3));
        let read = |from, last| cache.read(LogIndex(from), LogIndex(last), usize::MAX);
        let (all, part) = (read(3, 6).expect("cached"), read(4, 5).expect("cached"));
        assert!(core::ptr::eq(&raw const all[1], &raw const part[0]));
        assert_eq!(indexes(&all), [3, 4, 5, 6]);
    }
}
