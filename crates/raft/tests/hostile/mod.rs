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
use source::Source;

mod requests;
mod source;

struct Host {
    node: Node,
    disk: Disk,
    in_flight: VecDeque<Persist>,
    fetches: VecDeque<Fetch>,
    snapshots: VecDeque<SendSnapshot>,
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
    let mut source = Source::new(data);
    let settings = source.byte();
    source.is_wide = settings & 32 != 0;
    // A witness, and a disk with a number, in the wide form alone.
    let is_witness = settings & 112 == 96;
    let incarnation = Incarnation(u64::from(settings & 160 == 160));
    let options = Options {
        pre_vote: settings & 1 == 0,
        check_quorum: settings & 2 == 0,
        quiesce_after_ticks: (settings & 4 != 0).then_some(5),
        lease_drift_ppm: (settings & 10 == 8).then_some(0),
        pending_reads_max: 50,
        cache_bytes_max: 200,
        record_events: false,
        is_witness,
        incarnation,
        ..options(1)
    };
    let voters = if settings & 16 == 0 { 1..=3 } else { 1..=1 };
    let witnesses = is_witness.then_some(NodeId(1)).into_iter().collect();
    let configuration = Configuration { witnesses, ..Configuration::of_voters(voters.map(NodeId)) };
    let mark = SnapshotMark { last: EntryId::default(), configuration };
    let disk = Disk { mark, ..Disk::default() };
    let node = Node::new(options.clone(), disk.restored(usize::MAX)).expect("sound options");
    let mut host = Host {
        node,
        disk,
        in_flight: VecDeque::new(),
        fetches: VecDeque::new(),
        snapshots: VecDeque::new(),
        installing: None,
        handed_out: None,
        now: Tick(0),
        reads: 0,
    };
    host.input(Input::Tick);
    while !source.is_empty() {
        host.step(&mut source, &options);
    }
}

impl Host {
    fn step(&mut self, source: &mut Source<'_>, options: &Options) {
        let kind = source.byte();
        if source.is_wide && kind >= 192 {
            return self.ask(source);
        }
        match kind % 32 {
            0..=15 => {
                let (from, term) = (source.node(), Term(source.number()));
                let body = source.body();
                let message = Message::new(from, NodeId(1), term, body);
                let incarnation =
                    if source.is_wide { source.incarnation() } else { message.incarnation };
                self.input(Input::Message(Message { incarnation, ..message }));
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
        self.snapshots.extend(output.send_snapshots);
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
        self.snapshots.clear();
        self.installing = None;
        self.handed_out = None;
        // What the state machine had is never ahead of the log beside it.
        let restored = self.disk.restored(kept);
        self.node = Node::new(options.clone(), restored).expect("a disk to begin from");
        self.input(Input::Tick);
    }
}
