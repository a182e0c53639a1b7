//! Encodings of quorum rules: extension 5 of a configuration.
//!
//! ```text
//! rule    kind u8 │ …
//!         kind: 0 majority
//!               1 even set    extra set: count u32 │ node u64 …, ascending
//!               2 flexible    election u32 │ commit u32
//!               3 hierarchy   parts
//! parts   count u32 │ (weight u32 │ kind u8 │ …) …
//!         kind: 0 voter       node u64
//!               1 group       parts, at most `raft::quorum::hierarchy::DEPTH_MAX` in each other
//! ```
//!
//! Whether a rule fits its voters is for the core to say.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::quorum::hierarchy::{DEPTH_MAX, Part};
use raft::{Configuration, NodeId, QuorumRule};

use super::{length, put_length, take_counted_nodes};

const MAJORITY: u8 = 0;
const EVEN_SET: u8 = 1;
const FLEXIBLE: u8 = 2;
const HIERARCHY: u8 = 3;

const VOTER: u8 = 0;
const GROUP: u8 = 1;

/// Of a part: weight, kind, and the count of no parts.
const PART_BYTES_MIN: usize = 9;

/// The rules of both halves; nothing if both take majorities.
pub(super) fn rules(configuration: &Configuration) -> BytesMut {
    let mut out = BytesMut::new();
    let rules = [&configuration.rule, &configuration.outgoing_rule];
    if rules.iter().any(|rule| **rule != QuorumRule::Majority) {
        rules.into_iter().for_each(|rule| put_rule(&mut out, rule));
    }
    out
}

pub(super) fn take_rules(input: &mut Bytes) -> Option<(QuorumRule, QuorumRule)> {
    let rules = (take_rule(input)?, take_rule(input)?);
    (rules != (QuorumRule::Majority, QuorumRule::Majority)).then_some(rules)
}

fn put_rule(out: &mut BytesMut, rule: &QuorumRule) {
    match rule {
        QuorumRule::Majority => out.put_u8(MAJORITY),
        QuorumRule::EvenSet { extra } => {
            out.put_u8(EVEN_SET);
            out.put_u32_le(length(extra.len()));
            extra.iter().for_each(|node| out.put_u64_le(node.0));
        }
        QuorumRule::Flexible { election, commit } => {
            out.put_u8(FLEXIBLE);
            out.put_u32_le(*election);
            out.put_u32_le(*commit);
        }
        QuorumRule::Hierarchy(parts) => {
            out.put_u8(HIERARCHY);
            put_parts(out, parts);
        }
    }
}

fn put_parts(out: &mut BytesMut, parts: &[Part]) {
    put_length(out, parts.len());
    for part in parts {
        match part {
            Part::Voter { node, weight } => {
                out.put_u32_le(*weight);
                out.put_u8(VOTER);
                out.put_u64_le(node.0);
            }
            Part::Group { parts, weight } => {
                out.put_u32_le(*weight);
                out.put_u8(GROUP);
                put_parts(out, parts);
            }
        }
    }
}

fn take_rule(input: &mut Bytes) -> Option<QuorumRule> {
    Some(match input.try_get_u8().ok()? {
        MAJORITY => QuorumRule::Majority,
        EVEN_SET => QuorumRule::EvenSet { extra: take_counted_nodes(input)? },
        FLEXIBLE => {
            let election = input.try_get_u32_le().ok()?;
            QuorumRule::Flexible { election, commit: input.try_get_u32_le().ok()? }
        }
        HIERARCHY => QuorumRule::Hierarchy(take_parts(input, 1)?),
        _ => return None,
    })
}

fn take_parts(input: &mut Bytes, depth: usize) -> Option<Vec<Part>> {
    let count = input.try_get_u32_le().ok()? as usize;
    if depth > DEPTH_MAX || count > input.len() / PART_BYTES_MIN {
        return None;
    }
    let mut parts = Vec::new();
    for _ in 0..count {
        let weight = input.try_get_u32_le().ok()?;
        parts.push(match input.try_get_u8().ok()? {
            VOTER => Part::Voter { node: NodeId(input.try_get_u64_le().ok()?), weight },
            GROUP => Part::Group { parts: take_parts(input, depth + 1)?, weight },
            _ => return None,
        });
    }
    Some(parts)
}
