//! Counts that the server keeps itself; [`crate::http::metrics`] shows them with those of the
//! floors below. A count is an atomic and nothing else: several members may run in one process, so
//! there is no global registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use env::{Clock, Moment};
use host::{Histogram, REQUEST_BOUNDS_US, doubled};
use http::HeaderMap;
use store::Outcomes;
use tonic::Code;

use crate::member::Member;
use crate::methods::{Kind, METHODS, Method};
use crate::peer_probe::RoundTrips;

/// Of Prometheus' clients, for calls of gRPC.
static HANDLING_BOUNDS_US: [u64; 11] = [
    5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];
static DEFRAGMENT_BOUNDS_US: [u64; 13] = doubled(100_000);
static BACKUP_BOUNDS_US: [u64; 17] = doubled(10_000);
static HASH_BOUNDS_US: [u64; 15] = doubled(10_000);

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
    pub(crate) checks: Checks,
    pub(crate) rpcs: Rpcs,
    pub(crate) requests: Requests,
    /// Bytes of messages of gRPC, without what is around them.
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) defragmenting: Gauge,
    pub(crate) times: Times,
    pub(crate) round_trips: RoundTrips,
}

/// How long it took what is done seldom.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) defragment: Histogram,
    pub(crate) backup: Histogram,
    pub(crate) hash: Histogram,
    pub(crate) hash_at_revision: Histogram,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            defragment: Histogram::new(&DEFRAGMENT_BOUNDS_US),
            backup: Histogram::new(&BACKUP_BOUNDS_US),
            hash: Histogram::new(&HASH_BOUNDS_US),
            hash_at_revision: Histogram::new(&HASH_BOUNDS_US),
        }
    }
}

/// Nanoseconds since `begun`.
pub(crate) fn nanos_since(clock: &dyn Clock, begun: Moment) -> u64 {
    u64::try_from(clock.now().since(begun).as_nanos()).unwrap_or(u64::MAX)
}

/// Names of the checks of health, under `/livez` and under `/readyz`.
pub(crate) const CHECKS: [(&str, &str); 5] = [
    ("livez", "serializable_read"),
    ("readyz", "data_corruption"),
    ("readyz", "serializable_read"),
    ("readyz", "linearizable_read"),
    ("readyz", "non_learner"),
];

/// How each of [`CHECKS`] went.
#[derive(Debug, Default)]
pub(crate) struct Checks([Checked; CHECKS.len()]);

/// How one check went.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) succeeded: Counter,
    pub(crate) failed: Counter,
    /// 1 if it succeeded the last time.
    pub(crate) last: AtomicU64,
}

impl Checks {
    pub(crate) fn note(&self, of: &str, name: &str, is_success: bool) {
        let Some(place) = CHECKS.iter().position(|check| *check == (of, name)) else { return };
        let checked = &self.0[place];
        if is_success { &checked.succeeded } else { &checked.failed }.add(1);
        checked.last.store(u64::from(is_success), Ordering::Relaxed);
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = ((&'static str, &'static str), &Checked)> {
        CHECKS.into_iter().zip(&self.0)
    }
}

/// Versions that clients of etcd give as theirs: those of 3.0 up to this one have a count of their
/// own. What else a client may say does not become a label.
const MINORS: usize = 16;
const VERSIONS: usize = MINORS + 2;
const NOT_SAID: usize = MINORS;
const OTHER: usize = MINORS + 1;

/// Calls by the version that the client says it has, those of one message first.
#[derive(Debug, Default)]
pub(crate) struct Requests([[Counter; VERSIONS]; 2]);

impl Requests {
    pub(crate) fn count(&self, kind: Kind, headers: &HeaderMap) {
        let version = match headers.get("client-api-version").map(http::HeaderValue::as_bytes) {
            None => NOT_SAID,
            Some(version) => minor(version).unwrap_or(OTHER),
        };
        self.0[usize::from(kind != Kind::Unary)][version].add(1);
    }

    /// Kind and version of all calls that there were.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, String, u64)> {
        ["unary", "stream"].into_iter().zip(&self.0).flat_map(|(kind, versions)| {
            let version = |at| match at {
                NOT_SAID => "unknown".to_owned(),
                OTHER => "other".to_owned(),
                minor => format!("3.{minor}"),
            };
            let counts = versions.iter().map(Counter::value).enumerate();
            counts
                .filter(|(_, count)| *count > 0)
                .map(move |(at, count)| (kind, version(at), count))
        })
    }
}

/// Of `3.N`.
fn minor(version: &[u8]) -> Option<usize> {
    let digits = version.strip_prefix(b"3.")?;
    let is_plain =
        digits == b"0" || digits.first().is_some_and(|first| (b'1'..=b'9').contains(first));
    let number: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (is_plain && number < MINORS).then_some(number)
}

