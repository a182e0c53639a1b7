//! A small group as a graph of states: what may happen in each, and what then is.
//!
//! The network is the set of all messages that were ever sent. Any of them may arrive at any time,
//! as often as it likes, or never: loss, duplication and reordering are one rule. Time is not kept:
//! a timer that runs may fire at any moment. Both allow more than the world does, so what is proved
//! here holds there. Where something rests on clocks a few ticks are kept, which pass for all nodes
//! at once, and a node campaigns at any moment at which it may. A disk either writes at once, and
//! then a crash may come just before each of its writes, or takes its time, as the configuration
//! says.

use std::sync::Arc;

use bytes::Bytes;
use raft::invariants::{Cluster as History, Violation};
use raft::*;
use stateright::{Model, Property};

use crate::bounds::{Bounds, ELECTION, HEARTBEAT};
use crate::peer::{Outcome, Peer, Time, Writes};
use crate::properties;
use crate::shared::Shared;
use crate::state::{Budget, State, add};

/// What happens; nodes are counted from 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Deliver(Arc<Message>, Writes),
    /// The election timer fires.
    Timeout(u8, Writes),
    /// The heartbeat timer fires.
    Beat(u8),
    /// An election timeout has passed on a leader: it counts whom it hears and ends a transfer.
    CheckQuorum(u8),
    /// Time passes, for everybody.
    Pass,
    /// A timer that is no heartbeat's and no election's has run out.
    Wake(u8),
    /// The host has not heard of other nodes for an election timeout.
    PeerLost(u8),
    Propose(u8, Writes),
    Read(u8, Writes),
    /// The log is cut up to what is applied.
    Compact(u8, Writes),
    /// The oldest snapshot on its way is delivered, or given up.
    SnapshotSent(u8, bool),
    Change(u8, Writes),
    Transfer(u8, u8),
    /// The oldest write lands.
    Land(u8),
    Crash(u8),
}

impl Action {
    fn node(&self) -> u8 {
        match self {
            // There are few nodes.
            Self::Deliver(message, _) => u8::try_from(message.to.0 - 1).unwrap_or(u8::MAX),
            Self::Timeout(node, _)
            | Self::Beat(node)
            | Self::CheckQuorum(node)
            | Self::Wake(node)
            | Self::PeerLost(node)
            | Self::Propose(node, _)
            | Self::Read(node, _)
            | Self::Compact(node, _)
            | Self::SnapshotSent(node, _)
            | Self::Change(node, _)
            | Self::Transfer(node, _)
            | Self::Land(node)
            | Self::Crash(node) => *node,
            Self::Pass => 0,
        }
    }

    fn writes(&self) -> Writes {
        match self {
            Self::Deliver(_, writes)
            | Self::Timeout(_, writes)
            | Self::Propose(_, writes)
            | Self::Read(_, writes)
            | Self::Compact(_, writes)
            | Self::Change(_, writes) => *writes,
            Self::Beat(_)
            | Self::CheckQuorum(_)
            | Self::Pass
            | Self::Wake(_)
            | Self::PeerLost(_)
            | Self::SnapshotSent(..)
            | Self::Transfer(..)
            | Self::Land(_)
            | Self::Crash(_) => Writes::Land,
        }
    }
}

impl Bounds {
    fn spend(&self, budget: &mut Budget, action: &Action) {
        match action {
            Action::Propose(..) => budget.proposals -= 1,
            Action::Change(..) => budget.changes -= 1,
            Action::Transfer(..) => budget.transfers -= 1,
            Action::Beat(_) | Action::CheckQuorum(_) => budget.beats -= 1,
            Action::Crash(_) => budget.crashes -= 1,
            Action::Read(..) => budget.reads -= 1,
            Action::Compact(..) => budget.compactions -= 1,
            Action::Deliver(..)
            | Action::Timeout(..)
            | Action::Pass
            | Action::Wake(_)
            | Action::PeerLost(_)
            | Action::SnapshotSent(..)
            | Action::Land(_) => {}
        }
        if matches!(action.writes(), Writes::CrashBefore) {
            budget.crashes -= 1;
        }
    }

