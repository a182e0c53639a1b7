//! Disks that are lost, set back, or have a write in the wrong place: one at a time, and only when
//! the group can bear it, since the promise covers no more.

use std::ops::Range;
use std::path::Path;

use env::SplitMix;
use host::GroupId;
use raft::NodeId;

use super::inflict::rot;
use super::plan::pick;
use super::{
    A_ROTTEN_START, A_WRITE_WENT_ASTRAY, Chaos, FaultKind, LOSS_SEEN_AT_START, LOSS_SEEN_BY_GROUP,
    ROT_ENDS_A_START, TURNS,
};
use crate::{Ending, Failure, NoStart, World};
use store::StoreMachine;

/// Turns of about 10 ms that a fault waits for its moment.
const WAITS_TURNS: u64 = 300;

/// The one disk that is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spoiled {
    pub(super) node: NodeId,
    what: Spoil,
    /// The node will not run again; somebody has to replace it.
    pub(super) is_dead: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoil {
    /// It is empty.
    Lost,
    /// A write goes, or went, to another place.
    Write,
    /// Bits were flipped before a start.
    Rot,
}

impl Spoiled {
    /// Whether a cluster cannot be well as long as it has this member.
    pub(super) fn must_go(&self) -> bool {
        self.is_dead || self.what == Spoil::Lost
    }
}

/// A fault of a whole disk that waits for a moment at which the group can bear it.
#[derive(Debug)]
pub(super) struct Wanted {
    kind: FaultKind,
    turns: Range<u64>,
    dice: SplitMix,
}

type Bearable = fn(&World<StoreMachine>, GroupId) -> Vec<NodeId>;

impl Chaos {
    pub(super) fn want(&mut self, kind: FaultKind, turn: u64, mut dice: SplitMix) {
        // A copy is to be an old one by then.
        let is_copied = kind == FaultKind::SetBackDisk;
        let from = turn + if is_copied { 10 + dice.below(150) } else { 0 };
        if is_copied {
            let world = &mut self.cluster.world;
            let on: Vec<_> = world.nodes().into_iter().filter(|node| world.is_on(*node)).collect();
            on.into_iter().for_each(|node| world.copy_disk(node));
        }
        let turns = from..from + WAITS_TURNS;
        self.wanted = Some(Wanted { kind, turns, dice });
    }

    /// Does what waits, if it may be done now.
    pub(super) fn spoil_a_disk(&mut self, turn: u64) -> Result<(), Failure> {
        // Mended disks stay as they are.
        if turn >= TURNS {
            return Ok(());
        }
        let Some(mut wanted) = self.wanted.take_if(|wanted| wanted.turns.contains(&turn)) else {
            return Ok(());
        };
        let is_done = if wanted.kind == FaultKind::LoseDisk {
            self.lose_disk(&mut wanted.dice)?
        } else if wanted.kind == FaultKind::SetBackDisk {
            self.set_back_disk(&mut wanted.dice)?
        } else if wanted.kind == FaultKind::RottenStart {
            self.start_rotten(&mut wanted.dice)?
        } else {
            self.misdirect_write(&mut wanted.dice)
        };
        if is_done {
            self.census.meet(wanted.kind.name());
        } else {
            self.wanted = Some(wanted);
        }
        Ok(())
    }

    fn bearable(&self, by: Bearable) -> Vec<NodeId> {
        let world = &self.cluster.world;
        if self.spoiled.is_some() || !self.operator.is_done_with(world.now()) {
            return Vec::new();
        }
        let mut nodes = world.nodes();
        for group in &self.groups {
            let its = by(world, *group);
            nodes.retain(|node| its.contains(node));
        }
        nodes
    }

    /// A node begins again with an empty disk.
    fn lose_disk(&mut self, dice: &mut SplitMix) -> Result<bool, Failure> {
        let nodes = self.bearable(World::may_lose);
        if nodes.is_empty() {
            return Ok(false);
        }
        let node = pick(dice, &nodes);
        self.crash(node);
        self.cluster.world.lose_disk(node, dice.below(2) == 0);
        self.spoiled = Some(Spoiled { node, what: Spoil::Lost, is_dead: false });
        if dice.below(2) == 0 {
            self.start_or_say(node)?;
        }
        Ok(true)
    }

    /// A node begins again with an old copy of its disk.
    fn set_back_disk(&mut self, dice: &mut SplitMix) -> Result<bool, Failure> {
        let nodes = self.bearable(World::may_set_back);
        if nodes.is_empty() {
            return Ok(false);
        }
        let node = pick(dice, &nodes);
        self.cluster.world.kill(node);
        self.cluster.world.set_back_disk(node);
        self.start_or_say(node)?;
        Ok(true)
    }

