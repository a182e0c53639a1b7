//! The rows: what is asked, and who may.

use std::pin::Pin;
use std::time::Duration;

use api::etcdserverpb::auth_client::AuthClient;
use api::etcdserverpb::cluster_client::ClusterClient;
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::lease_client::LeaseClient;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::{self as pb, request_op::Request as Op};
use api::grpc::health::v1::{HealthCheckRequest, health_client::HealthClient};
use api::v3electionpb::{self as election, election_client::ElectionClient};
use api::v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient};
use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// The lease that the key `w` is attached to.
pub(crate) const LEASE: i64 = 7;

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Nobody,
    User,
    Root,
    /// The writer of `w`, and root.
    Keys,
    /// The same, with every refusal as UNKNOWN.
    Recipe,
}

/// A stream that says nothing for so long has let its caller in.
const QUIET: Duration = Duration::from_millis(500);

type Called = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;
type Call = Box<dyn Fn(Channel, Option<String>) -> Called + Send + Sync>;

pub(crate) struct Row {
    pub(crate) path: &'static str,
    pub(crate) how: &'static str,
    pub(crate) class: Class,
    pub(crate) call: Call,
}

/// A request with a token.
pub(crate) fn signed<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("token", token.parse().unwrap());
    }
    request
}

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub(crate) fn put(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: b(key), value: b("v"), ..Default::default() }
}

fn range(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: b(key), ..Default::default() }
}

