//! All stages of one node, put together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use env::Moment;
use raft::{Configuration, Incarnation, LogIndex, Node, Restored};
use wal::{GroupId, RecoveredGroup, Wal};

use crate::applier::{AppliedGroup, Applier, FlushPolicy};
use crate::beginning;
use crate::bulk::Bulk;
use crate::calls::Calls;
use crate::errands::Errands;
use crate::frame::{self, FRAME_VERSION, FrameHeader};
use crate::group::Group;
use crate::handle::Door;
use crate::mailbox::Mailbox;
use crate::membership::Membership;
use crate::messages::{ApplyItem, BulkItem, LogBatch, WorkerEvent};
use crate::outbox::Outbox;
use crate::peers::Peers;
use crate::proposals::{Clients, Proposals};
use crate::reads::Reads;
use crate::staging::Staging;
use crate::status::{Counters, SharedStatus};
use crate::waiters::Waiters;
use crate::wal_writer::WalWriter;
use crate::worker::{Worker, worker_of};
use crate::{
    Fatal, GroupHandle, HostOptions, ProposeError, Receiver, StartError, StateMachine, World,
};

/// A group that a host opens.
#[derive(Debug)]
pub struct GroupSetup<S> {
    /// Its id, the same on all nodes.
    pub id: GroupId,
    /// Its state machine, as its disk has it.
    pub machine: S,
    /// The first members, the same on all nodes. Counts only if the log has nothing of the group,
    /// and none was lost.
    pub bootstrap: Configuration,
}

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The worker of this number.
    Worker(usize),
    /// The writer of the log.
    LogWriter,
    /// The applier.
    Applier,
    /// Old entries and snapshots.
    Bulk,
}

/// The stages of one node. [`Host`](crate::Host) gives each a thread; the simulator steps them.
pub struct Stages<S: StateMachine> {
    pub(crate) options: Arc<HostOptions>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) log_writer: WalWriter,
    pub(crate) applier: Applier<S>,
    pub(crate) bulk: Bulk,
    pub(crate) receiver: Receiver,
    pub(crate) handles: BTreeMap<GroupId, GroupHandle<S::Response>>,
    pub(crate) counters: Arc<Counters>,
}

impl<S: StateMachine> fmt::Debug for Stages<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stages").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What the stages share while they are built.
struct Shared {
    options: Arc<HostOptions>,
    world: World,
    counters: Arc<Counters>,
    peers: Arc<Peers>,
    staging: Staging,
    life: u64,
    incarnation: Incarnation,
    workers: Vec<Arc<Mailbox<WorkerEvent>>>,
    log: Arc<Mailbox<LogBatch>>,
    applier: Arc<Mailbox<ApplyItem>>,
    bulk: Arc<Mailbox<BulkItem>>,
}

impl<S: StateMachine> Stages<S> {
    /// Builds the stages over an open log. Nothing runs yet.
    ///
    /// # Errors
    /// When log, snapshots and state machines do not fit each other, or the disk fails.
    pub fn build(
        options: HostOptions,
        world: World,
        mut wal: Wal,
        mut recovered: BTreeMap<GroupId, RecoveredGroup>,
        groups: Vec<GroupSetup<S>>,
    ) -> Result<Self, StartError> {
        let spoken = options.peer_protocol_max;
        if !frame::versions_up_to(FRAME_VERSION).contains(&spoken) {
            return Err(StartError::PeerProtocol { version: spoken });
        }
        let first = groups.iter().map(|setup| (setup.id, setup.bootstrap.clone())).collect();
        let machine = (&*world.disk, &*world.entropy);
        let incarnation = beginning::begin(&options, machine, &mut wal, &mut recovered, first)?;
        // A snapshot that was being installed when the last life ended is installed again; any
        // other file in the staging folder is of no use.
        let installing = groups.iter().filter_map(|setup| {
            let last = recovered.get(&setup.id)?.mark.last;
            let is_missing = setup.machine.applied().index < last.index;
            is_missing.then(|| Staging::name(setup.id, last))
        });
        let mut shared = Shared::new(options, world, incarnation, &installing.collect())?;
        shared.staging = shared.staging.checked_by(S::check_snapshot);
        let mut workers: Vec<Worker> =
            (0..shared.workers.len()).map(|number| shared.worker(number)).collect();
        let mut applied_groups = BTreeMap::new();
        let mut handles = BTreeMap::new();
        for setup in groups {
            let id = setup.id;
            let restored = recovered.remove(&id).expect("every group was bootstrapped above");
            let (group, applied, handle) = shared.group(setup, restored)?;
            let worker = &mut workers[worker_of(id, shared.workers.len())];
            worker.groups.insert(id, group);
            // The first step asks every node what it wants.
            worker.touched.insert(id);
            applied_groups.insert(id, applied);
            handles.insert(id, handle);
        }
        let (log_reader, spares) = (wal.reader(), wal.spares());
        Ok(Self {
            workers,
            log_writer: WalWriter {
                wal,
                mailbox: Arc::clone(&shared.log),
                workers: shared.workers.clone(),
                counters: Arc::clone(&shared.counters),
                clock: Arc::clone(&shared.world.clock),
                batches: Vec::new(),
                bulk: Arc::clone(&shared.bulk),
                spares: spares.clone(),
                spare_asked: false,
            },
            applier: shared.applier(applied_groups),
            bulk: shared.bulk(log_reader, spares),
            receiver: Receiver::new(
                shared.options.cluster_id,
                shared.workers.clone(),
                Arc::clone(&shared.bulk),
                Arc::clone(&shared.counters),
                Arc::clone(&shared.peers),
            ),
            handles,
            counters: shared.counters,
            options: shared.options,
        })
    }

