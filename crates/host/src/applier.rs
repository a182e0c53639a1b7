//! The applier: it owns the state machines, applies what is committed, and answers the clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use raft::{Configuration, Entry, EntryId, LogIndex, NodeId, Payload, SnapshotMark, Term};
use wal::GroupId;

use crate::envelope;
use crate::mailbox::Mailbox;
use crate::messages::{ApplyItem, BulkItem, OutgoingSnapshot, WorkerEvent};
use crate::staging::Staging;
use crate::status::{Counters, SharedStatus};
use crate::waiters::{Reply, Waiters};
use crate::worker::worker_of;
use crate::{CommittedEntry, Fatal, ProposeError, StateMachine};

/// The stage that applies.
pub(crate) struct Applier<S: StateMachine> {
    pub(crate) groups: BTreeMap<GroupId, AppliedGroup<S>>,
    pub(crate) mailbox: Arc<Mailbox<ApplyItem>>,
    pub(crate) workers: Vec<Arc<Mailbox<WorkerEvent>>>,
    pub(crate) bulk: Arc<Mailbox<BulkItem>>,
    pub(crate) staging: Staging,
    pub(crate) counters: Arc<Counters>,
    pub(crate) flush_policy: FlushPolicy,
    /// Groups whose state machines have work for idle moments.
    pub(crate) to_maintain: BTreeSet<GroupId>,
}

/// When the state is flushed so that the log can be cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushPolicy {
    pub(crate) entry_count: u64,
    pub(crate) bytes: u64,
}

/// The worker need not be woken to hear what was applied, unless reads wait for it; but the
/// protocol hands out only so much that is not reported as applied.
const UNTOLD_ENTRIES_MAX: usize = 512;

/// One group's state machine and what belongs to it.
pub(crate) struct AppliedGroup<S: StateMachine> {
    pub(crate) machine: S,
    pub(crate) node_id: NodeId,
    pub(crate) waiters: Arc<Waiters<S::Response>>,
    pub(crate) status: Arc<SharedStatus>,
    /// What the machine includes.
    pub(crate) applied: EntryId,
    /// The configuration as of `applied`, which a snapshot taken now must carry.
    pub(crate) configuration: Configuration,
    /// Entries and bytes since the last flush.
    pub(crate) entries_since_flush: u64,
    pub(crate) bytes_since_flush: u64,
    /// Entries applied since the worker was last woken to hear of it.
    pub(crate) entries_untold: usize,
}

impl<S: StateMachine> Applier<S> {
    /// Does all that waits.
    ///
    /// # Errors
    /// What a state machine's disk did; nothing is applied after it.
    pub(crate) fn step(&mut self) -> Result<(), Fatal> {
        let mut items = Vec::new();
        self.mailbox.take_all(&mut items);
        if items.is_empty() {
            return self.maintain();
        }
        let mut items = items.into_iter().peekable();
        while let Some(item) = items.next() {
            match item {
                ApplyItem::Entries { group, entries } => {
                    let mut entries = entries.into_vec();
                    // Batches of one group that follow each other become one.
                    while let Some(ApplyItem::Entries { entries: more, .. }) =
                        items.next_if(|next| next.is_entries_of(group))
                    {
                        entries.extend(more);
                    }
                    self.apply(group, entries)?;
                }
                ApplyItem::Install { group, mark } => self.install(group, *mark)?,
                ApplyItem::Snapshot { group, to, term, at_least } => {
                    self.snapshot(group, to, term, at_least)?;
                }
            }
        }
        Ok(())
    }

    /// A bounded piece of what state machines do in idle moments.
    fn maintain(&mut self) -> Result<(), Fatal> {
        let Some(id) = self.to_maintain.first().copied() else {
            return Ok(());
        };
        let group = self.groups.get_mut(&id).expect("only groups of this node were applied");
        if !group.machine.maintain().map_err(|error| Fatal::state_machine(id, &error))? {
            self.to_maintain.remove(&id);
        }
        Ok(())
    }

    /// The node stops in order.
    pub(crate) fn shutdown(&mut self) -> Result<(), Fatal> {
        for (id, group) in &mut self.groups {
            group.machine.shutdown().map_err(|error| Fatal::state_machine(*id, &error))?;
        }
        Ok(())
    }

    fn apply(&mut self, id: GroupId, entries: Vec<Entry>) -> Result<(), Fatal> {
        let policy = self.flush_policy;
        let entry_count = entries.len();
        self.to_maintain.insert(id);
        let group = self.groups.get_mut(&id).expect("the worker applies only its own groups");
        let applied = group
            .apply(entries, &self.counters)
            .map_err(|error| Fatal::state_machine(id, &error))?;
        let event = WorkerEvent::Applied { group: id, index: applied };
        let group = self.groups.get_mut(&id).expect("it was here a moment ago");
        group.entries_untold += entry_count;
        if group.status.take_waiting_reads() || group.entries_untold >= UNTOLD_ENTRIES_MAX {
            group.entries_untold = 0;
            self.tell(id, event);
        } else {
            self.workers[worker_of(id, self.workers.len())].push_quietly(event);
        }
        let group = self.groups.get_mut(&id).expect("it was here a moment ago");
        if group.entries_since_flush >= policy.entry_count
            || group.bytes_since_flush >= policy.bytes
        {
            let flushed =
                group.machine.flush().map_err(|error| Fatal::state_machine(id, &error))?;
            (group.entries_since_flush, group.bytes_since_flush) = (0, 0);
            self.tell(id, WorkerEvent::Flushed { group: id, upto: flushed.index });
        }
        Ok(())
    }

