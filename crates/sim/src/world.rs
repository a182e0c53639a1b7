//! The world: nodes, clocks, network and dice. `run` is the one loop that runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use env::mem::{MemDisk, MemNet, NodeClock, SeededEntropy, VirtualClock};
use env::{Clock, Disk, Moment, SplitMix};
use host::{
    Fatal, GroupHandle, GroupId, GroupSetup, HostOptions, Role, Stage, Stages, StateMachine,
};
use raft::invariants::Cluster;
use raft::{Configuration, LogIndex, Node, NodeId};
use wal::{Wal, WalOptions};

use crate::picture::Recording;
use crate::{Failure, Trace};

mod run;

/// Makes the state machines of a node from what its disk holds, one for each group.
pub type Machines<S> =
    Box<dyn Fn(NodeId, Arc<dyn Disk>, Arc<dyn Clock>) -> io::Result<Vec<(GroupId, S)>>>;

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
    /// Stages that do not run, although they have work: a disk that does not answer, a process that
    /// is stopped.
    paused: BTreeSet<(NodeId, Stage)>,
    /// What was ever seen of each group, for the properties of Raft that span nodes.
    seen: BTreeMap<GroupId, Cluster>,
    /// What each replica was seen to know committed.
    commits: BTreeMap<(NodeId, GroupId), LogIndex>,
    trace: Trace,
    /// What a picture is drawn from, if somebody wants one.
    recording: Option<Recording>,
    /// The first property that did not hold.
    broken: Option<Failure>,
}

struct SimNode<S: StateMachine> {
    disk: MemDisk,
    clock: NodeClock,
    stages: Option<Stages<S>>,
    /// The fault that ended the node's last life.
    fatal: Option<Fatal>,
    life_count: u64,
    /// The replicas as they were when the last life ended: what they had vouched for still counts.
    left: BTreeMap<GroupId, Node>,
}

impl<S: StateMachine> SimNode<S> {
    /// The process is gone.
    fn end(&mut self) {
        if let Some(stages) = self.stages.take() {
            let groups = stages.group_ids();
            self.left =
                groups.filter_map(|group| Some((group, stages.node(group)?.clone()))).collect();
        }
    }
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
        let nodes = (1..=options.node_count)
            .map(|id| {
                let (disk, clock) = (MemDisk::new(), NodeClock::new(clock.clone()));
                let node = SimNode {
                    disk,
                    clock,
                    stages: None,
                    fatal: None,
                    life_count: 0,
                    left: BTreeMap::new(),
                };
                (NodeId(id), node)
            })
            .collect();
        let trace = Trace::new(options.trace_lines_max);
        Self {
            options,
            clock,
            net,
            dice,
            nodes,
            machines,
            paused: BTreeSet::new(),
            seen: BTreeMap::new(),
            commits: BTreeMap::new(),
            trace,
            recording: None,
            broken: None,
        }
    }

    /// Keeps from now on what a picture is drawn from.
    pub fn record(&mut self, recording: Recording) {
        self.net.keep_events();
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

    /// Turns a node on: it recovers from its disk.
    ///
    /// # Errors
    /// When it cannot recover.
    pub fn start(&mut self, id: NodeId) -> io::Result<()> {
        let entropy = Arc::new(SeededEntropy::new(self.dice.next_u64()));
        let voters = Configuration::of_voters(self.nodes.keys().copied());
        let node = self.nodes.get_mut(&id).expect("a node of this world");
        assert!(node.stages.is_none(), "a node that runs is not started");
        let disk: Arc<dyn Disk> = Arc::new(node.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(node.clock.clone());
        let data_dir = PathBuf::from("/data");
        let wal_options = WalOptions {
            segment_bytes: self.options.segment_bytes,
            recent_bytes_max: self.options.log_cache_bytes_max,
            ..WalOptions::default()
        };
        let (wal, recovered) = Wal::open(Arc::clone(&disk), &data_dir.join("wal"), wal_options)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let machines = (self.machines)(id, Arc::clone(&disk), Arc::clone(&clock))?;
        let groups = machines
            .into_iter()
            .map(|(id, machine)| GroupSetup { id, machine, bootstrap: voters.clone() })
            .collect();
        let endpoint = Arc::new(self.net.endpoint(id.0));
        let world = host::World { disk, clock, net: endpoint.clone(), bulk_net: endpoint, entropy };
        let host_options = HostOptions {
            snapshot_entry_count: self.options.snapshot_entry_count,
            log_tail_entry_count: self.options.log_tail_entry_count,
            log_cache_bytes_max: self.options.log_cache_bytes_max,
            snapshot_chunk_bytes: self.options.snapshot_chunk_bytes,
            worker_count: self.options.worker_count,
            ..HostOptions::new(id, CLUSTER_ID, data_dir)
        };
        let stages = Stages::build(host_options, world, wal, recovered.groups, groups)
            .map_err(|error| io::Error::other(error.to_string()))?;
        for group in stages.group_ids() {
            self.seen.entry(group).or_default().restarted(id);
        }
        node.stages = Some(stages);
        node.fatal = None;
        node.life_count += 1;
        self.tell(id, "starts");
        self.draw(id);
        Ok(())
    }

    /// Turns all nodes on that are off.
    ///
    /// # Errors
    /// When one cannot recover.
    pub fn start_all(&mut self) -> io::Result<()> {
        let off: Vec<_> = self.nodes.iter().filter(|(_, node)| node.stages.is_none()).collect();
        let off: Vec<NodeId> = off.into_iter().map(|(id, _)| *id).collect();
        off.into_iter().try_for_each(|id| self.start(id))
    }

    /// The machine loses its power: what was not synced is kept or lost as the dice fall.
    pub fn crash(&mut self, id: NodeId) {
        let mut dice = SplitMix::new(self.dice.next_u64());
        let node = self.nodes.get_mut(&id).expect("a node of this world");
        node.end();
        node.disk.crash(&mut dice);
        self.net.drop_frames_of(id.0);
        self.resume(id);
        self.tell(id, "crashes");
        self.draw(id);
    }

    /// The process dies and the machine lives: what was written stays, synced or not.
    pub fn kill(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node of this world");
        node.end();
        node.disk.kill();
        self.net.drop_frames_of(id.0);
        self.resume(id);
        self.tell(id, "is killed");
        self.draw(id);
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

    /// All nodes, on or off.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
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

/// The id of every simulated cluster.
const CLUSTER_ID: u64 = 0xf107_111a;