    /// The door to a group, or `None` if this host does not have it.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<GroupHandle<S::Response>> {
        self.handles.get(&id).cloned()
    }

    /// Where frames from peers go in.
    #[must_use]
    pub fn receiver(&self) -> Receiver {
        self.receiver.clone()
    }

    /// All stages, in a fixed order.
    pub fn stages(&self) -> impl Iterator<Item = Stage> + use<S> {
        let workers = (0..self.workers.len()).map(Stage::Worker);
        workers.chain([Stage::LogWriter, Stage::Applier, Stage::Bulk])
    }

    /// Whether something waits for the stage, or is due.
    #[must_use]
    pub fn has_work(&self, stage: Stage, now: Moment) -> bool {
        match stage {
            Stage::Worker(number) => {
                let worker = &self.workers[number];
                !worker.mailbox.is_empty()
                    || !worker.touched.is_empty()
                    || worker.next_deadline() <= now
            }
            Stage::LogWriter => !self.log_writer.mailbox.is_empty(),
            Stage::Applier => {
                !self.applier.mailbox.is_empty() || !self.applier.to_maintain.is_empty()
            }
            Stage::Bulk => {
                !self.bulk.mailbox.is_empty()
                    || self.bulk.next_deadline().is_some_and(|deadline| deadline <= now)
            }
        }
    }

    /// When the next stage has something to do although nothing comes.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let workers = self.workers.iter().map(Worker::next_deadline);
        workers.chain(self.bulk.next_deadline()).min()
    }

    /// Runs one stage once, in the caller's thread.
    ///
    /// # Errors
    /// A fault of the machine: the node must be dropped, and not stepped again.
    pub fn step(&mut self, stage: Stage) -> Result<(), Fatal> {
        match stage {
            Stage::Worker(number) => {
                self.workers[number].step();
                Ok(())
            }
            Stage::LogWriter => self.log_writer.step(),
            Stage::Applier => self.applier.step(),
            Stage::Bulk => self.bulk.step(),
        }
    }

    /// The protocol's node of a group, for tests and checks.
    #[must_use]
    pub fn node(&self, id: GroupId) -> Option<&Node> {
        let worker = &self.workers[worker_of(id, self.workers.len())];
        worker.groups.get(&id).map(|group| &group.node)
    }

    /// The groups of this node.
    pub fn group_ids(&self) -> impl Iterator<Item = GroupId> {
        self.handles.keys().copied()
    }

    /// The state machine of a group, for tests and checks.
    #[must_use]
    pub fn machine(&self, id: GroupId) -> Option<&S> {
        self.applier.groups.get(&id).map(|group| &group.machine)
    }
}

/// A group, taken apart: what its worker owns, what the applier owns, and the door.
type Parts<S> = (Group, AppliedGroup<S>, GroupHandle<<S as StateMachine>::Response>);

