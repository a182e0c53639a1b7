//! A group in one thread, for tests: nodes, disks that can be slow or crash, and a network whose
//! every message the test may deliver, drop, keep or repeat. All invariants are checked after
//! every step; a violation panics.
#![expect(clippy::unwrap_used, reason = "a helper of tests: what is missing fails the test")]
#![allow(dead_code, reason = "each test file uses another part")]
#![allow(clippy::allow_attributes, reason = "an expectation would fail in the files that use all")]

pub(crate) mod dice;
mod disk;
mod life;
mod steps;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use raft::invariants::Cluster as Checker;
use raft::*;

pub(crate) use disk::Disk;

/// One node with its disk and its host.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) options: Options,
    /// `None` while crashed.
    pub(crate) node: Option<Node>,
    pub(crate) disk: Disk,
    /// What it began with, before it had any disk.
    birth: Disk,
    /// A copy of the disk that somebody made once.
    pub(crate) copy: Option<Disk>,
    /// Written, but not yet on disk.
    pub(crate) in_flight: VecDeque<Persist>,
    /// The disk is as fast as thought.
    pub(crate) disk_is_instant: bool,
    /// The state machine is as fast as thought.
    pub(crate) apply_is_instant: bool,
    /// Applied, but the node was not told so yet.
    pub(crate) unreported: Option<LogIndex>,
    pub(crate) fetches: VecDeque<Fetch>,
    pub(crate) fetch_is_instant: bool,
    pub(crate) snapshots_wanted: Vec<SendSnapshot>,
    pub(crate) reads: Vec<ReadOutcome>,
    /// Commands that this life of the state machine has seen.
    pub(crate) applied: Vec<Entry>,
    /// The node has learned that it was removed.
    pub(crate) removed_by: Option<SnapshotMark>,
    /// Its disk was lost, or set back to an old copy.
    pub(crate) is_forgetful: bool,
    pub(crate) now: Tick,
    is_settling: bool,
    lives: u64,
}

