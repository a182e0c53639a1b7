//! A small group as a graph of states: what may happen in each, and what then is.
//!
//! The network is the set of all messages that were ever sent. Any of them may arrive at any time,
//! as often as it likes, or never: loss, duplication and reordering are one rule. Time is not kept:
//! a timer that runs may fire at any moment. Both allow more than the world does, so what is proved
//! here holds there. A disk either writes at once, and then a crash may come just before each of
//! its writes, or takes its time, as the configuration says.

use std::sync::Arc;

use bytes::Bytes;
use raft::invariants::{Cluster as History, Violation};
use raft::*;
use stateright::{Model, Property};

use crate::dead::is_of_heartbeats;
use crate::peer::{Outcome, Peer, Shared, Writes};
use crate::state::{Budget, State, add, check_commit};

/// Ticks of the two timers; their sizes mean nothing, only which of them is due.
pub(crate) const HEARTBEAT: Tick = Tick(10);
pub(crate) const ELECTION: Tick = Tick(100);

/// What may happen, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) name: &'static str,
    pub(crate) nodes: u64,
    /// The first members are these; the other nodes wait to be added.
    pub(crate) voters: u64,
    /// So many of the nodes have election timers; the others only vote.
    pub(crate) candidates: u8,
    pub(crate) term_max: u64,
    pub(crate) entries_max: u64,
    pub(crate) proposals: u8,
    pub(crate) crashes: u8,
    pub(crate) transfers: u8,
    pub(crate) beats: u8,
    pub(crate) changes: &'static [MemberChange],
    pub(crate) pre_vote: bool,
    pub(crate) slow_disks: bool,
}

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
    Propose(u8, Writes),
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
            | Self::Propose(node, _)
            | Self::Change(node, _)
            | Self::Transfer(node, _)
            | Self::Land(node)
            | Self::Crash(node) => *node,
        }
    }

    fn writes(&self) -> Writes {
        match self {
            Self::Deliver(_, writes)
            | Self::Timeout(_, writes)
            | Self::Propose(_, writes)
            | Self::Change(_, writes) => *writes,
            Self::Beat(_)
            | Self::CheckQuorum(_)
            | Self::Transfer(..)
            | Self::Land(_)
            | Self::Crash(_) => Writes::Land,
        }
    }
}

impl Bounds {
    fn options(&self, node: u8) -> Options {
        Options {
            election_timeout_ticks: ELECTION.0,
            heartbeat_interval_ticks: HEARTBEAT.0,
            write_stall_ticks_max: u64::MAX,
            pre_vote: self.pre_vote,
            check_quorum: self.pre_vote,
            ..Options::new(NodeId(u64::from(node) + 1), 0)
        }
    }

    fn configuration(&self) -> Configuration {
        Configuration::of_voters((1..=self.voters).map(NodeId))
    }