impl Shared {
    fn new(
        options: HostOptions,
        world: World,
        incarnation: Incarnation,
        needed: &BTreeSet<String>,
    ) -> Result<Self, StartError> {
        assert!(options.worker_count > 0, "a host has at least one worker");
        let folder = options.data_dir.join("staging");
        let staging =
            Staging::open_folder(Arc::clone(&world.disk), folder, |name| needed.contains(name))?;
        let workers = (0..options.worker_count).map(|_| Arc::default()).collect();
        let nets = vec![Arc::clone(&world.net), Arc::clone(&world.bulk_net)];
        let mut peers = Peers::new(options.node_id, nets, options.seeds.clone());
        peers.speak_up_to(options.peer_protocol_max);
        if options.quiesce_after_ms.is_some() {
            peers.listen(Arc::clone(&world.clock));
        }
        let peers = Arc::new(peers);
        Ok(Self {
            options: Arc::new(options),
            peers,
            life: world.entropy.next_u64(),
            incarnation,
            world,
            counters: Arc::default(),
            staging,
            workers,
            log: Arc::default(),
            applier: Arc::default(),
            bulk: Arc::default(),
        })
    }

    fn worker(&self, number: usize) -> Worker {
        let options = Arc::clone(&self.options);
        let mailbox = Arc::clone(&self.workers[number]);
        let header = FrameHeader {
            version: options.peer_protocol_max,
            // More workers than streams would share numbers and drop each other's frames.
            stream: u16::try_from(number).expect("a host has fewer than 65,535 workers"),
            cluster_id: options.cluster_id,
            from: options.node_id,
            to: options.node_id,
            life: self.life,
            sequence: 0,
        };
        let calls = Calls::new(
            options.node_id,
            Duration::from_millis(options.request_timeout_ms),
            Arc::clone(&options.call_handler),
            Arc::clone(&mailbox),
            self.world.entropy.next_u64(),
        );
        Worker {
            number,
            clock: Arc::clone(&self.world.clock),
            counters: Arc::clone(&self.counters),
            mailbox,
            log: Arc::clone(&self.log),
            applier: Arc::clone(&self.applier),
            bulk: Arc::clone(&self.bulk),
            groups: BTreeMap::new(),
            timers: BTreeSet::new(),
            touched: BTreeSet::new(),
            outbox: Outbox::new(Arc::clone(&self.world.net), header),
            peers: Arc::clone(&self.peers),
            writes: Vec::new(),
            output: raft::Output::default(),
            log_batches_in_flight: 0,
            log_busy_since: None,
            gathering: BTreeSet::new(),
            gather_until: None,
            calls,
            sweep_at: Moment(0),
            events: Vec::new(),
            options,
        }
    }

    fn group<S: StateMachine>(
        &self,
        setup: GroupSetup<S>,
        recovered: RecoveredGroup,
    ) -> Result<Parts<S>, StartError> {
        let id = setup.id;
        let applied = setup.machine.applied();
        let restored = self.check(id, applied, recovered)?;
        let configuration = configuration_at(&restored, applied.index);
        let node = Node::new(self.node_options(id), restored).map_err(StartError::Options)?;
        let waiters = Arc::new(Waiters::new(self.world.entropy.next_u64()));
        let node_id = self.options.node_id;
        let shared_status = Arc::new(SharedStatus::new(node_id, applied.index));
        let clients: Arc<dyn Clients> = Arc::clone(&waiters) as Arc<dyn Clients>;
        let handle = GroupHandle::new(Door {
            group: id,
            node_id,
            clock: Arc::clone(&self.world.clock),
            request_timeout: Duration::from_millis(self.options.request_timeout_ms),
            command_bytes_max: self.options.command_bytes_max,
            mailbox: Arc::clone(&self.workers[worker_of(id, self.workers.len())]),
            waiters: Arc::clone(&waiters),
            status: Arc::clone(&shared_status),
            counters: Arc::clone(&self.counters),
            peers: Arc::clone(&self.peers),
            incarnation: self.incarnation,
            linearizable_reads: self.options.linearizable_reads,
        });
        let request_timeout = Duration::from_millis(self.options.request_timeout_ms);
        let mut membership = Membership::default();
        membership.follow(id, &node, &self.peers);
        let group = Group {
            id,
            node,
            proposals: Proposals::new(clients),
            status: shared_status.read(),
            shared: Arc::clone(&shared_status),
            deadline: None,
            reads: Reads::default(),
            transfer: None,
            errands: Errands::new(request_timeout, self.world.entropy.next_u64()),
            membership,
            asked_about_log_at: None,
            committed_index: applied.index,
            applied_index: applied.index,
            answered_index: applied.index,
            installing: None,
        };
        let applied = AppliedGroup {
            machine: setup.machine,
            node_id,
            waiters,
            status: shared_status,
            applied,
            configuration,
            entries_since_flush: 0,
            bytes_since_flush: 0,
            entries_untold: 0,
        };
        Ok((group, applied, handle))
    }

