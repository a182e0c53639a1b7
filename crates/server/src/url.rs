//! The addresses that members and clients are told: `http://host:port` or `https://host:port`, and
//! nothing else.

use std::fmt;

/// A checked address. Two that are equal mean the same place as far as their text can say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpUrl {
    host: String,
    port: u16,
    is_tls: bool,
}

/// Why a text is no address that this server can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlFault {
    /// There is no `http://` before it.
    NoScheme,
    /// It begins with `unix://` or another scheme that is not served.
    SchemeNotServed,
    /// There is no host.
    NoHost,
    /// There is no `:port`, or it is no number below 65 536.
    NoPort,
    /// Something follows the port.
    Trailing,
}

impl fmt::Display for UrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoScheme => "the scheme is missing; write http://host:port",
            Self::SchemeNotServed => {
                "only http and https are served; write http://host:port or https://host:port"
            }
            Self::NoHost => "the host is missing; write http://host:port",
            Self::NoPort => "the port is missing or no number below 65536; write http://host:port",
            Self::Trailing => "nothing may follow the port; write http://host:port",
        })
    }
}

impl std::error::Error for UrlFault {}

impl HttpUrl {
    /// Checks a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, UrlFault> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlFault::NoScheme)?;
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(UrlFault::SchemeNotServed),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UrlFault::Trailing);
        }
        let (host, port) = rest.rsplit_once(':').ok_or(UrlFault::NoPort)?;
        if host.is_empty() || host == "[]" {
            return Err(UrlFault::NoHost);
        }
        // An IPv6 address stands in brackets; without them its last group would pass for a port.
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(UrlFault::NoPort);
        }
        let digits_only = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = if digits_only { port.parse().ok() } else { None };
        Ok(Self { host: host.to_owned(), port: port.ok_or(UrlFault::NoPort)?, is_tls })
    }

    /// The port; 0 before the system has chosen one.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same place at another port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port, is_tls: self.is_tls }
    }

    /// Whether it begins with `https://`.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The host; an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let inner = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.unwrap_or(&self.host)
    }

    /// Where the transport of members reaches it: `host:port`, or the whole where TLS is spoken.
    #[must_use]
    pub fn peer_address(&self) -> String {
        if self.is_tls { self.to_string() } else { self.authority() }
    }

    /// `host:port`, as a socket wants it.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, UrlFault>) {
        assert_eq!(HttpUrl::parse(text).map(|url| url.to_string()), expect.map(str::to_owned));
    }

    #[test]
    fn https_is_tls_and_stays_so() {
        let url = HttpUrl::parse("https://[::1]:2379/").unwrap();
        assert!(url.is_tls());
        assert_eq!(url.with_port(7).to_string(), "https://[::1]:7");
        assert_eq!((url.host(), &*url.peer_address()), ("::1", "https://[::1]:2379"));
        let plain = HttpUrl::parse("http://a:1").unwrap();
        assert_eq!((plain.is_tls(), &*plain.peer_address()), (false, "a:1"));
    }

    #[test]
    fn only_http_with_host_and_port_is_an_address() {
        check("http://10.0.0.1:2379", Ok("http://10.0.0.1:2379"));
        check("http://localhost:2379/", Ok("http://localhost:2379"));
        check("http://[::1]:2380", Ok("http://[::1]:2380"));
        check("http://127.0.0.1:0", Ok("http://127.0.0.1:0"));
        check("10.0.0.1:2379", Err(UrlFault::NoScheme));
        check("https://10.0.0.1:2379", Ok("https://10.0.0.1:2379"));
        check("unix://socket:1", Err(UrlFault::SchemeNotServed));
        check("http://10.0.0.1", Err(UrlFault::NoPort));
        check("http://::1:2380", Err(UrlFault::NoPort));
        check("http://host:", Err(UrlFault::NoPort));
        check("http://host:+1", Err(UrlFault::NoPort));
        check("http://host:65536", Err(UrlFault::NoPort));
        check("http://:2379", Err(UrlFault::NoHost));
        check("http://host:2379/v3", Err(UrlFault::Trailing));
        check("http://user@host:2379", Err(UrlFault::Trailing));
        check("", Err(UrlFault::NoScheme));
    }
}
