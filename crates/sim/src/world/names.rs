//! Where nodes are, and what the first configuration says of them.

use host::{MemberAttributes, PeerAddresses};
use raft::{Configuration, NodeId};

/// Where a node is reached that has moved so many times.
#[must_use]
pub fn address_of(node: NodeId, moves: u64) -> String {
    format!("n{node}:{}", 1 + moves)
}

/// What a configuration says of a member that is reached at these addresses.
pub(crate) fn attributes_at(node: NodeId, addresses: Vec<String>) -> MemberAttributes {
    let name = format!("n{node}");
    MemberAttributes { name, peer_urls: addresses, ..MemberAttributes::default() }
}

/// The first members of a group, as all of them were told.
pub(super) fn founders(nodes: impl Iterator<Item = NodeId> + Clone) -> Configuration {
    let mut configuration = Configuration::of_voters(nodes.clone());
    configuration
        .attributes
        .extend(nodes.map(|node| (node, attributes_at(node, vec![address_of(node, 0)]).encode())));
    configuration
}

/// Where the members of a configuration are reached.
pub(super) fn seeds_of(configuration: &Configuration) -> PeerAddresses {
    let addresses = |node| MemberAttributes::of(configuration, node).peer_urls;
    configuration.members().map(|node| (node, addresses(node))).collect()
}
