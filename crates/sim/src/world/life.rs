//! A node's lives: how it begins, as a founder or as one that joins, and how it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use env::mem::{DiskCounts, MemDisk, NodeClock, SeededEntropy, VirtualClock};
use env::{Clock, Disk, SplitMix};
use host::{
    Fatal, GroupConfiguration, GroupId, GroupSetup, HostOptions, PeerAddresses, Stages,
    StateMachine,
};
use raft::{Configuration, Node, NodeId, ReadMode};
use wal::{RecoveredGroup, Wal, WalOptions};

use super::World;
use super::ends::Ending;
use super::names::{DRIFT_PPM, address_of, founders, seeds_of};
use super::versions::Program;
use super::word::{Word, broken_word};

/// The id of every simulated cluster.
pub(crate) const CLUSTER_ID: u64 = 0xf107_111a;
/// Where a node's files lie.
const DATA_DIR: &str = "/data";

/// Why a node did not start.
#[derive(Debug)]
pub enum NoStart {
    /// Its disk, or what is on it.
    Disk(io::Error),
    /// Its disk is empty, and others have seen it run.
    DataLost,
    /// It is to join, and nobody knows it as a member.
    NotAMember,
    /// It is to join, and nobody answers.
    NobodyAnswers,
    /// Its disk is one that was set back, or lost a write, and lacks what the node had vouched for.
    /// Only the world knows.
    Forgetful,
}

impl fmt::Display for NoStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::DataLost => f.write_str("the others have seen it run with another disk"),
            Self::NotAMember => f.write_str("it is no member of the cluster that it is to join"),
            Self::NobodyAnswers => f.write_str("nobody of the cluster that it is to join answers"),
            Self::Forgetful => f.write_str("the disk lacks what the node had vouched for"),
        }
    }
}

impl std::error::Error for NoStart {}

/// What a node's data folder says of the cluster, beside its log.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// Whether it came to a cluster that was there.
    joined: bool,
    /// Where the members were reached when it first began.
    seeds: PeerAddresses,
}

/// What a process says before it ends by itself.
pub(super) type Told = Arc<Mutex<Vec<(Ending, GroupId)>>>;

/// What is on a disk, as somebody has copied it.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) disk: MemDisk,
    pub(super) identity: Option<Identity>,
    /// The members as its node knew them then, the newest and the newest that were committed: which
    /// of the two is on the disk depends on a write that may have been under way.
    pub(super) known: BTreeMap<GroupId, [Configuration; 2]>,
}

pub(super) struct SimNode<S: StateMachine> {
    pub(super) disk: MemDisk,
    /// What was asked of the disks that it had before.
    pub(super) former: DiskCounts,
    pub(super) clock: NodeClock,
    pub(super) stages: Option<Stages<S>>,
    /// The fault that ended the node's last life.
    pub(super) fatal: Option<Fatal>,
    pub(super) life_count: u64,
    /// The replicas as they were when the last life ended: what they had vouched for still counts.
    pub(super) left: BTreeMap<GroupId, Node>,
    /// The replicas as they were when a disk was lost: what they had vouched for was true then.
    pub(super) lost: BTreeMap<GroupId, Node>,
    /// How it ended by itself.
    pub(super) ending: Option<Ending>,
    /// It will never be seen again.
    pub(super) is_gone: bool,
    /// Whether it was there when the cluster was made.
    is_founder: bool,
    pub(super) identity: Option<Identity>,
    pub(super) told: Told,
    pub(super) removed_from: BTreeSet<GroupId>,
    /// How often it has moved to another address.
    moves: u64,
    pub(super) copy: Option<Copy>,
    /// The newest version of the peer protocol that its program speaks.
    pub(super) program: Program,
    /// Its disk may lack something that it had vouched for.
    pub(super) is_suspect: bool,
    /// A disk of its was lost or set back: what it had said counts for nothing (ADR 8).
    pub(super) is_forgetful: bool,
    /// What it has said since it has its disk.
    pub(super) said: BTreeMap<GroupId, Word>,
}

impl<S: StateMachine> SimNode<S> {
    pub(super) fn new(clock: &VirtualClock, is_founder: bool) -> Self {
        Self {
            disk: MemDisk::new(),
            former: DiskCounts::default(),
            clock: NodeClock::new(clock.clone()),
            stages: None,
            fatal: None,
            life_count: 0,
            left: BTreeMap::new(),
            lost: BTreeMap::new(),
            ending: None,
            is_gone: false,
            is_founder,
            identity: None,
            told: Told::default(),
            removed_from: BTreeSet::new(),
            moves: 0,
            copy: None,
            program: Program::default(),
            is_suspect: false,
            is_forgetful: false,
            said: BTreeMap::new(),
        }
    }

