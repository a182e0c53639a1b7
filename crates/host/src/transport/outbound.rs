//! Connections to peers: one thread each, which connects, greets, and writes what is queued.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bytes::{Buf, Bytes};
use env::Net;
use env::os::OsClock;
use parking_lot::{Condvar, Mutex, RwLock};
use raft::NodeId;

use super::greeting::{self, Greeting, Refusal};
use super::hurried::Hurried;
use super::tls::{self, PeerTls};
use super::wire::{Sent, Wire};
use crate::options::PeerAddresses;

/// What waits for a peer that takes bytes more slowly than they come.
const QUEUE_BYTES_MAX: usize = 32 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that takes no byte and acknowledges none for this long is gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);
const BACK_OFF_MIN: Duration = Duration::from_millis(20);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Frames to peers over TCP. Threads end when it is dropped.
#[derive(Debug)]
pub struct TcpNet {
    cluster_id: u64,
    node_id: NodeId,
    links: RwLock<BTreeMap<u64, Arc<Link>>>,
    /// Where this node is reached.
    own_addresses: Arc<Mutex<Vec<String>>>,
    on_removed: Arc<OnRemoved>,
    tls: Option<Arc<PeerTls>>,
}

/// Hears that a peer says that this node was removed.
#[derive(Default)]
struct OnRemoved(OnceLock<TellRemoved>);

/// The peer, and where it said so.
type TellRemoved = Box<dyn Fn(NodeId, &str) + Send + Sync>;

impl fmt::Debug for OnRemoved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnRemoved").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Link {
    cluster_id: u64,
    from: NodeId,
    to: NodeId,
    own_addresses: Arc<Mutex<Vec<String>>>,
    /// Any of them may answer.
    addresses: Mutex<Vec<String>>,
    on_removed: Arc<OnRemoved>,
    tls: Option<Arc<PeerTls>>,
    clock: OsClock,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// The connection. Without one nothing is kept: it would be old news by the time that the peer
    /// is back, and the protocol repeats what matters.
    wire: Option<Arc<Wire>>,
    /// The link's thread is writing what it took from the queue.
    writing: bool,
    /// The wire has taken something that the socket has not.
    unflushed: bool,
    /// The peer was told of addresses at which this node is reached no more, or of none.
    greeted_wrongly: bool,
    stopping: bool,
}

impl Queue {
    fn has_nothing_to_do(&self) -> bool {
        self.frames.is_empty() && !self.unflushed && !self.greeted_wrongly && !self.stopping
    }
}

impl TcpNet {
    /// A network to these peers, by TLS where an address begins with `https://`; connects at once.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        cluster_id: u64,
        node_id: NodeId,
        peers: &PeerAddresses,
        tls: Option<Arc<PeerTls>>,
    ) -> io::Result<Arc<Self>> {
        let net = Arc::new(Self {
            cluster_id,
            node_id,
            links: RwLock::default(),
            own_addresses: Arc::default(),
            on_removed: Arc::default(),
            tls,
        });
        for (id, addresses) in peers {
            net.link(*id, addresses)?;
        }
        Ok(net)
    }

    /// Who hears that a peer, at this address, refused this node because it was removed; the first
    /// call counts. One peer may be mistaken: see [`Receiver::hear_of_removal`](crate::Receiver).
    pub fn on_removed(&self, told: impl Fn(NodeId, &str) + Send + Sync + 'static) {
        let _ = self.on_removed.0.set(Box::new(told));
    }

    /// Adds a peer, or moves it to other addresses.
    fn link(&self, id: NodeId, addresses: &[String]) -> io::Result<()> {
        if id == self.node_id {
            return Ok(());
        }
        let mut links = self.links.write();
        if let Some(link) = links.get(&id.0) {
            *link.addresses.lock() = addresses.to_vec();
            return Ok(());
        }
        let link = Arc::new(Link {
            cluster_id: self.cluster_id,
            from: self.node_id,
            to: id,
            own_addresses: Arc::clone(&self.own_addresses),
            addresses: Mutex::new(addresses.to_vec()),
            on_removed: Arc::clone(&self.on_removed),
            tls: self.tls.clone(),
            clock: OsClock::new(),
            queue: Mutex::default(),
            changed: Condvar::new(),
        });
        let for_thread = Arc::clone(&link);
        thread::Builder::new().name("peer-write".into()).spawn(move || for_thread.run())?;
        links.insert(id.0, link);
        Ok(())
    }
}

impl Net for TcpNet {
    fn send(&self, to: u64, frame: Bytes) -> bool {
        let links = self.links.read();
        links.get(&to).is_some_and(|link| link.push(frame))
    }

    fn set_peer(&self, to: u64, addresses: &[String]) {
        if let Err(error) = self.link(NodeId(to), addresses) {
            tracing::error!(peer = %NodeId(to), %error, "no thread for a peer's connection");
        }
    }

    fn set_own_addresses(&self, addresses: &[String]) {
        let before = std::mem::replace(&mut *self.own_addresses.lock(), addresses.to_vec());
        if before != addresses {
            self.links.read().values().for_each(|link| link.greet_anew());
        }
    }

    fn remove_peer(&self, to: u64) {
        if let Some(link) = self.links.write().remove(&to) {
            link.stop();
        }
    }
}

impl Drop for TcpNet {
    fn drop(&mut self) {
        self.links.write().values().for_each(|link| link.stop());
    }
}

