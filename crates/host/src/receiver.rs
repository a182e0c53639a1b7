//! Where frames from peers come in: checked, taken apart, and handed to the stage that owns them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use raft::{EntryId, NodeId, SnapshotMark, Term};
use wal::GroupId;

use crate::GroupConfiguration;
use crate::caller::Caller;
use crate::frame::{self, FrameFault, FrameHeader};
use crate::mailbox::Mailbox;
use crate::messages::{BulkItem, WorkerEvent};
use crate::peers::Peers;
use crate::records::{self, Body, Record};
use crate::status::Counters;
use crate::transport::{self, PeerTls};
use crate::undated::Said;

/// Takes frames for one node. Shared by the threads that read sockets, or called by the simulator.
#[derive(Clone)]
pub struct Receiver {
    inner: Arc<Inner>,
}

struct Inner {
    cluster_id: u64,
    workers: Vec<Arc<Mailbox<WorkerEvent>>>,
    bulk: Arc<Mailbox<BulkItem>>,
    counters: Arc<Counters>,
    peers: Arc<Peers>,
    seen: Mutex<BTreeMap<(NodeId, u16), Seen>>,
}

/// What was heard on a stream, for each life of its sender; the life heard last is the last.
///
/// Lives have no order: a receiver that has just begun cannot tell a frame of the sender's present
/// life from a late one of an earlier life. So no life ends another. Were the first to be heard
/// taken for the older one, a single late frame would make the receiver deaf to its peer.
#[derive(Debug, Default)]
struct Seen {
    lives: Vec<Life>,
}

#[derive(Debug, Default)]
struct Life {
    life: u64,
    /// The newest frame.
    sequence: u64,
    said: Said,
}

/// Lives of a peer that are remembered. Frames of one that was forgotten could only come twice on a
/// network that keeps them over that many restarts.
const LIVES_MAX: usize = 8;

/// How long a peer may take to say who the members are.
const INQUIRY_TIMEOUT: Duration = Duration::from_secs(2);

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("node_id", &self.node_id()).finish_non_exhaustive()
    }
}

impl Receiver {
    pub(crate) fn new(
        cluster_id: u64,
        workers: Vec<Arc<Mailbox<WorkerEvent>>>,
        bulk: Arc<Mailbox<BulkItem>>,
        counters: Arc<Counters>,
        peers: Arc<Peers>,
    ) -> Self {
        let seen = Mutex::default();
        Self { inner: Arc::new(Inner { cluster_id, workers, bulk, counters, peers, seen }) }
    }

