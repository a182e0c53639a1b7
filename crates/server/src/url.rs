//! The addresses that members and clients are told: `http://host:port`, for clients `https://` too,
//! and nothing else.

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
    /// It begins with `unix://` or another scheme that is not served, or with `https://` where only
    /// members are.
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
                "only http is served here in this version; write http://host:port"
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
        let url = Self::parse_any(text)?;
        if url.is_tls { Err(UrlFault::SchemeNotServed) } else { Ok(url) }
    }

    /// The same where clients are served, which may be by TLS.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_any(text: &str) -> Result<Self, UrlFault> {
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
    fn clients_may_be_served_by_tls() {
        let url = HttpUrl::parse_any("https://[::1]:2379/").unwrap();
        assert!(url.is_tls());
        assert_eq!(url.with_port(7).to_string(), "https://[::1]:7");
        assert!(!HttpUrl::parse_any("http://a:1").unwrap().is_tls());
        assert_eq!(HttpUrl::parse_any("unix://a:1"), Err(UrlFault::SchemeNotServed));
    }

    #[test]
    fn only_http_with_host_and_port_is_an_address() {
        check("http://10.0.0.1:2379", Ok("http://10.0.0.1:2379"));
        check("http://localhost:2379/", Ok("http://localhost:2379"));
        check("http://[::1]:2380", Ok("http://[::1]:2380"));
        check("http://127.0.0.1:0", Ok("http://127.0.0.1:0"));
        check("10.0.0.1:2379", Err(UrlFault::NoScheme));
        check("https://10.0.0.1:2379", Err(UrlFault::SchemeNotServed));
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
