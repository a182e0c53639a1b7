//! A core world under the faults of a plan, with clients; then mended, and it must come to rest.

use std::fmt;
use std::time::Duration;

use env::SplitMix;
use raft::{Configuration, ConfigurationChange, Input, MemberChange, NodeId};

use super::plan::{CHAOS_MS, CoreEvent, CorePlan};
use super::{CoreWorld, GROUP};
use crate::chaos::{Cuts, FaultKind, Reach, cuts_of, pick};
use crate::picture::{Kind, Recording};
use crate::{Census, Failure};

/// Milliseconds between two looks at everything.
const TURN_MS: u64 = 20;
/// A world and what is done to it.
pub struct CoreChaos {
    pub(super) plan: CorePlan,
    pub(super) world: CoreWorld,
    dice: SplitMix,
    /// Wires that will be cut or mended, by time in milliseconds.
    later: Vec<(u64, bool, Cuts)>,
    resume_at: Vec<(u64, NodeId)>,
    commands: u64,
}

impl fmt::Debug for CoreChaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreChaos").field("world", &self.world).finish_non_exhaustive()
    }
}

impl CoreChaos {
    /// A world whose nodes are off.
    #[must_use]
    pub fn new(plan: CorePlan) -> Self {
        let world = CoreWorld::new(&plan.options);
        let dice = SplitMix::new(plan.options.seed ^ 0xd1ce);
        Self { plan, world, dice, later: Vec::new(), resume_at: Vec::new(), commands: 0 }
    }

    /// The world.
    pub fn world(&mut self) -> &mut CoreWorld {
        &mut self.world
    }

