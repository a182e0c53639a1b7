//! From a request to the service that answers it. The tonic services are called by their paths
//! without a router in between: a put costs what it has to, and no more.

mod answer;
mod refusal;
mod streamed;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use api::etcdserverpb::{
    auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
    lease_server::LeaseServer, maintenance_server::MaintenanceServer, watch_server::WatchServer,
};
use api::grpc::health::v1::health_server::HealthServer;
use api::v3electionpb::election_server::ElectionServer;
use api::v3lockpb::lock_server::LockServer;
use axum::Router;
use bytes::Bytes;
use host::ProposeError;
use http::{HeaderMap, Request, Response, header::CONTENT_TYPE};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::codegen::{Service, StdError};
use tonic::{Code, Status};

use crate::api_error::ApiError;
use crate::budget::{Budget, Budgets};
use crate::counted::{Counted, Kept, hold_head, hold_stream};
use crate::gate::{CommonName, Credentials};
use crate::http::gateway;
use crate::member::Member;
use crate::methods::{METHODS, Need, place};
use crate::metrics::{Meter, Tally};
use crate::rate::Rate;
use crate::service::auth::AuthService;
use crate::service::cluster::ClusterService;
use crate::service::election::ElectionService;
use crate::service::health::HealthService;
use crate::service::kv::KvService;
use crate::service::lease::LeaseService;
use crate::service::lock::LockService;
use crate::service::maintenance::MaintenanceService;
use crate::service::watch::WatchService;
use crate::unary::{self, Answered, Limits};
pub(crate) use answer::Answer;
use answer::timeout;
use refusal::refuse_unread;

/// Everything that a connection may ask for.
#[derive(Clone)]
pub(crate) struct Dispatch {
    services: Arc<Services>,
    /// The name in the certificate of the connection's client.
    common_name: Option<CommonName>,
    /// Whether nothing else is served than metrics and health.
    only_metrics: bool,
    /// What the connection may hold.
    budgets: Budgets,
    /// The calls of the connection, if they are bounded.
    rate: Option<Arc<Rate>>,
}

struct Services {
    member: Arc<Member>,
    kv: KvServer<KvService>,
    watch: WatchServer<WatchService>,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    auth: AuthServer<AuthService>,
    health: HealthServer<HealthService>,
    lock: LockServer<LockService>,
    election: ElectionServer<ElectionService>,
    http: Router,
    with_gateway: bool,
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch").finish_non_exhaustive()
    }
}

/// What the services take for the body of a request.
pub(crate) trait RequestBody:
    http_body::Body<Data = Bytes> + Send + Unpin + 'static
{
}

impl<B: http_body::Body<Data = Bytes> + Send + Unpin + 'static> RequestBody for B {}

impl Dispatch {
    pub(crate) fn new(member: &Arc<Member>, with_gateway: bool) -> Self {
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
        let services = Arc::new(Services {
            kv: limited!(KvServer(KvService)),
            watch: limited!(WatchServer(WatchService)),
            lease: limited!(LeaseServer(LeaseService)),
            cluster: limited!(ClusterServer(ClusterService)),
            maintenance: limited!(MaintenanceServer(MaintenanceService)),
            auth: limited!(AuthServer(AuthService)),
            health: limited!(HealthServer(HealthService)),
            lock: limited!(LockServer(LockService)),
            election: limited!(ElectionServer(ElectionService)),
            http: crate::http::router(Arc::clone(&member)),
            with_gateway,
            member,
        });
        let budgets = Budgets::of_server();
        let rate = Rate::of_server(services.member.limits.connection_calls_per_second);
        Self { services, common_name: None, only_metrics: false, budgets, rate }
    }

    /// For another connection.
    pub(crate) fn connection(&self) -> Self {
        let rate = self.rate.as_ref().map(|rate| Arc::new(rate.of_connection()));
        Self { budgets: self.budgets.connection(), rate, ..self.clone() }
    }

    /// For a connection whose client has shown a certificate.
    pub(crate) fn of(self, common_name: CommonName) -> Self {
        Self { common_name: Some(common_name), ..self }
    }

    /// For a socket where nothing else is served than metrics and health. What clients hold
    /// elsewhere is not counted there, so that those who look on can do so whatever happens.
    pub(crate) fn for_metrics(self) -> Self {
        Self { only_metrics: true, budgets: Budgets::of_server(), ..self }
    }

