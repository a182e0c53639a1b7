//! Consecutive entries that many hold and nobody copies.
//!
//! An entry goes to the log in memory, to the disk, to every follower and to the state machine. A
//! copy for each of them would cost more than all the rest of the protocol: a reference counted
//! up and down for every command, eight times over three nodes. So a run of entries is counted as
//! a whole, and a part of it is the same run with other ends.

use alloc::sync::Arc;
use alloc::vec::{self, Vec};
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::{Deref, Range};

use crate::{Entry, EntryId, Payload};

/// A run of entries, or a part of one, that is shared and never changes. Reads like a slice; to
/// clone it costs nothing that depends on its length. It keeps the whole run in memory of which it
/// is a part.
#[derive(Clone, Default)]
pub struct Entries {
    /// The entries lie beside their count: whoever looks at one goes one step, and a run costs one
    /// allocation. Nothing in most messages and outputs.
    run: Option<Arc<[Entry]>>,
    /// Invariant: within the run.
    begin: usize,
    /// Invariant: within the run, at or behind `begin`.
    end: usize,
}

impl Entries {
    /// No entries.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self { run: None, begin: 0, end: 0 }
    }

    fn of(run: Arc<[Entry]>) -> Self {
        let end = run.len();
        if end == 0 { Self::new() } else { Self { run: Some(run), begin: 0, end } }
    }

    /// How many there are, which can be said without a look at them.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.begin
    }

    /// Whether there are none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.end == self.begin
    }

    /// A part of these, by places. Panics if `places` reaches beyond the end, as a slice does.
    #[must_use]
    pub fn slice(&self, places: Range<usize>) -> Self {
        assert!(
            places.start <= places.end && places.end <= self.len(),
            "places {places:?} of {} entries",
            self.len()
        );
        if places.is_empty() {
            return Self::new();
        }
        let begin = self.begin + places.start;
        Self { run: self.run.clone(), begin, end: begin + places.len() }
    }

    /// Drops all behind the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.begin + len);
    }

    /// Drops the first `count`, or all.
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        self.begin = self.end.min(self.begin + count);
    }

    /// The entries as a list of one's own: moved if nobody else holds them, copied otherwise.
    #[must_use]
    pub fn into_vec(self) -> Vec<Entry> {
        let Some(mut run) = self.run else { return Vec::new() };
        let places = self.begin..self.end;
        let Some(own) = Arc::get_mut(&mut run) else { return run[places].to_vec() };
        let taken = |entry: &mut Entry| Entry {
            id: entry.id,
            payload: core::mem::replace(&mut entry.payload, Payload::Noop),
        };
        own[places].iter_mut().map(taken).collect()
    }

    /// These runs as one, of `count` entries together. The entries change places with nothing in
    /// the new run, or are copied if somebody else holds them: a list in between would have to be
    /// copied as well, since the entries are to lie behind their counts.
    pub(crate) fn gather(count: usize, runs: impl IntoIterator<Item = Self>) -> Self {
        let nothing = |_| Entry { id: EntryId::default(), payload: Payload::Noop };
        let mut gathered: Arc<[Entry]> = (0..count).map(nothing).collect();
        let mut room = Arc::get_mut(&mut gathered).expect("nobody else has it yet");
        for entries in runs {
            let (here, behind) = room.split_at_mut(entries.len());
            entries.move_to(here);
            room = behind;
        }
        assert!(room.is_empty(), "as many entries as were counted");
        Self::of(gathered)
    }

    fn move_to(self, room: &mut [Entry]) {
        let Some(mut run) = self.run else { return };
        let places = self.begin..self.end;
        match Arc::get_mut(&mut run) {
            Some(own) => room.swap_with_slice(&mut own[places]),
            None => room.clone_from_slice(&run[places]),
        }
    }
}

impl Deref for Entries {
    type Target = [Entry];

    #[inline]
    fn deref(&self) -> &[Entry] {
        self.run.as_ref().map_or(&[], |run| &run[self.begin..self.end])
    }
}

impl AsRef<[Entry]> for Entries {
    fn as_ref(&self) -> &[Entry] {
        self
    }
}

impl From<Entry> for Entries {
    fn from(entry: Entry) -> Self {
        Self { run: Some(Arc::new([entry])), begin: 0, end: 1 }
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Self {
        Self::of(entries.into())
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut entries = entries.into_iter();
        let (least, most) = entries.size_hint();
        if Some(least) == most && least > 1 {
            return Self::of(entries.collect());
        }
        // Who cannot say how many there are would be gathered in a list first; there may be one.
        let Some(first) = entries.next() else { return Self::new() };
        let Some(second) = entries.next() else { return first.into() };
        let mut all = Vec::with_capacity(2 + entries.size_hint().0);
        all.extend([first, second].into_iter().chain(entries));
        all.into()
    }
}

impl IntoIterator for Entries {
    type Item = Entry;
    type IntoIter = vec::IntoIter<Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_vec().into_iter()
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = core::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Equal entries, whoever holds them.
impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

/// As equality has it: of the entries, whoever holds them.
impl Hash for Entries {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (**self).hash(hasher);
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(len: u64) -> Entries {
        (1..=len)
            .map(|index| Entry { id: EntryId::new(1, index), payload: Payload::Noop })
            .collect()
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.id.index.0).collect()
    }

    #[test]
    fn a_part_is_the_same_run_with_other_ends() {
        let mut part = run(6).slice(1..5);
        assert_eq!(indexes(&part), [2, 3, 4, 5]);
        assert_eq!(indexes(&part.slice(1..3)), [3, 4]);
        part.truncate(3);
        part.advance(1);
        assert_eq!(indexes(&part), [3, 4]);
        part.truncate(9);
        assert_eq!(indexes(&part), [3, 4]);
        part.advance(9);
        assert!(part.is_empty() && part == Entries::new());
    }

    #[test]
    fn a_list_of_ones_own_is_the_part_alone() {
        let shared = run(4);
        assert_eq!(indexes(&shared.slice(1..3).into_vec()), [2, 3], "copied");
        let mut alone = run(4);
        alone.truncate(3);
        alone.advance(1);
        assert_eq!(indexes(&alone.into_vec()), [2, 3], "moved");
        assert_eq!(indexes(&shared), [1, 2, 3, 4]);
    }

    /// However they came together, and however few they are.
    #[test]
    fn a_run_of_one_is_like_any_other() {
        for len in 0..=3 {
            let entries = run(len).into_vec();
            assert_eq!(indexes(&entries), (1..=len).collect::<Vec<_>>());
            let (all, mut none) = (Entries::from(entries.clone()), Entries::from(entries));
            assert_eq!((&all, all.len()), (&run(len), none.len()));
            assert_eq!(all.slice(0..all.len()).into_vec(), all.clone().into_vec(), "copied");
            none.advance(none.len());
            assert!(none.is_empty() && none.into_vec().is_empty());
        }
    }

    #[test]
    #[should_panic(expected = "places 1..5 of 4 entries")]
    fn nothing_is_behind_the_end() {
        drop(run(4).slice(1..5));
    }
}
