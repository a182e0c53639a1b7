//! How a node ends by itself, and for good: it hears that it was removed, or that its disk is not
//! the one that its group knows.

use std::sync::Arc;

use env::mem::MemDisk;
use host::{GroupConfiguration, GroupId, StateMachine};
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

    /// Somebody must know the configuration without it to be committed.
    fn check_removal(&mut self, id: NodeId) {
        let stages = self.nodes.values().filter_map(|node| node.stages.as_ref());
        let known = stages.flat_map(|stages| {
            let handles = stages.group_ids().filter_map(|group| stages.group(group));
            handles.map(|handle| handle.committed_configuration()).collect::<Vec<_>>()
        });
        let has_left = |known: Arc<GroupConfiguration>| {
            known.is_committed && known.configuration.removed.contains(&id)
        };
        let is_right = known.into_iter().any(has_left);
        if !is_right {
            let what = Failure::new("only who was removed is told so", format!("n{id}"));
            self.fail(id, GroupId(0), what);
        }
    }

    /// Nodes that have ended since they were removed.
    #[must_use]
    pub fn removed_count(&self) -> u64 {
        self.removed_count
    }
}
