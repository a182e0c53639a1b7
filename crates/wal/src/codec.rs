//! Encodings of what the log and the frames between nodes have in common, version 2. Version 1 had
//! no extensions; what has none is still written as it was.
//!
//! All numbers are little-endian and of fixed size. A `take_` function answers `None` for bytes
//! that its `put_` would not have written, and never allocates more than they can fill.
//!
//! ```text
//! entry           term u64 │ index u64 │ kind u8 │ length u32 │ payload
//!                 kind: 0 no-op (length 0), 1 command, 2 configuration, 3 withheld (length 0),
//!                       4 lease: earliest us u64 │ latest us u64, not below,
//!                       5 command with keys: count u32, at most 64 │ key u64 …, ascending │
//!                         command
//! configuration   voters, outgoing, learners; each: count u32 │ node u64 …, ascending
//!                 with the top bit of the first count set, then: length u32 │ extension …
//! extension       tag u8, ascending │ length u32 │ value, never that of a configuration without it
//!                 tag: 1 attributes: (node u64, ascending │ length u32 │ bytes) …
//!                      2 witnesses: node u64 …, ascending, all of them voters
//!                      3 removed: node u64 …, in order of removal
//!                      4 incarnations: (node u64, ascending │ incarnation u64, not 0) …
//!                      5 quorum rules: that of the voters │ that of the outgoing, see [`rule`]
//!                      6 lease: duration in us u64, sound │ drift in ppm u32 │ clock u8: 0, or
//!                        1 and │ uncertainty in us u32
//!                      7 feeders: (learner u64, ascending │ feeder u64) …
//!                      8 priorities: (node u64, ascending │ priority u32, not 0) …
//! mark            term u64 │ index u64 │ configuration
//! hard state      term u64 │ voted u8 │ node u64 (0 if not voted)
//! ```

mod entry;
mod rule;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::{
    Configuration, EntryId, HardState, Incarnation, LeaseClock, LeaseTerms, LogIndex, NodeId,
    SnapshotMark, TOMBSTONES_MAX, Term,
};

pub use self::entry::{ENTRY_BYTES_MIN, entry_bytes, put_entry, take_entry};

/// Set in the first count of a configuration that has extensions: no group has so many voters.
const HAS_EXTENSIONS: u32 = 1 << 31;
const ATTRIBUTES: u8 = 1;
const WITNESSES: u8 = 2;
const REMOVED: u8 = 3;
const INCARNATIONS: u8 = 4;
const QUORUM_RULES: u8 = 5;
const LEASE: u8 = 6;
const FEEDERS: u8 = 7;
const PRIORITIES: u8 = 8;
/// The clocks that leases rest on: each node's own, that never goes back; or such as say how wrong
/// they may be.
const MONOTONIC: u8 = 0;
const DECLARED: u8 = 1;

fn configuration_bytes(configuration: &Configuration) -> usize {
    let extensions = extensions(configuration);
    let extensions_bytes = if extensions.is_empty() { 0 } else { 4 + extensions.len() };
    12 + 8 * configuration.member_count() + extensions_bytes
}

/// Writes a configuration.
pub fn put_configuration(out: &mut BytesMut, configuration: &Configuration) {
    let extensions = extensions(configuration);
    let flag = if extensions.is_empty() { 0 } else { HAS_EXTENSIONS };
    let sets = [&configuration.voters, &configuration.outgoing, &configuration.learners];
    for (nodes, flag) in sets.into_iter().zip([flag, 0, 0]) {
        out.put_u32_le(length(nodes.len()) | flag);
        nodes.iter().for_each(|node| out.put_u64_le(node.0));
    }
    if !extensions.is_empty() {
        put_length(out, extensions.len());
        out.put_slice(&extensions);
    }
}

