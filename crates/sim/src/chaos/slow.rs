//! Disks that take their time: for a while each of a node's writes waits, now longer and now
//! shorter, and what comes meanwhile is written with the next. Nothing is lost by it, and nobody is
//! told: a disk that is slow looks like one that is well.

use env::SplitMix;
use host::Stage;
use raft::NodeId;

use super::Chaos;
use super::effects::A_SLOW_DISK;
use super::plan::pick;

/// Turns of about 10 ms for which a disk stays slow.
const SLOW_TURNS: (u64, u64) = (30, 270);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowDisk {
    until: u64,
    /// The longest that a write waits.
    turns_max: u64,
    /// The next one waits until then.
    goes_at: u64,
}

impl Chaos {
    pub(super) fn slow_down(&mut self, node: NodeId, turn: u64, dice: &mut SplitMix) {
        let (least, more) = SLOW_TURNS;
        let turns_max = pick(dice, &[3, 12, 50]);
        let until = turn + least + dice.below(more);
        self.slow.insert(node, SlowDisk { until, turns_max, goes_at: turn });
    }

    /// The disk is as quick as any from now on.
    pub(super) fn speed_up(&mut self, node: NodeId) {
        if self.slow.remove(&node).is_some() && !self.resume_at.contains_key(&node) {
            self.cluster.world.let_go(node, &DISK_STAGES);
            self.clients.be_patient_with(node, self.cluster.world.now());
        }
    }

    /// Lets each slow disk do what is due, and holds the next back.
    pub(super) fn wait_for_slow_disks(&mut self, turn: u64) {
        let over: Vec<NodeId> =
            self.slow.iter().filter(|(_, slow)| slow.until <= turn).map(|(id, _)| *id).collect();
        for node in over {
            self.speed_up(node);
            self.light(&format!("disk n{node} slow"));
        }
        for (node, slow) in &mut self.slow {
            // Another fault holds it, or it is off.
            if self.resume_at.contains_key(node) || !self.cluster.world.is_on(*node) {
                continue;
            }
            if slow.goes_at <= turn {
                self.cluster.world.let_go(*node, &DISK_STAGES);
                slow.goes_at = turn + 1 + self.dice.below(slow.turns_max + 1);
            } else if self.cluster.world.hold(*node, &DISK_STAGES) {
                self.census.meet(A_SLOW_DISK);
            }
        }
    }
}

/// The stages that write.
const DISK_STAGES: [Stage; 3] = [Stage::LogWriter, Stage::Applier, Stage::Bulk];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::{Deed, Event, FaultKind, Plan};

    #[test]
    fn writes_of_a_slow_disk_wait_and_nothing_is_wrong() {
        let deed = Deed::Fault(FaultKind::SlowDisk);
        let events = vec![Event { number: 0, turn: 100, deed, dice: 7 }];
        let mut chaos = Chaos::new(Plan { events, ..Plan::of(1) });
        assert_eq!(chaos.run(), Ok(()));
        assert_eq!(chaos.census().count(FaultKind::SlowDisk.name()), 1);
        assert!(chaos.census().count(A_SLOW_DISK) > 3, "{:?}", chaos.census());
        assert!(chaos.slow.is_empty(), "it is over");
    }
}
