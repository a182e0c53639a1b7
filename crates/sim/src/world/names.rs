//! Where nodes are, and what the first configuration says of them.

use host::{MemberAttributes, PeerAddresses};
use raft::{Configuration, LeaseTerms, NodeId, ReadMode};

use super::WorldOptions;

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

/// Of a million microseconds, by how many two clocks that are true may differ.
pub(super) const DRIFT_PPM: u32 = 1000;

/// The first members of a group, as all of them were told, and on what its reads rest.
pub(super) fn founders(options: &WorldOptions) -> Configuration {
    let nodes = (1..=options.node_count).map(NodeId);
    let mut configuration = Configuration::of_voters(nodes.clone());
    if let ReadMode::LeaseGuard { .. } = options.reads {
        let duration_us = options.election_timeout_ms * 1000;
        configuration.lease = Some(LeaseTerms::monotonic(duration_us, DRIFT_PPM));
    }
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
