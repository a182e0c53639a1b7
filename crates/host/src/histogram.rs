//! How often something took how long. Adding one is two atomic additions and a search among a few
//! bounds: no lock and no memory, so that it may be done for every request.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds that a histogram may have.
pub const BOUNDS_MAX: usize = 20;

/// Bounds in microseconds, each twice the one before.
#[must_use]
pub const fn doubled<const N: usize>(first_us: u64) -> [u64; N] {
    let mut bounds = [first_us; N];
    let mut place = 1;
    while place < N {
        bounds[place] = 2 * bounds[place - 1];
        place += 1;
    }
    bounds
}

/// For what a disk does: a millisecond, and each twice the one before, up to 8 s. Those of etcd, as
/// all that follow, so that its alerts and dashboards find what they look for.
pub const DISK_BOUNDS_US: [u64; 14] = doubled(1_000);
/// For what a request costs: from a tenth of a millisecond to 52 s.
pub const REQUEST_BOUNDS_US: [u64; 20] = doubled(100);

/// How often something took how long.
#[derive(Debug)]
pub struct Histogram {
    bounds_us: &'static [u64],
    /// For each bound, how often no longer than that and longer than the one before; the place
    /// behind the last bound is for what took longer than all.
    counts: [AtomicU64; BOUNDS_MAX + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// An empty one with these bounds, in microseconds and in order.
    ///
    /// # Panics
    /// If there are more than [`BOUNDS_MAX`].
    #[must_use]
    pub const fn new(bounds_us: &'static [u64]) -> Self {
        assert!(bounds_us.len() <= BOUNDS_MAX, "a histogram has no room for more bounds");
        Self {
            bounds_us,
            counts: [const { AtomicU64::new(0) }; BOUNDS_MAX + 1],
            nanos: AtomicU64::new(0),
        }
    }

    /// Counts one more.
    pub fn add(&self, nanos: u64) {
        let bucket = self.bounds_us.partition_point(|bound| bound * 1_000 < nanos);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// All of it, each number read once.
    #[must_use]
    pub fn view(&self) -> HistogramView {
        HistogramView {
            bounds_us: self.bounds_us,
            counts: std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed)),
            nanos: self.nanos.load(Ordering::Relaxed),
        }
    }
}

/// A [`Histogram`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistogramView {
    bounds_us: &'static [u64],
    counts: [u64; BOUNDS_MAX + 1],
    /// Nanoseconds of all together.
    pub nanos: u64,
}

impl HistogramView {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bound in microseconds with how many were no longer.
    pub fn no_longer(&self) -> impl Iterator<Item = (u64, u64)> {
        let so_far = self.counts.iter().scan(0, |so_far, count| {
            *so_far += count;
            Some(*so_far)
        });
        self.bounds_us.iter().copied().zip(so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_is_within_it() {
        let times = Histogram::new(&DISK_BOUNDS_US);
        for nanos in [0, 1_000_000, 1_000_001, 2_000_000, 8_192_000_000, 8_192_000_001] {
            times.add(nanos);
        }
        let view = times.view();
        let buckets: Vec<_> = view.no_longer().collect();
        assert_eq!(buckets[..3], [(1_000, 2), (2_000, 4), (4_000, 4)]);
        assert_eq!(buckets[13], (8_192_000, 5), "the longest is in no bucket");
        assert_eq!((buckets.len(), view.count(), view.nanos), (14, 6, 16_388_000_002));
    }
}
