//! What a leader takes for committed is on the disks of a majority.

use host::{GroupId, Stage, StateMachine};
use raft::invariants::{Cluster, Decided, Violation, holds_durably};
use raft::{EntryId, Node, NodeId, Role};

use super::World;
use crate::Failure;

impl<S: StateMachine> World<S> {
    /// Looks at what a node has committed in its last step.
    pub(super) fn check_quorums(&mut self, id: NodeId) -> Option<(GroupId, Violation)> {
        let stages = self.nodes[&id].stages.as_ref()?;
        for group in stages.group_ids() {
            let Some(leader) = stages.node(group) else { continue };
            let (commit, members_at) = (leader.commit_index(), leader.configuration_index());
            let before = self.commits.insert((id, group), (commit, members_at));
            if leader.role() != Role::Leader || before.is_some_and(|(before, _)| before >= commit) {
                continue;
            }
            let holds = |voter, entry| self.has_vouched_for(voter, group, entry);
            let Some(decided) = Decided::by_now(leader) else { continue };
            let checked = Cluster::observe_commit(leader, &decided, holds);
            let is_new_change = before.is_some_and(|(_, before)| before != members_at);
            if let Err(mut violation) = checked
                && !(is_new_change && self.was_decided_before(leader, group))
            {
                violation.detail += &self.disks_of(leader, group);
                return Some((group, violation));
            }
        }
        None
    }

    /// Looks at how far the state machines of a node are, if they have just been given something.
    pub(super) fn check_applied(&self, id: NodeId, stage: Stage) -> Option<(GroupId, Failure)> {
        let stages = self.nodes[&id].stages.as_ref().filter(|_| stage == Stage::Applier)?;
        stages.group_ids().find_map(|group| {
            let applied = stages.machine(group)?.applied();
            let checked = self.seen.get(&group)?.observe_state(id, applied);
            checked.err().map(|violation| (group, violation.into()))
        })
    }

    /// Whether a node has said, in truth, that this entry is on its disk.
    fn has_vouched_for(&self, voter: NodeId, group: GroupId, entry: EntryId) -> bool {
        let lost = self.nodes.get(&voter).and_then(|node| node.lost.get(&group));
        let mut said = self.replica(voter, group).into_iter().chain(lost);
        said.any(|replica| holds_durably(replica, entry))
    }

    /// A replica as it runs, or as it was when it ended.
    pub(super) fn replica(&self, id: NodeId, group: GroupId) -> Option<&Node> {
        let node = self.nodes.get(&id)?;
        let running = node.stages.as_ref().and_then(|stages| stages.node(group));
        running.or_else(|| node.left.get(&group))
    }

    /// What was committed before the first half of a change was appended, in one and the same step,
    /// was decided by the voters before it.
    fn was_decided_before(&self, leader: &Node, group: GroupId) -> bool {
        let commit = leader.commit_index();
        let voters = &leader.configuration().outgoing;
        let Some(entry) = leader.id_at(commit) else { return false };
        let holding = voters.iter().filter(|voter| self.has_vouched_for(**voter, group, entry));
        leader.configuration_index() > commit && holding.count() * 2 > voters.len()
    }

    fn disks_of(&self, leader: &Node, group: GroupId) -> String {
        let last = |id: &NodeId| match self.replica(*id, group) {
            Some(replica) => format!("n{id} ends at {}", replica.last()),
            None => format!("n{id} has nothing"),
        };
        let disks: Vec<String> = self.nodes.keys().map(last).collect();
        format!("; {}; {}", leader.configuration(), disks.join(", "))
    }
}
