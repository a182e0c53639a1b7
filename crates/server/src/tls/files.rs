//! The files that certificates are in, named as etcd's flags.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::{Disk, OpenMode};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;

use super::{TlsFault, fault, made};

/// Larger files are no certificates.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Where the certificates are, of the client port or of the peer port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, with those between it and its CA behind it.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Who signs the certificates of the others: if it is given, they must show one.
    pub trusted_ca_file: Option<PathBuf>,
    /// Certificates that are no longer good.
    pub crl_file: Option<PathBuf>,
    /// Whether the others must show a certificate.
    pub client_cert_auth: bool,
    /// Makes a certificate at the start if there is none: what is said is secret, and nobody knows
    /// to whom.
    pub auto_tls: bool,
    /// Only certificates with one of these common names.
    pub allowed_cns: Vec<String>,
    /// Only certificates that have one of these as subject alternative name.
    pub allowed_hostnames: Vec<String>,
    /// Members only: any certificate that the CA has signed is a member's.
    pub skip_san_verification: bool,
}

/// Which flags the files come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Client,
    Peer,
}

impl Port {
    /// The flag of a file.
    pub(super) fn flag(self, name: &str) -> String {
        match self {
            Self::Client => format!("--{name}"),
            Self::Peer => format!("--peer-{name}"),
        }
    }
}

/// What the files said when they were read last.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Texts {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
}

impl TlsFiles {
    /// Whether there is anything to serve TLS with.
    #[must_use]
    pub fn are_given(&self) -> bool {
        self.cert_file.is_some() || self.key_file.is_some() || self.auto_tls
    }

    /// Whether the certificate is made, since none is given.
    pub(super) fn is_made(&self) -> bool {
        self.auto_tls && self.cert_file.is_none() && self.key_file.is_none()
    }

    pub(super) fn read(&self, port: Port, disk: &dyn Disk) -> Result<Texts, TlsFault> {
        let needed = |file: &Option<PathBuf>, flag: &str| {
            let path =
                file.as_deref().ok_or_else(|| fault(port.flag(flag), "is needed for TLS"))?;
            read(disk, path)
        };
        let optional =
            |file: &Option<PathBuf>| file.as_deref().map(|path| read(disk, path)).transpose();
        Ok(Texts {
            cert: needed(&self.cert_file, "cert-file")?,
            key: needed(&self.key_file, "key-file")?,
            ca: optional(&self.trusted_ca_file)?,
            crl: optional(&self.crl_file)?,
        })
    }

    pub(super) fn chain(&self, texts: &Texts) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
        certificates(&texts.cert).map_err(|reason| fault(name(&self.cert_file), reason))
    }

    pub(super) fn key(&self, texts: &Texts) -> Result<PrivateKeyDer<'static>, TlsFault> {
        PrivateKeyDer::from_pem_slice(&texts.key)
            .map_err(|_| fault(name(&self.key_file), "there is no private key in it"))
    }

    /// A problem with the certificate itself.
    pub(super) fn bad_certificate(&self, error: impl fmt::Display) -> TlsFault {
        fault(name(&self.cert_file), error)
    }

    /// A problem with the CA or what it has signed.
    pub(super) fn bad_authority(&self, error: impl fmt::Display) -> TlsFault {
        fault(name(&self.trusted_ca_file), error)
    }

    pub(super) fn roots(&self, port: Port, texts: &Texts) -> Result<Arc<RootCertStore>, TlsFault> {
        let text = texts.ca.as_deref().ok_or_else(|| {
            fault(port.flag("trusted-ca-file"), "is needed to check the certificates of others")
        })?;
        let mut roots = RootCertStore::empty();
        for root in certificates(text).map_err(|reason| self.bad_authority(reason))? {
            roots.add(root).map_err(|error| self.bad_authority(error))?;
        }
        Ok(Arc::new(roots))
    }

    pub(super) fn crls(
        &self,
        texts: &Texts,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsFault> {
        let text = texts.crl.as_deref().unwrap_or(b"");
        let crls: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text).collect();
        crls.map_err(|error| fault(name(&self.crl_file), error))
    }

    /// Checks the certificates of those who connect.
    pub(super) fn client_verifier(
        &self,
        port: Port,
        texts: &Texts,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsFault> {
        let roots = self.roots(port, texts)?;
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
            .with_crls(self.crls(texts)?)
            // A list says what is no longer good, as in etcd; what it does not know is good.
            .allow_unknown_revocation_status()
            .build()
            .map_err(|error| self.bad_authority(error))
    }
}

impl Texts {
    /// Those of a certificate that was made here.
    pub(super) fn made(hosts: Vec<String>) -> Result<Self, TlsFault> {
        let (cert, key) = made::certificate(hosts)?;
        Ok(Self { cert, key, ca: None, crl: None })
    }
}

fn name(file: &Option<PathBuf>) -> String {
    file.as_deref().unwrap_or_else(|| Path::new("the certificate made here")).display().to_string()
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
