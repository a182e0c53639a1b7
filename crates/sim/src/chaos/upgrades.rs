//! Rolling upgrades: nodes that begin again, one by one, with a program of another version of the
//! peer protocol, while all else goes on.

use env::SplitMix;
use host::FRAME_VERSION;
use raft::NodeId;

use super::plan::Event;
use super::{
    AN_OLD_ERRAND_DONE, Chaos, ENTRIES_DOWN, ENTRIES_UP, ERRAND_OF_AN_OLD_LEADER, FaultKind,
};
use crate::Failure;
use crate::world::VERSION_BEFORE;

impl Chaos {
    /// The programs of the founders, before anything runs.
    pub(super) fn install_programs(&mut self) {
        if self.plan.has_upgrades {
            let nodes = self.cluster.world.nodes();
            nodes.into_iter().for_each(|node| self.cluster.world.install(node, VERSION_BEFORE));
        }
    }

    /// A machine that joins has the program of whoever prepared it.
    pub(super) fn install_for(&mut self, joiner: NodeId) {
        if self.plan.has_upgrades && self.dice.below(2) == 0 {
            self.cluster.world.install(joiner, VERSION_BEFORE);
        }
    }

    /// Beside a fault a node is upgraded now and then, and set back more rarely: so the cluster
    /// comes to the new version, and is of two for long.
    pub(super) fn upgrade_beside(&mut self, event: Event, node: NodeId) -> Result<(), Failure> {
        let mut dice = SplitMix::new(event.dice ^ 0x09d8);
        if !self.plan.has_upgrades || dice.below(6) > 0 {
            return Ok(());
        }
        let (kind, version) = match dice.below(4) {
            0 => (FaultKind::Downgrade, VERSION_BEFORE),
            _ => (FaultKind::Upgrade, FRAME_VERSION),
        };
        if self.reinstall(version, node)? {
            self.census.meet(kind.name());
        }
        Ok(())
    }

    /// Stops a node that speaks another version, this one if it is one, and starts it with this
    /// version. Returns whether there was one.
    pub(super) fn reinstall(&mut self, version: u8, node: NodeId) -> Result<bool, Failure> {
        let world = &mut self.cluster.world;
        let is_other = |node: &NodeId| world.is_on(*node) && world.peer_protocol(*node) != version;
        let others = world.nodes().into_iter().filter(is_other);
        let Some(node) = others.min_by_key(|other| *other != node) else { return Ok(false) };
        world.install(node, version);
        world.kill(node);
        self.start_or_say(node)?;
        Ok(true)
    }

    pub(super) fn count_crossings(&mut self) {
        let crossings = self.cluster.world.crossings();
        let met = [
            (ENTRIES_DOWN, crossings.entries_down),
            (ENTRIES_UP, crossings.entries_up),
            (AN_OLD_ERRAND_DONE, crossings.errand_down),
            (ERRAND_OF_AN_OLD_LEADER, crossings.errand_up),
        ];
        for (name, is_met) in met {
            self.census.add(name, u64::from(is_met));
        }
    }
}
