//! The RPCs as values. One variant per RPC and one per answer, each with the fields of its figure.

use crate::{Entries, EntryId, Incarnation, LogIndex, NodeId, SnapshotMark, Term};
use alloc::boxed::Box;

/// One message between two nodes of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The sender's current term; for a pre-vote request and its grant the term that the
    /// candidate would begin (thesis §9.6).
    pub term: Term,
    /// The sender's disk: whatever the message vouches for, it vouches for by this one.
    pub incarnation: Incarnation,
    /// The RPC or the answer.
    pub body: Body,
}

impl Message {
    /// A message whose sender does not say which disk it has.
    #[must_use]
    pub fn new(from: NodeId, to: NodeId, term: Term, body: Body) -> Self {
        Self { from, to, term, incarnation: Incarnation::default(), body }
    }
}

/// The RPCs and their answers.
///
/// # The figures' fields
///
/// Every message has the sender's `term` and its id, which the figures name `leaderId` and
/// `candidateId`: [`Message::term`], [`Message::from`]. "If term < currentTerm" and "if term >
/// currentTerm" are looked at in one place for all of them (`step.rs`).
///
/// **RequestVote** (Raft Figure 2; thesis Figure 3.1)
///
/// | in the figure | here |
/// | --- | --- |
/// | `lastLogIndex`, `lastLogTerm` | `last`: two numbers that are never apart |
/// | `voteGranted` | `granted` |
/// | receiver 1: reply false if term < currentTerm | `handle_lower_term` |
/// | receiver 2: votedFor is null or candidateId, and the log is no older | `handle_request_vote` |
///
/// Beyond the figure: `leadership_transfer` (thesis §3.10); who hears a leader does not answer at
/// all (§4.2.3); who knows that the candidate lacks what is committed refuses. Whether the vote of
/// a disk counts the candidate judges (`incarnation.rs`). **PreVote** (§9.6) has the same fields,
/// and the term that would begin.
///
/// **AppendEntries** (Raft Figure 2; thesis Figure 3.1)
///
/// | in the figure | here |
/// | --- | --- |
/// | `prevLogIndex`, `prevLogTerm` | `prev` |
/// | `entries[]` | `entries`; each has its own term and index |
/// | `leaderCommit` | `commit_index` |
/// | `success` | [`AppendOutcome::Accepted`], [`AppendOutcome::Rejected`] |
/// | receiver 1: reply false if term < currentTerm | `handle_lower_term` |
/// | receiver 2: reply false if the log has no `prev` | `fit`, `reject_append` |
/// | receiver 3: delete what conflicts and all behind it | `fit`, `truncate` |
/// | receiver 4: append what is not in the log | `append` |
/// | receiver 5: commitIndex = min(leaderCommit, index of last new entry) | `learn_commit_index` |
///
/// Beyond the figure: an answer says up to where the logs match, so that it may come late, twice or
/// out of order; a refusal has a hint that skips a term (§5.3, end); both are of a `session`. The
/// answer leaves when the entries are durable. The heartbeat of the figure, an empty AppendEntries,
/// is three messages here: [`Heartbeat`](Self::Heartbeat), which speaks of time and asks nothing of
/// the log; the AppendEntries without entries, which asks where the logs agree; and
/// [`CommitIndex`](Self::CommitIndex), which asks nothing and has no answer.
///
/// **InstallSnapshot** (Raft Figure 13; thesis Figure 5.3)
///
/// | in the figure | here |
/// | --- | --- |
/// | `lastIncludedIndex`, `lastIncludedTerm` | `mark.last` |
/// | `lastConfig` (thesis) | `mark.configuration` |
/// | `offset`, `data[]`, `done` | the hosts' business: the message says that all of it is there |
/// | receiver 2 to 5: write the chunks, discard older snapshots | the host |
/// | receiver 6: if the log has that entry, retain what follows | `handle_install_snapshot` |
/// | receiver 7, 8: discard the log, load configuration and state | `begin_anew`, and the host |
///
/// **AddServer, RemoveServer** (thesis Figure 4.1) have no messages: a change is asked of the
/// leader's host ([`ConfigurationChange`](crate::ConfigurationChange)) and goes by joint consensus
/// (§4.3), or in one step where one voter changes (§4.1). **ClientRequest, RegisterClient,
/// ClientQuery** (thesis Figure 6.1) are the host's; of ClientQuery the steps 2 to 4 are the
/// core's, as reads ([`ReadMode`](crate::ReadMode)), and [`ReadIndex`](Self::ReadIndex) takes them
/// to a follower (§6.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// "Would you vote for me?" Changes no term and no vote (thesis §9.6).
    PreVote {
        /// The candidate's last entry.
        last: EntryId,
    },
    /// Answer to [`Body::PreVote`].
    PreVoteResponse {
        /// Whether the receiver would vote for the sender of the request.
        granted: bool,
    },
    /// Raft §5.2.
    RequestVote {
        /// The candidate's last entry.
        last: EntryId,
        /// The current leader asked for this election (thesis §3.10): stickiness does not apply.
        leadership_transfer: bool,
    },
    /// Answer to [`Body::RequestVote`].
    RequestVoteResponse {
        /// Whether the vote was given.
        granted: bool,
    },
    /// Raft §5.3.
    AppendEntries {
        /// The entry just before `entries`.
        prev: EntryId,
        /// The leader's commit index.
        commit_index: LogIndex,
        /// The leader's name for its book on the receiver; echoed in the answer.
        session: u64,
        /// Consecutive entries that follow `prev`; empty for a probe.
        entries: Entries,
    },
    /// Answer to [`Body::AppendEntries`], and to [`Body::CommitIndex`] by one who lacks `prev`.
    AppendEntriesResponse(AppendOutcome),
    /// `leaderCommit` for a follower that was sent everything: an AppendEntries without entries
    /// that is not answered where it fits, since the leader would learn nothing from that.
    CommitIndex {
        /// The last entry that was sent to this follower. Who lacks it says so, as for any
        /// AppendEntries: what brought it may be lost.
        prev: EntryId,
        /// The leader's commit index.
        commit_index: LogIndex,
        /// The leader's name for its book on the receiver; named by who lacks `prev`.
        session: u64,
    },
    /// The leader is alive; `round` is echoed, for check-quorum and for ReadIndex (thesis §6.4).
    Heartbeat {
        /// The leader's commit index, never beyond what this follower is known to hold.
        commit_index: LogIndex,
        /// The newest ReadIndex round that this heartbeat confirms; 0 for none. Unique in a term.
        round: u64,
    },
    /// Answer to [`Body::Heartbeat`].
    HeartbeatResponse {
        /// The round of the heartbeat.
        round: u64,
        /// The follower's last index, so that a leader notices one that needs entries.
        last_index: LogIndex,
    },
    /// The host has received, checked and staged a whole snapshot from the leader (Raft §7);
    /// the bytes themselves travel between hosts.
    InstallSnapshot {
        /// What the snapshot stands for.
        mark: Box<SnapshotMark>,
    },
    /// Answer to [`Body::InstallSnapshot`].
    InstallSnapshotResponse {
        /// The follower's log matches the leader's up to here; durable.
        match_index: LogIndex,
    },
    /// There is nothing to do, and the leader will not be heard until there is.
    Quiesce {
        /// The leader's last entry: who has another one does not rest.
        last: EntryId,
        /// The leader's commit index: `last`.
        commit_index: LogIndex,
    },
    /// "Begin an election at once" (thesis §3.10).
    TimeoutNow {
        /// The leader reads on no lease in the log any more, and nobody else does: whoever leads
        /// the next term need not wait with its commits (`lease_guard.rs`).
        lease_ended: bool,
    },
    /// A follower asks the leader for a read index (thesis §6.4).
    ReadIndex {
        /// The follower's name for the request; unique in its life.
        context: u64,
        /// Content with the index up to which clients were answered.
        replied: bool,
    },
    /// Answer to [`Body::ReadIndex`].
    ReadIndexResponse {
        /// The name from the request.
        context: u64,
        /// Where the read is linearizable, or `None` when this node does not lead.
        index: Option<LogIndex>,
    },
    /// A learner asks its feeder for what is committed behind its own commit index (`feeding.rs`).
    Pull {
        /// The learner's last committed entry.
        prev: EntryId,
    },
    /// Answer to [`Body::Pull`], if there is something to tell.
    PullResponse {
        /// From the request.
        prev: EntryId,
        /// The feeder's commit index.
        commit_index: LogIndex,
        /// Committed entries that follow `prev`.
        entries: Entries,
    },
    /// Answer to a request of a node that was removed: it should shut down. Of any term, since that
    /// node may be in a term of its own.
    Removed {
        /// A committed configuration that names the receiver among the removed, and the entry as of
        /// which it is in force.
        by: Box<SnapshotMark>,
        /// The disk that the request came from.
        incarnation: Incarnation,
    },
}

/// What became of an AppendEntries. `session` is the request's: a follower that was removed and
/// added again has a new book, and answers from before say nothing about it (L11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// The follower's log matches the leader's up to `match_index`; durable.
    Accepted {
        /// From the request.
        session: u64,
        /// The last index that the request proved to match: `prev` plus the entries it carried.
        match_index: LogIndex,
    },
    /// `prev` is not in the follower's log.
    Rejected {
        /// From the request.
        session: u64,
        /// The index of the refused `prev`, so that a late refusal is told from a fresh one.
        prev_index: LogIndex,
        /// The largest entry of the follower at or before `prev_index` whose term is at most
        /// `prev`'s: the leader skips a whole term a round.
        hint: EntryId,
    },
}
