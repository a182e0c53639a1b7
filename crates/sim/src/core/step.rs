//! The loop of a core world: what happens next, the node's step, its checks, and all that follows.

use std::time::Duration;

use env::Moment;
use raft::invariants::{Before, InForce, Violation, check_state};
use raft::{Body, Event, Input, LogIndex, Message, Node, NodeId, Output, Role, Tick};

use super::checks::{check_leadership, check_sizes};
use super::happening::Happening;
use super::sometimes::STEP_IS_REGRETTED;
use super::unanswered::is_heartbeat;
use super::{CoreWorld, GROUP};
use crate::Failure;
use crate::failure::throw;
use crate::picture::View;

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
        let awake = self.members.values().filter(|member| !member.sleeps);
        let alarms = awake.filter_map(|member| Some((member.wake_at?, member.id())));
        let alarm = alarms.min();
        let now = self.now();
        match (due, alarm) {
            (due, Some((at, id))) if at <= end && due.is_none_or(|due| at < due) => {
                self.clock.set(at.max(now));
                self.check_progress(id);
                let open = self.open_change(id);
                self.input(id, Input::Tick);
                self.check_staged(id);
                self.check_given_up(id, open);
                true
            }
            (Some(at), _) if at <= end => {
                let (_, happening) = self.queue.pop_first().expect("it is due");
                self.check_queue(&happening);
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

    /// When the last message arrives, and the last write ends, that is under way now.
    pub(super) fn under_way_until(&self) -> Moment {
        let is_begun = |happening: &Happening| {
            matches!(happening, Happening::Arrival { .. } | Happening::Synced { .. })
        };
        let begun = self.queue.iter().rev().find(|(_, happening)| is_begun(happening));
        begun.map(|((at, _), _)| *at).unwrap_or_default()
    }

    fn is_of(&self, node: NodeId, life: Option<u64>) -> bool {
        let member = self.members.get(&node).filter(|member| member.node.is_some());
        member.is_some_and(|member| life.is_none_or(|life| member.life == life))
    }

    pub(super) fn come_true(&mut self, happening: Happening) {
        let (node, life) = happening.whom();
        if life.is_some() && !self.is_of(node, life) {
            return;
        }
        if let Some(member) = self.members.get_mut(&node).filter(|member| member.sleeps) {
            return member.waiting.push(happening);
        }
        match happening {
            Happening::Arrival { number, message, asked_at } => {
                self.hears_heartbeat = asked_at.filter(|_| is_heartbeat(&message));
                self.note_answer(&message, asked_at);
                self.arrive(number, message);
                self.hears_heartbeat = None;
            }
            Happening::Synced { node, .. } => self.synced(node),
            Happening::Apply { node, .. } => self.apply(node),
            Happening::Fetched { node, fetch, .. } => self.fetched(node, fetch),
            Happening::Carry { node, wanted, .. } => self.carry(node, wanted),
            Happening::Install { node, mark, .. } => self.install(node, mark),
            Happening::End { node, .. } => {
                self.tell(node, "was removed, and its host ends it");
                self.crash(node);
            }
            Happening::Doom { node, .. } => {
                self.crash(node);
                for other in self.nodes() {
                    self.net.heal(node.0, other.0);
                }
            }
            Happening::Flood { node, .. } => self.ask_and_ask(node),
            Happening::MendDisk { node, .. } => self.mend_disk(node),
            Happening::GiveUp { node, .. } => {
                if self.removes_in_one_step(node) {
                    self.meet(STEP_IS_REGRETTED);
                }
                let _refused = self.abandon(node);
            }
            Happening::Promote { node, learner, .. } => self.promote(node, learner),
            Happening::Bring { node, newcomer, .. } => self.bring_a_learner(node, newcomer),
            Happening::Ask { .. } if self.clients_rest => {}
            Happening::Ask { node, mode: None, .. } => self.ask_on_lease(node),
            Happening::Ask { node, mode: Some(mode), .. } => self.ask_by_itself(node, mode),
            Happening::Report { node, input, .. } => self.input(node, input),
        }
    }

    pub(super) fn arrive(&mut self, number: u64, message: Message) {
        let (from, to) = (message.from, message.to);
        let is_there = self.members.get(&to).is_some_and(|member| member.node.is_some());
        if !is_there || self.net.is_cut(from.0, to.0) {
            let now = self.now();
            if let Some(recording) = &mut self.recording {
                recording.lost(number, now);
            }
            return;
        }
        self.write_too_late(&message);
        let before = self.hearing(&message);
        let late = self.is_late(&message);
        self.hears_refusal = self.refusal(&message);
        let term = message.term;
        let leads = is_of_leader(&message.body);
        if let Body::TimeoutNow { lease_ended: true } = message.body {
            self.member(to).seen.lease_ended_for.insert(term.next());
        }
        self.leader_calls = matches!(
            message.body,
            Body::TimeoutNow { .. } | Body::RequestVote { leadership_transfer: true, .. }
        );
        self.hears = Some(from);
        self.input(to, Input::Message(message));
        (self.hears, self.leader_calls) = (None, false);
        if leads {
            self.note_leader(to, from, term);
        }
        self.note_step(to, from);
        self.check_refused(to, from);
        self.promote_meanwhile(to, from);
        if let Some(late) = late {
            self.check_late(to, late);
        }
        if let Some(before) = before {
            self.check_hearing(to, before);
        }
    }

    pub(super) fn input(&mut self, id: NodeId, input: Input) {
        self.act(id, |node, now| node.handle(now, input));
    }

    /// One step of one node, with everything checked, and all that follows from it.
    pub(super) fn act<T>(&mut self, id: NodeId, act: impl FnOnce(&mut Node, Tick) -> T) -> T {
        self.steps += 1;
        (self.granted, self.refused_behind) = (None, false);
        (self.has_acknowledged, self.has_objected) = (false, false);
        (self.tells_removal, self.names_session) = (false, None);
        self.gives_up = false;
        let interval = self.look_at_clock(id);
        let member = self.member(id);
        let now = member.tick();
        let mut node = member.node.take().expect("only nodes that are on act");
        let (before, in_force) = (Before::of(&node), InForce::of(&node));
        let before_commit = node.commit_index();
        let seen_kept_in = self.members[&id].seen.kept_in;
        let led = (node.role() == Role::Leader).then(|| node.term());
        if let Some(interval) = interval {
            node.handle(now, Input::Clock(interval));
        }
        let result = act(&mut node, now);
        let output = node.take_output();
        let committed = node.commit_index() > before_commit && node.role() == Role::Leader;
        let keeps_more = |event: &Event| matches!(event, Event::KeptForLater { .. });
        let kept_in = seen_kept_in.filter(|_| !output.events.iter().any(keeps_more));
        let waited = if committed { self.check_wait(&node) } else { None };
        let checked = before
            .check(&node)
            .and_then(|()| check_state(&node))
            .and_then(|()| self.check_with_others(&node, in_force, &output.events))
            .and_then(|()| check_sizes(&node, kept_in))
            .and_then(|()| check_leadership(&node, led, &output));
        let world_now = self.now();
        if let Some(recording) = &mut self.recording {
            recording.state(world_now, id, GROUP, View::of(&node));
        }
        self.member(id).node = Some(node);
        if let Err(violation) = checked {
            self.fail(id, violation.into());
        }
        if let Some(failure) = waited {
            self.fail(id, failure);
        }
        self.absorb(id, output);
        self.member(id).set_alarm();
        result
    }

    /// What others know as well; nothing for who is called lost.
    fn check_with_others(
        &mut self,
        node: &Node,
        before: InForce,
        events: &[Event],
    ) -> Result<(), Violation> {
        if self.lost.contains(&node.id()) {
            return Ok(());
        }
        self.checker.observe(node)?;
        let decided = before.decided(node, events)?;
        self.check_commits(node, &decided)
    }

    /// The world stops at the place where a property broke.
    pub(super) fn fail(&mut self, id: NodeId, failure: Failure) -> ! {
        let now = self.now();
        if let Some(recording) = &mut self.recording {
            recording.broken(now, (id, GROUP), &failure);
            recording.end_at(now);
        }
        self.broken = Some(failure.clone());
        throw(failure)
    }

    fn absorb(&mut self, id: NodeId, output: Output) {
        output.persists.iter().for_each(|persist| self.check_mark(id, persist));
        let seen = &mut self.member(id).seen;
        output.persists.iter().for_each(|persist| seen.note_leases(persist));
        if self.options.clock_uncertainty_us.is_some() && self.role_of(id) == Some(Role::Leader) {
            for write in &output.persists {
                self.note_lease_entries(&write.entries);
                self.ask_when_leases_end(id, &write.entries);
            }
        }
        for event in &output.events {
            self.note_event(id, event);
        }
        self.note_refusal(id);
        let is_rest = |event: &Event| matches!(event, Event::Rests);
        if self.members[&id].seen.rests && output.events.iter().any(is_rest) {
            self.check_rest(id);
        }
        self.say_all(id, output.messages);
        let is_lost = self.lost.contains(&id);
        if !is_lost {
            self.learn_names(id, &output.committed);
        }
        for read in output.reads {
            self.answer(id, read);
        }
        if !is_lost && let Err(violation) = self.checker.observe_applied(id, &output.committed) {
            self.fail(id, violation.into());
        }
        let life = self.members[&id].life;
        for fetch in output.fetches {
            self.member(id).seen.fetches.push(fetch.from);
            let time = self.some_time(self.options.apply_time);
            self.later(time, Happening::Fetched { node: id, life, fetch });
        }
        for wanted in output.send_snapshots {
            self.check_wanted(id, &wanted);
            self.forget_refusal(id, wanted.to);
            let time = self.some_time(self.options.carry_time) + self.quiet_before_snapshot();
            self.later(time, Happening::Carry { node: id, life, wanted });
        }
        if let Some(by) = output.removed {
            let names_it = by.configuration.removed.contains(&id);
            if !names_it || by.last.index > self.committed_max {
                let detail = format!("node {id} takes {by:?} for its removal");
                self.fail(id, Failure::new("only what is committed ends a node", detail));
            }
            self.removed.insert(id);
            let time = self.some_time(self.options.apply_time);
            self.later(time, Happening::End { node: id, life });
        }
        if let Some(mark) = output.install_snapshot {
            let time = self.some_time(self.options.install_time);
            self.later(time, Happening::Install { node: id, life, mark });
        }
        let member = self.member(id);
        member.to_apply.extend(output.committed);
        if !member.to_apply.is_empty() && !std::mem::replace(&mut member.applies, true) {
            let time = self.some_time(self.options.apply_time);
            self.later(time, Happening::Apply { node: id, life });
        }
        let member = self.member(id);
        let now = member.tick();
        member.in_flight.extend(output.persists);
        if !member.in_flight.is_empty() {
            member.seen.writes_since.get_or_insert(now);
        }
        self.sync(id);
    }

    /// What a node says is held against its disk, and against what it has said before.
    fn say_all(&mut self, id: NodeId, messages: Vec<Message>) {
        for message in messages {
            let checked = self.members[&id].disk.durable().check(&message);
            // A disk that was lost has forgotten whom it voted for; that is told by its number.
            let observed = self.checker.observe_message(&message);
            let is_whole = !self.forgetful.contains(&id);
            let checked = checked.and(if is_whole { observed } else { Ok(()) });
            if let Err(violation) = checked {
                self.fail(id, violation.into());
            }
            self.note_spoken(&message);
            self.note_lease_given_up(&message);
            self.check_asked_again(&message);
            self.send(message);
        }
    }

    /// How far a node has applied.
    #[must_use]
    pub fn applied(&self, id: NodeId) -> LogIndex {
        self.members[&id].applied
    }
}

pub(super) fn is_of_leader(body: &Body) -> bool {
    matches!(
        body,
        Body::AppendEntries { .. }
            | Body::CommitIndex { .. }
            | Body::Heartbeat { .. }
            | Body::Quiesce { .. }
            | Body::InstallSnapshot { .. }
    )
}
