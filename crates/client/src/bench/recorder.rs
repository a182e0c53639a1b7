//! Where latencies go: a few histograms, each shared by the clients that have its number, so that
//! they rarely meet and the memory stays in the caches.

use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;

const SHARDS_MAX: u32 = 8;
/// A minute; what takes longer counts as a minute.
const LATENCY_US_MAX: u64 = 60_000_000;

/// The histograms of a run.
#[derive(Debug)]
pub(crate) struct Recorders {
    shards: Vec<Mutex<Recorder>>,
}

#[derive(Debug)]
struct Recorder {
    latencies: Histogram<u64>,
    failures: u64,
    first_failure: Option<String>,
}

impl Recorder {
    fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
            .expect("1 to a minute of microseconds with 3 digits are bounds a histogram can have");
        Self { latencies, failures: 0, first_failure: None }
    }
}

impl Recorders {
    pub(crate) fn new(clients: u32) -> Self {
        let count = clients.clamp(1, SHARDS_MAX);
        Self { shards: (0..count).map(|_| Mutex::new(Recorder::new())).collect() }
    }

    /// Counts one success that took `latency_us`, for client `number`.
    pub(crate) fn success(&self, number: u32, latency_us: u64) {
        self.with_shard(number, |recorder| recorder.latencies.saturating_record(latency_us.max(1)));
    }

    /// Counts one failure.
    pub(crate) fn failure(&self, number: u32, message: &str) {
        self.with_shard(number, |recorder| {
            recorder.failures += 1;
            recorder.first_failure.get_or_insert_with(|| message.to_owned());
        });
    }

    fn with_shard(&self, number: u32, record: impl FnOnce(&mut Recorder)) {
        let shard = &self.shards[number as usize % self.shards.len()];
        record(&mut shard.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn merged(&self) -> Recorder {
        let mut all = Recorder::new();
        for shard in &self.shards {
            let recorder = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.latencies
                .add(&recorder.latencies)
                .expect("every shard's histogram has the same bounds as this one");
            all.failures += recorder.failures;
            all.first_failure = all.first_failure.or_else(|| recorder.first_failure.clone());
        }
        all
    }

    /// Successes so far.
    pub(crate) fn count(&self) -> u64 {
        let lengths = self
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).latencies.len());
        lengths.sum()
    }

    /// Failures so far, and what the first one said.
    pub(crate) fn failures(&self) -> (u64, Option<String>) {
        let all = self.merged();
        (all.failures, all.first_failure)
    }

    /// The latency in microseconds below which the share `quantile` of all successes lies.
    pub(crate) fn quantile_us(&self, quantile: f64) -> u64 {
        self.merged().latencies.value_at_quantile(quantile)
    }

    /// p50, p99, p99.9 and the largest, and the mean, in microseconds.
    pub(crate) fn summary_us(&self) -> ([u64; 4], f64) {
        let latencies = self.merged().latencies;
        let at = |quantile| latencies.value_at_quantile(quantile);
        ([at(0.5), at(0.99), at(0.999), latencies.max()], latencies.mean())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_over_all_shards() {
        let recorders = Recorders::new(16);
        for number in 0..1000_u32 {
            recorders.success(number, u64::from(number) + 1);
        }
        recorders.failure(3, "no leader");
        let ([p50, p99, p999, max], mean) = recorders.summary_us();
        assert_eq!((p50, p99, p999, max), (500, 990, 999, 1000));
        assert!((mean - 500.5).abs() < 1.0, "{mean}");
        assert_eq!(recorders.count(), 1000);
        assert_eq!(recorders.failures(), (1, Some("no leader".to_owned())));
    }
}
