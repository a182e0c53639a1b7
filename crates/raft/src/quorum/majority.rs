//! A majority of one set of voters.

use alloc::collections::BTreeSet;

use super::{Decision, Quorum};
use crate::NodeId;
use crate::seeded::{Bug, bug};

/// How many of `voters` are a majority: any two majorities share a voter.
#[must_use]
pub fn size(voters: usize) -> usize {
    if bug(Bug::MajorityIsHalf) {
        return voters.div_ceil(2);
    }
    voters / 2 + 1
}

/// More than half of the voters, whatever is decided.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Majority<'a>(pub &'a BTreeSet<NodeId>);

impl Quorum for Majority<'_> {
    fn is_quorum(&self, _: Decision, has: &dyn Fn(NodeId) -> bool) -> bool {
        self.0.iter().filter(|voter| has(**voter)).count() >= size(self.0.len())
    }
}

/// The largest value that a majority of voters has reached, for the most travelled path of all: no
/// voter is looked up. Sorts `values` in place.
///
/// ```text
///   values of five voters, sorted     2   4   4   7   9
///                                             ^ three voters have 4 or more: a majority
/// ```
///
/// No voters put no bound on anything: the answer is then `u64::MAX`, which makes the empty half
/// of a joint configuration vanish in the minimum.
#[must_use]
pub fn quorum_value(values: &mut [u64]) -> u64 {
    let Some(place) = values.len().checked_sub(size(values.len())) else { return u64::MAX };
    values.sort_unstable();
    values[place]
}
