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

use crate::caller::{Caller, Callers};
use crate::liveness::Liveness;
use crate::members::MemberAttributes;
use crate::{FRAME_VERSION, PeerAddresses};

/// Where each node is reached.
type Addresses = BTreeMap<NodeId, Vec<String>>;

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
    /// Never locked but under `groups`.
    callers: Mutex<Callers>,
    /// Whether it is worth looking: every frame that comes asks.
    any_departed: AtomicBool,
    /// The host has ended: nobody is called any more.
    is_closed: AtomicBool,
    /// The newest version of the peer protocol that this node speaks.
    version_max: u8,
    /// Only where groups rest: every frame that comes pays for it.
    liveness: Option<Liveness>,
}

#[derive(Default)]
struct Known {
    current: Arc<GroupConfiguration>,
    /// The newest that is known to be committed.
    committed: Arc<GroupConfiguration>,
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
        let (groups, callers, any_departed) = (Mutex::default(), Mutex::default(), false.into());
        Self {
            node_id,
            nets,
            seeds,
            groups,
            callers,
            any_departed,
            is_closed: AtomicBool::new(false),
            version_max: FRAME_VERSION,
            liveness: None,
        }
    }

    /// Speaks no newer version than this one.
    pub(crate) fn speak_up_to(&mut self, version: u8) {
        self.version_max = version;
        self.nets.iter().for_each(|net| net.set_version_max(version));
    }

    /// The newest version that this node speaks.
    pub(crate) fn version_max(&self) -> u8 {
        self.version_max
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

    /// Whether a connection of this node's peer stands.
    pub(crate) fn is_calling(&self, node: NodeId) -> bool {
        let _groups = self.groups.lock();
        self.callers.lock().contains(node)
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

    /// The newest configuration of a group that this node knows to be committed.
    pub(crate) fn committed(&self, group: GroupId) -> Arc<GroupConfiguration> {
        let groups = self.groups.lock();
        let Some(known) = groups.get(&group) else { return Arc::default() };
        Arc::clone(&known.committed)
    }

    /// Whether `node` was removed from a group, as far as this node has seen it.
    pub(crate) fn has_departed(&self, node: NodeId) -> bool {
        self.any_departed.load(Ordering::Relaxed)
            && self.groups.lock().values().any(|known| known.has_departed(node))
    }

    /// `from` calls: it is within reach until it ends, see `caller.rs`.
    pub(crate) fn meet(this: &Arc<Self>, from: NodeId, addresses: Vec<String>) -> Caller {
        let groups = this.groups.lock();
        let before = this.within_reach(&groups);
        this.callers.lock().begin(from, addresses);
        this.tell_nets(&before, &this.within_reach(&groups));
        drop(groups);
        Caller::new(Arc::clone(this), from)
    }

    /// A call has ended.
    pub(crate) fn part(&self, from: NodeId) {
        let groups = self.groups.lock();
        let before = self.within_reach(&groups);
        self.callers.lock().end(from);
        self.tell_nets(&before, &self.within_reach(&groups));
    }

    /// Another configuration is in force in a group, or another one is known to be committed. After
    /// a start these are two: the log may end in a change that nobody has finished.
    pub(crate) fn follow(
        &self,
        group: GroupId,
        new: GroupConfiguration,
        committed: GroupConfiguration,
    ) {
        let own = MemberAttributes::of(&new.configuration, self.node_id);
        let own: Vec<String> = own.peer_addresses().collect();
        if !own.is_empty() {
            self.nets.iter().for_each(|net| net.set_own_addresses(&own));
        }
        let mut groups = self.groups.lock();
        let before = self.within_reach(&groups);
        let known = groups.entry(group).or_default();
        if new.is_committed {
            known.reachable.clear();
        }
        known.reachable.extend(new.configuration.members().map(|node| {
            let attributes = MemberAttributes::of(&new.configuration, node);
            (node, attributes.peer_addresses().collect())
        }));
        known.current = Arc::new(new);
        known.committed =
            if known.current.is_committed { Arc::clone(&known.current) } else { committed.into() };
        if !known.current.configuration.removed.is_empty() {
            self.any_departed.store(true, Ordering::Relaxed);
        }
        self.tell_nets(&before, &self.within_reach(&groups));
    }

    /// Ends the connections of this node, whoever still holds a handle to one of its groups.
    pub(crate) fn close(&self) {
        let groups = self.groups.lock();
        let before = self.within_reach(&groups);
        self.tell_nets(&before, &Addresses::new());
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Called with the groups locked.
    fn tell_nets(&self, before: &Addresses, after: &Addresses) {
        if self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        for (node, addresses) in after {
            if before.get(node) != Some(addresses) && !addresses.is_empty() {
                self.nets.iter().for_each(|net| net.set_peer(node.0, addresses));
            }
        }
        for node in before.keys().filter(|node| !after.contains_key(node)) {
            self.nets.iter().for_each(|net| net.remove_peer(node.0));
        }
    }

    /// Where the members are reached, as the configurations have it. What a caller says of itself
    /// is not in it: by these addresses it is judged who somebody is.
    pub(crate) fn all_addresses(&self) -> Addresses {
        self.addresses(&self.groups.lock())
    }

    /// Where members and callers are reached.
    fn within_reach(&self, groups: &BTreeMap<GroupId, Known>) -> Addresses {
        let mut all = self.addresses(groups);
        for (node, told) in self.callers.lock().iter().filter(|(node, _)| *node != self.node_id) {
            let known = all.entry(node).or_default();
            let news: Vec<_> = told.iter().filter(|one| !known.contains(one)).cloned().collect();
            known.extend(news);
        }
        all
    }

    /// The groups of this node.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.groups.lock().keys().copied().collect()
    }

    /// Where each member of any group is reached. A group that does not know its members yet is
    /// told of them by those that this node was started with.
    fn addresses(&self, groups: &BTreeMap<GroupId, Known>) -> Addresses {
        let mut all = Addresses::new();
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
    struct Told(Mutex<BTreeMap<u64, Vec<String>>>, Mutex<Vec<String>>);

    impl Net for Told {
        fn send(&self, _: u64, _: Bytes) -> bool {
            false
        }
        fn set_peer(&self, to: u64, addresses: &[String]) {
            self.0.lock().insert(to, addresses.to_vec());
        }
        fn set_own_addresses(&self, addresses: &[String]) {
            *self.1.lock() = addresses.to_vec();
        }
        fn remove_peer(&self, to: u64) {
            self.0.lock().remove(&to);
        }
    }

    struct Bed {
        told: Arc<Told>,
        peers: Arc<Peers>,
    }

    /// Node 1, which was started with node 2 at `seed:2`.
    fn bed() -> Bed {
        let told = Arc::<Told>::default();
        let seeds = [(NodeId(2), vec!["seed:2".to_owned()])].into();
        Bed { peers: Peers::new(NodeId(1), vec![told.clone()], seeds).into(), told }
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
            let new = GroupConfiguration { index, is_committed, configuration };
            let before = (*self.peers.committed(GroupId(1))).clone();
            let committed = if is_committed { new.clone() } else { before };
            self.peers.follow(GroupId(1), new, committed);
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

    /// T55: node 1 has the log up to where node 4 was no member yet, and node 4 leads.
    #[test]
    fn who_calls_is_reached_though_no_configuration_here_has_it() {
        let bed = bed();
        bed.follow(0, true, &[(1, "http://a:1"), (3, "http://c:3")]);
        let call = Peers::meet(&bed.peers, NodeId(4), vec!["d:4".to_owned()]);
        bed.check(&[(3, &["c:3"]), (4, &["d:4"])]);
        let known = bed.peers.all_addresses();
        assert!(!known.contains_key(&NodeId(4)), "nobody is judged by what it says of itself");
        bed.follow(5, true, &[(1, "http://a:1"), (3, "http://c:3")]);
        bed.check(&[(3, &["c:3"]), (4, &["d:4"])]);
        let again = Peers::meet(&bed.peers, NodeId(4), vec!["moved:4".to_owned()]);
        drop(call);
        bed.check(&[(3, &["c:3"]), (4, &["moved:4"])]);
        drop(again);
        bed.check(&[(3, &["c:3"])]);
    }

    /// Its new address is in an entry that is not here yet, and comes only once it is answered.
    #[test]
    fn a_member_that_has_moved_is_reached_where_it_calls_from() {
        let bed = bed();
        bed.follow(0, true, &[(1, "http://a:1"), (3, "http://c:3")]);
        let call = Peers::meet(&bed.peers, NodeId(3), vec!["moved:3".to_owned()]);
        bed.check(&[(3, &["c:3", "moved:3"])]);
        drop(call);
        bed.check(&[(3, &["c:3"])]);
    }

    #[test]
    fn a_node_tells_the_network_where_it_is_itself() {
        let bed = bed();
        bed.follow(0, true, &[(3, "http://c:3")]);
        assert_eq!(bed.told.1.lock().as_slice(), &[] as &[&str], "it is no member yet");
        bed.follow(4, false, &[(1, "http://a:1/"), (3, "http://c:3")]);
        assert_eq!(bed.told.1.lock().as_slice(), ["a:1"]);
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