    /// Sees that log, snapshot and state fit each other.
    fn check(
        &self,
        group: GroupId,
        applied: raft::EntryId,
        recovered: RecoveredGroup,
    ) -> Result<Restored, StartError> {
        let (mark, last) = (&recovered.mark, recovered.last);
        if applied.index > last.index {
            return Err(StartError::StateAheadOfLog { group, applied, last });
        }
        if applied.index < mark.last.index && !self.staging.has(group, mark.last)? {
            return Err(StartError::StagedSnapshotMissing { group, last: mark.last });
        }
        Ok(Restored {
            hard_state: recovered.hard_state,
            mark: recovered.mark,
            entries: recovered.entries,
            term_runs: recovered.term_runs,
            last: recovered.last,
            applied: applied.index,
            configurations: recovered.configurations,
        })
    }

    fn node_options(&self, group: GroupId) -> raft::Options {
        let options = &self.options;
        let seed = self.world.entropy.next_u64() ^ group.0;
        raft::Options {
            incarnation: self.incarnation,
            election_timeout_ticks: options.election_timeout_ms,
            heartbeat_interval_ticks: options.heartbeat_interval_ms,
            log_tail_kept: options.log_tail_entry_count,
            cache_bytes_max: options.log_cache_bytes_max,
            lease_drift_ppm: options.lease_drift_ppm,
            quiesce_after_ticks: options.quiesce_after_ms,
            ..raft::Options::new(options.node_id, seed)
        }
    }

    fn applier<S: StateMachine>(&self, groups: BTreeMap<GroupId, AppliedGroup<S>>) -> Applier<S> {
        Applier {
            groups,
            mailbox: Arc::clone(&self.applier),
            workers: self.workers.clone(),
            bulk: Arc::clone(&self.bulk),
            staging: self.staging.clone(),
            counters: Arc::clone(&self.counters),
            flush_policy: FlushPolicy {
                entry_count: self.options.snapshot_entry_count,
                bytes: self.options.snapshot_bytes,
            },
            to_maintain: BTreeSet::new(),
        }
    }

    fn bulk(&self, log: wal::WalReader, spares: wal::Spares) -> Bulk {
        Bulk {
            node_id: self.options.node_id,
            cluster_id: self.options.cluster_id,
            version_max: self.options.peer_protocol_max,
            life: self.life,
            sequence: 0,
            mailbox: Arc::clone(&self.bulk),
            workers: self.workers.clone(),
            net: Arc::clone(&self.world.bulk_net),
            clock: Arc::clone(&self.world.clock),
            log,
            spares,
            staging: self.staging.clone(),
            counters: Arc::clone(&self.counters),
            next_transfer: self.world.entropy.next_u64(),
            chunk_bytes: u64::from(self.options.snapshot_chunk_bytes),
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
        }
    }
}

/// The configuration in force at an index: the newest one at or before it.
fn configuration_at(restored: &Restored, index: LogIndex) -> Configuration {
    let at_or_before = restored.configurations.iter().rev().find(|(at, _)| *at <= index);
    at_or_before.map_or_else(
        || restored.mark.configuration.clone(),
        |(_, configuration)| configuration.clone(),
    )
}

impl<R: Send + 'static> Clients for Waiters<R> {
    fn fail(&self, number: u64, error: ProposeError) {
        if let Some(reply) = self.take(number) {
            reply(Err(error));
        }
    }

    fn is_waiting(&self, number: u64) -> bool {
        Self::is_waiting(self, number)
    }

    fn first_waiting(&self) -> u64 {
        Self::first_waiting(self)
    }

    fn fail_expired(&self, now: Moment) -> usize {
        let expired = self.take_expired(now);
        let count = expired.len();
        expired.into_iter().for_each(|reply| reply(Err(ProposeError::OutcomeUnknown)));
        count
    }

    fn close(&self) {
        Self::close(self).into_iter().for_each(|reply| reply(Err(ProposeError::OutcomeUnknown)));
    }
}
