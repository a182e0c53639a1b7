//! Joint consensus (thesis §4.3): agreement takes a majority of C_old **and** one of C_new. The
//! halves need not have the same rule: see [`Configuration`](crate::Configuration).

use super::majority;
use crate::seeded::{Bug, bug};

/// The largest value that a majority of both halves has reached. Sorts both in place.
#[must_use]
pub fn quorum_value(incoming: &mut [u64], outgoing: &mut [u64]) -> u64 {
    if bug(Bug::JointCommitTakesTheNewHalf) {
        return majority::quorum_value(incoming);
    }
    majority::quorum_value(incoming).min(majority::quorum_value(outgoing))
}