    /// What the connection may hold of messages.
    pub(crate) fn messages(&self) -> &Budget {
        &self.budgets.messages
    }

    /// Whether the connection has made the calls that it may make in this second.
    pub(crate) fn is_too_quick(&self) -> bool {
        let member = &self.services.member;
        self.rate.as_ref().is_some_and(|rate| !rate.take(member.clock.now()))
    }

    /// To the service of a path.
    fn grpc<B: RequestBody>(&self, place: usize, request: Request<B>) -> Answered
    where
        B::Error: Into<StdError> + Send,
    {
        let services = &*self.services;
        let meter = Meter::new(&services.member, place);
        let bytes_max = services.member.limits.message_bytes_max;
        let limits = Limits { bytes_max, budget: self.budgets.messages.clone(), meter };
        let calls = &self.budgets.calls;
        let head = match waits_for_others(request.uri().path()) {
            true => hold_stream(calls, request.headers()).map(Some),
            false => hold_head(calls, request.headers()),
        };
        let Some(head) = head else { return refuse(too_many()) };
        match unary::route(&services.member, limits, request) {
            Ok(answered) if head.is_none() => answered,
            Ok(answered) => Box::pin(async move {
                let _head = head;
                answered.await
            }),
            Err(request) => {
                drop(head);
                self.stream(place, *request)
            }
        }
    }

    /// A call that takes or gives more than one message.
    fn stream<B: RequestBody>(&self, place: usize, request: Request<B>) -> Answered
    where
        B::Error: Into<StdError> + Send,
    {
        let Some(held) = hold_stream(&self.budgets.calls, request.headers()) else {
            return refuse(too_many());
        };
        let meter = Meter::new(&self.services.member, place);
        let counted = |body| Counted::new(body, self.budgets.messages.clone()).metered(meter);
        let mut request = request.map(counted);
        request.extensions_mut().insert(self.budgets.clone());
        let answered = self.tonic(request);
        Box::pin(async move { Ok(answered.await?.map(|body| Kept::body(body, Some(held)))) })
    }

    fn tonic<B: RequestBody>(&self, request: Request<B>) -> Answered
    where
        B::Error: Into<StdError> + Send,
    {
        let services = &*self.services;
        let path = request.uri().path();
        let service = path.get(1..).and_then(|path| path.split_once('/')).map(|(name, _)| name);
        match service {
            Some("etcdserverpb.KV") => services.kv.clone().call(request),
            Some("etcdserverpb.Watch") => services.watch.clone().call(request),
            Some("etcdserverpb.Lease") => services.lease.clone().call(request),
            Some("etcdserverpb.Cluster") => services.cluster.clone().call(request),
            Some("etcdserverpb.Maintenance") => services.maintenance.clone().call(request),
            Some("etcdserverpb.Auth") => services.auth.clone().call(request),
            Some("grpc.health.v1.Health") => services.health.clone().call(request),
            Some("v3lockpb.Lock") => services.lock.clone().call(request),
            Some("v3electionpb.Election") => services.election.clone().call(request),
            _ => refuse(unknown_method(path)),
        }
    }

    /// A call of gRPC, from a connection or from the gateway: counted, admitted and answered.
    pub(crate) fn grpc_call<B: RequestBody>(
        &self,
        request: Request<B>,
        is_too_quick: bool,
    ) -> Answer
    where
        B::Error: Into<StdError> + Send,
    {
        let member = &self.services.member;
        let Some(place) = place(request.uri().path()) else {
            let status = unknown_method(request.uri().path());
            let answered = refuse_unread(None, request.into_body(), status);
            return Answer { answered, tally: None, deadline: None };
        };
        member.metrics.requests.count(METHODS[place].kind, request.headers());
        let tally = Some(Tally::begin(Meter::new(member, place)));
        let request_timeout = request.headers().get("grpc-timeout").cloned();
        let refused = if is_too_quick {
            Some(ProposeError::Overloaded.into())
        } else if member.leadership.is_learner() && !learner_serves(request.uri().path()) {
            Some(ApiError::NotForLearner)
        } else if needs_leader(request.headers()) {
            member.leadership.require_leader().err()
        } else {
            None
        };
        let answered = match refused {
            Some(error) => refuse_unread(Some(place), request.into_body(), error.into()),
            None if member.store.auth_status().enabled => self.guarded(place, request),
            None => self.grpc(place, request),
        };
        let deadline = timeout(request_timeout).map(|after| Box::pin(tokio::time::sleep(after)));
        Answer { answered, tally, deadline }
    }

