//! Time: a monotonic clock for timers, a wall clock for people.

use std::fmt::Debug;
use std::time::Duration;

/// A moment of the monotonic clock: nanoseconds since an origin that a process chooses once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `duration` later; saturates after 584 years.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Tells the time. Nothing that decides safety may depend on [`Clock::wall_ms`].
pub trait Clock: Send + Sync + Debug {
    /// The monotonic clock.
    fn now(&self) -> Moment;
    /// Milliseconds since 1970, for people to read.
    fn wall_ms(&self) -> u64;
}
