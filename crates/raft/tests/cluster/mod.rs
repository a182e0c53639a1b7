//! A group in one thread, for tests: nodes, disks that can be slow or crash, and a network whose
//! every message the test may deliver, drop, keep or repeat. All invariants are checked after
//! every step; a violation panics.
#![expect(clippy::unwrap_used, reason = "a helper of tests: what is missing fails the test")]
#![allow(dead_code, reason = "each test file uses another part")]
#![allow(clippy::allow_attributes, reason = "an expectation would fail in the files that use all")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use bytes::Bytes;
use raft::invariants::{self, Before, Cluster as Checker, Durable};
use raft::*;

/// What survives a crash: the log as written, and the state machine's last durable state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) mark: SnapshotMark,
    pub(crate) entries: Vec<Entry>,
    pub(crate) applied: LogIndex,
}

impl Disk {
    pub(crate) fn write(&mut self, persist: Persist) {
        if let Some(MarkWrite { mark, reset }) = persist.mark {
            self.entries.retain(|entry| !reset && entry.id.index > mark.last.index);
            self.mark = mark;
        }
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(first) = persist.entries.first() {
            self.entries.retain(|entry| entry.id.index < first.id.index);
            let before = self.entries.last().map_or(self.mark.last, |entry| entry.id);
            assert_eq!(before.index.next(), first.id.index, "the disk gets no hole");
        }
        self.entries.extend(persist.entries);
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.mark.last, |entry| entry.id)
    }

    /// What a recovery hands to the node; only the last `tail` entries in full.
    pub(crate) fn restored(&self, tail: usize) -> Restored {
        let mut term_runs: Vec<(LogIndex, Term)> = Vec::new();
        let mut configurations = Vec::new();
        for entry in &self.entries {
            if term_runs.last().is_none_or(|(_, term)| *term < entry.id.term) {
                term_runs.push((entry.id.index, entry.id.term));
            }
            if let Payload::Configuration(configuration) = &entry.payload {
                configurations.push((entry.id.index, configuration.as_ref().clone()));
            }
        }
        let skip = self.entries.len().saturating_sub(tail);
        Restored {
            hard_state: self.hard_state,
            mark: self.mark.clone(),
            entries: self.entries[skip..].to_vec(),
            term_runs,
            last: self.last(),
            applied: self.applied,
            configurations,
        }
    }

    pub(crate) fn durable(&self) -> Durable<'_> {
        Durable { hard_state: self.hard_state, mark: self.mark.last, entries: &self.entries }
    }
}

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
    commits: BTreeMap<u64, (Term, LogIndex)>,
    /// The largest index that any node ever knew to be committed.
    committed_max: LogIndex,
    /// What was committed when a read was asked for: it must not be answered below.
    read_floors: BTreeMap<(u64, u64), LogIndex>,
}

