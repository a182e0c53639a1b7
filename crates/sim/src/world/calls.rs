//! What the transport does before the first frame of a connection: whoever calls says who it is
//! and where it is reached, and whoever was removed is told so.

use std::collections::BTreeMap;

use host::{Caller, StateMachine};
use raft::NodeId;

use super::World;

/// Who calls whom. As with a connection, whoever is called can answer as long as the call goes on.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// The calls, each with where the caller said that it is reached.
    open: BTreeMap<(NodeId, NodeId), (Vec<String>, Caller)>,
}

impl Calls {
    /// A process has ended, and its connections with it.
    pub(super) fn end_of(&mut self, node: NodeId) {
        self.open.retain(|(from, to), _| *from != node && *to != node);
    }
}

impl<S: StateMachine> World<S> {
    /// A frame of `from` has come to `to`, as the first of a connection or not. Whether it is to be
    /// delivered.
    pub(super) fn admit(&mut self, from: NodeId, to: NodeId) -> bool {
        let called = self.nodes.get(&to).and_then(|node| node.stages.as_ref());
        let Some(receiver) = called.map(host::Stages::receiver) else { return false };
        if receiver.has_departed(from) {
            self.calls.open.remove(&(from, to));
            self.tell_departed(from, to);
            return false;
        }
        // Who learns that it is reached elsewhere calls anew, as `host::TcpNet` does.
        let said = self.net.own_addresses(from.0);
        let open = self.calls.open.get(&(from, to));
        if open.is_none_or(|(said_then, _)| *said_then != said) {
            let caller = receiver.meet(from, said.clone());
            self.calls.open.insert((from, to), (said, caller));
        }
        true
    }

    /// Every node connects to whom it was told of, and is told if it was removed.
    pub fn connect_all(&mut self) {
        let net = &self.net;
        let goes_on =
            |from: NodeId, to: NodeId| net.reaches(from.0, to.0) && !net.is_cut(from.0, to.0);
        self.calls.open.retain(|(from, to), _| goes_on(*from, *to));
        let on: Vec<NodeId> = self.nodes().into_iter().filter(|id| self.is_on(*id)).collect();
        for from in &on {
            for to in on.iter().filter(|to| *to != from) {
                let is_through = self.net.reaches(from.0, to.0) && !self.net.is_cut(from.0, to.0);
                let is_heard = is_through && !self.is_paused(*from) && !self.is_paused(*to);
                if is_heard {
                    self.admit(*from, *to);
                }
            }
        }
    }

    fn tell_departed(&self, from: NodeId, to: NodeId) {
        // The refused peer asks by which configuration, and is answered in another connection.
        let caller = self.nodes.get(&from).and_then(|node| node.stages.as_ref());
        let refuser = self.nodes[&to].stages.as_ref();
        let caller = caller.filter(|_| !self.net.is_cut(to.0, from.0));
        if let Some((caller, stages)) = caller.zip(refuser) {
            for group in stages.group_ids() {
                let Some(handle) = stages.group(group) else { continue };
                let known = (*handle.configuration()).clone();
                caller.receiver().claim_removal(to, group, known);
            }
        }
    }
}
