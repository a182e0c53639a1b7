//! Signed tokens (`--auth-token jwt,…`): who signs in gets a JSON web token, and any member that
//! has the key reads who it is from the token alone. As etcd's, a token names the user, the
//! revision of users and roles that it was made at, and when it ends.
//!
//! The method is an option, never what a token says of itself: one that was signed by another
//! method is none, so that nobody can pass a public key off as a shared secret, or sign with
//! nothing.

mod keys;
mod options;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use keys::Keys;
pub(crate) use options::open;

/// Longer ones are none of ours.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) username: String,
    /// The revision of users and roles.
    pub(crate) revision: u64,
    /// Seconds since 1970 at which it ends.
    pub(crate) exp: u64,
    /// And before which it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    /// Whatever must be understood, is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// Makes and reads tokens.
#[derive(Debug)]
pub(crate) struct Jwt {
    keys: Keys,
    ttl_secs: u64,
}

impl Jwt {
    /// Whether this member can sign; one without the private key only reads.
    fn can_sign(&self) -> bool {
        self.keys.can_sign()
    }

    /// A token for a user who has just signed in.
    pub(crate) fn sign(&self, user: &str, revision: u64, now_secs: u64) -> Option<String> {
        let header =
            Header { alg: self.keys.method().to_owned(), typ: Some("JWT".to_owned()), crit: None };
        let exp = now_secs.saturating_add(self.ttl_secs);
        let claims = Claims { username: user.to_owned(), revision, exp, nbf: None };
        let part = |json: Vec<u8>| BASE64_URL_SAFE_NO_PAD.encode(json);
        let header = part(serde_json::to_vec(&header).ok()?);
        let claims = part(serde_json::to_vec(&claims).ok()?);
        let signed = format!("{header}.{claims}");
        let signature = self.keys.sign(signed.as_bytes())?;
        Some(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token says; nothing of one that is not signed as it must be, or that has ended.
    pub(crate) fn read(&self, token: &str, now_secs: u64) -> Option<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let bytes = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&bytes(header)?).ok()?;
        if header.alg != self.keys.method() || header.crit.is_some() {
            return None;
        }
        if !self.keys.verify(signed.as_bytes(), &bytes(signature)?) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&bytes(claims)?).ok()?;
        let is_in_time =
            claims.exp > now_secs && claims.nbf.is_none_or(|begins| begins <= now_secs);
        (is_in_time && !claims.username.is_empty()).then_some(claims)
    }
}

#[cfg(test)]
mod tests;
