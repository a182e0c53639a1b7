//! What can be done to a core world from outside.

use std::time::Duration;

use bytes::Bytes;
use env::mem::NodeClock;
use raft::{
    ChangeError, ConfigurationChange, Entry, EntryId, HardState, Input, LogIndex, NodeId, Options,
    Payload, ProposeError, ReadMode, ReadRequest, SnapshotMark, Term, TransferError,
};

use super::member::Member;
use super::{CoreRead, CoreWorld, GROUP};
use crate::picture::{Kind, View};

/// Ids of nodes that come later are above this one.
const FIRST_NEW_ID: u64 = 99;

impl CoreWorld {
    /// Turns a node on: it recovers from its disk. One that was removed stays off.
    pub fn start(&mut self, id: NodeId) {
        self.start_with_tail(id, usize::MAX);
    }

    /// The same, with only the last entries of its log in memory.
    pub fn start_with_tail(&mut self, id: NodeId, tail: usize) {
        if self.removed.contains(&id) {
            return;
        }
        self.checker.restarted(id);
        self.commits.remove(&id);
        let applied = self.members[&id].disk.applied;
        let state = self.states.get(&applied).copied().unwrap_or_default();
        let member = self.member(id);
        let node = member.restart(tail);
        (member.applied, member.state) = (applied, state);
        member.node = Some(node);
        self.tell(id, "starts");
        self.input(id, Input::Tick);
    }

    /// Turns all nodes on that are off.
    pub fn start_all(&mut self) {
        for id in self.nodes() {
            if !self.is_on(id) {
                self.start(id);
            }
        }
    }

    /// The machine loses its power: of what was not synced a beginning is kept, as the dice fall.
    pub fn crash(&mut self, id: NodeId) {
        self.count_crash(id);
        let unsynced = self.members[&id].in_flight.len() as u64;
        let survive = usize::try_from(self.dice.below(unsynced + 1)).expect("small");
        self.member(id).crash(survive);
        self.tell(id, "crashes");
        let now = self.now();
        if let Some(recording) = &mut self.recording {
            recording.state(now, id, GROUP, View::off());
        }
    }

    /// In the place of each node that was removed and is off, a new one with an id of its own and
    /// an empty disk waits to be added.
    pub fn replace_removed(&mut self) {
        for id in self.nodes() {
            if !self.removed.contains(&id) || self.is_on(id) {
                continue;
            }
            let newest = self.nodes().last().map_or(0, |newest| newest.0);
            let by = NodeId(newest.max(FIRST_NEW_ID) + 1);
            let old = self.members.remove(&id).expect("a node of this world");
            let options = Options { id: by, ..old.options };
            let clock = NodeClock::new(self.clock.clone());
            self.members.insert(by, Member::new(options, SnapshotMark::default(), clock));
            self.start(by);
        }
    }

    /// Gives a node that is off the log of a story: the terms of its entries, from index 1.
    pub fn load(&mut self, id: NodeId, term: u64, terms: &[u64]) {
        let entries = terms.iter().zip(1..).map(|(term, index)| Entry {
            id: EntryId::new(*term, index),
            payload: Payload::Command(Bytes::from(format!("{index}@{term}"))),
        });
        let entries = entries.collect();
        let member = self.member(id);
        member.disk.entries = entries;
        member.disk.hard_state = HardState { current_term: Term(term), voted_for: None };
    }

    /// The log's disk stops answering.
    pub fn hang_disk(&mut self, id: NodeId) {
        self.member(id).hangs = true;
        self.tell(id, "the disk hangs");
        self.shade(id, "the disk hangs");
    }

    /// The log's disk answers again.
    pub fn mend_disk(&mut self, id: NodeId) {
        self.member(id).hangs = false;
        self.light(id, "the disk hangs");
        if self.is_on(id) {
            self.sync(id);
        }
    }

    /// How long writes take from now on, on every disk.
    pub fn set_write_time(&mut self, min: Duration, max: Duration) {
        self.write_time = (min, max);
    }

    /// The node's election timeout is over, whatever the others' clocks say: its clock jumps.
    pub fn time_out(&mut self, id: NodeId) {
        if let Some(ms) = self.members[&id].ms_to_deadline() {
            self.members[&id].clock.jump_ms(ms);
            self.tell(id, "its election timeout is over");
            self.input(id, Input::Tick);
        }
    }

