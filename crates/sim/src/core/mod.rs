//! Groups of the protocol's nodes alone: no hosts, no bytes, only `raft::Node` with a disk, a clock
//! and a network that are values. Such a world is a thousand times faster than time, and shows a
//! story of the protocol without anything around it.
//!
//! After every step of every node all invariants are checked, the disks included.

mod answers;
mod books;
mod changes;
mod chaos;
mod checks;
mod clocks;
mod deeds;
mod disks;
mod given_up;
mod hand_overs;
mod happening;
mod host;
mod inflict;
mod leases;
mod leavers;
mod look;
mod machine;
mod meetings;
mod member;
mod mended;
mod net;
mod nonsense;
mod options;
mod plan;
mod promises;
mod quiet;
mod reads;
mod refusals;
mod rest;
mod seen;
mod sometimes;
mod step;
mod succession;
mod survivors;
mod swarm;
mod tallies;
mod unanswered;
mod waits;
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use env::mem::{NodeClock, VirtualClock};
use env::{Clock, Moment, SplitMix};
use raft::invariants::Cluster as Checker;
use raft::{
    Configuration, EntryId, Incarnation, LogIndex, Message, Node, NodeId, Options, Role,
    SnapshotMark, Term, Tick,
};

use crate::census::Census;
use crate::picture::Recording;
use crate::{Failure, Trace};
use happening::Happening;
use machine::Cells;
use member::Member;
use refusals::Refusal;

pub use chaos::CoreChaos;
pub use net::CoreNet;
pub use options::CoreOptions;
pub use plan::{CHAOS_MS, CoreEvent, CorePlan};
pub use reads::CoreRead;
pub use sometimes::{CORE_EFFECTS, CORE_EXCUSES, CORE_SOMETIMES};
pub(crate) use swarm::{any_long_ways, any_shape};
pub(crate) use tallies::is_held_back;

/// The group of every core world.
pub const GROUP: u64 = 1;

