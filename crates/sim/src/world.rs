//! The world: nodes, clocks, network and dice. `run` is the one loop that runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use env::mem::{DiskCounts, MemDisk, MemNet, NodeClock, VirtualClock};
use env::{Clock, Disk, Moment, SplitMix};
use host::{Fatal, GroupHandle, GroupId, Observer, Role, Stage, StateMachine};
use raft::invariants::Cluster;
use raft::{LogIndex, NodeId, ReadMode};

use self::life::SimNode;
use crate::picture::Recording;
use crate::{Failure, Trace};

mod bearing;
mod calls;
mod disks;
mod ends;
mod life;
mod names;
mod quorums;
mod run;
mod versions;
mod word;

pub use ends::Ending;
pub(crate) use life::CLUSTER_ID;
pub use life::NoStart;
pub use names::address_of;
pub(crate) use names::attributes_at;
pub(crate) use versions::{Crossings, VERSION_BEFORE};

/// Makes the state machines of a node from what its disk holds, one for each group.
pub type Machines<S> =
    Box<dyn Fn(NodeId, Arc<dyn Disk>, Arc<dyn Clock>) -> io::Result<Vec<(GroupId, S)>>>;

/// Makes, for each life of a node, whom its host tells who leads.
pub type Observers = Box<dyn Fn(NodeId) -> Observer>;

/// How a world is made.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Voters of every group, named from 1.
    pub node_count: u64,
    /// Size of a segment of the log.
    pub segment_bytes: u32,
    /// Entries after which a node flushes its state and cuts its log.
    pub snapshot_entry_count: u64,
    /// Entries kept behind a cut.
    pub log_tail_entry_count: u64,
    /// Bytes of the newest entries that a node keeps in memory, and reads when it starts.
    pub log_cache_bytes_max: usize,
    /// Bytes of a snapshot in one frame.
    pub snapshot_chunk_bytes: u32,
    /// Threads' worth of workers that a node's groups are shared out to.
    pub worker_count: usize,
    /// The shortest time without a leader after which a follower campaigns; a leader's heartbeat
    /// comes ten times as often.
    pub election_timeout_ms: u64,
    /// A group that was asked for nothing for so long rests.
    pub quiesce_after_ms: Option<u64>,
    /// What a linearizable read rests on. With leases the group has the terms for it from the
    /// beginning, as long as an election timeout.
    pub reads: ReadMode,
    /// Events kept as text.
    pub trace_lines_max: usize,
}

impl WorldOptions {
    /// Three nodes with small logs, so that a short run meets every turn.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            node_count: 3,
            segment_bytes: 64 << 10,
            snapshot_entry_count: 200,
            log_tail_entry_count: 50,
            log_cache_bytes_max: 64 << 10,
            snapshot_chunk_bytes: 4 << 10,
            worker_count: 1,
            election_timeout_ms: 1000,
            quiesce_after_ms: None,
            reads: ReadMode::ReadIndex,
            trace_lines_max: 200,
        }
    }
}

/// A cluster in one thread.
pub struct World<S: StateMachine> {
    options: WorldOptions,
    clock: VirtualClock,
    net: MemNet,
    dice: SplitMix,
    nodes: BTreeMap<NodeId, SimNode<S>>,
    machines: Machines<S>,
    observers: Observers,
    /// Stages that do not run, although they have work: a disk that does not answer, a process that
    /// is stopped.
    paused: BTreeSet<(NodeId, Stage)>,
    /// What has just run.
    stepped: Option<(NodeId, Stage)>,
    /// What was ever seen of each group, for the properties of Raft that span nodes.
    seen: BTreeMap<GroupId, Cluster>,
    /// Who calls whom, as a connection would.
    calls: calls::Calls,
    /// What went from a node of one version to one of another.
    crossings: Crossings,
    /// What each replica was seen to know committed, and where its configuration was.
    commits: BTreeMap<(NodeId, GroupId), (LogIndex, LogIndex)>,
    /// Nodes that some replica has known to be removed.
    removed: BTreeSet<NodeId>,
    /// Nodes that have ended since they were removed.
    removed_count: u64,
    trace: Trace,
    /// What a picture is drawn from, if somebody wants one.
    recording: Option<Recording>,
    /// The first property that did not hold.
    broken: Option<Failure>,
}

impl<S: StateMachine> fmt::Debug for World<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<S: StateMachine> World<S> {
    /// A world whose nodes are off.
    #[must_use]
    pub fn new(options: WorldOptions, machines: Machines<S>) -> Self {
        let clock = VirtualClock::new();
        let mut dice = SplitMix::new(options.seed);
        let net = MemNet::new(clock.clone(), dice.next_u64());
        // Every message is looked at as it leaves.
        net.keep_events();
        let founders = (1..=options.node_count).map(NodeId);
        let nodes = founders.map(|id| (id, SimNode::new(&clock, true))).collect();
        let trace = Trace::new(options.trace_lines_max);
        Self {
            options,
            clock,
            net,
            dice,
            nodes,
            machines,
            observers: Box::new(|_| Arc::new(|_, _| {})),
            paused: BTreeSet::new(),
            stepped: None,
            seen: BTreeMap::new(),
            calls: calls::Calls::default(),
            crossings: Crossings::default(),
            commits: BTreeMap::new(),
            removed: BTreeSet::new(),
            removed_count: 0,
            trace,
            recording: None,
            broken: None,
        }
    }