impl Member {
    fn new(options: Options, configuration: Configuration) -> Self {
        let mark = SnapshotMark { last: EntryId::default(), configuration };
        Self {
            options,
            node: None,
            disk: Disk { mark: mark.clone(), ..Disk::default() },
            birth: Disk { mark, ..Disk::default() },
            copy: None,
            in_flight: VecDeque::new(),
            disk_is_instant: true,
            apply_is_instant: true,
            unreported: None,
            fetches: VecDeque::new(),
            fetch_is_instant: true,
            snapshots_wanted: Vec::new(),
            reads: Vec::new(),
            applied: Vec::new(),
            removed_by: None,
            is_forgetful: false,
            now: Tick(0),
            is_settling: false,
            lives: 0,
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) members: BTreeMap<u64, Member>,
    pub(crate) network: Vec<Message>,
    pub(crate) isolated: BTreeSet<u64>,
    pub(crate) lines: Vec<String>,
    pub(crate) steps: u64,
    /// Leases are read on: nobody's clock is faster than another's.
    pub(crate) clocks_agree: bool,
    checker: Checker,
    /// A disk was lost or set back: what a quorum held at a commit is not there to be counted.
    pub(crate) disks_were_lost: bool,
    /// Disks are broken only as far as something is promised: who lacks what is committed can elect
    /// nobody, though a quorum need not hold it.
    pub(crate) promises_hold: bool,
    /// The largest index that any node ever knew to be committed.
    pub(crate) committed_max: LogIndex,
    /// What was committed when a read was asked for: it must not be answered below.
    read_floors: BTreeMap<(u64, u64), LogIndex>,
    /// Reads whose caller does not look at a limbo.
    blind_reads: BTreeSet<(u64, u64)>,
    /// The writes behind which reads were asked for.
    writes_named: BTreeMap<(u64, u64), EntryId>,
    /// The largest commit index that a leader spoke of to each node, and in which term.
    claims: BTreeMap<u64, (Term, LogIndex)>,
    /// How many entries a stale read may lack of that.
    lags: BTreeMap<(u64, u64), u64>,
    /// When a leader of a term last said of a follower whether it is slow, and what.
    slowness: BTreeMap<(NodeId, Term, NodeId), (Tick, bool)>,
}

pub(crate) fn id(node: u64) -> NodeId {
    NodeId(node)
}

/// Of which commit index a leader speaks.
fn commit_index_of(body: &Body) -> Option<LogIndex> {
    if let Body::AppendEntries { commit_index, .. }
    | Body::CommitIndex { commit_index, .. }
    | Body::Heartbeat { commit_index, .. }
    | Body::Quiesce { commit_index, .. } = body
    {
        return Some(*commit_index);
    }
    None
}

pub(crate) fn command(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Options whose numbers are easy to read in a script: an election timeout of 10 ticks.
pub(crate) fn options(node: u64) -> Options {
    Options {
        election_timeout_ticks: 10,
        heartbeat_interval_ticks: 2,
        log_tail_kept: 0,
        record_events: true,
        ..Options::new(id(node), 7)
    }
}

impl Cluster {
    pub(crate) fn new(nodes: u64) -> Self {
        Self::with(nodes, &Configuration::of_voters((1..=nodes).map(NodeId)), |_| {})
    }

    pub(crate) fn with(
        nodes: u64,
        configuration: &Configuration,
        set: impl Fn(&mut Options),
    ) -> Self {
        let mut cluster = Self {
            members: BTreeMap::new(),
            network: Vec::new(),
            isolated: BTreeSet::new(),
            lines: Vec::new(),
            steps: 0,
            clocks_agree: false,
            checker: Checker::default(),
            disks_were_lost: false,
            promises_hold: false,
            committed_max: LogIndex(0),
            read_floors: BTreeMap::new(),
            blind_reads: BTreeSet::new(),
            writes_named: BTreeMap::new(),
            claims: BTreeMap::new(),
            lags: BTreeMap::new(),
            slowness: BTreeMap::new(),
        };
        for node in 1..=nodes {
            let mut options = options(node);
            options.is_witness = configuration.witnesses.contains(&id(node));
            set(&mut options);
            // Whoever is not among the first members waits to be added and knows of nobody.
            let is_member = configuration.contains(id(node));
            let known = if is_member { configuration.clone() } else { Configuration::default() };
            cluster.members.insert(node, Member::new(options, known));
            cluster.restart(node);
        }
        cluster
    }

    pub(crate) fn member(&mut self, node: u64) -> &mut Member {
        self.members.get_mut(&node).unwrap()
    }

    pub(crate) fn node(&self, node: u64) -> &Node {
        self.members[&node].node.as_ref().expect("the node is not crashed")
    }

    pub(crate) fn status(&self, node: u64) -> Status {
        self.node(node).status()
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    // ---- inputs ----

    pub(crate) fn input(&mut self, node: u64, now: Tick, input: Input) {
        self.act(node, |raft| raft.handle(now, input));
    }

    /// Time passes for one node.
    pub(crate) fn tick(&mut self, node: u64, ticks: u64) {
        for _ in 0..ticks {
            let member = self.member(node);
            member.now = member.now.after(1);
            let now = member.now;
            if member.node.as_ref().is_some_and(|raft| raft.next_deadline() <= Some(now)) {
                self.input(node, now, Input::Tick);
            }
        }
    }

    /// Time passes for one node until its next deadline.
    pub(crate) fn timeout(&mut self, node: u64) {
        let deadline = self.node(node).next_deadline();
        let member = self.member(node);
        if let Some(deadline) = deadline {
            member.now = member.now.max(deadline);
            let now = member.now;
            self.input(node, now, Input::Tick);
        }
    }

    pub(crate) fn propose(
        &mut self,
        node: u64,
        commands: &[&str],
    ) -> Result<EntryId, ProposeError> {
        let commands: Vec<Bytes> = commands.iter().map(|text| command(text)).collect();
        let now = self.members[&node].now;
        self.act(node, |raft| raft.propose(now, commands))
    }

    pub(crate) fn read(&mut self, node: u64, context: u64, mode: ReadMode) {
        let now = self.members[&node].now;
        // The others do not promise to see everything.
        let is_strict =
            !matches!(mode, ReadMode::Stale(_) | ReadMode::AfterWrite { .. } | ReadMode::Replied);
        if is_strict {
            self.read_floors.insert((node, context), self.committed_max);
        }
        if let ReadMode::Stale(Staleness { lag_entries_max: Some(lag), .. }) = mode {
            self.lags.insert((node, context), lag);
        }
        if let ReadMode::AfterWrite { index, term: Some(term) } = mode {
            self.writes_named.insert((node, context), EntryId { term, index });
        }
        if matches!(mode, ReadMode::LeaseGuard { checks_limbo: false }) {
            self.blind_reads.insert((node, context));
        }
        self.act(node, |raft| raft.read(now, ReadRequest { context, mode }));
    }

    pub(crate) fn transfer(&mut self, node: u64, to: Option<u64>) -> Result<(), TransferError> {
        let now = self.members[&node].now;
        self.act(node, |raft| raft.transfer_leadership(now, to.map(NodeId)))
    }

    pub(crate) fn change(
        &mut self,
        node: u64,
        change: &ConfigurationChange,
    ) -> Result<EntryId, ChangeError> {
        let now = self.members[&node].now;
        self.act(node, |raft| raft.propose_configuration_change(now, change))
    }

    // ---- the network ----

    /// Hands one message over, unless somebody is cut off or crashed.
    pub(crate) fn deliver(&mut self, message: Message) {
        let (from, to) = (message.from.0, message.to.0);
        let is_cut = self.isolated.contains(&from) || self.isolated.contains(&to);
        let Some(member) = self.members.get(&to) else { return };
        if !is_cut && member.node.is_some() {
            let now = member.now;
            // A test may have made it up; then this is where it is heard of.
            if let Body::RequestVoteResponse { granted: true } = message.body {
                drop(self.checker.observe_message(&message));
            } else if let Body::InstallSnapshot { mark } = &message.body {
                self.checker.believe(mark);
            }
            let said = (message.term, commit_index_of(&message.body));
            self.input(to, now, Input::Message(message));
            self.note_claim(to, said);
        }
    }

    /// Who follows the leader that said so knows of it.
    fn note_claim(&mut self, node: u64, (term, said): (Term, Option<LogIndex>)) {
        if let Some(said) = said.filter(|_| self.node(node).term() == term) {
            let (since, known) = self.claims.get(&node).copied().unwrap_or_default();
            let known = if since == term { known.max(said) } else { said };
            self.claims.insert(node, (term, known));
        }
    }

    /// Delivers everything, and what it leads to, until nothing is left to say.
    pub(crate) fn stabilize(&mut self) {
        for _ in 0..10_000 {
            if self.network.is_empty() {
                return;
            }
            let message = self.network.remove(0);
            self.deliver(message);
        }
        panic!("the group does not come to rest\n{}", self.lines.join("\n"));
    }

    /// Delivers votes and what they lead to, and nothing else.
    pub(crate) fn stabilize_votes(&mut self) {
        for _ in 0..2 {
            let (votes, rest) = self.network.drain(..).partition(|message| {
                let body = &message.body;
                matches!(body, Body::RequestVote { .. } | Body::RequestVoteResponse { .. })
            });
            self.network = rest;
            let votes: Vec<Message> = votes;
            votes.into_iter().for_each(|vote| self.deliver(vote));
        }
    }

    /// Elects `node`, from rest.
    pub(crate) fn elect(&mut self, node: u64) {
        // Whoever still hears the old leader would not vote.
        let others: Vec<u64> =
            self.members.keys().copied().filter(|other| *other != node).collect();
        for other in others {
            let member = self.member(other);
            let is_follower =
                member.node.as_ref().is_some_and(|raft| raft.role() == Role::Follower);
            if is_follower {
                // As long as the timeout, and not so long that it campaigns itself.
                let at = member.now.after(member.options.election_timeout_ticks);
                let deadline = member.node.as_ref().and_then(Node::next_deadline);
                member.now = deadline.map_or(at, |deadline| at.min(Tick(deadline.0 - 1)));
            }
        }
        self.timeout(node);
        self.stabilize();
        assert_eq!(self.node(node).role(), Role::Leader, "{}", self.lines.join("\n"));
    }

    /// The hosts carry a snapshot from `node` to a follower that needs one.
    pub(crate) fn carry_snapshot(&mut self, node: u64) -> Option<SnapshotMark> {
        let wanted = self.member(node).snapshots_wanted.pop()?;
        let raft = self.node(node);
        let mark = raft.snapshot_mark(raft.status().applied_index)?;
        // The wish is of a leadership that is long over: its term cannot vouch for this state.
        if mark.last.term > wanted.term {
            return None;
        }
        assert!(mark.last.index >= wanted.at_least, "the state covers the log's mark (S15)");
        let (term, now) = (wanted.term, self.members[&node].now);
        let body = Body::InstallSnapshot { mark: mark.clone().into() };
        self.network.push(Message::new(id(node), wanted.to, term, body));
        let delivered = Some(mark.clone().into());
        self.input(node, now, Input::SnapshotSent { to: wanted.to, delivered });
        Some(mark)
    }

    /// The state machine makes all durable that it has applied, and the log is cut.
    pub(crate) fn compact(&mut self, node: u64) {
        let upto = self.status(node).applied_index;
        let member = self.member(node);
        member.disk.applied = upto;
        let now = member.now;
        self.input(node, now, Input::Compact { upto });
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}
