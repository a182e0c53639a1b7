//! One state of a group: its nodes, what was said, and what must stay true.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use raft::invariants::{Cluster as History, Violation};
use raft::*;

use crate::dead::is_dead;
use crate::peer::{Peer, Shared, fingerprint};

/// How much of what is bounded is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) proposals: u8,
    pub(crate) crashes: u8,
    pub(crate) transfers: u8,
    pub(crate) beats: u8,
    pub(crate) changes: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) peers: Vec<Shared<Peer>>,
    /// By fingerprint.
    pub(crate) messages: Arc<BTreeMap<u64, Arc<Message>>>,
    pub(crate) history: Shared<History>,
    pub(crate) budget: Budget,
    pub(crate) violation: Option<Violation>,
}

impl State {
    pub(crate) fn peer(&self, node: u8) -> &Peer {
        &self.peers[usize::from(node)]
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.peers.iter().map(|peer| &peer.node)
    }
}

impl State {
    /// Drops messages that can never again lead to anything, so that states which differ in nothing
    /// else are one.
    pub(crate) fn forget_dead_messages(&mut self) {
        let is_dead = |message: &Message| {
            let peer = |id: NodeId| self.peers.iter().find(|peer| peer.node.id() == id);
            match (peer(message.from), peer(message.to)) {
                (Some(from), Some(to)) => is_dead(message, from, to),
                _ => true,
            }
        };
        if self.messages.values().any(|message| is_dead(message)) {
            let living = self.messages.iter().filter(|(_, message)| !is_dead(message));
            self.messages =
                Arc::new(living.map(|(key, message)| (*key, message.clone())).collect());
        }
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.peers.iter().for_each(|peer| hasher.write_u64(peer.fingerprint()));
        self.messages.keys().for_each(|message| hasher.write_u64(*message));
        hasher.write_u64(self.history.fingerprint());
        self.budget.hash(hasher);
        hasher.write_u8(u8::from(self.violation.is_some()));
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let prints =
            |state: &Self| -> Vec<u64> { state.peers.iter().map(Shared::fingerprint).collect() };
        prints(self) == prints(other)
            && self.messages.keys().eq(other.messages.keys())
            && self.history.fingerprint() == other.history.fingerprint()
            && self.budget == other.budget
            && self.violation == other.violation
    }
}

pub(crate) fn add(messages: &mut Arc<BTreeMap<u64, Arc<Message>>>, new: Vec<Message>) {
    for message in new {
        let print = fingerprint(&message);
        if !messages.contains_key(&print) {
            Arc::make_mut(messages).insert(print, Arc::new(message));
        }
    }
}

/// What a leader commits is on a quorum of disks.
pub(crate) fn check_commit(state: &State, node: usize) -> Result<(), Violation> {
    let leader = &state.peers[node].node;
    if leader.role() != Role::Leader {
        return Ok(());
    }
    let holds = |voter: NodeId, entry| {
        state.peers.iter().any(|peer| peer.node.id() == voter && peer.disk.holds(entry))
    };
    History::observe_commit(leader, holds)
}