/// Takes a configuration off the front.
pub fn take_configuration(input: &mut Bytes) -> Option<Configuration> {
    let first = input.try_get_u32_le().ok()?;
    let voters = take_nodes(input, first & !HAS_EXTENSIONS)?;
    let outgoing = take_counted_nodes(input)?;
    let learners = take_counted_nodes(input)?;
    let mut configuration = Configuration { voters, outgoing, learners, ..Default::default() };
    if first & HAS_EXTENSIONS != 0 {
        take_extensions(&mut take_bytes(input)?, &mut configuration)?;
    }
    let both = configuration.learners.iter().any(|node| configuration.voters.contains(node));
    let returned = configuration.removed.iter().any(|node| configuration.contains(*node));
    let strangers = configuration.witnesses.iter().any(|node| !configuration.is_voter(*node));
    (!both && !returned && !strangers).then_some(configuration)
}

fn extensions(configuration: &Configuration) -> BytesMut {
    let mut out = BytesMut::new();
    let mut extension = |tag: u8, value: BytesMut| {
        if !value.is_empty() {
            out.put_u8(tag);
            put_length(&mut out, value.len());
            out.put_slice(&value);
        }
    };
    extension(ATTRIBUTES, attributes(configuration));
    extension(WITNESSES, nodes(&configuration.witnesses));
    extension(REMOVED, nodes(&configuration.removed));
    extension(INCARNATIONS, incarnations(configuration));
    extension(QUORUM_RULES, rule::rules(configuration));
    extension(LEASE, lease(configuration));
    extension(FEEDERS, feeders(configuration));
    extension(PRIORITIES, priorities(configuration));
    out
}

fn take_extensions(input: &mut Bytes, configuration: &mut Configuration) -> Option<()> {
    let mut tag_before = 0;
    // One that says nothing would be written as none.
    input.has_remaining().then_some(())?;
    while input.has_remaining() {
        let tag = input.try_get_u8().ok()?;
        let mut value = take_bytes(input)?;
        if tag <= tag_before || value.is_empty() {
            return None;
        }
        tag_before = tag;
        match tag {
            ATTRIBUTES => configuration.attributes = take_attributes(&mut value)?,
            WITNESSES => {
                let count = u32::try_from(value.len() / 8).ok()?;
                configuration.witnesses = take_nodes(&mut value, count)?;
            }
            REMOVED => configuration.removed = take_removed(&mut value)?,
            INCARNATIONS => configuration.incarnations = take_incarnations(&mut value)?,
            QUORUM_RULES => {
                (configuration.rule, configuration.outgoing_rule) = rule::take_rules(&mut value)?;
            }
            LEASE => configuration.lease = Some(take_lease(&mut value)?),
            FEEDERS => configuration.feeders = take_feeders(&mut value)?,
            PRIORITIES => configuration.priorities = take_priorities(&mut value)?,
            // Of a later version: to go on without it would be to forget it.
            _ => return None,
        }
        value.is_empty().then_some(())?;
    }
    Some(())
}

fn attributes(configuration: &Configuration) -> BytesMut {
    let mut out = BytesMut::new();
    for (node, attributes) in &configuration.attributes {
        out.put_u64_le(node.0);
        put_length(&mut out, attributes.len());
        out.put_slice(attributes);
    }
    out
}

fn take_attributes(input: &mut Bytes) -> Option<BTreeMap<NodeId, Bytes>> {
    let mut all = BTreeMap::new();
    while input.has_remaining() {
        let node = NodeId(input.try_get_u64_le().ok()?);
        if all.last_key_value().is_some_and(|(last, _)| *last >= node) {
            return None;
        }
        all.insert(node, take_bytes(input)?);
    }
    Some(all)
}

fn nodes<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> BytesMut {
    let mut out = BytesMut::new();
    nodes.into_iter().for_each(|node| out.put_u64_le(node.0));
    out
}

fn take_removed(input: &mut Bytes) -> Option<Vec<NodeId>> {
    let mut all = Vec::new();
    while input.has_remaining() {
        let node = NodeId(input.try_get_u64_le().ok()?);
        if all.contains(&node) || all.len() == TOMBSTONES_MAX {
            return None;
        }
        all.push(node);
    }
    Some(all)
}

fn incarnations(configuration: &Configuration) -> BytesMut {
    pairs(configuration.incarnations.iter().map(|(node, incarnation)| (*node, incarnation.0)))
}

