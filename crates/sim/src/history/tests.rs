//! Good histories are explained, and each known way to be wrong is found.

use super::*;

fn put(value: Value) -> Request {
    Request::Put { keys: vec!["k".into()], value, lease: 0 }
}

fn get() -> Request {
    Request::Get { key: "k".into() }
}

fn done(revision: i64, reply: Reply) -> Outcome {
    Outcome::Done { revision, reply }
}

fn op(request: Request, (invoked, returned): (u64, u64), outcome: Outcome) -> Operation {
    Operation { request, invoked, returned, outcome }
}

fn history(operations: Vec<Operation>, changes: &[(i64, Option<Value>)]) -> History {
    let changes = changes
        .iter()
        .map(|(revision, value)| (*revision, vec![Change { key: "k".into(), value: *value }]));
    History { operations, changes: changes.collect() }
}

fn fault(history: &History) -> &'static str {
    history.check().expect_err("it is bad").property
}

#[test]
fn a_good_history_is_explained() {
    let swap = Request::Swap { key: "k".into(), expected: Some(1), value: 2 };
    let late = Request::Swap { key: "k".into(), expected: Some(1), value: 3 };
    let operations = vec![
        op(put(1), (0, 10), done(2, Reply::Done)),
        op(get(), (11, 12), done(2, Reply::Holds(Some(1)))),
        op(swap, (11, 20), Outcome::Unknown),
        op(late, (21, 22), done(3, Reply::Holds(Some(2)))),
        op(Request::Delete { key: "k".into() }, (23, 30), done(4, Reply::Deleted(1))),
        op(Request::Delete { key: "k".into() }, (31, 32), done(4, Reply::Deleted(0))),
        op(get(), (33, 34), done(4, Reply::Holds(None))),
        op(put(9), (0, 50), Outcome::Failed),
        op(put(8), (0, 50), Outcome::Unknown),
    ];
    assert_eq!(history(operations, &[(2, Some(1)), (3, Some(2)), (4, None)]).check(), Ok(()));
}

#[test]
fn a_stale_read_is_found() {
    let operations = vec![
        op(put(1), (0, 10), done(2, Reply::Done)),
        op(put(2), (11, 20), done(3, Reply::Done)),
        op(get(), (21, 30), done(2, Reply::Holds(Some(1)))),
    ];
    let bad = history(operations, &[(2, Some(1)), (3, Some(2))]);
    assert_eq!(fault(&bad), "what ended before comes before");
}

#[test]
fn a_lost_write_is_found() {
    let operations = vec![op(put(1), (0, 10), done(2, Reply::Done))];
    assert_eq!(
        fault(&history(operations, &[])),
        "an answer is what the state at its revision says"
    );
}

#[test]
fn a_wrong_read_is_found() {
    let operations = vec![
        op(put(1), (0, 10), done(2, Reply::Done)),
        op(get(), (5, 30), done(2, Reply::Holds(None))),
    ];
    assert_eq!(
        fault(&history(operations, &[(2, Some(1))])),
        "an answer is what the state at its revision says"
    );
}

#[test]
fn a_write_done_twice_or_after_it_failed_or_from_nowhere_is_found() {
    let twice = history(vec![op(put(1), (0, 9), Outcome::Unknown)], &[(2, Some(1)), (3, Some(1))]);
    assert_eq!(fault(&twice), "an operation is done once");
    let failed = history(vec![op(put(1), (0, 9), Outcome::Failed)], &[(2, Some(1))]);
    assert_eq!(fault(&failed), "what failed has no effect");
    let nowhere = history(Vec::new(), &[(2, Some(1))]);
    assert_eq!(fault(&nowhere), "nothing is written that nobody asked for");
    let deleted = history(Vec::new(), &[(2, None)]);
    assert_eq!(fault(&deleted), "nothing is deleted that nobody asked for");
}

