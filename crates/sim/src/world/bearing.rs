//! What a group can bear at present: whose disk may be lost, or set back, and nobody is wronged.
//!
//! A disk takes a vote and acknowledgements with it, and one of them may be all that keeps an entry
//! in the group. The promise covers one disk at a time, and only if the group can notice
//! (`docs/adr/0008-who-is-a-member.md`); who breaks that finds bugs that are none.

use host::{GroupId, StateMachine};
use raft::{Configuration, NodeId, Status};

use super::World;
use crate::core::is_held_back;

impl<S: StateMachine> World<S> {
    /// The followers whose disk may be lost: all members run from the disks on record, the loss of
    /// any of them would be noticed, and nobody who has left can take it for who it was.
    #[must_use]
    pub fn may_lose(&self, group: GroupId) -> Vec<NodeId> {
        let Some(status) = self.newest_leader(group) else { return Vec::new() };
        let configuration = &status.configuration;
        let is_settled =
            status.configuration_index <= status.commit_index && !configuration.is_joint();
        let is_recorded = |id: NodeId| {
            let stages = self.nodes.get(&id).and_then(|node| node.stages.as_ref());
            let Some(node) = stages.and_then(|stages| stages.node(group)) else { return false };
            configuration.incarnations.get(&id) == Some(&node.incarnation())
                && node.last().index >= status.commit_index
        };
        let is_guarded = is_settled
            && status.unguarded.is_empty()
            && configuration.voters.len() >= 3
            && configuration.members().all(is_recorded);
        let followers = configuration.voters.iter().copied().filter(|id| *id != status.id);
        let followers =
            followers.filter(|id| self.strangers_are_held_back(*id, group, configuration));
        if is_guarded { followers.collect() } else { Vec::new() }
    }

    /// The followers whose disk may be set back: all members have everything, know that it is
    /// committed, and have said nothing that the old disk does not know; and who knows the members
    /// as the old disk does is held back by those who are there.
    #[must_use]
    pub fn may_set_back(&self, group: GroupId) -> Vec<NodeId> {
        let Some(status) = self.newest_leader(group) else { return Vec::new() };
        let configuration = &status.configuration;
        let is_whole = |id: NodeId| {
            let stages = self.nodes.get(&id).and_then(|node| node.stages.as_ref());
            let Some(node) = stages.and_then(|stages| stages.node(group)) else { return false };
            let recorded = configuration.incarnations.get(&id);
            // The last entry is of the present term and durable, and so is the term.
            node.term() == status.hard_state.current_term
                && node.last() == status.last
                && status.last.term == node.term()
                && node.status().durable_index == status.last.index
                && node.commit_index() == status.last.index
                && recorded == Some(&node.incarnation())
        };
        let is_settled = configuration.voters.len() >= 3
            && !configuration.is_joint()
            && configuration.members().all(is_whole);
        let followers = configuration.voters.iter().copied().filter(|id| *id != status.id);
        let followers = followers.filter(|id| {
            let copy = self.nodes[id].copy.as_ref();
            let known = copy.and_then(|copy| copy.known.get(&group));
            let is_held_back = |known| is_held_back(*id, known, configuration);
            known.is_some_and(|known| known.iter().all(is_held_back))
                && self.strangers_are_held_back(*id, group, configuration)
        });
        if is_settled { followers.collect() } else { Vec::new() }
    }

    /// Whether those who have left, and may not know it, can decide nothing with this node once it
    /// has forgotten what it held (ADR 8, *guarded*).
    fn strangers_are_held_back(&self, id: NodeId, group: GroupId, now: &Configuration) -> bool {
        let strangers = self.nodes.iter().filter(|(id, node)| !node.is_gone && !now.contains(**id));
        let replicas = strangers.filter_map(|(stranger, _)| self.replica(*stranger, group));
        // What it knows may not be on its disk yet: one that begins again may know less.
        let mut known = replicas
            .flat_map(|replica| [replica.configuration(), replica.committed_configuration()]);
        known.all(|known| is_held_back(id, known, now))
    }

    /// The leader, and the members as it knows them, if that is committed and no step to others.
    #[must_use]
    pub fn settled_members(&self, group: GroupId) -> Option<(NodeId, Configuration)> {
        let leader = self.leader(group)?;
        let node = self.nodes[&leader].stages.as_ref()?.node(group)?;
        let configuration = node.configuration();
        let is_settled =
            node.configuration_index() <= node.commit_index() && !configuration.is_joint();
        is_settled.then(|| (leader, configuration.clone()))
    }

    /// The members as a node knows them, or knew them when it ended.
    #[must_use]
    pub fn configuration(&self, id: NodeId, group: GroupId) -> Option<Configuration> {
        self.replica(id, group).map(|node| node.configuration().clone())
    }

    /// Whether a node has a vote, by the members as it knows them.
    #[must_use]
    pub fn has_vote(&self, id: NodeId, group: GroupId) -> bool {
        self.replica(id, group).is_some_and(|node| node.configuration().is_voter(id))
    }

    /// Of the leader, if it leads the newest term that any node knows.
    fn newest_leader(&self, group: GroupId) -> Option<Status> {
        let leader = self.leader(group)?;
        let node = self.nodes[&leader].stages.as_ref()?.node(group)?;
        let replicas = self.nodes.values().filter_map(|node| node.stages.as_ref()?.node(group));
        let newest = replicas.map(raft::Node::term).max();
        (newest == Some(node.term())).then(|| node.status())
    }
}
