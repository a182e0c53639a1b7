//! Whether a member that lacks a change of members has stood still for long: it answers, and writes
//! nothing, for all its leader can see.
//!
//! Looked at with each quorum check. Other than slowness (`slowness.rs`), which compares a member
//! with what is committed, this asks for a step of its own, however small: who advances is waited
//! for, and who stood still and advances again has all the time once more.
//!
//! ```text
//!   match index   3   3   4   4   4   4      the change is at 9
//!   stands           ├──┤   ├──────────┤ …
//! ```
//!
//! Who is being sent a snapshot advances where nobody sees it. When that has failed, the next one
//! is no excuse, until the member has advanced.

use crate::seeded::{Bug, bug};
use crate::{LogIndex, Tick};

/// What was seen of one member.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Standstill {
    /// Where the member was at the last check, and since which check it has been there while it
    /// lacked something.
    at: LogIndex,
    since: Option<Tick>,
    /// A snapshot did not reach it, and it has not advanced since.
    has_snapshot_failed: bool,
}

impl Standstill {
    pub(crate) fn snapshot_failed(&mut self) {
        self.has_snapshot_failed = true;
    }

    /// Looks at the member, which may lack something, and may be waiting for a snapshot.
    pub(crate) fn observe(&mut self, at: LogIndex, lacks: bool, awaits_snapshot: bool, now: Tick) {
        let has_moved = at != self.at;
        let is_still = lacks && (!has_moved || bug(Bug::WhoAdvancesIsGivenUp));
        let has_snapshot_failed = self.has_snapshot_failed && !has_moved;
        let is_excused = awaits_snapshot && !has_snapshot_failed;
        let since = match self.since {
            Some(since) if is_still && !is_excused => Some(since),
            _ => lacks.then_some(now),
        };
        *self = Self { at, since, has_snapshot_failed };
    }

    pub(crate) fn lasts(self, now: Tick, ticks: u64) -> bool {
        self.since.is_some_and(|since| since.after(ticks) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a tick; says from when on the member has stood still for 3 ticks, and when not.
    fn check(looks: &[(u64, bool, bool)], expect: &str) {
        let mut standstill = Standstill::default();
        let seen = looks.iter().zip(0..).map(|((at, lacks, awaits_snapshot), now)| {
            standstill.observe(LogIndex(*at), *lacks, *awaits_snapshot, Tick(now));
            if standstill.lasts(Tick(now), 3) { '#' } else { '-' }
        });
        assert_eq!(seen.collect::<alloc::string::String>(), expect);
    }

    #[test]
    fn each_step_is_a_step() {
        let at = |indexes: &[u64]| -> alloc::vec::Vec<_> {
            indexes.iter().map(|at| (*at, true, false)).collect()
        };
        check(&at(&[3, 3, 3, 3, 3, 4, 4, 4, 4]), "---##---#");
        check(&at(&[0, 0, 0, 0, 1, 1, 2, 2, 3]), "---#-----");
    }

    /// The time before it lacked anything does not count.
    #[test]
    fn who_lacks_nothing_does_not_stand_still() {
        let lacks = |lacks| (7, lacks, false);
        let looks: alloc::vec::Vec<_> = "----###-####".chars().map(|c| lacks(c == '#')).collect();
        check(&looks, "-----------#");
    }

    #[test]
    fn a_snapshot_takes_its_time_until_it_has_failed() {
        let mut standstill = Standstill::default();
        for now in 0..9 {
            standstill.observe(LogIndex(7), true, true, Tick(now));
            assert!(!standstill.lasts(Tick(now), 3), "it is on its way");
        }
        standstill.snapshot_failed();
        for now in 9..14 {
            standstill.observe(LogIndex(7), true, true, Tick(now));
            assert_eq!(standstill.lasts(Tick(now), 3), now >= 11, "the next try is no step");
        }
        standstill.observe(LogIndex(8), true, true, Tick(14));
        standstill.observe(LogIndex(8), true, true, Tick(17));
        assert!(!standstill.lasts(Tick(17), 3), "it has advanced, and is sent another");
    }
}
