//! etcd's paths. Methods of gRPC's own health protocol have none, nor has `RangeStream`.

/// Path under `/v3/` and method.
const ROUTES: [(&str, &str); 51] = [
    ("auth/authenticate", "/etcdserverpb.Auth/Authenticate"),
    ("auth/disable", "/etcdserverpb.Auth/AuthDisable"),
    ("auth/enable", "/etcdserverpb.Auth/AuthEnable"),
    ("auth/role/add", "/etcdserverpb.Auth/RoleAdd"),
    ("auth/role/delete", "/etcdserverpb.Auth/RoleDelete"),
    ("auth/role/get", "/etcdserverpb.Auth/RoleGet"),
    ("auth/role/grant", "/etcdserverpb.Auth/RoleGrantPermission"),
    ("auth/role/list", "/etcdserverpb.Auth/RoleList"),
    ("auth/role/revoke", "/etcdserverpb.Auth/RoleRevokePermission"),
    ("auth/status", "/etcdserverpb.Auth/AuthStatus"),
    ("auth/user/add", "/etcdserverpb.Auth/UserAdd"),
    ("auth/user/changepw", "/etcdserverpb.Auth/UserChangePassword"),
    ("auth/user/delete", "/etcdserverpb.Auth/UserDelete"),
    ("auth/user/get", "/etcdserverpb.Auth/UserGet"),
    ("auth/user/grant", "/etcdserverpb.Auth/UserGrantRole"),
    ("auth/user/list", "/etcdserverpb.Auth/UserList"),
    ("auth/user/revoke", "/etcdserverpb.Auth/UserRevokeRole"),
    ("cluster/member/add", "/etcdserverpb.Cluster/MemberAdd"),
    ("cluster/member/list", "/etcdserverpb.Cluster/MemberList"),
    ("cluster/member/promote", "/etcdserverpb.Cluster/MemberPromote"),
    ("cluster/member/remove", "/etcdserverpb.Cluster/MemberRemove"),
    ("cluster/member/update", "/etcdserverpb.Cluster/MemberUpdate"),
    ("election/campaign", "/v3electionpb.Election/Campaign"),
    ("election/leader", "/v3electionpb.Election/Leader"),
    ("election/observe", "/v3electionpb.Election/Observe"),
    ("election/proclaim", "/v3electionpb.Election/Proclaim"),
    ("election/resign", "/v3electionpb.Election/Resign"),
    ("kv/compaction", "/etcdserverpb.KV/Compact"),
    ("kv/deleterange", "/etcdserverpb.KV/DeleteRange"),
    // Where these were before they were under `lease/`.
    ("kv/lease/leases", "/etcdserverpb.Lease/LeaseLeases"),
    ("kv/lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"),
    ("kv/lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("kv/put", "/etcdserverpb.KV/Put"),
    ("kv/range", "/etcdserverpb.KV/Range"),
    ("kv/txn", "/etcdserverpb.KV/Txn"),
    ("lease/grant", "/etcdserverpb.Lease/LeaseGrant"),
    ("lease/keepalive", "/etcdserverpb.Lease/LeaseKeepAlive"),
    ("lease/leases", "/etcdserverpb.Lease/LeaseLeases"),
    ("lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"),
    ("lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive"),
    ("lock/lock", "/v3lockpb.Lock/Lock"),
    ("lock/unlock", "/v3lockpb.Lock/Unlock"),
    ("maintenance/alarm", "/etcdserverpb.Maintenance/Alarm"),
    ("maintenance/defragment", "/etcdserverpb.Maintenance/Defragment"),
    ("maintenance/downgrade", "/etcdserverpb.Maintenance/Downgrade"),
    ("maintenance/hash", "/etcdserverpb.Maintenance/Hash"),
    ("maintenance/hashkv", "/etcdserverpb.Maintenance/HashKV"),
    ("maintenance/snapshot", "/etcdserverpb.Maintenance/Snapshot"),
    ("maintenance/status", "/etcdserverpb.Maintenance/Status"),
    ("maintenance/transfer-leadership", "/etcdserverpb.Maintenance/MoveLeader"),
    ("watch", "/etcdserverpb.Watch/Watch"),
];

/// The method at a path.
pub(super) fn grpc_path(path: &str) -> Option<&'static str> {
    let path = path.strip_prefix("/v3/")?;
    let at = ROUTES.binary_search_by(|(route, _)| (*route).cmp(path)).ok()?;
    Some(ROUTES[at].1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::methods::METHODS;

    #[test]
    fn every_method_but_those_without_a_path_has_one() {
        assert!(ROUTES.is_sorted(), "it is searched by halves");
        let routed: BTreeSet<&str> = ROUTES.iter().map(|(_, method)| *method).collect();
        let without = ["/etcdserverpb.KV/RangeStream"];
        let served: BTreeSet<&str> = METHODS
            .iter()
            .map(|method| method.path)
            .filter(|path| !path.starts_with("/grpc.") && !without.contains(path))
            .collect();
        assert_eq!(routed, served);
        assert_eq!(grpc_path("/v3/kv/put"), Some("/etcdserverpb.KV/Put"));
        assert_eq!(grpc_path("/v3/kv"), None);
        assert_eq!(grpc_path("/v2/kv/put"), None);
    }
}
