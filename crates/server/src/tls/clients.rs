//! TLS on the client port. With `client-cert-auth` a client must show a certificate that the CA has
//! signed and the CRL does not have; the common name in it is then a user, if no token says
//! otherwise.

use std::fmt;
use std::sync::Arc;

use env::Disk;
use parking_lot::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::files::{Port, Texts};
use super::{Reload, TlsFault, TlsFiles, TlsProtocol};

/// The side of TLS that accepts, as of now.
pub(crate) struct Tls {
    files: TlsFiles,
    protocol: TlsProtocol,
    disk: Arc<dyn Disk>,
    current: Mutex<(Texts, Arc<ServerConfig>)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Whether clients must show a certificate: as in etcd, a CA alone asks for that.
fn ask_clients(files: &TlsFiles) -> bool {
    files.client_cert_auth || files.trusted_ca_file.is_some()
}

fn config(
    files: &TlsFiles,
    protocol: &TlsProtocol,
    texts: &Texts,
) -> Result<ServerConfig, TlsFault> {
    let provider = protocol.provider()?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&protocol.versions()?)
        .map_err(|error| super::fault("TLS", error))?;
    let builder = if ask_clients(files) {
        let verifier = files.client_verifier(Port::Client, texts, &provider)?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder
        .with_single_cert(files.chain(texts)?, files.key(texts)?)
        .map_err(|error| files.bad_certificate(error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

impl Tls {
    /// Reads the files, or makes a certificate for these hosts.
    pub(crate) fn open(
        files: TlsFiles,
        protocol: TlsProtocol,
        disk: Arc<dyn Disk>,
        hosts: Vec<String>,
    ) -> Result<Self, TlsFault> {
        let texts =
            if files.is_made() { Texts::made(hosts)? } else { files.read(Port::Client, &*disk)? };
        let config = Arc::new(config(&files, &protocol, &texts)?);
        Ok(Self { files, protocol, disk, current: Mutex::new((texts, config)) })
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.lock().1))
    }

    /// Whether the common name of a client's certificate is a user.
    pub(crate) fn names_users(&self) -> bool {
        self.files.client_cert_auth
    }

    /// Whether a client with this certificate may go on.
    pub(crate) fn admits(&self, certificate: Option<&CertificateDer<'_>>) -> bool {
        !self.files.has_allowed_names()
            || certificate.is_some_and(|certificate| self.files.allows(certificate))
    }
}

impl Reload for Tls {
    /// Connections that are there stay.
    fn reload(&self) -> Result<bool, TlsFault> {
        if self.files.is_made() {
            return Ok(false);
        }
        let texts = self.files.read(Port::Client, &*self.disk)?;
        if self.current.lock().0 == texts {
            return Ok(false);
        }
        let config = Arc::new(config(&self.files, &self.protocol, &texts)?);
        *self.current.lock() = (texts, config);
        Ok(true)
    }

    fn users(&self) -> &'static str {
        "clients"
    }
}