impl Link {
    /// Writes the frame at once if the socket takes it without waiting, and leaves the rest to the
    /// link's thread: in a quiet moment a message does not pay for waking a thread.
    fn push(&self, mut frame: Bytes) -> bool {
        let mut queue = self.queue.lock();
        let Some(wire) = queue.wire.clone() else {
            return false;
        };
        if queue.bytes + frame.len() > QUEUE_BYTES_MAX {
            return false;
        }
        let is_idle = queue.frames.is_empty() && !queue.writing && !queue.unflushed;
        if is_idle && self.is_fresh(&wire) {
            match wire.send_now(&frame) {
                Sent::Taken(bytes) => frame.advance(bytes),
                Sent::Unflushed => {
                    queue.unflushed = true;
                    drop(queue);
                    self.changed.notify_one();
                    return true;
                }
            }
        }
        if !frame.is_empty() {
            queue.bytes += frame.len();
            queue.frames.push_back(frame);
            let first = queue.frames.len() == 1;
            drop(queue);
            if first {
                self.changed.notify_one();
            }
        }
        true
    }

    /// Whether a connection has the certificates of now.
    fn is_fresh(&self, wire: &Wire) -> bool {
        match (wire, &self.tls) {
            (Wire::Secure(wire), Some(tls)) => wire.epoch == tls.epoch(),
            (Wire::Secure(_) | Wire::Plain(_), _) => true,
        }
    }

    /// A peer that has no configuration with this node answers it where the greeting says. Who
    /// joins learns where it is reached from the configuration that adds it, and has called by
    /// then; without another greeting such a peer could never answer it (T120).
    fn greet_anew(&self) {
        self.queue.lock().greeted_wrongly = true;
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.queue.lock().stopping = true;
        self.changed.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.queue.lock().stopping
    }

    fn run(&self) {
        let mut back_off = BACK_OFF_MIN;
        let mut last_complaint = String::new();
        while !self.is_stopping() {
            let ended = self.connect().and_then(|wire| {
                tracing::info!(peer = %self.to, "connected to a peer");
                (back_off, last_complaint) = (BACK_OFF_MIN, String::new());
                self.write_frames(Arc::new(wire))
            });
            if self.is_stopping() {
                return;
            }
            if let Err(error) = ended {
                self.complain(&error.to_string(), &mut last_complaint);
            }
            self.pause(back_off);
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    /// Says what is wrong once, not with every attempt.
    fn complain(&self, complaint: &str, last: &mut String) {
        if complaint != last {
            let (peer, addresses) = (self.to, self.addresses.lock().join(", "));
            tracing::warn!(%peer, addresses, "cannot talk to a peer, trying on: {complaint}");
            complaint.clone_into(last);
        }
    }

    fn pause(&self, duration: Duration) {
        let mut queue = self.queue.lock();
        queue.frames.clear();
        (queue.bytes, queue.wire) = (0, None);
        (queue.writing, queue.unflushed) = (false, false);
        if !queue.stopping {
            self.changed.wait_for(&mut queue, duration);
        }
    }

    fn connect(&self) -> io::Result<Wire> {
        // Before the addresses are read: if they change from now on, there is another greeting.
        self.queue.lock().greeted_wrongly = false;
        let mut addresses = self.addresses.lock().clone();
        // Whoever can keep a peer's certificate from being shown must not get it in plaintext, at
        // an address of before that nobody has taken off the list.
        let is_secure = |address: &String| tls::place_of(address).1;
        if self.tls.is_some() && addresses.iter().any(is_secure) {
            addresses.retain(is_secure);
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            let (place, is_secure) = tls::place_of(&address);
            let connected = connect(place).and_then(|socket| {
                set_up(&socket)?;
                if is_secure { self.secure(socket, &address) } else { self.plain(socket, &address) }
            });
            match connected {
                Ok(wire) => return Ok(wire),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn plain(&self, socket: TcpStream, address: &str) -> io::Result<Wire> {
        self.greet(&mut Hurried::new(&socket, &self.clock, CONNECT_TIMEOUT), address)?;
        Ok(Wire::Plain(socket))
    }

    fn secure(&self, socket: TcpStream, address: &str) -> io::Result<Wire> {
        let tls = self.tls.as_ref().ok_or_else(no_certificates)?;
        let epoch = tls.epoch();
        let hurried = Hurried::new(&socket, &self.clock, CONNECT_TIMEOUT);
        let (place, _) = tls::place_of(address);
        let mut stream = tls.connect(tls::host_of(place), hurried)?;
        self.greet(&mut stream, address)?;
        // Nothing comes this way any more: what the stream may have read ahead is nothing.
        let connection = stream.into_connection();
        Ok(Wire::secure(socket, connection, epoch))
    }

    fn greet(&self, stream: &mut (impl Read + Write), address: &str) -> io::Result<()> {
        let addresses = self.own_addresses.lock().clone();
        let (cluster_id, from, to) = (self.cluster_id, self.from, self.to);
        match greeting::greet(stream, &Greeting { cluster_id, from, to, addresses })? {
            Ok(()) => Ok(()),
            Err(refusal) => {
                if refusal == Refusal::Removed
                    && let Some(told) = self.on_removed.0.get()
                {
                    told(self.to, address);
                }
                Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal.to_string()))
            }
        }
    }

    fn write_frames(&self, wire: Arc<Wire>) -> io::Result<()> {
        let mut batch = VecDeque::new();
        self.queue.lock().wire = Some(Arc::clone(&wire));
        loop {
            {
                let mut queue = self.queue.lock();
                queue.writing = false;
                while queue.has_nothing_to_do() {
                    self.changed.wait(&mut queue);
                }
                if queue.stopping || queue.greeted_wrongly {
                    return Ok(());
                }
                std::mem::swap(&mut batch, &mut queue.frames);
                (queue.bytes, queue.writing, queue.unflushed) = (0, true, false);
            }
            if !self.is_fresh(&wire) {
                tracing::info!(peer = %self.to, "the certificates have changed: connecting anew");
                return Ok(());
            }
            wire.write_batch(&mut batch)?;
        }
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
