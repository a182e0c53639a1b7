//! Counts that the server keeps itself; [`crate::http::metrics`] shows them with those of the
//! floors below. A count is an atomic and nothing else: several members may run in one process, so
//! there is no global registry.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tonic::Code;

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
    pub(crate) health_success: Counter,
    pub(crate) health_failures: Counter,
    pub(crate) rpcs: Rpcs,
}

/// Whether a method answers once or in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unary,
    ServerStream,
    BidiStream,
}

impl Kind {
    /// As Go's Prometheus middleware calls it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

/// Every method that is served: path and kind, in order of path.
pub(crate) const METHODS: [(&str, Kind); 44] = [
    ("/etcdserverpb.Auth/AuthDisable", Kind::Unary),
    ("/etcdserverpb.Auth/AuthEnable", Kind::Unary),
    ("/etcdserverpb.Auth/AuthStatus", Kind::Unary),
    ("/etcdserverpb.Auth/Authenticate", Kind::Unary),
    ("/etcdserverpb.Auth/RoleAdd", Kind::Unary),
    ("/etcdserverpb.Auth/RoleDelete", Kind::Unary),
    ("/etcdserverpb.Auth/RoleGet", Kind::Unary),
    ("/etcdserverpb.Auth/RoleGrantPermission", Kind::Unary),
    ("/etcdserverpb.Auth/RoleList", Kind::Unary),
    ("/etcdserverpb.Auth/RoleRevokePermission", Kind::Unary),
    ("/etcdserverpb.Auth/UserAdd", Kind::Unary),
    ("/etcdserverpb.Auth/UserChangePassword", Kind::Unary),
    ("/etcdserverpb.Auth/UserDelete", Kind::Unary),
    ("/etcdserverpb.Auth/UserGet", Kind::Unary),
    ("/etcdserverpb.Auth/UserGrantRole", Kind::Unary),
    ("/etcdserverpb.Auth/UserList", Kind::Unary),
    ("/etcdserverpb.Auth/UserRevokeRole", Kind::Unary),
    ("/etcdserverpb.Cluster/MemberAdd", Kind::Unary),
    ("/etcdserverpb.Cluster/MemberList", Kind::Unary),
    ("/etcdserverpb.Cluster/MemberPromote", Kind::Unary),
    ("/etcdserverpb.Cluster/MemberRemove", Kind::Unary),
    ("/etcdserverpb.Cluster/MemberUpdate", Kind::Unary),
    ("/etcdserverpb.KV/Compact", Kind::Unary),
    ("/etcdserverpb.KV/DeleteRange", Kind::Unary),
    ("/etcdserverpb.KV/Put", Kind::Unary),
    ("/etcdserverpb.KV/Range", Kind::Unary),
    ("/etcdserverpb.KV/RangeStream", Kind::ServerStream),
    ("/etcdserverpb.KV/Txn", Kind::Unary),
    ("/etcdserverpb.Lease/LeaseGrant", Kind::Unary),
    ("/etcdserverpb.Lease/LeaseKeepAlive", Kind::BidiStream),
    ("/etcdserverpb.Lease/LeaseLeases", Kind::Unary),
    ("/etcdserverpb.Lease/LeaseRevoke", Kind::Unary),
    ("/etcdserverpb.Lease/LeaseTimeToLive", Kind::Unary),
    ("/etcdserverpb.Maintenance/Alarm", Kind::Unary),
    ("/etcdserverpb.Maintenance/Defragment", Kind::Unary),
    ("/etcdserverpb.Maintenance/Downgrade", Kind::Unary),
    ("/etcdserverpb.Maintenance/Hash", Kind::Unary),
    ("/etcdserverpb.Maintenance/HashKV", Kind::Unary),
    ("/etcdserverpb.Maintenance/MoveLeader", Kind::Unary),
    ("/etcdserverpb.Maintenance/Snapshot", Kind::ServerStream),
    ("/etcdserverpb.Maintenance/Status", Kind::Unary),
    ("/etcdserverpb.Watch/Watch", Kind::BidiStream),
    ("/grpc.health.v1.Health/Check", Kind::Unary),
    ("/grpc.health.v1.Health/Watch", Kind::ServerStream),
];

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
pub(crate) struct Rpcs([Rpc; METHODS.len()]);

impl Default for Rpcs {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Rpc::default()))
    }
}

impl Rpcs {
    /// The place of a path in the table; paths come from the network, and unknown ones count
    /// nowhere.
    pub(crate) fn place(path: &str) -> Option<usize> {
        METHODS.binary_search_by(|(known, _)| (*known).cmp(path)).ok()
    }

    pub(crate) fn started(&self, place: usize) {
        self.0[place].started.add(1);
    }

    pub(crate) fn handled(&self, place: usize, code: Code) {
        let code = usize::try_from(i32::from(code)).unwrap_or_default();
        self.0[place].handled[code.min(CODES - 1)].add(1);
    }

    /// All methods with their paths.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, Kind, &Rpc)> {
        METHODS.iter().zip(&self.0).map(|((path, kind), rpc)| (*path, *kind, rpc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_and_nothing_else() {
        assert!(METHODS.is_sorted_by_key(|(path, _)| *path), "the table is searched by halves");
        for (at, (path, _)) in METHODS.iter().enumerate() {
            assert_eq!(Rpcs::place(path), Some(at));
        }
        assert_eq!(Rpcs::place("/etcdserverpb.KV/"), None);
        assert_eq!(Rpcs::place(""), None);
    }

    #[test]
    fn calls_are_counted_by_method_and_code() {
        let rpcs = Rpcs::default();
        let put = Rpcs::place("/etcdserverpb.KV/Put").unwrap();
        rpcs.started(put);
        rpcs.handled(put, Code::Unavailable);
        let counted: Vec<_> = rpcs.all().filter(|(_, _, rpc)| rpc.started.value() > 0).collect();
        assert_eq!(counted.len(), 1);
        assert_eq!(counted[0].2.handled[14].value(), 1);
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
