//! A node's own clock in a world of virtual time: it may run fast or slow, jump ahead, or stop.

use std::sync::Arc;

use parking_lot::Mutex;

use super::VirtualClock;
use crate::{Clock, Moment};

/// The rate of a clock that keeps the world's time.
const TRUE_RATE_PPM: u64 = 1_000_000;

/// What one node believes the time to be. Clones are the same clock. It never goes back: a
/// monotonic clock does not, whatever the wall clock does.
#[derive(Clone, Debug)]
pub struct NodeClock {
    world: VirtualClock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// At this moment of the world …
    since: Moment,
    /// … the clock said this, and has run at `rate_ppm` from then on.
    said: Moment,
    /// Parts in a million of the world's time; 0 for a clock that stands still.
    rate_ppm: u64,
    /// What the wall clock is off by.
    wall_offset_ms: i64,
}

impl State {
    fn at(&self, world: Moment) -> Moment {
        let passed = u128::from(world.0 - self.since.0) * u128::from(self.rate_ppm);
        let passed = passed / u128::from(TRUE_RATE_PPM);
        Moment(self.said.0.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }
}

impl NodeClock {
    /// A clock that keeps the world's time.
    #[must_use]
    pub fn new(world: VirtualClock) -> Self {
        let now = world.now();
        let state = State { since: now, said: now, rate_ppm: TRUE_RATE_PPM, wall_offset_ms: 0 };
        Self { world, state: Arc::new(Mutex::new(state)) }
    }

    /// From now on the clock runs at so many parts in a million of the world's time: more than a
    /// million is fast, 0 stands still.
    pub fn set_rate_ppm(&self, rate_ppm: u64) {
        let now = self.world.now();
        let mut state = self.state.lock();
        (state.said, state.since) = (state.at(now), now);
        state.rate_ppm = rate_ppm;
    }

    /// Jumps ahead, as the clock of a machine that was asleep does.
    pub fn jump_ms(&self, ms: u64) {
        let mut state = self.state.lock();
        state.said = Moment(state.said.0.saturating_add(ms.saturating_mul(1_000_000)));
    }

    /// Sets the wall clock off by so much, in either direction.
    pub fn set_wall_offset_ms(&self, offset_ms: i64) {
        self.state.lock().wall_offset_ms = offset_ms;
    }

    /// Runs true again, from what it says now on.
    pub fn mend(&self) {
        self.set_rate_ppm(TRUE_RATE_PPM);
        self.set_wall_offset_ms(0);
    }

    /// When the world's time will be such that this clock says `local`, at the earliest. `None` if
    /// it stands still.
    #[must_use]
    pub fn world_time_of(&self, local: Moment) -> Option<Moment> {
        let state = self.state.lock();
        if local <= state.said {
            return Some(state.since);
        }
        let left = u128::from(local.0 - state.said.0) * u128::from(TRUE_RATE_PPM);
        let left = left.checked_next_multiple_of(u128::from(state.rate_ppm).max(1))?;
        let left = left.checked_div(u128::from(state.rate_ppm))?;
        Some(Moment(state.since.0.saturating_add(u64::try_from(left).unwrap_or(u64::MAX))))
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Moment {
        self.state.lock().at(self.world.now())
    }

    fn wall_ms(&self) -> u64 {
        self.world.wall_ms().saturating_add_signed(self.state.lock().wall_offset_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_drifts_stops_and_jumps_and_never_goes_back() {
        let world = VirtualClock::new();
        let clock = NodeClock::new(world.clone());
        world.advance(Duration::from_millis(10));
        assert_eq!(clock.now(), world.now());
        clock.set_rate_ppm(2_000_000);
        world.advance(Duration::from_millis(10));
        assert_eq!(clock.now(), Moment(30_000_000));
        clock.set_rate_ppm(0);
        world.advance(Duration::from_millis(10));
        assert_eq!(clock.now(), Moment(30_000_000));
        clock.jump_ms(5);
        assert_eq!(clock.now(), Moment(35_000_000));
        clock.mend();
        world.advance(Duration::from_millis(1));
        assert_eq!(clock.now(), Moment(36_000_000));
    }

    #[test]
    fn a_deadline_of_the_node_is_a_moment_of_the_world() {
        let world = VirtualClock::new();
        let clock = NodeClock::new(world.clone());
        for rate_ppm in [1, 333_333, 700_001, 1_000_000, 1_000_003, 3_000_000] {
            clock.set_rate_ppm(rate_ppm);
            let local = Moment(clock.now().0 + 1_234_567);
            let due = clock.world_time_of(local).expect("it runs");
            world.set(Moment(due.0 - 1));
            assert!(clock.now() < local, "not before, at {rate_ppm}");
            world.set(due);
            assert!(clock.now() >= local, "and not after, at {rate_ppm}");
        }
        clock.set_rate_ppm(0);
        assert_eq!(clock.world_time_of(Moment(u64::MAX)), None);
        assert!(clock.world_time_of(clock.now()).is_some(), "what is due is due");
    }

    #[test]
    fn the_wall_clock_may_be_anywhere() {
        let world = VirtualClock::new();
        let clock = NodeClock::new(world.clone());
        clock.set_wall_offset_ms(-3_600_000);
        assert_eq!(clock.wall_ms() + 3_600_000, world.wall_ms());
        assert_eq!(clock.now(), world.now(), "the monotonic clock knows nothing of it");
    }
}
