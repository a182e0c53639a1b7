//! What a cluster that is well must do for whoever asks: a put and a get through every member, by
//! the API and without it. A member that answers each call in time with an error would be taken for
//! well otherwise.

use env::SplitMix;
use host::GroupId;
use raft::NodeId;

use super::{Client, Clients};
use crate::history::{Outcome, Request};
use crate::stores::Cluster;

/// One request that must be done in the end, however often it must be asked for.
#[derive(Debug)]
pub(super) struct Errand {
    node: NodeId,
    is_put: bool,
    is_done: bool,
}

impl Errand {
    pub(super) fn hear(&mut self, outcome: &Outcome) {
        self.is_done |= matches!(outcome, Outcome::Done { .. });
    }
}

impl Clients {
    /// Sends clients to these members, which have the group.
    pub(crate) fn send_errands(&mut self, cluster: &Cluster, nodes: &[NodeId], group: GroupId) {
        for node in nodes {
            let votes = cluster.world.has_vote(*node, group);
            for (by_api, is_put) in [(false, true), (false, false), (true, true), (true, false)] {
                // Who has no vote serves nobody by the API.
                if by_api && !votes {
                    continue;
                }
                let errand = Some(Errand { node: *node, is_put, is_done: false });
                self.clients.push(Client { group, by_api, errand, floor: 0, pending: None });
            }
        }
    }

    /// Lets those ask, once more, who have nothing yet.
    pub(crate) fn run_errands(&mut self, cluster: &Cluster, dice: &mut SplitMix) {
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            let Some(Errand { node, is_put, is_done: false }) = client.errand else { continue };
            if client.pending.is_some() || !cluster.world.is_on(node) {
                continue;
            }
            let get = || (Request::Get { key: "key-0".to_owned() }, None);
            let asked = if is_put { self.requests.put() } else { get() };
            self.begin(cluster, dice, (number, node), asked);
        }
        self.work(&cluster.world);
    }

    /// Those that have nothing yet: the member, the group, whether by the API, whether a put.
    pub(crate) fn open_errands(&self) -> Vec<(NodeId, GroupId, bool, bool)> {
        let open = self.clients.iter().filter_map(|client| {
            let errand = client.errand.as_ref().filter(|errand| !errand.is_done)?;
            Some((errand.node, client.group, client.by_api, errand.is_put))
        });
        open.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::*;
    use crate::stores::GROUP;

    /// How many errands to these members are not done within five seconds.
    fn open_after_a_while(cluster: &mut Cluster, nodes: &[NodeId]) -> usize {
        let (mut clients, mut dice) = (Clients::new(0, &[GROUP], 1), SplitMix::new(3));
        clients.send_errands(cluster, nodes, GROUP);
        for _ in 0..500 {
            clients.run_errands(cluster, &mut dice);
            cluster.world.run_until(Duration::from_millis(10), |world| {
                clients.work(world);
                false
            });
            let listened = clients.listen(&cluster.world, &BTreeSet::new(), &BTreeMap::new());
            listened.expect("no answer is wrong");
        }
        clients.open_errands().len()
    }

    #[test]
    fn who_asks_a_cluster_that_is_well_is_served_by_every_member() {
        let mut cluster = Cluster::started(7);
        let nodes = cluster.world.nodes();
        assert_eq!(open_after_a_while(&mut cluster, &nodes), 0);
    }

    #[test]
    fn who_asks_a_member_without_a_majority_is_not_served() {
        let mut cluster = Cluster::started(7);
        let leader = cluster.world.leader(GROUP).expect("it was elected");
        let others = cluster.world.nodes().into_iter().filter(|node| *node != leader);
        others.for_each(|node| cluster.world.crash(node));
        // A put and a get by each of the two ways.
        assert_eq!(open_after_a_while(&mut cluster, &[leader]), 4);
    }
}