    /// A node begins again from a disk with flipped bits, which nobody mends before: recovery must
    /// not take them for the end of a log that a crash has left half written, since what was behind
    /// was vouched for. It either does not start and is replaced, or has all that it had.
    fn start_rotten(&mut self, dice: &mut SplitMix) -> Result<bool, Failure> {
        let nodes = self.bearable(World::may_lose);
        if nodes.is_empty() {
            return Ok(false);
        }
        let node = pick(dice, &nodes);
        self.crash(node);
        let bits_max = pick(dice, &[1, 1, 2, 8]);
        if !rot(self.cluster.world.disk(node), bits_max, dice) {
            return Ok(false);
        }
        // From here on its disk counts as one that may be lost, until it has shown that it is not.
        self.cluster.world.suspect_disk(node);
        self.ill.insert(node);
        self.rotten.remove(&node);
        self.spoiled = Some(Spoiled { node, what: Spoil::Rot, is_dead: false });
        self.start_or_say(node)?;
        // The next start is from a disk that somebody has mended.
        self.rotten.insert(node);
        if self.is_dead(node) {
            self.census.meet(ROT_ENDS_A_START);
        } else {
            self.census.meet(A_ROTTEN_START);
            self.spoiled = None;
            self.cluster.world.trust_disk(node);
        }
        Ok(true)
    }

    /// A write will go to another place.
    fn misdirect_write(&mut self, dice: &mut SplitMix) -> bool {
        let nodes = self.bearable(World::may_lose);
        if nodes.is_empty() {
            return false;
        }
        let node = pick(dice, &nodes);
        let folder = pick(dice, &["/data/wal", "/data/store-1", "/data"]);
        let world = &mut self.cluster.world;
        world.disk(node).misdirect_write(Path::new(folder), 1 + dice.below(20));
        world.suspect_disk(node);
        self.ill.insert(node);
        self.spoiled = Some(Spoiled { node, what: Spoil::Write, is_dead: false });
        true
    }

    /// A fault of a disk was taken back before it came about.
    pub(super) fn forgive(&mut self, node: NodeId) {
        let written = self.cluster.world.disk(node).counts().misdirected_writes;
        let is_its = |it: &Spoiled| it.node == node && it.what == Spoil::Write && !it.is_dead;
        if written == 0 && self.spoiled.as_ref().is_some_and(is_its) {
            self.spoiled = None;
            self.cluster.world.trust_disk(node);
        }
    }

    /// Whether a write of this node's disk went to another place for good.
    pub(super) fn is_written_astray(&self, node: NodeId) -> bool {
        let is_its = |it: &Spoiled| it.node == node && it.what == Spoil::Write;
        let written = self.cluster.world.disk(node).counts().misdirected_writes;
        written > 0 && self.spoiled.as_ref().is_some_and(is_its)
    }

    /// Whether a node begins, or could not begin, from rotten bits.
    fn is_rotten(&self, node: NodeId) -> bool {
        self.spoiled.as_ref().is_some_and(|it| it.node == node && it.what == Spoil::Rot)
    }

    pub(super) fn is_dead(&self, node: NodeId) -> bool {
        self.spoiled.as_ref().is_some_and(|it| it.node == node && it.is_dead)
    }

    /// Its disk is given up.
    pub(super) fn bury(&mut self, node: NodeId) {
        if let Some(spoiled) = self.spoiled.as_mut().filter(|it| it.node == node) {
            spoiled.is_dead = true;
        }
        if self.is_written_astray(node) {
            self.census.meet(A_WRITE_WENT_ASTRAY);
        }
    }

    /// A node that did not start although nothing is wrong with the calls to its disk.
    pub(super) fn judge_no_start(&mut self, node: NodeId, why: &NoStart) -> Result<(), Failure> {
        match why {
            // Only one that is to join asks; it asks again.
            NoStart::NotAMember | NoStart::NobodyAnswers => Ok(()),
            NoStart::DataLost => self.judge_lost(node, LOSS_SEEN_AT_START),
            NoStart::Forgetful => {
                self.bury(node);
                Ok(())
            }
            NoStart::Disk(error) => {
                if self.is_written_astray(node) || self.is_rotten(node) {
                    self.bury(node);
                }
                self.census.meet(super::NO_START);
                let is_ill = self.ill.contains(&node);
                Failure::unless(is_ill, "a node starts from what its disk holds", || {
                    format!("n{node} does not start: {error}")
                })
            }
        }
    }

    /// Only whoever has lost its disk is told so.
    fn judge_lost(&mut self, node: NodeId, met: &'static str) -> Result<(), Failure> {
        let is_its = |it: &Spoiled| it.node == node && it.what == Spoil::Lost;
        let is_right = self.spoiled.as_ref().is_some_and(is_its);
        self.bury(node);
        self.census.meet(met);
        Failure::unless(is_right, "only who lost its disk is told so", || {
            format!("n{node} is told that its disk is lost, and it is not")
        })
    }

    /// Who was told by its group that its disk is lost.
    pub(super) fn look_for_losses(&mut self) -> Result<(), Failure> {
        for node in self.cluster.world.nodes() {
            let is_told = self.cluster.world.ending(node) == Some(Ending::DataLost);
            if is_told && !self.is_dead(node) {
                self.judge_lost(node, LOSS_SEEN_BY_GROUP)?;
            }
        }
        Ok(())
    }

    /// Once the members do without the disk, another may be lost.
    pub(super) fn look_at_spoiled(&mut self) {
        let Some(spoiled) = self.spoiled else { return };
        let world = &mut self.cluster.world;
        let members = world.settled_members(self.groups[0]);
        let is_out = members.is_some_and(|(_, known)| !known.contains(spoiled.node));
        if is_out {
            self.spoiled = None;
            if world.nodes().contains(&spoiled.node) {
                world.retire(spoiled.node);
            }
        }
    }
}
