//! Hosts in one thread, on virtual time and disks in memory: the same every time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

use env::mem::{MemDisk, MemNet, SeededEntropy, VirtualClock};
use env::{Clock, Disk, Moment};
use host::{
    GroupHandle, GroupId, GroupReport, GroupSetup, HostOptions, Role, Stage, Stages, World,
};
use raft::{
    Configuration, ConfigurationChange, Entry, EntryId, HardState, MarkWrite, MemberChange, Node,
    NodeId, Payload, Persist, PersistNumber, SnapshotMark, Term,
};
use wal::{Wal, WalOptions, WalWrite};

use crate::common::{Adder, State};

pub(crate) const GROUP: GroupId = GroupId(1);
/// Longer than anything here takes.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Changes the options of every node that starts.
type Adjust = Box<dyn Fn(&mut HostOptions)>;

/// Tells the test, unless it has ended.
pub(crate) fn told<T>(to: &Sender<T>, what: T) {
    let _ = to.send(what);
}

/// The hosts and their world.
pub(crate) struct Bed {
    pub(crate) net: MemNet,
    clock: VirtualClock,
    founders: Vec<NodeId>,
    disks: BTreeMap<NodeId, MemDisk>,
    nodes: BTreeMap<NodeId, Stages<Adder>>,
    groups: Vec<GroupId>,
    adjust: Adjust,
    lives: u64,
    told: Rc<RefCell<BTreeSet<(NodeId, &'static str)>>>,
    tellers: Vec<(NodeId, &'static str, Receiver<GroupId>)>,
}

impl Bed {
    /// Founders of one group, all on, and a leader among them.
    pub(crate) fn started(founders: u64) -> Self {
        let mut bed = Self::new(founders, 1, Box::new(|_| {}));
        bed.start_all();
        bed.elect();
        bed
    }

    /// Founders of some groups, all off.
    pub(crate) fn new(founders: u64, group_count: u64, adjust: Adjust) -> Self {
        let clock = VirtualClock::new();
        Self {
            net: MemNet::new(clock.clone(), 7),
            clock,
            founders: (1..=founders).map(NodeId).collect(),
            disks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            groups: (1..=group_count).map(GroupId).collect(),
            adjust,
            lives: 0,
            told: Rc::default(),
            tellers: Vec::new(),
        }
    }

    pub(crate) fn start_all(&mut self) {
        self.founders.clone().into_iter().for_each(|id| self.start(id));
    }

    /// Turns a node on, with the disk that it has.
    pub(crate) fn start(&mut self, id: NodeId) {
        self.lives += 1;
        let disk: Arc<dyn Disk> = Arc::new(self.disks.entry(id).or_default().clone());
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let options = WalOptions { segment_bytes: 64 << 10, ..WalOptions::default() };
        let (wal, recovered) =
            Wal::open(Arc::clone(&disk), Path::new("/data/wal"), options).expect("a good log");
        let is_founder = self.founders.contains(&id);
        let founders = Configuration::of_voters(self.founders.iter().copied());
        let setup = |group: &GroupId| {
            let folder = format!("/data/adder-{}", group.0);
            let machine = Adder::open(Arc::clone(&disk), folder.into()).expect("a good state");
            let bootstrap = if is_founder { founders.clone() } else { Configuration::default() };
            GroupSetup { id: *group, machine, bootstrap }
        };
        let groups = self.groups.iter().map(setup).collect();
        let endpoint = Arc::new(self.net.endpoint(id.0));
        let entropy = Arc::new(SeededEntropy::new(self.lives));
        let world = World {
            disk: Arc::clone(&disk),
            clock,
            net: endpoint.clone(),
            bulk_net: endpoint,
            entropy,
        };
        let mut options = HostOptions::new(id, 7, "/data".into());
        let (removed, lost) = (channel(), channel());
        options.on_removed = Arc::new(move |group| told(&removed.0, group));
        options.on_log_lost = Arc::new(move |group| told(&lost.0, group));
        self.tellers.extend([(id, "removed", removed.1), (id, "log lost", lost.1)]);
        (self.adjust)(&mut options);
        let stages = Stages::build(options, world, wal, recovered.groups, groups).expect("it fits");
        assert!(self.nodes.insert(id, stages).is_none(), "{id} runs already");
    }

    /// The process is gone; what it wrote stays.
    pub(crate) fn kill(&mut self, id: NodeId) {
        self.nodes.remove(&id).expect("only a node that runs is killed");
        self.net.drop_frames_of(id.0);
    }

    /// The disk of a node that does not run is gone.
    pub(crate) fn wipe(&mut self, id: NodeId) {
        assert!(!self.nodes.contains_key(&id), "{id} runs");
        self.disks.insert(id, MemDisk::new());
    }

    /// What a node that does not run was left by a version that drew no numbers: some entries of
    /// term 1 of a group of its own.
    pub(crate) fn write_log(&mut self, id: NodeId, entry_count: u64) {
        let disk: Arc<dyn Disk> = Arc::new(self.disks.entry(id).or_default().clone());
        let (mut wal, _) =
            Wal::open(disk, Path::new("/data/wal"), WalOptions::default()).expect("a new log");
        let configuration = Configuration::of_voters([id]);
        let mark = SnapshotMark { configuration, ..SnapshotMark::default() };
        let entries = (1..=entry_count)
            .map(|index| Entry { id: EntryId::new(1, index), payload: Payload::Noop });
        let persist = Persist {
            number: PersistNumber(1),
            mark: Some(MarkWrite { mark: mark.into(), reset: false }),
            hard_state: Some(HardState { current_term: Term(1), voted_for: Some(id) }),
            entries: entries.collect(),
        };
        wal.append(&[WalWrite { group: GROUP, persist }]).expect("the disk is well");
        wal.sync().expect("the disk is well");
    }

    pub(crate) fn disk(&self, id: NodeId) -> &MemDisk {
        &self.disks[&id]
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(crate) fn group(&self, id: NodeId) -> GroupHandle<State> {
        self.nodes[&id].group(GROUP).expect("every node has it")
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.nodes[&id].node(GROUP).expect("every node has it")
    }

    pub(crate) fn is_on(&self, id: NodeId) -> bool {
        self.nodes.contains_key(&id)
    }

    pub(crate) fn receiver(&self, id: NodeId) -> host::Receiver {
        self.nodes[&id].receiver()
    }

    pub(crate) fn nodes_of(&self, id: NodeId) -> Vec<&Node> {
        let stages = &self.nodes[&id];
        stages.group_ids().filter_map(|group| stages.node(group)).collect()
    }

    pub(crate) fn group_handles(&self, id: NodeId) -> Vec<(GroupId, GroupHandle<State>)> {
        let stages = &self.nodes[&id];
        stages.group_ids().filter_map(|group| Some((group, stages.group(group)?))).collect()
    }

    /// What a node's host was told: `removed`, `log lost`.
    pub(crate) fn was_told(&self, id: NodeId, what: &'static str) -> bool {
        self.told.borrow().contains(&(id, what))
    }

    /// Runs until `done` answers; panics after [`SOON`].
    #[track_caller]
    pub(crate) fn until<T>(&mut self, what: &str, mut done: impl FnMut(&Self) -> Option<T>) -> T {
        let end = self.now().after(SOON);
        loop {
            if let Some(answer) = done(self) {
                return answer;
            }
            assert!(self.now() < end, "it does not come about: {what}");
            self.turn(end);
        }
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now().after(duration);
        while self.now() < end {
            self.turn(end);
        }
    }

    /// All stages that have work, or the next moment at which one has.
    fn turn(&mut self, end: Moment) {
        let now = self.now();
        for delivery in self.net.due(now) {
            if let Some(stages) = self.nodes.get(&NodeId(delivery.to)) {
                let _ = stages.receiver().deliver(NodeId(delivery.from), delivery.frame);
            }
        }
        let mut has_worked = false;
        for stages in self.nodes.values_mut() {
            let ready: Vec<Stage> =
                stages.stages().filter(|stage| stages.has_work(*stage, now)).collect();
            for stage in ready {
                stages.step(stage).expect("the disk is well");
                has_worked = true;
            }
        }
        for (id, what, told) in &self.tellers {
            if told.try_iter().count() > 0 {
                self.told.borrow_mut().insert((*id, what));
            }
        }
        if has_worked {
            return self.clock.advance(Duration::from_micros(20));
        }
        let deadlines = self.nodes.values().filter_map(Stages::next_deadline);
        let next = deadlines.chain(self.net.next_due()).min().unwrap_or(end).min(end);
        self.clock.set(next.max(now.after(Duration::from_nanos(1))));
    }

    /// The leader, once there is one that all who are on agree on.
    pub(crate) fn elect(&mut self) -> NodeId {
        self.until("a leader", |bed| {
            let mut views = bed.nodes.values().map(|stages| {
                stages.group(GROUP).map(|group| group.status()).expect("every node has it")
            });
            let leader = views.clone().find(|status| status.role == Role::Leader)?.node_id;
            views.all(|status| status.leader_id == Some(leader)).then_some(leader)
        })
    }

    /// Waits for the answer to something asked of a host.
    #[track_caller]
    pub(crate) fn answer<T>(&mut self, what: &str, answer: &Receiver<T>) -> T {
        self.until(what, |_| match answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("nobody will answer: {what}"),
        })
    }

    /// Adds a number at a node; the state behind it.
    #[track_caller]
    pub(crate) fn add(&mut self, id: NodeId, number: u64) -> State {
        let (reply, answer) = channel();
        self.group(id).propose(&number.to_le_bytes(), move |result| told(&reply, result));
        self.answer("an acknowledged write", &answer).expect("acknowledged")
    }

    /// Changes the members by a wish that a node passes on.
    #[track_caller]
    pub(crate) fn change(&mut self, id: NodeId, members: Vec<MemberChange>) {
        let (reply, answer) = channel();
        let change = ConfigurationChange { members, ..ConfigurationChange::default() };
        self.group(id).change_configuration(change, move |result| told(&reply, result));
        self.answer("a change of members", &answer).expect("it is possible");
    }

    /// The leader's report, asked for at a node.
    #[track_caller]
    pub(crate) fn report(&mut self, id: NodeId) -> GroupReport {
        let (reply, answer) = channel();
        self.group(id).report(move |result| told(&reply, result));
        self.answer("a report", &answer).expect("somebody leads")
    }

    /// Waits until the leader knows of no voter whose lost log nobody would notice.
    pub(crate) fn settle(&mut self) -> GroupReport {
        let leader = self.elect();
        for _ in 0..100 {
            let report = self.report(leader);
            if report.unguarded.is_empty() {
                return report;
            }
            self.run_for(Duration::from_millis(10));
        }
        panic!("the logs of all members should be on record");
    }
}
