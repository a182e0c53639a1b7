//! Whole clusters of stores under faults of every kind, with clients and watchers that are checked.
//!
//! Two phases, as FoundationDB's and TigerBeetle's simulators have them: first anything may happen,
//! and nothing wrong may be seen; then everything is mended, and the cluster must be well within a
//! bounded time.

mod end;
mod fault;
mod inflict;
mod mend;
mod plan;
mod shapes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use env::{Disk, SplitMix};
use host::GroupId;
use raft::{EntryId, NodeId};
use store::StoreMachine;

use crate::census::Census;
use crate::clients::Clients;
use crate::stores::Cluster;
use crate::watchers::Watchers;
use crate::{Failure, Trace, World};

pub(crate) use fault::Reach;
pub use fault::{CORE_FAULTS, FaultKind, HOST_FAULTS};
pub use plan::{Deed, Event, Plan, TURNS, pick};
pub use shapes::{Cuts, cuts_of};

/// Twenty election timeouts; a transfer that was cut off may take long to notice.
const MENDED_WITHIN: Duration = Duration::from_secs(20);

/// States are compared about once in so many turns: to hash one is to read all of it.
const COMPARED_EVERY: u64 = 8;

/// Meetings that a long run must have had, beside every kind of fault.
pub const HOST_SOMETIMES: &[&str] = &[
    A_SNAPSHOT,
    A_COMPACTED_WATCHER,
    A_BOOKMARK,
    A_DEAD_DISK,
    NO_START,
    DONE,
    FAILED,
    UNKNOWN,
    A_LEADER_CRASHED,
    ALL_CRASHED,
];
const A_SNAPSHOT: &str = "sometimes: a node catches up by snapshot";
const A_COMPACTED_WATCHER: &str = "sometimes: a watcher is told of a compaction";
const A_BOOKMARK: &str = "sometimes: a watcher is told how far it is";
const A_DEAD_DISK: &str = "sometimes: a disk ends a node";
const NO_START: &str = "sometimes: a node does not start from its disk";
const DONE: &str = "sometimes: an operation is done";
const FAILED: &str = "sometimes: an operation has definitely failed";
const UNKNOWN: &str = "sometimes: an outcome is unknown";
const A_LEADER_CRASHED: &str = "sometimes: a leader crashes";
const ALL_CRASHED: &str = "sometimes: all nodes are off";

/// A cluster, what is done to it, and all who look on.
pub struct Chaos {
    plan: Plan,
    cluster: Cluster,
    dice: SplitMix,
    groups: Vec<GroupId>,
    clients: Clients,
    watchers: Watchers,
    /// The state at each applied index, and the first node that was seen there.
    hashes: BTreeMap<(GroupId, EntryId), (u64, NodeId)>,
    /// Where each replica was compared last.
    compared: BTreeMap<(NodeId, GroupId), EntryId>,
    /// Nodes whose disk was given a fault since they were last mended.
    ill: BTreeSet<NodeId>,
    /// Nodes whose rotten bits must be mended before they start: recovery could take them for the
    /// end of the log, which a crash may have left half written, and cut it.
    rotten: BTreeSet<NodeId>,
    /// Lives whose end by a fault of the disk was judged.
    mourned: BTreeSet<(NodeId, u64)>,
    /// When to end the present stop of a node.
    resume_at: BTreeMap<NodeId, u64>,
    /// Wires that will be cut or mended, by turn.
    later: Vec<(u64, Wire)>,
    /// Until this turn a node that has received a whole snapshot is to crash.
    crash_installing_before: u64,
    /// Who must be well at present.
    core: Vec<NodeId>,
    census: Census,
}

/// What will happen to wires.
#[derive(Clone, Debug)]
enum Wire {
    Cut(Cuts),
    Heal(Cuts),
}

impl fmt::Debug for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chaos").field("seed", &self.plan.seed).finish_non_exhaustive()
    }
}

