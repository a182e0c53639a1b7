//! Consecutive entries that many hold and nobody copies.
//!
//! An entry goes to the log in memory, to the disk, to every follower and to the state machine. A
//! copy for each of them would cost more than all the rest of the protocol: a reference counted
//! up and down for every command, eight times over three nodes. So a run of entries is counted as
//! a whole, and a part of it is the same run with other ends.

use alloc::sync::Arc;
use alloc::vec::{self, Vec};
use core::fmt;
use core::ops::{Deref, Range};

use crate::Entry;

/// A run of entries, or a part of one, that is shared and never changes. Reads like a slice; to
/// clone it costs nothing that depends on its length. It keeps the whole run in memory of which it
/// is a part.
#[derive(Clone, Default)]
pub struct Entries {
    /// `None` for no entries, which are most messages' and outputs'.
    run: Option<Arc<Vec<Entry>>>,
    /// Invariant: within the run.
    begin: usize,
    /// Invariant: within the run, at or behind `begin`.
    end: usize,
}

impl Entries {
    /// No entries.
    #[must_use]
    pub const fn new() -> Self {
        Self { run: None, begin: 0, end: 0 }
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
    pub(crate) fn advance(&mut self, count: usize) {
        self.begin = self.end.min(self.begin + count);
    }

    /// The entries as a list of one's own: moved if nobody else holds them, copied otherwise.
    #[must_use]
    pub fn into_vec(self) -> Vec<Entry> {
        let (begin, end) = (self.begin, self.end);
        let Some(run) = self.run else { return Vec::new() };
        match Arc::try_unwrap(run) {
            Ok(mut entries) => {
                entries.truncate(end);
                entries.drain(..begin);
                entries
            }
            Err(shared) => shared[begin..end].to_vec(),
        }
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        self.run.as_ref().map_or(&[], |run| &run[self.begin..self.end])
    }
}

impl AsRef<[Entry]> for Entries {
    fn as_ref(&self) -> &[Entry] {
        self
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Self {
        let end = entries.len();
        Self { run: (end > 0).then(|| Arc::new(entries)), begin: 0, end }
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Vec::from_iter(entries).into()
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

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EntryId, Payload};

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

    #[test]
    #[should_panic(expected = "places 1..5 of 4 entries")]
    fn nothing_is_behind_the_end() {
        drop(run(4).slice(1..5));
    }
}