fn delete(key: &'static str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: b(key), ..Default::default() }
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn compare(key: &'static str) -> pb::Compare {
    pb::Compare { key: b(key), ..Default::default() }
}

fn success(op: pb::RequestOp) -> pb::TxnRequest {
    pb::TxnRequest { success: vec![op], ..Default::default() }
}

fn failure(op: pb::RequestOp) -> pb::TxnRequest {
    pb::TxnRequest { failure: vec![op], ..Default::default() }
}

fn nested(txn: pb::TxnRequest) -> pb::TxnRequest {
    failure(op(Op::RequestTxn(success(op(Op::RequestTxn(txn))))))
}

fn leader() -> Option<election::LeaderKey> {
    let (name, key) = (b("w"), b("w/7"));
    Some(election::LeaderKey { name, key, rev: 1, lease: LEASE })
}

/// One method that answers once, asked in one way.
macro_rules! unary {
    ($path:literal, $how:literal, $class:ident, $client:ident.$method:ident($request:expr)) => {
        Row {
            path: $path,
            how: $how,
            class: Class::$class,
            call: Box::new(|channel, token| {
                Box::pin(async move {
                    let request = signed(token.as_deref(), $request);
                    $client::new(channel).$method(request).await.map(drop)
                })
            }),
        }
    };
}

/// One that answers in a stream: the first answer counts.
macro_rules! stream {
    ($path:literal, $how:literal, $class:ident, $client:ident.$method:ident($request:expr)) => {
        Row {
            path: $path,
            how: $how,
            class: Class::$class,
            call: Box::new(|channel, token| {
                Box::pin(async move {
                    let request = signed(token.as_deref(), $request);
                    let mut answers = $client::new(channel).$method(request).await?.into_inner();
                    // Who may ask and is not answered has nothing to hear.
                    let first = tokio::time::timeout(QUIET, answers.message()).await;
                    first.map_or(Ok(()), |first| first.map(drop))
                })
            }),
        }
    };
}

/// A watcher, whose refusal is an answer.
async fn watch(channel: Channel, token: Option<String>, key: Bytes) -> Result<(), Status> {
    let create = pb::WatchCreateRequest { key, ..Default::default() };
    let request_union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
    let requests = tokio_stream::iter([pb::WatchRequest { request_union }]);
    let request = signed(token.as_deref(), requests);
    let mut answers = WatchClient::new(channel).watch(request).await?.into_inner();
    let created = answers.message().await?.unwrap();
    assert!(created.created, "{created:?}");
    if !created.canceled {
        return Ok(());
    }
    assert_eq!(created.watch_id, -1);
    let reason = created.cancel_reason;
    let code = [
        ("PermissionDenied", tonic::Code::PermissionDenied),
        ("Unauthenticated", tonic::Code::Unauthenticated),
        ("InvalidArgument", tonic::Code::InvalidArgument),
    ];
    let found = code
        .into_iter()
        .find(|(name, _)| reason.starts_with(&format!("rpc error: code = {name} desc = ")));
    Err(Status::new(found.unwrap().1, reason))
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = keys();
    rows.extend(recipes());
    rows.extend(administration());
    rows.extend(users());
    rows
}

fn keys() -> Vec<Row> {
    vec![
        unary!("/etcdserverpb.KV/Range", "", Keys, KvClient.range(range("w"))),
        unary!(
            "/etcdserverpb.KV/Range",
            "serializable",
            Keys,
            KvClient.range(pb::RangeRequest { serializable: true, ..range("w") })
        ),
        unary!(
            "/etcdserverpb.KV/Range",
            "beyond the end",
            Root,
            KvClient.range(pb::RangeRequest { range_end: b("y"), ..range("w") })
        ),
        unary!(
            "/etcdserverpb.KV/Range",
            "without end",
            Root,
            KvClient.range(pb::RangeRequest { range_end: b("\0"), ..range("w") })
        ),
        stream!("/etcdserverpb.KV/RangeStream", "", Keys, KvClient.range_stream(range("w"))),
        unary!("/etcdserverpb.KV/Put", "", Keys, KvClient.put(put("w"))),
        unary!(
            "/etcdserverpb.KV/Put",
            "with what was there",
            Keys,
            KvClient.put(pb::PutRequest { prev_kv: true, ..put("w") })
        ),
        unary!(
            "/etcdserverpb.KV/Put",
            "attached",
            Keys,
            KvClient.put(pb::PutRequest { lease: LEASE, ..put("w2") })
        ),
        unary!("/etcdserverpb.KV/DeleteRange", "", Keys, KvClient.delete_range(delete("w2"))),
        unary!(
            "/etcdserverpb.KV/DeleteRange",
            "without end",
            Root,
            KvClient.delete_range(pb::DeleteRangeRequest { range_end: b("\0"), ..delete("w2") })
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "put",
            Keys,
            KvClient.txn(success(op(Op::RequestPut(put("w")))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "put in the other branch",
            Keys,
            KvClient.txn(failure(op(Op::RequestPut(put("w")))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "range",
            Keys,
            KvClient.txn(success(op(Op::RequestRange(range("w")))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "delete",
            Keys,
            KvClient.txn(failure(op(Op::RequestDeleteRange(delete("w2")))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "compare",
            Keys,
            KvClient.txn(pb::TxnRequest { compare: vec![compare("w")], ..Default::default() })
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "nested put",
            Keys,
            KvClient.txn(nested(failure(op(Op::RequestPut(put("w"))))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "nested range",
            Keys,
            KvClient.txn(nested(success(op(Op::RequestRange(range("w"))))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "nested compare",
            Keys,
            KvClient
                .txn(nested(pb::TxnRequest { compare: vec![compare("w")], ..Default::default() }))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "nested delete without end",
            Root,
            KvClient.txn(nested(failure(op(Op::RequestDeleteRange(pb::DeleteRangeRequest {
                range_end: b("\0"),
                ..delete("w2")
            })))))
        ),
        Row {
            path: "/etcdserverpb.Watch/Watch",
            how: "",
            class: Class::Keys,
            call: Box::new(|channel, token| Box::pin(watch(channel, token, b("w")))),
        },
        unary!(
            "/etcdserverpb.Lease/LeaseGrant",
            "",
            User,
            LeaseClient.lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 0 })
        ),
        unary!(
            "/etcdserverpb.Lease/LeaseLeases",
            "",
            User,
            LeaseClient.lease_leases(pb::LeaseLeasesRequest {})
        ),
        unary!(
            "/etcdserverpb.Lease/LeaseTimeToLive",
            "",
            User,
            LeaseClient.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: LEASE, keys: false })
        ),
        unary!(
            "/etcdserverpb.Lease/LeaseTimeToLive",
            "with keys",
            Keys,
            LeaseClient.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: LEASE, keys: true })
        ),
        stream!(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            "",
            Keys,
            LeaseClient
                .lease_keep_alive(tokio_stream::iter([pb::LeaseKeepAliveRequest { id: LEASE }]))
        ),
        unary!(
            "/etcdserverpb.Lease/LeaseRevoke",
            "",
            Keys,
            LeaseClient.lease_revoke(pb::LeaseRevokeRequest { id: LEASE })
        ),
    ]
}

fn recipes() -> Vec<Row> {
    vec![
        unary!(
            "/v3lockpb.Lock/Lock",
            "",
            Recipe,
            LockClient.lock(LockRequest { name: b("w"), lease: LEASE })
        ),
        unary!(
            "/v3lockpb.Lock/Unlock",
            "",
            Recipe,
            LockClient.unlock(UnlockRequest { key: b("w/7") })
        ),
        unary!(
            "/v3electionpb.Election/Campaign",
            "",
            Recipe,
            ElectionClient.campaign(election::CampaignRequest {
                name: b("w"),
                lease: LEASE,
                value: b("v")
            })
        ),
        unary!(
            "/v3electionpb.Election/Proclaim",
            "",
            Recipe,
            ElectionClient.proclaim(election::ProclaimRequest { leader: leader(), value: b("v") })
        ),
        unary!(
            "/v3electionpb.Election/Leader",
            "",
            Recipe,
            ElectionClient.leader(election::LeaderRequest { name: b("w") })
        ),
        stream!(
            "/v3electionpb.Election/Observe",
            "",
            Recipe,
            ElectionClient.observe(election::LeaderRequest { name: b("w") })
        ),
        unary!(
            "/v3electionpb.Election/Resign",
            "",
            Recipe,
            ElectionClient.resign(election::ResignRequest { leader: leader() })
        ),
    ]
}

fn alarm(action: pb::alarm_request::AlarmAction) -> pb::AlarmRequest {
    let alarm = pb::AlarmType::Nospace.into();
    // Of a member that there is not.
    pb::AlarmRequest { action: action.into(), member_id: 99, alarm }
}

fn administration() -> Vec<Row> {
    use pb::alarm_request::AlarmAction::{Activate, Deactivate, Get};
    vec![
        unary!(
            "/etcdserverpb.KV/Compact",
            "",
            Root,
            KvClient.compact(pb::CompactionRequest { revision: i64::MAX, physical: false })
        ),
        unary!(
            "/etcdserverpb.Maintenance/Alarm",
            "list",
            User,
            MaintenanceClient.alarm(alarm(Get))
        ),
        unary!(
            "/etcdserverpb.Maintenance/Alarm",
            "disarm",
            Root,
            MaintenanceClient.alarm(alarm(Deactivate))
        ),
        unary!(
            "/etcdserverpb.Maintenance/Alarm",
            "raise",
            Root,
            MaintenanceClient
                .alarm(pb::AlarmRequest { alarm: pb::AlarmType::None.into(), ..alarm(Activate) })
        ),
        unary!(
            "/etcdserverpb.Maintenance/Status",
            "",
            User,
            MaintenanceClient.status(pb::StatusRequest {})
        ),
        unary!(
            "/etcdserverpb.Maintenance/Defragment",
            "",
            Root,
            MaintenanceClient.defragment(pb::DefragmentRequest {})
        ),
        unary!(
            "/etcdserverpb.Maintenance/Hash",
            "",
            Root,
            MaintenanceClient.hash(pb::HashRequest {})
        ),
        unary!(
            "/etcdserverpb.Maintenance/HashKV",
            "",
            Root,
            MaintenanceClient.hash_kv(pb::HashKvRequest { revision: 0 })
        ),
        stream!(
            "/etcdserverpb.Maintenance/Snapshot",
            "",
            Root,
            MaintenanceClient.snapshot(pb::SnapshotRequest {})
        ),
        unary!(
            "/etcdserverpb.Maintenance/MoveLeader",
            "",
            Root,
            MaintenanceClient.move_leader(pb::MoveLeaderRequest { target_id: 99 })
        ),
        unary!(
            "/etcdserverpb.Maintenance/Downgrade",
            "",
            Root,
            MaintenanceClient.downgrade(pb::DowngradeRequest::default())
        ),
        unary!(
            "/etcdserverpb.Cluster/MemberList",
            "",
            User,
            ClusterClient.member_list(pb::MemberListRequest { linearizable: true })
        ),
        // Each of these asks for what cannot be done: only who asks is of interest.
        unary!(
            "/etcdserverpb.Cluster/MemberAdd",
            "",
            Root,
            ClusterClient.member_add(pb::MemberAddRequest::default())
        ),
        unary!(
            "/etcdserverpb.Cluster/MemberRemove",
            "",
            Root,
            ClusterClient.member_remove(pb::MemberRemoveRequest { id: 99 })
        ),
        unary!(
            "/etcdserverpb.Cluster/MemberUpdate",
            "",
            Root,
            ClusterClient.member_update(pb::MemberUpdateRequest { id: 99, ..Default::default() })
        ),
        unary!(
            "/etcdserverpb.Cluster/MemberPromote",
            "",
            Root,
            ClusterClient.member_promote(pb::MemberPromoteRequest { id: 99 })
        ),
        unary!(
            "/grpc.health.v1.Health/Check",
            "",
            Nobody,
            HealthClient.check(HealthCheckRequest::default())
        ),
        stream!(
            "/grpc.health.v1.Health/Watch",
            "",
            Nobody,
            HealthClient.watch(HealthCheckRequest::default())
        ),
    ]
}

fn users() -> Vec<Row> {
    vec![
        unary!(
            "/etcdserverpb.Auth/AuthStatus",
            "",
            Nobody,
            AuthClient.auth_status(pb::AuthStatusRequest {})
        ),
        unary!(
            "/etcdserverpb.Auth/Authenticate",
            "",
            Nobody,
            AuthClient.authenticate(pb::AuthenticateRequest {
                name: "writer".to_owned(),
                password: "wrong".to_owned()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/UserAdd",
            "",
            Root,
            AuthClient.user_add(pb::AuthUserAddRequest {
                name: "writer".to_owned(),
                ..Default::default()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/UserGet",
            "of another",
            Root,
            AuthClient.user_get(pb::AuthUserGetRequest { name: "nobody".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/UserGet",
            "of oneself",
            Keys,
            AuthClient.user_get(pb::AuthUserGetRequest { name: "writer".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/UserList",
            "",
            Root,
            AuthClient.user_list(pb::AuthUserListRequest {})
        ),
        unary!(
            "/etcdserverpb.Auth/UserDelete",
            "",
            Root,
            AuthClient.user_delete(pb::AuthUserDeleteRequest { name: "nobody".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/UserChangePassword",
            "",
            Root,
            AuthClient.user_change_password(pb::AuthUserChangePasswordRequest {
                name: "nobody".to_owned(),
                ..Default::default()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/UserGrantRole",
            "",
            Root,
            AuthClient.user_grant_role(pb::AuthUserGrantRoleRequest {
                user: "nobody".to_owned(),
                role: "root".to_owned()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/UserRevokeRole",
            "",
            Root,
            AuthClient.user_revoke_role(pb::AuthUserRevokeRoleRequest {
                name: "nobody".to_owned(),
                role: "root".to_owned()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleAdd",
            "",
            Root,
            AuthClient.role_add(pb::AuthRoleAddRequest { name: "writer".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleGet",
            "of another",
            Root,
            AuthClient.role_get(pb::AuthRoleGetRequest { role: "nobody".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleGet",
            "of oneself",
            Keys,
            AuthClient.role_get(pb::AuthRoleGetRequest { role: "writer".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleList",
            "",
            Root,
            AuthClient.role_list(pb::AuthRoleListRequest {})
        ),
        unary!(
            "/etcdserverpb.Auth/RoleDelete",
            "",
            Root,
            AuthClient.role_delete(pb::AuthRoleDeleteRequest { role: "nobody".to_owned() })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleGrantPermission",
            "",
            Root,
            AuthClient.role_grant_permission(pb::AuthRoleGrantPermissionRequest {
                name: "writer".to_owned(),
                perm: None
            })
        ),
        unary!(
            "/etcdserverpb.Auth/RoleRevokePermission",
            "",
            Root,
            AuthClient.role_revoke_permission(pb::AuthRoleRevokePermissionRequest {
                role: "nobody".to_owned(),
                ..Default::default()
            })
        ),
        unary!(
            "/etcdserverpb.Auth/AuthEnable",
            "",
            Root,
            AuthClient.auth_enable(pb::AuthEnableRequest {})
        ),
        // The last: by root it is done.
        unary!(
            "/etcdserverpb.Auth/AuthDisable",
            "",
            Root,
            AuthClient.auth_disable(pb::AuthDisableRequest {})
        ),
    ]
}
