//! Who this node speaks to: the members of its groups, as the configurations in force have them.
//!
//! A configuration counts from the moment it is appended, and the members of the one before stay
//! within reach until it is committed: a leader that is not in C_new still counts acknowledgements
//! of it (thesis §4.2.2), and one that is overwritten leaves C_old in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use env::{Clock, Net};
use parking_lot::Mutex;
use raft::{Configuration, LogIndex, NodeId};
use wal::GroupId;

use crate::PeerAddresses;
use crate::liveness::Liveness;
use crate::members::MemberAttributes;

/// A configuration, and what this node knows of its fate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupConfiguration {
    /// Where it stands in the log; 0 for the group's first one.
    pub index: LogIndex,
    /// Whether this node knows it to be committed.
    pub is_committed: bool,
    /// The members, and what is said of each: see [`MemberAttributes`].
    pub configuration: Configuration,
}

/// The configurations of all groups, and the network that follows them.
pub(crate) struct Peers {
    node_id: NodeId,
    nets: Vec<Arc<dyn Net>>,
    /// Where members are reached of whom no configuration says it, or no longer truly.
    seeds: PeerAddresses,
    groups: Mutex<BTreeMap<GroupId, Known>>,
    /// Whether it is worth looking: every frame that comes asks.
    any_departed: AtomicBool,
    /// Only where groups rest: every frame that comes pays for it.
    liveness: Option<Liveness>,
}

#[derive(Default)]
struct Known {
    current: Arc<GroupConfiguration>,
    /// The newest that is known to be committed; the current one while none is.
    committed: Option<Arc<GroupConfiguration>>,
    /// The members of every configuration since the newest that is known to be committed, and
    /// where they are reached.
    reachable: BTreeMap<NodeId, Vec<String>>,
}

