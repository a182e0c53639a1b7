//! Every quorum rule against the dumbest way to say the same, for every rule there is for small
//! groups, sound or not: no rule that is accepted lets two decisions be made apart, and no rule is
//! refused without a reason.

use std::collections::BTreeSet;

use raft::quorum::hierarchy::{DEPTH_MAX, Part};
use raft::quorum::rule::Half;
use raft::quorum::{Decision, Quorum, Vote};
use raft::{Configuration, NodeId, QuorumRule, RuleFault};

const DECISIONS: [Decision; 2] = [Decision::Election, Decision::Commit];

/// A set of voters; voter `n` is bit `n - 1`.
type Set = u32;

fn nodes(set: Set) -> BTreeSet<NodeId> {
    (0..32).filter(|bit| set & (1 << bit) != 0).map(|bit| NodeId(bit + 1)).collect()
}

fn has(set: Set, voter: NodeId) -> bool {
    set & (1 << (voter.0 - 1)) != 0
}

fn voter(number: u64, weight: u32) -> Part {
    Part::Voter { node: NodeId(number), weight }
}

/// All ways to put voters 1 to `count` into groups.
fn partitions(count: u64) -> Vec<Vec<Vec<NodeId>>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for partition in partitions(count - 1) {
        for place in 0..=partition.len() {
            let mut next = partition.clone();
            if place == partition.len() {
                next.push(Vec::new());
            }
            next[place].push(NodeId(count));
            all.push(next);
        }
    }
    all
}

/// Every rule of its kind for voters 1 to `count`; of hierarchies deeper than groups of voters, a
/// few.
fn rules(count: u64) -> Vec<QuorumRule> {
    let small = u32::try_from(count).unwrap_or(0);
    let mut rules = vec![QuorumRule::Majority];
    rules.extend((0..2 << count).map(|extra| QuorumRule::EvenSet { extra: nodes(extra) }));
    for election in 0..=small + 1 {
        rules.extend((0..=small + 1).map(|commit| QuorumRule::Flexible { election, commit }));
    }
    if count <= 4 {
        for number in 0..5_u32.pow(small) {
            let weights = (0..small).map(|n| (NodeId(u64::from(n) + 1), number / 5_u32.pow(n) % 5));
            rules.push(QuorumRule::weighted(weights));
        }
    }
    rules.extend(partitions(count).into_iter().map(QuorumRule::grouped));
    if count == 6 {
        let pair = |first, weight| Part::Group {
            parts: vec![voter(first, 1), voter(first + 1, 2)],
            weight,
        };
        let site = |parts, weight| Part::Group { parts, weight };
        rules.push(QuorumRule::Hierarchy(vec![
            site(vec![pair(1, 1), pair(3, 1), voter(5, 1)], 2),
            voter(6, 1),
        ]));
        rules.push(QuorumRule::Hierarchy(vec![
            site(vec![pair(1, 1), voter(3, 2), voter(4, 2)], 3),
            voter(5, 2),
            voter(6, 2),
        ]));
    }
    rules
}

/// The same rule of other voters: the n-th of `voters` in place of voter n.
fn renamed(rule: QuorumRule, voters: &BTreeSet<NodeId>) -> QuorumRule {
    let name = |number: NodeId| {
        let place = usize::try_from(number.0 - 1).unwrap_or(usize::MAX);
        voters.iter().nth(place).copied().unwrap_or(NodeId(99))
    };
    fn renamed_parts(parts: Vec<Part>, name: &dyn Fn(NodeId) -> NodeId) -> Vec<Part> {
        let renamed = |part| match part {
            Part::Voter { node, weight } => Part::Voter { node: name(node), weight },
            Part::Group { parts, weight } => {
                Part::Group { parts: renamed_parts(parts, name), weight }
            }
        };
        parts.into_iter().map(renamed).collect()
    }
    match rule {
        QuorumRule::Majority | QuorumRule::Flexible { .. } => rule,
        QuorumRule::EvenSet { extra } => {
            QuorumRule::EvenSet { extra: extra.into_iter().map(name).collect() }
        }
        QuorumRule::Hierarchy(parts) => QuorumRule::Hierarchy(renamed_parts(parts, &name)),
    }
}

