//! What the stages say to each other.

use bytes::Bytes;
use env::Moment;
use raft::{Entries, Entry, EntryId, Fetch, LogIndex, NodeId, PersistNumber, SnapshotMark, Term};
use wal::{GroupId, WalWrite};

use crate::errands::{Asker, Errand};
use crate::reads::Read;
use crate::records::{Record, SnapshotAck, SnapshotChunk};
use crate::waiters::Reply;
use crate::{CallError, CallTarget, SnapshotSource, TransferError};

/// To a worker.
pub(crate) enum WorkerEvent {
    /// A client's command, sealed and registered under `number`.
    Propose { group: GroupId, proposal: Proposal },
    /// A read.
    Read { group: GroupId, read: Read },
    /// A peer says that this node was removed from a group, and shows by which configuration.
    RemovalClaimed { group: GroupId, from: NodeId, by: Box<SnapshotMark> },
    /// Leadership should go to `to`.
    Transfer { group: GroupId, to: Option<NodeId>, reply: Reply<(), TransferError> },
    /// Leadership should go to whoever wins the next election.
    StepDown { group: GroupId, reply: Reply<(), TransferError> },
    /// This node should not campaign any more, or again.
    PauseElections { group: GroupId, are_paused: bool },
    /// Something for the leader to do.
    Errand { group: GroupId, errand: Errand, asker: Asker },
    /// A question to another node's server.
    Call { group: GroupId, target: CallTarget, request: Bytes, reply: Reply<Bytes, CallError> },
    /// This node's server has answered a call.
    CallAnswered { group: GroupId, to: NodeId, number: u64, answer: Bytes },
    /// A peer's frame, taken apart.
    Records { from: NodeId, records: Vec<Record> },
    /// The log has these on disk.
    Persisted(Vec<(GroupId, PersistNumber)>),
    /// The state machine includes this index.
    Applied { group: GroupId, index: LogIndex },
    /// The state machine is durable up to this index: the log may be cut.
    Flushed { group: GroupId, upto: LogIndex },
    /// Old entries that the protocol asked for.
    Fetched { group: GroupId, from: LogIndex, entries: Vec<Entry> },
    /// A snapshot has come whole and lies on disk.
    Staged { group: GroupId, staged: Box<Staged> },
    /// The state machine is the snapshot's.
    Installed { group: GroupId, mark: SnapshotMark },
    /// A snapshot was delivered, or could not be.
    SnapshotSent { group: GroupId, to: NodeId, delivered: Option<SnapshotMark> },
}

/// A snapshot that lies on disk, whole.
pub(crate) struct Staged {
    /// The leader that sent it, and its term.
    pub(crate) from: NodeId,
    pub(crate) term: Term,
    /// The leader's name for the transfer.
    pub(crate) transfer: u64,
    /// What it includes.
    pub(crate) mark: SnapshotMark,
    /// When its first piece was taken: the leader had made it by then.
    pub(crate) begun: Moment,
}

/// A command on its way into the log.
#[derive(Debug)]
pub(crate) struct Proposal {
    /// Its number at this node.
    pub(crate) number: u64,
    /// Name and command, as the entry will hold them.
    pub(crate) sealed: Bytes,
    /// Only if this node leads in this term.
    pub(crate) leader_term: Option<Term>,
    /// When its client gives up.
    pub(crate) deadline: Moment,
}

/// To the writer of the log: one worker's writes of one step, in order.
pub(crate) struct LogBatch {
    /// Who hears that they are durable.
    pub(crate) worker: usize,
    /// The writes.
    pub(crate) writes: Vec<WalWrite>,
}

/// To the applier.
pub(crate) enum ApplyItem {
    /// Committed entries, in order and without a gap.
    Entries { group: GroupId, entries: Entries },
    /// A staged snapshot replaces the state.
    Install { group: GroupId, mark: Box<SnapshotMark> },
    /// A follower needs a snapshot that covers `at_least`.
    Snapshot { group: GroupId, to: NodeId, term: Term, at_least: LogIndex },
}

impl ApplyItem {
    /// Whether these are entries of this group.
    pub(crate) fn is_entries_of(&self, id: GroupId) -> bool {
        matches!(self, Self::Entries { group, .. } if *group == id)
    }
}

/// To the bulk stage, which does what is long: old entries and snapshots.
pub(crate) enum BulkItem {
    /// Make a segment for the log ahead of need.
    PrepareSpare,
    /// Read old entries from the log.
    Fetch { group: GroupId, fetch: Fetch },
    /// Send a pinned snapshot.
    Send(Box<OutgoingSnapshot>),
    /// A piece of a snapshot came.
    Chunk { from: NodeId, group: GroupId, chunk: SnapshotChunk },
    /// A staged snapshot is of no use: what this transfer has brought, or what anyone has brought.
    Discard { group: GroupId, last: EntryId, transfer: Option<u64> },
    /// A peer says how much of a snapshot it has.
    Ack { from: NodeId, group: GroupId, ack: SnapshotAck },
}

/// A pinned snapshot and who needs it.
#[derive(Debug)]
pub(crate) struct OutgoingSnapshot {
    pub(crate) group: GroupId,
    pub(crate) to: NodeId,
    /// The leader's term when it decided to send.
    pub(crate) term: Term,
    pub(crate) mark: SnapshotMark,
    pub(crate) source: Box<dyn SnapshotSource>,
}
