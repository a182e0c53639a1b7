//! Groups of the protocol's nodes alone: no hosts, no bytes, only `raft::Node` with a disk, a clock
//! and a network that are values. Such a world is a thousand times faster than time, and shows a
//! story of the protocol without anything around it.
//!
//! After every step of every node all invariants are checked, the disks included.

mod chaos;
mod deeds;
mod member;
mod net;
mod plan;
mod rest;
mod sometimes;
mod step;
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use env::mem::{NodeClock, VirtualClock};
use env::{Clock, Moment, SplitMix};
use raft::invariants::Cluster as Checker;
use raft::{Configuration, EntryId, LogIndex, Node, NodeId, Options, Role, SnapshotMark, Term};

use crate::census::Census;
use crate::picture::Recording;
use crate::{Failure, Trace};
use member::Member;
use step::Happening;

pub use chaos::CoreChaos;
pub use net::CoreNet;
pub use plan::{CHAOS_MS, CoreEvent, CorePlan};
pub use sometimes::CORE_SOMETIMES;

/// The group of every core world.
pub const GROUP: u64 = 1;

/// How a core world is made.
#[derive(Clone, Debug)]
pub struct CoreOptions {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Nodes, named from 1.
    pub node_count: u64,
    /// The first members; the other nodes wait to be added.
    pub members: Configuration,
    /// What every node is made with; its id and seed are set by the world.
    pub node_options: Options,
    /// How long a message takes.
    pub delay: (Duration, Duration),
    /// How long a write takes.
    pub write_time: (Duration, Duration),
    /// Lines of the trace that are kept as text.
    pub trace_lines_max: usize,
}

impl CoreOptions {
    /// Voters with the times of the paper (§9.3): elections after 150 to 300 ms.
    #[must_use]
    pub fn new(seed: u64, node_count: u64) -> Self {
        let node_options = Options {
            election_timeout_ticks: 150,
            heartbeat_interval_ticks: 50,
            log_tail_kept: 0,
            record_events: true,
            ..Options::new(NodeId(1), seed)
        };
        Self {
            seed,
            node_count,
            members: Configuration::of_voters((1..=node_count).map(NodeId)),
            node_options,
            delay: (Duration::from_millis(8), Duration::from_millis(12)),
            write_time: (Duration::from_millis(2), Duration::from_millis(3)),
            trace_lines_max: 60,
        }
    }
}

/// What the disk and the client see of each read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreRead {
    /// What was committed when it was asked for.
    pub floor: LogIndex,
    /// The answer; `None` so far.
    pub answer: Option<Option<LogIndex>>,
}

/// A group of nodes.
pub struct CoreWorld {
    clock: VirtualClock,
    dice: SplitMix,
    members: BTreeMap<NodeId, Member>,
    net: CoreNet,
    write_time: (Duration, Duration),
    queue: BTreeMap<(Moment, u64), Happening>,
    sequence: u64,
    checker: Checker,
    commits: BTreeMap<NodeId, (Term, LogIndex)>,
    /// The largest index that any node ever knew to be committed.
    committed_max: LogIndex,
    /// The state after each index, by whoever was there first.
    states: BTreeMap<LogIndex, u64>,
    reads: BTreeMap<(NodeId, u64), CoreRead>,
    reads_answered: u64,
    /// Commands that were placed in a log, by node, and whether that node has applied them.
    proposed: BTreeSet<(NodeId, EntryId)>,
    /// Nodes that have learned of their removal: they are never started again.
    removed: BTreeSet<NodeId>,
    acknowledged: u64,
    steps: u64,
    /// Who campaigned last in each term.
    candidates: BTreeMap<Term, NodeId>,
    census: Census,
    trace: Trace,
    recording: Option<Recording>,
    broken: Option<Failure>,
}

impl fmt::Debug for CoreWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreWorld").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl CoreWorld {
    /// A world whose nodes are off.
    #[must_use]
    pub fn new(options: &CoreOptions) -> Self {
        let clock = VirtualClock::new();
        let members = (1..=options.node_count).map(|id| {
            let id = NodeId(id);
            let own = Options {
                id,
                seed: options.seed.wrapping_mul(0x9e37).wrapping_add(id.0),
                ..options.node_options.clone()
            };
            let is_member = options.members.contains(id);
            let configuration =
                if is_member { options.members.clone() } else { Configuration::default() };
            let mark = SnapshotMark { configuration, ..SnapshotMark::default() };
            (id, Member::new(own, mark, NodeClock::new(clock.clone())))
        });
        Self {
            members: members.collect(),
            dice: SplitMix::new(options.seed ^ 0xc07e),
            net: CoreNet::new(options.delay),
            write_time: options.write_time,
            queue: BTreeMap::new(),
            sequence: 0,
            checker: Checker::default(),
            commits: BTreeMap::new(),
            committed_max: LogIndex(0),
            states: BTreeMap::new(),
            reads: BTreeMap::new(),
            reads_answered: 0,
            proposed: BTreeSet::new(),
            removed: BTreeSet::new(),
            acknowledged: 0,
            steps: 0,
            candidates: BTreeMap::new(),
            census: Census::default(),
            trace: Trace::new(options.trace_lines_max),
            recording: None,
            broken: None,
            clock,
        }
    }

    /// Keeps from now on what a picture is drawn from.
    pub fn record(&mut self, recording: Recording) {
        self.recording = Some(recording);
    }

    /// What was kept.
    pub fn recording(&mut self) -> Option<&mut Recording> {
        self.recording.as_mut()
    }

    /// The world's time.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// All nodes, on or off.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// A node; `None` while it is off.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.members[&id].node.as_ref()
    }

    /// Whether a node runs.
    #[must_use]
    pub fn is_on(&self, id: NodeId) -> bool {
        self.members[&id].node.is_some()
    }

    /// The leader of the highest term.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let on = self.members.values().filter_map(|member| member.node.as_ref());
        on.filter(|node| node.role() == Role::Leader).max_by_key(|node| node.term()).map(Node::id)
    }

    /// The network.
    pub fn net(&mut self) -> &mut CoreNet {
        &mut self.net
    }

    /// A node's clock, to be set wrong.
    #[must_use]
    pub fn clock_of(&self, id: NodeId) -> &NodeClock {
        &self.members[&id].clock
    }

    /// What happened.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What was met.
    #[must_use]
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// Steps of nodes, each with all invariants checked behind it.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Commands and reads that were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.acknowledged + self.reads_answered
    }

    /// The first property that did not hold.
    #[must_use]
    pub fn broken(&self) -> Option<&Failure> {
        self.broken.as_ref()
    }

    fn member(&mut self, id: NodeId) -> &mut Member {
        self.members.get_mut(&id).expect("a node of this world")
    }
}
