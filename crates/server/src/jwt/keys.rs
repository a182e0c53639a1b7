//! The methods of signing, and their keys.

use std::fmt;

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use x509_cert::der::Decode;
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// All that are served. etcd has ES512 as well, which ring does not.
pub(super) const METHODS: [&str; 12] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256",
    "HS384", "HS512",
];

/// A key of HMAC shorter than this is guessed sooner than it should be.
const SECRET_BYTES_MIN: usize = 32;

enum Signer {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

enum Kind {
    Shared(hmac::Key),
    Pair { signer: Option<Signer>, public: Vec<u8>, algorithm: &'static dyn VerificationAlgorithm },
}

/// A method with its keys.
pub(super) struct Keys {
    method: &'static str,
    kind: Kind,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("method", &self.method).finish_non_exhaustive()
    }
}

fn rsa(method: &str) -> Option<(&'static dyn RsaEncoding, &'static dyn VerificationAlgorithm)> {
    Some(match method {
        "RS256" => (&RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256),
        "RS384" => (&RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384),
        "RS512" => (&RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512),
        "PS256" => (&RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256),
        "PS384" => (&RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384),
        "PS512" => (&RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512),
        _ => return None,
    })
}

impl Keys {
    /// With what the files say: of HMAC the secret itself is the private key, of all others there
    /// must be one of the two.
    pub(super) fn new(
        method: &'static str,
        public: Option<&[u8]>,
        private: Option<&[u8]>,
    ) -> Result<Self, String> {
        let shared = match method {
            "HS256" => Some(hmac::HMAC_SHA256),
            "HS384" => Some(hmac::HMAC_SHA384),
            "HS512" => Some(hmac::HMAC_SHA512),
            _ => None,
        };
        if let Some(algorithm) = shared {
            let secret = private.ok_or("priv-key is needed: the file with the secret")?;
            if secret.len() < SECRET_BYTES_MIN {
                return Err(format!(
                    "the secret in priv-key has fewer than {SECRET_BYTES_MIN} bytes"
                ));
            }
            return Ok(Self { method, kind: Kind::Shared(hmac::Key::new(algorithm, secret)) });
        }
        let signer = private.map(|private| signer(method, private)).transpose()?;
        let public = match (public, &signer) {
            (Some(public), _) => public_key(public)?,
            (None, Some(signer)) => signer.public_key(),
            (None, None) => return Err("pub-key or priv-key is needed".to_owned()),
        };
        let algorithm: &'static dyn VerificationAlgorithm = match method {
            "ES256" => &ECDSA_P256_SHA256_FIXED,
            "ES384" => &ECDSA_P384_SHA384_FIXED,
            "EdDSA" => &ED25519,
            _ => rsa(method).map(|(_, algorithm)| algorithm).ok_or("no such sign-method")?,
        };
        let keys = Self { method, kind: Kind::Pair { signer, public, algorithm } };
        // Keys that do not belong together would be found out by the first who signs in.
        if let Some(signature) = keys.sign(b"a trial")
            && !keys.verify(b"a trial", &signature)
        {
            return Err("pub-key and priv-key do not belong together".to_owned());
        }
        Ok(keys)
    }

    pub(super) fn method(&self) -> &'static str {
        self.method
    }

    pub(super) fn can_sign(&self) -> bool {
        !matches!(self.kind, Kind::Pair { signer: None, .. })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let dice = SystemRandom::new();
        match &self.kind {
            Kind::Shared(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Kind::Pair { signer: None, .. } => None,
            Kind::Pair { signer: Some(Signer::Rsa(pair, encoding)), .. } => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &dice, message, &mut signature).ok()?;
                Some(signature)
            }
            Kind::Pair { signer: Some(Signer::Ecdsa(pair)), .. } => {
                pair.sign(&dice, message).ok().map(|signature| signature.as_ref().to_vec())
            }
            Kind::Pair { signer: Some(Signer::Ed25519(pair)), .. } => {
                Some(pair.sign(message).as_ref().to_vec())
            }
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.kind {
            Kind::Shared(key) => hmac::verify(key, message, signature).is_ok(),
            Kind::Pair { public, algorithm, .. } => {
                UnparsedPublicKey::new(*algorithm, public).verify(message, signature).is_ok()
            }
        }
    }
}

impl Signer {
    fn public_key(&self) -> Vec<u8> {
        match self {
            Self::Rsa(pair, _) => pair.public_key().as_ref().to_vec(),
            Self::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }
}

fn signer(method: &str, pem: &[u8]) -> Result<Signer, String> {
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| "there is no private key in priv-key".to_owned())?;
    let bad = |error: ring::error::KeyRejected| {
        format!("the key in priv-key is none for {method}: {error}")
    };
    if let Some((encoding, _)) = rsa(method) {
        let pair = if let PrivateKeyDer::Pkcs1(der) = &key {
            RsaKeyPair::from_der(der.secret_pkcs1_der())
        } else {
            RsaKeyPair::from_pkcs8(key.secret_der())
        };
        return Ok(Signer::Rsa(pair.map_err(bad)?, encoding));
    }
    let PrivateKeyDer::Pkcs8(der) = &key else {
        return Err("priv-key must be PKCS #8: openssl pkcs8 -topk8 -nocrypt".to_owned());
    };
    let der = der.secret_pkcs8_der();
    let dice = SystemRandom::new();
    let ecdsa = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der, &dice).map(Signer::Ecdsa);
    match method {
        "ES256" => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
        "ES384" => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
        _ => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Signer::Ed25519),
    }
    .map_err(bad)
}

/// The key itself, from a public key or a certificate.
fn public_key(pem: &[u8]) -> Result<Vec<u8>, String> {
    let none = || "there is no public key in pub-key".to_owned();
    if let Ok(info) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
        let info = SubjectPublicKeyInfoRef::from_der(info.as_ref()).map_err(|_| none())?;
        return Ok(info.subject_public_key.raw_bytes().to_vec());
    }
    let certificate = CertificateDer::from_pem_slice(pem).map_err(|_| none())?;
    let certificate = x509_cert::Certificate::from_der(&certificate).map_err(|_| none())?;
    let info = certificate.tbs_certificate.subject_public_key_info;
    Ok(info.subject_public_key.raw_bytes().to_vec())
}
