//! What worlds of each kind count: one table, which a long run must fill, and beside which nothing
//! is counted. A name that is met and is not in it would be exempt, and nobody would notice.

use std::collections::BTreeSet;

use super::Level;
use crate::Census;
use crate::chaos::{CORE_FAULTS, FaultKind, HOST_EFFECTS, HOST_FAULTS, HOST_SOMETIMES};
use crate::core::{CORE_EFFECTS, CORE_SOMETIMES};

/// Worlds of a run that is long enough to have met everything that is not rare.
pub(super) const LONG_RUN_WORLDS: u64 = 1000;

/// What is too rare for a thousand worlds, and the number that should meet it.
const RARE: &[(&str, u64)] = &[
    // A witness's vote completes a quorum, a voter has lost its disk, and the leader that began to
    // change the members is gone, all at the end of the faults: once in some tens of thousands.
    (crate::core::WAITS_FOR_GOOD, 200_000),
];

impl Level {
    /// The kinds of faults that such worlds know.
    #[must_use]
    pub fn faults(self) -> &'static [FaultKind] {
        match self {
            Self::Core => &CORE_FAULTS,
            Self::Hosts => &HOST_FAULTS,
        }
    }

    /// Rare meetings.
    #[must_use]
    pub fn sometimes(self) -> &'static [&'static str] {
        match self {
            Self::Core => CORE_SOMETIMES,
            Self::Hosts => HOST_SOMETIMES,
        }
    }

    /// What faults did.
    #[must_use]
    pub fn effects(self) -> &'static [&'static str] {
        match self {
            Self::Core => CORE_EFFECTS,
            Self::Hosts => HOST_EFFECTS,
        }
    }

    /// Everything that is counted.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let others = self.sometimes().iter().chain(self.effects()).copied();
        self.faults().iter().map(|kind| kind.name()).chain(others)
    }

    /// What so many worlds should have met, and have not.
    pub(super) fn missing(self, census: &Census, worlds: u64) -> Vec<&'static str> {
        let worlds_of = |name: &str| {
            let rare = RARE.iter().find(|(rare, _)| *rare == name);
            rare.map_or(LONG_RUN_WORLDS, |(_, worlds)| *worlds)
        };
        let is_missing = |name: &&str| census.count(name) == 0 && worlds >= worlds_of(name);
        self.names().filter(is_missing).collect()
    }

    /// Whatever is counted is in the table.
    pub(super) fn check_names(self, census: &Census) {
        let known: BTreeSet<&str> = self.names().collect();
        for (name, _) in census.iter() {
            assert!(known.contains(name), "{self} worlds count {name:?}, which no list has");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once_and_a_rare_one_may_be_missing() {
        for level in [Level::Core, Level::Hosts] {
            let names: Vec<&str> = level.names().collect();
            let once: BTreeSet<&str> = names.iter().copied().collect();
            assert_eq!(names.len(), once.len(), "{level}: {names:?}");
        }
        let rare = RARE.iter().map(|(name, _)| *name);
        assert!(rare.clone().all(|name| Level::Core.names().any(|known| known == name)));
        let mut census = Census::default();
        assert!(Level::Core.missing(&census, LONG_RUN_WORLDS - 1).is_empty());
        let all = Level::Core.names().count();
        assert_eq!(Level::Core.missing(&census, LONG_RUN_WORLDS).len(), all - RARE.len());
        census.meet("crash");
        assert_eq!(Level::Core.missing(&census, u64::MAX).len(), all - 1);
    }

    #[test]
    #[should_panic(expected = "which no list has")]
    fn what_is_counted_beside_the_table_is_noticed() {
        let mut census = Census::default();
        census.meet("sometimes: nobody asks for it");
        Level::Hosts.check_names(&census);
    }
}
