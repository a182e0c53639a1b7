//! One honest node with an honest host, among peers that send whatever they like. The body of a
//! fuzz target: `fuzz/` feeds it from libFuzzer, `hostile_peers.rs` from a corpus and from dice.
//!
//! It must hold: no panic, no invariant broken, no word that is not on disk, nothing that grows
//! without end, and a disk from which the node can begin again at any moment.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::invariants::{self, Before};
use raft::*;

use crate::cluster::{Disk, options};

/// Numbers out of bytes; zeros when they have run out.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Mostly small, so that messages often fit; sometimes absurd.
    fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=239 => u64::from(small % 12),
            240..=247 => u64::from(self.byte()) << 4,
            248..=251 => 1 << 62,
            _ => u64::MAX,
        }
    }

    fn index(&mut self) -> LogIndex {
        LogIndex(self.number())
    }

    fn entry_id(&mut self) -> EntryId {
        EntryId::new(self.number(), self.number())
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.number().saturating_add(1))
    }

    fn configuration(&mut self) -> Configuration {
        let mut of = |most: u8| -> std::collections::BTreeSet<NodeId> {
            let count = self.byte() % most;
            (0..count).map(|_| NodeId(u64::from(self.byte() % 6) + 1)).collect()
        };
        Configuration {
            voters: of(4),
            outgoing: of(2),
            learners: of(2),
            removed: of(2).into_iter().collect(),
            ..Configuration::default()
        }
    }

    fn mark(&mut self) -> SnapshotMark {
        SnapshotMark { last: self.entry_id(), configuration: self.configuration() }
    }

    fn payload(&mut self) -> Payload {
        match self.byte() % 4 {
            0 => Payload::Noop,
            1 => Payload::Configuration(self.configuration().into()),
            _ => Payload::Command(Bytes::from_static(b"x")),
        }
    }

    /// Half of the time a run that follows `prev`.
    fn entries(&mut self, prev: EntryId) -> Vec<Entry> {
        let is_run = self.flag();
        let mut id = prev;
        (0..self.byte() % 4)
            .map(|_| {
                id = if is_run {
                    let term = Term(id.term.0.max(self.number()));
                    EntryId { term, index: LogIndex(id.index.0.saturating_add(1)) }
                } else {
                    self.entry_id()
                };
                Entry { id, payload: self.payload() }
            })
            .collect()
    }

    fn body(&mut self) -> Body {
        match self.byte() % 19 {
            0 => Body::PreVote { last: self.entry_id() },
            1 => Body::PreVoteResponse { granted: self.flag() },
            2 => Body::RequestVote { last: self.entry_id(), leadership_transfer: self.flag() },
            3 => Body::RequestVoteResponse { granted: self.flag() },
            4 | 5 => {
                let prev = self.entry_id();
                let (commit_index, session) = (self.index(), self.number() % 2);
                Body::AppendEntries {
                    prev,
                    commit_index,
                    session,
                    entries: self.entries(prev).into(),
                }
            }
            6 => Body::AppendEntriesResponse(AppendOutcome::Accepted {
                session: self.number() % 2,
                match_index: self.index(),
            }),
            7 => Body::AppendEntriesResponse(AppendOutcome::Rejected {
                session: self.number() % 2,
                prev_index: self.index(),
                hint: self.entry_id(),
            }),
            8 => Body::Heartbeat { commit_index: self.index(), round: self.number() },
            9 => Body::HeartbeatResponse { round: self.number(), last_index: self.index() },
            10 => Body::InstallSnapshot { mark: self.mark().into() },
            11 => Body::InstallSnapshotResponse { match_index: self.index() },
            12 => Body::Quiesce { last: self.entry_id(), commit_index: self.index() },
            13 => Body::TimeoutNow { lease_ended: self.flag() },
            14 if self.flag() => Body::ReadIndex { context: self.number(), replied: self.flag() },
            14 => {
                let index = self.flag().then(|| self.index());
                Body::ReadIndexResponse { context: self.number(), index }
            }
            15 => Body::Pull { prev: self.entry_id() },
            16 => {
                let (prev, commit_index) = (self.entry_id(), self.index());
                Body::PullResponse { prev, commit_index, entries: self.entries(prev).into() }
            }
            17 => {
                let (prev, commit_index) = (self.entry_id(), self.index());
                Body::CommitIndex { prev, commit_index, session: self.number() % 2 }
            }
            _ => {
                let incarnation = Incarnation(self.number() % 2);
                Body::Removed { by: self.mark().into(), incarnation }
            }
        }
    }
}

struct Host {
    node: Node,
    disk: Disk,
    in_flight: VecDeque<Persist>,
    fetches: VecDeque<Fetch>,
    installing: Option<SnapshotMark>,
    handed_out: Option<LogIndex>,
    now: Tick,
    reads: u64,
}