    /// The process is gone.
    pub(super) fn end(&mut self) {
        if let Some(stages) = self.stages.take() {
            let groups = stages.group_ids();
            self.left =
                groups.filter_map(|group| Some((group, stages.node(group)?.clone()))).collect();
        }
    }

    /// Another disk has taken the place of what it wrote.
    pub(super) fn forget(&mut self) {
        self.said.clear();
        self.is_forgetful = true;
    }

    /// Whether a log that was found lacks what the node had vouched for when it ended.
    fn lacks(&self, recovered: &BTreeMap<GroupId, RecoveredGroup>) -> bool {
        self.left.iter().any(|(group, left)| {
            let status = left.status();
            let found = recovered.get(group);
            found.is_none_or(|found| {
                let (found_state, left_state) = (found.hard_state, status.hard_state);
                let forgot_vote = found_state.current_term == left_state.current_term
                    && left_state.voted_for.is_some()
                    && found_state.voted_for.is_none();
                found.last.index < status.durable_index
                    || found_state.current_term < left_state.current_term
                    || forgot_vote
            })
        })
    }
}

impl<S: StateMachine> World<S> {
    /// Turns a node on: it recovers from its disk. One that begins for the first time asks the
    /// others about itself, as a server does.
    ///
    /// # Errors
    /// When it cannot recover, or may not begin.
    pub fn start(&mut self, id: NodeId) -> Result<(), NoStart> {
        let identity = self.identify(id)?;
        let stages = self.build(id, &identity)?;
        for group in stages.group_ids() {
            self.seen.entry(group).or_default().restarted(id);
        }
        let node = self.node_mut(id);
        node.stages = Some(stages);
        node.fatal = None;
        node.identity = Some(identity);
        node.life_count += 1;
        self.tell_versions(id);
        self.tell(id, "starts");
        self.draw(id);
        Ok(())
    }