    /// The node's clock was set to something else.
    pub fn clock_was_set(&mut self, id: NodeId) {
        self.member(id).set_alarm();
    }

    /// Asks a node to place a command in the log.
    ///
    /// # Errors
    /// It does not lead, or will not.
    pub fn propose(&mut self, id: NodeId, command: &str) -> Result<EntryId, ProposeError> {
        let commands = vec![Bytes::copy_from_slice(command.as_bytes())];
        let placed = self.act(id, |node, now| node.propose(now, commands));
        if let Ok(entry) = placed {
            self.proposed.insert((id, entry));
            self.note(id, Kind::Client, &format!("client: {command}, placed at {entry}"));
        }
        placed
    }

    /// Asks for a linearizable read; `context` names it.
    pub fn read(&mut self, id: NodeId, context: u64) {
        let floor = self.committed_max;
        self.reads.insert((id, context), CoreRead { floor, answer: None });
        self.note(id, Kind::Client, "client: reads");
        let request = ReadRequest { context, mode: ReadMode::ReadIndex };
        self.act(id, |node, now| node.read(now, request));
    }

    /// The same on the leader's lease.
    pub fn read_lease(&mut self, id: NodeId, context: u64) {
        let floor = self.committed_max;
        self.reads.insert((id, context), CoreRead { floor, answer: None });
        self.note(id, Kind::Client, "client: reads on the lease");
        let request = ReadRequest { context, mode: ReadMode::Lease };
        self.act(id, |node, now| node.read(now, request));
    }

    /// What became of a read.
    #[must_use]
    pub fn answer_of(&self, id: NodeId, context: u64) -> Option<CoreRead> {
        self.reads.get(&(id, context)).copied()
    }

    /// Hands leadership over.
    ///
    /// # Errors
    /// It did not begin.
    pub fn transfer(&mut self, id: NodeId, to: Option<NodeId>) -> Result<(), TransferError> {
        self.act(id, |node, now| node.transfer_leadership(now, to))
    }

    /// Changes the members.
    ///
    /// # Errors
    /// The change did not begin.
    pub fn change(
        &mut self,
        id: NodeId,
        change: &ConfigurationChange,
    ) -> Result<EntryId, ChangeError> {
        self.act(id, |node, now| node.propose_configuration_change(now, change))
    }

    /// The state machine makes durable all that it has applied, and the log is cut.
    pub fn compact(&mut self, id: NodeId) {
        let upto = self.members[&id].applied;
        if upto > LogIndex(0) && upto >= self.members[&id].disk.applied {
            self.member(id).disk.applied = upto;
            self.input(id, Input::Compact { upto });
        }
    }

    /// Anything else that can happen to a node.
    pub fn hand(&mut self, id: NodeId, input: Input) {
        self.input(id, input);
    }

    /// A sentence of the story, at this moment.
    pub fn say(&mut self, text: &str) {
        self.note(NodeId(0), Kind::Other, text);
    }

    fn note(&mut self, id: NodeId, kind: Kind, text: &str) {
        let now = self.now();
        if let Some(recording) = &mut self.recording {
            recording.note(now, (id, GROUP), kind, text);
        }
    }

    /// Something was done to a node.
    pub(super) fn tell(&mut self, id: NodeId, what: &str) {
        let now = self.now();
        self.trace.push(now, format_args!("n{id} {what}"));
        if let Some(recording) = &mut self.recording {
            recording.introduce(id, [GROUP]);
            recording.note(now, (id, GROUP), Kind::Fault, what);
        }
    }

    /// From now on something is wrong with a node.
    pub fn shade(&mut self, id: NodeId, what: &str) {
        let now = self.now();
        if let Some(recording) = &mut self.recording {
            recording.shade(now, &format!("n{id} {what}"), &[id], what);
        }
    }

    /// It is well again.
    pub fn light(&mut self, id: NodeId, what: &str) {
        let now = self.now();
        if let Some(recording) = &mut self.recording {
            recording.light_all(now, &format!("n{id} {what}"));
        }
    }

    /// From now on the network is not what it should be.
    pub fn shade_net(&mut self, what: &str) {
        let now = self.now();
        if let Some(recording) = &mut self.recording {
            recording.shade(now, &format!("net {what}"), &[], what);
        }
    }

    /// The network is well again.
    pub fn light_net(&mut self) {
        let now = self.now();
        if let Some(recording) = &mut self.recording {
            recording.light_all(now, "net");
        }
    }
}