fn take_incarnations(input: &mut Bytes) -> Option<BTreeMap<NodeId, Incarnation>> {
    let known = |(node, number)| {
        let incarnation = Incarnation(number);
        incarnation.is_known().then_some((node, incarnation))
    };
    take_pairs(input)?.into_iter().map(known).collect()
}

fn feeders(configuration: &Configuration) -> BytesMut {
    pairs(configuration.feeders.iter().map(|(learner, feeder)| (*learner, feeder.0)))
}

fn take_feeders(input: &mut Bytes) -> Option<BTreeMap<NodeId, NodeId>> {
    Some(
        take_pairs(input)?.into_iter().map(|(learner, feeder)| (learner, NodeId(feeder))).collect(),
    )
}

fn priorities(configuration: &Configuration) -> BytesMut {
    let mut out = BytesMut::new();
    for (node, priority) in &configuration.priorities {
        out.put_u64_le(node.0);
        out.put_u32_le(*priority);
    }
    out
}

fn take_priorities(input: &mut Bytes) -> Option<BTreeMap<NodeId, u32>> {
    let mut all = BTreeMap::new();
    while input.has_remaining() {
        let node = NodeId(input.try_get_u64_le().ok()?);
        let priority = input.try_get_u32_le().ok()?;
        if priority == 0 || all.last_key_value().is_some_and(|(last, _)| *last >= node) {
            return None;
        }
        all.insert(node, priority);
    }
    Some(all)
}

fn pairs(all: impl Iterator<Item = (NodeId, u64)>) -> BytesMut {
    let mut out = BytesMut::new();
    for (node, number) in all {
        out.put_u64_le(node.0);
        out.put_u64_le(number);
    }
    out
}

/// To the end of the input.
fn take_pairs(input: &mut Bytes) -> Option<BTreeMap<NodeId, u64>> {
    let mut all = BTreeMap::new();
    while input.has_remaining() {
        let node = NodeId(input.try_get_u64_le().ok()?);
        let number = input.try_get_u64_le().ok()?;
        if all.last_key_value().is_some_and(|(last, _)| *last >= node) {
            return None;
        }
        all.insert(node, number);
    }
    Some(all)
}

fn lease(configuration: &Configuration) -> BytesMut {
    let mut out = BytesMut::new();
    if let Some(terms) = configuration.lease {
        out.put_u64_le(terms.duration_us);
        out.put_u32_le(terms.drift_ppm);
        match terms.clock {
            LeaseClock::Monotonic => out.put_u8(MONOTONIC),
            LeaseClock::Declared { uncertainty_us_max } => {
                out.put_u8(DECLARED);
                out.put_u32_le(uncertainty_us_max);
            }
        }
    }
    out
}

fn take_lease(input: &mut Bytes) -> Option<LeaseTerms> {
    let duration_us = input.try_get_u64_le().ok()?;
    let drift_ppm = input.try_get_u32_le().ok()?;
    let clock = match input.try_get_u8().ok()? {
        MONOTONIC => LeaseClock::Monotonic,
        DECLARED => LeaseClock::Declared { uncertainty_us_max: input.try_get_u32_le().ok()? },
        _ => return None,
    };
    let terms = LeaseTerms { duration_us, drift_ppm, clock };
    terms.is_sound().then_some(terms)
}

fn take_counted_nodes(input: &mut Bytes) -> Option<BTreeSet<NodeId>> {
    let count = input.try_get_u32_le().ok()?;
    take_nodes(input, count)
}

fn take_nodes(input: &mut Bytes, count: u32) -> Option<BTreeSet<NodeId>> {
    let count = count as usize;
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

fn take_bytes(input: &mut Bytes) -> Option<Bytes> {
    let length = input.try_get_u32_le().ok()? as usize;
    (length <= input.len()).then(|| input.split_to(length))
}

fn put_length(out: &mut BytesMut, bytes: usize) {
    out.put_u32_le(length(bytes));
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("an entry is far below 4 GiB: options bound it")
}