pub(crate) fn id(node: u64) -> NodeId {
    NodeId(node)
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
            commits: BTreeMap::new(),
            committed_max: LogIndex(0),
            read_floors: BTreeMap::new(),
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

    // ---- life and death ----

    pub(crate) fn restart(&mut self, node: u64) {
        self.restart_with_tail(node, usize::MAX);
    }

    pub(crate) fn restart_with_tail(&mut self, node: u64, tail: usize) {
        self.checker.restarted(id(node));
        self.commits.remove(&node);
        let member = self.member(node);
        member.lives += 1;
        let seed = member.options.seed.wrapping_add(member.lives << 16);
        let options = Options { seed, ..member.options.clone() };
        member.node = Some(Node::new(options, member.disk.restored(tail)).unwrap());
        let now = member.now;
        self.input(node, now, Input::Tick);
    }

    /// Everything that is not on disk is gone.
    pub(crate) fn crash(&mut self, node: u64) {
        let member = self.member(node);
        member.node = None;
        member.in_flight.clear();
        member.fetches.clear();
        member.unreported = None;
        member.snapshots_wanted.clear();
        member.applied.clear();
    }

    /// The disk breaks; the node begins again as on its first day, with a new one.
    pub(crate) fn lose_disk(&mut self, node: u64) {
        self.crash(node);
        self.disks_were_lost = true;
        let member = self.member(node);
        member.disk = member.birth.clone();
        // Alone it would begin another group; such a node must be told to wait.
        if member.birth.mark.configuration.voters.len() == 1 {
            member.disk = Disk::default();
        }
        if member.options.incarnation.is_known() {
            member.options.incarnation.0 += 100;
        }
        self.restart(node);
    }

    /// The node begins again from a copy of its disk.
    pub(crate) fn set_disk_back(&mut self, node: u64) {
        self.crash(node);
        self.disks_were_lost = true;
        let member = self.member(node);
        member.disk = member.copy.clone().expect("a copy was made");
        self.restart(node);
    }

    /// The operator gives up everybody but the survivors, on one of them. What the group was is no
    /// measure for what it is now.
    pub(crate) fn force_survivors(
        &mut self,
        node: u64,
        survivors: &[u64],
    ) -> Result<(), RecoveryError> {
        self.crash(node);
        let survivors = survivors.iter().copied().map(NodeId).collect();
        let restored = self.members[&node].disk.restored(usize::MAX);
        let persist = restored.force_survivors(id(node), &survivors, 5)?;
        self.member(node).disk.write(persist);
        self.checker = Checker::default();
        self.disks_were_lost = true;
        self.commits.clear();
        self.committed_max = LogIndex(0);
        self.read_floors.clear();
        self.restart(node);
        Ok(())
    }

    /// Gives a node the disk of a story and starts it anew: terms of the entries behind the mark.
    pub(crate) fn load(&mut self, node: u64, term: u64, terms: &[u64]) {
        let member = self.member(node);
        let first = member.disk.mark.last.index.0 + 1;
        member.disk.entries = terms
            .iter()
            .zip(first..)
            .map(|(term, index)| Entry {
                id: EntryId::new(*term, index),
                payload: Payload::Command(command(&format!("{index}@{term}"))),
            })
            .collect();
        member.disk.hard_state = HardState { current_term: Term(term), voted_for: None };
        self.crash(node);
        self.restart(node);
    }

    /// The host ends a node that was removed; another one, with an id of its own and an empty disk,
    /// waits in its place.
    pub(crate) fn replace(&mut self, node: u64, by: u64) {
        let old = self.members.remove(&node).unwrap();
        let options = Options { id: id(by), ..old.options };
        let member = Member { now: old.now, ..Member::new(options, Configuration::default()) };
        self.members.insert(by, member);
        self.restart(by);
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    // ---- inputs ----

    pub(crate) fn input(&mut self, node: u64, now: Tick, input: Input) {
        self.act(node, |raft| raft.handle(now, input));
    }

    /// One step of one node, with everything checked, and all that follows from it at once.
    pub(crate) fn act<T>(&mut self, node: u64, act: impl FnOnce(&mut Node) -> T) -> T {
        self.steps += 1;
        let member = self.member(node);
        let mut raft = member.node.take().expect("the node is not crashed");
        let before = Before::of(&raft);
        let result = act(&mut raft);
        let output = raft.take_output();
        let checked = before.check(&raft).and_then(|()| invariants::check_state(&raft));
        let observed = checked.and_then(|()| self.checker.observe(&raft));
        if let Err(violation) = observed {
            panic!("node {node}: {violation:?}\n{}", self.lines.join("\n"));
        }
        self.check_commit(node, &raft);
        self.member(node).node = Some(raft);
        self.absorb(node, output);
        result
    }

    fn check_commit(&mut self, node: u64, raft: &Node) {
        let status = raft.status();
        let seen = (status.hard_state.current_term, status.commit_index);
        self.committed_max = self.committed_max.max(status.commit_index);
        let is_news = self.commits.insert(node, seen).is_none_or(|before| before.1 < seen.1);
        if is_news && status.role == Role::Leader && !self.disks_were_lost {
            let holds = |voter: NodeId, entry| {
                self.members.get(&voter.0).is_some_and(|member| member.disk.durable().holds(entry))
            };
            if let Err(violation) = Checker::observe_commit(raft, holds) {
                panic!("node {node}: {violation:?}\n{}", self.lines.join("\n"));
            }
        }
    }

    fn absorb(&mut self, node: u64, output: Output) {
        for event in &output.events {
            self.lines.push(format!("n{node} {event}"));
        }
        let member = self.members.get_mut(&node).unwrap();
        for message in &output.messages {
            let checked = member.disk.durable().check(message);
            let observed = checked.and_then(|()| self.checker.observe_message(message));
            if let Err(violation) = observed {
                panic!("node {node}: {violation:?}\n{}", self.lines.join("\n"));
            }
        }
        self.network.extend(output.messages);
        if let Some(by) = output.removed {
            assert!(by.configuration.removed.contains(&id(node)), "node {node}: {by:?}");
            assert!(by.last.index <= self.committed_max, "only what is committed ends a node");
            member.removed_by = Some(by);
        }
        for read in output.reads {
            member.reads.push(read);
            let floor = self.read_floors.get(&(node, read.context)).copied().unwrap_or_default();
            // What is committed lies up to the index, or in the limbo that was told.
            let covers = |point: ReadPoint| point.limbo.map_or(point.index, |limbo| limbo.last);
            assert!(
                read.result.is_err() || read.result.is_ok_and(|point| covers(point) >= floor),
                "node {node} answers a read at {read:?}, but {floor:?} was committed before it"
            );
            let line = match read.result {
                Ok(ReadPoint { index, limbo: None }) => format!("at={index}"),
                Ok(ReadPoint { index, limbo: Some(Limbo { first, last }) }) => {
                    format!("at={index} limbo={first}..{last}")
                }
                Err(error) => format!("refused: {error}"),
            };
            self.lines.push(format!("n{node} read {} {line}", read.context));
        }
        member.fetches.extend(output.fetches);
        member.snapshots_wanted.extend(output.send_snapshots);
        member.in_flight.extend(output.persists);
        if let Err(violation) = self.checker.observe_applied(id(node), &output.committed) {
            panic!("node {node}: {violation:?}\n{}", self.lines.join("\n"));
        }
        let member = self.member(node);
        if let Some(last) = output.committed.last() {
            member.unreported = Some(last.id.index);
        }
        member.applied.extend(output.committed);
        let (disk_is_instant, apply_is_instant, fetch_is_instant) =
            (member.disk_is_instant, member.apply_is_instant, member.fetch_is_instant);
        let now = member.now;
        if let Some(mark) = output.install_snapshot {
            assert!(
                member.disk.mark.last >= mark.last,
                "the state is replaced only when the log that follows it is durable (S1)"
            );
            member.applied.clear();
            member.disk.applied = mark.last.index;
            self.input(node, now, Input::SnapshotInstalled(mark));
        }
        // What these lead to comes by here again: only the outermost goes on, or a disk with a long
        // queue would go as deep as that is long.
        if std::mem::replace(&mut self.member(node).is_settling, true) {
            return;
        }
        while (apply_is_instant && self.report_applied(node))
            || (disk_is_instant && self.write_one(node))
            || (fetch_is_instant && self.fetch_one(node))
        {}
        self.member(node).is_settling = false;
    }

    /// The state machine says how far it has come.
    pub(crate) fn report_applied(&mut self, node: u64) -> bool {
        let member = self.member(node);
        let Some(index) = member.unreported.take() else { return false };
        let now = member.now;
        self.input(node, now, Input::Applied(index));
        true
    }

    /// The disk finishes its oldest write.
    pub(crate) fn write_one(&mut self, node: u64) -> bool {
        let member = self.member(node);
        let Some(persist) = member.in_flight.pop_front() else { return false };
        let (number, now) = (persist.number, member.now);
        member.disk.write(persist);
        self.input(node, now, Input::Persisted(number));
        true
    }

    /// The log answers the oldest fetch.
    pub(crate) fn fetch_one(&mut self, node: u64) -> bool {
        let member = self.member(node);
        let Some(fetch) = member.fetches.pop_front() else { return false };
        let mut bytes = 0;
        let wanted = |entry: &&Entry| fetch.from <= entry.id.index && entry.id.index < fetch.to;
        let fits = |entry: &&Entry| {
            bytes += entry.size_bytes();
            bytes <= fetch.bytes_max || entry.id.index == fetch.from
        };
        let entries: Vec<Entry> =
            member.disk.entries.iter().filter(wanted).take_while(fits).cloned().collect();
        let now = member.now;
        self.input(node, now, Input::Fetched { from: fetch.from, entries });
        true
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
            self.input(to, now, Input::Message(message));
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
        let delivered = Some(mark.clone());
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

    /// The commands that a node has applied, in order.
    pub(crate) fn applied_commands(&self, node: u64) -> Vec<String> {
        let commands =
            self.members[&node].applied.iter().filter_map(|entry| match &entry.payload {
                Payload::Command(command) => Some(String::from_utf8_lossy(command).into_owned()),
                Payload::Noop
                | Payload::Withheld
                | Payload::Lease(_)
                | Payload::Configuration(_) => None,
            });
        commands.collect()
    }

    /// A node in one line, as the scripts print it.
    pub(crate) fn status_line(&self, node: u64) -> String {
        let member = &self.members[&node];
        let Some(raft) = &member.node else { return format!("n{node} crashed") };
        let status = raft.status();
        let role = match status.role {
            Role::Follower => "follower",
            Role::PreCandidate => "pre-candidate",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        };
        let mut line = format!(
            "n{node}@{} {role} last={} commit={} applied={}",
            status.hard_state.current_term, status.last, status.commit_index, status.applied_index
        );
        for follower in &status.followers {
            let snapshot = if follower.needs_snapshot { "!" } else { "" };
            write!(
                line,
                " n{}:{}/{}{snapshot}",
                follower.id, follower.match_index, follower.next_index
            )
            .unwrap();
        }
        line
    }
}

/// The session of a member that was there at the election goes without saying.
fn in_session(session: u64) -> String {
    if session == 0 { String::new() } else { format!(" session={session}") }
}

/// A message in one line, as the scripts print it.
pub(crate) fn message_line(message: &Message) -> String {
    let Message { from, to, term, body, .. } = message;
    let body = match body {
        Body::PreVote { last } => format!("PreVote last={last}"),
        Body::PreVoteResponse { granted } => format!("PreVoteResponse granted={granted}"),
        Body::RequestVote { last, leadership_transfer } => {
            let transfer = if *leadership_transfer { " transfer" } else { "" };
            format!("RequestVote last={last}{transfer}")
        }
        Body::RequestVoteResponse { granted } => format!("RequestVoteResponse granted={granted}"),
        Body::AppendEntries { prev, commit_index, session, entries } => {
            let span = match (entries.first(), entries.last()) {
                (Some(first), Some(last)) if first == last => format!(" entries={}", first.id),
                (Some(first), Some(last)) => format!(" entries={}..{}", first.id, last.id),
                _ => String::new(),
            };
            format!("AppendEntries prev={prev}{span} commit={commit_index}{}", in_session(*session))
        }
        Body::AppendEntriesResponse(AppendOutcome::Accepted { session, match_index }) => {
            format!("Accepted match={match_index}{}", in_session(*session))
        }
        Body::AppendEntriesResponse(AppendOutcome::Rejected { session, prev_index, hint }) => {
            format!("Rejected prev={prev_index} hint={hint}{}", in_session(*session))
        }
        Body::Heartbeat { commit_index, round } => {
            format!("Heartbeat commit={commit_index} round={round}")
        }
        Body::HeartbeatResponse { round, last_index } => {
            format!("HeartbeatResponse round={round} last={last_index}")
        }
        Body::Quiesce { last, commit_index } => {
            format!("Quiesce last={last} commit={commit_index}")
        }
        Body::InstallSnapshot { mark } => format!("InstallSnapshot last={}", mark.last),
        Body::InstallSnapshotResponse { match_index } => {
            format!("InstallSnapshotResponse match={match_index}")
        }
        Body::TimeoutNow { lease_ended: false } => "TimeoutNow".to_owned(),
        Body::TimeoutNow { lease_ended: true } => "TimeoutNow lease ended".to_owned(),
        Body::ReadIndex { replied: false, .. } => "ReadIndex".to_owned(),
        Body::ReadIndex { replied: true, .. } => "ReadIndex replied".to_owned(),
        Body::Removed { by, .. } => format!("Removed by={}", by.last),
        Body::ReadIndexResponse { index, .. } => {
            let index = index.map_or_else(|| "none".to_owned(), |index| index.to_string());
            format!("ReadIndexResponse index={index}")
        }
    };
    format!("n{from} -> n{to} t{term} {body}")
}
