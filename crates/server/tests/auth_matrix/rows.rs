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

// Behind the macros, which they use.
mod administration;
mod keys;
mod recipes;
mod users;

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
    let mut rows = keys::keys();
    rows.extend(recipes::recipes());
    rows.extend(administration::administration());
    rows.extend(users::users());
    rows
}
