//! The arithmetic of quorums against the dumbest way to say the same, on every small case and on
//! random ones (R4).

use proptest::prelude::*;
use raft::quorum::majority::Vote;
use raft::quorum::{joint, majority};

/// "There is a set of more than half of the voters, all of which have reached the value": tried
/// for every value and every set.
fn oracle_value(values: &[u64]) -> u64 {
    if values.is_empty() {
        return u64::MAX;
    }
    let is_reached = |value: u64| {
        (0u32..1 << values.len()).any(|set| {
            let chosen = (0..values.len()).filter(|place| set & (1 << place) != 0);
            let all_have = chosen.clone().all(|place| values[place] >= value);
            all_have && chosen.count() * 2 > values.len()
        })
    };
    values.iter().copied().filter(|value| is_reached(*value)).max().unwrap_or(0)
}

/// "Won, if more than half granted; lost, if that cannot come about whatever the silent ones say."
fn oracle_vote(answers: &[Option<bool>]) -> Vote {
    if answers.is_empty() {
        return Vote::Won;
    }
    let granted_at_least = answers.iter().filter(|answer| answer.unwrap_or(false)).count();
    let granted_at_most = answers.iter().filter(|answer| answer.unwrap_or(true)).count();
    match (granted_at_least * 2 > answers.len(), granted_at_most * 2 > answers.len()) {
        (true, _) => Vote::Won,
        (false, false) => Vote::Lost,
        (false, true) => Vote::Open,
    }
}

/// Every list of `len` values from 0 to 3.
fn all_values(len: u32) -> impl Iterator<Item = Vec<u64>> {
    (0..4u64.pow(len)).map(move |number| (0..len).map(|n| number / 4u64.pow(n) % 4).collect())
}

fn all_answers(len: u32) -> impl Iterator<Item = Vec<Option<bool>>> {
    let answer =
        |digit| [None, Some(false), Some(true), Some(true)][usize::try_from(digit).unwrap_or(0)];
    all_values(len).map(move |values| values.into_iter().map(answer).collect())
}

#[test]
fn majority_value_is_the_oracles_for_every_small_group() {
    for values in (0..=6).flat_map(all_values) {
        let value = majority::quorum_value(&mut values.clone());
        assert_eq!(value, oracle_value(&values), "{values:?}");
    }
}

#[test]
fn majority_vote_is_the_oracles_for_every_small_group() {
    for answers in (0..=6).flat_map(all_answers) {
        assert_eq!(majority::vote(&answers), oracle_vote(&answers), "{answers:?}");
    }
}

#[test]
fn joint_value_takes_both_halves() {
    for incoming in (1..=3).flat_map(all_values) {
        for outgoing in (0..=3).flat_map(all_values) {
            let value = joint::quorum_value(&mut incoming.clone(), &mut outgoing.clone());
            assert_eq!(value, oracle_value(&incoming).min(oracle_value(&outgoing)));
            // No half is more equal than the other.
            let swapped = joint::quorum_value(&mut outgoing.clone(), &mut incoming.clone());
            assert_eq!(value, swapped, "{incoming:?} {outgoing:?}");
        }
    }
}

#[test]
fn joint_vote_takes_both_halves() {
    let votes = [Vote::Won, Vote::Lost, Vote::Open];
    for incoming in votes {
        for outgoing in votes {
            let vote = joint::vote(incoming, outgoing);
            assert_eq!(vote == Vote::Won, incoming == Vote::Won && outgoing == Vote::Won);
            assert_eq!(vote == Vote::Lost, incoming == Vote::Lost || outgoing == Vote::Lost);
        }
    }
}

#[test]
fn any_two_majorities_share_a_voter() {
    for voters in 1..100 {
        assert!(majority::size(voters) * 2 > voters, "{voters}");
        assert!((majority::size(voters) - 1) * 2 <= voters, "no more than needed of {voters}");
    }
}

proptest! {
    #[test]
    fn majority_value_is_the_oracles(values in proptest::collection::vec(any::<u64>(), 0..10)) {
        prop_assert_eq!(majority::quorum_value(&mut values.clone()), oracle_value(&values));
    }
}