impl Known {
    /// Ids are given once and for all, so who has a tombstone does not come back.
    fn has_departed(&self, node: NodeId) -> bool {
        self.current.is_committed && self.current.configuration.removed.contains(&node)
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

impl Peers {
    pub(crate) fn new(node_id: NodeId, nets: Vec<Arc<dyn Net>>, seeds: PeerAddresses) -> Self {
        let (groups, any_departed, liveness) = (Mutex::default(), false.into(), None);
        Self { node_id, nets, seeds, groups, any_departed, liveness }
    }

    /// Notes from now on when each peer is heard.
    pub(crate) fn listen(&mut self, clock: Arc<dyn Clock>) {
        self.liveness = Some(Liveness::new(clock));
    }

    /// When each peer was heard, if somebody wants to know.
    pub(crate) fn liveness(&self) -> Option<&Liveness> {
        self.liveness.as_ref()
    }

    /// All nodes that this one speaks to.
    pub(crate) fn nodes(&self) -> BTreeSet<NodeId> {
        let groups = self.groups.lock();
        let all = groups.values().flat_map(|known| known.reachable.keys().copied());
        all.filter(|node| *node != self.node_id).collect()
    }

    /// The groups of this node.
    pub(crate) fn group_ids(&self) -> Vec<GroupId> {
        self.groups.lock().keys().copied().collect()
    }

    pub(crate) fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// The configuration in force in a group.
    pub(crate) fn configuration(&self, group: GroupId) -> Arc<GroupConfiguration> {
        self.groups.lock().get(&group).map(|known| Arc::clone(&known.current)).unwrap_or_default()
    }

    /// The newest configuration of a group that this node knows to be committed; the one in force
    /// as long as it knows of none.
    pub(crate) fn committed(&self, group: GroupId) -> Arc<GroupConfiguration> {
        let groups = self.groups.lock();
        let Some(known) = groups.get(&group) else { return Arc::default() };
        Arc::clone(known.committed.as_ref().unwrap_or(&known.current))
    }

    /// Whether `node` was removed from a group, as far as this node has seen it.
    pub(crate) fn has_departed(&self, node: NodeId) -> bool {
        self.any_departed.load(Ordering::Relaxed)
            && self.groups.lock().values().any(|known| known.has_departed(node))
    }

    /// Another configuration is in force in a group, or is known to be committed.
    pub(crate) fn follow(&self, group: GroupId, new: GroupConfiguration) {
        let mut groups = self.groups.lock();
        let before = self.addresses(&groups);
        let known = groups.entry(group).or_default();
        if new.is_committed {
            known.reachable.clear();
        }
        known.reachable.extend(new.configuration.members().map(|node| {
            let attributes = MemberAttributes::of(&new.configuration, node);
            (node, attributes.peer_addresses().collect())
        }));
        known.current = Arc::new(new);
        if known.current.is_committed {
            known.committed = Some(Arc::clone(&known.current));
        }
        if !known.current.configuration.removed.is_empty() {
            self.any_departed.store(true, Ordering::Relaxed);
        }
        let after = self.addresses(&groups);
        for (node, addresses) in &after {
            if before.get(node) != Some(addresses) && !addresses.is_empty() {
                self.nets.iter().for_each(|net| net.set_peer(node.0, addresses));
            }
        }
        for node in before.keys().filter(|node| !after.contains_key(node)) {
            self.nets.iter().for_each(|net| net.remove_peer(node.0));
        }
    }

    /// The same, for the transport.
    pub(crate) fn all_addresses(&self) -> BTreeMap<NodeId, Vec<String>> {
        self.addresses(&self.groups.lock())
    }

    /// The groups of this node.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.groups.lock().keys().copied().collect()
    }

    /// Where each member of any group is reached. A group that does not know its members yet is
    /// told of them by those that this node was started with.
    fn addresses(&self, groups: &BTreeMap<GroupId, Known>) -> BTreeMap<NodeId, Vec<String>> {
        let mut all: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        let mut add = |node: NodeId, addresses: &[String]| {
            let known = all.entry(node).or_default();
            for address in addresses {
                if !known.contains(address) {
                    known.push(address.clone());
                }
            }
        };
        for known in groups.values() {
            for (node, addresses) in &known.reachable {
                add(*node, addresses);
            }
            if known.current.configuration.voters.is_empty() {
                self.seeds.keys().for_each(|node| add(*node, &[]));
            }
        }
        for (node, addresses) in &mut all {
            let seed = self.seeds.get(node).into_iter().flatten();
            let unknown: Vec<_> = seed.filter(|seed| !addresses.contains(seed)).cloned().collect();
            addresses.extend(unknown);
        }
        all.remove(&self.node_id);
        all
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Whom it was told to reach, and where.
    #[derive(Debug, Default)]
    struct Told(Mutex<BTreeMap<u64, Vec<String>>>);

    impl Net for Told {
        fn send(&self, _: u64, _: Bytes) -> bool {
            false
        }
        fn set_peer(&self, to: u64, addresses: &[String]) {
            self.0.lock().insert(to, addresses.to_vec());
        }
        fn remove_peer(&self, to: u64) {
            self.0.lock().remove(&to);
        }
    }

    struct Bed {
        told: Arc<Told>,
        peers: Peers,
    }

    /// Node 1, which was started with node 2 at `seed:2`.
    fn bed() -> Bed {
        let told = Arc::<Told>::default();
        let seeds = [(NodeId(2), vec!["seed:2".to_owned()])].into();
        Bed { peers: Peers::new(NodeId(1), vec![told.clone()], seeds), told }
    }

    impl Bed {
        fn follow(&self, index: u64, is_committed: bool, members: &[(u64, &str)]) {
            let mut configuration = Configuration::default();
            let gone =
                (3..=4).filter(|id| index > 0 && members.iter().all(|(member, _)| member != id));
            configuration.removed.extend(gone.map(NodeId));
            for (id, url) in members {
                let peer_urls = vec![(*url).to_owned()];
                let attributes = MemberAttributes { peer_urls, ..MemberAttributes::default() };
                configuration.voters.insert(NodeId(*id));
                configuration.attributes.insert(NodeId(*id), attributes.encode());
            }
            let index = LogIndex(index);
            self.peers
                .follow(GroupId(1), GroupConfiguration { index, is_committed, configuration });
        }

        #[track_caller]
        fn check(&self, expect: &[(u64, &[&str])]) {
            let told = self.told.0.lock().clone();
            let told: Vec<(u64, Vec<&str>)> = told
                .iter()
                .map(|(id, addresses)| (*id, addresses.iter().map(String::as_str).collect()))
                .collect();
            let expect: Vec<_> = expect.iter().map(|(id, at)| (*id, at.to_vec())).collect();
            assert_eq!(told, expect);
        }
    }

    #[test]
    fn who_joins_is_reached_and_who_leaves_is_not() {
        let bed = bed();
        bed.follow(0, true, &[(1, "http://a:1"), (3, "http://c:3")]);
        bed.check(&[(3, &["c:3"])]);
        bed.follow(5, false, &[(1, "http://a:1"), (3, "http://c:3"), (4, "http://d:4/")]);
        bed.check(&[(3, &["c:3"]), (4, &["d:4"])]);
        bed.follow(5, true, &[(1, "http://a:1"), (4, "http://moved:4")]);
        bed.check(&[(4, &["moved:4"])]);
        assert!(bed.peers.has_departed(NodeId(3)) && !bed.peers.has_departed(NodeId(4)));
    }

    /// M10: a leader that removes itself waits for the acknowledgements of the others, which must
    /// therefore still reach it when they have appended the configuration without it.
    #[test]
    fn m10_who_leaves_is_reached_until_its_removal_is_committed() {
        let bed = bed();
        bed.follow(0, true, &[(1, "http://a:1"), (3, "http://c:3")]);
        bed.follow(7, false, &[(1, "http://a:1")]);
        bed.check(&[(3, &["c:3"])]);
        assert!(!bed.peers.has_departed(NodeId(3)));
        bed.follow(7, true, &[(1, "http://a:1")]);
        bed.check(&[]);
        assert!(bed.peers.has_departed(NodeId(3)));
    }

    #[test]
    fn one_that_knows_no_members_reaches_those_it_was_started_with() {
        let bed = bed();
        bed.follow(0, true, &[]);
        bed.check(&[(2, &["seed:2"])]);
        bed.follow(4, true, &[(1, "http://a:1"), (2, "http://b:2")]);
        bed.check(&[(2, &["b:2", "seed:2"])]);
    }
}
