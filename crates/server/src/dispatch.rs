//! From a request to the service that answers it. The tonic services are called by their paths
//! without a router in between: a put costs what it has to, and no more.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use api::etcdserverpb::{
    auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
    lease_server::LeaseServer, maintenance_server::MaintenanceServer, watch_server::WatchServer,
};
use api::grpc::health::v1::health_server::HealthServer;
use axum::Router;
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::{Code, Status};

use crate::api_error::{ApiError, parse_oversize};
use crate::member::Member;
use crate::metrics::Rpcs;
use crate::service::auth::AuthService;
use crate::service::cluster::ClusterService;
use crate::service::health::HealthService;
use crate::service::kv::KvService;
use crate::service::lease::LeaseService;
use crate::service::maintenance::MaintenanceService;
use crate::service::watch::WatchService;
use crate::unary;

/// Everything that a connection may ask for.
#[derive(Clone)]
pub(crate) struct Dispatch(Arc<Services>);

struct Services {
    member: Arc<Member>,
    kv: KvServer<KvService>,
    /// The same, for calls that need no stream.
    unary_kv: KvService,
    watch: WatchServer<WatchService>,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    auth: AuthServer<AuthService>,
    health: HealthServer<HealthService>,
    http: Router,
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch").finish_non_exhaustive()
    }
}

type Answered = BoxFuture<Response<Body>, Infallible>;

impl Dispatch {
    pub(crate) fn new(member: &Arc<Member>) -> Self {
        let member = Arc::clone(member);
        let bytes_max = member.limits.message_bytes_max;
        // The largest answer is etcd's: what fits a signed 32-bit length.
        let answer_bytes_max = 0x7fff_ffff;
        macro_rules! limited {
            ($server:ident($service:ident)) => {
                $server::new($service(Arc::clone(&member)))
                    .max_decoding_message_size(bytes_max)
                    .max_encoding_message_size(answer_bytes_max)
            };
        }
        Self(Arc::new(Services {
            kv: limited!(KvServer(KvService)),
            unary_kv: KvService(Arc::clone(&member)),
            watch: limited!(WatchServer(WatchService)),
            lease: limited!(LeaseServer(LeaseService)),
            cluster: limited!(ClusterServer(ClusterService)),
            maintenance: limited!(MaintenanceServer(MaintenanceService)),
            auth: limited!(AuthServer(AuthService)),
            health: limited!(HealthServer(HealthService)),
            http: crate::http::router(Arc::clone(&member)),
            member,
        }))
    }

    fn grpc(&self, request: Request<Incoming>) -> Answered {
        let services = &*self.0;
        let path = request.uri().path();
        let service = path.get(1..).and_then(|path| path.split_once('/')).map(|(name, _)| name);
        match service {
            Some("etcdserverpb.KV") => match unary::Call::of(&request) {
                Some(call) => {
                    let bytes_max = services.member.limits.message_bytes_max;
                    call.answer(&services.unary_kv, bytes_max, request)
                }
                None => services.kv.clone().call(request),
            },
            Some("etcdserverpb.Watch") => services.watch.clone().call(request),
            Some("etcdserverpb.Lease") => services.lease.clone().call(request),
            Some("etcdserverpb.Cluster") => services.cluster.clone().call(request),
            Some("etcdserverpb.Maintenance") => services.maintenance.clone().call(request),
            Some("etcdserverpb.Auth") => services.auth.clone().call(request),
            Some("grpc.health.v1.Health") => services.health.clone().call(request),
            _ => {
                let text = format!("unknown service {}", service.unwrap_or_default());
                refuse(Status::unimplemented(text))
            }
        }
    }

    fn plain(&self, request: Request<Incoming>) -> Answered {
        let answered = self.0.http.clone().call(request);
        Box::pin(async move { Ok(answered.await?.map(Body::new)) })
    }
}

fn refuse(status: Status) -> Answered {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"))
}

fn needs_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|value| value.as_bytes() == b"true")
}

impl hyper::service::Service<Request<Incoming>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        if !is_grpc(request.headers()) {
            return Answer { answered: self.plain(request), tally: None };
        }
        let member = &self.0.member;
        let tally = Rpcs::place(request.uri().path()).map(|place| {
            member.metrics.rpcs.started(place);
            Tally { member: Arc::clone(member), place }
        });
        let refused = if needs_leader(request.headers()) {
            member.leadership.require_leader().err()
        } else {
            None
        };
        let answered = match refused {
            Some(error) => refuse(error.into()),
            None => self.grpc(request),
        };
        Answer { answered, tally }
    }
}

/// Counts how a call ended.
struct Tally {
    member: Arc<Member>,
    place: usize,
}

/// The answer to come; on its way out it is counted, and tonic's words for an oversized message are
/// replaced by etcd's.
pub(crate) struct Answer {
    answered: Answered,
    tally: Option<Tally>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.answered.as_mut().poll(cx).map(|answered| {
            let mut response = answered?;
            // Only a refusal has its code in the head; where all is well it follows the body.
            let code = match response.headers().get(Status::GRPC_STATUS) {
                None => Code::Ok,
                Some(code) => Code::from_bytes(code.as_bytes()),
            };
            if code == Code::OutOfRange
                && let Some(error) = oversize(response.headers())
            {
                response = Status::from(error).into_http();
            }
            if let Some(tally) = self.tally.take() {
                tally.member.metrics.rpcs.handled(tally.place, code);
            }
            Ok(response)
        })
    }
}

fn oversize(headers: &HeaderMap<HeaderValue>) -> Option<ApiError> {
    let status = Status::from_header_map(headers)?;
    parse_oversize(status.code(), status.message())
}
