//! TLS to the servers, with `etcdctl`'s flags.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use clap::Args;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tonic::codegen::Service;

use crate::ClientError;

/// Where the authorities that the system trusts are, on the usual systems.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Certificates for connections to endpoints that begin with `https://`, and to those without a
/// scheme if any is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct TlsOptions {
    /// Who has signed the servers' certificates [default: whom the system trusts].
    #[arg(long, global = true, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// The certificate to show to servers.
    #[arg(long, global = true, value_name = "FILE", requires = "tls_key")]
    pub cert: Option<PathBuf>,
    /// Its key.
    // Not `key` alone: that is what commands call the key of a value.
    #[arg(id = "tls_key", long = "key", global = true, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Take any certificate of a server: for tests, since anybody can then be the server.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", default_value_t = false)]
    pub insecure_skip_tls_verify: bool,
}

impl TlsOptions {
    /// Whether endpoints without a scheme are spoken to by TLS.
    pub(crate) fn are_given(&self) -> bool {
        self.cacert.is_some() || self.cert.is_some() || self.insecure_skip_tls_verify
    }

    fn config(&self) -> Result<ClientConfig, ClientError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| argument("TLS", error))?;
        let builder = if self.insecure_skip_tls_verify {
            let verifier = Arc::new(TakesAnybody(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let bytes = read(key)?;
                let key = PrivateKeyDer::from_pem_slice(&bytes)
                    .map_err(|_| argument(key.display(), "there is no private key in it"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| argument(cert.display(), error))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, ClientError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.cacert else {
            let system = SYSTEM_ROOTS.iter().find_map(|path| certificates(Path::new(path)).ok());
            let system = system.ok_or_else(|| {
                argument("--cacert", "is needed: this system has no list of authorities")
            })?;
            roots.add_parsable_certificates(system);
            return Ok(roots);
        };
        for root in certificates(path)? {
            roots.add(root).map_err(|error| argument(path.display(), error))?;
        }
        Ok(roots)
    }
}

fn argument(what: impl fmt::Display, reason: impl fmt::Display) -> ClientError {
    ClientError::Argument(format!("{what}: {reason}"))
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| argument(path.display(), error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let bytes = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(argument(path.display(), "there is no certificate in it")),
        Err(error) => Err(argument(path.display(), error)),
    }
}

/// Opens TLS connections for tonic.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    pub(crate) fn new(options: &TlsOptions) -> Result<Self, ClientError> {
        Ok(Self { tls: TlsConnector::from(Arc::new(options.config()?)) })
    }
}

impl Connector {
    /// A connection to `host:port`.
    pub(crate) async fn open(&self, authority: &str) -> io::Result<TlsStream<TcpStream>> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let uri = Uri::builder().scheme("https").authority(authority).path_and_query("/").build();
        connect(self.tls.clone(), uri.map_err(invalid)?).await
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<TlsStream<TcpStream>>>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let tls = self.tls.clone();
        Box::pin(async move { connect(tls, uri).await.map(TokioIo::new) })
    }
}

async fn connect(tls: TlsConnector, uri: Uri) -> io::Result<TlsStream<TcpStream>> {
    let missing = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    let host = uri.host().ok_or_else(|| missing("an endpoint without a host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().ok_or_else(|| missing("an endpoint without a port"))?;
    let name = ServerName::try_from(host.clone())
        .map_err(|_| missing("the endpoint's host cannot be in a certificate"))?;
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    tls.connect(name, stream).await
}

/// Takes the certificate of anybody who has its key.
#[derive(Debug)]
struct TakesAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