impl Chaos {
    /// A cluster that is off.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let cluster = Cluster::new(plan.options.clone(), plan.group_count);
        let groups: Vec<GroupId> = (1..=plan.group_count).map(GroupId).collect();
        Self {
            clients: Clients::new(8 * groups.len(), &groups, plan.turns_per_request),
            dice: SplitMix::new(plan.seed ^ 0xd1ce),
            cluster,
            groups,
            watchers: Watchers::default(),
            hashes: BTreeMap::new(),
            compared: BTreeMap::new(),
            ill: BTreeSet::new(),
            rotten: BTreeSet::new(),
            mourned: BTreeSet::new(),
            resume_at: BTreeMap::new(),
            later: Vec::new(),
            crash_installing_before: 0,
            core: Vec::new(),
            census: Census::default(),
            plan,
        }
    }

    /// The cluster.
    pub fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// What happened, as a number and the newest lines.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        self.cluster.world.trace()
    }

    /// What was met.
    #[must_use]
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// Operations and changes whose order was checked.
    #[must_use]
    pub fn checked_count(&self) -> u64 {
        let histories = self.clients.histories.values();
        let operations: usize = histories.map(|history| history.operations.len()).sum();
        operations as u64 + self.watchers.changes_checked
    }

    /// Both phases.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn run(&mut self) -> Result<(), Failure> {
        let nodes = self.cluster.world.nodes();
        let late = nodes.last().copied().filter(|_| self.plan.one_is_late);
        for node in nodes.into_iter().filter(|node| Some(*node) != late) {
            self.start_or_say(node)?;
        }
        let mut events = self.plan.events.clone().into_iter().peekable();
        for turn in 0..TURNS {
            while let Some(event) = events.next_if(|event| event.turn <= turn) {
                self.perform(event)?;
            }
            self.turn(turn)?;
        }
        // A majority must manage without the others, and then all must be well.
        let nodes = self.cluster.world.nodes();
        let mut turn = TURNS;
        if self.dice.below(2) == 0 && nodes.len() > 2 {
            let core = self.choose_core(&nodes);
            turn = self.get_well(turn, core)?;
        }
        self.get_well(turn, nodes)?;
        self.check_end()
    }

    /// Mends what concerns these nodes, and waits until they are well. Returns the turn.
    fn get_well(&mut self, mut turn: u64, core: Vec<NodeId>) -> Result<u64, Failure> {
        self.core = core;
        self.mend_all();
        let end = self.cluster.world.now().after(MENDED_WITHIN);
        while !self.is_well()? {
            self.turn(turn)?;
            turn += 1;
            let now = self.cluster.world.now();
            Failure::unless(now < end, "a cluster that is mended gets well", || self.picture())?;
        }
        Ok(turn)
    }

    /// A random majority; the others stay off until it is well.
    fn choose_core(&mut self, nodes: &[NodeId]) -> Vec<NodeId> {
        let mut core = nodes.to_vec();
        while core.len() > nodes.len() / 2 + 1 {
            let place = self.dice.below(core.len() as u64);
            core.remove(usize::try_from(place).expect("small"));
        }
        for node in nodes.iter().filter(|node| !core.contains(node)) {
            if self.cluster.world.is_on(*node) {
                self.cluster.world.crash(*node);
            }
        }
        core
    }

    fn turn(&mut self, turn: u64) -> Result<(), Failure> {
        let length = Duration::from_micros(2_000 + self.dice.below(16_000));
        if turn < self.crash_installing_before {
            self.run_to_a_staged_snapshot(length);
        } else {
            self.cluster.world.run_for(length);
        }
        let due: Vec<NodeId> =
            self.resume_at.iter().filter(|(_, at)| **at <= turn).map(|(id, _)| *id).collect();
        for node in due {
            self.resume(node);
        }
        self.wires(turn);
        self.look_for_the_dead()?;
        self.clients.listen(&self.cluster.world)?;
        let (world, cluster) = (&self.cluster.world, &self.cluster);
        let store = |node, group| cluster.store_of(node, group);
        if turn < TURNS {
            self.clients.ask(world, &mut self.dice, store);
        }
        let histories = &mut self.clients.histories;
        self.watchers.look(world, &mut self.dice, histories, store)?;
        if self.dice.below(COMPARED_EVERY) == 0 {
            self.compare_states()?;
        }
        Ok(())
    }

    /// Wires that are due.
    fn wires(&mut self, turn: u64) {
        let (due, later) =
            std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= turn);
        self.later = later;
        let due: Vec<(u64, Wire)> = due;
        let net = self.cluster.world.net();
        for (_, wire) in due {
            match wire {
                Wire::Cut(cuts) => cuts.iter().for_each(|(from, to)| net.cut_one_way(*from, *to)),
                Wire::Heal(cuts) => cuts.iter().for_each(|(from, to)| net.heal(*from, *to)),
            }
        }
    }

    /// A node dies by itself only if its disk was made to fail.
    fn look_for_the_dead(&mut self) -> Result<(), Failure> {
        let nodes = self.cluster.world.nodes();
        if nodes.iter().all(|node| !self.cluster.world.is_on(*node)) {
            self.census.meet(ALL_CRASHED);
        }
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
    fn compare_states(&mut self) -> Result<(), Failure> {
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
    }

    /// Runs for so long, or until a node has received a whole snapshot: that one crashes. The
    /// moment is a short one, and only a look after every event meets it.
    fn run_to_a_staged_snapshot(&mut self, length: Duration) {
        let has_whole = |world: &World<StoreMachine>, node: &NodeId| {
            let staged = world.disk(*node).list("/data/staging".as_ref());
            let is_there = |names: Vec<String>| names.iter().any(|name| name.ends_with("shot"));
            world.is_on(*node) && staged.is_ok_and(is_there)
        };
        let nodes = self.cluster.world.nodes();
        let world = &mut self.cluster.world;
        world.run_until(length, |world| nodes.iter().any(|node| has_whole(world, node)));
        let node = nodes.into_iter().find(|node| has_whole(&self.cluster.world, node));
        if let Some(node) = node {
            self.crash_installing_before = 0;
            self.crash(node);
            self.census.meet(FaultKind::CrashInstalling.name());
        }
    }

    fn picture(&self) -> String {
        let world = &self.cluster.world;
        let mut lines = vec![format!("waiting clients: {}", self.clients.waiting_count())];
        for node in world.nodes() {
            for group in &self.groups {
                let status = world.group(node, *group).map(|group| group.status());
                lines.push(format!("n{node} {group:?} {status:?}"));
            }
        }
        lines.join("\n")
    }
}
