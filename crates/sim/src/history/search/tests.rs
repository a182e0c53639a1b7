use env::SplitMix;

use super::*;
use crate::history::{Change, Operation};

const STEPS_MAX: usize = 20_000;

/// A random small history of a store that does what it should: operations overlap, and each is done
/// at a moment between its beginning and its end.
fn good(seed: u64) -> History {
    let mut dice = SplitMix::new(seed);
    let mut history = History::default();
    let mut state: BTreeMap<String, Value> = BTreeMap::new();
    let mut revision = 1;
    let mut now = 0;
    for value in 1..=4 + dice.below(7) {
        now += 10;
        let key = format!("k{}", dice.below(2));
        let held = state.get(&key).copied();
        let request = match dice.below(6) {
            0 => Request::Get { key: key.clone() },
            1 => Request::Delete { key: key.clone() },
            2 => {
                let expected = if dice.below(3) == 0 { None } else { held };
                Request::Swap { key: key.clone(), expected, value }
            }
            3 => Request::Put { keys: vec!["k0".into(), "k1".into()], value, lease: 0 },
            4 => Request::Scan { keys: vec!["k0".into(), "k1".into()], at: None },
            _ => Request::Put { keys: vec![key.clone()], value, lease: 0 },
        };
        let fate = dice.below(8);
        let invoked = now - dice.below(35).min(now);
        let returned = now + 1 + dice.below(35);
        // Some never happen, and nobody is told which.
        let outcome = if fate == 0 {
            if dice.below(2) == 0 { Outcome::Failed } else { Outcome::Unknown }
        } else {
            let reply = perform(&request, &mut state, &mut revision, &mut history);
            if fate == 1 { Outcome::Unknown } else { Outcome::Done { revision, reply } }
        };
        history.operations.push(Operation { request, invoked, returned, outcome });
    }
    history
}

fn perform(
    request: &Request,
    state: &mut BTreeMap<String, Value>,
    revision: &mut i64,
    history: &mut History,
) -> Reply {
    let mut change = |key: &String, value: Option<Value>, revision: i64| {
        let changes = history.changes.entry(revision).or_default();
        changes.push(Change { key: key.clone(), value });
    };
    match request {
        Request::Get { key } => Reply::Holds(state.get(key).copied()),
        Request::Scan { keys, .. } => {
            Reply::HoldAll(keys.iter().map(|key| state.get(key).copied()).collect())
        }
        Request::Put { keys, value, .. } => {
            *revision += 1;
            for key in keys {
                state.insert(key.clone(), *value);
                change(key, Some(*value), *revision);
            }
            Reply::Done
        }
        Request::Swap { key, expected, value } => {
            let held = state.get(key).copied();
            if held != *expected {
                return Reply::Holds(held);
            }
            *revision += 1;
            state.insert(key.clone(), *value);
            change(key, Some(*value), *revision);
            Reply::Done
        }
        Request::Delete { key } => {
            if state.remove(key).is_none() {
                return Reply::Deleted(0);
            }
            *revision += 1;
            change(key, None, *revision);
            Reply::Deleted(1)
        }
        Request::Revoke { .. } => Reply::Done,
    }
}

/// Something in it is not what it was.
fn spoil(history: &mut History, dice: &mut SplitMix) {
    let count = history.operations.len() as u64;
    let place = usize::try_from(dice.below(count)).expect("small");
    let operation = &mut history.operations[place];
    match dice.below(5) {
        0 => operation.invoked = operation.invoked.saturating_sub(200),
        1 => {
            // It began after everything else had ended.
            let length = operation.returned - operation.invoked;
            operation.invoked += 1000;
            operation.returned = operation.invoked + length;
        }
        2 => operation.outcome = Outcome::Unknown,
        3 => operation.outcome = Outcome::Failed,
        _ => {
            if let Outcome::Done { reply, .. } = &mut operation.outcome {
                *reply = match reply {
                    Reply::Holds(Some(_)) => Reply::Holds(None),
                    Reply::Holds(None) => Reply::Holds(Some(1)),
                    Reply::HoldAll(all) => Reply::HoldAll(all.iter().rev().copied().collect()),
                    Reply::Deleted(count) => Reply::Deleted(1 - *count),
                    Reply::Done => Reply::Holds(Some(99)),
                };
            }
        }
    }
}