    fn leader_actions(&self, state: &State, node: u8, actions: &mut Vec<Action>) {
        let (raft, budget) = (&state.peer(node).node, state.budget);
        let writes = self.writes(budget);
        if budget.proposals > 0 && raft.last().index.0 < self.entries_max {
            actions.extend(writes.iter().map(|writes| Action::Propose(node, *writes)));
        }
        if budget.changes > 0 && raft.last().index.0 + 1 < self.entries_max {
            actions.extend(writes.iter().map(|writes| Action::Change(node, *writes)));
        }
        // As long as nobody begins a later term this leader alone commits, and knows it: a read
        // that is asked for before could not be stale.
        let is_last_term = state.nodes().any(|node| node.term().0 == self.term_max);
        if budget.reads > 0 && is_last_term {
            actions.extend(writes.iter().map(|writes| Action::Read(node, *writes)));
        }
        if budget.transfers > 0 {
            let others = raft.configuration().members().filter(|member| *member != raft.id());
            let others = others.filter_map(|member| u8::try_from(member.0 - 1).ok());
            actions.extend(others.map(|to| Action::Transfer(node, to)));
        }
        if budget.beats > 0 {
            actions.push(Action::Beat(node));
            if self.pre_vote || self.transfers > 0 {
                actions.push(Action::CheckQuorum(node));
            }
        }
    }

    /// What the host does on its own.
    fn host_actions(&self, state: &State, node: u8, actions: &mut Vec<Action>) {
        let (peer, writes) = (state.peer(node), self.writes(state.budget));
        if !peer.in_flight.is_empty() {
            actions.push(Action::Land(node));
        }
        if !peer.sending.is_empty() {
            actions.extend([true, false].map(|delivered| Action::SnapshotSent(node, delivered)));
        }
        let is_cut = peer.node.mark().index >= peer.node.applied_index();
        if state.budget.compactions > 0 && !is_cut {
            actions.extend(writes.iter().map(|writes| Action::Compact(node, *writes)));
        }
        if self.passes > 0 && peer.node.next_deadline().is_some_and(|at| at <= state.now) {
            actions.push(Action::Wake(node));
        }
        if self.may_rest && peer.node.is_resting() {
            actions.push(Action::PeerLost(node));
        }
    }

    /// The change that has just been taken out of `budget`.
    fn change(&self, budget: Budget) -> &'static [MemberChange] {
        let nth = self.changes.len() - usize::from(budget.changes) - 1;
        self.changes[nth]
    }

    fn time(&self, now: Tick) -> Time {
        if self.passes > 0 { Time::Kept(now) } else { Time::Forgotten }
    }

    /// What `action` comes to on its own node.
    fn act(
        &self,
        action: &Action,
        peer: &mut Peer,
        history: &mut History,
        (time, budget): (Time, Budget),
    ) -> Result<Outcome, Violation> {
        let writes = if self.slow_disks { Writes::Wait } else { action.writes() };
        let how = (writes, time);
        let input = match action {
            Action::Deliver(message, _) => Input::Message(Message::clone(message)),
            Action::Timeout(..) if time != Time::Forgotten => Input::Campaign,
            Action::Timeout(..) | Action::CheckQuorum(_) => {
                return peer.act(history, how, |node| node.handle(ELECTION, Input::Tick));
            }
            Action::Beat(_) => {
                return peer.act(history, how, |node| node.handle(HEARTBEAT, Input::Tick));
            }
            Action::Pass | Action::Wake(_) => Input::Tick,
            Action::PeerLost(node) => Input::PeerLost(NodeId(u64::from(*node) + 1)),
            Action::Propose(..) => {
                // Says who proposed it, so that two entries of one name would differ.
                let own = u8::try_from(peer.node.id().0).unwrap_or(0);
                Input::Propose(vec![Bytes::from(vec![own])])
            }
            Action::Read(..) => {
                let context = u64::from(budget.reads);
                Input::Read(ReadRequest { context, mode: self.read_mode })
            }
            Action::Change(..) => {
                let change = ConfigurationChange::of(self.change(budget).iter().copied());
                let transition = self.transition;
                let change = ConfigurationChange { allow_stall: true, transition, ..change };
                Input::ChangeConfiguration(change.into())
            }
            Action::Transfer(_, to) => {
                Input::TransferLeadership { to: Some(NodeId(u64::from(*to) + 1)) }
            }
            Action::Compact(..) => return peer.compact(history, how),
            Action::SnapshotSent(_, is_delivered) => {
                return peer.snapshot_sent(history, how, *is_delivered);
            }
            Action::Land(_) => return peer.land(history, time),
            Action::Crash(_) => return Ok(Outcome { is_crashed: true, ..Outcome::default() }),
        };
        peer.act(history, how, |node| node.handle(time.now(), input))
    }
}