/// The rules in other words.
fn oracle(rule: &QuorumRule, voters: Set, decision: Decision, set: Set) -> bool {
    let (count, of) = ((set & voters).count_ones(), voters.count_ones());
    match rule {
        QuorumRule::Majority => count > of - count,
        // As words in a dictionary: by heads, and among equals by the extra set.
        QuorumRule::EvenSet { extra } => {
            let extra_count = extra.iter().filter(|voter| has(set, **voter)).count();
            (2 * count, 2 * extra_count) > (of, extra.len())
        }
        QuorumRule::Flexible { election, .. } if decision == Decision::Election => {
            count >= *election
        }
        QuorumRule::Flexible { commit, .. } => count >= *commit,
        QuorumRule::Hierarchy(parts) => oracle_of_parts(parts, set),
    }
}

/// "There are parts that all agree and that outweigh the others": tried for all of them.
fn oracle_of_parts(parts: &[Part], set: Set) -> bool {
    let weight = |part: &Part| match part {
        Part::Voter { weight, .. } | Part::Group { weight, .. } => *weight,
    };
    let agrees = |part: &Part| match part {
        Part::Voter { node, .. } => has(set, *node),
        Part::Group { parts, .. } => oracle_of_parts(parts, set),
    };
    (0..1_u32 << parts.len()).any(|chosen| {
        let (ayes, noes): (Vec<_>, Vec<_>) =
            (0..parts.len()).partition(|place| chosen & (1 << place) != 0);
        let sum = |places: &[usize]| places.iter().map(|at| weight(&parts[*at])).sum::<u32>();
        ayes.iter().all(|place| agrees(&parts[*place])) && sum(&ayes) > sum(&noes)
    })
}

/// What is a quorum, as one bit per set.
fn quorums(of: &dyn Quorum, decision: Decision, voters: Set) -> Vec<Set> {
    let is_quorum = |set: &Set| of.is_quorum(decision, &|voter| has(*set, voter));
    (0..=voters).filter(|set| set & !voters == 0).filter(is_quorum).collect()
}

fn some_are_apart(one: &[Set], other: &[Set]) -> bool {
    one.iter().any(|one| other.iter().any(|other| one & other == 0))
}

#[test]
fn every_set_of_every_rule_is_judged_as_the_oracle_does() {
    for count in 1..=6 {
        let all: Set = (1 << count) - 1;
        let voters = nodes(all);
        for rule in rules(count).iter().filter(|rule| rule.check(&voters).is_ok()) {
            let half = Half { voters: &voters, rule };
            for decision in DECISIONS {
                for set in 0..=all {
                    let said = half.is_quorum(decision, &|voter| has(set, voter));
                    assert_eq!(said, oracle(rule, all, decision, set), "{rule} {set:b}");
                    let more = (0..count).map(|bit| set | 1 << bit);
                    let stays = more.clone().all(|more| oracle(rule, all, decision, more));
                    assert!(!said || stays, "{rule}: one more voter than {set:b} is enough too");
                }
            }
        }
    }
}

/// The proof that the constructor is right: an accepted rule has no two quorums apart and can
/// decide with all voters; a refused one has, or cannot.
#[test]
fn a_rule_is_accepted_if_and_only_if_its_quorums_meet() {
    let (mut accepted, mut refused) = (0, 0);
    for count in 1..=6 {
        let all: Set = (1 << count) - 1;
        let voters = nodes(all);
        for rule in rules(count) {
            let said = rule.check(&voters);
            assert_eq!(Configuration::of_voters_by(rule.clone(), voters.clone()).err(), said.err());
            let half = Half { voters: &voters, rule: &rule };
            let [elections, commits] = DECISIONS.map(|decision| quorums(&half, decision, all));
            let apart =
                some_are_apart(&elections, &elections) || some_are_apart(&elections, &commits);
            let out_of_reach = elections.is_empty() || commits.is_empty();
            match said {
                Ok(()) => assert!(!apart && !out_of_reach, "{rule} of {count}"),
                Err(RuleFault::QuorumsApart { .. }) => assert!(apart, "{rule} of {count}"),
                Err(RuleFault::OutOfReach { .. }) => assert!(out_of_reach, "{rule} of {count}"),
                // Names and weights are judged by themselves.
                Err(_) => {}
            }
            *if said.is_ok() { &mut accepted } else { &mut refused } += 1;
        }
    }
    assert!(accepted > 600 && refused > 600, "{accepted} accepted, {refused} refused");
}

