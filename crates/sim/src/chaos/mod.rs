//! Whole clusters of stores under faults of every kind, with clients and watchers that are checked.
//!
//! Two phases, as FoundationDB's and TigerBeetle's simulators have them: first anything may happen,
//! and nothing wrong may be seen; then everything is mended, and the cluster must be well within a
//! bounded time.

mod effects;
mod end;
mod fault;
mod inflict;
mod look;
mod mend;
mod operator;
mod phase_two;
mod plan;
mod shapes;
mod slow;
mod spoil;
mod upgrades;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use env::SplitMix;
use host::GroupId;
use raft::{EntryId, NodeId};

use crate::census::Census;
use crate::clients::Clients;
use crate::leases::Leases;
use crate::stores::Cluster;
use crate::watchers::Watchers;
use crate::{Failure, Trace};

use effects::Done;
use operator::Operator;
use slow::SlowDisk;
use spoil::{Spoiled, Wanted};

pub use effects::HOST_EFFECTS;
pub(crate) use fault::Reach;
pub use fault::{CORE_FAULTS, FaultKind, HOST_FAULTS};
pub use plan::{Deed, Event, Plan, TURNS, pick};
pub use shapes::{Cuts, cuts_of};

/// States are compared about once in so many turns: to hash one is to read all of it.
const COMPARED_EVERY: u64 = 20;

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
    A_MEMBER_ADDED,
    A_PROMOTION,
    A_REPLACEMENT,
    A_REMOVAL,
    A_MOVE,
    A_REMOVED_NODE_ENDS,
    LOSS_SEEN_AT_START,
    LOSS_SEEN_BY_GROUP,
    A_WRITE_WENT_ASTRAY,
    A_RENEWAL,
    AN_EXPIRY,
    ENTRIES_DOWN,
    ENTRIES_UP,
    AN_OLD_ERRAND_DONE,
    ERRAND_OF_AN_OLD_LEADER,
    A_CALL,
    A_CALL_FAILED,
    A_CALL_UNKNOWN,
    A_LEARNER_REFUSES,
    A_WATCHER_OF_THE_API,
    A_ROTTEN_START,
    ROT_ENDS_A_START,
    A_CORE,
];
const A_CORE: &str = "sometimes: a majority gets well without the others";
const A_ROTTEN_START: &str = "sometimes: a node starts from a rotten disk";
const ROT_ENDS_A_START: &str = "sometimes: a rotten disk ends a start";
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
const A_MEMBER_ADDED: &str = "sometimes: a member is added";
const A_PROMOTION: &str = "sometimes: a learner is promoted";
const A_REPLACEMENT: &str = "sometimes: a member is replaced";
const A_REMOVAL: &str = "sometimes: a member is removed";
const A_MOVE: &str = "sometimes: a member moves";
const A_REMOVED_NODE_ENDS: &str = "sometimes: a removed node ends by itself";
const LOSS_SEEN_AT_START: &str = "sometimes: the others know at its start that a disk is lost";
const LOSS_SEEN_BY_GROUP: &str = "sometimes: a group tells a node that its disk is lost";
const A_RENEWAL: &str = "sometimes: a lease is kept alive";
const AN_EXPIRY: &str = "sometimes: a lease expires";
const ENTRIES_DOWN: &str = "sometimes: a leader replicates to a follower of the version before";
const ENTRIES_UP: &str = "sometimes: a leader of the version before replicates to an upgraded one";
const AN_OLD_ERRAND_DONE: &str = "sometimes: an errand of the version before is answered";
const ERRAND_OF_AN_OLD_LEADER: &str = "sometimes: an errand to a leader of the version before";
const A_CALL: &str = "sometimes: a call of the API is answered";
const A_CALL_FAILED: &str = "sometimes: a call of the API has definitely failed";
const A_CALL_UNKNOWN: &str = "sometimes: the outcome of a call of the API is unknown";
const A_LEARNER_REFUSES: &str = "sometimes: a learner refuses a call of the API";
const A_WATCHER_OF_THE_API: &str = "sometimes: the API tells a watcher something";
const A_WRITE_WENT_ASTRAY: &str = "sometimes: a disk is given up behind a misdirected write";

