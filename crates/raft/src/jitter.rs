//! The only dice of the core: a generator that the seed determines wholly.

use crate::seeded::{Bug, bug};

/// SplitMix64 (Steele, Lea, Flood 2014): tiny, and every seed is a good seed.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An election timeout between `base` and `base + spread` (Raft §5.2: "chosen randomly from a
    /// fixed interval"), so that one node times out alone and wins before the others wake.
    pub(crate) fn election_timeout_ticks(&mut self, base: u64, spread: u64) -> u64 {
        if bug(Bug::ElectionTimeoutsAreEqual) {
            return base;
        }
        base + self.next() % spread
    }
}
