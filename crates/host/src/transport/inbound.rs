//! Connections that peers open.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use env::os::OsClock;
use parking_lot::Mutex;
use raft::NodeId;

use super::greeting::{self, Welcome};
use super::hurried::Hurried;
use super::strangers::{self, Strangers};
use super::tls::PeerTls;
use crate::frame::{self, FrameFault};
use crate::{Caller, Receiver, StartError};

/// After a connection that could not be accepted.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);
/// Connections at a time. A cluster needs two for each peer; the rest is room for those that have
/// died and are not yet found out. More are closed at once.
const CONNECTIONS_MAX: usize = 256;
/// A peer that has not greeted by then, its TLS handshake before it, is none.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Read at a time.
const READ_BYTES: usize = 256 << 10;

/// Listens for peers until it is dropped.
#[derive(Debug)]
pub struct PeerListener {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    receiver: Receiver,
    tls: Option<Arc<PeerTls>>,
    clock: OsClock,
    strangers: Strangers,
    stopping: AtomicBool,
    connection_count: AtomicUsize,
    /// Open sockets, so that the threads that read them can be woken.
    open: Mutex<Vec<Arc<TcpStream>>>,
}

impl PeerListener {
    /// Begins to listen, by TLS if there is something to speak it with.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        listener: TcpListener,
        receiver: Receiver,
        tls: Option<Arc<PeerTls>>,
    ) -> Result<Self, StartError> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(receiver, tls));
        let accepting = thread::Builder::new().name("peer-accept".into()).spawn({
            let shared = Arc::clone(&shared);
            move || accept_loop(&listener, &shared)
        })?;
        Ok(Self { shared, address, accepting: Some(accepting) })
    }

    /// Where the frames go.
    #[cfg(test)]
    pub(super) fn receiver(&self) -> Receiver {
        self.shared.receiver.clone()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Shared {
    fn new(receiver: Receiver, tls: Option<Arc<PeerTls>>) -> Self {
        Self {
            receiver,
            tls,
            clock: OsClock::new(),
            strangers: Strangers::default(),
            stopping: AtomicBool::new(false),
            connection_count: AtomicUsize::new(0),
            open: Mutex::default(),
        }
    }
}

impl Drop for PeerListener {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        for stream in self.shared.open.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // `accept` has no time-out: a connection of our own wakes it.
        let mut address = self.address;
        if address.ip().is_unspecified() {
            let loopback: std::net::IpAddr = match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            address.set_ip(loopback);
        }
        let woken = TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
        if let Some(accepting) = self.accepting.take()
            && woken
        {
            let _ = accepting.join();
        }
    }
}

