//! A world in memory: the same calls and the same seed give the same outcome.
//!
//! [`MemDisk`] loses what was not synced when the machine crashes and fails on request;
//! [`VirtualClock`] moves only when it is told to, and [`NodeClock`] is what one node makes of it;
//! [`MemNet`] delays, loses and cuts; [`SeededEntropy`] repeats itself. Handles are cheap clones of
//! one world each.

mod disk;
mod file;
mod inode;
mod names;
mod net;
mod node_clock;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub use disk::{DiskCounts, MemDisk, Operation};
pub use net::{Delivery, Latency, MemEndpoint, MemNet, NetCounts, NetEvent, Shape};
pub use node_clock::NodeClock;

use crate::{Clock, Entropy, Moment, SplitMix};

/// What the wall clock of a [`VirtualClock`] says at [`Moment`] 0: the morning of 2026-01-01.
const WALL_ORIGIN_MS: u64 = 1_767_225_600_000;

/// A clock that stands still until it is moved. Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock {
    nanoseconds: Arc<AtomicU64>,
}

impl VirtualClock {
    /// A clock at [`Moment`] 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock to `moment`; it never goes back.
    pub fn set(&self, moment: Moment) {
        let before = self.nanoseconds.fetch_max(moment.0, Ordering::SeqCst);
        assert!(before <= moment.0, "a monotonic clock was set back from {before} to {moment:?}");
    }

    /// Moves the clock on.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().after(duration));
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Moment {
        Moment(self.nanoseconds.load(Ordering::SeqCst))
    }

    fn wall_ms(&self) -> u64 {
        WALL_ORIGIN_MS + self.now().0 / 1_000_000
    }
}

/// Numbers from a seed. Clones draw from one sequence.
#[derive(Clone, Debug)]
pub struct SeededEntropy {
    numbers: Arc<Mutex<SplitMix>>,
}

impl SeededEntropy {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { numbers: Arc::new(Mutex::new(SplitMix::new(seed))) }
    }
}

impl Entropy for SeededEntropy {
    fn next_u64(&self) -> u64 {
        self.numbers.lock().next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_moves_only_when_told_and_clones_share_it() {
        let clock = VirtualClock::new();
        let other = clock.clone();
        assert_eq!((clock.now(), clock.wall_ms()), (Moment(0), WALL_ORIGIN_MS));
        clock.advance(Duration::from_millis(5));
        assert_eq!(other.now().since(Moment(0)), Duration::from_millis(5));
        assert_eq!(other.wall_ms(), WALL_ORIGIN_MS + 5);
    }

    #[test]
    #[should_panic(expected = "set back")]
    fn clock_never_goes_back() {
        let clock = VirtualClock::new();
        clock.advance(Duration::from_millis(5));
        clock.set(Moment(1));
    }

    #[test]
    fn entropy_repeats_itself_for_a_seed_and_clones_draw_from_one_sequence() {
        let (one, two) = (SeededEntropy::new(9), SeededEntropy::new(9));
        let drawn = [one.next_u64(), one.clone().next_u64(), one.next_u64()];
        assert_eq!(drawn, [two.next_u64(), two.next_u64(), two.next_u64()]);
        assert_ne!(drawn[0], SeededEntropy::new(10).next_u64());
    }
}