/// Something in what was written is not what it was, and somebody reads it.
fn spoil_changes(history: &mut History, dice: &mut SplitMix) {
    let last = history.changes.last_key_value().map_or(1, |(revision, _)| *revision);
    let count = history.changes.len() as u64;
    let place = usize::try_from(dice.below(count.max(1))).expect("small");
    let at = history.changes.keys().nth(place).copied();
    let is_written = |value: Value, history: &History| {
        history.changes.values().flatten().any(|change| change.value == Some(value))
    };
    let mut unknown = history.operations.iter().filter_map(|operation| {
        let Request::Swap { key, value, .. } = &operation.request else { return None };
        let is_open = operation.outcome == Outcome::Unknown && !is_written(*value, history);
        is_open.then(|| (key.clone(), *value, operation.invoked))
    });
    if let Some((key, value, invoked)) = unknown.next() {
        // A swap is done that nobody knows the outcome of, whatever it found.
        history.changes.insert(last + 1, vec![Change { key: key.clone(), value: Some(value) }]);
        let reply = Reply::Holds(Some(value));
        let ends = history.operations.iter().map(|operation| operation.returned).max();
        let now = ends.unwrap_or(0).max(invoked) + 1;
        let outcome = Outcome::Done { revision: last + 1, reply };
        let request = Request::Get { key };
        history.operations.push(Operation { request, invoked: now, returned: now + 1, outcome });
        return;
    }
    let Some(changes) = at.and_then(|at| history.changes.get_mut(&at)) else { return };
    match dice.below(3) {
        0 => changes.clear(),
        1 => changes[0].value = None,
        _ => changes[0].key = if changes[0].key == "k0" { "k1" } else { "k0" }.to_owned(),
    }
}

#[test]
fn both_find_an_order_for_what_a_right_store_did() {
    for seed in 0..2000 {
        let history = good(seed);
        assert_eq!(history.check(), Ok(()), "seed {seed}: {history:#?}");
        assert_eq!(search(&history, STEPS_MAX), Found::Order, "seed {seed}: {history:#?}");
    }
}

/// The replay is told revisions, so it may find a fault where an order exists. It must never be
/// content where there is none.
#[test]
fn what_the_search_cannot_explain_the_replay_does_not_explain_either() {
    let (mut both, mut replay_alone) = (0, 0);
    for seed in 0..6000 {
        let mut dice = SplitMix::new(seed ^ 0xbad);
        let mut history = good(seed);
        match seed % 3 {
            0 => spoil_changes(&mut history, &mut dice),
            _ => spoil(&mut history, &mut dice),
        }
        let found = search(&history, STEPS_MAX);
        assert_ne!(found, Found::Undecided, "seed {seed}: histories are small");
        match (history.check().is_ok(), found == Found::Order) {
            (true, false) => panic!("seed {seed}: the replay is content with {history:#?}"),
            (false, false) => both += 1,
            (false, true) => replay_alone += 1,
            (true, true) => {}
        }
    }
    assert!(both > 300, "both found {both} spoilt ones");
    assert!(replay_alone > 50, "revisions told {replay_alone} more");
}

/// Tries all orders and all ways to leave out what may be left out, by a state of its own.
fn has_order(left: &[&Operation], state: &BTreeMap<&str, Value>) -> bool {
    let first_end = left.iter().filter(|it| it.outcome != Outcome::Unknown).map(|it| it.returned);
    let Some(first_end) = first_end.min() else { return true };
    left.iter().enumerate().filter(|(_, it)| it.invoked <= first_end).any(|(place, it)| {
        let rest = [&left[..place], &left[place + 1..]].concat();
        // To leave it out and to do nothing is the same.
        after(it, state).is_some_and(|state| has_order(&rest, &state))
    })
}

