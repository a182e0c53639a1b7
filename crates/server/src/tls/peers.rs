//! TLS between members. Both sides show a certificate; which ones are taken, `host` decides by the
//! membership, or the options by name (`docs/adr/0022-tls-between-members.md`).

use std::fmt;
use std::sync::Arc;

use env::Disk;
use host::transport::{Admission, PeerCertificates, PeerTls};
use parking_lot::Mutex;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::files::{Port, Texts};
use super::made::TakesAnybody;
use super::{Reload, TlsFault, TlsFiles, TlsProtocol, fault};

/// Whoever speaks anything else on a peer port has lost its way.
const PROTOCOL: &[u8] = b"flotilla-peer";

/// What a member shows to others, as of now.
pub(crate) struct PeerCredentials {
    files: TlsFiles,
    protocol: TlsProtocol,
    disk: Arc<dyn Disk>,
    texts: Mutex<Texts>,
    pub(crate) tls: Arc<PeerTls>,
}

impl fmt::Debug for PeerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCredentials").field("files", &self.files).finish_non_exhaustive()
    }
}

fn admission(files: &TlsFiles) -> Admission {
    if files.is_made() {
        tracing::warn!(
            "--peer-auto-tls: what members say is secret, but whoever reaches the peer port can \
             take part; give --peer-cert-file and --peer-trusted-ca-file"
        );
        return Admission::Anybody;
    }
    if files.has_allowed_names() {
        let files = files.clone();
        return Admission::Judged(Arc::new(move |certificate| files.allows(certificate)));
    }
    if files.skip_san_verification {
        tracing::warn!("every certificate that the peers' CA has signed is taken for a member's");
        return Admission::Judged(Arc::new(|_| true));
    }
    Admission::Members
}

fn certificates(
    files: &TlsFiles,
    protocol: &TlsProtocol,
    texts: &Texts,
) -> Result<PeerCertificates, TlsFault> {
    let provider = protocol.provider()?;
    let versions = protocol.versions()?;
    let (chain, key) = (files.chain(texts)?, files.key(texts)?);
    let bad = |error| files.bad_certificate(error);
    let accept = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| fault("TLS", error))?;
    let connect = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| fault("TLS", error))?;
    let (mut accept, mut connect) = if files.is_made() {
        let accept = accept.with_no_client_auth().with_single_cert(chain, key).map_err(bad)?;
        let verifier = Arc::new(TakesAnybody(provider));
        let connect = connect.dangerous().with_custom_certificate_verifier(verifier);
        (accept, connect.with_no_client_auth())
    } else {
        let verifier = files.client_verifier(Port::Peer, texts, &provider)?;
        let accept = accept
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(bad)?;
        let roots = files.roots(Port::Peer, texts)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .with_crls(files.crls(texts)?)
            .allow_unknown_revocation_status()
            .build()
            .map_err(|error| files.bad_authority(error))?;
        let connect = connect
            .with_webpki_verifier(verifier)
            .with_client_auth_cert(chain, key)
            .map_err(bad)?;
        (accept, connect)
    };
    for protocols in [&mut accept.alpn_protocols, &mut connect.alpn_protocols] {
        *protocols = vec![PROTOCOL.to_vec()];
    }
    // Whoever connects never reads after the greeting, and never comes back with a ticket.
    accept.send_tls13_tickets = 0;
    Ok(PeerCertificates { accept: Arc::new(accept), connect: Arc::new(connect) })
}

impl PeerCredentials {
    /// Reads the files, or makes a certificate for these hosts.
    pub(crate) fn open(
        files: TlsFiles,
        protocol: TlsProtocol,
        disk: Arc<dyn Disk>,
        hosts: Vec<String>,
    ) -> Result<Self, TlsFault> {
        let texts =
            if files.is_made() { Texts::made(hosts)? } else { files.read(Port::Peer, &*disk)? };
        let certificates = certificates(&files, &protocol, &texts)?;
        let tls = Arc::new(PeerTls::new(admission(&files), certificates));
        Ok(Self { files, protocol, disk, texts: Mutex::new(texts), tls })
    }
}

impl Reload for PeerCredentials {
    /// Connections that are there are made anew.
    fn reload(&self) -> Result<bool, TlsFault> {
        if self.files.is_made() {
            return Ok(false);
        }
        let texts = self.files.read(Port::Peer, &*self.disk)?;
        if *self.texts.lock() == texts {
            return Ok(false);
        }
        self.tls.replace(certificates(&self.files, &self.protocol, &texts)?);
        *self.texts.lock() = texts;
        Ok(true)
    }

    fn users(&self) -> &'static str {
        "members"
    }
}
