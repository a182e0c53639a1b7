//! The flags of `serve` about TLS, etcd's.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use server::{TlsFiles, TlsProtocol, TlsVersion};

use crate::go_values::boolean;

/// etcd's names of the versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Version {
    #[value(name = "TLS1.2")]
    Tls12,
    #[value(name = "TLS1.3")]
    Tls13,
}

impl From<Version> for TlsVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::Tls12 => Self::Tls12,
            Version::Tls13 => Self::Tls13,
        }
    }
}

/// Certificates for clients' connections.
#[derive(Clone, Debug, Args)]
pub(super) struct ClientTlsFlags {
    /// The certificate for clients' connections to those --listen-client-urls that begin with
    /// https.
    #[arg(long, value_name = "FILE")]
    cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Who signs the certificates of clients; if given, they must show one.
    #[arg(long, value_name = "FILE")]
    trusted_ca_file: Option<PathBuf>,
    /// Certificates of clients that are no longer good.
    #[arg(long, value_name = "FILE")]
    client_crl_file: Option<PathBuf>,
    /// Clients must show a certificate; the common name in it is a user.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL", value_parser = boolean)]
    client_cert_auth: Option<bool>,
    /// Clients' certificates must have one of these hosts.
    #[arg(long, value_delimiter = ',', value_name = "HOSTS")]
    client_cert_allowed_hostname: Vec<String>,
    /// Make a certificate at the start if there is none: secret, but nobody knows to whom.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL", value_parser = boolean)]
    auto_tls: Option<bool>,
}

/// Certificates for connections between members.
#[derive(Clone, Debug, Args)]
pub(super) struct PeerTlsFlags {
    /// The certificate for connections between members, both ways: for those --listen-peer-urls
    /// that begin with https, and to members at such addresses.
    #[arg(long, value_name = "FILE")]
    peer_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    peer_key_file: Option<PathBuf>,
    /// Who signs the certificates of members.
    #[arg(long, value_name = "FILE")]
    peer_trusted_ca_file: Option<PathBuf>,
    /// Certificates of members that are no longer good.
    #[arg(long, value_name = "FILE")]
    peer_crl_file: Option<PathBuf>,
    /// Members must show a certificate. They must in any case.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL", value_parser = boolean)]
    peer_client_cert_auth: Option<bool>,
    /// Members are those with one of these common names, in the place of those whose certificate
    /// has the host of their peer URL.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    peer_cert_allowed_cn: Vec<String>,
    /// Members are those whose certificate has one of these hosts.
    #[arg(long, value_delimiter = ',', value_name = "HOSTS")]
    peer_cert_allowed_hostname: Vec<String>,
    /// Take every certificate that the members' CA has signed for a member's.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL", value_parser = boolean)]
    peer_skip_client_san_verification: Option<bool>,
    /// Make a certificate at the start if there is none: secret, but whoever reaches the port can
    /// take part.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL", value_parser = boolean)]
    peer_auto_tls: Option<bool>,
}

/// What is spoken at both ports.
#[derive(Clone, Debug, Args)]
pub(super) struct ProtocolFlags {
    /// The oldest version of TLS [default: TLS1.2].
    #[arg(long, value_enum, value_name = "VERSION")]
    tls_min_version: Option<Version>,
    /// The newest version of TLS.
    #[arg(long, value_enum, value_name = "VERSION")]
    tls_max_version: Option<Version>,
    /// Ciphers of TLS 1.2; all that are good if left out.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    cipher_suites: Vec<String>,
    /// Speak plaintext also at addresses that everybody may reach.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL", value_parser = boolean)]
    pub(super) allow_plaintext: Option<bool>,
}

/// Without the empty ones: `--cipher-suites=` says none.
fn given(texts: Vec<String>) -> Vec<String> {
    texts.into_iter().filter(|text| !text.is_empty()).collect()
}

fn file(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

impl From<ClientTlsFlags> for TlsFiles {
    fn from(flags: ClientTlsFlags) -> Self {
        Self {
            cert_file: file(flags.cert_file),
            key_file: file(flags.key_file),
            trusted_ca_file: file(flags.trusted_ca_file),
            crl_file: file(flags.client_crl_file),
            client_cert_auth: flags.client_cert_auth.unwrap_or(false),
            auto_tls: flags.auto_tls.unwrap_or(false),
            allowed_cns: Vec::new(),
            allowed_hostnames: given(flags.client_cert_allowed_hostname),
            skip_san_verification: false,
        }
    }
}

impl From<PeerTlsFlags> for TlsFiles {
    fn from(flags: PeerTlsFlags) -> Self {
        Self {
            cert_file: file(flags.peer_cert_file),
            key_file: file(flags.peer_key_file),
            trusted_ca_file: file(flags.peer_trusted_ca_file),
            crl_file: file(flags.peer_crl_file),
            client_cert_auth: flags.peer_client_cert_auth.unwrap_or(false),
            auto_tls: flags.peer_auto_tls.unwrap_or(false),
            allowed_cns: given(flags.peer_cert_allowed_cn),
            allowed_hostnames: given(flags.peer_cert_allowed_hostname),
            skip_san_verification: flags.peer_skip_client_san_verification.unwrap_or(false),
        }
    }
}

impl From<ProtocolFlags> for TlsProtocol {
    fn from(flags: ProtocolFlags) -> Self {
        Self {
            min_version: flags.tls_min_version.map_or(TlsVersion::Tls12, TlsVersion::from),
            max_version: flags.tls_max_version.map(TlsVersion::from),
            cipher_suites: given(flags.cipher_suites),
        }
    }
}