/// A cluster, what is done to it, and all who look on.
pub struct Chaos {
    plan: Plan,
    cluster: Cluster,
    dice: SplitMix,
    groups: Vec<GroupId>,
    clients: Clients,
    watchers: Watchers,
    leases: Leases,
    /// The state at each applied index, and the first node that was seen there.
    hashes: BTreeMap<(GroupId, EntryId), (u64, NodeId)>,
    /// Where each replica was compared last.
    compared: BTreeMap<(NodeId, GroupId), EntryId>,
    /// Nodes whose disk was given a fault since they were last mended.
    ill: BTreeSet<NodeId>,
    /// Who changes the members.
    operator: Operator,
    /// The disk that is lost, or has a write in the wrong place: one at a time.
    spoiled: Option<Spoiled>,
    wanted: Option<Wanted>,
    /// Nodes whose rotten bits must be mended before they start: recovery could take them for the
    /// end of the log, which a crash may have left half written, and cut it.
    rotten: BTreeSet<NodeId>,
    /// Lives whose end by a fault of the disk was judged.
    mourned: BTreeSet<(NodeId, u64)>,
    /// When to end the present stop of a node.
    resume_at: BTreeMap<NodeId, u64>,
    /// Disks that take their time.
    slow: BTreeMap<NodeId, SlowDisk>,
    /// What was done of what faults asked for.
    done: Done,
    /// Wires that will be cut or mended, by turn.
    later: Vec<(u64, Wire)>,
    /// Until this turn a node that has received a whole snapshot is to crash.
    crash_installing_before: u64,
    /// Who must be well at present; all if nobody is named.
    core: Option<Vec<NodeId>>,
    /// How far each log went when they owed nobody an answer any more, where it never rests.
    goals: BTreeMap<GroupId, raft::LogIndex>,
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
        let net = cluster.world.net();
        net.set_latency(plan.latency);
        for ((from, to), way) in &plan.long_ways {
            net.set_long_way(*from, *to, *way);
        }
        Self {
            clients: Clients::new(8 * groups.len(), &groups, plan.turns_per_request),
            dice: SplitMix::new(plan.seed ^ 0xd1ce),
            cluster,
            groups,
            watchers: Watchers::default(),
            leases: Leases::new(plan.clocks_are_true()),
            hashes: BTreeMap::new(),
            compared: BTreeMap::new(),
            ill: BTreeSet::new(),
            rotten: BTreeSet::new(),
            operator: Operator::new(plan.options.node_count),
            spoiled: None,
            wanted: None,
            mourned: BTreeSet::new(),
            resume_at: BTreeMap::new(),
            slow: BTreeMap::new(),
            done: Done::default(),
            later: Vec::new(),
            crash_installing_before: 0,
            core: None,
            goals: BTreeMap::new(),
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
        self.install_programs();
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
        let mut turn = TURNS;
        if self.dice.below(2) == 0
            && let Some(voters) = self.settled_voters().filter(|voters| voters.len() > 2)
        {
            let core = self.choose_core(&voters);
            turn = self.get_well(turn, Some(core))?;
        }
        turn = self.get_well(turn, None)?;
        turn = self.serve_everybody(turn)?;
        turn = self.get_well(turn, None)?;
        if let Some(time) = self.leases.end_takes() {
            turn = self.outlive_leases(turn, time)?;
            self.get_well(turn, None)?;
        }
        self.check_end()
    }

    fn turn(&mut self, turn: u64) -> Result<(), Failure> {
        let length = Duration::from_micros(2_000 + self.dice.below(16_000));
        if turn < self.crash_installing_before {
            self.run_to_a_staged_snapshot(length);
        } else {
            let clients = &mut self.clients;
            self.cluster.world.run_until(length, |world| {
                clients.work(world);
                false
            });
        }
        let due: Vec<NodeId> =
            self.resume_at.iter().filter(|(_, at)| **at <= turn).map(|(id, _)| *id).collect();
        for node in due {
            self.resume(node);
        }
        self.wait_for_slow_disks(turn);
        self.wires(turn);
        self.look_for_the_dead()?;
        self.spoil_a_disk(turn)?;
        self.work_on_members(turn)?;
        let compactions = &self.watchers.compactions;
        self.clients.listen(&self.cluster.world, &self.ill, compactions)?;
        let (world, cluster) = (&self.cluster.world, &self.cluster);
        let store = |node, group| cluster.store_of(node, group);
        if turn < TURNS {
            self.clients.ask(cluster, &mut self.dice);
        }
        if self.plan.has_leases {
            self.leases.look(world, &self.groups, store)?;
            if turn < TURNS {
                self.leases.ask(world, &mut self.dice, &self.groups);
            }
        }
        let histories = &mut self.clients.histories;
        self.watchers.look(cluster, &mut self.dice, histories, &self.ill)?;
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
