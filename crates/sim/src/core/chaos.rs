//! A core world under the faults of a plan, with clients; then mended, and it must come to rest.

use std::fmt;

use env::{Moment, SplitMix};
use raft::{Input, LogIndex, NodeId, ReadMode, Role, Staleness};

use super::machine::any_keyed;
use super::plan::{CHAOS_MS, CoreEvent, CorePlan};
use super::succession::{Later, Succession};
use super::{CoreWorld, GROUP};
use crate::chaos::{FaultKind, Reach, pick};
use crate::picture::{Kind, Recording};
use crate::{Census, Failure};

/// Milliseconds between two looks at everything.
const TURN_MS: u64 = 20;
/// A world and what is done to it.
pub struct CoreChaos {
    pub(super) plan: CorePlan,
    pub(super) world: CoreWorld,
    pub(super) dice: SplitMix,
    /// What will be done, by time in milliseconds.
    pub(super) later: Vec<(u64, Later)>,
    pub(super) resume_at: Vec<(u64, NodeId)>,
    /// A disk is to be lost or set back before then.
    pub(super) spoil_until: Option<(u64, FaultKind)>,
    pub(super) succession: Succession,
    /// When all will be over that had begun before the faults ended.
    pub(super) over_at: Moment,
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
        let (later, resume_at, spoil_until) = (Vec::new(), Vec::new(), None);
        Self {
            plan,
            world,
            dice,
            later,
            resume_at,
            spoil_until,
            succession: Succession::default(),
            over_at: Moment::default(),
            commands: 0,
        }
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
        for node in self.world.nodes() {
            let rate = self.dice.next_u64();
            self.world.drift_within_bounds(node, rate);
        }
        self.world.start_all();
        let mut events = self.plan.events.clone().into_iter().peekable();
        let mut now_ms = 0;
        while now_ms < CHAOS_MS {
            while let Some(event) = events.next_if(|event| event.at_ms <= now_ms) {
                self.perform(event);
            }
            self.do_what_is_due(now_ms);
            self.wake_who_is_due(now_ms);
            self.spoil(now_ms);
            self.elect_the_installed(now_ms);
            self.succeed(now_ms);
            self.clients();
            self.maintain();
            self.world.replace_removed();
            self.world.run_ms(TURN_MS);
            self.world.look_at_leaders();
            now_ms += TURN_MS;
        }
        self.come_to_rest()
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.dice.below(sides.max(1)) == 0
    }

    fn awake(&self) -> Vec<NodeId> {
        self.world.nodes().into_iter().filter(|id| self.world.is_awake(*id)).collect()
    }

    /// Commands go to whoever leads, or to anybody; reads to anybody.
    fn clients(&mut self) {
        let awake = self.awake();
        if awake.is_empty() || self.world.is_quiet() {
            return;
        }
        if self.one_in(self.plan.propose_ms / TURN_MS) {
            let leader = self.world.leader().filter(|_| self.dice.below(4) > 0);
            let leader = leader.filter(|leader| self.world.is_awake(*leader));
            let node = leader.unwrap_or_else(|| pick(&mut self.dice, &awake));
            self.write(node);
        }
        if self.one_in(self.plan.read_ms / TURN_MS) {
            let node = pick(&mut self.dice, &awake);
            // Some clients ask for much at once.
            let count = pick(&mut self.dice, &[1, 1, 1, 6]);
            let reads: Vec<_> =
                (0..count).map(|_| (self.next_name(), self.any_mode(node))).collect();
            self.world.ask_at_once(node, &reads);
        }
        // Where two lead, one of them is deposed and does not know it.
        let is_leader =
            |id: &NodeId| self.world.node(*id).is_some_and(|node| node.role() == Role::Leader);
        let leaders: Vec<NodeId> = awake.into_iter().filter(is_leader).collect();
        if leaders.len() > 1 {
            for node in leaders {
                self.ask(node);
                if self.one_in(3) {
                    self.write(node);
                }
                if self.one_in(16) {
                    let mut dice = SplitMix::new(self.dice.next_u64());
                    self.change_members(node, &mut dice);
                }
            }
        }
    }

    /// A client writes. A refusal is an answer like any other here.
    fn write(&mut self, node: NodeId) {
        let command = format!("c{}", self.next_name());
        if !self.plan.says_what_it_touches {
            let _refused = self.world.propose(node, &command);
            return;
        }
        for _ in 0..=self.dice.below(2) {
            let count = 1 + self.dice.below(3);
            let commands = (0..count).map(|_| any_keyed(&mut self.dice, &command)).collect();
            let _refused = self.world.propose_keyed(node, commands);
            if self.one_in(3) {
                let _refused = self.world.propose(node, &command);
            }
        }
    }

    /// A read of some mode.
    pub(super) fn ask(&mut self, node: NodeId) {
        let mode = self.any_mode(node);
        let name = self.next_name();
        self.world.ask(node, name, mode);
    }

    pub(super) fn next_name(&mut self) -> u64 {
        self.commands += 1;
        self.commands
    }

    fn any_mode(&mut self, node: NodeId) -> ReadMode {
        let has_leases = self.plan.options.node_options.lease_drift_ppm.is_some();
        let is_guarded = self.plan.options.members.lease.is_some();
        match self.dice.below(10) {
            0..3 if has_leases => ReadMode::Lease,
            3..6 if is_guarded => ReadMode::LeaseGuard { checks_limbo: self.one_in(2) },
            6 => ReadMode::Replied,
            7 => {
                let written = self.world.newest_write(node);
                let term = written.map(|entry| entry.term).filter(|_| self.dice.below(4) > 0);
                let index = written.map_or(LogIndex(1), |entry| entry.index);
                ReadMode::AfterWrite { index, term }
            }
            8 => ReadMode::Stale(Staleness {
                at_least: self.world.applied(node),
                lag_entries_max: self.one_in(2).then_some(2),
                silence_ticks_max: self.one_in(2).then_some(100),
            }),
            _ => ReadMode::ReadIndex,
        }
    }

    fn maintain(&mut self) {
        for node in self.world.nodes() {
            let Some(raft) = self.world.node(node) else { continue };
            let log = raft.last().index.0 - raft.mark().index.0;
            if log > self.plan.compact_every && self.world.is_awake(node) && self.one_in(8) {
                self.world.compact(node);
            }
        }
        if self.one_in(25) {
            self.world.repair();
        }
    }

    fn spoil(&mut self, now_ms: u64) {
        let Some((until, kind)) = self.spoil_until else { return };
        if self.world.spoil_disk(kind, &mut self.dice) {
            self.world.meet(kind.name());
            self.spoil_until = None;
        } else if now_ms > until {
            self.spoil_until = None;
        }
    }

    fn wake_who_is_due(&mut self, now_ms: u64) {
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
        (net.shorten_permille, net.only_votes) = (0, false);
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
        self.world.hang_stages(node, false, false);
        self.world.mend_clock(node);
        self.world.falsify_clock(node, 0);
        if self.world.is_awake(node) {
            self.world.ask_on_lease(node);
        }
        if self.world.is_on(node) {
            if !self.world.is_awake(node) && self.dice.below(2) == 0 {
                // R6: a client is there before the clock is looked at.
                self.world.ask_on_lease(node);
                self.ask(node);
            }
            self.world.wake(node);
        }
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
