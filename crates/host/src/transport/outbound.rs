//! Connections to peers: one thread each, which connects, greets, and writes what is queued.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bytes::{Buf, Bytes};
use env::Net;
use env::os::OsClock;
use parking_lot::{Condvar, Mutex, RwLock};
use raft::NodeId;

use super::calling::Connected;
use super::tls::PeerTls;
use super::wire::{Sent, Wire};
use crate::FRAME_VERSION;
use crate::frame::frame_version;
use crate::options::PeerAddresses;

/// What waits for a peer that takes bytes more slowly than they come.
const QUEUE_BYTES_MAX: usize = 32 << 20;
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
    /// The newest version of frames that this node speaks.
    version_max: Arc<AtomicU8>,
    /// And that each peer takes; kept for those that are not linked any more, since who makes
    /// frames keeps it as well.
    versions: Mutex<BTreeMap<u64, Arc<AtomicU8>>>,
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
pub(super) struct Link {
    pub(super) cluster_id: u64,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) own_addresses: Arc<Mutex<Vec<String>>>,
    /// Any of them may answer.
    pub(super) addresses: Mutex<Vec<String>>,
    on_removed: Arc<OnRemoved>,
    pub(super) tls: Option<Arc<PeerTls>>,
    pub(super) clock: OsClock,
    pub(super) version_max: Arc<AtomicU8>,
    /// What the peer takes, for those who make frames; written with `Queue::version`.
    takes: Arc<AtomicU8>,
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
    /// The newest version of frames that the connection takes.
    version: u8,
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
            version_max: Arc::new(AtomicU8::new(FRAME_VERSION)),
            versions: Mutex::default(),
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
            version_max: Arc::clone(&self.version_max),
            takes: self.version_of(id.0),
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

    fn set_version_max(&self, version: u8) {
        if self.version_max.swap(version, Ordering::Relaxed) != version {
            self.links.read().values().for_each(|link| link.greet_anew());
        }
    }

    fn version_of(&self, to: u64) -> Arc<AtomicU8> {
        let mut versions = self.versions.lock();
        Arc::clone(versions.entry(to).or_insert_with(|| Arc::new(AtomicU8::new(u8::MAX))))
    }

    fn remove_peer(&self, to: u64) {
        let removed = self.links.write().remove(&to);
        if let Some(link) = removed {
            link.stop();
        }
        // Whoever calls is linked, and anybody may call: what nobody looks at is forgotten.
        self.versions.lock().retain(|_, version| Arc::strong_count(version) > 1);
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
        // It was made before this connection was, and the peer has gone back to an older version.
        let is_spoken = frame_version(&frame).is_some_and(|version| version <= queue.version);
        if !is_spoken || queue.bytes + frame.len() > QUEUE_BYTES_MAX {
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

    /// A connection is being opened, with the addresses of now.
    pub(super) fn greets_rightly(&self) {
        self.queue.lock().greeted_wrongly = false;
    }

    /// The peer says, at this address, that this node was removed.
    pub(super) fn hear_of_removal(&self, address: &str) {
        if let Some(told) = self.on_removed.0.get() {
            told(self.to, address);
        }
    }

    fn is_stopping(&self) -> bool {
        self.queue.lock().stopping
    }

    fn run(&self) {
        let mut back_off = BACK_OFF_MIN;
        let mut last_complaint = String::new();
        while !self.is_stopping() {
            let ended = self.connect().and_then(|connected| {
                let version = connected.version;
                tracing::info!(peer = %self.to, version, "connected to a peer");
                (back_off, last_complaint) = (BACK_OFF_MIN, String::new());
                self.write_frames(connected)
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

    /// The connection takes frames from now on, of this version at most. A link that was stopped
    /// says nothing any more: there may be another to the same peer.
    fn open(&self, wire: &Arc<Wire>, version: u8) {
        let mut queue = self.queue.lock();
        if !queue.stopping {
            (queue.wire, queue.version) = (Some(Arc::clone(wire)), version);
            self.takes.store(version, Ordering::Relaxed);
        }
    }

    fn write_frames(&self, connected: Connected) -> io::Result<()> {
        let mut batch = VecDeque::new();
        let wire = Arc::new(connected.wire);
        self.open(&wire, connected.version);
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
