//! Encodings of what the log and the frames between nodes have in common, version 1.
//!
//! All numbers are little-endian and of fixed size. A `take_` function answers `None` for bytes
//! that its `put_` would not have written, and never allocates more than they can fill.
//!
//! ```text
//! entry           term u64 │ index u64 │ kind u8 │ length u32 │ payload
//!                 kind: 0 no-op (length 0), 1 command, 2 configuration
//! configuration   voters, outgoing, learners; each: count u32 │ node u64 …, ascending
//! mark            term u64 │ index u64 │ configuration
//! hard state      term u64 │ voted u8 │ node u64 (0 if not voted)
//! ```

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::{
    Configuration, Entry, EntryId, HardState, LogIndex, NodeId, Payload, SnapshotMark, Term,
};

/// Bytes of an entry without its payload.
pub const ENTRY_BYTES_MIN: usize = 21;

const NOOP: u8 = 0;
const COMMAND: u8 = 1;
const CONFIGURATION: u8 = 2;

/// Bytes that [`put_entry`] writes.
#[must_use]
pub fn entry_bytes(entry: &Entry) -> usize {
    ENTRY_BYTES_MIN
        + match &entry.payload {
            Payload::Noop => 0,
            Payload::Command(command) => command.len(),
            Payload::Configuration(configuration) => configuration_bytes(configuration),
        }
}

fn configuration_bytes(configuration: &Configuration) -> usize {
    12 + 8 * configuration.member_count()
}

/// Writes an entry.
pub fn put_entry(out: &mut BytesMut, entry: &Entry) {
    out.put_u64_le(entry.id.term.0);
    out.put_u64_le(entry.id.index.0);
    match &entry.payload {
        Payload::Noop => {
            out.put_u8(NOOP);
            put_length(out, 0);
        }
        Payload::Command(command) => {
            out.put_u8(COMMAND);
            put_length(out, command.len());
            out.put_slice(command);
        }
        Payload::Configuration(configuration) => {
            out.put_u8(CONFIGURATION);
            put_length(out, configuration_bytes(configuration));
            put_configuration(out, configuration);
        }
    }
}

/// Takes an entry off the front. A command shares the buffer it came in.
pub fn take_entry(input: &mut Bytes) -> Option<Entry> {
    let id = take_entry_id(input)?;
    let kind = input.try_get_u8().ok()?;
    let length = input.try_get_u32_le().ok()? as usize;
    if length > input.len() {
        return None;
    }
    let mut bytes = input.split_to(length);
    let payload = match kind {
        NOOP => bytes.is_empty().then_some(Payload::Noop)?,
        COMMAND => Payload::Command(bytes),
        CONFIGURATION => {
            let configuration = take_configuration(&mut bytes)?;
            bytes.is_empty().then_some(Payload::Configuration(configuration))?
        }
        _ => return None,
    };
    Some(Entry { id, payload })
}

/// Writes a configuration.
pub fn put_configuration(out: &mut BytesMut, configuration: &Configuration) {
    for nodes in [&configuration.voters, &configuration.outgoing, &configuration.learners] {
        put_length(out, nodes.len());
        nodes.iter().for_each(|node| out.put_u64_le(node.0));
    }
}

/// Takes a configuration off the front.
pub fn take_configuration(input: &mut Bytes) -> Option<Configuration> {
    let voters = take_nodes(input)?;
    let outgoing = take_nodes(input)?;
    let learners = take_nodes(input)?;
    let configuration = Configuration { voters, outgoing, learners };
    let both = configuration.learners.iter().any(|node| configuration.voters.contains(node));
    (!both).then_some(configuration)
}

fn take_nodes(input: &mut Bytes) -> Option<BTreeSet<NodeId>> {
    let count = input.try_get_u32_le().ok()? as usize;
    if count > input.len() / 8 {
        return None;
    }
    let mut nodes = BTreeSet::new();
    for _ in 0..count {
        let node = NodeId(input.try_get_u64_le().ok()?);
        if nodes.last().is_some_and(|last| *last >= node) {
            return None;
        }
        nodes.insert(node);
    }
    Some(nodes)
}

/// Writes a snapshot mark.
pub fn put_mark(out: &mut BytesMut, mark: &SnapshotMark) {
    out.put_u64_le(mark.last.term.0);
    out.put_u64_le(mark.last.index.0);
    put_configuration(out, &mark.configuration);
}

/// Takes a snapshot mark off the front.
pub fn take_mark(input: &mut Bytes) -> Option<SnapshotMark> {
    let last = take_entry_id(input)?;
    Some(SnapshotMark { last, configuration: take_configuration(input)? })
}

/// Writes a hard state.
pub fn put_hard_state(out: &mut BytesMut, state: HardState) {
    out.put_u64_le(state.current_term.0);
    out.put_u8(u8::from(state.voted_for.is_some()));
    out.put_u64_le(state.voted_for.map_or(0, |node| node.0));
}

/// Takes a hard state off the front.
pub fn take_hard_state(input: &mut Bytes) -> Option<HardState> {
    let current_term = Term(input.try_get_u64_le().ok()?);
    let voted = input.try_get_u8().ok()?;
    let node = input.try_get_u64_le().ok()?;
    let voted_for = match (voted, node) {
        (0, 0) => None,
        (1, node) => Some(NodeId(node)),
        _ => return None,
    };
    Some(HardState { current_term, voted_for })
}

fn take_entry_id(input: &mut Bytes) -> Option<EntryId> {
    let term = Term(input.try_get_u64_le().ok()?);
    let index = LogIndex(input.try_get_u64_le().ok()?);
    Some(EntryId { term, index })
}

fn put_length(out: &mut BytesMut, length: usize) {
    out.put_u32_le(u32::try_from(length).expect("an entry is far below 4 GiB: options bound it"));
}
