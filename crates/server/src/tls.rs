//! TLS on the client port: certificates from files, read again while the server runs.
//!
//! TLS 1.3 and 1.2, the latter with AEAD ciphers only, which is all that rustls has. With
//! `client-cert-auth` a client must show a certificate that the CA has signed and the CRL does not
//! have; the common name in it is then a user, if no token says otherwise.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::{Disk, OpenMode};
use parking_lot::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Tag, Tagged};

use crate::member::Member;

/// Between two looks whether the files have changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// Larger files are no certificates.
const FILE_BYTES_MAX: u64 = 4 << 20;
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Where the certificates are; named as etcd's flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, with those between it and its CA behind it.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Who signs the certificates of clients: if it is given, they must show one.
    pub trusted_ca_file: Option<PathBuf>,
    /// Certificates of clients that are no longer good.
    pub client_crl_file: Option<PathBuf>,
    /// Whether clients must show a certificate.
    pub client_cert_auth: bool,
}

/// Why files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// Which file, or flag.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)
    }
}

impl std::error::Error for TlsFault {}

fn fault(what: impl fmt::Display, reason: impl fmt::Display) -> TlsFault {
    TlsFault { what: what.to_string(), reason: reason.to_string() }
}

/// What the files said when they were read last.
#[derive(Debug, PartialEq, Eq)]
struct Texts {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
}

/// The side of TLS that accepts, as of now.
pub(crate) struct Tls {
    files: TlsFiles,
    disk: Arc<dyn Disk>,
    current: Mutex<(Texts, Arc<ServerConfig>)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// Whether there is anything to serve TLS with.
    #[must_use]
    pub fn are_given(&self) -> bool {
        self.cert_file.is_some() || self.key_file.is_some()
    }

    /// Whether clients must show a certificate: as in etcd, a CA alone asks for that.
    fn ask_clients(&self) -> bool {
        self.client_cert_auth || self.trusted_ca_file.is_some()
    }

    fn read(&self, disk: &dyn Disk) -> Result<Texts, TlsFault> {
        let needed = |file: &Option<PathBuf>, flag: &str| {
            let path = file.as_deref().ok_or_else(|| fault(flag, "is needed for TLS"))?;
            read(disk, path)
        };
        let optional =
            |file: &Option<PathBuf>| file.as_deref().map(|path| read(disk, path)).transpose();
        Ok(Texts {
            cert: needed(&self.cert_file, "--cert-file")?,
            key: needed(&self.key_file, "--key-file")?,
            ca: optional(&self.trusted_ca_file)?,
            crl: optional(&self.client_crl_file)?,
        })
    }

    fn config(&self, texts: &Texts) -> Result<ServerConfig, TlsFault> {
        let path = |file: &Option<PathBuf>| {
            file.as_deref().unwrap_or_else(|| Path::new("?")).display().to_string()
        };
        let cert = path(&self.cert_file);
        let chain = certificates(&texts.cert).map_err(|reason| fault(&cert, reason))?;
        let key = PrivateKeyDer::from_pem_slice(&texts.key)
            .map_err(|_| fault(path(&self.key_file), "there is no private key in it"))?;
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| fault("TLS", error))?;
        let builder = if self.ask_clients() {
            let ca = path(&self.trusted_ca_file);
            let text = texts.ca.as_deref();
            let text =
                text.ok_or_else(|| fault("--trusted-ca-file", "is needed to check clients"))?;
            let mut roots = RootCertStore::empty();
            for root in certificates(text).map_err(|reason| fault(&ca, reason))? {
                roots.add(root).map_err(|error| fault(&ca, error))?;
            }
            let crls =
                CertificateRevocationListDer::pem_slice_iter(texts.crl.as_deref().unwrap_or(b""));
            let crls: Result<Vec<_>, _> = crls.collect();
            let crls = crls.map_err(|error| fault(path(&self.client_crl_file), error))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .with_crls(crls)
                // A list says what is no longer good, as in etcd; what it does not know is good.
                .allow_unknown_revocation_status()
                .build()
                .map_err(|error| fault(&ca, error))?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| fault(&cert, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, TlsFault> {
    let bytes = || -> io::Result<Vec<u8>> {
        let file = disk.open(path, OpenMode::ReadOnly)?;
        let length = file.len_bytes()?;
        if length > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too large for a certificate"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    bytes().map_err(|error| fault(path.display(), error))
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match all {
        Ok(all) if all.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(all) => Ok(all),
        Err(error) => Err(error.to_string()),
    }
}

impl Tls {
    /// Reads the files.
    pub(crate) fn open(files: TlsFiles, disk: Arc<dyn Disk>) -> Result<Self, TlsFault> {
        let texts = files.read(&*disk)?;
        let config = Arc::new(files.config(&texts)?);
        Ok(Self { files, disk, current: Mutex::new((texts, config)) })
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.lock().1))
    }

    /// Whether the common name of a client's certificate is a user.
    pub(crate) fn names_users(&self) -> bool {
        self.files.client_cert_auth
    }

    /// Reads the files again; says whether anything has changed. Connections that are there stay.
    fn reload(&self) -> Result<bool, TlsFault> {
        let texts = self.files.read(&*self.disk)?;
        if self.current.lock().0 == texts {
            return Ok(false);
        }
        let config = Arc::new(self.files.config(&texts)?);
        *self.current.lock() = (texts, config);
        Ok(true)
    }
}

/// Takes up new certificates, keys, CAs and CRLs until the server goes away.
pub(crate) async fn keep_fresh(tls: Arc<Tls>, member: Arc<Member>) {
    let stopping = member.stopping();
    tokio::pin!(stopping);
    let mut told = None;
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(RELOAD_INTERVAL) => {}
        }
        let reading = Arc::clone(&tls);
        let reloaded = tokio::task::spawn_blocking(move || reading.reload()).await;
        match reloaded {
            Ok(Ok(false)) | Err(_) => {}
            Ok(Ok(true)) => {
                told = None;
                tracing::info!("new connections of clients use the certificates as they are now");
            }
            // Perhaps half of them are written: the old ones stay in use. Told once.
            Ok(Err(fault)) if told.as_ref() != Some(&fault) => {
                tracing::warn!(%fault, "the changed certificates cannot be used; the old ones stay");
                told = Some(fault);
            }
            Ok(Err(_)) => {}
        }
    }
}

/// The one common name of a certificate's subject. Several, or one that is no text, are none: what
/// is ambiguous must not be a user.
pub(crate) fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let subject = &certificate.tbs_certificate.subject;
    let mut names = subject
        .0
        .iter()
        .flat_map(|name| name.0.iter())
        .filter(|attribute| attribute.oid == COMMON_NAME);
    let name = names.next().filter(|_| names.next().is_none())?;
    let is_text =
        matches!(name.value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
    let text = std::str::from_utf8(name.value.value()).ok()?;
    (is_text && !text.is_empty()).then(|| text.to_owned())
}
