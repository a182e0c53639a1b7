//! What schedules have in common: dice, and the seeds to throw them by.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// SplitMix64, apart from the core's own.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    pub(crate) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    pub(crate) fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.roll(u64::try_from(len).unwrap())).unwrap()
    }

    /// One of `nodes`, if there is any.
    pub(crate) fn any(&mut self, nodes: &[u64]) -> Option<u64> {
        (!nodes.is_empty()).then(|| nodes[self.place(nodes.len())])
    }
}

/// The seeds of a schedule: the usual number, as many as `SEEDS` says, or the one of `SEED` alone.
pub(crate) struct Seeds {
    seeds: std::ops::Range<u64>,
    /// One that was asked for: what many of them show together is not to be seen.
    pub(crate) is_single: bool,
}

impl Seeds {
    pub(crate) fn usually(count: u64) -> Self {
        let named = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let single = named("SEED");
        let many = 0..named("SEEDS").unwrap_or(count);
        let seeds = single.map_or(many, |seed| seed..seed + 1);
        Self { seeds, is_single: single.is_some() }
    }

    pub(crate) fn count(&self) -> u64 {
        self.seeds.end - self.seeds.start
    }

    /// Runs them all; the first that fails says how to see it again.
    pub(crate) fn run<T>(&self, program: &str, run: impl Fn(u64) -> T) -> Vec<T> {
        let one = |seed| {
            catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|_| {
                panic!("SEED={seed} cargo test -p raft --test {program} shows it again")
            })
        };
        self.seeds.clone().map(one).collect()
    }
}
