//! The loop of a core world: what happens next, the node's step, its checks, and all that follows.

use std::time::Duration;

use env::Moment;
use raft::invariants::{Before, Cluster as Checker, check_state};
use raft::{
    Body, Entry, Fetch, Input, LogIndex, Message, Node, NodeId, Output, Payload, Role,
    SendSnapshot, SnapshotMark, Tick,
};

use super::{CoreWorld, GROUP};
use crate::Failure;
use crate::picture::View;

/// What waits for its time. What belongs to a life of a node is nothing in the next one.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Arrival { number: u64, message: Message },
    Synced { node: NodeId, life: u64 },
    Apply { node: NodeId, life: u64 },
    Fetched { node: NodeId, life: u64, fetch: Fetch },
    Carry { node: NodeId, life: u64, wanted: SendSnapshot },
    Install { node: NodeId, life: u64, mark: SnapshotMark },
    End { node: NodeId, life: u64 },
}

/// How long it takes to move a snapshot, and to put it in place.
const CARRY_TIME: Duration = Duration::from_millis(20);
const INSTALL_TIME: Duration = Duration::from_millis(10);
const APPLY_TIME: Duration = Duration::from_millis(1);

impl CoreWorld {
    /// Runs until `done`, or for so long. Returns whether it is done.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now().after(limit);
        loop {
            if done(self) {
                return true;
            }
            if !self.happen(end) {
                self.clock.set(end);
                return done(self);
            }
        }
    }

    /// Runs for so many milliseconds.
    pub fn run_ms(&mut self, ms: u64) {
        let end = self.now().after(Duration::from_millis(ms));
        while self.happen(end) {}
        self.clock.set(end);
        if let Some(recording) = &mut self.recording {
            recording.end_at(end);
        }
    }

    /// The next thing that happens before `end`; `false` if nothing does.
    fn happen(&mut self, end: Moment) -> bool {
        let due = self.queue.first_key_value().map(|((at, _), _)| *at);
        let alarms =
            self.members.values().filter_map(|member| Some((member.wake_at?, member.id())));
        let alarm = alarms.min();
        let now = self.now();
        match (due, alarm) {
            (due, Some((at, id))) if at <= end && due.is_none_or(|due| at < due) => {
                self.clock.set(at.max(now));
                self.input(id, Input::Tick);
                true
            }
            (Some(at), _) if at <= end => {
                let (_, happening) = self.queue.pop_first().expect("it is due");
                self.clock.set(at.max(now));
                self.come_true(happening);
                true
            }
            _ => false,
        }
    }

    pub(super) fn later(&mut self, after: Duration, happening: Happening) {
        let at = self.now().after(after);
        self.at(at, happening);
    }

    pub(super) fn at(&mut self, at: Moment, happening: Happening) -> u64 {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
        self.sequence
    }

    fn is_of(&self, node: NodeId, life: u64) -> bool {
        let member = self.members.get(&node);
        member.is_some_and(|member| member.life == life && member.node.is_some())
    }

    fn come_true(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival { number, message } => self.arrive(number, message),
            Happening::Synced { node, life } if self.is_of(node, life) => self.synced(node),
            Happening::Apply { node, life } if self.is_of(node, life) => self.apply(node),
            Happening::Fetched { node, life, fetch } if self.is_of(node, life) => {
                self.fetched(node, fetch);
            }
            Happening::Carry { node, life, wanted } if self.is_of(node, life) => {
                self.carry(node, wanted);
            }
            Happening::Install { node, life, mark } if self.is_of(node, life) => {
                self.install(node, mark);
            }
            Happening::End { node, life } if self.is_of(node, life) => {
                self.tell(node, "was removed, and its host ends it");
                self.crash(node);
            }
            Happening::End { .. }
            | Happening::Synced { .. }
            | Happening::Apply { .. }
            | Happening::Fetched { .. }
            | Happening::Carry { .. }
            | Happening::Install { .. } => {}
        }
    }

    fn arrive(&mut self, number: u64, message: Message) {
        let (from, to) = (message.from, message.to);
        let is_there = self.members.get(&to).is_some_and(|member| member.node.is_some());
        if !is_there || self.net.is_cut(from.0, to.0) {
            let now = self.now();
            if let Some(recording) = &mut self.recording {
                recording.lost(number, now);
            }
            return;
        }
        self.input(to, Input::Message(message));
    }

    fn synced(&mut self, id: NodeId) {
        let member = self.member(id);
        if member.hangs {
            // The answer comes when the disk does.
            member.syncing = 0;
            return;
        }
        let count = std::mem::take(&mut member.syncing).min(member.in_flight.len());
        let mut newest = None;
        for persist in member.in_flight.drain(..count) {
            newest = Some(persist.number);
            member.disk.write(persist);
        }
        if let Some(number) = newest {
            self.input(id, Input::Persisted(number));
        }
        self.sync(id);
    }

    /// Begins to make durable what waits for it.
    pub(super) fn sync(&mut self, id: NodeId) {
        let (min, max) = self.write_time;
        let range = u64::try_from((max - min).as_nanos()).unwrap_or(u64::MAX - 1);
        let time = min + Duration::from_nanos(self.dice.below(range + 1));
        let member = self.member(id);
        if member.syncing == 0 && !member.in_flight.is_empty() && !member.hangs {
            member.syncing = member.in_flight.len();
            let life = member.life;
            self.later(time, Happening::Synced { node: id, life });
        }
    }

    fn apply(&mut self, id: NodeId) {
        let member = self.member(id);
        member.applies = false;
        let entries = std::mem::take(&mut member.to_apply);
        let Some(last) = entries.last().map(|entry| entry.id.index) else { return };
        for entry in entries {
            self.apply_one(id, &entry);
        }
        self.input(id, Input::Applied(last));
    }

    fn apply_one(&mut self, id: NodeId, entry: &Entry) {
        let member = self.member(id);
        let mut state = member.state.rotate_left(7) ^ entry.id.index.0 ^ entry.id.term.0 << 32;
        if let Payload::Command(command) = &entry.payload {
            for byte in command {
                state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        (member.state, member.applied) = (state, entry.id.index);
        let first = *self.states.entry(entry.id.index).or_insert(state);
        if first != state {
            let detail = format!("node {id} differs from another at {}", entry.id);
            self.fail(id, Failure::new("equal logs, equal states", detail));
        }
        if self.proposed.remove(&(id, entry.id)) {
            self.acknowledged += 1;
        }
    }

    fn fetched(&mut self, id: NodeId, fetch: Fetch) {
        let mut bytes = 0;
        let entries = &self.members[&id].disk.entries;
        let begin = entries.partition_point(|entry| entry.id.index < fetch.from);
        let wanted = entries[begin..].iter().take_while(|entry| {
            bytes += entry.size_bytes();
            let fits = bytes <= fetch.bytes_max || entry.id.index == fetch.from;
            fits && entry.id.index < fetch.to
        });
        let entries: Vec<Entry> = wanted.cloned().collect();
        if entries.first().is_some_and(|first| first.id.index == fetch.from) {
            self.input(id, Input::Fetched { from: fetch.from, entries });
        }
    }

    /// The hosts carry a snapshot to a follower that needs one.
    fn carry(&mut self, id: NodeId, wanted: SendSnapshot) {
        let applied = self.members[&id].applied;
        let mark = self.node(id).and_then(|node| node.snapshot_mark(applied));
        // The wish may be of a leadership that is long over: its term cannot vouch for this state.
        let mark = mark.filter(|mark| mark.last.term <= wanted.term);
        let mark = mark.filter(|mark| mark.last.index >= wanted.at_least);
        if let Some(mark) = &mark {
            let body = Body::InstallSnapshot { mark: mark.clone().into() };
            self.send(Message::new(id, wanted.to, wanted.term, body));
        }
        self.input(id, Input::SnapshotSent { to: wanted.to, delivered: mark.map(Into::into) });
    }

    fn install(&mut self, id: NodeId, mark: SnapshotMark) {
        let state = self.states.get(&mark.last.index).copied().unwrap_or_default();
        let member = self.member(id);
        let is_safe = member.disk.mark.last >= mark.last;
        (member.applied, member.state) = (mark.last.index, state);
        member.disk.applied = mark.last.index;
        if !is_safe {
            let detail = format!("node {id} installs {} over a log that is not cut", mark.last);
            self.fail(id, Failure::new("the log is durable before the state is replaced", detail));
        }
        self.input(id, Input::SnapshotInstalled(mark.into()));
    }

    pub(super) fn input(&mut self, id: NodeId, input: Input) {
        self.act(id, |node, now| node.handle(now, input));
    }

    /// One step of one node, with everything checked, and all that follows from it.
    pub(super) fn act<T>(&mut self, id: NodeId, act: impl FnOnce(&mut Node, Tick) -> T) -> T {
        self.steps += 1;
        let member = self.member(id);
        let now = member.tick();
        let mut node = member.node.take().expect("only nodes that are on act");
        let before = Before::of(&node);
        let result = act(&mut node, now);
        let output = node.take_output();
        let checked = before
            .check(&node)
            .and_then(|()| check_state(&node))
            .and_then(|()| self.checker.observe(&node))
            .and_then(|()| self.check_commit(&node));
        let world_now = self.now();
        if let Some(recording) = &mut self.recording {
            recording.state(world_now, id, GROUP, View::of(&node));
        }
        self.member(id).node = Some(node);
        if let Err(violation) = checked {
            self.fail(id, violation.into());
        }
        self.absorb(id, output);
        self.member(id).set_alarm();
        result
    }

    fn check_commit(&mut self, node: &Node) -> Result<(), raft::invariants::Violation> {
        let seen = (node.term(), node.commit_index());
        self.committed_max = self.committed_max.max(seen.1);
        let is_news = self.commits.insert(node.id(), seen).is_none_or(|before| before.1 < seen.1);
        if !is_news || node.role() != Role::Leader {
            return Ok(());
        }
        Checker::observe_commit(node, |voter, entry| {
            self.members.get(&voter).is_some_and(|member| member.disk.durable().holds(entry))
        })
    }

    /// The world stops at the place where a property broke.
    pub(super) fn fail(&mut self, id: NodeId, failure: Failure) -> ! {
        let now = self.now();
        if let Some(recording) = &mut self.recording {
            recording.broken(now, (id, GROUP), &failure);
            recording.end_at(now);
        }
        self.broken = Some(failure.clone());
        std::panic::panic_any(failure);
    }

    fn absorb(&mut self, id: NodeId, output: Output) {
        for event in &output.events {
            self.note_event(id, event);
        }
        for message in output.messages {
            if let Err(violation) = self.members[&id].disk.durable().check(&message) {
                self.fail(id, violation.into());
            }
            self.send(message);
        }
        for read in output.reads {
            self.answer(id, read);
        }
        if let Err(violation) = self.checker.observe_applied(id, &output.committed) {
            self.fail(id, violation.into());
        }
        let life = self.members[&id].life;
        for fetch in output.fetches {
            self.later(APPLY_TIME, Happening::Fetched { node: id, life, fetch });
        }
        for wanted in output.send_snapshots {
            self.later(CARRY_TIME, Happening::Carry { node: id, life, wanted });
        }
        if let Some(by) = output.removed {
            let names_it = by.configuration.removed.contains(&id);
            if !names_it || by.last.index > self.committed_max {
                let detail = format!("node {id} takes {by:?} for its removal");
                self.fail(id, Failure::new("only what is committed ends a node", detail));
            }
            self.removed.insert(id);
            self.later(APPLY_TIME, Happening::End { node: id, life });
        }
        if let Some(mark) = output.install_snapshot {
            self.later(INSTALL_TIME, Happening::Install { node: id, life, mark: *mark });
        }
        let member = self.member(id);
        member.to_apply.extend(output.committed);
        if !member.to_apply.is_empty() && !std::mem::replace(&mut member.applies, true) {
            self.later(APPLY_TIME, Happening::Apply { node: id, life });
        }
        let member = self.member(id);
        member.in_flight.extend(output.persists);
        self.sync(id);
    }

    fn answer(&mut self, id: NodeId, outcome: raft::ReadOutcome) {
        let Some(read) = self.reads.get_mut(&(id, outcome.context)) else { return };
        let index = outcome.result.ok().map(|point| point.index);
        read.answer = Some(index);
        let floor = read.floor;
        self.reads_answered += u64::from(index.is_some());
        if index.is_some_and(|index| index < floor) {
            let detail = format!("node {id} answers {outcome:?}, {floor} was committed before it");
            self.fail(id, Failure::new("a read sees what was committed before it", detail));
        }
    }

    /// How far a node has applied.
    #[must_use]
    pub fn applied(&self, id: NodeId) -> LogIndex {
        self.members[&id].applied
    }
}
