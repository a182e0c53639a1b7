//! The client sockets of a server: on which of them TLS is spoken, and with what limits.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use env::Disk;
use tokio::task::JoinHandle;

use crate::descriptors;
use crate::dispatch::Dispatch;
use crate::errors::StartError;
use crate::listen::{self, ConnectionLimits};
use crate::member::Member;
use crate::options::ServerOptions;
use crate::plan::Plan;
use crate::tls::{Reload, Tls};
use crate::url::HttpUrl;

/// What the options say about serving clients, checked.
pub(crate) struct Serving {
    tls: Option<Arc<Tls>>,
    /// For each socket, whether TLS is spoken on it.
    secure: Vec<bool>,
    /// The same of those for metrics.
    metrics_secure: Vec<bool>,
    limits: ConnectionLimits,
    with_gateway: bool,
}

impl Serving {
    pub(crate) fn new(
        options: &ServerOptions,
        plan: &Plan,
        disk: &Arc<dyn Disk>,
    ) -> Result<Self, StartError> {
        let files = &options.client_tls;
        let secure: Vec<bool> = match options.client_listener {
            Some(_) => vec![files.are_given()],
            None => plan.listen_client_urls.iter().map(HttpUrl::is_tls).collect(),
        };
        let metrics_secure: Vec<bool> =
            plan.listen_metrics_urls.iter().map(HttpUrl::is_tls).collect();
        let tls = if secure.contains(&true) || metrics_secure.contains(&true) {
            let hosts = plan.listen_client_urls.iter().map(|url| url.host().to_owned()).collect();
            let protocol = options.tls_protocol.clone();
            let tls = Tls::open(files.clone(), protocol, Arc::clone(disk), hosts);
            Some(Arc::new(tls.map_err(StartError::Tls)?))
        } else {
            if files.are_given() {
                tracing::warn!("no --listen-client-urls begins with https: TLS is not used");
            }
            None
        };
        let limits = ConnectionLimits {
            connections_max: descriptors::connections_max() / secure.len().max(1),
            max_concurrent_streams: options.max_concurrent_streams,
            keepalive_interval: Duration::from_millis(options.grpc_keepalive_interval_ms),
            keepalive_timeout: Duration::from_millis(options.grpc_keepalive_timeout_ms),
        };
        let with_gateway = options.enable_grpc_gateway;
        Ok(Self { tls, secure, metrics_secure, limits, with_gateway })
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.tls.is_some() && self.secure.contains(&true)
    }

    fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// What has to be kept fresh.
    pub(crate) fn credentials(&self) -> Option<Arc<dyn Reload>> {
        self.tls().map(|tls| tls as Arc<dyn Reload>)
    }

    /// Serves clients on each socket, and metrics on theirs.
    pub(crate) fn start(
        &self,
        clients: Vec<TcpListener>,
        metrics: Vec<TcpListener>,
        member: &Arc<Member>,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let dispatch = Dispatch::new(member, self.with_gateway);
        let of_metrics = dispatch.clone().for_metrics();
        let clients = clients.into_iter().zip(&self.secure).map(|socket| (socket, &dispatch));
        let metrics =
            metrics.into_iter().zip(&self.metrics_secure).map(|socket| (socket, &of_metrics));
        let serve = |((listener, is_tls), dispatch): ((TcpListener, &bool), &Dispatch)| {
            let tls = self.tls().filter(|_| *is_tls);
            let listener = listener
                .set_nonblocking(true)
                .and_then(|()| tokio::net::TcpListener::from_std(listener))
                .map_err(|error| StartError::Listen {
                    what: "client",
                    address: "a socket that was bound".to_owned(),
                    error,
                })?;
            let (dispatch, member) = (dispatch.clone(), Arc::clone(member));
            Ok(tokio::spawn(listen::serve(listener, tls, dispatch, member, self.limits)))
        };
        clients.chain(metrics).map(serve).collect()
    }
}
