//! What can be done to a core world from outside.

use std::time::Duration;

use bytes::Bytes;
use env::Moment;
use env::mem::NodeClock;
use raft::{
    Entry, EntryId, HardState, Incarnation, Input, KeyedCommand, LogIndex, NodeId, Options,
    Payload, ProposeError, ReadMode, Role, SnapshotMark, Term,
};

use super::happening::Happening;
use super::member::Member;
use super::{CoreWorld, GROUP};
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
        let applied = self.members[&id].disk.applied;
        let state = self.state_of(applied);
        let member = self.member(id);
        let node = member.restart(tail);
        (member.applied, member.state) = (applied, state);
        member.node = Some(node);
        self.tell(id, "starts");
        self.input(id, Input::Tick);
        self.repeat_old_answers(id);
    }

    /// R9: answers to reads of an earlier life may still be under way.
    fn repeat_old_answers(&mut self, id: NodeId) {
        let answers = self.old_answers.remove(&id).unwrap_or_default();
        if answers.is_empty() || self.dice.below(3) > 0 {
            return;
        }
        self.census.meet("sometimes: an answer to an earlier life comes late");
        for _ in 0..8 {
            let place = self.dice.below(answers.len() as u64);
            let message = answers[usize::try_from(place).expect("small")].clone();
            // Whoever begins asks again; the old answer comes when the new one is still awaited.
            let most = [40, 300, 2000][usize::try_from(self.dice.below(3)).expect("small")];
            let after = Duration::from_millis(self.dice.below(most));
            let life = self.members[&id].life;
            let mode = Some(ReadMode::ReadIndex);
            self.later(after, Happening::Ask { node: id, life, mode });
            self.later(after, Happening::Arrival { number: 0, message, asked_at: None });
        }
    }

    /// The node crashes as soon as it leads a group of which it is no member, and has that on disk;
    /// nobody hears of it before.
    pub fn doom(&mut self, id: NodeId) {
        self.member(id).is_doomed = true;
    }

    /// Nobody is doomed any more, since nobody would turn the node on again once the faults stop;
    /// hosts look at their clocks, and deliver snapshots.
    pub fn call_off_dooms(&mut self) {
        for member in self.members.values_mut() {
            (member.is_doomed, member.crawls_until) = (false, Moment(0));
        }
        self.queue.retain(|_, happening| !matches!(happening, Happening::Doom { .. }));
        self.looks_away = false;
        self.options.lost_snapshots_permille = 0;
    }

    /// A configuration is in force on a node.
    pub(super) fn carry_out_doom(&mut self, id: NodeId) {
        let Some(node) = self.node(id) else { return };
        let leads = node.role() == Role::Leader && !node.configuration().is_voter(id);
        if !leads || !std::mem::take(&mut self.member(id).is_doomed) {
            return;
        }
        self.census.meet("sometimes: a leader that leaves crashes before it can say so");
        for other in self.nodes() {
            self.net.cut(id.0, other.0);
        }
        let (life, after) = (self.members[&id].life, self.write_time.1 * 2);
        self.later(after, Happening::Doom { node: id, life });
    }

    /// Whether a node knows that it was removed.
    pub(super) fn has_heard_of_removal(&self, id: NodeId) -> bool {
        self.removed.contains(&id)
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
        let open = (id, 0)..=(id, u64::MAX);
        let over: Vec<_> = self.open_reads.range(open).copied().collect();
        self.open_reads.retain(|read| !over.contains(read));
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
            let is_known = old.options.incarnation.is_known();
            let incarnation = Incarnation(if is_known { by.0 } else { 0 });
            let options = Options { id: by, incarnation, ..old.options };
            let clock = NodeClock::new(self.clock.clone());
            let member = Member::new(options, SnapshotMark::default(), clock);
            let rate_ppm = old.rate_ppm;
            self.members.insert(by, member);
            self.member(by).rate_ppm = rate_ppm;
            self.mend_clock(by);
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

    /// The process stops, as by SIGSTOP; its machine and its clock go on.
    pub fn put_to_sleep(&mut self, id: NodeId) {
        self.member(id).sleeps = true;
        self.tell(id, "is stopped");
        self.shade(id, "stopped");
    }

    /// It goes on, with all that has come meanwhile.
    pub fn wake(&mut self, id: NodeId) {
        let member = self.member(id);
        if !std::mem::replace(&mut member.sleeps, false) {
            return;
        }
        let waiting = std::mem::take(&mut member.waiting);
        member.seen.calm_since = member.tick();
        self.tell(id, "goes on");
        self.light(id, "stopped");
        for happening in waiting {
            self.come_true(happening);
        }
        if self.is_on(id) {
            self.member(id).set_alarm();
        }
    }

    /// The applier, and whoever reads old entries and carries snapshots, stand still or go on.
    pub fn hang_stages(&mut self, id: NodeId, applier: bool, bulk: bool) {
        let member = self.member(id);
        (member.applier_hangs, member.bulk_hangs) = (applier, bulk);
        let has_work = !member.applies && !member.to_apply.is_empty();
        if !applier && member.node.is_some() && has_work {
            member.applies = true;
            let life = member.life;
            self.later(Duration::ZERO, Happening::Apply { node: id, life });
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

    /// The node's clock runs as fast as it may from now on, or as slow, or between.
    pub fn drift_within_bounds(&mut self, id: NodeId, dice: u64) {
        let spread = u64::from(self.options.clock_spread_ppm);
        let member = self.member(id);
        member.rate_ppm =
            1_000_000 + [0, spread, spread / 2][usize::try_from(dice % 3).unwrap_or(0)];
        self.mend_clock(id);
    }

    /// The node's clock runs as it should again.
    pub fn mend_clock(&mut self, id: NodeId) {
        let member = self.member(id);
        member.clock.mend();
        member.clock.set_rate_ppm(member.rate_ppm);
        member.set_alarm();
    }

    /// Whether a node holds no commands.
    #[must_use]
    pub fn is_witness(&self, id: NodeId) -> bool {
        self.members[&id].options.is_witness
    }

    /// The newest command that a client has placed in the log of this node or of another.
    #[must_use]
    pub fn newest_write(&self, id: NodeId) -> Option<EntryId> {
        let own = self.proposed.iter().rfind(|(node, _)| *node == id);
        own.or_else(|| self.proposed.last()).map(|(_, entry)| *entry)
    }

    /// The node's clock was set to something else.
    pub fn clock_was_set(&mut self, id: NodeId) {
        let member = self.member(id);
        member.seen.calm_since = member.tick();
        member.set_alarm();
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

    /// Asks a node to place commands in the log that say what they touch.
    ///
    /// # Errors
    /// It does not lead, or will not.
    pub fn propose_keyed(
        &mut self,
        id: NodeId,
        commands: Vec<KeyedCommand>,
    ) -> Result<EntryId, ProposeError> {
        let count = commands.len() as u64;
        let placed = self.act(id, |node, now| node.propose_keyed(now, commands));
        if let Ok(EntryId { term, index }) = placed {
            let placed = (index.0..index.0 + count).map(LogIndex);
            self.proposed.extend(placed.map(|index| (id, EntryId { term, index })));
            self.note(id, Kind::Client, &format!("client: {count} commands, from {index}@{term}"));
        }
        placed
    }

    /// The state machine makes durable all that it has applied, and the log is cut.
    pub fn compact(&mut self, id: NodeId) {
        let member = &self.members[&id];
        let witness = member.node.as_ref().filter(|_| member.options.is_witness);
        let upto = witness.map_or(member.applied, |node| node.status().applied_index);
        if upto > LogIndex(0) && upto >= self.members[&id].disk.applied {
            self.member(id).disk.applied = upto;
            self.input(id, Input::Compact { upto });
            self.check_cut(id, upto);
        }
    }

    /// Who has put a snapshot in place since the last time.
    pub fn take_installed(&mut self) -> Option<NodeId> {
        self.newly_installed.take()
    }

    /// Anything else that can happen to a node.
    pub fn hand(&mut self, id: NodeId, input: Input) {
        if let Input::PauseElections(are_paused) = input {
            self.member(id).seen.elections_are_paused = are_paused;
        }
        self.input(id, input);
    }

    /// A sentence of the story, at this moment.
    pub fn say(&mut self, text: &str) {
        self.note(NodeId(0), Kind::Other, text);
    }

    pub(super) fn note(&mut self, id: NodeId, kind: Kind, text: &str) {
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
