//! What faults did to a cluster, beside that they were done: most are ordered, and happen later or
//! not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Chaos;
use crate::census::{CUT, DOUBLED, HANDED_OVER, HELD_BACK, LOST, OVERTAKEN, REPLAYED};
use crate::watchers::Compactions;

/// All that a long run must have seen.
pub const HOST_EFFECTS: &[&str] = &[
    LOST,
    CUT,
    DOUBLED,
    REPLAYED,
    OVERTAKEN,
    HELD_BACK,
    HANDED_OVER,
    A_COMPACTION,
    AN_ERROR,
    NO_SPACE,
    ROT_IS_READ,
    A_READ_ASTRAY,
    A_WRITE_ASTRAY,
    A_SLOW_DISK,
];
const A_COMPACTION: &str = "effect: history is compacted";
const AN_ERROR: &str = "effect: a call to a disk fails";
const NO_SPACE: &str = "effect: a disk has no space";
const ROT_IS_READ: &str = "effect: rotten bits are read";
const A_READ_ASTRAY: &str = "effect: a read gets the bytes of another place";
const A_WRITE_ASTRAY: &str = "effect: a write goes to another place";
pub(super) const A_SLOW_DISK: &str = "effect: a slow disk takes its time";

/// What was asked of a group and was done, as its answers say.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    pub(super) transfers: Counter,
}

/// Counts from within an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(super) fn add(&self, is_done: bool) {
        self.0.fetch_add(u64::from(is_done), Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Chaos {
    /// What faults did, once the world is at its end.
    pub fn count_effects(&mut self) {
        let world = &self.cluster.world;
        let disks = world.disk_counts();
        self.census.add_net(world.net().counts());
        self.census.add(HANDED_OVER, self.done.transfers.count());
        let compacted = self.watchers.compactions.values().map(Compactions::done);
        self.census.add(A_COMPACTION, compacted.sum());
        self.census.add(AN_ERROR, disks.errors);
        self.census.add(NO_SPACE, disks.refusals);
        self.census.add(ROT_IS_READ, disks.rotten_reads);
        self.census.add(A_READ_ASTRAY, disks.misdirected_reads);
        self.census.add(A_WRITE_ASTRAY, disks.misdirected_writes);
    }
}