fn after<'a>(
    it: &'a Operation,
    state: &BTreeMap<&'a str, Value>,
) -> Option<BTreeMap<&'a str, Value>> {
    let held = |key: &String| state.get(key.as_str()).copied();
    let mut state_after = state.clone();
    let reply = match &it.request {
        Request::Get { key } => Reply::Holds(held(key)),
        Request::Scan { keys, .. } => Reply::HoldAll(keys.iter().map(held).collect()),
        Request::Put { keys, value, .. } => {
            state_after.extend(keys.iter().map(|key| (key.as_str(), *value)));
            Reply::Done
        }
        Request::Swap { key, expected, .. } if held(key) != *expected => Reply::Holds(held(key)),
        Request::Swap { key, value, .. } => {
            state_after.insert(key, *value);
            Reply::Done
        }
        Request::Delete { key } => {
            Reply::Deleted(i64::from(state_after.remove(key.as_str()).is_some()))
        }
        Request::Revoke { keys, .. } => {
            state_after.retain(|key, _| keys.iter().all(|gone| gone != key));
            Reply::Done
        }
    };
    let is_right = match &it.outcome {
        Outcome::Failed => false,
        Outcome::Unknown => true,
        Outcome::Done { reply: told, .. } => *told == reply,
    };
    is_right.then_some(state_after)
}

/// Revisions are no part of the answer, so the search has its rules against all orders alone.
#[test]
fn the_search_finds_an_order_if_and_only_if_there_is_one() {
    let (mut with, mut without) = (0, 0);
    for seed in 0..3000 {
        let mut dice = SplitMix::new(seed ^ 0x0dd);
        let mut history = good(seed);
        history.changes.clear();
        for _ in 0..dice.below(3) {
            spoil(&mut history, &mut dice);
        }
        let left = history.operations.iter().filter(|it| it.outcome != Outcome::Failed);
        let expect = has_order(&left.collect::<Vec<_>>(), &BTreeMap::new());
        let found = if expect { Found::Order } else { Found::None };
        assert_eq!(search(&history, STEPS_MAX), found, "seed {seed}: {history:#?}");
        *(if expect { &mut with } else { &mut without }) += 1;
    }
    assert!(with > 500 && without > 500, "{with} with an order, {without} without");
}

fn operation(request: Request, span: (u64, u64), outcome: Outcome) -> Operation {
    Operation { request, invoked: span.0, returned: span.1, outcome }
}

fn put(value: Value, span: (u64, u64), outcome: Outcome) -> Operation {
    operation(Request::Put { keys: vec!["k".into()], value, lease: 0 }, span, outcome)
}

fn get(held: Option<Value>, span: (u64, u64)) -> Operation {
    let done = Outcome::Done { revision: 0, reply: Reply::Holds(held) };
    operation(Request::Get { key: "k".into() }, span, done)
}

fn done() -> Outcome {
    Outcome::Done { revision: 0, reply: Reply::Done }
}

#[track_caller]
fn check(operations: Vec<Operation>, expect: Found) {
    let history = History { operations, changes: BTreeMap::new() };
    assert_eq!(search(&history, STEPS_MAX), expect);
}

#[test]
fn known_bad_histories_have_no_order() {
    // A stale read; a read of the future; a lost update; values that come and go and come.
    check(
        vec![put(1, (0, 9), done()), put(2, (10, 19), done()), get(Some(1), (20, 29))],
        Found::None,
    );
    check(vec![get(Some(1), (0, 9)), put(1, (10, 19), done())], Found::None);
    check(vec![put(1, (0, 9), done()), get(None, (10, 19))], Found::None);
    check(
        vec![
            put(1, (0, 9), done()),
            put(2, (5, 40), Outcome::Unknown),
            get(Some(2), (10, 19)),
            get(Some(1), (20, 29)),
        ],
        Found::None,
    );
    let swap = |value, span| {
        let request = Request::Swap { key: "k".into(), expected: None, value };
        operation(request, span, done())
    };
    check(vec![swap(1, (0, 20)), swap(2, (5, 25))], Found::None);
}

#[test]
fn an_unknown_write_may_be_done_late_or_never() {
    let unknown = put(2, (0, 5), Outcome::Unknown);
    check(vec![put(1, (0, 9), done()), unknown.clone(), get(Some(1), (20, 29))], Found::Order);
    check(
        vec![put(1, (10, 19), done()), unknown, get(Some(1), (20, 29)), get(Some(2), (30, 39))],
        Found::Order,
    );
}

