//! What a lease in the log is called and measured by; the rules are in `lease_guard.rs`, and those
//! of clocks that know their own error in `lease_clock.rs`.

use core::fmt;

use crate::LogIndex;

/// What a tick may hide from a node that waits: the first one may have been all but over.
const ROUNDING_TICKS: u64 = 1;
const MILLION: u128 = 1_000_000;

/// The terms of leases that lie in the log. Part of the configuration, and changed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseTerms {
    /// How long an entry is a lease, and how long a new leader therefore waits.
    pub duration_us: u64,
    /// Of any two clocks in the group one runs at most this many parts in a million faster; with
    /// [`LeaseClock::Declared`], any monotonic clock than true time.
    pub drift_ppm: u32,
    /// What the leases are measured by.
    pub clock: LeaseClock,
}

/// By which clocks a lease is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseClock {
    /// Each node's own, that never goes back: the ticks that every input comes with.
    Monotonic,
    /// Clocks that say how wrong they may be. The host hands in what they say
    /// ([`Input::Clock`](crate::Input::Clock)); entries that are to be leases carry it.
    Declared {
        /// What is less certain than this is not used: such a node gives no lease, and reads on
        /// none.
        uncertainty_us_max: u32,
    },
}

/// What a clock of declared uncertainty says: true time is not before the one and not after the
/// other, counted from any beginning that the whole group shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockInterval {
    /// True time is not before.
    pub earliest_us: u64,
    /// True time is not after. Invariant: not below `earliest_us`; who breaks it is not believed.
    pub latest_us: u64,
}

impl ClockInterval {
    pub(crate) fn is_sound(self) -> bool {
        self.earliest_us <= self.latest_us
    }

    pub(crate) fn width_us(self) -> u64 {
        self.latest_us.saturating_sub(self.earliest_us)
    }
}

impl LeaseTerms {
    /// A longer lease would be an outage: nobody commits for so long after a leader is gone.
    pub const DURATION_US_MAX: u64 = 60_000_000;

    /// Terms for monotonic clocks.
    #[must_use]
    pub const fn monotonic(duration_us: u64, drift_ppm: u32) -> Self {
        Self { duration_us, drift_ppm, clock: LeaseClock::Monotonic }
    }

    /// Terms for clocks of declared uncertainty.
    #[must_use]
    pub const fn declared(duration_us: u64, drift_ppm: u32, uncertainty_us_max: u32) -> Self {
        Self { duration_us, drift_ppm, clock: LeaseClock::Declared { uncertainty_us_max } }
    }

    /// Whether a group can live with it.
    #[must_use]
    pub fn is_sound(self) -> bool {
        let leaves_time = match self.clock {
            LeaseClock::Monotonic => true,
            // One who appends and one who reads, each as uncertain as may be.
            LeaseClock::Declared { uncertainty_us_max } => {
                u64::from(uncertainty_us_max) * 2 < self.duration_us
            }
        };
        (1..=Self::DURATION_US_MAX).contains(&self.duration_us) && leaves_time
    }

    /// For how many ticks after its append an entry is read on; none if not by ticks.
    pub(crate) fn reading_ticks(self, tick_us: u64) -> u64 {
        if self.clock != LeaseClock::Monotonic {
            return 0;
        }
        let slowest = MILLION + u128::from(self.drift_ppm);
        let ticks = u128::from(self.duration_us) * MILLION / slowest / u128::from(tick_us);
        u64::try_from(ticks).unwrap_or(0)
    }

    /// For how long after its append an entry is read on by clocks of declared uncertainty; not at
    /// all if by other ones.
    pub(crate) fn declared_us(self) -> u64 {
        match self.clock {
            LeaseClock::Monotonic => 0,
            LeaseClock::Declared { .. } => self.duration_us,
        }
    }

    /// For how many ticks behind the last growth of its log a new leader commits nothing, if it
    /// knows no better.
    pub(crate) fn waiting_ticks(self, tick_us: u64) -> u64 {
        let duration_us = match self.clock {
            // The reader has taken the drift off its side.
            LeaseClock::Monotonic => self.duration_us,
            // The reader goes by true time, and a tick may be shorter than it says.
            LeaseClock::Declared { .. } => {
                let fastest = MILLION + u128::from(self.drift_ppm);
                let longest = (u128::from(self.duration_us) * fastest).div_ceil(MILLION);
                u64::try_from(longest).unwrap_or(u64::MAX)
            }
        };
        duration_us.div_ceil(tick_us).saturating_add(ROUNDING_TICKS)
    }
}

impl fmt::Display for LeaseTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.clock {
            LeaseClock::Monotonic => write!(f, "{}us", self.duration_us),
            LeaseClock::Declared { uncertainty_us_max } => {
                write!(f, "{}us+-{uncertainty_us_max}us", self.duration_us)
            }
        }
    }
}

/// Entries of earlier leaders that may be committed, and acknowledged, or not. A read at the index
/// before `first` is linearizable if none of them could change what it returns, and not otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limbo {
    /// The first of them.
    pub first: LogIndex,
    /// The last.
    pub last: LogIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reader counts less than the one that waits, whatever the tick and whoever's clock is the
    /// faster one.
    #[test]
    fn reading_ends_before_waiting() {
        let lengths = [1_u64, 999, 1000, 1001, 12_345, LeaseTerms::DURATION_US_MAX];
        let ticks = [1_u64, 7, 1000, 10_000];
        let drifts = [0_u32, 1, 500, 100_000];
        for duration_us in lengths {
            for drift_ppm in drifts {
                let terms = LeaseTerms::monotonic(duration_us, drift_ppm);
                for (reader_us, waiter_us) in ticks.iter().flat_map(|a| ticks.map(|b| (*a, b))) {
                    // A reader on a slow clock: what it counts as one is one and the drift.
                    let read_us = u128::from(terms.reading_ticks(reader_us) * reader_us)
                        * (MILLION + u128::from(drift_ppm));
                    // The first tick of the one that waits was over when it began.
                    let waited = (terms.waiting_ticks(waiter_us) - 1) * waiter_us;
                    assert!(read_us <= u128::from(waited) * MILLION, "{terms:?}");
                }
            }
        }
    }

    /// Who reads by true time is done when a node with fast ticks has counted the whole wait.
    #[test]
    fn reading_by_true_time_ends_before_waiting_by_fast_ticks() {
        for duration_us in [3_u64, 999, 1000, 12_345, LeaseTerms::DURATION_US_MAX] {
            for drift_ppm in [0_u32, 1, 500, 100_000] {
                let terms = LeaseTerms::declared(duration_us, drift_ppm, 1);
                assert_eq!(terms.reading_ticks(1), 0, "nobody reads on these by ticks");
                for tick_us in [1_u64, 7, 1000, 10_000] {
                    let waited = u128::from(terms.waiting_ticks(tick_us) - 1) * u128::from(tick_us);
                    // True time that is over for certain when so much was counted.
                    let over = waited * MILLION / (MILLION + u128::from(drift_ppm));
                    assert!(over >= u128::from(terms.declared_us()), "{terms:?} {tick_us}");
                }
            }
        }
    }

    /// Terms that leave no time to read are refused.
    #[test]
    fn what_a_group_can_live_with() {
        assert!(LeaseTerms::declared(1000, 0, 499).is_sound());
        assert!(!LeaseTerms::declared(1000, 0, 500).is_sound());
        assert!(!LeaseTerms::monotonic(0, 0).is_sound());
        assert!(!LeaseTerms::monotonic(LeaseTerms::DURATION_US_MAX + 1, 0).is_sound());
    }
}
