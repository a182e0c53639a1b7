//! What goes to each peer in one step: one frame for the messages of all groups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use env::Net;
use raft::{Message, NodeId};
use wal::GroupId;

use crate::frame::{FrameBuilder, FrameHeader};
use crate::peer_traffic::PeerBytes;
use crate::records::{self, Body};
use crate::status::Counters;

/// A frame that has grown to this goes at once: a peer begins to work while the rest is written.
const FRAME_BYTES_SOFT_MAX: usize = 1 << 20;

/// The frames of one worker.
#[derive(Debug)]
pub(crate) struct Outbox {
    net: Arc<dyn Net>,
    /// What all frames have in common, and the newest version that this node speaks.
    header: FrameHeader,
    peers: BTreeMap<NodeId, Peer>,
    ready: Vec<(NodeId, bytes::Bytes)>,
}

#[derive(Debug, Default)]
struct Peer {
    builder: FrameBuilder,
    sequence: u64,
    /// The version of the frame that is being filled.
    version: u8,
    /// The newest version that it takes; at hand from the first frame on, as is `bytes`.
    takes: Option<Arc<AtomicU8>>,
    bytes: Option<Arc<PeerBytes>>,
}

impl Outbox {
    /// An empty outbox; `header` says what all frames have in common.
    pub(crate) fn new(net: Arc<dyn Net>, header: FrameHeader) -> Self {
        Self { net, header, peers: BTreeMap::new(), ready: Vec::new() }
    }

    /// Adds a message of the protocol.
    pub(crate) fn push_message(&mut self, group: GroupId, message: &Message) {
        let peer = self.peer(message.to);
        records::encode_message(peer.builder.records(), peer.version, group, message);
        self.cut_if_full(message.to);
    }

    /// Adds any record.
    pub(crate) fn push(&mut self, to: NodeId, group: GroupId, body: &Body) {
        let peer = self.peer(to);
        records::encode(peer.builder.records(), peer.version, group, body);
        self.cut_if_full(to);
    }

    /// A sign of life for a peer that this step has nothing else for: a frame without records.
    pub(crate) fn push_sign_of_life(&mut self, to: NodeId) {
        let header = self.header;
        let peer = self.peer(to);
        if peer.builder.is_empty() {
            let header = peer.next_header(header, to);
            peer.builder.records();
            let frame = peer.builder.finish(header);
            self.ready.push((to, frame));
        }
    }

    /// Hands all frames to the network. One that it does not take is lost: the protocol repeats
    /// what matters.
    pub(crate) fn flush(&mut self, counters: &Counters) {
        for (to, peer) in &mut self.peers {
            peer.cut(self.header, *to, &mut self.ready);
        }
        for (to, frame) in self.ready.drain(..) {
            Counters::add(&counters.frames_sent, 1);
            let length = frame.len() as u64;
            Counters::add(&counters.frame_bytes_sent, length);
            if !self.net.send(to.0, frame) {
                Counters::add(&counters.frames_dropped, 1);
            } else if let Some(peer) = self.peers.get_mut(&to) {
                let bytes = peer.bytes.get_or_insert_with(|| counters.peers.of(to));
                Counters::add(&bytes.sent, length);
            }
        }
    }

    /// A peer, with a frame of the version that it takes at present, if one is begun now.
    fn peer(&mut self, to: NodeId) -> &mut Peer {
        let peer = self.peers.entry(to).or_default();
        if peer.builder.is_empty() {
            let takes = peer.takes.get_or_insert_with(|| self.net.version_of(to.0));
            peer.version = self.header.version.min(takes.load(Ordering::Relaxed));
        }
        peer
    }

    fn cut_if_full(&mut self, to: NodeId) {
        if let Some(peer) = self.peers.get_mut(&to)
            && peer.builder.len_bytes() >= FRAME_BYTES_SOFT_MAX
        {
            peer.cut(self.header, to, &mut self.ready);
        }
    }
}

impl Peer {
    fn next_header(&mut self, header: FrameHeader, to: NodeId) -> FrameHeader {
        self.sequence += 1;
        FrameHeader { version: self.version, to, sequence: self.sequence, ..header }
    }

    fn cut(&mut self, header: FrameHeader, to: NodeId, ready: &mut Vec<(NodeId, bytes::Bytes)>) {
        if !self.builder.is_empty() {
            let header = self.next_header(header, to);
            ready.push((to, self.builder.finish(header)));
        }
    }
}