#[test]
fn what_is_wrong_with_a_rule_is_said() {
    let voters = nodes(0b111);
    let check = |rule: QuorumRule, expect: &str| {
        let said = rule.check(&voters).map_err(|fault| fault.to_string());
        assert_eq!(said, Err(expect.to_owned()), "{rule}");
    };
    let flexible = |election, commit| QuorumRule::Flexible { election, commit };
    check(flexible(2, 1), "two quorums of 3 voters need not share one");
    check(flexible(1, 3), "two quorums of 3 voters need not share one");
    check(flexible(4, 1), "3 voters are not enough for a quorum");
    check(flexible(2, 4), "3 voters are not enough for a quorum");
    check(flexible(u32::MAX, u32::MAX), "3 voters are not enough for a quorum");
    check(QuorumRule::EvenSet { extra: nodes(0) }, "a group of the rule is empty");
    check(QuorumRule::EvenSet { extra: nodes(0b1001) }, "the rule names node 4, which is no voter");
    let of = QuorumRule::Hierarchy;
    check(of(Vec::new()), "a group of the rule is empty");
    check(of(vec![voter(1, 1), voter(2, 1)]), "the rule does not name voter 3");
    check(
        of((1..=4).map(|number| voter(number, 1)).collect()),
        "the rule names node 4, which is no voter",
    );
    check(of([1, 2, 3, 1].map(|number| voter(number, 1)).into()), "the rule names voter 1 twice");
    check(of(vec![voter(1, 1), voter(2, 0), voter(3, 1)]), "a weight is zero");
    let nested = |depth: usize| {
        let parts: Vec<Part> = (1..=3).map(|number| voter(number, 1)).collect();
        of((1..depth).fold(parts, |parts, _| vec![Part::Group { parts, weight: 1 }]))
    };
    assert_eq!(nested(DEPTH_MAX).check(&voters), Ok(()));
    check(nested(DEPTH_MAX + 1), "the rule has groups within groups beyond 4");
}

/// The smallest quorums, as the documentation draws them.
#[test]
fn pictures() {
    let check = |rule: QuorumRule, count: u64, decision, expect: &str| {
        let all: Set = (1 << count) - 1;
        let voters = nodes(all);
        assert_eq!(rule.check(&voters), Ok(()), "{rule}");
        let quorums = quorums(&Half { voters: &voters, rule: &rule }, decision, all);
        let is_least =
            |set: &&Set| quorums.iter().all(|other| other == *set || other & **set != *other);
        let mut least: Vec<String> = quorums
            .iter()
            .filter(is_least)
            .map(|set| nodes(*set).iter().map(ToString::to_string).collect())
            .collect();
        least.sort_by_key(|set| (set.len(), set.clone()));
        assert_eq!(least.join(" "), expect, "{rule}");
    };
    let half = |extra| QuorumRule::EvenSet { extra: nodes(extra) };
    let [election, commit] = DECISIONS;
    check(QuorumRule::Majority, 4, commit, "123 124 134 234");
    check(half(0b1), 4, commit, "12 13 14 234");
    check(half(0b111), 4, commit, "12 13 23");
    check(half(0b11), 4, commit, "12 134 234");
    check(half(0b1), 2, commit, "1");
    check(half(0b1), 3, commit, "12 13 23");
    let flexible = QuorumRule::Flexible { election: 3, commit: 2 };
    check(flexible.clone(), 4, election, "123 124 134 234");
    check(flexible, 4, commit, "12 13 14 23 24 34");
    let weighted = QuorumRule::weighted([(NodeId(1), 2), (NodeId(2), 1), (NodeId(3), 1)]);
    check(weighted.clone(), 3, election, "12 13");
    check(weighted, 3, commit, "12 13");
    let sites = QuorumRule::grouped([[1, 2, 3], [4, 5, 6]].map(|site| site.map(NodeId)));
    check(sites, 6, commit, "1245 1246 1256 1345 1346 1356 2345 2346 2356");
    let sites = vec![
        Part::Group { parts: vec![voter(1, 1), voter(2, 1)], weight: 2 },
        Part::Group { parts: vec![voter(3, 3), voter(4, 1)], weight: 2 },
        voter(5, 1),
    ];
    check(QuorumRule::Hierarchy(sites), 5, commit, "35 123 125");
}

