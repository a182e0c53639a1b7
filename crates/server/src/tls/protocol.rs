//! Which versions and ciphers of TLS are spoken.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::{TlsFault, fault};

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// With AEAD ciphers only.
    Tls12,
    /// The present one.
    Tls13,
}

/// What is spoken, at both ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProtocol {
    /// The oldest version.
    pub min_version: TlsVersion,
    /// The newest; none for the newest that there is.
    pub max_version: Option<TlsVersion>,
    /// Ciphers of TLS 1.2 by their names in the IANA registry; empty for all that are good. Those
    /// of 1.3 are all good.
    pub cipher_suites: Vec<String>,
}

impl Default for TlsProtocol {
    fn default() -> Self {
        Self { min_version: TlsVersion::Tls12, max_version: None, cipher_suites: Vec::new() }
    }
}

impl TlsProtocol {
    pub(super) fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsFault> {
        let max = self.max_version.unwrap_or(TlsVersion::Tls13);
        if self.min_version > max {
            return Err(fault("--tls-min-version", "is newer than --tls-max-version"));
        }
        if self.min_version == TlsVersion::Tls13 && !self.cipher_suites.is_empty() {
            return Err(fault("--cipher-suites", "those of TLS 1.3 cannot be chosen, as in etcd"));
        }
        let all = [(TlsVersion::Tls13, &TLS13), (TlsVersion::Tls12, &TLS12)];
        let spoken =
            all.into_iter().filter(|(version, _)| (self.min_version..=max).contains(version));
        Ok(spoken.map(|(_, version)| version).collect())
    }

    pub(super) fn provider(&self) -> Result<Arc<CryptoProvider>, TlsFault> {
        let mut provider = ring::default_provider();
        if !self.cipher_suites.is_empty() {
            let known: Vec<String> = provider.cipher_suites.iter().filter_map(name).collect();
            // Go has two names for the same.
            let wanted: Vec<String> = self
                .cipher_suites
                .iter()
                .map(|name| match name.strip_suffix("_CHACHA20_POLY1305") {
                    Some(_) => format!("{name}_SHA256"),
                    None => name.clone(),
                })
                .collect();
            if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
                let reason = format!("{unknown} is not offered: choose from {}", known.join(", "));
                return Err(fault("--cipher-suites", reason));
            }
            provider
                .cipher_suites
                .retain(|suite| name(suite).is_none_or(|name| wanted.contains(&name)));
        }
        Ok(Arc::new(provider))
    }
}

/// The name of a cipher of TLS 1.2.
fn name(suite: &SupportedCipherSuite) -> Option<String> {
    match suite {
        SupportedCipherSuite::Tls12(suite) => Some(format!("{:?}", suite.common.suite)),
        SupportedCipherSuite::Tls13(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphers_are_chosen_by_the_names_that_go_has() {
        let protocol = |names: &[&str]| TlsProtocol {
            cipher_suites: names.iter().map(ToString::to_string).collect(),
            ..TlsProtocol::default()
        };
        let suites = |names: &[&str]| -> Vec<String> {
            let provider = protocol(names).provider().unwrap();
            provider.cipher_suites.iter().filter_map(name).collect()
        };
        let [gcm, chacha] = [
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ];
        assert_eq!(suites(&[gcm]), [gcm]);
        assert_eq!(suites(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]), [chacha]);
        assert!(suites(&[]).len() >= 6);
        let cbc = protocol(&["TLS_RSA_WITH_AES_128_CBC_SHA"]).provider().unwrap_err();
        assert!(cbc.to_string().contains("not offered"), "{cbc}");
    }

    #[test]
    fn versions_lie_between_the_two_that_are_given() {
        let check = |min_version, max_version, expect: usize| {
            let protocol = TlsProtocol { min_version, max_version, ..TlsProtocol::default() };
            assert_eq!(protocol.versions().map_or(0, |versions| versions.len()), expect);
        };
        check(TlsVersion::Tls12, None, 2);
        check(TlsVersion::Tls13, None, 1);
        check(TlsVersion::Tls12, Some(TlsVersion::Tls12), 1);
        check(TlsVersion::Tls13, Some(TlsVersion::Tls12), 0);
    }
}
