//! Bytes to and from each peer, counted where frames are: whoever sends keeps the counts of its
//! peers at hand, so that a frame costs an addition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use raft::NodeId;

/// Where peers show no certificate, anybody may call under any number: what is beyond this many is
/// not counted, so that nobody can fill the memory.
const PEERS_MAX: usize = 1024;

/// The counts of all peers.
#[derive(Debug, Default)]
pub struct PeerTraffic(RwLock<BTreeMap<NodeId, Arc<PeerBytes>>>);

/// Bytes of the frames of one peer.
#[derive(Debug, Default)]
pub(crate) struct PeerBytes {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
}

/// One peer at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// The peer.
    pub node: NodeId,
    /// Bytes of frames that the network took for it.
    pub sent_bytes: u64,
    /// Bytes of frames that came from it and were taken.
    pub received_bytes: u64,
    /// Whether a connection of the peer to this node stands.
    pub is_active: bool,
}

impl PeerTraffic {
    /// The counts of a peer.
    pub(crate) fn of(&self, node: NodeId) -> Arc<PeerBytes> {
        if let Some(bytes) = self.0.read().get(&node) {
            return Arc::clone(bytes);
        }
        let mut all = self.0.write();
        if all.len() >= PEERS_MAX {
            return Arc::default();
        }
        Arc::clone(all.entry(node).or_default())
    }

    pub(crate) fn view(&self, node: NodeId, is_active: bool) -> PeerView {
        let (sent_bytes, received_bytes) = self.0.read().get(&node).map_or((0, 0), |bytes| {
            (bytes.sent.load(Ordering::Relaxed), bytes.received.load(Ordering::Relaxed))
        });
        PeerView { node, sent_bytes, received_bytes, is_active }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PeerAddresses;
    use crate::peers::Peers;

    #[test]
    fn peers_beyond_a_bound_are_not_counted() {
        let traffic = PeerTraffic::default();
        for node in 0..2 * PEERS_MAX as u64 {
            traffic.of(NodeId(node)).sent.fetch_add(7, Ordering::Relaxed);
        }
        assert_eq!(traffic.0.read().len(), PEERS_MAX);
        assert_eq!(traffic.view(NodeId(3), true).sent_bytes, 7);
        assert_eq!(traffic.view(NodeId(1500), false).sent_bytes, 0);
        traffic.of(NodeId(3)).received.fetch_add(5, Ordering::Relaxed);
        let expect =
            PeerView { node: NodeId(3), sent_bytes: 7, received_bytes: 5, is_active: true };
        assert_eq!(traffic.view(NodeId(3), true), expect);
    }

    #[test]
    fn a_peer_is_active_while_a_connection_of_it_stands() {
        let peers = Arc::new(Peers::new(NodeId(1), Vec::new(), PeerAddresses::new()));
        let first = Peers::meet(&peers, NodeId(2), Vec::new());
        let second = Peers::meet(&peers, NodeId(2), Vec::new());
        drop(first);
        assert!(peers.is_calling(NodeId(2)) && !peers.is_calling(NodeId(3)));
        drop(second);
        assert!(!peers.is_calling(NodeId(2)));
    }
}
