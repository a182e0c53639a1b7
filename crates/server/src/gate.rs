//! Who asks, and may they: once for every call, before its service sees it.
//!
//! While authentication is off this costs one load of an atomic. While it is on, the token (or the
//! certificate) becomes a [`Principal`], which travels in the extensions of the request, through
//! the log if need be, to the store, which asks about keys.

use std::sync::Arc;

use http::HeaderMap;
use sha2::{Digest, Sha256};
use store::{Principal, RequestError};
use tonic::Request;

use crate::api_error::ApiError;
use crate::jwt::Jwt;
use crate::member::Member;
use crate::methods::Need;

/// Letters of the secret part of a token: 91 bits.
const SECRET_LETTERS: usize = 16;
/// Longer ones are none of ours.
const TOKEN_BYTES_MAX: usize = 64;
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The name in the certificate of a connection that has shown one.
#[derive(Clone, Debug)]
pub(crate) struct CommonName(pub(crate) Arc<str>);

/// What a request says of who sends it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    token: Option<String>,
    common_name: Option<CommonName>,
}

impl Credentials {
    /// From the headers of a request, or the metadata of a stream. etcd looks into `token` first.
    pub(crate) fn new(headers: &HeaderMap, common_name: Option<&CommonName>) -> Self {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let bare = |text: &str| text.strip_prefix("Bearer ").unwrap_or(text).to_owned();
        Self {
            token: text("token").or_else(|| text("authorization")).map(bare),
            common_name: common_name.cloned(),
        }
    }
}

/// Who calls, as the gate found; nobody while authentication is off.
pub(crate) fn caller<T>(request: &Request<T>) -> Option<Principal> {
    request.extensions().get::<Principal>().cloned()
}

/// A token in its two parts.
#[derive(Debug, PartialEq, Eq)]
struct Token {
    digest: [u8; 32],
    index: u64,
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        let (secret, index) = text.split_once('.').filter(|_| text.len() <= TOKEN_BYTES_MAX)?;
        let is_ours =
            secret.len() == SECRET_LETTERS && index.bytes().all(|digit| digit.is_ascii_digit());
        let index = index.parse().ok().filter(|_| is_ours)?;
        Some(Self { digest: digest(secret), index })
    }
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// The secret part of a new token, and its digest for the log.
pub(crate) fn new_secret(member: &Member) -> (String, [u8; 32]) {
    let mut secret = String::with_capacity(SECRET_LETTERS);
    while secret.len() < SECRET_LETTERS {
        // Six bits say a letter or nothing, so that each is as likely as the others.
        let mut dice = member.entropy.next_u64();
        for _ in 0..10 {
            let letter = usize::try_from(dice & 63).unwrap_or_default();
            dice >>= 6;
            if let Some(letter) = LETTERS.get(letter).filter(|_| secret.len() < SECRET_LETTERS) {
                secret.push(char::from(*letter));
            }
        }
    }
    let digest = digest(&secret);
    (secret, digest)
}

impl Member {
    /// Who shows these credentials, by what this member has applied; `None` for nobody.
    pub(crate) fn principal_now(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<Principal>, RequestError> {
        let status = self.store.auth_status();
        if !status.enabled {
            return Ok(None);
        }
        let name = match (&credentials.token, &credentials.common_name) {
            // A token wins over a certificate, also one that is no good.
            (Some(token), _) => match &self.jwt {
                Some(jwt) => return self.jwt_principal(jwt, token, status.revision).map(Some),
                None => self.simple_user(token)?,
            },
            (None, Some(CommonName(name))) => name.to_string(),
            (None, None) => return Ok(None),
        };
        Ok(Some(Principal::User { name, auth_revision: status.revision }))
    }

    fn simple_user(&self, token: &str) -> Result<String, RequestError> {
        let (now, ttl) = (self.clock.now(), self.limits.auth_token_ttl);
        let token = Token::parse(token).ok_or(RequestError::InvalidAuthToken)?;
        let user = self.store.token_user(token.index, &token.digest, now, ttl);
        user.ok_or(RequestError::InvalidAuthToken)
    }

    /// A signed token counts for the users and roles that it was made at: whatever changes after
    /// that, its owner signs in again. One of a later revision than there is was made elsewhere.
    fn jwt_principal(
        &self,
        jwt: &Jwt,
        token: &str,
        revision: u64,
    ) -> Result<Principal, RequestError> {
        let claims = jwt.read(token, self.clock.wall_ms() / 1000);
        let claims = claims.filter(|claims| claims.revision <= revision);
        let claims = claims.ok_or(RequestError::InvalidAuthToken)?;
        if claims.revision < revision {
            return Err(RequestError::AuthOldRevision);
        }
        Ok(Principal::User { name: claims.username, auth_revision: claims.revision })
    }

    /// Whether a token was made by something that this member has not applied yet.
    fn is_ahead(&self, token: &str) -> bool {
        match &self.jwt {
            None => {
                Token::parse(token).is_some_and(|token| token.index > self.group.applied_index().0)
            }
            Some(jwt) => jwt
                .read(token, self.clock.wall_ms() / 1000)
                .is_some_and(|claims| claims.revision > self.store.auth_status().revision),
        }
    }

    /// The same, after waiting for a token that this member has not heard of yet: it was made by an
    /// entry that another member has applied.
    pub(crate) async fn principal(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<Principal>, ApiError> {
        if credentials.token.as_deref().is_some_and(|token| self.is_ahead(token)) {
            // What was answered before this is applied after it: a later index is no token's.
            self.read_barrier().await?;
        }
        Ok(self.principal_now(credentials)?)
    }

    /// Lets a call through to its service, and says who calls.
    pub(crate) async fn admit(
        &self,
        need: Need,
        credentials: &Credentials,
    ) -> Result<Option<Principal>, ApiError> {
        let who = match need {
            Need::Nobody => return Ok(None),
            // Its requests are refused one by one; the stream stays.
            Need::Stream => return Ok(self.principal(credentials).await.unwrap_or(None)),
            Need::User | Need::Root | Need::Keys | Need::Recipe | Need::Message => {
                self.principal(credentials).await?
            }
        };
        match need {
            Need::Root => self.store.require_root(who.as_ref())?,
            Need::User | Need::Message => drop(self.store.standing(who.as_ref())?),
            // A stream of renewals, for one, asks the store when it has something to renew.
            Need::Keys | Need::Recipe | Need::Nobody | Need::Stream => {
                if who.is_none() {
                    return Err(RequestError::UserEmpty.into());
                }
            }
        }
        Ok(who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_token_is_looked_up() {
        let parse = |text: &str| Token::parse(text).map(|token| token.index);
        assert_eq!(parse("abcdefghijklmnop.12"), Some(12));
        for text in [
            "",
            ".",
            "abcdefghijklmnop",
            "abcdefghijklmnop.",
            "abcdefghijklmno.12",
            "abcdefghijklmnop.+12",
            "abcdefghijklmnop.-1",
            "abcdefghijklmnop.18446744073709551616",
            "abcdefghijklmnop.1.2",
            "eyJhbGciOiJub25lIn0.e30.",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_token_header_wins_over_authorization_and_bearer_is_no_part_of_it() {
        let token = |pairs: &[(&'static str, &str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
            Credentials::new(&headers.collect(), None).token
        };
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[("authorization", "Bearer x")]).as_deref(), Some("x"));
        assert_eq!(token(&[("authorization", "x"), ("token", "y")]).as_deref(), Some("y"));
    }
}
