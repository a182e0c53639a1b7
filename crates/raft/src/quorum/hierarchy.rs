//! Weights, and groups of groups, as ZooKeeper has them: a part decides by more than half of the
//! weight of its parts, and so on down to the voters.
//!
//! ```text
//!                    two of the three sites, and in each of them two of its three voters
//!        ┌─────────────────┼─────────────────┐
//!      site              site              site          ((1,2,3),(4,5,6),(7,8,9))
//!    ┌───┼───┐         ┌───┼───┐         ┌───┼───┐
//!    1   2   3         4   5   6         7   8   9       1,2 and 5,6 are a quorum: four of nine
//! ```
//!
//! Any two quorums share a voter, by induction: more than half of the weight on both sides means
//! that some part has agreed to both, and within it the same holds, down to a single voter. Two
//! sites that are both lost, or cut off, stop the group, though a majority of voters may be left.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use super::rule::RuleFault;
use crate::NodeId;

/// Levels of a hierarchy, the voters' own included: voters, racks, rooms, sites.
pub const DEPTH_MAX: usize = 4;

/// A part of a group that decides by weight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// One voter.
    Voter {
        /// The voter.
        node: NodeId,
        /// What its word weighs; not zero: one without weight is a learner.
        weight: u32,
    },
    /// Parts that agree among themselves first.
    Group {
        /// The parts.
        parts: Vec<Self>,
        /// What their common word weighs; not zero.
        weight: u32,
    },
}

impl Part {
    fn weight(&self) -> u32 {
        match self {
            Self::Voter { weight, .. } | Self::Group { weight, .. } => *weight,
        }
    }

    fn agrees(&self, has: &dyn Fn(NodeId) -> bool) -> bool {
        match self {
            Self::Voter { node, .. } => has(*node),
            Self::Group { parts, .. } => agree(parts, has),
        }
    }

    /// Itself and the parts below it.
    fn count(&self) -> usize {
        match self {
            Self::Voter { .. } => 1,
            Self::Group { parts, .. } => 1 + count(parts),
        }
    }
}

/// Whether more than half of the weight agrees.
pub(super) fn agree(parts: &[Part], has: &dyn Fn(NodeId) -> bool) -> bool {
    let (mut agreeing, mut total) = (0_u64, 0_u64);
    for part in parts {
        let weight = u64::from(part.weight());
        total += weight;
        if part.agrees(has) {
            agreeing += weight;
        }
    }
    agreeing > total - agreeing
}

pub(super) fn count(parts: &[Part]) -> usize {
    parts.iter().map(Part::count).sum()
}

/// Collects the voters; refuses what has no weight, no end, or a voter in two places.
pub(super) fn check(
    parts: &[Part],
    depth: usize,
    named: &mut BTreeSet<NodeId>,
) -> Result<(), RuleFault> {
    if depth > DEPTH_MAX {
        return Err(RuleFault::TooDeep);
    }
    if parts.is_empty() {
        return Err(RuleFault::EmptyGroup);
    }
    for part in parts {
        if part.weight() == 0 {
            return Err(RuleFault::NoWeight);
        }
        match part {
            Part::Voter { node, .. } if !named.insert(*node) => {
                return Err(RuleFault::NamedTwice { node: *node });
            }
            Part::Voter { .. } => {}
            Part::Group { parts, .. } => check(parts, depth + 1, named)?,
        }
    }
    Ok(())
}

/// `(1*2,2,3)`: a weight of one is not written.
pub(super) fn write_parts(f: &mut fmt::Formatter<'_>, parts: &[Part]) -> fmt::Result {
    f.write_str("(")?;
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            f.write_str(",")?;
        }
        match part {
            Part::Voter { node, .. } => write!(f, "{node}")?,
            Part::Group { parts, .. } => write_parts(f, parts)?,
        }
        if part.weight() != 1 {
            write!(f, "*{}", part.weight())?;
        }
    }
    f.write_str(")")
}
