//! A world in memory: the same calls and the same seed give the same outcome.
//!
//! [`MemDisk`] loses what was not synced when the machine crashes and fails on request;
//! [`VirtualClock`] moves only when it is told to; [`MemNet`] delays, loses and cuts;
//! [`SeededEntropy`] repeats itself. Handles are cheap clones of one world each.

mod disk;
mod inode;
mod names;
mod net;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub use disk::{DiskCounts, MemDisk, Operation};
pub use net::{Delivery, MemEndpoint, MemNet};

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
