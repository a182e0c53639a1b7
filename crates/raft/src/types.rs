//! The small words of the protocol: newtypes, so that two integers of one unit never change places.

use core::fmt;

/// A member of the group. Chosen once and never used again, not even after removal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// Tells two disks of one node apart: a random number that the host draws when it makes a data
/// folder, and keeps in it. 0 is unknown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u64);

/// A leader's reign (Raft §5.1). Term 0 is before the first election.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

/// A place in the log (Raft §5.3). The first entry is at 1; 0 is the place before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogIndex(pub u64);

/// Time as the core knows it: a count of ticks that never goes back. The host says how long a tick
/// is, and every duration in [`Options`](crate::Options) is given in the same ticks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

/// The name of an entry. Two entries with the same name are the same entry, and so are all before
/// them: the Log Matching property (Raft §5.3).
///
/// The order is the "at least as up-to-date" order of Raft §5.4.1: by term, then by index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId {
    /// The term of the leader that created the entry.
    pub term: Term,
    /// The place of the entry in the log.
    pub index: LogIndex,
}

impl Incarnation {
    /// Whether it tells anything.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.0 != 0
    }
}

impl Term {
    /// The next term. Panics on overflow, which would take 2⁶⁴ elections.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a term beyond 2^64 cannot be reached by elections"))
    }
}

impl LogIndex {
    /// The index after this one. Panics on overflow, which would take 2⁶⁴ entries.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("an index beyond 2^64 cannot be reached by appending"))
    }

    /// The index before this one, or 0 for 0.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl Tick {
    /// The moment `ticks` later.
    #[must_use]
    pub fn after(self, ticks: u64) -> Self {
        Self(self.0.saturating_add(ticks))
    }
}

impl EntryId {
    /// The name of the entry at `index` that was created in `term`.
    #[must_use]
    pub fn new(term: u64, index: u64) -> Self {
        Self { term: Term(term), index: LogIndex(index) }
    }
}

macro_rules! display_as_number {
    ($($name:ident $prefix:literal),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                self.0.fmt(f)
            }
        }
    )*};
}
display_as_number!(NodeId "n", Incarnation "incarnation ", Term "t", LogIndex "i", Tick "tick ");

/// Written as the scripts write it: `index@term`.
impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
