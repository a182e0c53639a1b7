//! Every method that takes one message and gives one, and who answers it.

use std::sync::Arc;

use api::etcdserverpb::{
    auth_server::Auth, cluster_server::Cluster, kv_server::Kv, lease_server::Lease,
    maintenance_server::Maintenance,
};
use api::grpc::health::v1::health_server::Health;
use api::v3electionpb::election_server::Election;
use api::v3lockpb::lock_server::Lock;
use http::Request;
use tonic::codegen::StdError;

use super::{Answered, Limits, answer};
use crate::dispatch::RequestBody;
use crate::member::Member;
use crate::service::auth::AuthService;
use crate::service::cluster::ClusterService;
use crate::service::election::ElectionService;
use crate::service::health::HealthService;
use crate::service::kv::KvService;
use crate::service::lease::LeaseService;
use crate::service::lock::LockService;
use crate::service::maintenance::MaintenanceService;

macro_rules! routes {
    ($($path:literal => $service:ident.$method:ident,)*) => {
        #[cfg(test)]
        const PATHS: &[&str] = &[$($path),*];

        /// Answers a call; the request comes back if its method is none of these, or if its message
        /// is encoded in a way that tonic is to refuse.
        pub(crate) fn route<B: RequestBody>(
            member: &Arc<Member>,
            limits: Limits,
            request: Request<B>,
        ) -> Result<Answered, Box<Request<B>>>
        where
            B::Error: Into<StdError> + Send,
        {
            let encoding = request.headers().get("grpc-encoding");
            if encoding.is_some_and(|encoding| encoding.as_bytes() != b"identity") {
                return Err(Box::new(request));
            }
            match request.uri().path() {
                $($path => {
                    let service = $service(Arc::clone(member));
                    Ok(Box::pin(answer(request, limits, async move |message| {
                        service.$method(message).await
                    })))
                })*
                _ => Err(Box::new(request)),
            }
        }
    };
}

routes! {
    // Those that come by the thousand first.
    "/etcdserverpb.KV/Put" => KvService.put,
    "/etcdserverpb.KV/Range" => KvService.range,
    "/etcdserverpb.KV/Txn" => KvService.txn,
    "/etcdserverpb.KV/DeleteRange" => KvService.delete_range,
    "/etcdserverpb.KV/Compact" => KvService.compact,
    "/etcdserverpb.Lease/LeaseGrant" => LeaseService.lease_grant,
    "/etcdserverpb.Lease/LeaseRevoke" => LeaseService.lease_revoke,
    "/etcdserverpb.Lease/LeaseTimeToLive" => LeaseService.lease_time_to_live,
    "/etcdserverpb.Lease/LeaseLeases" => LeaseService.lease_leases,
    "/etcdserverpb.Auth/AuthDisable" => AuthService.auth_disable,
    "/etcdserverpb.Auth/AuthEnable" => AuthService.auth_enable,
    "/etcdserverpb.Auth/AuthStatus" => AuthService.auth_status,
    "/etcdserverpb.Auth/Authenticate" => AuthService.authenticate,
    "/etcdserverpb.Auth/RoleAdd" => AuthService.role_add,
    "/etcdserverpb.Auth/RoleDelete" => AuthService.role_delete,
    "/etcdserverpb.Auth/RoleGet" => AuthService.role_get,
    "/etcdserverpb.Auth/RoleGrantPermission" => AuthService.role_grant_permission,
    "/etcdserverpb.Auth/RoleList" => AuthService.role_list,
    "/etcdserverpb.Auth/RoleRevokePermission" => AuthService.role_revoke_permission,
    "/etcdserverpb.Auth/UserAdd" => AuthService.user_add,
    "/etcdserverpb.Auth/UserChangePassword" => AuthService.user_change_password,
    "/etcdserverpb.Auth/UserDelete" => AuthService.user_delete,
    "/etcdserverpb.Auth/UserGet" => AuthService.user_get,
    "/etcdserverpb.Auth/UserGrantRole" => AuthService.user_grant_role,
    "/etcdserverpb.Auth/UserList" => AuthService.user_list,
    "/etcdserverpb.Auth/UserRevokeRole" => AuthService.user_revoke_role,
    "/etcdserverpb.Cluster/MemberAdd" => ClusterService.member_add,
    "/etcdserverpb.Cluster/MemberList" => ClusterService.member_list,
    "/etcdserverpb.Cluster/MemberPromote" => ClusterService.member_promote,
    "/etcdserverpb.Cluster/MemberRemove" => ClusterService.member_remove,
    "/etcdserverpb.Cluster/MemberUpdate" => ClusterService.member_update,
    "/etcdserverpb.Maintenance/Alarm" => MaintenanceService.alarm,
    "/etcdserverpb.Maintenance/Defragment" => MaintenanceService.defragment,
    "/etcdserverpb.Maintenance/Downgrade" => MaintenanceService.downgrade,
    "/etcdserverpb.Maintenance/Hash" => MaintenanceService.hash,
    "/etcdserverpb.Maintenance/HashKV" => MaintenanceService.hash_kv,
    "/etcdserverpb.Maintenance/MoveLeader" => MaintenanceService.move_leader,
    "/etcdserverpb.Maintenance/Status" => MaintenanceService.status,
    "/grpc.health.v1.Health/Check" => HealthService.check,
    "/v3electionpb.Election/Campaign" => ElectionService.campaign,
    "/v3electionpb.Election/Leader" => ElectionService.leader,
    "/v3electionpb.Election/Proclaim" => ElectionService.proclaim,
    "/v3electionpb.Election/Resign" => ElectionService.resign,
    "/v3lockpb.Lock/Lock" => LockService.lock,
    "/v3lockpb.Lock/Unlock" => LockService.unlock,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::{Kind, METHODS};

    /// One that is missing would be answered by tonic, and nothing of it counted.
    #[test]
    fn every_method_of_one_message_and_one_answer_has_a_route() {
        let mut routed = PATHS.to_vec();
        routed.sort_unstable();
        let unary = METHODS.iter().filter(|method| method.kind == Kind::Unary);
        assert_eq!(routed, unary.map(|method| method.path).collect::<Vec<_>>());
    }
}
