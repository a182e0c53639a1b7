//! What the transport does before the first frame of a connection: whoever calls says who it is,
//! what it speaks and where it is reached, and whoever was removed is told so.

use std::collections::BTreeMap;

use bytes::Bytes;
use host::{Caller, StateMachine};
use raft::NodeId;

use super::World;

/// From whom, to whom, and by which of the caller's two networks: each has connections of its own,
/// and is told by itself what is spoken on them (ADR 26).
pub(super) type Route = (NodeId, NodeId, bool);

/// Who calls whom. As with a connection, whoever is called can answer as long as the call goes on.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: BTreeMap<Route, Call>,
}

#[derive(Debug)]
struct Call {
    /// Where the caller said that it is reached.
    said: Vec<String>,
    /// What is spoken: the older of both ends' newest versions.
    version: u8,
    _caller: Caller,
}

impl Calls {
    /// A process has ended, and its connections with it.
    pub(super) fn end_of(&mut self, node: NodeId) {
        self.open.retain(|(from, to, _), _| *from != node && *to != node);
    }
}

impl<S: StateMachine> World<S> {
    /// Whether a frame of `from` that has come to `to`, as the first of a connection or not, is to
    /// be delivered. One that was made before the connection was, for a version that the receiver
    /// spoke in an earlier life, is not; `host::TcpNet` does not even send it.
    pub(super) fn admits(&mut self, route: Route, frame: &Bytes) -> bool {
        self.trace.mix(frame);
        let version = self.connect(route);
        version.is_some_and(|spoken| host::frame_version(frame).is_some_and(|it| it <= spoken))
    }

    /// What is spoken on a connection, which is opened if it does not stand.
    fn connect(&mut self, route: Route) -> Option<u8> {
        let (from, to, is_second) = route;
        let called = self.nodes.get(&to).and_then(|node| node.stages.as_ref());
        let receiver = called.map(host::Stages::receiver)?;
        if receiver.has_departed(from) {
            self.calls.open.remove(&route);
            self.tell_departed(from, to);
            return None;
        }
        // Who learns that it is reached elsewhere calls anew, as `host::TcpNet` does.
        let said = self.net.own_addresses(from.0);
        let open = self.calls.open.get(&route);
        if let Some(call) = open.filter(|call| call.said == said) {
            return Some(call.version);
        }
        // The newest is tried first, and whoever does not speak it says what it speaks.
        let version = self.peer_protocol(from).min(self.peer_protocol(to));
        self.net.set_version(from.0, to.0, is_second, version);
        let _caller = receiver.meet(from, said.clone());
        self.calls.open.insert(route, Call { said, version, _caller });
        Some(version)
    }

    /// A node has begun: it, and who can reach it, are told what is spoken before they send
    /// anything, as when `host::TcpNet` connects. Who cannot yet finds out with its first frame,
    /// which is lost where it is too new, as it would be without a connection.
    pub(super) fn tell_versions(&mut self, id: NodeId) {
        let others = self.nodes().into_iter().filter(|other| *other != id && self.is_on(*other));
        for (from, to) in others.flat_map(|other| [(id, other), (other, id)]) {
            if self.net.reaches(from.0, to.0) && !self.net.is_cut(from.0, to.0) {
                let version = self.peer_protocol(from).min(self.peer_protocol(to));
                for is_second in [false, true] {
                    self.net.set_version(from.0, to.0, is_second, version);
                }
            }
        }
    }

    /// Every node connects to whom it was told of, and is told if it was removed.
    pub fn connect_all(&mut self) {
        let net = &self.net;
        let goes_on =
            |from: NodeId, to: NodeId| net.reaches(from.0, to.0) && !net.is_cut(from.0, to.0);
        self.calls.open.retain(|(from, to, _), _| goes_on(*from, *to));
        let on: Vec<NodeId> = self.nodes().into_iter().filter(|id| self.is_on(*id)).collect();
        for from in &on {
            for to in on.iter().filter(|to| *to != from) {
                let is_through = self.net.reaches(from.0, to.0) && !self.net.is_cut(from.0, to.0);
                let is_heard = is_through && !self.is_paused(*from) && !self.is_paused(*to);
                if is_heard {
                    self.connect((*from, *to, false));
                    self.connect((*from, *to, true));
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