    /// The ways in which the disk may behave in a step that writes.
    fn writes(&self, budget: Budget) -> &'static [Writes] {
        match (self.slow_disks, budget.crashes) {
            (true, _) => &[Writes::Wait],
            (false, 0) => &[Writes::Land],
            (false, _) => &[Writes::Land, Writes::CrashBefore],
        }
    }

    fn spend(&self, budget: &mut Budget, action: &Action) {
        match action {
            Action::Propose(..) => budget.proposals -= 1,
            Action::Change(..) => budget.changes -= 1,
            Action::Transfer(..) => budget.transfers -= 1,
            Action::Beat(_) | Action::CheckQuorum(_) => budget.beats -= 1,
            Action::Crash(_) => budget.crashes -= 1,
            Action::Deliver(..) | Action::Timeout(..) | Action::Land(_) => {}
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

    /// What `action` comes to on its own node.
    fn act(
        &self,
        action: &Action,
        peer: &mut Peer,
        history: &mut History,
    ) -> Result<Outcome, Violation> {
        let writes = if self.slow_disks { Writes::Wait } else { action.writes() };
        let own = peer.node.id();
        match action {
            Action::Deliver(message, _) => peer.act(history, writes, |node| {
                node.handle(Tick(0), Input::Message(Message::clone(message)));
            }),
            Action::Timeout(..) | Action::CheckQuorum(_) => {
                peer.act(history, writes, |node| node.handle(ELECTION, Input::Tick))
            }
            Action::Beat(_) => {
                peer.act(history, writes, |node| node.handle(HEARTBEAT, Input::Tick))
            }
            Action::Propose(..) => peer.act(history, writes, |node| {
                // Says who proposed it, so that two entries of one name would differ.
                let command = Bytes::from(vec![u8::try_from(own.0).unwrap_or(0)]);
                node.handle(Tick(0), Input::Propose(vec![command]));
            }),
            Action::Change(..) => peer.act(history, writes, |node| {
                let members = self.changes.iter().copied();
                let change =
                    ConfigurationChange { allow_stall: true, ..ConfigurationChange::of(members) };
                node.handle(Tick(0), Input::ChangeConfiguration(change.into()));
            }),
            Action::Transfer(_, to) => peer.act(history, writes, |node| {
                let to = Some(NodeId(u64::from(*to) + 1));
                node.handle(Tick(0), Input::TransferLeadership { to });
            }),
            Action::Land(_) => peer.land(history),
            Action::Crash(_) => Ok(Outcome { is_crashed: true, ..Outcome::default() }),
        }
    }
}

impl Model for Bounds {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let configuration = self.configuration();
        let count = u8::try_from(self.nodes).unwrap_or(0);
        let peers = (0..count).filter_map(|node| Peer::new(&self.options(node), &configuration));
        vec![State {
            peers: peers.map(Shared::new).collect(),
            messages: Arc::default(),
            history: Shared::new(History::default()),
            budget: Budget {
                proposals: self.proposals,
                crashes: self.crashes,
                transfers: self.transfers,
                beats: self.beats,
                changes: u8::from(!self.changes.is_empty()),
            },
            violation: None,
        }]
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
        let is_first = state.messages.is_empty();
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
            if !peer.in_flight.is_empty() {
                actions.push(Action::Land(node));
            }
            if state.budget.crashes > 0 && !is_first {
                actions.push(Action::Crash(node));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let node_id = action.node();
        let node = usize::from(node_id);
        let mut peer = Peer::clone(before.peers.get(node)?);
        let mut history = History::clone(&before.history);
        let mut budget = before.budget;
        self.spend(&mut budget, &action);
        let outcome = self.act(&action, &mut peer, &mut history);
        let must_crash = action.writes() == Writes::CrashBefore;
        let mut messages = Vec::new();
        let mut violation = None;
        match outcome {
            Err(broken) => violation = Some(broken),
            Ok(outcome) => {
                if must_crash && !outcome.is_crashed {
                    return None; // It wrote nothing.
                }
                if outcome.is_crashed {
                    peer.crash(&self.options(node_id), &mut history)?;
                }
                messages = outcome.messages;
                messages.retain(|message| self.beats > 0 || !is_of_heartbeats(message));
            }
        }
        let peer = Shared::new(peer);
        let is_same = peer.fingerprint() == before.peers[node].fingerprint();
        if is_same && messages.is_empty() && violation.is_none() {
            return None;
        }
        let mut state = State { budget, violation, ..before.clone() };
        state.peers[node] = peer;
        add(&mut state.messages, messages);
        state.forget_dead_messages();
        if is_same && state.violation.is_none() && state.messages.keys().eq(before.messages.keys())
        {
            return None;
        }
        let is_commit =
            state.peer(node_id).node.commit_index() > before.peer(node_id).node.commit_index();
        if is_commit && state.violation.is_none() {
            state.violation = check_commit(&state, node).err();
        }
        state.history = Shared::new(history);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always("every invariant holds", |_, state: &State| state.violation.is_none()),
            Property::sometimes("a leader leads", |_, state: &State| {
                state.nodes().any(|node| node.role() == Role::Leader)
            }),
            Property::sometimes("something is committed", |_, state: &State| {
                state.nodes().any(|node| node.commit_index().0 > 0)
            }),
        ];
        if self.candidates > 1 && self.term_max > 1 {
            all.push(Property::sometimes("two lead at once, in two terms", |_, state: &State| {
                state.nodes().filter(|node| node.role() == Role::Leader).count() == 2
            }));
        }
        if !self.changes.is_empty() {
            all.push(Property::sometimes("a change of members is over", |bounds: &Self, state| {
                let first = bounds.configuration();
                state.nodes().any(|node| {
                    let now = node.configuration();
                    !now.voters.is_empty()
                        && now.voters != first.voters
                        && !now.is_joint()
                        && node.status().configuration_index <= node.commit_index()
                })
            }));
        }
        if self.transfers > 0 {
            all.push(Property::sometimes("leadership is handed over", |_, state: &State| {
                state.messages.values().any(|message| {
                    matches!(message.body, Body::RequestVote { leadership_transfer: true, .. })
                })
            }));
        }
        all
    }
}
