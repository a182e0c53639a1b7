//! What each kind of fault does to a cluster of hosts.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use env::mem::{Latency, MemDisk, Operation, Shape};
use env::{Disk, SplitMix};
use host::{FRAME_VERSION, GroupId, Stage};
use raft::NodeId;

use super::fault::Reach;
use super::plan::{Deed, Event, pick};
use super::shapes::cuts_of;
use super::{A_LEADER_CRASHED, Chaos, Cuts, FaultKind, Wire};
use crate::Failure;
use crate::picture::Kind;
use crate::world::VERSION_BEFORE;

/// What a disk without a limit says is free.
const UNLIMITED_BYTES: u64 = 1 << 40;
/// Where a node's files lie.
const DATA_DIR: &str = "/data";
/// Turns of about 10 ms in an election timeout.
const ELECTION_TURNS: u64 = 100;

/// An event whose node is chosen.
struct Blow {
    kind: FaultKind,
    node: NodeId,
    other: NodeId,
    turn: u64,
    dice: SplitMix,
}

impl Chaos {
    pub(super) fn perform(&mut self, event: Event) -> Result<(), Failure> {
        let mut dice = SplitMix::new(event.dice);
        let kind = match event.deed {
            Deed::Mend => return self.mend_something(&mut dice),
            Deed::Fault(kind) => kind,
        };
        let nodes = self.cluster.world.nodes();
        let (mut node, other) = (pick(&mut dice, &nodes), pick(&mut dice, &nodes));
        // What happens to a leader matters most.
        let group = pick(&mut dice, &self.groups);
        let leader = self.cluster.world.leader(group);
        if let Some(leader) = leader.filter(|_| dice.below(2) == 0) {
            node = leader;
        }
        let blow = Blow { kind, node, other, turn: event.turn, dice };
        if self.inflict(blow)? {
            self.census.meet(kind.name());
            self.draw(event, kind, node);
        }
        // Members come and go, and history is compacted, whatever else goes on.
        if self.plan.has_operator && dice_of_operator(event).below(3) == 0 {
            self.change_members(other, &mut dice_of_operator(event));
        }
        // And so are programs.
        self.upgrade_beside(event, node)?;
        let dice = SplitMix::new(event.dice ^ 0xc0);
        let mut blow = Blow { kind: FaultKind::Compact, node, other, turn: event.turn, dice };
        if blow.dice.below(3) == 0 && self.compact(&mut blow) {
            self.census.meet(FaultKind::Compact.name());
        }
        Ok(())
    }

    fn draw(&mut self, event: Event, kind: FaultKind, node: NodeId) {
        let now = self.cluster.world.now();
        let Some(recording) = self.cluster.world.recording() else { return };
        let (name, number) = (kind.name(), event.number);
        recording.note(now, (node, 0), Kind::Fault, format!("{name} (event {number})"));
        match kind.reach() {
            Reach::Moment => {}
            Reach::Net => recording.shade(now, &format!("net {name}"), &[], name),
            Reach::Node => recording.shade(now, &format!("n{node} {name}"), &[node], name),
            Reach::Disk => recording.shade(now, &format!("disk n{node} {name}"), &[node], name),
        }
    }

