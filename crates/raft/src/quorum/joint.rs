//! Joint consensus (thesis §4.3): agreement takes a majority of C_old **and** one of C_new.

use super::majority::{self, Vote};
use crate::seeded::{Bug, bug};

/// The largest value that a majority of both halves has reached. Sorts both in place.
#[must_use]
pub fn quorum_value(incoming: &mut [u64], outgoing: &mut [u64]) -> u64 {
    if bug(Bug::JointCommitTakesTheNewHalf) {
        return majority::quorum_value(incoming);
    }
    majority::quorum_value(incoming).min(majority::quorum_value(outgoing))
}

/// Won when both halves are won, lost when one is lost.
#[must_use]
pub fn vote(incoming: Vote, outgoing: Vote) -> Vote {
    if bug(Bug::JointElectionTakesTheNewHalf) {
        return incoming;
    }
    match (incoming, outgoing) {
        (Vote::Lost, _) | (_, Vote::Lost) => Vote::Lost,
        (Vote::Open, _) | (_, Vote::Open) => Vote::Open,
        (Vote::Won, Vote::Won) => Vote::Won,
    }
}
