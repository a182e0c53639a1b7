//! One state of a group: its nodes, what was said, and what must stay true.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use raft::invariants::{Cluster as History, Decided, Violation};
use raft::*;

use crate::dead::is_dead;
use crate::peer::Peer;
use crate::shared::{Shared, fingerprint};
use crate::world::Action;

/// How much of what is bounded is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) proposals: u8,
    pub(crate) crashes: u8,
    pub(crate) transfers: u8,
    pub(crate) beats: u8,
    pub(crate) changes: u8,
    pub(crate) compactions: u8,
    pub(crate) reads: u8,
}

/// A read that is not answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    context: u64,
    pub(crate) node: u8,
    /// What was committed, anywhere, when it was asked for.
    committed: LogIndex,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) peers: Vec<Shared<Peer>>,
    /// By fingerprint.
    pub(crate) messages: Arc<BTreeMap<u64, Arc<Message>>>,
    pub(crate) history: Shared<History>,
    pub(crate) budget: Budget,
    pub(crate) now: Tick,
    pub(crate) asked: Vec<Asked>,
    /// Reads that were answered; those that were without a round are counted apart.
    pub(crate) answered: (u8, u8),
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
        self.now.hash(hasher);
        self.asked.hash(hasher);
        self.answered.hash(hasher);
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
            && self.now == other.now
            && self.asked == other.asked
            && self.answered == other.answered
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

impl State {
    /// A read is asked for; its name is what is left of the budget.
    pub(crate) fn ask(&mut self, node: u8) {
        let (context, committed) = (u64::from(self.budget.reads), self.history.committed());
        self.asked.push(Asked { context, node, committed });
    }

    /// What was committed when a read was asked for, it sees: linearizability, for one value.
    pub(crate) fn hear(
        &mut self,
        outcomes: &[ReadOutcome],
        action: &Action,
    ) -> Result<(), Violation> {
        for ReadOutcome { context, result } in outcomes {
            let place = self.asked.iter().position(|asked| asked.context == *context);
            let Some(asked) = place.map(|place| self.asked.remove(place)) else { continue };
            let Ok(point) = result else { continue };
            let is_at_once = matches!(action, Action::Read(..));
            self.answered.0 += 1;
            self.answered.1 += u8::from(is_at_once);
            if point.index < asked.committed {
                let detail = format!("{asked:?} is answered at {}", point.index);
                return Err(Violation { property: "no read is stale", detail });
            }
        }
        Ok(())
    }

    /// What must hold between the nodes after a step of one of them.
    pub(crate) fn check_step(
        &self,
        before: &Self,
        node: u8,
        action: &Action,
    ) -> Result<(), Violation> {
        let (was, is) = (&before.peer(node).node, &self.peer(node).node);
        if is.commit_index() > was.commit_index() {
            self.check_commit(is)?;
        }
        if is.is_resting() {
            self.check_rest(is, action)?;
        }
        Ok(())
    }

    /// What a leader commits is on a quorum of disks.
    fn check_commit(&self, leader: &Node) -> Result<(), Violation> {
        if leader.role() != Role::Leader {
            return Ok(());
        }
        let holds = |voter: NodeId, entry| {
            self.peers.iter().any(|peer| peer.node.id() == voter && peer.disk.holds(entry))
        };
        let Some(decided) = Decided::by_now(leader) else { return Ok(()) };
        History::observe_commit(leader, &decided, holds)
    }

    /// Who is asked for something does not rest, and a leader that rests has nothing to tell: all
    /// of its log is committed, and on every disk.
    fn check_rest(&self, node: &Node, action: &Action) -> Result<(), Violation> {
        let was_asked = matches!(action, Action::Read(..) | Action::Propose(..));
        let leads = node.role() == Role::Leader;
        let members: Vec<NodeId> = node.configuration().members().collect();
        let is_told = self
            .peers
            .iter()
            .all(|peer| !members.contains(&peer.node.id()) || peer.disk.holds(node.last()));
        if !was_asked && (!leads || is_told && node.commit_index() == node.last().index) {
            return Ok(());
        }
        let detail = format!("node {} rests after {action:?}", node.id());
        Err(Violation { property: "who has something to do does not rest", detail })
    }
}
