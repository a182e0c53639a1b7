//! TLS between peers: both sides show a certificate, and whoever listens decides by it who speaks.
//!
//! That a certificate is signed by the right authority is not enough: clients have such ones too.
//! It must name the member that its connection greets as, see [`Admission`] and
//! `docs/adr/0022-tls-between-members.md`.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::hurried::Hurried;
use super::tls_stream::TlsStream;

/// What stands before an address at which TLS is spoken.
pub(super) const SECURE: &str = "https://";

/// Judges a certificate that is signed as it should be.
pub type CertificateJudge = Arc<dyn Fn(&CertificateDer<'_>) -> bool + Send + Sync>;

/// Whose certificate lets in.
#[derive(Clone)]
pub enum Admission {
    /// One that has the host of a peer URL of the member that speaks among its subject alternative
    /// names. Of one that only asks who the members are: the host of any member.
    Members,
    /// One that this function takes, whoever speaks.
    Judged(CertificateJudge),
    /// Any: the connection is secret, and nothing is known of who is at its other end.
    Anybody,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Members => "Members",
            Self::Judged(_) => "Judged",
            Self::Anybody => "Anybody",
        })
    }
}

/// Certificates as of now.
#[derive(Clone, Debug)]
pub struct PeerCertificates {
    /// For connections that peers open. It must ask for their certificates.
    pub accept: Arc<ServerConfig>,
    /// For connections to peers. It must have a certificate to show.
    pub connect: Arc<ClientConfig>,
}

/// TLS for a node's connections with its peers.
#[derive(Debug)]
pub struct PeerTls {
    admission: Admission,
    current: RwLock<PeerCertificates>,
    /// Counts the changes of certificates: connections of an earlier one are made anew, so that a
    /// certificate that was revoked does not live on in them.
    epoch: AtomicU64,
}

impl PeerTls {
    /// With these certificates.
    #[must_use]
    pub fn new(admission: Admission, certificates: PeerCertificates) -> Self {
        Self { admission, current: RwLock::new(certificates), epoch: AtomicU64::new(0) }
    }

    /// From now on these certificates count; connections that are open end and are made anew.
    pub fn replace(&self, certificates: PeerCertificates) {
        *self.current.write() = certificates;
        self.epoch.fetch_add(1, Ordering::Release);
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// A connection that was accepted, after its handshake.
    pub(super) fn accept<'a>(
        &self,
        socket: Hurried<'a>,
    ) -> io::Result<TlsStream<'a, ServerConnection>> {
        let config = Arc::clone(&self.current.read().accept);
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = TlsStream::new(connection, socket);
        stream.shake_hands()?;
        Ok(stream)
    }

    /// A connection to `host`, after its handshake: the other side has shown that name, and that it
    /// may speak for the group.
    pub(super) fn connect<'a>(
        &self,
        host: &str,
        socket: Hurried<'a>,
    ) -> io::Result<TlsStream<'a, ClientConnection>> {
        let config = Arc::clone(&self.current.read().connect);
        let name = server_name(host)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no name for TLS"))?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = TlsStream::new(connection, socket);
        stream.shake_hands()?;
        let trusted = match (&self.admission, stream.certificate()) {
            (Admission::Anybody, _) => true,
            (Admission::Members, certificate) => certificate.is_some(),
            (Admission::Judged(judge), certificate) => certificate.is_some_and(|one| judge(one)),
        };
        if !trusted {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "its certificate is not one of those that --peer-cert-allowed-… names",
            ));
        }
        Ok(stream)
    }

    /// Whether a certificate belongs to somebody at these addresses.
    pub(super) fn admits<'a>(
        &self,
        certificate: Option<&CertificateDer<'_>>,
        addresses: impl IntoIterator<Item = &'a String>,
    ) -> bool {
        match (&self.admission, certificate) {
            (Admission::Anybody, _) => true,
            (Admission::Judged(judge), Some(certificate)) => judge(certificate),
            (Admission::Members, Some(certificate)) => {
                addresses.into_iter().any(|address| names(certificate, host_of(address)))
            }
            (Admission::Judged(_) | Admission::Members, None) => false,
        }
    }
}

/// Whether a certificate has this host among its subject alternative names. One without such names
/// has none.
pub fn names(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
    server_name(host).is_some_and(|name| verify_server_name(&parsed, &name).is_ok())
}

fn server_name(host: &str) -> Option<ServerName<'static>> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).ok()
}

/// `host:port` of an address, and whether TLS is spoken there.
pub(super) fn place_of(address: &str) -> (&str, bool) {
    match address.strip_prefix(SECURE) {
        Some(place) => (place, true),
        None => (address, false),
    }
}

/// The host of an address.
pub(super) fn host_of(address: &str) -> &str {
    let (place, _) = place_of(address);
    place.rsplit_once(':').map_or(place, |(host, _)| host)
}
