//! The loop of a world: what is ready, in an order that the seed decides, and what is checked.

use std::time::Duration;

use env::mem::{MemDisk, NetEvent};
use env::{Clock, Moment};
use host::{GroupId, Inspected, Stage, Stages, StateMachine};
use raft::NodeId;
use raft::invariants::{Before, Cluster, Violation, check_state};

use super::World;
use crate::Failure;
use crate::failure::throw;
use crate::picture::{Kind, View, describe};

impl<S: StateMachine> World<S> {
    /// Runs until `done`, or for `limit` of virtual time. Returns whether it is done.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.clock.now().after(limit);
        while !done(self) {
            if self.clock.now() >= end {
                return false;
            }
            self.run_one(end);
        }
        true
    }

    /// Runs for `duration` of virtual time.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// One event: a stage that has work, or a frame that arrives, or time that passes.
    fn run_one(&mut self, end: Moment) {
        let now = self.clock.now();
        self.stepped = None;
        self.deliver(now);
        let ready: Vec<(NodeId, Stage)> = self
            .nodes
            .iter()
            .filter_map(|(id, node)| Some((*id, node.clock.now(), node.stages.as_ref()?)))
            .flat_map(|(id, its_now, stages)| {
                stages
                    .stages()
                    .filter(move |stage| stages.has_work(*stage, its_now))
                    .map(move |s| (id, s))
            })
            .filter(|ready| !self.paused.contains(ready))
            .collect();
        if ready.is_empty() {
            return self.pass_time(end);
        }
        let choice = self.dice.below(ready.len() as u64);
        let (id, stage) = ready[usize::try_from(choice).unwrap_or(0)];
        self.step(now, id, stage);
        // Work takes time, so that orders of events differ and timers meet work half done.
        self.clock.advance(Duration::from_nanos(1_000 + self.dice.below(40_000)));
    }

    fn step(&mut self, now: Moment, id: NodeId, stage: Stage) {
        self.stepped = Some((id, stage));
        self.trace.push(now, format_args!("{id} {stage:?}"));
        let node = self.nodes.get_mut(&id).expect("a node of this world");
        let Some(stages) = node.stages.as_mut() else {
            return;
        };
        let is_worker = matches!(stage, Stage::Worker(_));
        let before = match stage {
            Stage::Worker(_) => befores(stages),
            Stage::LogWriter | Stage::Applier | Stage::Bulk => Vec::new(),
        };
        // What was sent before, by a process that is told of its end, is not of this step.
        let sent_before = self.net.take_events();
        let stepped = stages.step(stage);
        let sent = self.net.take_events();
        let mut violated: Option<(GroupId, Failure)> = None;
        for (group, before) in before {
            let seen = self.seen.entry(group).or_default();
            if let Err(violation) = check(seen, stages, group, &before) {
                violated.get_or_insert_with(|| (group, violation.into()));
            }
        }
        if is_worker && violated.is_none() {
            let quorums = self.check_quorums(id).map(|(group, what)| (group, what.into()));
            violated = quorums.or_else(|| self.check_members(id));
        }
        let heard = self.hear(id, &sent).map(|(group, what)| (group, what.into()));
        violated = violated.or(heard).or_else(|| self.check_applied(id, stage));
        self.draw_frames(sent_before.into_iter().chain(sent));
        self.draw(id);
        if let Some((group, violation)) = violated {
            self.fail(id, group, violation);
        }
        if let Err(fatal) = stepped {
            self.trace.push(now, format_args!("{id} dies: {fatal}"));
            self.node_mut(id).fatal = Some(fatal);
            self.stop(id, MemDisk::kill);
            self.draw(id);
        }
        self.end_if_told(id);
    }

    /// The world stops at the place where a property broke.
    pub(super) fn fail(&mut self, id: NodeId, group: GroupId, failure: impl Into<Failure>) -> ! {
        let mut failure = failure.into();
        failure.detail = format!("n{id} {group:?}: {}", failure.detail);
        if let Some(recording) = &mut self.recording {
            recording.broken(self.clock.now(), (id, group.0), &failure);
        }
        self.broken = Some(failure.clone());
        throw(failure)
    }

    /// Something happens to a node.
    pub(super) fn tell(&mut self, id: NodeId, what: &str) {
        let now = self.clock.now();
        self.trace.push(now, format_args!("{id} {what}"));
        if let Some(recording) = &mut self.recording {
            recording.note(now, (id, 0), Kind::Fault, what);
        }
    }

    /// Draws a node and what it has sent.
    pub(super) fn draw(&mut self, id: NodeId) {
        let Some(recording) = &mut self.recording else { return };
        let now = self.clock.now();
        let node = &self.nodes[&id];
        for group in self.seen.keys() {
            recording.introduce(id, [group.0]);
            let raft = node.stages.as_ref().and_then(|stages| stages.node(*group));
            recording.state(now, id, group.0, raft.map_or_else(View::off, View::of));
        }
        recording.end_at(now);
        let events = self.net.take_events();
        self.draw_frames(events);
    }

    /// Draws what was sent.
    fn draw_frames(&mut self, events: impl IntoIterator<Item = NetEvent>) {
        let Some(recording) = &mut self.recording else { return };
        for event in events {
            match event {
                NetEvent::Dropped { number, at } => recording.lost(number, at),
                NetEvent::Sent { number, at, arrives, delivery, .. } => {
                    for (group, said) in host::inspect(&delivery.frame) {
                        let route = (delivery.from, delivery.to);
                        let words = match said {
                            Inspected::Message(message) => describe(&message),
                            Inspected::Other(text) => (Kind::Client, text.to_owned()),
                        };
                        recording.sent(number, (at, arrives), route, group.0, words);
                    }
                }
            }
        }
    }

    fn deliver(&mut self, now: Moment) {
        for delivery in self.net.due(now) {
            let (from, to) = (NodeId(delivery.from), NodeId(delivery.to));
            let length = delivery.frame.len();
            if !self.admits((from, to, delivery.is_second), &delivery.frame) {
                continue;
            }
            self.look_at_crossing(from, to, &delivery.frame);
            let Some(stages) = self.nodes.get(&to).and_then(|node| node.stages.as_ref()) else {
                continue;
            };
            let outcome = stages.receiver().deliver(from, delivery.frame);
            self.trace.push(now, format_args!("{from} -> {to} {length} bytes {outcome:?}"));
        }
    }

    fn pass_time(&mut self, end: Moment) {
        let now = self.clock.now();
        // A deadline that has passed belongs to a stage that stands still, or it would have run.
        let deadlines = self.nodes.values().filter_map(|node| {
            let deadline = node.stages.as_ref()?.next_deadline()?;
            node.clock.world_time_of(deadline)
        });
        let deadlines = deadlines.filter(|deadline| *deadline > now);
        // It may hide a later one of another stage of its node, so time then goes on in small
        // steps.
        let step = (!self.paused.is_empty()).then(|| now.after(PAUSED_STEP));
        let deadlines = deadlines.chain(step);
        let next = deadlines.chain(self.net.next_due()).min().unwrap_or(end);
        // At least a nanosecond, so that a deadline that is now cannot stop the world.
        let next = next.max(now.after(Duration::from_nanos(1)));
        self.clock.set(next.min(end));
    }
}

fn befores<S: StateMachine>(stages: &Stages<S>) -> Vec<(GroupId, Before)> {
    let groups = stages.group_ids();
    groups.filter_map(|group| Some((group, Before::of(stages.node(group)?)))).collect()
}

/// Everything that Raft promises, of one node after a step and of what all nodes were seen to do.
fn check<S: StateMachine>(
    seen: &mut Cluster,
    stages: &Stages<S>,
    group: GroupId,
    before: &Before,
) -> Result<(), Violation> {
    let Some(node) = stages.node(group) else { return Ok(()) };
    before.check(node)?;
    check_state(node)?;
    seen.observe(node)
}

/// The longest that time jumps while a stage stands still.
const PAUSED_STEP: Duration = Duration::from_millis(5);