    fn install(&mut self, id: GroupId, mark: SnapshotMark) -> Result<(), Fatal> {
        let group = self.groups.get_mut(&id).expect("the worker installs only its own groups");
        let restored = self.staging.open(id, mark.last).and_then(|mut source| {
            group.machine.restore(mark.last, &mut source)?;
            Ok(())
        });
        restored.map_err(|error| Fatal::state_machine(id, &error))?;
        assert_eq!(
            group.machine.applied(),
            mark.last,
            "a restored state machine includes just what the snapshot does"
        );
        group.applied = mark.last;
        group.configuration.clone_from(&mark.configuration);
        (group.entries_since_flush, group.bytes_since_flush) = (0, 0);
        group.status.set_applied(mark.last.index);
        Counters::add(&self.counters.snapshots_installed, 1);
        self.staging.discard(id, mark.last);
        tracing::info!(group = id.0, last = %mark.last, "installed a snapshot");
        self.tell(id, WorkerEvent::Installed { group: id, mark });
        Ok(())
    }

    fn snapshot(
        &mut self,
        id: GroupId,
        to: NodeId,
        term: Term,
        at_least: LogIndex,
    ) -> Result<(), Fatal> {
        let group = self.groups.get_mut(&id).expect("the worker snapshots only its own groups");
        assert!(
            group.applied.index >= at_least,
            "the log is cut behind what is applied, so a snapshot taken now covers what was cut"
        );
        let source = group.machine.snapshot().map_err(|error| Fatal::state_machine(id, &error))?;
        assert_eq!(source.last(), group.applied, "a snapshot is taken of what is applied");
        let mark = SnapshotMark { last: group.applied, configuration: group.configuration.clone() };
        tracing::info!(group = id.0, to = %to, last = %mark.last, "sending a snapshot");
        let snapshot = OutgoingSnapshot { group: id, to, term, mark, source };
        let item = BulkItem::Send(Box::new(snapshot));
        // A closed mailbox means that the node is stopping.
        let _ = self.bulk.push(item);
        Ok(())
    }

    fn tell(&self, group: GroupId, event: WorkerEvent) {
        // A closed mailbox means that the node is stopping.
        let _ = self.workers[worker_of(group, self.workers.len())].push(event);
    }
}

impl<S: StateMachine> AppliedGroup<S> {
    /// Applies a batch and answers the clients of this node. Returns the last index.
    fn apply(&mut self, entries: Vec<Entry>, counters: &Counters) -> std::io::Result<LogIndex> {
        let mut batch = Vec::with_capacity(entries.len());
        let mut numbers = Vec::with_capacity(entries.len());
        let last = entries.last().map_or(self.applied, |entry| entry.id);
        for entry in entries {
            assert_eq!(
                entry.id.index,
                self.applied.index.next(),
                "entries are applied in the order of the log and without a gap"
            );
            self.applied = entry.id;
            self.bytes_since_flush += entry.size_bytes() as u64;
            let command = self.command_of(entry.payload, &mut numbers);
            batch.push(CommittedEntry { id: entry.id, command });
        }
        self.entries_since_flush += batch.len() as u64;
        let mut responses = Vec::with_capacity(numbers.len());
        self.machine.apply(&batch, &mut responses)?;
        assert_eq!(responses.len(), numbers.len(), "each command has one response");
        // First the index, then the answers: who got an answer finds it applied.
        self.status.set_applied(last.index);
        Counters::add(&counters.entries_applied, batch.len() as u64);
        Counters::add(&counters.apply_batches, 1);
        self.answer(numbers, responses);
        Ok(last.index)
    }

    /// Takes the envelope off. Notes whose client of this node waits, or `None` for each command
    /// of another node.
    fn command_of(
        &mut self,
        payload: Payload,
        numbers: &mut Vec<Option<u64>>,
    ) -> Option<bytes::Bytes> {
        let sealed = match payload {
            // A witness is handed nothing to apply.
            Payload::Noop | Payload::Withheld | Payload::Lease(_) => return None,
            Payload::Configuration(configuration) => {
                self.configuration = *configuration;
                return None;
            }
            Payload::Command(sealed) => sealed,
            // One after the other: what they touch is of no interest here.
            Payload::Keyed(keyed) => keyed.command,
        };
        // Only a host seals commands, so what cannot be opened is of a later version. All replicas
        // of this version skip it alike.
        let Some((id, command)) = envelope::open(&sealed) else {
            tracing::error!(entry = %self.applied, "skipped an entry of unknown version");
            return None;
        };
        numbers.push((id.origin == self.node_id).then_some(id.number));
        Some(command)
    }

    fn answer(&self, numbers: Vec<Option<u64>>, responses: Vec<S::Response>) {
        let mut replies: Vec<Option<Reply<S::Response, ProposeError>>> =
            Vec::with_capacity(numbers.len());
        self.waiters.take_batch(numbers.into_iter(), &mut replies);
        for (reply, response) in replies.into_iter().zip(responses) {
            if let Some(reply) = reply {
                reply(Ok(response));
            }
        }
    }
}
