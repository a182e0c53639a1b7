//! What is in a frame: protocol messages and the host's own, each for one group.
//!
//! ```text
//! kind u8 │ group u64 │ body …                                                little-endian
//! ```
//!
//! Sender and receiver are the frame's, and so is the version, which is 2 or 3. In version 2 there
//! is no CommitIndex, and an errand has no term. Every `decode` checks each length against what is
//! there before it allocates, and answers `None` for anything that `encode` would not have written.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::{AppendOutcome, Body as Rpc, Entry, EntryId, LogIndex, Message, NodeId, Term};
use wal::{GroupId, codec};

use crate::errands::{Errand, ErrandAnswer};
use crate::frame::{FrameHeader, SAYS_NO_TERM};

pub(crate) mod errand;
mod pieces;
mod snapshot;
#[cfg(test)]
mod tests;

use self::pieces::{
    put_bytes, put_entry_id, put_length, take_bool, take_bytes, take_count, take_entry_id,
    take_incarnation, take_index,
};

pub(crate) use self::snapshot::{SnapshotAck, SnapshotChunk};

/// One piece of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) group: GroupId,
    pub(crate) body: Body,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A message of the protocol.
    Raft(Message),
    /// Commands of the sender's clients, sealed, for the leader of `term` to append.
    Forward { term: Term, commands: Vec<Bytes> },
    /// The sender did not append these commands of the receiver's clients, which it was handed for
    /// `term`: it does not lead in that term, or has too much to do.
    ForwardRefused { term: Term, overloaded: bool, numbers: Vec<u64> },
    /// A question to the receiver's server.
    Call { number: u64, request: Bytes },
    /// The answer.
    CallAnswer { number: u64, answer: Bytes },
    /// Something that the receiver is asked to do as the leader of `term`; see `undated.rs` for
    /// those who do not say of which.
    Errand { term: Option<Term>, number: u64, errand: Errand },
    /// What became of it.
    ErrandAnswer { number: u64, answer: Box<ErrandAnswer> },
    /// A piece of a snapshot.
    SnapshotChunk(SnapshotChunk),
    /// How much of a snapshot the sender has.
    SnapshotAck(SnapshotAck),
}

const RAFT: u8 = 1;
const FORWARD: u8 = 2;
const FORWARD_REFUSED: u8 = 3;
const CALL: u8 = 4;
const CALL_ANSWER: u8 = 5;
const SNAPSHOT_CHUNK: u8 = 6;
const SNAPSHOT_ACK: u8 = 7;
const ERRAND: u8 = 8;
const ERRAND_ANSWER: u8 = 9;

const LENGTH_BYTES: usize = 4;
const NUMBER_BYTES: usize = 8;

/// Writes a protocol message, without making a [`Record`] of it first: the hot path.
pub(crate) fn encode_message(out: &mut BytesMut, version: u8, group: GroupId, message: &Message) {
    put_head(out, RAFT, group);
    encode_rpc(out, version, message);
}

/// Writes any record, as this version has it.
pub(crate) fn encode(out: &mut BytesMut, version: u8, group: GroupId, body: &Body) {
    match body {
        Body::Raft(message) => encode_message(out, version, group, message),
        Body::Forward { term, commands } => {
            put_head(out, FORWARD, group);
            out.put_u64_le(term.0);
            put_length(out, commands.len());
            commands.iter().for_each(|command| put_bytes(out, command));
        }
        Body::ForwardRefused { term, overloaded, numbers } => {
            put_head(out, FORWARD_REFUSED, group);
            out.put_u64_le(term.0);
            out.put_u8(u8::from(*overloaded));
            put_length(out, numbers.len());
            numbers.iter().for_each(|number| out.put_u64_le(*number));
        }
        Body::Call { number, request } => {
            put_head(out, CALL, group);
            out.put_u64_le(*number);
            put_bytes(out, request);
        }
        Body::CallAnswer { number, answer } => {
            put_head(out, CALL_ANSWER, group);
            out.put_u64_le(*number);
            put_bytes(out, answer);
        }
        Body::Errand { term, number, errand } => {
            put_head(out, ERRAND, group);
            if version > SAYS_NO_TERM {
                // Only what a peer of version 2 asks has none, and that is sent on to nobody.
                out.put_u64_le(term.unwrap_or_default().0);
            }
            out.put_u64_le(*number);
            errand::put_errand(out, errand);
        }
        Body::ErrandAnswer { number, answer } => {
            put_head(out, ERRAND_ANSWER, group);
            out.put_u64_le(*number);
            errand::put_answer(out, answer);
        }
        Body::SnapshotChunk(chunk) => {
            put_head(out, SNAPSHOT_CHUNK, group);
            snapshot::put_chunk(out, chunk);
        }
        Body::SnapshotAck(ack) => {
            put_head(out, SNAPSHOT_ACK, group);
            snapshot::put_ack(out, *ack);
        }
    }
}

