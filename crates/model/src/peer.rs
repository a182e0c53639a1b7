//! One node with its disk and its state machine.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use raft::invariants::timeless::{self, forget_time, hold_timers};
use raft::invariants::{self, Before, Cluster as History, Violation};
use raft::*;

use crate::disk::Disk;

/// A node, its disk, and what is on its way there.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) node: Node,
    pub(crate) disk: Disk,
    pub(crate) in_flight: VecDeque<Persist>,
    /// Snapshots on their way to followers, oldest first.
    pub(crate) sending: VecDeque<(NodeId, SnapshotMark)>,
}

/// With the same options, which are the place's.
impl Hash for Peer {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        timeless::hash(&self.node, hasher);
        (&self.disk, &self.in_flight, &self.sending).hash(hasher);
    }
}

/// How the disk behaves during one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// What is to be written is on disk at once.
    Land,
    /// The node crashes just before its first write of this step.
    CrashBefore,
    /// What is to be written waits, for a step of its own.
    Wait,
}

/// What one step came to, beside the peer itself.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) messages: Vec<Message>,
    pub(crate) reads: Vec<ReadOutcome>,
    pub(crate) is_crashed: bool,
}

/// What time it is, where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// Nobody can tell; any timer may fire.
    Forgotten,
    /// The clocks of all nodes say this, as soon as they are looked at. Elections and heartbeats
    /// are called for, and no timer of theirs fires.
    Kept(Tick),
}

impl Time {
    pub(crate) fn now(self) -> Tick {
        match self {
            Self::Forgotten => Tick(0),
            Self::Kept(now) => now,
        }
    }

    /// Takes out of a node what makes no difference; returns by how much the numbers of the writes
    /// that are on their way became smaller.
    fn forget(self, node: &mut Node) -> u64 {
        match self {
            Self::Forgotten => forget_time(node),
            Self::Kept(now) => hold_timers(node, now),
        }
    }
}

impl Peer {
    pub(crate) fn new(
        options: &Options,
        configuration: &Configuration,
        time: Time,
    ) -> Option<Self> {
        // Whoever is not among the first members waits to be added and knows of nobody.
        let is_member = configuration.contains(options.id);
        let known = if is_member { configuration.clone() } else { Configuration::default() };
        let mark = SnapshotMark { last: EntryId::default(), configuration: known };
        let disk = Disk::new(mark);
        let node = Self::begin(options, &disk, time)?;
        Some(Self { node, disk, in_flight: VecDeque::new(), sending: VecDeque::new() })
    }

    fn begin(options: &Options, disk: &Disk, time: Time) -> Option<Node> {
        let mut node = Node::new(options.clone(), disk.restored()).ok()?;
        // The first input tells the time; nothing is due yet.
        node.handle(time.now(), Input::Tick);
        time.forget(&mut node);
        Some(node)
    }

    /// Loses all that is not on disk, and begins anew.
    pub(crate) fn crash(
        &mut self,
        options: &Options,
        history: &mut History,
        time: Time,
    ) -> Option<()> {
        history.restarted(options.id);
        self.in_flight.clear();
        self.sending.clear();
        self.node = Self::begin(options, &self.disk, time)?;
        Some(())
    }