impl Model for Bounds {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let configuration = self.configuration();
        let count = u8::try_from(self.nodes).unwrap_or(0);
        let time = self.time(Tick(0));
        let peers =
            (0..count).filter_map(|node| Peer::new(&self.options(node), &configuration, time));
        let state = State {
            peers: peers.map(Shared::new).collect(),
            messages: Arc::default(),
            history: Shared::new(History::default()),
            budget: self.budget(),
            now: self.begins_at(),
            asked: Vec::new(),
            answered: (0, 0),
            violation: None,
        };
        vec![self.begun(state)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.violation.is_some() {
            return;
        }
        let writes = self.writes(state.budget);
        for message in state.messages.values() {
            let delivered = writes.iter().map(|writes| Action::Deliver(message.clone(), *writes));
            actions.extend(delivered);
        }
        let is_first = state.messages.is_empty() && state.nodes().all(|node| node.term().0 == 0);
        if !is_first && self.time_after(state.now).is_some() {
            actions.push(Action::Pass);
        }
        for (node, peer) in (0u8..).zip(&state.peers) {
            if peer.node.role() == Role::Leader {
                self.leader_actions(state, node, actions);
            } else if peer.node.term().0 < self.term_max
                && peer.node.next_deadline().is_some()
                // The voters are alike until one of them times out: let that be the first.
                && (if is_first { node == 0 } else { node < self.candidates })
            {
                actions.extend(writes.iter().map(|writes| Action::Timeout(node, *writes)));
            }
            self.host_actions(state, node, actions);
            if state.budget.crashes > 0 && !is_first {
                actions.push(Action::Crash(node));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        if action == Action::Pass {
            let now = self.time_after(before.now)?;
            return Some(State { now, ..before.clone() });
        }
        let node_id = action.node();
        let node = usize::from(node_id);
        let mut peer = Peer::clone(before.peers.get(node)?);
        let mut history = History::clone(&before.history);
        let mut state = before.clone();
        self.spend(&mut state.budget, &action);
        let time = self.time(before.now);
        if matches!(action, Action::Read(..)) {
            state.ask(node_id);
        }
        let outcome = self.act(&action, &mut peer, &mut history, (time, state.budget));
        let must_crash = action.writes() == Writes::CrashBefore;
        let mut messages = Vec::new();
        let mut is_answered = false;
        match outcome {
            Err(broken) => state.violation = Some(broken),
            Ok(outcome) => {
                if must_crash && !outcome.is_crashed {
                    return None; // It wrote nothing.
                }
                if outcome.is_crashed {
                    peer.crash(&self.options(node_id), &mut history, time)?;
                    state.asked.retain(|asked| asked.node != node_id);
                }
                state.violation = state.hear(&outcome.reads, &action).err();
                is_answered = !outcome.reads.is_empty();
                messages = outcome.messages;
                messages.retain(|message| self.carries(message));
            }
        }
        let peer = Shared::new(peer);
        let is_same = peer.fingerprint() == before.peers[node].fingerprint() && !is_answered;
        if is_same && messages.is_empty() && state.violation.is_none() {
            return None;
        }
        state.peers[node] = peer;
        add(&mut state.messages, messages);
        state.forget_dead_messages();
        if is_same && state.violation.is_none() && state.messages.keys().eq(before.messages.keys())
        {
            return None;
        }
        if state.violation.is_none() {
            state.violation = state.check_step(before, node_id, &action).err();
        }
        state.history = Shared::new(history);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(self)
    }
}