/// Takes one record off the front of what is behind this header.
pub(crate) fn decode(header: &FrameHeader, input: &mut Bytes) -> Option<Record> {
    let FrameHeader { from, to, version, .. } = *header;
    let kind = input.try_get_u8().ok()?;
    let group = GroupId(input.try_get_u64_le().ok()?);
    let body = match kind {
        RAFT => Body::Raft(decode_rpc(from, to, version, input)?),
        FORWARD => {
            let term = Term(input.try_get_u64_le().ok()?);
            let count = take_count(input, LENGTH_BYTES)?;
            let commands = (0..count).map(|_| take_bytes(input)).collect::<Option<_>>()?;
            Body::Forward { term, commands }
        }
        FORWARD_REFUSED => {
            let term = Term(input.try_get_u64_le().ok()?);
            let overloaded = take_bool(input)?;
            let count = take_count(input, NUMBER_BYTES)?;
            let numbers = (0..count).map(|_| input.try_get_u64_le().ok()).collect::<Option<_>>()?;
            Body::ForwardRefused { term, overloaded, numbers }
        }
        CALL => Body::Call { number: input.try_get_u64_le().ok()?, request: take_bytes(input)? },
        CALL_ANSWER => {
            Body::CallAnswer { number: input.try_get_u64_le().ok()?, answer: take_bytes(input)? }
        }
        ERRAND => Body::Errand {
            term: match version > SAYS_NO_TERM {
                true => Some(Term(input.try_get_u64_le().ok()?)),
                false => None,
            },
            number: input.try_get_u64_le().ok()?,
            errand: errand::take_errand(input)?,
        },
        ERRAND_ANSWER => Body::ErrandAnswer {
            number: input.try_get_u64_le().ok()?,
            answer: errand::take_answer(input)?.into(),
        },
        SNAPSHOT_CHUNK => Body::SnapshotChunk(snapshot::take_chunk(input)?),
        SNAPSHOT_ACK => Body::SnapshotAck(snapshot::take_ack(input)?),
        _ => return None,
    };
    Some(Record { group, body })
}

const PRE_VOTE: u8 = 1;
const PRE_VOTE_RESPONSE: u8 = 2;
const REQUEST_VOTE: u8 = 3;
const REQUEST_VOTE_RESPONSE: u8 = 4;
const APPEND_ENTRIES: u8 = 5;
const APPEND_ACCEPTED: u8 = 6;
const APPEND_REJECTED: u8 = 7;
const HEARTBEAT: u8 = 8;
const HEARTBEAT_RESPONSE: u8 = 9;
const INSTALL_SNAPSHOT: u8 = 10;
const INSTALL_SNAPSHOT_RESPONSE: u8 = 11;
const TIMEOUT_NOW: u8 = 12;
const READ_INDEX: u8 = 13;
const READ_INDEX_RESPONSE: u8 = 14;
const QUIESCE: u8 = 15;
const REMOVED: u8 = 16;
const READ_REPLIED: u8 = 17;
const TIMEOUT_NOW_LEASE_ENDED: u8 = 18;
const PULL: u8 = 19;
const PULL_RESPONSE: u8 = 20;
const COMMIT_INDEX: u8 = 21;

fn put_rpc_head<'a>(out: &'a mut BytesMut, kind: u8, message: &Message) -> &'a mut BytesMut {
    out.put_u8(kind);
    out.put_u64_le(message.term.0);
    out.put_u64_le(message.incarnation.0);
    out
}

