//! Who reaches whom, in a network that does not find nodes by their ids: as with sockets, a node
//! speaks only to whom it was told of, and only where that one is.

use std::collections::BTreeMap;

use super::MemNet;

/// What each node was told, and where everybody really is.
#[derive(Debug, Default)]
pub(super) struct Reach {
    places: BTreeMap<u64, String>,
    /// By sender and receiver: where the sender believes the receiver to be.
    told: BTreeMap<(u64, u64), Vec<String>>,
    /// Where each node believes itself to be: what it says when it calls.
    own: BTreeMap<u64, Vec<String>>,
}

impl Reach {
    pub(super) fn place(&mut self, node: u64, address: &str) {
        self.places.insert(node, address.to_owned());
    }

    /// A process that begins knows nobody.
    pub(super) fn forget(&mut self, node: u64) {
        self.told.retain(|(from, _), _| *from != node);
        self.own.remove(&node);
    }

    pub(super) fn tell_own(&mut self, node: u64, addresses: &[String]) {
        self.own.insert(node, addresses.to_vec());
    }

    pub(super) fn own(&self, node: u64) -> Vec<String> {
        self.own.get(&node).cloned().unwrap_or_default()
    }

    pub(super) fn tell(&mut self, from: u64, to: u64, addresses: &[String]) {
        self.told.insert((from, to), addresses.to_vec());
    }

    pub(super) fn untell(&mut self, from: u64, to: u64) {
        self.told.remove(&(from, to));
    }

    pub(super) fn reaches(&self, from: u64, to: u64) -> bool {
        let told = self.told.get(&(from, to));
        let place = self.places.get(&to);
        told.zip(place).is_some_and(|(told, place)| told.contains(place))
    }
}

impl MemNet {
    /// `node` is at this address from now on. In a network in which nodes have places they reach
    /// only whom they were told of ([`Net::set_peer`](crate::Net::set_peer)), at one of the
    /// addresses that they were told; where nobody was ever given a place they find each other by
    /// their ids.
    pub fn place(&self, node: u64, address: &str) {
        self.state.lock().reach.get_or_insert_default().place(node, address);
    }

    /// Whether `from` was told where `to` is.
    #[must_use]
    pub fn reaches(&self, from: u64, to: u64) -> bool {
        self.state.lock().reach.as_ref().is_none_or(|reach| reach.reaches(from, to))
    }

    /// Where `node` says that it is reached, when it calls.
    #[must_use]
    pub fn own_addresses(&self, node: u64) -> Vec<String> {
        self.state.lock().reach.as_ref().map_or_else(Vec::new, |reach| reach.own(node))
    }
}
