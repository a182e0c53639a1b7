//! Counts that the server keeps itself; [`crate::http::metrics`] shows them with those of the
//! floors below. A count is an atomic and nothing else: several members may run in one process, so
//! there is no global registry.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tonic::Code;

use crate::methods::{METHOD_COUNT, METHODS, Method};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    /// One more, until the guard is dropped: also when a client goes away in the middle.
    pub(crate) fn enter(&self) -> Entered<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(self)
    }

    pub(crate) fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// See [`Gauge::enter`].
#[derive(Debug)]
pub(crate) struct Entered<'a>(&'a Gauge);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts of one member's server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) lease_granted: Counter,
    pub(crate) lease_revoked: Counter,
    pub(crate) lease_renewed: Counter,
    pub(crate) lease_expired: Counter,
    pub(crate) proposals_pending: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) handshakes_failed: Counter,
    pub(crate) health_success: Counter,
    pub(crate) health_failures: Counter,
    pub(crate) rpcs: Rpcs,
}

/// gRPC's codes are 0 to 16.
const CODES: usize = 17;

/// What is known of calls to one method.
#[derive(Debug, Default)]
pub(crate) struct Rpc {
    pub(crate) started: Counter,
    pub(crate) handled: [Counter; CODES],
}

/// Calls by method and code.
#[derive(Debug)]
pub(crate) struct Rpcs([Rpc; METHOD_COUNT]);

impl Default for Rpcs {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Rpc::default()))
    }
}

impl Rpcs {
    pub(crate) fn started(&self, place: usize) {
        self.0[place].started.add(1);
    }

    pub(crate) fn handled(&self, place: usize, code: Code) {
        let code = usize::try_from(i32::from(code)).unwrap_or_default();
        self.0[place].handled[code.min(CODES - 1)].add(1);
    }

    /// All methods with their counts.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static Method, &Rpc)> {
        METHODS.iter().zip(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_code() {
        let rpcs = Rpcs::default();
        let put = crate::methods::place("/etcdserverpb.KV/Put").unwrap();
        rpcs.started(put);
        rpcs.handled(put, Code::Unavailable);
        let counted: Vec<_> = rpcs.all().filter(|(_, rpc)| rpc.started.value() > 0).collect();
        assert_eq!(counted.len(), 1);
        assert_eq!(counted[0].1.handled[14].value(), 1);
    }

    #[test]
    fn a_gauge_comes_back_when_its_guard_goes() {
        let gauge = Gauge::default();
        let guard = gauge.enter();
        assert_eq!(gauge.value(), 1);
        drop(guard);
        assert_eq!(gauge.value(), 0);
    }
}