fn encode_rpc(out: &mut BytesMut, version: u8, message: &Message) {
    let head = |out, kind| put_rpc_head(out, kind, message);
    match &message.body {
        Rpc::PreVote { last } => put_entry_id(head(out, PRE_VOTE), *last),
        Rpc::PreVoteResponse { granted } => head(out, PRE_VOTE_RESPONSE).put_u8(u8::from(*granted)),
        Rpc::RequestVote { last, leadership_transfer } => {
            head(out, REQUEST_VOTE);
            put_entry_id(out, *last);
            out.put_u8(u8::from(*leadership_transfer));
        }
        Rpc::RequestVoteResponse { granted } => {
            head(out, REQUEST_VOTE_RESPONSE).put_u8(u8::from(*granted))
        }
        Rpc::AppendEntries { prev, commit_index, session, entries } => {
            put_place(head(out, APPEND_ENTRIES), *prev, *commit_index, *session);
            put_entries(out, entries);
        }
        Rpc::CommitIndex { prev, commit_index, session } if version > SAYS_NO_TERM => {
            put_place(head(out, COMMIT_INDEX), *prev, *commit_index, *session)
        }
        // An AppendEntries without entries says the same. It asks as well, and the answer is true:
        // the log of who answers matches up to there.
        Rpc::CommitIndex { prev, commit_index, session } => {
            put_place(head(out, APPEND_ENTRIES), *prev, *commit_index, *session);
            put_entries(out, &[]);
        }
        Rpc::AppendEntriesResponse(outcome) => {
            put_outcome(head(out, kind_of_outcome(outcome)), outcome)
        }
        Rpc::Heartbeat { commit_index, round } => {
            head(out, HEARTBEAT);
            out.put_u64_le(commit_index.0);
            out.put_u64_le(*round);
        }
        Rpc::HeartbeatResponse { round, last_index } => {
            head(out, HEARTBEAT_RESPONSE);
            out.put_u64_le(*round);
            out.put_u64_le(last_index.0);
        }
        Rpc::InstallSnapshot { mark } => codec::put_mark(head(out, INSTALL_SNAPSHOT), mark),
        Rpc::InstallSnapshotResponse { match_index } => {
            head(out, INSTALL_SNAPSHOT_RESPONSE).put_u64_le(match_index.0)
        }
        Rpc::Quiesce { last, commit_index } => {
            head(out, QUIESCE);
            put_entry_id(out, *last);
            out.put_u64_le(commit_index.0);
        }
        Rpc::TimeoutNow { lease_ended: false } => drop(head(out, TIMEOUT_NOW)),
        Rpc::TimeoutNow { lease_ended: true } => drop(head(out, TIMEOUT_NOW_LEASE_ENDED)),
        Rpc::ReadIndex { context, replied } => {
            head(out, if *replied { READ_REPLIED } else { READ_INDEX }).put_u64_le(*context)
        }
        Rpc::ReadIndexResponse { context, index } => {
            put_read_answer(head(out, READ_INDEX_RESPONSE), *context, *index)
        }
        Rpc::Pull { prev } => put_entry_id(head(out, PULL), *prev),
        Rpc::PullResponse { prev, commit_index, entries } => {
            head(out, PULL_RESPONSE);
            put_entry_id(out, *prev);
            out.put_u64_le(commit_index.0);
            put_entries(out, entries);
        }
        Rpc::Removed { by, incarnation } => {
            head(out, REMOVED);
            codec::put_mark(out, by);
            out.put_u64_le(incarnation.0);
        }
    }
}

/// What an AppendEntries begins with, and all that a CommitIndex has.
fn put_place(out: &mut BytesMut, prev: EntryId, commit_index: LogIndex, session: u64) {
    put_entry_id(out, prev);
    out.put_u64_le(commit_index.0);
    out.put_u64_le(session);
}

fn put_entries(out: &mut BytesMut, entries: &[Entry]) {
    put_length(out, entries.len());
    entries.iter().for_each(|entry| codec::put_entry(out, entry));
}

fn take_entries(input: &mut Bytes) -> Option<raft::Entries> {
    let count = take_count(input, codec::ENTRY_BYTES_MIN)?;
    (0..count).map(|_| codec::take_entry(input)).collect()
}

fn put_read_answer(out: &mut BytesMut, context: u64, index: Option<LogIndex>) {
    out.put_u64_le(context);
    out.put_u8(u8::from(index.is_some()));
    out.put_u64_le(index.unwrap_or_default().0);
}