/// gRPC's codes are 0 to 16.
const CODES: usize = 17;

/// What is known of calls to one method.
#[derive(Debug)]
pub(crate) struct Rpc {
    pub(crate) started: Counter,
    pub(crate) handled: [Counter; CODES],
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    /// From the head of the call to the end of its answer.
    pub(crate) handling: Histogram,
    /// The same in finer steps, for methods of one message.
    pub(crate) request: Outcomes,
}

impl Default for Rpc {
    fn default() -> Self {
        Self {
            started: Counter::default(),
            handled: Default::default(),
            received: Counter::default(),
            sent: Counter::default(),
            handling: Histogram::new(&HANDLING_BOUNDS_US),
            request: Outcomes::new(&REQUEST_BOUNDS_US),
        }
    }
}

/// Calls by method and code.
#[derive(Debug)]
pub(crate) struct Rpcs(Box<[Rpc]>);

impl Default for Rpcs {
    fn default() -> Self {
        Self(METHODS.iter().map(|_| Rpc::default()).collect())
    }
}

impl Rpcs {
    pub(crate) fn started(&self, place: usize) {
        self.0[place].started.add(1);
    }

    pub(crate) fn handled(&self, place: usize, code: Code, nanos: u64) {
        let rpc = &self.0[place];
        let number = usize::try_from(i32::from(code)).unwrap_or_default();
        rpc.handled[number.min(CODES - 1)].add(1);
        rpc.handling.add(nanos);
        if METHODS[place].kind == Kind::Unary {
            rpc.request.add(code == Code::Ok, nanos);
        }
    }

    /// All methods with their counts.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static Method, &Rpc)> {
        METHODS.iter().zip(&self.0)
    }
}

/// Counts the messages of the calls to one method.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    member: Arc<Member>,
    place: usize,
}

impl Meter {
    pub(crate) fn new(member: &Arc<Member>, place: usize) -> Self {
        Self { member: Arc::clone(member), place }
    }

    /// A message of the client is whole.
    pub(crate) fn received(&self, bytes: usize) {
        self.member.metrics.rpcs.0[self.place].received.add(1);
        self.member.metrics.received_bytes.add(bytes as u64);
    }

    /// A message is on its way to the client.
    pub(crate) fn sent(&self, bytes: usize) {
        self.member.metrics.rpcs.0[self.place].sent.add(1);
        self.member.metrics.sent_bytes.add(bytes as u64);
    }
}

/// Counts how a call ended, whichever way it did: one that is dropped was given up by its client.
#[derive(Debug)]
pub(crate) struct Tally {
    meter: Meter,
    begun: Moment,
    code: Code,
}

impl Tally {
    pub(crate) fn begin(meter: Meter) -> Self {
        let begun = meter.member.clock.now();
        meter.member.metrics.rpcs.started(meter.place);
        Self { meter, begun, code: Code::Cancelled }
    }

    pub(crate) fn end(mut self, code: Code) {
        self.code = code;
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Whether all of the answer is known when its head is.
    pub(crate) fn is_unary(&self) -> bool {
        METHODS[self.meter.place].kind == Kind::Unary
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let Meter { member, place } = &self.meter;
        member.metrics.rpcs.handled(*place, self.code, nanos_since(&*member.clock, self.begun));
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
        rpcs.handled(put, Code::Unavailable, 1_000);
        let counted: Vec<_> = rpcs.all().filter(|(_, rpc)| rpc.started.value() > 0).collect();
        assert_eq!(counted.len(), 1);
        assert_eq!(counted[0].1.handled[14].value(), 1);
        let request = &counted[0].1.request;
        assert_eq!((request.failed.view().count(), request.succeeded.view().count()), (1, 0));
    }

    #[test]
    fn what_a_client_says_of_its_version_becomes_no_label_unless_it_is_one() {
        let requests = Requests::default();
        for version in ["3.5", "3.5", "3.15", "3.16", "3.05", "3.+5", "3.", "4.0", "x{}\"", "3.0"] {
            let mut headers = HeaderMap::new();
            headers.insert("client-api-version", version.parse().unwrap());
            requests.count(Kind::Unary, &headers);
        }
        requests.count(Kind::BidiStream, &HeaderMap::new());
        let counted: Vec<_> = requests.all().collect();
        let expect = [
            ("unary", "3.0", 1),
            ("unary", "3.5", 2),
            ("unary", "3.15", 1),
            ("unary", "other", 6),
            ("stream", "unknown", 1),
        ];
        assert_eq!(counted, expect.map(|(kind, version, count)| (kind, version.to_owned(), count)));
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
