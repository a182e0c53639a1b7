//! The arithmetic of majorities against the dumbest way to say the same, on every small case and
//! on random ones (R4). Other rules: `quorum_rules.rs`.

use std::collections::BTreeSet;

use proptest::prelude::*;
use raft::quorum::majority::Majority;
use raft::quorum::{Decision, Quorum, Vote, joint, majority};
use raft::{Configuration, NodeId};

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

/// Voters `first`, `first + 1` and so on.
fn voters(first: usize, count: usize) -> BTreeSet<NodeId> {
    (first..first + count).map(|number| NodeId(number as u64)).collect()
}

fn place(voter: NodeId) -> usize {
    usize::try_from(voter.0).unwrap_or(usize::MAX)
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
    for answers in (1..=6).flat_map(all_answers) {
        let voters = voters(0, answers.len());
        let vote = Majority(&voters).vote(Decision::Election, &|voter| answers[place(voter)]);
        assert_eq!(vote, oracle_vote(&answers), "{answers:?}");
    }
}

/// The way without looking up a voter and the way of all other rules come to the same.
#[test]
fn joint_value_takes_both_halves() {
    for incoming in (1..=3).flat_map(all_values) {
        for outgoing in (0..=3).flat_map(all_values) {
            let value = joint::quorum_value(&mut incoming.clone(), &mut outgoing.clone());
            assert_eq!(value, oracle_value(&incoming).min(oracle_value(&outgoing)));
            // No half is more equal than the other.
            let swapped = joint::quorum_value(&mut outgoing.clone(), &mut incoming.clone());
            assert_eq!(value, swapped, "{incoming:?} {outgoing:?}");

            let configuration = Configuration {
                outgoing: voters(incoming.len(), outgoing.len()),
                ..Configuration::of_voters(voters(0, incoming.len()))
            };
            let values = [incoming.as_slice(), &outgoing].concat();
            let mut candidates = values.clone();
            candidates.sort_unstable();
            let looked_up =
                configuration.quorum_value(Decision::Commit, &candidates, &|v| values[place(v)]);
            assert_eq!(value, looked_up, "{incoming:?} {outgoing:?}");
        }
    }
}

#[test]
fn joint_vote_takes_both_halves() {
    for incoming in (1..=3).flat_map(all_answers) {
        for outgoing in (1..=3).flat_map(all_answers) {
            let configuration = Configuration {
                outgoing: voters(incoming.len(), outgoing.len()),
                ..Configuration::of_voters(voters(0, incoming.len()))
            };
            let answers = [incoming.as_slice(), &outgoing].concat();
            let vote = configuration.vote(Decision::Election, &|voter| answers[place(voter)]);
            let halves = (oracle_vote(&incoming), oracle_vote(&outgoing));
            let expected = match halves {
                (Vote::Won, Vote::Won) => Vote::Won,
                (Vote::Lost, _) | (_, Vote::Lost) => Vote::Lost,
                _ => Vote::Open,
            };
            assert_eq!(vote, expected, "{incoming:?} {outgoing:?}");
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