    fn build(&mut self, id: NodeId, identity: &Identity) -> Result<Stages<S>, NoStart> {
        let entropy = Arc::new(SeededEntropy::new(self.dice.next_u64()));
        let bootstrap = match identity.joined {
            true => Configuration::default(),
            false => founders(&self.options),
        };
        let node = self.nodes.get_mut(&id).expect("a node of this world");
        assert!(node.stages.is_none(), "a node that runs is not started");
        let peer_protocol_max = node.program.begin();
        let disk: Arc<dyn Disk> = Arc::new(node.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(node.clock.clone());
        let data_dir = PathBuf::from(DATA_DIR);
        let wal_options = WalOptions {
            segment_bytes: self.options.segment_bytes,
            recent_bytes_max: self.options.log_cache_bytes_max,
            ..WalOptions::default()
        };
        let (wal, recovered) =
            Wal::open(Arc::clone(&disk), &data_dir.join("wal"), wal_options).map_err(no_disk)?;
        if node.is_suspect && node.lacks(&recovered.groups) {
            return Err(NoStart::Forgetful);
        }
        if let (Some((group, what)), false) =
            (broken_word(&node.left, &node.said, &recovered.groups), node.is_suspect)
        {
            self.fail(id, group, what);
        }
        let machines = (self.machines)(id, Arc::clone(&disk), Arc::clone(&clock));
        let groups = machines
            .map_err(NoStart::Disk)?
            .into_iter()
            .map(|(id, machine)| GroupSetup { id, machine, bootstrap: bootstrap.clone() })
            .collect();
        let endpoint = self.net.endpoint(id.0);
        let (net, bulk_net) = (Arc::new(endpoint.clone()), Arc::new(endpoint.second()));
        self.net.place(id.0, &address_of(id, node.moves));
        let world = host::World { disk, clock, net, bulk_net, entropy };
        let told = Told::default();
        node.told = Arc::clone(&told);
        let hears = |ending| {
            let told = Arc::clone(&told);
            Arc::new(move |group| told.lock().expect("one thread").push((ending, group)))
        };
        let host_options = HostOptions {
            snapshot_entry_count: self.options.snapshot_entry_count,
            log_tail_entry_count: self.options.log_tail_entry_count,
            log_cache_bytes_max: self.options.log_cache_bytes_max,
            snapshot_chunk_bytes: self.options.snapshot_chunk_bytes,
            worker_count: self.options.worker_count,
            election_timeout_ms: self.options.election_timeout_ms,
            heartbeat_interval_ms: self.options.election_timeout_ms / 10,
            quiesce_after_ms: self.options.quiesce_after_ms,
            linearizable_reads: self.options.reads,
            lease_drift_ppm: (self.options.reads == ReadMode::Lease).then_some(DRIFT_PPM),
            peer_protocol_max,
            seeds: identity.seeds.clone(),
            observer: (self.observers)(id),
            on_removed: hears(Ending::Removed),
            on_log_lost: hears(Ending::DataLost),
            ..HostOptions::new(id, CLUSTER_ID, data_dir)
        };
        Stages::build(host_options, world, wal, recovered.groups, groups).map_err(no_disk)
    }

    /// What a node knows of its cluster. Without a folder it asks whom it can reach.
    fn identify(&self, id: NodeId) -> Result<Identity, NoStart> {
        let node = &self.nodes[&id];
        if let Some(identity) = &node.identity {
            return Ok(identity.clone());
        }
        let answers = self.ask_members(id);
        let has_run =
            |known: &Arc<GroupConfiguration>| known.configuration.incarnations.contains_key(&id);
        if answers.iter().any(has_run) {
            return Err(NoStart::DataLost);
        }
        // Who began a cluster alone is its own majority: told again that the cluster is new, it
        // would begin a second one. So whoever gives it an empty disk does not say so.
        let begins_again = node.life_count > 0 && self.founders().count() == 1;
        if node.is_founder && !begins_again {
            let seeds = seeds_of(&founders(&self.options));
            return Ok(Identity { joined: false, seeds });
        }
        if answers.is_empty() {
            return Err(NoStart::NobodyAnswers);
        }
        let knows = answers.iter().find(|known| known.configuration.contains(id));
        let known = knows.ok_or(NoStart::NotAMember)?;
        Ok(Identity { joined: true, seeds: seeds_of(&known.configuration) })
    }

    /// The members as those believe whom `id` can ask.
    fn ask_members(&self, id: NodeId) -> Vec<Arc<GroupConfiguration>> {
        let others = self.nodes.iter().filter(|(other, _)| **other != id);
        let answer = others.filter_map(|(other, node)| {
            let stages = node.stages.as_ref()?;
            let is_heard = !self.net.is_cut(id.0, other.0)
                && !self.net.is_cut(other.0, id.0)
                && !self.is_paused(*other);
            is_heard.then(|| {
                let handles = stages.group_ids().filter_map(|group| stages.group(group));
                handles.map(|handle| handle.configuration()).collect::<Vec<_>>()
            })
        });
        answer.flatten().collect()
    }

    fn founders(&self) -> impl Iterator<Item = NodeId> + Clone + use<S> {
        (1..=self.options.node_count).map(NodeId)
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut SimNode<S> {
        self.nodes.get_mut(&id).expect("a node of this world")
    }

    /// Turns all nodes on that are off.
    ///
    /// # Errors
    /// When one cannot recover.
    pub fn start_all(&mut self) -> Result<(), NoStart> {
        let off: Vec<NodeId> = self.nodes().into_iter().filter(|id| !self.is_on(*id)).collect();
        off.into_iter().try_for_each(|id| self.start(id))
    }

    /// A machine for a node that may join; it is off, and its disk is empty.
    pub fn add(&mut self, id: NodeId) {
        let node = SimNode::new(&self.clock, false);
        let before = self.nodes.insert(id, node);
        assert!(before.is_none(), "an id is given once");
        self.tell(id, "may join");
    }

    /// The machine loses its power: what was not synced is kept or lost as the dice fall.
    pub fn crash(&mut self, id: NodeId) {
        let mut dice = SplitMix::new(self.dice.next_u64());
        self.stop(id, |disk| disk.crash(&mut dice));
        self.tell(id, "crashes");
        self.draw(id);
    }

    /// The process dies and the machine lives: what was written stays, synced or not.
    pub fn kill(&mut self, id: NodeId) {
        self.stop(id, MemDisk::kill);
        self.tell(id, "is killed");
        self.draw(id);
    }

    pub(super) fn stop(&mut self, id: NodeId, disk: impl FnOnce(&MemDisk)) {
        let node = self.node_mut(id);
        node.end();
        disk(&node.disk);
        self.net.drop_frames_of(id.0);
        self.calls.end_of(id);
        self.resume(id);
    }

    /// The machine is taken away.
    pub fn retire(&mut self, id: NodeId) {
        self.stop(id, MemDisk::kill);
        self.node_mut(id).is_gone = true;
        self.tell(id, "is gone");
        self.draw(id);
    }

    /// The node is found at another address from its next start on.
    pub fn relocate(&mut self, id: NodeId) {
        self.node_mut(id).moves += 1;
    }

    /// How often a node has moved to another address.
    #[must_use]
    pub fn moves(&self, id: NodeId) -> u64 {
        self.nodes[&id].moves
    }
}

fn no_disk(error: impl fmt::Display) -> NoStart {
    NoStart::Disk(io::Error::other(error.to_string()))
}