    /// From now on each node that starts tells who leads.
    pub fn observe(&mut self, observers: Observers) {
        self.observers = observers;
    }

    /// Keeps from now on what a picture is drawn from.
    pub fn record(&mut self, recording: Recording) {
        self.recording = Some(recording);
    }

    /// What was kept.
    pub fn recording(&mut self) -> Option<&mut Recording> {
        self.recording.as_mut()
    }

    /// The first property that did not hold: after it the world has stopped with a panic.
    #[must_use]
    pub fn broken(&self) -> Option<&Failure> {
        self.broken.as_ref()
    }

    /// Stops one stage: for [`Stage::LogWriter`] that is a disk that does not answer.
    pub fn pause_stage(&mut self, id: NodeId, stage: Stage) {
        self.paused.insert((id, stage));
        self.tell(id, &format!("{stage:?} is paused"));
    }

    /// Stops a whole process, as SIGSTOP does. Frames still reach it and wait.
    pub fn pause(&mut self, id: NodeId) {
        let stages: Vec<Stage> =
            self.nodes[&id].stages.iter().flat_map(|stages| stages.stages()).collect();
        stages.into_iter().for_each(|stage| self.pause_stage(id, stage));
    }

    /// Lets stages of a node wait, until [`Self::let_go`]. Returns whether one of them has work.
    pub(crate) fn hold(&mut self, id: NodeId, held: &[Stage]) -> bool {
        let node = &self.nodes[&id];
        let now = node.clock.now();
        let stages = node.stages.as_ref();
        let has_work = |stage: &Stage| stages.is_some_and(|its| its.has_work(*stage, now));
        self.paused.extend(held.iter().map(|stage| (id, *stage)));
        held.iter().any(has_work)
    }

    /// They go on.
    pub(crate) fn let_go(&mut self, id: NodeId, held: &[Stage]) {
        self.paused.retain(|(paused, stage)| *paused != id || !held.contains(stage));
    }

    /// Lets all of a node run again.
    pub fn resume(&mut self, id: NodeId) {
        self.paused.retain(|(paused, _)| *paused != id);
        self.tell(id, "runs");
    }

    /// Whether a node's whole process is stopped.
    #[must_use]
    pub fn is_paused(&self, id: NodeId) -> bool {
        self.paused.contains(&(id, Stage::Worker(0)))
    }

    /// The stage that has just run, if the last event was one.
    #[must_use]
    pub fn stepped(&self) -> Option<(NodeId, Stage)> {
        self.stepped
    }

    /// How often a node was started.
    #[must_use]
    pub fn life_count(&self, id: NodeId) -> u64 {
        self.nodes[&id].life_count
    }

    /// The network, to cut and to mend.
    #[must_use]
    pub fn net(&self) -> &MemNet {
        &self.net
    }

    /// A node's clock, to be set wrong.
    #[must_use]
    pub fn clock(&self, id: NodeId) -> &NodeClock {
        &self.nodes[&id].clock
    }

    /// A node's disk.
    #[must_use]
    pub fn disk(&self, id: NodeId) -> &MemDisk {
        &self.nodes[&id].disk
    }

    /// What was asked of all disks that there are or were.
    pub(crate) fn disk_counts(&self) -> DiskCounts {
        let nodes = self.nodes.values();
        nodes
            .map(|node| node.disk.counts().plus(node.former))
            .fold(DiskCounts::default(), DiskCounts::plus)
    }

    /// The fault that ended a node's last life, if it was one.
    #[must_use]
    pub fn fatal(&self, id: NodeId) -> Option<&Fatal> {
        self.nodes[&id].fatal.as_ref()
    }

    /// Dice of the world, for tests that leave something to chance.
    pub fn dice(&mut self) -> &mut SplitMix {
        &mut self.dice
    }

    /// What happened.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// All nodes, on or off, but those that are gone for good.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, node)| !node.is_gone).map(|(id, _)| *id).collect()
    }

    /// Whether a node is on.
    #[must_use]
    pub fn is_on(&self, id: NodeId) -> bool {
        self.nodes[&id].stages.is_some()
    }

    /// A group as seen by clients of a node; `None` while the node is off.
    #[must_use]
    pub fn group(&self, id: NodeId, group: GroupId) -> Option<GroupHandle<S::Response>> {
        self.nodes[&id].stages.as_ref()?.group(group)
    }

    /// A node's state machine; `None` while the node is off.
    #[must_use]
    pub fn machine(&self, id: NodeId, group: GroupId) -> Option<&S> {
        self.nodes[&id].stages.as_ref()?.machine(group)
    }

    /// The leader of the highest term, if a node that is on leads.
    #[must_use]
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        let on = self.nodes.keys().filter_map(|id| self.group(*id, group));
        on.map(|group| group.status())
            .filter(|status| status.role == Role::Leader)
            .max_by_key(|status| status.term)
            .map(|status| status.node_id)
    }
}