    /// Both phases.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn run(&mut self) -> Result<(), Failure> {
        self.world.start_all();
        let mut events = self.plan.events.clone().into_iter().peekable();
        let mut now_ms = 0;
        while now_ms < CHAOS_MS {
            while let Some(event) = events.next_if(|event| event.at_ms <= now_ms) {
                self.perform(event);
            }
            self.wires(now_ms);
            self.clients();
            self.maintain();
            self.world.replace_removed();
            self.world.run_ms(TURN_MS);
            now_ms += TURN_MS;
        }
        self.come_to_rest()
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.dice.below(sides.max(1)) == 0
    }

    /// Commands go to whoever leads, or to anybody; reads to anybody.
    fn clients(&mut self) {
        let on: Vec<NodeId> =
            self.world.nodes().into_iter().filter(|id| self.world.is_on(*id)).collect();
        if on.is_empty() {
            return;
        }
        if self.one_in(self.plan.propose_ms / TURN_MS) {
            let leader = self.world.leader().filter(|_| self.dice.below(4) > 0);
            let node = leader.unwrap_or_else(|| pick(&mut self.dice, &on));
            self.commands += 1;
            let command = format!("c{}", self.commands);
            // A refusal is an answer like any other here.
            let _refused = self.world.propose(node, &command);
        }
        if self.one_in(self.plan.read_ms / TURN_MS) {
            let node = pick(&mut self.dice, &on);
            self.commands += 1;
            if self.plan.options.node_options.lease_drift_ppm.is_some() && self.one_in(2) {
                self.world.read_lease(node, self.commands);
            } else {
                self.world.read(node, self.commands);
            }
        }
    }

    fn maintain(&mut self) {
        for node in self.world.nodes() {
            let Some(raft) = self.world.node(node) else { continue };
            let log = raft.last().index.0 - raft.mark().index.0;
            if log > self.plan.compact_every && self.one_in(8) {
                self.world.compact(node);
            }
        }
    }

    fn wires(&mut self, now_ms: u64) {
        let later = std::mem::take(&mut self.later);
        for (at, is_cut, cuts) in later {
            if at > now_ms {
                self.later.push((at, is_cut, cuts));
                continue;
            }
            for (from, to) in cuts {
                if is_cut {
                    self.world.net().cut(from, to);
                } else {
                    self.world.net().heal(from, to);
                }
            }
        }
        let due: Vec<NodeId> =
            self.resume_at.iter().filter(|(at, _)| *at <= now_ms).map(|(_, id)| *id).collect();
        self.resume_at.retain(|(at, _)| *at > now_ms);
        for node in due {
            self.mend_node(node);
        }
    }

    fn perform(&mut self, event: CoreEvent) {
        let mut dice = SplitMix::new(event.dice);
        let nodes = self.world.nodes();
        let mut node = pick(&mut dice, &nodes);
        let Some(kind) = event.kind else { return self.mend_something(node, &mut dice) };
        if let Some(leader) = self.world.leader().filter(|_| dice.below(2) == 0) {
            node = leader;
        }
        if !self.inflict(kind, node, event.at_ms, &mut dice) {
            return;
        }
        self.world.meet(kind.name());
        let now = self.world.now();
        let Some(recording) = self.world.recording() else { return };
        let name = kind.name();
        let text = format!("{name} (event {})", event.number);
        recording.note(now, (node, GROUP), Kind::Fault, text);
        match kind.reach() {
            Reach::Moment => {}
            Reach::Net => recording.shade(now, &format!("net {name}"), &[], name),
            Reach::Node | Reach::Disk => {
                recording.shade(now, &format!("n{node} {name}"), &[node], name);
            }
        }
    }

    /// Returns whether it could be done.
    fn inflict(&mut self, kind: FaultKind, node: NodeId, at_ms: u64, dice: &mut SplitMix) -> bool {
        let nodes: Vec<u64> = self.world.nodes().iter().map(|node| node.0).collect();
        let is_on = self.world.is_on(node);
        let cuts = cuts_of(kind, &nodes, node.0, dice);
        if !cuts.is_empty() {
            let times = if kind == FaultKind::Flap { 6 } else { 1 };
            for half in 0..times {
                self.later.push((at_ms + half * 500, half % 2 == 0, cuts.clone()));
            }
            return true;
        }
        if matches!(kind, FaultKind::Transfer | FaultKind::StepDown | FaultKind::Members) {
            return self.ask_the_leader(kind, dice);
        }
        if matches!(kind, FaultKind::ClockDrift | FaultKind::ClockJump | FaultKind::ClockStop) {
            self.upset_clock(kind, node, dice);
        } else if kind == FaultKind::CrashAll {
            return self.crash_all();
        } else if kind == FaultKind::Swizzle {
            self.swizzle(&nodes, at_ms, dice);
        } else if kind == FaultKind::SlowDisk {
            let most = Duration::from_millis(pick(dice, &[200, 900]));
            self.world.set_write_time(most / 4, most);
        } else if is_on {
            return self.inflict_on(kind, node, at_ms, dice);
        } else {
            return false;
        }
        true
    }

    /// What happens to a node that is on, or to the network around it.
    fn inflict_on(
        &mut self,
        kind: FaultKind,
        node: NodeId,
        at_ms: u64,
        dice: &mut SplitMix,
    ) -> bool {
        if kind == FaultKind::Crash {
            self.world.crash(node);
            self.tell_the_others(node, dice);
        } else if kind == FaultKind::HangLog {
            self.world.hang_disk(node);
            self.resume_at.push((at_ms + dice.below(6000), node));
        } else if kind == FaultKind::PauseElections {
            self.world.hand(node, Input::PauseElections(true));
            self.resume_at.push((at_ms + dice.below(6000), node));
        } else if kind == FaultKind::Compact {
            self.world.compact(node);
        } else {
            return self.worsen(kind, node, dice);
        }
        true
    }

    fn crash_all(&mut self) -> bool {
        let on: Vec<NodeId> =
            self.world.nodes().into_iter().filter(|id| self.world.is_on(*id)).collect();
        on.iter().for_each(|node| self.world.crash(*node));
        !on.is_empty()
    }

    /// One node after the other is cut off; they come back in another order.
    fn swizzle(&mut self, nodes: &[u64], at_ms: u64, dice: &mut SplitMix) {
        for node in nodes {
            if dice.below(3) == 0 {
                continue;
            }
            let cuts = cuts_of(FaultKind::Isolate, nodes, *node, dice);
            let cut_at = at_ms + dice.below(500);
            let heal_at = cut_at + 500 + dice.below(1000);
            self.later.push((cut_at, true, cuts.clone()));
            self.later.push((heal_at, false, cuts));
        }
    }

    /// What makes the network worse without a shape.
    fn worsen(&mut self, kind: FaultKind, node: NodeId, dice: &mut SplitMix) -> bool {
        let permille = dice.below(300);
        let now = self.world.now();
        let nodes = self.world.nodes();
        let net = self.world.net();
        if kind == FaultKind::Loss {
            net.loss_permille = permille;
        } else if kind == FaultKind::Duplicate {
            net.duplicate_permille = permille;
        } else if kind == FaultKind::Reorder {
            net.reorder_permille = permille;
        } else if kind == FaultKind::Replay {
            net.replay_permille = permille;
        } else if kind == FaultKind::Delay {
            let most = Duration::from_millis(pick(dice, &[5, 100, 700]));
            net.delay = (Duration::from_micros(200), most);
        } else if kind == FaultKind::Clog {
            let until = now.after(Duration::from_millis(dice.below(3000)));
            net.clog(node.0, pick(dice, &nodes).0, until);
        } else {
            return false;
        }
        true
    }

    fn upset_clock(&mut self, kind: FaultKind, node: NodeId, dice: &mut SplitMix) {
        let clock = self.world.clock_of(node);
        if kind == FaultKind::ClockDrift {
            clock.set_rate_ppm(pick(dice, &[200_000, 900_000, 1_100_000, 5_000_000]));
        } else if kind == FaultKind::ClockStop {
            clock.set_rate_ppm(0);
        } else {
            clock.jump_ms(pick(dice, &[20, 700, 3_000]));
        }
        self.world.clock_was_set(node);
    }

    /// Some hosts notice that a node is gone.
    fn tell_the_others(&mut self, lost: NodeId, dice: &mut SplitMix) {
        for other in self.world.nodes() {
            if self.world.is_on(other) && dice.below(2) == 0 {
                self.world.hand(other, Input::PeerLost(lost));
            }
        }
    }

    fn ask_the_leader(&mut self, kind: FaultKind, dice: &mut SplitMix) -> bool {
        let Some(leader) = self.world.leader() else { return false };
        if kind == FaultKind::StepDown {
            self.world.hand(leader, Input::StepDown);
            return true;
        }
        let nodes = self.world.nodes();
        if kind == FaultKind::Transfer {
            let to = (dice.below(2) == 0).then(|| pick(dice, &nodes));
            return self.world.transfer(leader, to).is_ok();
        }
        let configuration = self.world.node(leader).expect("it leads").configuration().clone();
        let change = any_change(&configuration, &nodes, dice);
        self.world.change(leader, &change).is_ok()
    }

    fn mend_something(&mut self, node: NodeId, dice: &mut SplitMix) {
        match dice.below(4) {
            0 => self.mend_net(),
            1 => self.mend_node(node),
            _ if !self.world.is_on(node) => {
                let tail = if dice.below(2) == 0 { usize::MAX } else { 3 };
                self.world.start_with_tail(node, tail);
            }
            _ => {}
        }
    }

    pub(super) fn mend_net(&mut self) {
        self.later.clear();
        let delay = self.plan.options.delay;
        let net = self.world.net();
        net.heal_all();
        (net.loss_permille, net.duplicate_permille) = (0, 0);
        (net.reorder_permille, net.replay_permille) = (0, 0);
        net.delay = delay;
        self.world.light_net();
    }

    pub(super) fn mend_node(&mut self, node: NodeId) {
        if !self.world.nodes().contains(&node) {
            return;
        }
        let (min, max) = self.plan.options.write_time;
        self.world.set_write_time(min, max);
        self.world.mend_disk(node);
        self.world.clock_of(node).mend();
        self.world.clock_was_set(node);
        if self.world.is_on(node) {
            self.world.hand(node, Input::PauseElections(false));
        }
        self.world.light(node, "");
    }

    /// Keeps what a picture is drawn from.
    pub fn record(&mut self, recording: Recording) {
        self.world.record(recording);
    }

    /// What was met.
    #[must_use]
    pub fn census(&self) -> &Census {
        self.world.census()
    }
}

/// Any change, sensible or not.
fn any_change(
    configuration: &Configuration,
    nodes: &[NodeId],
    dice: &mut SplitMix,
) -> ConfigurationChange {
    let mut members = Vec::new();
    for node in nodes.iter().copied() {
        if dice.below(2) == 0 {
            continue;
        }
        let is_voter = configuration.voters.contains(&node);
        let is_learner = configuration.learners.contains(&node);
        members.push(match (is_voter, is_learner, dice.below(3)) {
            (true, _, 0) => MemberChange::Demote(node),
            (false, true, 0 | 1) => MemberChange::Promote(node),
            (true, ..) | (_, true, _) => MemberChange::Remove(node),
            (false, false, 0) => MemberChange::AddLearner(node),
            (false, false, _) => MemberChange::AddVoter(node),
        });
    }
    let allow_stall = dice.below(2) == 0;
    ConfigurationChange { allow_stall, ..ConfigurationChange::of(members) }
}
