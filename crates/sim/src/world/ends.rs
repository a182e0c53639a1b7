//! How a node ends by itself, and for good: it hears that it was removed, or that its disk is not
//! the one that its group knows.

use env::mem::MemDisk;
use host::{GroupId, StateMachine};
use raft::NodeId;

use super::World;
use crate::Failure;

/// How a node ended by itself, and for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was removed from its groups.
    Removed,
    /// A group knows it by a disk that it has no more.
    DataLost,
}

impl<S: StateMachine> World<S> {
    /// How a node ended by itself, if it did.
    #[must_use]
    pub fn ending(&self, id: NodeId) -> Option<Ending> {
        self.nodes[&id].ending
    }

    /// A process that was told that it has no part any more ends.
    pub(super) fn end_if_told(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let told = std::mem::take(&mut *node.told.lock().expect("one thread"));
        let Some((newest, _)) = told.last().copied() else { return };
        let removed = told.iter().filter(|(ending, _)| *ending == Ending::Removed);
        node.removed_from.extend(removed.map(|(_, group)| *group));
        let Some(stages) = &node.stages else { return };
        let has_no_group = stages.group_ids().all(|group| node.removed_from.contains(&group));
        let ending = if has_no_group { Ending::Removed } else { newest };
        if ending == Ending::Removed && !has_no_group {
            return;
        }
        if ending == Ending::Removed {
            self.removed_count += 1;
            self.check_removal(id);
        }
        let node = self.node_mut(id);
        node.ending = Some(ending);
        self.stop(id, MemDisk::kill);
        self.tell(id, &format!("ends: {ending:?}"));
        if ending == Ending::Removed {
            self.node_mut(id).is_gone = true;
        }
        self.draw(id);
    }

    /// Somebody must have known the configuration without it to be committed. Whoever said so may
    /// be off by now, or have begun again and not know as much yet.
    fn check_removal(&mut self, id: NodeId) {
        if !self.removed.contains(&id) {
            let what = Failure::new("only who was removed is told so", format!("n{id}"));
            self.fail(id, GroupId(0), what);
        }
    }

    /// Looks at what the replicas of a node know to be committed of the members.
    pub(super) fn check_members(&mut self, id: NodeId) -> Option<(GroupId, Failure)> {
        let stages = self.nodes[&id].stages.as_ref()?;
        for group in stages.group_ids() {
            let (Some(node), Some(handle)) = (stages.node(group), stages.group(group)) else {
                continue;
            };
            let known = node.committed_configuration();
            self.removed.extend(&known.removed);
            let index = node.committed_configuration_index();
            let shown = handle.committed_configuration();
            if shown.index != index || !shown.is_committed {
                let what = format!("{known} of {index}, and n{id} shows {shown:?}");
                let property = "a host shows the newest members that it knows to be committed";
                return Some((group, Failure::new(property, what)));
            }
        }
        None
    }

    /// Nodes that have ended since they were removed.
    #[must_use]
    pub fn removed_count(&self) -> u64 {
        self.removed_count
    }
}
