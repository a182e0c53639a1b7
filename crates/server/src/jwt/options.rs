//! `--auth-token`: `simple`, or `jwt,sign-method=RS256,pub-key=…,priv-key=…,ttl=10m`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use env::{Disk, OpenMode};

use super::Jwt;
use super::keys::{Keys, METHODS};
use crate::errors::StartError;

/// etcd's.
const TTL_SECS_DEFAULT: u64 = 300;
/// Larger files are no keys.
const KEY_BYTES_MAX: u64 = 1 << 20;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TokenKind {
    /// A secret that every member is told of.
    Simple,
    /// A signed statement.
    Jwt(JwtOptions),
}

/// What tokens are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct JwtOptions {
    method: &'static str,
    public_key: Option<PathBuf>,
    private_key: Option<PathBuf>,
    ttl_secs: u64,
}

/// Why tokens cannot be made so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TokenFault(String);

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fault(reason: impl Into<String>) -> TokenFault {
    TokenFault(reason.into())
}

impl TokenKind {
    /// Reads the flag's value.
    fn parse(text: &str) -> Result<Self, TokenFault> {
        let (kind, rest) = text.split_once(',').unwrap_or((text, ""));
        match kind.trim() {
            // An empty one is etcd's default as well.
            "simple" | "" if rest.is_empty() => Ok(Self::Simple),
            "jwt" => Ok(Self::Jwt(JwtOptions::parse(rest)?)),
            _ => Err(fault("write simple, or jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE")),
        }
    }
}

/// What signed tokens are made and read with, by the flag's value; nothing for simple ones.
pub(crate) fn open(text: &str, disk: &dyn Disk) -> Result<Option<Jwt>, StartError> {
    let jwt = TokenKind::parse(text).and_then(|kind| match kind {
        TokenKind::Simple => Ok(None),
        TokenKind::Jwt(jwt) => jwt.open(disk).map(Some),
    });
    let jwt = jwt.map_err(|fault| StartError::AuthToken(fault.to_string()))?;
    if jwt.as_ref().is_some_and(|jwt| !jwt.can_sign()) {
        tracing::warn!("--auth-token has no priv-key: nobody can sign in at this member");
    }
    Ok(jwt)
}

impl JwtOptions {
    fn parse(text: &str) -> Result<Self, TokenFault> {
        let (mut method, mut public_key, mut private_key) = (None, None, None);
        let mut ttl_secs = TTL_SECS_DEFAULT;
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name.trim() {
                "sign-method" => method = Some(value),
                "pub-key" => public_key = Some(PathBuf::from(value)),
                "priv-key" => private_key = Some(PathBuf::from(value)),
                "ttl" => ttl_secs = secs(value)?,
                other => return Err(fault(format!("jwt has no option {other}"))),
            }
        }
        let method = method.ok_or_else(|| fault("jwt needs a sign-method, such as RS256"))?;
        let known = METHODS.iter().find(|known| **known == method);
        let method = known.ok_or_else(|| {
            fault(format!("{method} is not served: choose from {}", METHODS.join(", ")))
        })?;
        Ok(Self { method, public_key, private_key, ttl_secs })
    }

    /// Reads the keys.
    fn open(&self, disk: &dyn Disk) -> Result<Jwt, TokenFault> {
        let read =
            |path: &Option<PathBuf>| path.as_deref().map(|path| read(disk, path)).transpose();
        let (public, private) = (read(&self.public_key)?, read(&self.private_key)?);
        let keys = Keys::new(self.method, public.as_deref(), private.as_deref()).map_err(fault)?;
        Ok(Jwt { keys, ttl_secs: self.ttl_secs })
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, TokenFault> {
    let bytes = || {
        let file = disk.open(path, OpenMode::ReadOnly)?;
        let length = file.len_bytes()?;
        if length > KEY_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too large for a key"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    bytes().map_err(|error| fault(format!("{}: {error}", path.display())))
}

/// `10m`, `1h`, `90s`.
fn secs(text: &str) -> Result<u64, TokenFault> {
    let bad = || fault(format!("ttl={text}: write a duration such as 10m"));
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(unit).filter(|secs| *secs > 0).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_written_as_of_etcd() {
        assert_eq!(TokenKind::parse("simple"), Ok(TokenKind::Simple));
        let parsed = TokenKind::parse("jwt,pub-key=a.pub,priv-key=a.pem,sign-method=RS256,ttl=10m");
        let expect = JwtOptions {
            method: "RS256",
            public_key: Some("a.pub".into()),
            private_key: Some("a.pem".into()),
            ttl_secs: 600,
        };
        assert_eq!(parsed, Ok(TokenKind::Jwt(expect)));
        for (bad, part) in [
            ("jwt", "sign-method"),
            ("jwt,sign-method=none", "not served"),
            ("jwt,sign-method=ES512", "not served"),
            ("jwt,sign-method=RS256,what=x", "what"),
            ("jwt,sign-method=RS256,ttl=0s", "ttl"),
            ("jwt,sign-method=RS256,ttl=10", "ttl"),
            ("simple,x=y", "simple"),
            ("magic", "simple"),
        ] {
            let fault = TokenKind::parse(bad).unwrap_err().to_string();
            assert!(fault.contains(part), "{bad}: {fault}");
        }
    }
}