/// A group of nodes.
pub struct CoreWorld {
    clock: VirtualClock,
    dice: SplitMix,
    members: BTreeMap<NodeId, Member>,
    net: CoreNet,
    options: CoreOptions,
    write_time: (Duration, Duration),
    queue: BTreeMap<(Moment, u64), Happening>,
    sequence: u64,
    checker: Checker,
    /// The largest index that any node ever knew to be committed.
    committed_max: LogIndex,
    /// The state after each index, by whoever was there first.
    states: BTreeMap<LogIndex, Cells>,
    /// The entry at each index, by whoever was there first.
    names: BTreeMap<LogIndex, EntryId>,
    /// What nodes have said of entries whose index nobody has applied yet.
    claims: BTreeMap<LogIndex, Vec<(EntryId, bool)>>,
    reads: BTreeMap<(NodeId, u64), CoreRead>,
    reads_answered: u64,
    /// Commands that were placed in a log, by node, and whether that node has applied them.
    proposed: BTreeSet<(NodeId, EntryId)>,
    /// Nodes that have learned of their removal: they are never started again.
    removed: BTreeSet<NodeId>,
    acknowledged: u64,
    /// The largest index for which the host of its leader has answered a client.
    acknowledged_max: LogIndex,
    /// Nodes whose disk was lost or set back.
    forgetful: BTreeSet<NodeId>,
    /// Members that live, and are called lost by survivors that were forced.
    lost: BTreeSet<NodeId>,
    /// Messages that no node of the protocol would send.
    nonsense_count: u64,
    /// When each entry was appended by its leader, where leases are in the log.
    appended_at: BTreeMap<EntryId, Moment>,
    /// The newest entry that is a lease at each index where there was one.
    lease_ids: BTreeMap<LogIndex, EntryId>,
    /// A clock of declared uncertainty has said what is not so.
    clocks_have_lied: bool,
    /// Requests for votes in the newest terms.
    vote_requests: Vec<Message>,
    /// Hosts look away from their clocks for a while, now and then.
    looks_away: bool,
    /// A node that has just put a snapshot in place.
    newly_installed: Option<NodeId>,
    /// Clients are silent until then.
    quiet_until: Moment,
    /// No client asks for anything, and not in a meeting that the world arranges either.
    clients_rest: bool,
    /// Reads that the world itself has asked for.
    asked: u64,
    /// Whose message is under way.
    hears: Option<NodeId>,
    /// The message under way calls for an election in a leader's name.
    leader_calls: bool,
    /// The message under way is one that no node would send.
    hears_nonsense: bool,
    /// The message under way is a heartbeat that was sent then, by the clock of its leader.
    hears_heartbeat: Option<Tick>,
    /// The message under way refuses entries.
    hears_refusal: Option<Refusal>,
    /// Whom the step under way has granted a pre-vote.
    granted: Option<NodeId>,
    /// A node has refused its vote for the sake of its log, in the step under way.
    refused_behind: bool,
    /// It has acknowledged entries or a snapshot, or has counted a message as a fault or as late.
    has_acknowledged: bool,
    has_objected: bool,
    /// To whom it has named the session of entries, in an answer to them.
    names_session: Option<NodeId>,
    /// A leader gives a change up in the step under way.
    gives_up: bool,
    /// In this step the sender of the message was told that it was removed, and was not heard.
    tells_removal: bool,
    /// Who has voted for whom, as the voters said.
    grants: BTreeMap<(Term, NodeId), BTreeSet<NodeId>>,
    /// Reads that are not decided.
    open_reads: BTreeSet<(NodeId, u64)>,
    /// The first answers to reads that a node got, which may come again in its next life.
    old_answers: BTreeMap<NodeId, Vec<Message>>,
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
        Self {
            members: members_of(options, &clock),
            dice: SplitMix::new(options.seed ^ 0xc07e),
            net: CoreNet::of(options),
            options: options.clone(),
            write_time: options.write_time,
            queue: BTreeMap::new(),
            sequence: 0,
            checker: Checker::default(),
            committed_max: LogIndex(0),
            states: BTreeMap::new(),
            names: BTreeMap::new(),
            claims: BTreeMap::new(),
            reads: BTreeMap::new(),
            reads_answered: 0,
            proposed: BTreeSet::new(),
            removed: BTreeSet::new(),
            acknowledged: 0,
            acknowledged_max: LogIndex(0),
            forgetful: BTreeSet::new(),
            lost: BTreeSet::new(),
            nonsense_count: 0,
            appended_at: BTreeMap::new(),
            lease_ids: BTreeMap::new(),
            clocks_have_lied: false,
            vote_requests: Vec::new(),
            looks_away: true,
            newly_installed: None,
            quiet_until: Moment(0),
            clients_rest: false,
            asked: 0,
            hears: None,
            leader_calls: false,
            hears_nonsense: false,
            hears_heartbeat: None,
            hears_refusal: None,
            granted: None,
            refused_behind: false,
            has_acknowledged: false,
            has_objected: false,
            names_session: None,
            gives_up: false,
            tells_removal: false,
            grants: BTreeMap::new(),
            open_reads: BTreeSet::new(),
            old_answers: BTreeMap::new(),
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

    fn role_of(&self, id: NodeId) -> Option<Role> {
        self.node(id).map(Node::role)
    }

    /// Whether a node runs.
    #[must_use]
    pub fn is_on(&self, id: NodeId) -> bool {
        self.members.get(&id).is_some_and(|member| member.node.is_some())
    }

    /// Whether a node's process runs, and not only its machine.
    #[must_use]
    pub fn is_awake(&self, id: NodeId) -> bool {
        self.is_on(id) && !self.members[&id].sleeps
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

fn members_of(options: &CoreOptions, clock: &VirtualClock) -> BTreeMap<NodeId, Member> {
    let members = (1..=options.node_count).map(|id| {
        let id = NodeId(id);
        let incarnation = if options.disks_are_known { id.0 } else { 0 };
        let modest = options.modest.filter(|(modest, _)| *modest == id);
        let own = Options {
            id,
            incarnation: Incarnation(incarnation),
            is_witness: options.witnesses.contains(&id),
            campaign_delay_ticks: modest.map_or(0, |(_, ticks)| ticks),
            seed: options.seed.wrapping_mul(0x9e37).wrapping_add(id.0),
            ..options.node_options.clone()
        };
        let is_member = options.members.contains(id);
        let configuration =
            if is_member { options.members.clone() } else { Configuration::default() };
        let mark = SnapshotMark { configuration, ..SnapshotMark::default() };
        (id, Member::new(own, mark, NodeClock::new(clock.clone())))
    });
    members.collect()
}
