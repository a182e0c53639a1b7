//! Certificates that a server makes for itself (`--auto-tls`, `--peer-auto-tls`): enough for a
//! conversation that nobody else can read, and no proof of who takes part in it.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::{TlsFault, fault};

/// A certificate for these hosts that nobody has signed, and its key, as PEM. Both live as long as
/// the process.
pub(super) fn certificate(hosts: Vec<String>) -> Result<(Vec<u8>, Vec<u8>), TlsFault> {
    let made = || {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(hosts)?.self_signed(&key)?;
        Ok((certificate.pem().into_bytes(), key.serialize_pem().into_bytes()))
    };
    made().map_err(|error: rcgen::Error| fault("a certificate could not be made", error))
}

/// Takes the certificate of anybody who has its key.
#[derive(Debug)]
pub(super) struct TakesAnybody(pub(super) Arc<CryptoProvider>);

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
