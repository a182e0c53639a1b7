//! Every method that is served, with who may call it: the one table of permissions. A method that
//! is not in it is refused, and a test compares it with the descriptors of the services.

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

/// Who may call a method while authentication is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Anybody: it is how one becomes somebody, or tells nothing.
    Nobody,
    /// Any user.
    User,
    /// Users with the role root.
    Root,
    /// Users with permission on the keys in question. The store asks, under the lock of the state
    /// that it reads or changes.
    Keys,
    /// The same, for the services that clients know to answer every refusal with UNKNOWN.
    Recipe,
    /// The same, for each request on a stream, which outlives the one that it began with.
    Stream,
    /// Any user; what the message asks for may need more, and the service asks for that.
    Message,
}

/// One method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    pub(crate) need: Need,
}

const fn unary(path: &'static str, need: Need) -> Method {
    Method { path, kind: Kind::Unary, need }
}

const fn streaming(path: &'static str, kind: Kind, need: Need) -> Method {
    Method { path, kind, need }
}

/// How many there are. A number by itself, since a type that has as many places must not wait for
/// the table: an optimising compiler would go round in a circle.
pub(crate) const METHOD_COUNT: usize = 51;

/// All of them, in order of path.
pub(crate) const METHODS: [Method; METHOD_COUNT] = [
    unary("/etcdserverpb.Auth/AuthDisable", Need::Root),
    unary("/etcdserverpb.Auth/AuthEnable", Need::Root),
    unary("/etcdserverpb.Auth/AuthStatus", Need::Nobody),
    unary("/etcdserverpb.Auth/Authenticate", Need::Nobody),
    unary("/etcdserverpb.Auth/RoleAdd", Need::Root),
    unary("/etcdserverpb.Auth/RoleDelete", Need::Root),
    // Of one's own roles.
    unary("/etcdserverpb.Auth/RoleGet", Need::Message),
    unary("/etcdserverpb.Auth/RoleGrantPermission", Need::Root),
    unary("/etcdserverpb.Auth/RoleList", Need::Root),
    unary("/etcdserverpb.Auth/RoleRevokePermission", Need::Root),
    unary("/etcdserverpb.Auth/UserAdd", Need::Root),
    unary("/etcdserverpb.Auth/UserChangePassword", Need::Root),
    unary("/etcdserverpb.Auth/UserDelete", Need::Root),
    // Of oneself.
    unary("/etcdserverpb.Auth/UserGet", Need::Message),
    unary("/etcdserverpb.Auth/UserGrantRole", Need::Root),
    unary("/etcdserverpb.Auth/UserList", Need::Root),
    unary("/etcdserverpb.Auth/UserRevokeRole", Need::Root),
    unary("/etcdserverpb.Cluster/MemberAdd", Need::Root),
    // Clients find their endpoints by it.
    unary("/etcdserverpb.Cluster/MemberList", Need::User),
    unary("/etcdserverpb.Cluster/MemberPromote", Need::Root),
    unary("/etcdserverpb.Cluster/MemberRemove", Need::Root),
    unary("/etcdserverpb.Cluster/MemberUpdate", Need::Root),
    unary("/etcdserverpb.KV/Compact", Need::Root),
    unary("/etcdserverpb.KV/DeleteRange", Need::Keys),
    unary("/etcdserverpb.KV/Put", Need::Keys),
    unary("/etcdserverpb.KV/Range", Need::Keys),
    streaming("/etcdserverpb.KV/RangeStream", Kind::ServerStream, Need::Keys),
    unary("/etcdserverpb.KV/Txn", Need::Keys),
    unary("/etcdserverpb.Lease/LeaseGrant", Need::User),
    streaming("/etcdserverpb.Lease/LeaseKeepAlive", Kind::BidiStream, Need::Keys),
    unary("/etcdserverpb.Lease/LeaseLeases", Need::User),
    unary("/etcdserverpb.Lease/LeaseRevoke", Need::Keys),
    unary("/etcdserverpb.Lease/LeaseTimeToLive", Need::Keys),
    // Looking at alarms is for any user, raising and disarming them for root.
    unary("/etcdserverpb.Maintenance/Alarm", Need::Message),
    unary("/etcdserverpb.Maintenance/Defragment", Need::Root),
    unary("/etcdserverpb.Maintenance/Downgrade", Need::Root),
    unary("/etcdserverpb.Maintenance/Hash", Need::Root),
    unary("/etcdserverpb.Maintenance/HashKV", Need::Root),
    unary("/etcdserverpb.Maintenance/MoveLeader", Need::Root),
    streaming("/etcdserverpb.Maintenance/Snapshot", Kind::ServerStream, Need::Root),
    // Kubernetes asks for the version, with the user that it has.
    unary("/etcdserverpb.Maintenance/Status", Need::User),
    streaming("/etcdserverpb.Watch/Watch", Kind::BidiStream, Need::Stream),
    unary("/grpc.health.v1.Health/Check", Need::Nobody),
    streaming("/grpc.health.v1.Health/Watch", Kind::ServerStream, Need::Nobody),
    unary("/v3electionpb.Election/Campaign", Need::Recipe),
    unary("/v3electionpb.Election/Leader", Need::Recipe),
    streaming("/v3electionpb.Election/Observe", Kind::ServerStream, Need::Recipe),
    unary("/v3electionpb.Election/Proclaim", Need::Recipe),
    unary("/v3electionpb.Election/Resign", Need::Recipe),
    unary("/v3lockpb.Lock/Lock", Need::Recipe),
    unary("/v3lockpb.Lock/Unlock", Need::Recipe),
];

/// The place of a path in the table. Paths come from the network.
pub(crate) fn place(path: &str) -> Option<usize> {
    METHODS.binary_search_by(|method| method.path.cmp(path)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_and_nothing_else() {
        assert!(METHODS.is_sorted_by_key(|method| method.path), "it is searched by halves");
        for (at, method) in METHODS.iter().enumerate() {
            assert_eq!(place(method.path), Some(at));
        }
        assert_eq!(place("/etcdserverpb.KV/"), None);
        assert_eq!(place(""), None);
    }

    /// A method that a service gets and this table does not would be refused; one that the table
    /// has and no service does has no meaning.
    #[test]
    fn the_table_is_that_of_the_descriptors() {
        let pool = prost_reflect::DescriptorPool::decode(api::DESCRIPTORS).unwrap();
        let mut described: Vec<(String, Kind)> = Vec::new();
        for service in pool.services() {
            for method in service.methods() {
                let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
                    (false, false) => Kind::Unary,
                    (false, true) => Kind::ServerStream,
                    (true, _) => Kind::BidiStream,
                };
                described.push((format!("/{}/{}", service.full_name(), method.name()), kind));
            }
        }
        described.sort_by(|a, b| a.0.cmp(&b.0));
        let table: Vec<(String, Kind)> =
            METHODS.iter().map(|method| (method.path.to_owned(), method.kind)).collect();
        assert_eq!(table, described);
    }
}
