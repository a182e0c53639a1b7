//! One node with its disk and its state machine.

use std::collections::VecDeque;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use raft::invariants::timeless::forget_time;
use raft::invariants::{self, Before, Cluster as History, Durable, Violation};
use raft::*;

/// The 64 bits by which two values are told apart.
pub(crate) fn fingerprint(value: &impl std::fmt::Debug) -> u64 {
    struct Sink(DefaultHasher);
    impl Write for Sink {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut sink = Sink(DefaultHasher::new());
    write!(sink, "{value:?}").expect("the sink takes everything");
    sink.0.finish()
}

/// What survives a crash.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    hard_state: HardState,
    mark: SnapshotMark,
    entries: Vec<Entry>,
}

impl Disk {
    fn write(&mut self, persist: Persist) {
        if let Some(MarkWrite { mark, reset }) = persist.mark {
            self.entries.retain(|entry| !reset && entry.id.index > mark.last.index);
            self.mark = mark;
        }
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(first) = persist.entries.first() {
            self.entries.retain(|entry| entry.id.index < first.id.index);
        }
        self.entries.extend(persist.entries);
    }

    fn restored(&self) -> Restored {
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
        Restored {
            hard_state: self.hard_state,
            mark: self.mark.clone(),
            entries: self.entries.clone(),
            term_runs,
            last: self.entries.last().map_or(self.mark.last, |entry| entry.id),
            applied: LogIndex(0),
            configurations,
        }
    }

    fn durable(&self) -> Durable<'_> {
        Durable { hard_state: self.hard_state, mark: self.mark.last, entries: &self.entries }
    }

    /// Term and vote as a crash would leave them.
    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(crate) fn holds(&self, entry: EntryId) -> bool {
        self.durable().holds(entry)
    }
}

/// A node, its disk, and what is on its way there.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) node: Node,
    pub(crate) disk: Disk,
    pub(crate) in_flight: VecDeque<Persist>,
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
    pub(crate) is_crashed: bool,
}

impl Peer {
    pub(crate) fn new(options: &Options, configuration: &Configuration) -> Option<Self> {
        // Whoever is not among the first members waits to be added and knows of nobody.
        let is_member = configuration.contains(options.id);
        let known = if is_member { configuration.clone() } else { Configuration::default() };
        let mark = SnapshotMark { last: EntryId::default(), configuration: known };
        let disk = Disk { hard_state: HardState::default(), mark, entries: Vec::new() };
        let node = Self::begin(options, &disk)?;
        Some(Self { node, disk, in_flight: VecDeque::new() })
    }

    fn begin(options: &Options, disk: &Disk) -> Option<Node> {
        let mut node = Node::new(options.clone(), disk.restored()).ok()?;
        // The first input tells the time; nothing is due yet.
        node.handle(Tick(0), Input::Tick);
        forget_time(&mut node);
        Some(node)
    }

    /// Loses all that is not on disk, and begins anew.
    pub(crate) fn crash(&mut self, options: &Options, history: &mut History) -> Option<()> {
        history.restarted(options.id);
        self.in_flight.clear();
        self.node = Self::begin(options, &self.disk)?;
        Some(())
    }

    /// One step of the node, and what follows from it at once, with everything checked.
    pub(crate) fn act(
        &mut self,
        history: &mut History,
        writes: Writes,
        act: impl FnOnce(&mut Node),
    ) -> Result<Outcome, Violation> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.settle(history, writes, act)));
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
        act: impl FnOnce(&mut Node),
    ) -> Result<Outcome, Violation> {
        let mut outcome = Outcome::default();
        let mut output = self.checked(history, act)?;
        loop {
            for message in &output.messages {
                self.disk.durable().check(message)?;
                history.observe_message(message)?;
            }
            outcome.messages.append(&mut output.messages);
            history.observe_applied(self.node.id(), &output.committed)?;
            if let Some(last) = output.committed.last() {
                let index = last.id.index;
                output = self.merged(history, output, |node| {
                    node.handle(Tick(0), Input::Applied(index));
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
            let Some(next) = self.write_one(history)? else { break };
            output = next;
        }
        let landed = forget_time(&mut self.node);
        for persist in &mut self.in_flight {
            persist.number.0 -= landed;
        }
        Ok(outcome)
    }

    /// The oldest write lands; what the node wants then.
    fn write_one(&mut self, history: &mut History) -> Result<Option<Output>, Violation> {
        let Some(persist) = self.in_flight.pop_front() else { return Ok(None) };
        let number = persist.number;
        self.disk.write(persist);
        self.checked(history, |node| node.handle(Tick(0), Input::Persisted(number))).map(Some)
    }

    /// A step of its own: the oldest write lands.
    pub(crate) fn land(&mut self, history: &mut History) -> Result<Outcome, Violation> {
        let Some(persist) = self.in_flight.pop_front() else { return Ok(Outcome::default()) };
        let number = persist.number;
        self.disk.write(persist);
        self.act(history, Writes::Wait, |node| node.handle(Tick(0), Input::Persisted(number)))
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
        let faults = self.node.status().peer_faults;
        if faults.total() > 0 {
            let detail = format!("node {}: {faults:?}", self.node.id());
            return Err(Violation { property: "honest peers make no faults", detail });
        }
        Ok(output)
    }
}

/// A value that is shared between states, with its fingerprint.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    value: Arc<T>,
    fingerprint: u64,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), fingerprint: self.fingerprint }
    }
}

impl<T: std::fmt::Debug> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        let fingerprint = fingerprint(&value);
        Self { value: Arc::new(value), fingerprint }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

impl<T> std::ops::Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