/// Whoever is not taken for the one that deleted the key is tried last, after all writes that may
/// never have been done.
#[test]
fn a_delete_that_failed_is_not_taken_for_the_one_that_was_done() {
    let delete = |span, outcome| operation(Request::Delete { key: "k".into() }, span, outcome);
    let at = |revision, reply| Outcome::Done { revision, reply };
    let mut operations = vec![put(1, (0, 9), at(2, Reply::Done))];
    operations.push(delete((10, 11), Outcome::Failed));
    operations.extend((3..18).map(|value| put(value, (12, 19), Outcome::Unknown)));
    operations.push(delete((20, 25), Outcome::Unknown));
    let request = Request::Get { key: "k".into() };
    operations.push(operation(request, (30, 39), at(3, Reply::Holds(None))));
    let change = |value| vec![Change { key: "k".into(), value }];
    let changes = BTreeMap::from([(2, change(Some(1))), (3, change(None))]);
    let history = History { operations, changes };
    assert_eq!(history.check(), Ok(()));
    assert_eq!(search(&history, 3), Found::Order, "put, delete, get");
}

/// Fifteen operations that can be at no other place, or at all: each would double the orders.
#[test]
fn what_changes_nothing_costs_nothing() {
    let unknown = |request| operation(request, (0, 9), Outcome::Unknown);
    let swap = |expected| Request::Swap { key: "k".into(), expected, value: 2 };
    let seen = Outcome::Done { revision: 0, reply: Reply::Holds(Some(1)) };
    for it in [
        unknown(Request::Get { key: "k".into() }),
        unknown(Request::Scan { keys: vec!["k".into()], at: None }),
        unknown(swap(Some(77))),
        operation(swap(None), (0, 60), seen),
        get(Some(1), (0, 60)),
    ] {
        let bad = [put(1, (0, 9), done()), get(Some(66), (20, 29))];
        let operations: Vec<Operation> = bad.into_iter().chain(vec![it.clone(); 15]).collect();
        let history = History { operations, changes: BTreeMap::new() };
        assert_eq!(search(&history, 40), Found::None, "{it:?}");
    }
    // A key that is not there may be deleted without end.
    let gone = unknown(Request::Delete { key: "k".into() });
    let operations = vec![gone; 15].into_iter().chain([get(Some(66), (20, 29))]).collect();
    assert_eq!(search(&History { operations, changes: BTreeMap::new() }, 40), Found::None);
}

#[test]
fn a_read_without_an_answer_does_not_tie_its_keys_together() {
    let write = |key: &str, value| {
        let request = Request::Put { keys: vec![key.into()], value, lease: 0 };
        operation(request, (0, 9), done())
    };
    let keys = vec!["a".into(), "b".into()];
    let unknown = operation(Request::Scan { keys, at: None }, (0, 9), Outcome::Unknown);
    let operations = vec![write("a", 1), write("a", 2), write("b", 3), write("b", 4), unknown];
    let history = History { operations, changes: BTreeMap::new() };
    assert_eq!(search(&history, 2), Found::Order, "two steps for each key");
}

/// Without a word of what was changed when, so that there is no hint.
#[test]
fn a_value_that_must_still_be_found_is_kept() {
    let mut operations = vec![put(1, (0, 9), done())];
    operations.extend((2..17).map(|value| put(value, (10, 19), Outcome::Unknown)));
    operations.extend([get(Some(1), (30, 39)), get(Some(9), (40, 49)), get(Some(5), (50, 59))]);
    let history = |operations| History { operations, changes: BTreeMap::new() };
    let steps_max = 2 * operations.len();
    assert_eq!(search(&history(operations), steps_max), Found::Order);
    // Unless somebody writes it again.
    check(
        vec![
            put(1, (0, 9), done()),
            put(2, (10, 19), done()),
            put(1, (20, 29), done()),
            get(Some(1), (30, 39)),
        ],
        Found::Order,
    );
}

#[test]
fn a_search_that_is_given_up_says_so() {
    let many = (0..14).map(|value| put(value, (0, 100), done()));
    let operations: Vec<Operation> = many.chain([get(Some(77), (200, 201))]).collect();
    let history = History { operations, changes: BTreeMap::new() };
    assert_eq!(search(&history, 50), Found::Undecided);
}