fn accept_loop(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stopping.load(Ordering::Acquire) {
        let (stream, address) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a peer's connection was lost before it was accepted");
                // With no file descriptor left the error comes at once again: it must not take a
                // processor from those who could give one back.
                thread::park_timeout(ACCEPT_BACK_OFF);
                continue;
            }
        };
        if shared.connection_count.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
            tracing::warn!(%address, "closed a connection: {CONNECTIONS_MAX} peers are connected");
            continue;
        }
        shared.connection_count.fetch_add(1, Ordering::Relaxed);
        let for_thread = Arc::clone(shared);
        let spawned = thread::Builder::new().name("peer-read".into()).spawn(move || {
            serve(stream, address, &for_thread);
            for_thread.connection_count.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for a peer's connection");
            shared.connection_count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(stream: TcpStream, address: SocketAddr, shared: &Shared) {
    let stream = Arc::new(stream);
    shared.open.lock().push(Arc::clone(&stream));
    // The listener shuts all open connections down when it ends. One that was accepted at that very
    // moment came too late for that; it must not go on, or its peer would take a node that is gone
    // for one that is here.
    let is_late = shared.stopping.load(Ordering::Acquire);
    let ended = if is_late { Ok(()) } else { greet_and_read(&stream, address, shared) };
    shared.open.lock().retain(|open| !Arc::ptr_eq(open, &stream));
    if let Err(error) = ended
        && !shared.stopping.load(Ordering::Acquire)
    {
        tracing::info!(%address, %error, "a peer's connection has ended");
    }
}

fn greet_and_read(socket: &TcpStream, address: SocketAddr, shared: &Shared) -> io::Result<()> {
    let Some(stranger) = shared.strangers.admit(address.ip()) else {
        tracing::warn!(%address, "closed a connection: too many have not said yet who they are");
        return Ok(());
    };
    socket.set_nodelay(true)?;
    let mut hurried = Hurried::new(socket, &shared.clock, GREETING_TIMEOUT);
    let receiver = &shared.receiver;
    let Some(tls) = &shared.tls else {
        let caller = welcome(&mut hurried, address, receiver, |_| true)?;
        drop(stranger);
        hurried.relax()?;
        return caller
            .map_or(Ok(()), |caller| read_frames(&mut hurried, &caller, receiver, || true));
    };
    let epoch = tls.epoch();
    let mut stream = tls.accept(hurried)?;
    let certificate = stream.certificate().cloned();
    let admits = |from| strangers::admits(tls, certificate.as_ref(), from, receiver);
    let caller = welcome(&mut stream, address, receiver, admits)?;
    drop(stranger);
    stream.relax()?;
    let is_fresh = || tls.epoch() == epoch;
    caller.map_or(Ok(()), |caller| read_frames(&mut stream, &caller, receiver, is_fresh))
}

/// Who will send frames, if anybody.
fn welcome(
    stream: &mut (impl Read + Write),
    address: SocketAddr,
    receiver: &Receiver,
    admits: impl FnOnce(Option<NodeId>) -> bool,
) -> io::Result<Option<Caller>> {
    let welcomed = greeting::welcome(stream, receiver.cluster_id(), receiver.peers(), admits)?;
    Ok(match welcomed {
        Welcome::Peer(from, addresses) => Some(receiver.meet(from, addresses)),
        Welcome::Inquirer => None,
        Welcome::OtherVersion(version) => {
            tracing::info!(%address, version, "a peer was told to speak an older version");
            None
        }
        Welcome::Refused => {
            tracing::warn!(
                %address,
                "refused a peer of another cluster, version, for another member, one that was \
                 removed, or whose certificate is not that of who it says it is; its log says more"
            );
            None
        }
    })
}

/// Reads until the connection ends, or until `is_fresh` says that it has to be made anew.
fn read_frames(
    stream: &mut impl Read,
    caller: &Caller,
    receiver: &Receiver,
    is_fresh: impl Fn() -> bool,
) -> io::Result<()> {
    let mut chunk = vec![0; READ_BYTES];
    let mut pending = BytesMut::new();
    loop {
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        if !is_fresh() {
            return Err(io::Error::other("the certificates have changed"));
        }
        pending.extend_from_slice(&chunk[..length]);
        loop {
            match frame::frame_length(&pending) {
                Ok(Some(length)) if pending.len() >= length => {
                    deliver(receiver, caller.node(), pending.split_to(length).freeze())?;
                }
                Ok(_) => break,
                Err(fault) => return Err(io::Error::new(io::ErrorKind::InvalidData, fault)),
            }
        }
    }
}

/// A frame that is only late is dropped; after a damaged one nothing that follows can be trusted.
fn deliver(receiver: &Receiver, from: NodeId, frame: Bytes) -> io::Result<()> {
    // The connection ends, and when its peer opens it again it is told why.
    if receiver.peers().has_departed(from) {
        return Err(io::Error::other("its node was removed"));
    }
    match receiver.deliver(from, frame) {
        Ok(()) | Err(FrameFault::Replayed) => Ok(()),
        Err(fault) => {
            tracing::warn!(from = %from, %fault, "a peer's frame was refused");
            Err(io::Error::new(io::ErrorKind::InvalidData, fault))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PeerAddresses;
    use crate::peers::Peers;
    use crate::transport::greeting::Greeting;

    /// A peer that was accepted while the listener ended hears that nobody is there.
    #[test]
    fn a_connection_that_comes_too_late_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let to = listener.local_addr().expect("bound");
        let peer = thread::spawn(move || {
            let mut stream = TcpStream::connect(to).expect("it listens");
            let (from, to, addresses) = (NodeId(1), NodeId(2), Vec::new());
            let version = crate::FRAME_VERSION;
            greeting::greet(&mut stream, &Greeting { version, cluster_id: 1, from, to, addresses })
        });
        let (stream, address) = listener.accept().expect("it has connected");
        let peers = Arc::new(Peers::new(NodeId(2), Vec::new(), PeerAddresses::new()));
        let receiver =
            Receiver::new(1, Vec::new(), Arc::default(), Arc::default(), Arc::clone(&peers));
        let shared = Shared::new(receiver, None);
        shared.stopping.store(true, Ordering::Release);
        serve(stream, address, &shared);
        assert!(peer.join().expect("no panic").is_err(), "nobody welcomes it");
        assert!(shared.open.lock().is_empty());
    }
}