#[test]
fn a_deletion_that_nobody_or_two_say_to_have_done_is_found() {
    let delete = |outcome| op(Request::Delete { key: "k".into() }, (11, 20), outcome);
    let with = |deletes: Vec<Operation>| {
        let first = op(put(1), (0, 10), done(2, Reply::Done));
        let operations = [first].into_iter().chain(deletes).collect();
        history(operations, &[(2, Some(1)), (3, None)])
    };
    let one = delete(done(3, Reply::Deleted(1)));
    assert_eq!(with(vec![one.clone()]).check(), Ok(()));
    assert_eq!(fault(&with(vec![one.clone(), one])), "a deletion is done by one");
    let nobody = with(vec![delete(done(3, Reply::Deleted(0)))]);
    assert_eq!(fault(&nobody), "nothing is deleted that nobody asked for");
    let unknown =
        |invoked| op(Request::Delete { key: "k".into() }, (invoked, 99), Outcome::Unknown);
    let saw = delete(done(3, Reply::Deleted(0)));
    assert_eq!(with(vec![saw.clone(), unknown(12)]).check(), Ok(()));
    let too_late = with(vec![saw, unknown(30)]);
    assert_eq!(fault(&too_late), "nothing is deleted that nobody asked for");
}

#[test]
fn a_torn_transaction_is_found() {
    let keys = vec!["k".into(), "l".into()];
    let both = Request::Put { keys, value: 1, lease: 0 };
    let torn = history(vec![op(both, (0, 9), Outcome::Unknown)], &[(2, Some(1))]);
    assert_eq!(fault(&torn), "an operation is done whole");
}

#[test]
fn a_swap_over_something_else_is_found() {
    let swap = Request::Swap { key: "k".into(), expected: Some(7), value: 2 };
    let operations =
        vec![op(put(1), (0, 10), done(2, Reply::Done)), op(swap, (11, 20), done(3, Reply::Done))];
    assert_eq!(
        fault(&history(operations, &[(2, Some(1)), (3, Some(2))])),
        "an answer is what the state at its revision says"
    );
}

#[test]
fn a_read_of_several_keys_that_were_never_so_together_is_found() {
    let scan = |at, held: [Option<Value>; 2], revision| {
        let request = Request::Scan { keys: vec!["j".into(), "k".into()], at };
        op(request, (31, 40), done(revision, Reply::HoldAll(held.to_vec())))
    };
    let with = |scan: Operation| {
        let j = Request::Put { keys: vec!["j".into()], value: 5, lease: 0 };
        let operations = vec![
            op(put(1), (0, 10), done(2, Reply::Done)),
            op(j, (11, 20), done(3, Reply::Done)),
            op(put(2), (21, 30), done(4, Reply::Done)),
            scan,
        ];
        let mut history = history(operations, &[(2, Some(1)), (4, Some(2))]);
        history.changes.insert(3, vec![Change { key: "j".into(), value: Some(5) }]);
        history
    };
    let wrong = "an answer is what the state at its revision says";
    assert_eq!(with(scan(None, [Some(5), Some(2)], 4)).check(), Ok(()));
    assert_eq!(fault(&with(scan(None, [None, Some(2)], 4))), wrong);
    assert_eq!(with(scan(Some(3), [Some(5), Some(1)], 4)).check(), Ok(()));
    assert_eq!(fault(&with(scan(Some(3), [Some(5), Some(2)], 4))), wrong);
    assert_eq!(fault(&with(scan(Some(5), [Some(5), Some(2)], 4))), wrong);
    assert_eq!(search(&with(scan(None, [Some(5), Some(2)], 4)), 99), Found::Order);
    assert_eq!(search(&with(scan(None, [None, Some(2)], 4)), 99), Found::None);
}

#[test]
fn an_unknown_swap_over_something_else_is_found() {
    let swap = Request::Swap { key: "k".into(), expected: Some(1), value: 2 };
    let with = |before: Value| {
        let operations = vec![
            op(put(before), (0, 10), done(2, Reply::Done)),
            op(swap.clone(), (11, 20), Outcome::Unknown),
            op(get(), (21, 30), done(3, Reply::Holds(Some(2)))),
        ];
        history(operations, &[(2, Some(before)), (3, Some(2))])
    };
    assert_eq!(with(1).check(), Ok(()));
    assert_eq!(fault(&with(3)), "a swap replaces what it expects");
}

#[test]
fn an_unknown_write_that_took_effect_before_it_was_asked_for_is_found() {
    let operations =
        vec![op(put(2), (0, 10), done(3, Reply::Done)), op(put(1), (11, 20), Outcome::Unknown)];
    let bad = history(operations, &[(2, Some(1)), (3, Some(2))]);
    assert_eq!(fault(&bad), "what ended before comes before");
}
