//! How things are made well again, one by one in the first phase and all of them for the second.

use env::SplitMix;
use raft::NodeId;

use super::Chaos;
use super::plan::pick;
use crate::Failure;

impl Chaos {
    pub(super) fn mend_something(&mut self, dice: &mut SplitMix) -> Result<(), Failure> {
        let nodes = self.cluster.world.nodes();
        let node = pick(dice, &nodes);
        if dice.below(3) == 0 {
            self.mend_net();
            return Ok(());
        }
        if dice.below(3) == 0 {
            self.mend_clock(node);
        }
        if !self.cluster.world.is_on(node) {
            if dice.below(3) > 0 {
                self.mend_disk(node);
            }
            self.start_or_say(node)?;
        }
        Ok(())
    }

    fn mend_net(&mut self) {
        self.later.clear();
        let net = self.cluster.world.net();
        net.heal_all();
        net.set_loss_permille(0);
        net.set_duplicate_permille(0);
        net.set_reorder_permille(0);
        net.set_replay_permille(0);
        net.set_latency(self.plan.latency);
        self.light("net");
    }

    pub(super) fn light(&mut self, beginning: &str) {
        let now = self.cluster.world.now();
        if let Some(recording) = self.cluster.world.recording() {
            recording.light_all(now, beginning);
        }
    }

    fn mend_clock(&mut self, node: NodeId) {
        self.cluster.world.clock(node).mend();
        self.light(&format!("n{node} clock"));
        self.clients.be_patient_with(node, self.cluster.world.now());
    }

    pub(super) fn resume(&mut self, node: NodeId) {
        self.cluster.world.resume(node);
        self.resume_at.remove(&node);
        self.light(&format!("n{node}"));
        self.clients.be_patient_with(node, self.cluster.world.now());
    }

    /// Starts a node. One whose disk is ill may fail to start; then it is off, as after a fault.
    pub(super) fn start_or_say(&mut self, node: NodeId) -> Result<(), Failure> {
        if self.rotten.remove(&node) {
            self.cluster.world.disk(node).mend_rot();
        }
        if self.is_dead(node) {
            return Ok(());
        }
        if let Err(why) = self.cluster.world.start(node) {
            self.judge_no_start(node, &why)?;
            self.cluster.world.kill(node);
        }
        Ok(())
    }

    pub(super) fn mend_disk(&mut self, node: NodeId) {
        let disk = self.cluster.world.disk(node);
        disk.clear_faults();
        disk.limit_space(None);
        disk.mend_rot();
        self.speed_up(node);
        self.light(&format!("disk n{node}"));
        self.forgive(node);
        if !self.cluster.world.is_on(node) && !self.is_written_astray(node) {
            self.ill.remove(&node);
            self.rotten.remove(&node);
        }
    }

    pub(super) fn mend_all(&mut self) {
        self.crash_installing_before = 0;
        self.mend_net();
        for node in self.cluster.world.nodes() {
            self.resume(node);
            self.mend_clock(node);
            self.mend_disk(node);
            // Nobody keeps a disk that is known to have gone wrong.
            if self.is_written_astray(node) && !self.is_dead(node) {
                self.cluster.world.kill(node);
                self.bury(node);
            }
        }
    }
}
