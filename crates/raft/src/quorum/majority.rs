//! A majority of one set of voters.

use crate::seeded::{Bug, bug};

/// Where a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// A majority granted.
    Won,
    /// A majority can no longer grant.
    Lost,
    /// Answers are missing.
    Open,
}

/// How many of `voters` are a majority: any two majorities share a voter.
#[must_use]
pub fn size(voters: usize) -> usize {
    if bug(Bug::MajorityIsHalf) {
        return voters.div_ceil(2);
    }
    voters / 2 + 1
}

/// The largest value that a majority of voters has reached. Sorts `values` in place.
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

/// Counts the answers, `None` for a voter that has not answered. No voters agree to everything.
#[must_use]
pub fn vote(answers: &[Option<bool>]) -> Vote {
    let needed = if answers.is_empty() { 0 } else { size(answers.len()) };
    let granted = answers.iter().filter(|answer| **answer == Some(true)).count();
    let refused = answers.iter().filter(|answer| **answer == Some(false)).count();
    if granted >= needed {
        Vote::Won
    } else if answers.len() - refused < needed {
        Vote::Lost
    } else {
        Vote::Open
    }
}