    /// The gate, and behind it the service.
    fn guarded<B: RequestBody>(&self, place: usize, mut request: Request<B>) -> Answered
    where
        B::Error: Into<StdError> + Send,
    {
        let dispatch = self.clone();
        let need = METHODS[place].need;
        Box::pin(async move {
            let common_name = request.extensions().get::<CommonName>();
            let credentials = Credentials::new(request.headers(), common_name);
            match dispatch.services.member.admit(need, &credentials).await {
                Ok(who) => {
                    if let Some(who) = who {
                        request.extensions_mut().insert(who);
                    }
                    dispatch.grpc(place, request).await
                }
                Err(error) => {
                    let (code, text) = error.code_and_text();
                    // etcd's locks and elections are clients of it, whose errors lose their codes.
                    let code = if need == Need::Recipe { Code::Unknown } else { code };
                    let status = Status::new(code, text);
                    refuse_unread(Some(place), request.into_body(), status).await
                }
            }
        })
    }

    fn plain(&self, request: Request<Incoming>) -> Answered {
        let has_gateway = self.services.with_gateway && !self.only_metrics;
        let is_gateway = has_gateway && gateway::is_path(request.uri().path());
        let (calls, headers) = (&self.budgets.calls, request.headers());
        // A body waits here until it is whole. What probes ask with short heads is answered however
        // much others hold.
        let held = match is_gateway {
            true => hold_stream(calls, headers).map(Some),
            false => hold_head(calls, headers),
        };
        let Some(held) = held.filter(|_| !self.is_too_quick()) else {
            let refusal = gateway::refusal(&too_many()).map(Body::new);
            return Box::pin(std::future::ready(Ok(refusal)));
        };
        if is_gateway {
            let bytes_max = self.services.member.limits.message_bytes_max;
            let answered = gateway::handle(self.clone(), request, bytes_max);
            return Box::pin(async move {
                Ok(answered.await?.map(|body| Kept::body(Body::new(body), held)))
            });
        }
        let answered = self.services.http.clone().call(request);
        let messages = self.budgets.messages.clone();
        Box::pin(async move {
            let page = crate::http::counted(answered.await?, &messages).await;
            Ok(page.map(|body| Kept::body(Body::new(body), held)))
        })
    }
}

/// In the words of Go's servers.
fn unknown_method(path: &str) -> Status {
    let service = path.get(1..).and_then(|path| path.split_once('/'));
    let (service, method) = service.unwrap_or_default();
    let is_known = METHODS.iter().any(|known| {
        known
            .path
            .get(1..)
            .and_then(|path| path.split_once('/'))
            .is_some_and(|(name, _)| name == service)
    });
    let text = if is_known {
        format!("unknown method {method} for service {service}")
    } else {
        format!("unknown service {service}")
    };
    Status::unimplemented(text)
}

/// A call of a lock or an election may wait as long as a stream lasts, with a watch of its own.
fn waits_for_others(path: &str) -> bool {
    path.starts_with("/v3lockpb.") || path.starts_with("/v3electionpb.")
}

pub(crate) fn too_many() -> Status {
    ApiError::from(ProposeError::Overloaded).into()
}

fn refuse(status: Status) -> Answered {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"))
}

/// Whether a member without a vote answers it. A range must be serializable as well, which the
/// service sees to.
fn learner_serves(path: &str) -> bool {
    matches!(
        path,
        "/etcdserverpb.KV/Range"
            | "/etcdserverpb.Maintenance/Status"
            | "/etcdserverpb.Maintenance/Snapshot"
            | "/grpc.health.v1.Health/Check"
            | "/grpc.health.v1.Health/Watch"
    )
}

fn needs_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|value| value.as_bytes() == b"true")
}

impl hyper::service::Service<Request<Incoming>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        if is_grpc(request.headers()) && !self.only_metrics {
            if let Some(name) = &self.common_name {
                request.extensions_mut().insert(name.clone());
            }
            let is_too_quick = self.is_too_quick();
            self.grpc_call(request, is_too_quick)
        } else {
            Answer { answered: self.plain(request), tally: None, deadline: None }
        }
    }
}
