//! Who calls, and is answered whether or not a configuration here knows it.
//!
//! A node knows the members as of the end of its own log. The leader may have become one behind
//! that end: n2 was away, or has only begun to take the log, while n4 was added and elected. n2 has
//! to acknowledge what n4 sends (Raft §6: "servers accept requests from leaders that are not in
//! their configuration"), or its log never gets to the entry that makes n4 known. So whoever calls
//! says where it is reached, and stays within reach as long as it calls.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use raft::NodeId;

use crate::peers::Peers;

/// A peer that calls; it counts as one until this is dropped.
pub struct Caller {
    peers: Arc<Peers>,
    node: NodeId,
}

impl Caller {
    pub(crate) fn new(peers: Arc<Peers>, node: NodeId) -> Self {
        Self { peers, node }
    }

    /// Who calls.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.peers.part(self.node);
    }
}

/// All that call now.
#[derive(Debug, Default)]
pub(crate) struct Callers(BTreeMap<NodeId, Calls>);

#[derive(Debug, Default)]
struct Calls {
    /// Connections. Invariant: above 0.
    count: usize,
    /// As it said last.
    addresses: Vec<String>,
}

impl Callers {
    pub(crate) fn begin(&mut self, node: NodeId, addresses: Vec<String>) {
        let calls = self.0.entry(node).or_default();
        calls.count += 1;
        calls.addresses = addresses;
    }

    pub(crate) fn end(&mut self, node: NodeId) {
        let Some(calls) = self.0.get_mut(&node) else { return };
        calls.count -= 1;
        if calls.count == 0 {
            self.0.remove(&node);
        }
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.0.contains_key(&node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &[String])> {
        self.0.iter().map(|(node, calls)| (*node, calls.addresses.as_slice()))
    }
}
