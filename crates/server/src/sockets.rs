//! The sockets of a server, and what others are told of them.

use std::net::{IpAddr, SocketAddr, TcpListener};

use crate::errors::StartError;
use crate::options::ServerOptions;
use crate::plan::Plan;
use crate::url::HttpUrl;

/// Connections that wait to be accepted. The usual 128 are gone in a moment when thousands of
/// clients come back at once, and then a new one waits for its second try, a second later.
const BACKLOG: i32 = 4096;

/// The sockets, open before anything is written: a port in use leaves no half-made folder behind.
pub(crate) struct Sockets {
    pub(crate) client: Vec<TcpListener>,
    pub(crate) client_addresses: Vec<SocketAddr>,
    pub(crate) peer: Vec<TcpListener>,
    pub(crate) peer_addresses: Vec<SocketAddr>,
    pub(crate) metrics: Vec<TcpListener>,
    pub(crate) metrics_addresses: Vec<SocketAddr>,
}

impl Sockets {
    pub(crate) fn open(options: &mut ServerOptions, plan: &Plan) -> Result<Self, StartError> {
        let client = listeners("client", options.client_listener.take(), &plan.listen_client_urls)?;
        let peer = listeners("peer", options.peer_listener.take(), &plan.listen_peer_urls)?;
        for (what, listeners, urls) in
            [("client", &client, &plan.listen_client_urls), ("peer", &peer, &plan.listen_peer_urls)]
        {
            if !options.allow_plaintext {
                no_plaintext_in_public(what, listeners, urls)?;
            }
            warn_of_plaintext(what, listeners, urls);
        }
        // Whoever may look at metrics is told nothing of the keys.
        let metrics = listeners("metrics", None, &plan.listen_metrics_urls)?;
        Ok(Self {
            metrics_addresses: addresses(&metrics)?,
            metrics,
            client_addresses: addresses(&client)?,
            peer_addresses: addresses(&peer)?,
            client,
            peer,
        })
    }
}

fn listeners(
    what: &'static str,
    given: Option<TcpListener>,
    urls: &[HttpUrl],
) -> Result<Vec<TcpListener>, StartError> {
    if let Some(listener) = given {
        return Ok(vec![listener]);
    }
    let bind = |url: &HttpUrl| {
        TcpListener::bind(url.authority())
            .and_then(|listener| {
                socket2::SockRef::from(&listener).listen(BACKLOG)?;
                Ok(listener)
            })
            .map_err(|error| StartError::Listen { what, address: url.to_string(), error })
    };
    urls.iter().map(bind).collect()
}

/// What is said in plaintext, whoever is on the way can read and change. On one's own machine or in
/// a private network that is a choice; anywhere else it has to be said.
fn no_plaintext_in_public(
    what: &'static str,
    listeners: &[TcpListener],
    urls: &[HttpUrl],
) -> Result<(), StartError> {
    for (listener, url) in listeners.iter().zip(urls).filter(|(_, url)| !url.is_tls()) {
        let address = listener.local_addr().map(|address| address.ip());
        if address.is_ok_and(is_public) {
            return Err(StartError::PlaintextInPublic { what, address: url.to_string() });
        }
    }
    Ok(())
}

/// Beyond one's own machine it is worth a word, allowed or not.
fn warn_of_plaintext(what: &'static str, listeners: &[TcpListener], urls: &[HttpUrl]) {
    for (listener, url) in listeners.iter().zip(urls).filter(|(_, url)| !url.is_tls()) {
        if listener.local_addr().is_ok_and(|address| !address.ip().is_loopback()) {
            let told = match what {
                "peer" => "whoever reaches it can take part in the protocol",
                _ => "passwords, tokens and data go over the wire as they are",
            };
            tracing::warn!(
                "the {what} port at {url} is plaintext: {told}; docs/operating/tls.md has TLS"
            );
        }
    }
}

/// Whether everybody may be able to reach an address. All addresses of the machine together may
/// have one of that kind among them.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            !(address.is_loopback() || address.is_private() || address.is_link_local() || is_shared)
        }
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => is_public(IpAddr::V4(address)),
            None => {
                let is_private = address.is_unique_local() || address.is_unicast_link_local();
                !(address.is_loopback() || is_private)
            }
        },
    }
}

fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, StartError> {
    let address = |listener: &TcpListener| {
        listener.local_addr().map_err(|error| StartError::Listen {
            what: "client",
            address: "a socket that was handed over".to_owned(),
            error,
        })
    };
    listeners.iter().map(address).collect()
}

/// What others are told: what the options say, else what is listened on, with the ports that the
/// system chose.
pub(crate) fn advertised(
    told: &[HttpUrl],
    listened: &[HttpUrl],
    bound: &[SocketAddr],
    is_tls: bool,
) -> Vec<String> {
    let with_port = |urls: &[HttpUrl]| {
        let port = |at: usize| bound.get(at).or_else(|| bound.first()).map_or(0, SocketAddr::port);
        let urls = urls.iter().enumerate().map(|(at, url)| {
            let url = if url.port() == 0 { url.with_port(port(at)) } else { url.clone() };
            url.to_string()
        });
        urls.collect()
    };
    if !told.is_empty() {
        with_port(told)
    } else if listened.len() == bound.len()
        && listened
            .iter()
            .zip(bound)
            .all(|(url, address)| url.port() == 0 || url.port() == address.port())
    {
        with_port(listened)
    } else {
        let scheme = if is_tls { "https" } else { "http" };
        bound.iter().map(|address| format!("{scheme}://{address}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(told: &[&str], listened: &[&str], bound: &[&str], expect: &[&str]) {
        let urls = |texts: &[&str]| -> Vec<HttpUrl> {
            texts.iter().map(|text| HttpUrl::parse(text).unwrap()).collect()
        };
        let bound: Vec<SocketAddr> = bound.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(advertised(&urls(told), &urls(listened), &bound, false), expect);
    }

    #[test]
    fn what_everybody_may_reach_is_public() {
        let check = |text: &str, expect: bool| {
            assert_eq!(is_public(text.parse().unwrap()), expect, "{text}");
        };
        for private in ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.0.1"] {
            check(private, false);
        }
        for private in ["100.64.0.1", "::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1"] {
            check(private, false);
        }
        for public in ["0.0.0.0", "::", "8.8.8.8", "172.32.0.1", "100.63.0.1", "2001:4860::1"] {
            check(public, true);
        }
        check("::ffff:8.8.8.8", true);
    }

    #[test]
    fn others_are_told_the_ports_that_the_system_chose() {
        let bound = ["127.0.0.1:4000"];
        check(&[], &["http://localhost:0"], &bound, &["http://localhost:4000"]);
        check(&["http://h:0"], &["http://localhost:0"], &bound, &["http://h:4000"]);
        check(&["http://h:7"], &["http://localhost:0"], &bound, &["http://h:7"]);
        // A socket that was handed over is not what the options say.
        check(&[], &["http://localhost:2379"], &bound, &["http://127.0.0.1:4000"]);
    }
}