fn kind_of_outcome(outcome: &AppendOutcome) -> u8 {
    match outcome {
        AppendOutcome::Accepted { .. } => APPEND_ACCEPTED,
        AppendOutcome::Rejected { .. } => APPEND_REJECTED,
    }
}

fn put_outcome(out: &mut BytesMut, outcome: &AppendOutcome) {
    match outcome {
        AppendOutcome::Accepted { session, match_index } => {
            out.put_u64_le(*session);
            out.put_u64_le(match_index.0);
        }
        AppendOutcome::Rejected { session, prev_index, hint } => {
            out.put_u64_le(*session);
            out.put_u64_le(prev_index.0);
            put_entry_id(out, *hint);
        }
    }
}

fn decode_rpc(from: NodeId, to: NodeId, version: u8, input: &mut Bytes) -> Option<Message> {
    let kind = input.try_get_u8().ok()?;
    let term = Term(input.try_get_u64_le().ok()?);
    let incarnation = take_incarnation(input)?;
    let body = match kind {
        PRE_VOTE => Rpc::PreVote { last: take_entry_id(input)? },
        PRE_VOTE_RESPONSE => Rpc::PreVoteResponse { granted: take_bool(input)? },
        REQUEST_VOTE => {
            Rpc::RequestVote { last: take_entry_id(input)?, leadership_transfer: take_bool(input)? }
        }
        REQUEST_VOTE_RESPONSE => Rpc::RequestVoteResponse { granted: take_bool(input)? },
        APPEND_ENTRIES => {
            let (prev, commit_index) = (take_entry_id(input)?, take_index(input)?);
            let session = input.try_get_u64_le().ok()?;
            Rpc::AppendEntries { prev, commit_index, session, entries: take_entries(input)? }
        }
        COMMIT_INDEX if version > SAYS_NO_TERM => Rpc::CommitIndex {
            prev: take_entry_id(input)?,
            commit_index: take_index(input)?,
            session: input.try_get_u64_le().ok()?,
        },
        APPEND_ACCEPTED => Rpc::AppendEntriesResponse(AppendOutcome::Accepted {
            session: input.try_get_u64_le().ok()?,
            match_index: take_index(input)?,
        }),
        APPEND_REJECTED => Rpc::AppendEntriesResponse(AppendOutcome::Rejected {
            session: input.try_get_u64_le().ok()?,
            prev_index: take_index(input)?,
            hint: take_entry_id(input)?,
        }),
        HEARTBEAT => {
            Rpc::Heartbeat { commit_index: take_index(input)?, round: input.try_get_u64_le().ok()? }
        }
        HEARTBEAT_RESPONSE => Rpc::HeartbeatResponse {
            round: input.try_get_u64_le().ok()?,
            last_index: take_index(input)?,
        },
        INSTALL_SNAPSHOT => Rpc::InstallSnapshot { mark: codec::take_mark(input)?.into() },
        INSTALL_SNAPSHOT_RESPONSE => {
            Rpc::InstallSnapshotResponse { match_index: take_index(input)? }
        }
        QUIESCE => Rpc::Quiesce { last: take_entry_id(input)?, commit_index: take_index(input)? },
        TIMEOUT_NOW | TIMEOUT_NOW_LEASE_ENDED => {
            Rpc::TimeoutNow { lease_ended: kind == TIMEOUT_NOW_LEASE_ENDED }
        }
        READ_INDEX | READ_REPLIED => {
            Rpc::ReadIndex { context: input.try_get_u64_le().ok()?, replied: kind == READ_REPLIED }
        }
        READ_INDEX_RESPONSE => {
            let context = input.try_get_u64_le().ok()?;
            let (known, index) = (take_bool(input)?, take_index(input)?);
            Rpc::ReadIndexResponse { context, index: known.then_some(index) }
        }
        PULL => Rpc::Pull { prev: take_entry_id(input)? },
        PULL_RESPONSE => {
            let (prev, commit_index) = (take_entry_id(input)?, take_index(input)?);
            Rpc::PullResponse { prev, commit_index, entries: take_entries(input)? }
        }
        REMOVED => Rpc::Removed {
            by: codec::take_mark(input)?.into(),
            incarnation: take_incarnation(input)?,
        },
        _ => return None,
    };
    Some(Message { from, to, term, incarnation, body })
}

fn put_head(out: &mut BytesMut, kind: u8, group: GroupId) {
    out.put_u8(kind);
    out.put_u64_le(group.0);
}
