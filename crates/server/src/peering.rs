//! The peer sockets of a server: on which of them TLS is spoken, and with what certificates.

use std::net::TcpListener;
use std::sync::Arc;

use env::Disk;
use host::Receiver;
use host::transport::{PeerListener, PeerTls};

use crate::errors::StartError;
use crate::options::ServerOptions;
use crate::plan::Plan;
use crate::tls::{PeerCredentials, Reload};
use crate::url::HttpUrl;

/// What the options say about members, checked.
pub(crate) struct Peering {
    credentials: Option<Arc<PeerCredentials>>,
    /// For each socket, whether TLS is spoken on it.
    secure: Vec<bool>,
}

impl Peering {
    pub(crate) fn new(
        options: &ServerOptions,
        plan: &Plan,
        disk: &Arc<dyn Disk>,
    ) -> Result<Self, StartError> {
        let files = &options.peer_tls;
        let secure: Vec<bool> = match options.peer_listener {
            Some(_) => vec![files.are_given()],
            None => plan.listen_peer_urls.iter().map(HttpUrl::is_tls).collect(),
        };
        let seeds = plan.cluster.iter().flat_map(|cluster| cluster.members.values());
        let has_secure_peers = seeds.flat_map(|seed| &seed.peer_urls).any(HttpUrl::is_tls);
        if files.are_given() && !secure.contains(&true) {
            tracing::warn!(
                "no --listen-peer-urls begins with https: other members speak plaintext to this one"
            );
        }
        let is_needed = files.are_given() || secure.contains(&true) || has_secure_peers;
        let credentials = is_needed.then(|| {
            let hosts = plan.listen_peer_urls.iter().map(|url| url.host().to_owned()).collect();
            let protocol = options.tls_protocol.clone();
            PeerCredentials::open(files.clone(), protocol, Arc::clone(disk), hosts)
        });
        let credentials = credentials.transpose().map_err(StartError::Tls)?;
        Ok(Self { credentials: credentials.map(Arc::new), secure })
    }

    /// Whether other members speak TLS to this one.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure.contains(&true)
    }

    pub(crate) fn tls(&self) -> Option<Arc<PeerTls>> {
        self.credentials.as_ref().map(|credentials| Arc::clone(&credentials.tls))
    }

    /// What has to be kept fresh.
    pub(crate) fn credentials(&self) -> Option<Arc<dyn Reload>> {
        self.credentials.clone().map(|credentials| credentials as Arc<dyn Reload>)
    }

    /// Serves members on each socket.
    pub(crate) fn listen(
        &self,
        listeners: Vec<TcpListener>,
        receiver: &Receiver,
    ) -> Result<Vec<PeerListener>, StartError> {
        let serve = |(listener, is_tls): (TcpListener, &bool)| {
            let tls = self.tls().filter(|_| *is_tls);
            PeerListener::start(listener, receiver.clone(), tls).map_err(StartError::Host)
        };
        listeners.into_iter().zip(&self.secure).map(serve).collect()
    }
}