/// Runs one node through whatever the bytes say.
///
/// # Panics
/// When something does not hold.
pub(crate) fn run(data: &[u8]) {
    let mut source = Source(data);
    let settings = source.byte();
    let options = Options {
        pre_vote: settings & 1 == 0,
        check_quorum: settings & 2 == 0,
        quiesce_after_ticks: (settings & 4 != 0).then_some(5),
        lease_drift_ppm: (settings & 10 == 8).then_some(0),
        pending_reads_max: 50,
        cache_bytes_max: 200,
        record_events: false,
        ..options(1)
    };
    let voters = if settings & 16 == 0 { 1..=3 } else { 1..=1 };
    let configuration = Configuration::of_voters(voters.map(NodeId));
    let mark = SnapshotMark { last: EntryId::default(), configuration };
    let disk = Disk { mark, ..Disk::default() };
    let node = Node::new(options.clone(), disk.restored(usize::MAX)).expect("sound options");
    let mut host = Host {
        node,
        disk,
        in_flight: VecDeque::new(),
        fetches: VecDeque::new(),
        installing: None,
        handed_out: None,
        now: Tick(0),
        reads: 0,
    };
    host.input(Input::Tick);
    while !source.0.is_empty() {
        host.step(&mut source, &options);
    }
}

impl Host {
    fn step(&mut self, source: &mut Source<'_>, options: &Options) {
        match source.byte() % 32 {
            0..=15 => {
                let (from, term) = (source.node(), Term(source.number()));
                let body = source.body();
                self.input(Input::Message(Message::new(from, NodeId(1), term, body)));
            }
            // The same question over and over, from as many nodes as you like.
            16 => {
                let (term, body) = (Term(source.number()), source.body());
                for from in 0..u64::from(source.byte()) * 8 {
                    let message = Message::new(NodeId(from + 2), NodeId(1), term, body.clone());
                    self.node.handle(self.now, Input::Message(message));
                }
                self.input(Input::Tick);
            }
            17 | 18 => {
                self.now = self.now.after(u64::from(source.byte() % 24));
                self.input(Input::Tick);
            }
            19..=22 => self.write_one(),
            23 => self.answer_fetch(),
            24 => {
                if let Some(index) = self.handed_out.take() {
                    self.input(Input::Applied(index));
                }
            }
            25 => {
                if let Some(mark) = self.installing.take() {
                    self.disk.applied = mark.last.index;
                    self.input(Input::SnapshotInstalled(mark.into()));
                }
            }
            26 => self.input(Input::Propose(vec![Bytes::from_static(b"y")])),
            27 => {
                self.reads += 1;
                self.input(Input::Read(ReadRequest::read_index(self.reads)));
            }
            28 => self.input(Input::TransferLeadership { to: None }),
            29 => {
                let change = MemberChange::AddLearner(source.node());
                self.input(Input::ChangeConfiguration(ConfigurationChange::of([change]).into()));
            }
            30 => self.compact(),
            _ => self.crash(options, usize::from(source.byte() % 4)),
        }
    }

    fn input(&mut self, input: Input) {
        let before = Before::of(&self.node);
        self.node.handle(self.now, input);
        let output = self.node.take_output();
        assert_eq!(before.check(&self.node), Ok(()));
        assert_eq!(invariants::check_state(&self.node), Ok(()));
        for message in &output.messages {
            assert_eq!(self.disk.durable().check(message), Ok(()));
        }
        for (what, size, most) in invariants::sizes(&self.node) {
            assert!(size <= most, "{size} {what}, {most} are allowed");
        }
        self.in_flight.extend(output.persists);
        self.fetches.extend(output.fetches);
        if let Some(last) = output.committed.last() {
            self.handed_out = Some(last.id.index);
        }
        if let Some(mark) = output.install_snapshot {
            self.handed_out = None;
            self.installing = Some(*mark);
        }
    }

    fn write_one(&mut self) {
        if let Some(persist) = self.in_flight.pop_front() {
            let number = persist.number;
            self.disk.write(persist);
            self.input(Input::Persisted(number));
        }
    }

    /// From what is on disk; what is not there any more is answered with nothing.
    fn answer_fetch(&mut self) {
        let Some(Fetch { from, to, .. }) = self.fetches.pop_front() else { return };
        let wanted = |entry: &&Entry| from <= entry.id.index && entry.id.index < to;
        let entries: Vec<Entry> = self.disk.entries.iter().filter(wanted).cloned().collect();
        let entries = if entries.first().is_some_and(|first| first.id.index == from) {
            entries
        } else {
            Vec::new()
        };
        self.input(Input::Fetched { from, entries });
    }

    fn compact(&mut self) {
        if self.installing.is_none() {
            let upto = self.node.status().applied_index;
            self.disk.applied = upto;
            self.input(Input::Compact { upto });
        }
    }

    /// Keeps some of what was on its way to the disk, and forgets all else.
    fn crash(&mut self, options: &Options, kept: usize) {
        for persist in self.in_flight.drain(..).take(kept) {
            self.disk.write(persist);
        }
        self.fetches.clear();
        self.installing = None;
        self.handed_out = None;
        // What the state machine had is never ahead of the log beside it.
        let restored = self.disk.restored(kept);
        self.node = Node::new(options.clone(), restored).expect("a disk to begin from");
        self.input(Input::Tick);
    }
}