    /// The cluster whose frames are taken.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.inner.cluster_id
    }

    /// The node whose frames are taken.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.inner.peers.node_id()
    }

    /// Who the members of the groups are.
    pub(crate) fn peers(&self) -> &Peers {
        &self.inner.peers
    }

    /// A peer has begun to call, and is reached at these addresses: it is answered there while it
    /// calls, even if no configuration here knows it yet.
    #[must_use]
    pub fn meet(&self, from: NodeId, addresses: Vec<String>) -> Caller {
        Peers::meet(&self.inner.peers, from, addresses)
    }

    /// Whether `node` was removed from a group, as far as this node has seen it: its frames are not
    /// to be delivered, and it is to be told ([`claim_removal`](Self::claim_removal)).
    #[must_use]
    pub fn has_departed(&self, node: NodeId) -> bool {
        self.inner.peers.has_departed(node)
    }

    /// A peer would not talk to this node, since it was removed: asks it by which configuration,
    /// and lets each group judge whether that is proof enough. Blocks.
    pub fn hear_of_removal(&self, peer: NodeId, address: &str, tls: Option<&PeerTls>) {
        for group in self.inner.peers.group_ids() {
            match transport::ask_members(address, group, INQUIRY_TIMEOUT, tls) {
                Ok(known) if known.node_id == peer && known.cluster_id == self.inner.cluster_id => {
                    self.claim_removal(peer, group, known.configuration);
                }
                Ok(_) => tracing::warn!(%peer, address, "another node answers there"),
                Err(error) => tracing::warn!(%peer, address, %error, "it does not say why"),
            }
        }
    }

    /// A peer says that this configuration is committed. If it has a tombstone of this node, that
    /// is a claim: the protocol believes two members, or the only other one (`docs/adr/0008`).
    pub fn claim_removal(&self, peer: NodeId, group: GroupId, known: GroupConfiguration) {
        let GroupConfiguration { index, is_committed, configuration } = known;
        if !is_committed || !configuration.removed.contains(&self.node_id()) {
            return;
        }
        // The term is not known, and is not what proves it.
        let last = EntryId { term: Term(0), index };
        let by = Box::new(SnapshotMark { last, configuration });
        let workers = &self.inner.workers;
        let worker = crate::worker::worker_of(group, workers.len());
        // A closed mailbox means that the node is stopping anyhow.
        let _ = workers[worker].push(WorkerEvent::RemovalClaimed { group, from: peer, by });
    }

    /// Takes one whole frame. A bad one is counted and dropped.
    ///
    /// # Errors
    /// What is wrong with the frame; the caller may want to end the connection.
    pub fn deliver(&self, from: NodeId, frame: Bytes) -> Result<(), FrameFault> {
        let length = frame.len() as u64;
        let counters = &self.inner.counters;
        let result = self.take(from, frame);
        match result {
            Ok(()) => {
                Counters::add(&counters.frames_received, 1);
                Counters::add(&counters.frame_bytes_received, length);
                Counters::add(&counters.peers.of(from).received, length);
            }
            Err(_) => Counters::add(&counters.frames_refused, 1),
        }
        result
    }

    fn take(&self, from: NodeId, frame: Bytes) -> Result<(), FrameFault> {
        let (header, mut body) = frame::open(frame, self.inner.peers.version_max())?;
        if header.cluster_id != self.inner.cluster_id {
            return Err(FrameFault::Cluster(header.cluster_id));
        }
        if header.to != self.node_id() {
            return Err(FrameFault::Receiver(header.to));
        }
        if header.from != from {
            return Err(FrameFault::Sender(header.from));
        }
        // Every record is taken apart before any is handed on: a frame counts whole or not at all.
        let mut records = Vec::new();
        while !body.is_empty() {
            let record = records::decode(&header, &mut body);
            records.push(record.ok_or(FrameFault::Record)?);
        }
        if !self.is_news(&header, &mut records) {
            return Err(FrameFault::Replayed);
        }
        if let Some(liveness) = self.inner.peers.liveness() {
            liveness.hear(from);
        }
        self.hand_on(from, records);
        Ok(())
    }

    /// Whether this frame was not heard before, nor one that was sent after it.
    fn is_news(&self, header: &FrameHeader, records: &mut [Record]) -> bool {
        let mut seen = self.inner.seen.lock();
        let lives = &mut seen.entry((header.from, header.stream)).or_default().lives;
        let place = lives.iter().position(|heard| heard.life == header.life);
        let mut heard = place.map_or_else(Life::default, |place| lives.remove(place));
        let is_news = header.sequence > heard.sequence;
        if is_news {
            heard.sequence = header.sequence;
            heard.said.date(header.version, records);
        }
        lives.push(Life { life: header.life, ..heard });
        if lives.len() > LIVES_MAX {
            lives.remove(0);
        }
        is_news
    }

    fn hand_on(&self, from: NodeId, records: Vec<Record>) {
        let workers = &self.inner.workers;
        let mut for_worker: Vec<Vec<Record>> = workers.iter().map(|_| Vec::new()).collect();
        for record in records {
            let group = record.group;
            let item = match record.body {
                Body::SnapshotChunk(chunk) => BulkItem::Chunk { from, group, chunk },
                Body::SnapshotAck(ack) => BulkItem::Ack { from, group, ack },
                body @ (Body::Raft(_)
                | Body::Forward { .. }
                | Body::ForwardRefused { .. }
                | Body::Errand { .. }
                | Body::ErrandAnswer { .. }
                | Body::Call { .. }
                | Body::CallAnswer { .. }) => {
                    let worker = crate::worker::worker_of(group, workers.len());
                    for_worker[worker].push(Record { group, body });
                    continue;
                }
            };
            // A closed mailbox means that the node is stopping: the network may lose anything.
            let _ = self.inner.bulk.push(item);
        }
        for (worker, records) in workers.iter().zip(for_worker) {
            if !records.is_empty() {
                let _ = worker.push(WorkerEvent::Records { from, records });
            }
        }
    }
}