/// A voter's answer, which is also its value: 0 refused, 1 is silent, 2 granted.
fn check_answers(half: Half<'_>, decision: Decision, answers: &[u64]) {
    let rule = half.rule;
    let of = |voter: NodeId| answers[usize::try_from(voter.0 - 1).expect("a small number")];
    let all: Set = (1 << answers.len()) - 1;
    let decides = |least| {
        let reached = half.voters.iter().filter(|voter| of(**voter) >= least);
        oracle(rule, all, decision, reached.fold(0, |set, voter| set | 1 << (voter.0 - 1)))
    };
    let vote = half.vote(decision, &|voter| match of(voter) {
        0 => Some(false),
        1 => None,
        _ => Some(true),
    });
    let expected = match (decides(2), decides(1)) {
        (true, _) => Vote::Won,
        (false, true) => Vote::Open,
        (false, false) => Vote::Lost,
    };
    assert_eq!(vote, expected, "{rule} {answers:?}");
    let mut candidates = answers.to_vec();
    candidates.sort_unstable();
    let value = half.quorum_value(decision, &candidates, &of);
    let reached = answers.iter().copied().filter(|value| decides(*value)).max();
    assert_eq!(Some(value), reached, "{rule} {answers:?}");
}

/// Votes and values follow from the sets: every answer and every value of groups of up to four.
#[test]
fn votes_and_values_are_the_oracles() {
    for count in 1..=4_u32 {
        let voters = nodes((1 << count) - 1);
        let answers = (0..3_u64.pow(count))
            .map(|number| (0..count).map(|n| number / 3_u64.pow(n) % 3).collect::<Vec<_>>());
        let answers: Vec<Vec<u64>> = answers.collect();
        for rule in rules(count.into()).iter().filter(|rule| rule.check(&voters).is_ok()) {
            for decision in DECISIONS {
                let half = Half { voters: &voters, rule };
                answers.iter().for_each(|answers| check_answers(half, decision, answers));
            }
        }
    }
}

/// Thesis §4.3 for all rules, exhaustively for four nodes: on the way from any voters with any rule
/// to any others, whoever is elected in one configuration meets whoever decided anything in the one
/// before it.
#[test]
fn neighbours_meet_whatever_their_rules() {
    let all: Set = 0b1111;
    // Configurations with equal quorums are equal here.
    let mut known = BTreeSet::new();
    let mut simple = Vec::new();
    for voters in 1..=all {
        for rule in rules(voters.count_ones().into()) {
            let voters = nodes(voters);
            let rule = renamed(rule, &voters);
            let Ok(configuration) = Configuration::of_voters_by(rule, voters) else { continue };
            let families = DECISIONS.map(|decision| quorums(&configuration, decision, all));
            if known.insert(families.clone()) {
                simple.push((configuration, families));
            }
        }
    }
    assert!(simple.len() > 40, "{}", simple.len());
    for (old, [old_elections, old_commits]) in &simple {
        for (new, [new_elections, new_commits]) in &simple {
            let joint = Configuration {
                outgoing: old.voters.clone(),
                outgoing_rule: old.rule.clone(),
                ..new.clone()
            };
            let [elections, commits] = DECISIONS.map(|decision| quorums(&joint, decision, all));
            let meet = |one: &[Set], other: &[Set]| {
                assert!(!some_are_apart(one, other), "{old} to {new}");
            };
            meet(&elections, old_elections);
            meet(&elections, old_commits);
            meet(old_elections, &commits);
            meet(&elections, &commits);
            meet(&elections, new_elections);
            meet(new_elections, &commits);
            meet(&elections, new_commits);
        }
    }
}
