//! What is looked at as the world goes: who has died and why, and whether all have the same state.

use env::Disk;
use host::{GroupId, Stage};
use raft::NodeId;
use store::StoreMachine;

use super::{A_DEAD_DISK, ALL_CRASHED, Chaos, FaultKind};
use crate::{Failure, World};
use std::time::Duration;

impl Chaos {
    /// A node dies by itself only if its disk was made to fail.
    pub(super) fn look_for_the_dead(&mut self) -> Result<(), Failure> {
        let nodes = self.cluster.world.nodes();
        if nodes.iter().all(|node| !self.cluster.world.is_on(*node)) {
            self.census.meet(ALL_CRASHED);
        }
        self.look_for_losses()?;
        for node in nodes {
            let life = self.cluster.world.life_count(node);
            if let Some(fatal) = self.cluster.world.fatal(node)
                && self.mourned.insert((node, life))
            {
                self.census.meet(A_DEAD_DISK);
                let is_ill = self.ill.contains(&node);
                Failure::unless(is_ill, "a node dies only of its disk", || {
                    format!("n{node} died without a reason: {fatal}")
                })?;
            }
        }
        Ok(())
    }

    /// Nodes that have applied the same have the same state.
    pub(super) fn compare_states(&mut self) -> Result<(), Failure> {
        for node in self.cluster.world.nodes() {
            for group in self.groups.clone() {
                self.compare_state(node, group)?;
            }
        }
        Ok(())
    }

    fn compare_state(&mut self, node: NodeId, group: GroupId) -> Result<(), Failure> {
        let Some(machine) = self.cluster.world.machine(node, group) else { return Ok(()) };
        let applied = host::StateMachine::applied(machine);
        if self.compared.insert((node, group), applied) == Some(applied) {
            return Ok(());
        }
        let hash = self.cluster.store_of(node, group).state_hash();
        // An ill disk may say that it cannot read; what it does read must be right.
        let Ok(hash) = hash else {
            self.compared.remove(&(node, group));
            let is_ill = self.ill.contains(&node);
            return Failure::unless(is_ill, "a state is readable", || format!("n{node} {group:?}"));
        };
        let first = *self.hashes.entry((group, applied)).or_insert((hash, node));
        Failure::unless(first.0 == hash, "equal logs, equal states", || {
            format!("n{} and n{node} differ at {applied} of {group:?}", first.1)
        })
        .map_err(|what| what.of(node, group))
    }

    /// Runs for so long, or until a node has received a whole snapshot: that one crashes. The
    /// moment is a short one, and only a look after every event meets it.
    pub(super) fn run_to_a_staged_snapshot(&mut self, length: Duration) {
        let has_whole = |world: &World<StoreMachine>, node: &NodeId| {
            let staged = world.disk(*node).list("/data/staging".as_ref());
            let is_there = |names: Vec<String>| names.iter().any(|name| name.ends_with("shot"));
            world.is_on(*node) && staged.is_ok_and(is_there)
        };
        let nodes = self.cluster.world.nodes();
        let (world, clients) = (&mut self.cluster.world, &mut self.clients);
        world.run_until(length, |world| {
            clients.work(world);
            match world.stepped() {
                // The bulk stage stages them.
                Some((node, Stage::Bulk)) => has_whole(world, &node),
                Some((_, Stage::Worker(_) | Stage::LogWriter | Stage::Applier)) | None => false,
            }
        });
        let node = nodes.into_iter().find(|node| has_whole(&self.cluster.world, node));
        if let Some(node) = node {
            self.crash_installing_before = 0;
            self.crash(node);
            self.census.meet(FaultKind::CrashInstalling.name());
        }
    }
}