    /// Returns whether it could be done.
    fn inflict(&mut self, mut blow: Blow) -> Result<bool, Failure> {
        let node = blow.node;
        if needs_a_process(blow.kind) && !self.cluster.world.is_on(node) {
            return Ok(false);
        }
        match blow.kind {
            FaultKind::Crash => self.crash(node),
            FaultKind::Kill => self.cluster.world.kill(node),
            FaultKind::CrashAll => return Ok(self.crash_all()),
            FaultKind::CrashInstalling => {
                // It counts when it happens.
                self.crash_installing_before = blow.turn + 3 * ELECTION_TURNS;
                return Ok(false);
            }
            FaultKind::Isolate
            | FaultKind::Cut
            | FaultKind::CutOneWay
            | FaultKind::Deaf
            | FaultKind::Mute
            | FaultKind::Halves
            | FaultKind::Bridge
            | FaultKind::Ring
            | FaultKind::Chain
            | FaultKind::Swizzle
            | FaultKind::Flap => return Ok(self.cut(blow)),
            FaultKind::Loss
            | FaultKind::Duplicate
            | FaultKind::Reorder
            | FaultKind::Replay
            | FaultKind::Delay => self.worsen(&mut blow),
            FaultKind::Clog => return Ok(self.clog(&mut blow)),
            FaultKind::HangLog => self.hang(blow, Stage::LogWriter, 200),
            FaultKind::HangApplier => self.hang(blow, Stage::Applier, 300),
            FaultKind::HangBulk => self.hang(blow, Stage::Bulk, 100),
            FaultKind::Pause => self.pause(blow),
            FaultKind::SlowDisk => self.slow_down(node, blow.turn, &mut blow.dice),
            FaultKind::DiskError => self.make_disk_fail(&mut blow),
            FaultKind::DiskFull => self.fill_disk(&mut blow),
            FaultKind::BitRot | FaultKind::MisdirectedRead => {
                return Ok(self.spoil_reads(&mut blow));
            }
            FaultKind::LoseDisk
            | FaultKind::SetBackDisk
            | FaultKind::MisdirectedWrite
            | FaultKind::RottenStart => {
                // It counts when it happens, which is when the group can bear it.
                self.want(blow.kind, blow.turn, blow.dice);
                return Ok(false);
            }
            FaultKind::ClockDrift | FaultKind::ClockJump | FaultKind::ClockStop => {
                self.upset_clock(&mut blow);
            }
            FaultKind::Upgrade => return self.reinstall(FRAME_VERSION, node),
            FaultKind::Downgrade => return self.reinstall(VERSION_BEFORE, node),
            FaultKind::Transfer => return Ok(self.hand_over(blow.other)),
            FaultKind::Members => return Ok(self.wish(&mut blow)),
            FaultKind::Compact => return Ok(self.compact(&mut blow)),
            FaultKind::StepDown
            | FaultKind::Campaign
            | FaultKind::PauseElections
            | FaultKind::Timeouts
            | FaultKind::Abandon
            | FaultKind::Usurp
            | FaultKind::Shorten
            | FaultKind::FalseClock
            | FaultKind::OnlyVotes
            | FaultKind::LeaveAndCrash
            | FaultKind::Newcomer
            | FaultKind::Nonsense => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn crash(&mut self, node: NodeId) {
        let leads = |group: &GroupId| self.cluster.world.leader(*group) == Some(node);
        if self.groups.iter().any(leads) {
            self.census.meet(A_LEADER_CRASHED);
        }
        self.cluster.world.crash(node);
    }

    fn crash_all(&mut self) -> bool {
        let world = &mut self.cluster.world;
        let on: Vec<NodeId> = world.nodes().into_iter().filter(|id| world.is_on(*id)).collect();
        on.iter().for_each(|node| world.crash(*node));
        !on.is_empty()
    }

    fn cut(&mut self, mut blow: Blow) -> bool {
        let nodes: Vec<u64> = self.cluster.world.nodes().iter().map(|node| node.0).collect();
        if blow.kind == FaultKind::Swizzle {
            return self.swizzle(&mut blow, &nodes);
        }
        let cuts = cuts_of(blow.kind, &nodes, blow.node.0, &mut blow.dice);
        if cuts.is_empty() {
            return false;
        }
        if blow.kind == FaultKind::Flap {
            for half in 0..6 {
                let at = blow.turn + half * ELECTION_TURNS / 2;
                let wire = if half % 2 == 0 { Wire::Cut } else { Wire::Heal };
                self.later.push((at, wire(cuts.clone())));
            }
        } else {
            self.later.push((blow.turn, Wire::Cut(cuts)));
        }
        true
    }

    /// One node after the other is cut off; they come back in another order.
    fn swizzle(&mut self, blow: &mut Blow, nodes: &[u64]) -> bool {
        if nodes.len() < 2 {
            return false;
        }
        for node in nodes {
            if blow.dice.below(3) == 0 {
                continue;
            }
            let cuts: Cuts = cuts_of(FaultKind::Isolate, nodes, *node, &mut blow.dice);
            let cut_at = blow.turn + blow.dice.below(ELECTION_TURNS / 2);
            let heal_at = cut_at + ELECTION_TURNS / 2 + blow.dice.below(ELECTION_TURNS);
            self.later.push((cut_at, Wire::Cut(cuts.clone())));
            self.later.push((heal_at, Wire::Heal(cuts)));
        }
        true
    }

    fn worsen(&mut self, blow: &mut Blow) {
        let net = self.cluster.world.net();
        let permille = 1 + blow.dice.below(300);
        let kind = blow.kind;
        if kind == FaultKind::Loss {
            net.set_loss_permille(permille);
        } else if kind == FaultKind::Duplicate {
            net.set_duplicate_permille(permille);
        } else if kind == FaultKind::Reorder {
            net.set_reorder_permille(permille);
        } else if kind == FaultKind::Replay {
            net.set_replay_permille(permille);
        } else {
            let most = Duration::from_millis(pick(&mut blow.dice, &[5, 50, 400]));
            let shape = pick(&mut blow.dice, &Shape::ALL);
            net.set_latency(Latency { shape, ..Latency::uniform(Duration::from_millis(1), most) });
        }
    }

    /// It counts when a leader is asked for the change, and not yet.
    fn wish(&mut self, blow: &mut Blow) -> bool {
        self.change_members(blow.other, &mut blow.dice);
        false
    }

    fn clog(&mut self, blow: &mut Blow) -> bool {
        let duration = Duration::from_millis(pick(&mut blow.dice, &[50, 800, 5000]));
        self.cluster.world.net().clog(blow.node.0, blow.other.0, duration);
        blow.node != blow.other
    }

    fn pause(&mut self, mut blow: Blow) {
        self.cluster.world.pause(blow.node);
        self.resume_at.insert(blow.node, blow.turn + blow.dice.below(200));
    }

    fn hang(&mut self, mut blow: Blow, stage: Stage, turns_max: u64) {
        self.cluster.world.pause_stage(blow.node, stage);
        self.resume_at.insert(blow.node, blow.turn + blow.dice.below(turns_max));
    }

    fn make_disk_fail(&mut self, blow: &mut Blow) {
        use Operation::{Allocate, Open, Read, Rename, Sync, SyncDir, Write};
        let operations = [Sync, Sync, Write, Write, Allocate, Open, Read, Rename, SyncDir];
        let operation = pick(&mut blow.dice, &operations);
        let nth = 1 + blow.dice.below(20);
        self.cluster.world.disk(blow.node).fail(operation, nth, io::ErrorKind::Other);
        self.ill.insert(blow.node);
    }

    fn fill_disk(&mut self, blow: &mut Blow) {
        let disk = self.cluster.world.disk(blow.node);
        disk.limit_space(None);
        let free = disk.free_bytes("/".as_ref()).expect("it is there");
        disk.limit_space(Some(UNLIMITED_BYTES - free + blow.dice.below(100_000)));
        self.ill.insert(blow.node);
    }

    /// Bits flip in what the disk gives back, or a read looks in the wrong place. Nothing durable
    /// is lost for good: the promise survives only as many losses as there is a minority of nodes,
    /// and nobody counts here who lost what.
    fn spoil_reads(&mut self, blow: &mut Blow) -> bool {
        let disk = self.cluster.world.disk(blow.node).clone();
        self.ill.insert(blow.node);
        self.rotten.insert(blow.node);
        if blow.kind == FaultKind::MisdirectedRead {
            disk.misdirect_read(Path::new(DATA_DIR), 1 + blow.dice.below(10));
            return true;
        }
        rot(&disk, 8, &mut blow.dice)
    }

    fn upset_clock(&mut self, blow: &mut Blow) {
        let clock = self.cluster.world.clock(blow.node);
        if blow.kind == FaultKind::ClockDrift {
            clock.set_rate_ppm(pick(&mut blow.dice, &[300_000, 900_000, 1_100_000, 4_000_000]));
        } else if blow.kind == FaultKind::ClockStop {
            clock.set_rate_ppm(0);
        } else {
            clock.jump_ms(pick(&mut blow.dice, &[20, 700, 3_000]));
            clock.set_wall_offset_ms(pick(&mut blow.dice, &[-3_600_000, -50, 50, 3_600_000]));
        }
        self.clients.be_patient_with(blow.node, self.cluster.world.now());
    }

    fn hand_over(&self, to: NodeId) -> bool {
        let mut begun = false;
        for group in &self.groups {
            if let Some(leader) = self.cluster.world.leader(*group).filter(|leader| *leader != to) {
                let handle = self.cluster.world.group(leader, *group).expect("it is on");
                let done = self.done.transfers.clone();
                handle.transfer_leadership(Some(to), move |result| done.add(result.is_ok()));
                begun = true;
            }
        }
        begun
    }

    fn compact(&mut self, blow: &mut Blow) -> bool {
        let group = pick(&mut blow.dice, &self.groups);
        let Some(handle) = self.cluster.world.group(blow.node, group) else { return false };
        let newest = self.clients.histories[&group].changes.last_key_value();
        let newest = newest.map_or(0, |(newest, _)| *newest);
        let revision = newest - i64::try_from(blow.dice.below(12)).expect("small");
        if revision <= 1 {
            return false;
        }
        self.watchers.compactions.entry(group).or_default().ask(&handle, revision);
        true
    }
}

/// Flips at most so many bits of a node's files. Whether there are any.
pub(super) fn rot(disk: &MemDisk, bits_max: u64, dice: &mut SplitMix) -> bool {
    let files = disk.files();
    let is_whole = |(path, length): &&(PathBuf, u64)| *length > 0 && path.starts_with(DATA_DIR);
    let files: Vec<&(PathBuf, u64)> = files.iter().filter(is_whole).collect();
    if files.is_empty() {
        return false;
    }
    for _ in 0..1 + dice.below(bits_max) {
        let (path, length) = pick(dice, &files);
        // Near the beginning of a file there is more to hit: segments are made ahead of time.
        let most = pick(dice, &[(*length).min(4096), *length]);
        let mask = 1 << dice.below(8);
        disk.rot(path, dice.below(most), mask);
    }
    true
}

fn dice_of_operator(event: Event) -> SplitMix {
    SplitMix::new(event.dice ^ 0x0be7)
}

/// Whether a kind is done to a process, or to what it does.
fn needs_a_process(kind: FaultKind) -> bool {
    use FaultKind as K;
    matches!(
        kind,
        K::Crash
            | K::Kill
            | K::HangLog
            | K::HangApplier
            | K::HangBulk
            | K::Pause
            | K::BitRot
            | K::MisdirectedRead
    )
}
