//! How a peer is called: at any of its addresses, in the newest version that both ends speak, by
//! TLS where the address says so.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::greeting::{self, Greeting, Refusal};
use super::hurried::Hurried;
use super::outbound::Link;
use super::tls;
use super::wire::Wire;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that takes no byte and acknowledges none for this long is gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, and the version that is spoken on it.
pub(super) struct Connected {
    pub(super) wire: Wire,
    pub(super) version: u8,
}

impl Link {
    pub(super) fn connect(&self) -> io::Result<Connected> {
        // Before the addresses are read: if they change from now on, there is another greeting.
        self.greets_rightly();
        let mut addresses = self.addresses.lock().clone();
        // Whoever can keep a peer's certificate from being shown must not get it in plaintext, at
        // an address of before that nobody has taken off the list.
        let is_secure = |address: &String| tls::place_of(address).1;
        if self.tls.is_some() && addresses.iter().any(is_secure) {
            addresses.retain(is_secure);
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match self.call(&address) {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Calls in the newest version, whatever was spoken before: the peer may have been upgraded
    /// since. If it speaks an older one, it says so, and is called again in that.
    fn call(&self, address: &str) -> io::Result<Connected> {
        let mut version = self.version_max.load(Ordering::Relaxed);
        loop {
            let refusal = match self.call_in(version, address)? {
                Ok(wire) => return Ok(Connected { wire, version }),
                Err(refusal) => refusal,
            };
            match greeting::version_after(refusal, version) {
                Some(told) => version = told,
                None => {
                    let text = refusal.to_string();
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
                }
            }
        }
    }

    fn call_in(&self, version: u8, address: &str) -> io::Result<Result<Wire, Refusal>> {
        let (place, is_secure) = tls::place_of(address);
        let socket = connect(place)?;
        set_up(&socket)?;
        if is_secure {
            self.secure(socket, version, address)
        } else {
            let mut stream = Hurried::new(&socket, &self.clock, CONNECT_TIMEOUT);
            let answer = self.greet(&mut stream, version, address)?;
            Ok(answer.map(|()| Wire::Plain(socket)))
        }
    }

    fn secure(
        &self,
        socket: TcpStream,
        version: u8,
        address: &str,
    ) -> io::Result<Result<Wire, Refusal>> {
        let tls = self.tls.as_ref().ok_or_else(no_certificates)?;
        let epoch = tls.epoch();
        let hurried = Hurried::new(&socket, &self.clock, CONNECT_TIMEOUT);
        let (place, _) = tls::place_of(address);
        let mut stream = tls.connect(tls::host_of(place), hurried)?;
        if let Err(refusal) = self.greet(&mut stream, version, address)? {
            return Ok(Err(refusal));
        }
        // Nothing comes this way any more: what the stream may have read ahead is nothing.
        let connection = stream.into_connection();
        Ok(Ok(Wire::secure(socket, connection, epoch)))
    }

    fn greet(
        &self,
        stream: &mut (impl Read + Write),
        version: u8,
        address: &str,
    ) -> io::Result<Result<(), Refusal>> {
        let addresses = self.own_addresses.lock().clone();
        let (cluster_id, from, to) = (self.cluster_id, self.from, self.to);
        let greeting = Greeting { version, cluster_id, from, to, addresses };
        let answer = greeting::greet(stream, &greeting)?;
        if answer == Err(Refusal::Removed) {
            self.hear_of_removal(address);
        }
        Ok(answer)
    }
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(SILENCE_TIMEOUT))?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(2))
        .with_interval(Duration::from_secs(1));
    socket.set_tcp_keepalive(&keepalive)
}

pub(super) fn no_certificates() -> io::Error {
    let text = "its address begins with https, and this member has no certificate for its peers: \
                give --peer-cert-file, --peer-key-file and --peer-trusted-ca-file";
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// A connection to the first address that a name has and that answers.
pub(super) fn connect(name: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in name.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