    /// One step of the node, and what follows from it at once, with everything checked.
    pub(crate) fn act(
        &mut self,
        history: &mut History,
        (writes, time): (Writes, Time),
        act: impl FnOnce(&mut Node),
    ) -> Result<Outcome, Violation> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.settle(history, writes, time, act)));
        // An assertion of the core's is a violation like any other.
        outcome.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            let detail = said.unwrap_or_else(|| "no word".to_owned());
            Err(Violation { property: "the core's assertions hold", detail })
        })
    }

    fn settle(
        &mut self,
        history: &mut History,
        writes: Writes,
        time: Time,
        act: impl FnOnce(&mut Node),
    ) -> Result<Outcome, Violation> {
        let now = time.now();
        let mut outcome = Outcome::default();
        let mut output = self.checked(history, act)?;
        loop {
            for message in &output.messages {
                self.disk.durable().check(message)?;
                history.observe_message(message)?;
            }
            outcome.messages.append(&mut output.messages);
            outcome.reads.append(&mut output.reads);
            self.send_snapshots(&mut output, &mut outcome)?;
            history.observe_applied(self.node.id(), &output.committed)?;
            let applied = output.committed.last().map(|last| last.id.index);
            let installed = self.install(&mut output)?;
            if applied.is_some() || installed.is_some() {
                output = self.merged(history, output, |node| {
                    applied.into_iter().for_each(|index| node.handle(now, Input::Applied(index)));
                    let installed = installed.into_iter();
                    installed.for_each(|mark| node.handle(now, Input::SnapshotInstalled(mark)));
                })?;
                continue;
            }
            self.in_flight.extend(output.persists.drain(..));
            match writes {
                Writes::Wait => break,
                Writes::CrashBefore if !self.in_flight.is_empty() => {
                    outcome.is_crashed = true;
                    return Ok(outcome);
                }
                Writes::Land | Writes::CrashBefore => {}
            }
            let Some(next) = self.write_one(history, now)? else { break };
            output = next;
        }
        let landed = time.forget(&mut self.node);
        for persist in &mut self.in_flight {
            persist.number.0 -= landed;
        }
        Ok(outcome)
    }

    /// The host has a snapshot of what is applied at once; the bytes arrive when the message does.
    fn send_snapshots(
        &mut self,
        output: &mut Output,
        outcome: &mut Outcome,
    ) -> Result<(), Violation> {
        for SendSnapshot { to, term, at_least } in output.send_snapshots.drain(..) {
            let applied = self.node.applied_index();
            let mark = self.node.snapshot_mark(applied).filter(|mark| mark.last.index >= at_least);
            let Some(mark) = mark else {
                let detail = format!("a snapshot of {at_least} is asked for, {applied} is applied");
                return Err(Violation { property: "what was cut is applied", detail });
            };
            // As in a host: a newer snapshot takes the place of the one on its way. Answers that
            // are repeated have a leader ask for one again and again, and without this the
            // states would have no end.
            self.sending.retain(|(member, _)| *member != to);
            self.sending.push_back((to, mark.clone()));
            let body = Body::InstallSnapshot { mark: mark.into() };
            outcome.messages.push(Message::new(self.node.id(), to, term, body));
        }
        Ok(())
    }

    /// The state machine becomes the snapshot's, and is durable then.
    fn install(&mut self, output: &mut Output) -> Result<Option<Box<SnapshotMark>>, Violation> {
        let Some(mark) = output.install_snapshot.take() else { return Ok(None) };
        if self.disk.mark != *mark {
            let detail = format!("{:?} is to be installed, {:?} is on disk", mark, self.disk.mark);
            return Err(Violation { property: "the mark is on disk before the state", detail });
        }
        self.disk.applied = mark.last.index;
        Ok(Some(mark))
    }

    /// The oldest snapshot on its way has been delivered, or not.
    pub(crate) fn snapshot_sent(
        &mut self,
        history: &mut History,
        how: (Writes, Time),
        is_delivered: bool,
    ) -> Result<Outcome, Violation> {
        let Some((to, mark)) = self.sending.pop_front() else { return Ok(Outcome::default()) };
        let delivered = is_delivered.then(|| mark.into());
        self.act(history, how, |node| {
            node.handle(how.1.now(), Input::SnapshotSent { to, delivered });
        })
    }

    /// The state is made durable, and the log before it may go.
    pub(crate) fn compact(
        &mut self,
        history: &mut History,
        how: (Writes, Time),
    ) -> Result<Outcome, Violation> {
        let upto = self.node.applied_index();
        self.disk.applied = upto;
        self.act(history, how, |node| node.handle(how.1.now(), Input::Compact { upto }))
    }

    /// The oldest write lands; what the node wants then.
    fn write_one(&mut self, history: &mut History, now: Tick) -> Result<Option<Output>, Violation> {
        let Some(persist) = self.in_flight.pop_front() else { return Ok(None) };
        let number = persist.number;
        self.disk.write(persist);
        self.checked(history, |node| node.handle(now, Input::Persisted(number))).map(Some)
    }

    /// A step of its own: the oldest write lands.
    pub(crate) fn land(&mut self, history: &mut History, time: Time) -> Result<Outcome, Violation> {
        let Some(persist) = self.in_flight.pop_front() else { return Ok(Outcome::default()) };
        let number = persist.number;
        self.disk.write(persist);
        let how = (Writes::Wait, time);
        self.act(history, how, |node| node.handle(time.now(), Input::Persisted(number)))
    }

    fn merged(
        &mut self,
        history: &mut History,
        before: Output,
        act: impl FnOnce(&mut Node),
    ) -> Result<Output, Violation> {
        let mut output = self.checked(history, act)?;
        let mut persists = before.persists;
        persists.append(&mut output.persists);
        Ok(Output { persists, ..output })
    }

    fn checked(
        &mut self,
        history: &mut History,
        act: impl FnOnce(&mut Node),
    ) -> Result<Output, Violation> {
        let before = Before::of(&self.node);
        act(&mut self.node);
        let output = self.node.take_output();
        before.check(&self.node)?;
        invariants::check_state(&self.node)?;
        history.observe(&self.node)?;
        let faults = self.node.peer_faults();
        if faults.total() > 0 {
            let detail = format!("node {}: {faults:?}", self.node.id());
            return Err(Violation { property: "honest peers make no faults", detail });
        }
        Ok(output)
    }
}
