//! What worlds of each kind count: one table, which a long run must fill, and beside which nothing
//! is counted. A name that is met and is not in it would be exempt, and nobody would notice.

use std::collections::BTreeSet;

use super::Level;
use crate::Census;
use crate::chaos::{CORE_FAULTS, FaultKind, HOST_EFFECTS, HOST_FAULTS, HOST_SOMETIMES};
use crate::core::{CORE_EFFECTS, CORE_EXCUSES, CORE_SOMETIMES};

/// Worlds of a run that is long enough to have met everything.
pub(super) const LONG_RUN_WORLDS: u64 = 1000;

/// At most one world in so many may be excused, or the simulator looks away too often.
pub(super) const WORLDS_PER_EXCUSE_MIN: u64 = 1000;

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

    /// Why a world of this kind may end before all that is asked of it: states that no group gets
    /// out of by itself. No run has to meet them; a test makes each.
    #[must_use]
    pub fn excuses(self) -> &'static [&'static str] {
        match self {
            Self::Core => CORE_EXCUSES,
            Self::Hosts => &[],
        }
    }

    /// Everything that a long run must meet.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let others = self.sometimes().iter().chain(self.effects()).copied();
        self.faults().iter().map(|kind| kind.name()).chain(others)
    }

    /// What so many worlds should have met, and have not.
    pub(super) fn missing(self, census: &Census, worlds: u64) -> Vec<&'static str> {
        if worlds < LONG_RUN_WORLDS {
            return Vec::new();
        }
        self.names().filter(|name| census.count(name) == 0).collect()
    }

    /// Whether more of so many worlds were excused than should be.
    pub(super) fn is_excused_too_often(self, census: &Census, worlds: u64) -> bool {
        let excused: u64 = self.excuses().iter().map(|name| census.count(name)).sum();
        worlds >= LONG_RUN_WORLDS && excused * WORLDS_PER_EXCUSE_MIN > worlds
    }

    /// Whatever is counted is in the table.
    pub(super) fn check_names(self, census: &Census) {
        let excuses = self.excuses().iter().copied();
        let known: BTreeSet<&str> = self.names().chain(excuses).collect();
        for (name, _) in census.iter() {
            assert!(known.contains(name), "{self} worlds count {name:?}, which no list has");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once_and_none_may_be_missing() {
        for level in [Level::Core, Level::Hosts] {
            let excuses = level.excuses().iter().copied();
            let names: Vec<&str> = level.names().chain(excuses).collect();
            let once: BTreeSet<&str> = names.iter().copied().collect();
            assert_eq!(names.len(), once.len(), "{level}: {names:?}");
        }
        let mut census = Census::default();
        assert!(Level::Core.missing(&census, LONG_RUN_WORLDS - 1).is_empty());
        let all = Level::Core.names().count();
        assert_eq!(Level::Core.missing(&census, LONG_RUN_WORLDS).len(), all);
        census.meet("crash");
        assert_eq!(Level::Core.missing(&census, u64::MAX).len(), all - 1);
    }

    #[test]
    fn worlds_are_excused_once_in_a_thousand_at_most() {
        let mut census = Census::default();
        census.meet(CORE_EXCUSES[0]);
        Level::Core.check_names(&census);
        assert!(
            !Level::Core.is_excused_too_often(&census, LONG_RUN_WORLDS - 1),
            "too short to say"
        );
        assert!(!Level::Core.is_excused_too_often(&census, 1999));
        census.meet(CORE_EXCUSES[0]);
        assert!(Level::Core.is_excused_too_often(&census, 1999));
    }

    #[test]
    #[should_panic(expected = "which no list has")]
    fn what_is_counted_beside_the_table_is_noticed() {
        let mut census = Census::default();
        census.meet("sometimes: nobody asks for it");
        Level::Hosts.check_names(&census);
    }
}
