//! One test per sentence of etcd's contract.

mod common;

use common::*;
use host::StateMachine;
use store::*;

fn three() -> Harness {
    let mut h = Harness::new();
    for key in ["a", "b", "c"] {
        h.put(key, &key.repeat(2));
    }
    h
}

#[test]
fn a_fresh_store_is_at_revision_1_and_was_never_compacted() {
    let h = Harness::new();
    assert_eq!(h.store.revision(), 1);
    assert_eq!(h.store.hash_kv(0).unwrap().compact_revision, -1);
    assert_eq!(h.store.range(&range("a", "")).unwrap().revision, 1);
}

#[test]
fn the_first_put_makes_revision_2_and_metadata_follows_creation() {
    let mut h = Harness::new();
    assert_eq!(h.put("a", "1"), 2);
    assert_eq!(h.put("a", "2"), 3);
    let kv = h.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
    h.delete("a", "");
    h.put("a", "3");
    let kv = h.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn what_changes_nothing_makes_no_revision() {
    let mut h = three();
    assert_eq!(h.delete("x", ""), DeleteRangeResponse { revision: 4, ..Default::default() });
    assert_eq!(h.txn(TxnRequest::default()).unwrap().revision, 4);
    let nothing = TxnRequest {
        success: vec![RequestOp::DeleteRange(delete_request("x", "y"))],
        ..TxnRequest::default()
    };
    assert_eq!(h.txn(nothing).unwrap().revision, 4);
    assert_eq!(h.store.revision(), 4);
}

#[test]
fn range_forms() {
    let h = three();
    let check = |key: &str, range_end: &str, expect: &[&str]| {
        let response = h.store.range(&range(key, range_end)).unwrap();
        assert_eq!(keys(&response), expect, "[{key:?}, {range_end:?})");
        assert_eq!(response.count, expect.len() as i64);
        assert!(!response.more);
        assert_eq!(response.revision, 4);
    };
    check("b", "", &["b"]);
    check("bb", "", &[]);
    check("b", "\0", &["b", "c"]);
    check("\0", "\0", &["a", "b", "c"]);
    check("a", "c", &["a", "b"]);
    check("c", "a", &[]);
    check("b", "b", &[]);
    assert_eq!(h.store.range(&range("", "\0")), Err(RequestError::KeyNotProvided));
}

#[test]
fn range_revisions() {
    let mut h = three();
    h.put("a", "new");
    h.compact(3).unwrap();
    let at = |revision| {
        h.store
            .range(&RangeRequest { revision, ..range("a", "z") })
            .map(|r| (keys(&r).len(), r.revision))
    };
    assert_eq!(at(0), Ok((3, 5)));
    assert_eq!(at(-7), Ok((3, 5)));
    assert_eq!(at(6), Err(RequestError::FutureRevision));
    assert_eq!(at(2), Err(RequestError::Compacted));
    assert_eq!(at(3), Ok((2, 5)), "the compacted revision itself is readable");
    let old = h.store.range(&RangeRequest { revision: 3, ..range("a", "") }).unwrap();
    assert_eq!(old.kvs[0].value, b("aa"), "a value that was replaced is read from its record");
}

#[test]
fn limit_count_and_filters() {
    let mut h = Harness::new();
    for key in ["a", "b", "c", "d", "e"] {
        h.put(key, "v");
    }
    let ask = |request: RangeRequest| {
        let r = h.store.range(&request).unwrap();
        (keys(&r).join(""), r.more, r.count)
    };
    let all = range("a", "z");
    assert_eq!(ask(RangeRequest { limit: 2, ..all.clone() }), ("ab".into(), true, 5));
    assert_eq!(ask(RangeRequest { limit: 5, ..all.clone() }), ("abcde".into(), false, 5));
    assert_eq!(ask(RangeRequest { min_mod_revision: 9, ..all.clone() }), (String::new(), false, 5));
    let filtered =
        RangeRequest { min_mod_revision: 3, max_mod_revision: 5, limit: 2, ..all.clone() };
    assert_eq!(ask(filtered), ("bc".into(), true, 5));
    let created = RangeRequest { min_create_revision: 5, ..all.clone() };
    assert_eq!(ask(created), ("de".into(), false, 5));
    assert_eq!(ask(RangeRequest { count_only: true, ..all.clone() }), (String::new(), false, 5));
    assert_eq!(ask(RangeRequest { limit: 2, revision: 4, ..all }), ("ab".into(), true, 3));
}

#[test]
fn sorting() {
    let mut h = Harness::new();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2")] {
        h.put(key, value);
    }
    h.put("a", "3");
    let ask = |sort_order, sort_target, limit| {
        let request = RangeRequest { sort_order, sort_target, limit, ..range("a", "z") };
        keys(&h.store.range(&request).unwrap()).join("")
    };
    use SortOrder::*;
    assert_eq!(ask(Descend, SortTarget::Key, 2), "cb");
    assert_eq!(ask(Ascend, SortTarget::Key, 2), "ab");
    assert_eq!(ask(Ascend, SortTarget::Value, 2), "bc");
    assert_eq!(ask(Descend, SortTarget::Mod, 0), "acb");
    assert_eq!(ask(Descend, SortTarget::Create, 0), "cba");
    assert_eq!(ask(Descend, SortTarget::Version, 1), "a");
    // Without an order the limit comes first: only one key behind it is looked at.
    assert_eq!(ask(None, SortTarget::Value, 1), "b");
    assert_eq!(ask(None, SortTarget::Mod, 0), "bca");
}

#[test]
fn keys_only_has_no_value_and_no_lease() {
    let mut h = Harness::new();
    h.grant(7).unwrap();
    h.apply(put_with_lease("a", 7)).unwrap();
    let kv =
        h.store.range(&RangeRequest { keys_only: true, ..range("a", "") }).unwrap().kvs.remove(0);
    assert_eq!((kv.value, kv.lease, kv.version, kv.mod_revision), (b(""), LeaseId::NONE, 1, 2));
}

#[test]
fn put_options() {
    let mut h = three();
    h.grant(7).unwrap();
    let base = put_request("a", "");
    let refuse = |h: &mut Harness, put: PutRequest| h.apply(Command::Put(put)).unwrap_err();
    let with_value = PutRequest { value: b("v"), ignore_value: true, ..base.clone() };
    assert_eq!(refuse(&mut h, with_value), RequestError::ValueProvided);
    let with_lease = PutRequest { lease: LeaseId(7), ignore_lease: true, ..base.clone() };
    assert_eq!(refuse(&mut h, with_lease), RequestError::LeaseProvided);
    let missing = PutRequest { key: b("x"), ignore_value: true, ..base.clone() };
    assert_eq!(refuse(&mut h, missing), RequestError::KeyNotFound);
    let unknown = PutRequest { lease: LeaseId(9), ..base.clone() };
    assert_eq!(refuse(&mut h, unknown), RequestError::LeaseNotFound);
    assert_eq!(refuse(&mut h, PutRequest::default()), RequestError::KeyNotProvided);

    let keep = PutRequest { ignore_value: true, lease: LeaseId(7), prev_kv: true, ..base.clone() };
    let Ok(Response::Put(response)) = h.apply(Command::Put(keep)) else { panic!() };
    assert_eq!(response.prev_kv.unwrap().value, b("aa"));
    assert_eq!(h.get("a").unwrap().value, b("aa"));
    assert_eq!(h.get("a").unwrap().lease, LeaseId(7));
    h.apply(Command::Put(PutRequest { ignore_lease: true, value: b("x"), ..base })).unwrap();
    assert_eq!(h.store.lease_keys(LeaseId(7)), [b("a")]);
    h.put("a", "detached");
    assert!(h.store.lease_keys(LeaseId(7)).is_empty());
}

#[test]
fn delete_range_counts_and_tells_what_was_there() {
    let mut h = three();
    let request = DeleteRangeRequest { prev_kv: true, ..delete_request("a", "c") };
    let Ok(Response::DeleteRange(response)) = h.apply(Command::DeleteRange(request)) else {
        panic!()
    };
    assert_eq!((response.revision, response.deleted), (5, 2));
    assert_eq!(
        response.prev_kvs.iter().map(|kv| kv.value.clone()).collect::<Vec<_>>(),
        ["aa", "bb"]
    );
    assert_eq!(keys(&h.store.range(&range("\0", "\0")).unwrap()), ["c"]);
}

fn compare(key: &str, range_end: &str, result: CompareResult, target: CompareTarget) -> Compare {
    Compare { key: b(key), range_end: b(range_end), result, target }
}

#[test]
fn compares() {
    let mut h = three();
    let mut check = |key: &str, end: &str, result, target: CompareTarget, expect: bool| {
        let txn = TxnRequest {
            compare: vec![compare(key, end, result, target.clone())],
            ..Default::default()
        };
        assert_eq!(h.txn(txn).unwrap().succeeded, expect, "{key} {end} {result:?} {target:?}");
    };
    use CompareResult::*;
    use CompareTarget::*;
    check("a", "", Equal, Version(1), true);
    check("a", "", Greater, Mod(1), true);
    check("a", "", Less, Mod(2), false);
    check("b", "", Equal, Create(3), true);
    check("b", "", NotEqual, Value(b("bb")), false);
    check("b", "", Less, Value(b("bc")), true);
    check("b", "", Equal, Lease(LeaseId(0)), true);
    // With a range it holds for every key.
    check("a", "d", Greater, Create(1), true);
    check("a", "d", Greater, Create(2), false);
    // A key that does not exist compares as zeros, its value as nothing.
    check("x", "", Equal, Version(0), true);
    check("x", "", Equal, Mod(0), true);
    check("x", "z", Equal, Create(0), true);
    check("x", "", Less, Lease(LeaseId(1)), true);
    check("x", "", NotEqual, Value(b("v")), false);
    check("x", "", Equal, Value(b("")), false);
}

#[test]
fn a_transaction_sees_its_own_writes_at_the_next_revision() {
    let mut h = three();
    let txn = TxnRequest {
        success: vec![
            RequestOp::Range(range("a", "z")),
            RequestOp::Put(put_request("d", "dd")),
            RequestOp::DeleteRange(delete_request("a", "c")),
            RequestOp::Range(range("a", "z")),
            RequestOp::Txn(TxnRequest {
                compare: vec![compare("d", "", CompareResult::Equal, CompareTarget::Version(0))],
                success: vec![RequestOp::Range(RangeRequest { limit: 1, ..range("a", "z") })],
                ..Default::default()
            }),
        ],
        ..Default::default()
    };
    let response = h.txn(txn).unwrap();
    assert_eq!(response.revision, 5);
    let ResponseOp::Range(before) = &response.responses[0] else { panic!() };
    assert_eq!((before.revision, keys(before).join("")), (4, "abc".into()));
    let ResponseOp::Range(after) = &response.responses[3] else { panic!() };
    assert_eq!((after.revision, after.count, keys(after).join("")), (5, 2, "cd".into()));
    assert_eq!(after.kvs[1].create_revision, 5);
    let ResponseOp::Txn(nested) = &response.responses[4] else { panic!() };
    assert!(nested.succeeded, "guards see the state before the whole transaction");
    let ResponseOp::Range(nested) = &nested.responses[0] else { panic!() };
    assert_eq!((keys(nested).join(""), nested.more, nested.count), ("c".into(), true, 2));
}

#[test]
fn a_transaction_fails_as_a_whole_before_it_writes() {
    let mut h = three();
    let hash = h.state_hash();
    let mut refuse = |op: RequestOp| {
        let success = vec![RequestOp::Put(put_request("z", "z")), op];
        h.txn(TxnRequest { success, ..Default::default() }).unwrap_err()
    };
    let put = |put: PutRequest| RequestOp::Put(put);
    assert_eq!(
        refuse(put(PutRequest { lease: LeaseId(3), ..put_request("y", "") })),
        RequestError::LeaseNotFound
    );
    assert_eq!(
        refuse(put(PutRequest { ignore_value: true, ..put_request("y", "") })),
        RequestError::KeyNotFound
    );
    let at = |revision| RequestOp::Range(RangeRequest { revision, ..range("a", "") });
    assert_eq!(refuse(at(9)), RequestError::FutureRevision);
    assert_eq!(refuse(at(-2)), RequestError::Compacted);
    // Of two faults that of the put is told, wherever it stands.
    let nested = TxnRequest {
        success: vec![put(PutRequest { lease: LeaseId(3), ..put_request("y", "") })],
        ..Default::default()
    };
    let both = TxnRequest { success: vec![at(9), RequestOp::Txn(nested)], ..Default::default() };
    assert_eq!(refuse(RequestOp::Txn(both)), RequestError::LeaseNotFound);
    // Of two faults of one kind the first is told, a nested one in its place.
    let nested = |op| RequestOp::Txn(TxnRequest { success: vec![op], ..Default::default() });
    let before = TxnRequest { success: vec![nested(at(-2)), at(9)], ..Default::default() };
    assert_eq!(refuse(RequestOp::Txn(before)), RequestError::Compacted);
    let behind = TxnRequest { success: vec![at(9), nested(at(-2))], ..Default::default() };
    assert_eq!(refuse(RequestOp::Txn(behind)), RequestError::FutureRevision);
    assert_eq!(h.state_hash(), hash);
}

#[test]
fn transaction_limits() {
    let get = || RequestOp::Range(range("a", ""));
    let of = |success: Vec<RequestOp>| TxnRequest { success, ..Default::default() };
    let gets = |n: usize| (0..n).map(|_| get()).collect::<Vec<_>>();
    assert_eq!(check_txn(&of(gets(128)), 128), Ok(()));
    assert_eq!(check_txn(&of(gets(129)), 128), Err(RequestError::TooManyOps));
    // What is nested has what its parent leaves.
    let nest = |outer: usize, inner: usize| {
        let mut ops = gets(outer - 1);
        ops.push(RequestOp::Txn(of(gets(inner))));
        check_txn(&of(ops), 128)
    };
    assert_eq!(nest(100, 28), Ok(()));
    assert_eq!(nest(100, 29), Err(RequestError::TooManyOps));
    let mut deep = of(gets(1));
    for _ in 0..TXN_DEPTH_MAX {
        deep = of(vec![RequestOp::Txn(deep)]);
    }
    assert_eq!(check_txn(&deep, 128), Err(RequestError::TooManyOps));
    assert_eq!(Command::decode(Command::Txn(deep).encode()), Err(RequestError::UnknownCommand));
}

#[test]
fn a_transaction_writes_a_key_once() {
    let put = |key: &str| RequestOp::Put(put_request(key, "v"));
    let del = |key: &str, end: &str| RequestOp::DeleteRange(delete_request(key, end));
    let nested = |success: Vec<RequestOp>, failure: Vec<RequestOp>| {
        RequestOp::Txn(TxnRequest { compare: vec![], success, failure })
    };
    let check =
        |ops: Vec<RequestOp>| check_txn(&TxnRequest { success: ops, ..Default::default() }, 128);
    let duplicate = Err(RequestError::DuplicateKey);
    assert_eq!(check(vec![put("a"), put("a")]), duplicate);
    assert_eq!(check(vec![put("b"), del("a", "c")]), duplicate);
    assert_eq!(check(vec![del("a", "c"), put("b")]), duplicate);
    assert_eq!(check(vec![nested(vec![put("b")], vec![]), del("a", "c")]), duplicate);
    assert_eq!(check(vec![put("b"), nested(vec![], vec![del("a", "\0")])]), duplicate);
    assert_eq!(
        check(vec![nested(vec![put("b")], vec![]), nested(vec![put("b")], vec![])]),
        duplicate
    );
    assert_eq!(check(vec![nested(vec![put("a")], vec![put("a")])]), Ok(()));
    assert_eq!(check(vec![nested(vec![put("a")], vec![del("a", "")])]), Ok(()));
    assert_eq!(check(vec![del("a", "c"), del("b", "d")]), Ok(()));
    assert_eq!(check(vec![RequestOp::Range(range("a", "")), put("a")]), Ok(()));
    assert_eq!(check(vec![put("c"), del("a", "c")]), Ok(()));
}

#[test]
fn compaction_limits() {
    let mut h = three();
    assert_eq!(h.compact(0), Ok(Response::Compact { revision: 4 }));
    assert_eq!(h.compact(0), Err(RequestError::Compacted));
    assert_eq!(h.compact(5), Err(RequestError::FutureRevision));
    assert_eq!(h.compact(4), Ok(Response::Compact { revision: 4 }));
    assert_eq!(h.compact(4), Err(RequestError::Compacted));
    assert_eq!(keys(&h.store.range(&range("\0", "\0")).unwrap()).join(""), "abc");
}

#[test]
fn physical_compaction_frees_and_calls_back() {
    let mut h = Harness::new();
    for n in 0..5000 {
        h.put(&format!("k{}", n % 100), &format!("{n}"));
    }
    let before = h.store.status().memory_bytes;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = std::sync::Arc::clone(&done);
    let hash = h.store.hash_kv(0).unwrap();
    h.compact(5000).unwrap();
    h.store.compaction_finished(
        5000,
        Box::new(move || flag.store(true, std::sync::atomic::Ordering::SeqCst)),
    );
    while h.store.maintain() {}
    assert!(done.load(std::sync::atomic::Ordering::SeqCst));
    assert!(h.store.status().memory_bytes < before / 4);
    assert_ne!(h.store.hash_kv(0).unwrap().hash, hash.hash);
    assert_eq!(h.get("k99").unwrap().value, b("4999"));
}

#[test]
fn leases() {
    let mut h = three();
    assert_eq!(
        h.apply(Command::LeaseGrant { id: LeaseId(1), ttl: LEASE_TTL_MAX + 1 }),
        Err(RequestError::LeaseTtlTooLarge)
    );
    assert!(h.grant(7).is_ok());
    assert_eq!(h.grant(7), Err(RequestError::LeaseExists));
    h.apply_all([put_with_lease("z", 7), put_with_lease("y", 7), put_with_lease("a", 7)]);
    assert_eq!(h.store.lease_keys(LeaseId(7)), [b("a"), b("y"), b("z")]);
    let stream = stream(&h.store);
    stream
        .create(WatchCreateRequest { key: b("\0"), range_end: b("\0"), ..Default::default() })
        .unwrap();
    let revoke = Command::LeaseRevoke { id: LeaseId(7) };
    assert_eq!(h.apply(revoke.clone()), Ok(Response::LeaseRevoke { revision: 8 }));
    assert_eq!(
        events(&drain(&stream)),
        ["0 created", "0 delete a= @8", "0 delete y= @8", "0 delete z= @8"]
    );
    assert_eq!(h.apply(revoke), Err(RequestError::LeaseNotFound));
    h.grant(8).unwrap();
    assert_eq!(
        h.apply(Command::LeaseRevoke { id: LeaseId(8) }),
        Ok(Response::LeaseRevoke { revision: 8 }),
        "a lease without keys makes no revision"
    );
}

#[test]
fn alarms() {
    let mut h = three();
    let alarm = AlarmMember { member_id: 3, alarm: AlarmKind::NoSpace };
    let on = Command::Alarm(AlarmCommand::Activate(alarm));
    assert_eq!(h.apply(on.clone()), Ok(Response::Alarm { revision: 4, changed: vec![alarm] }));
    assert_eq!(h.apply(on), Ok(Response::Alarm { revision: 4, changed: vec![alarm] }));
    assert_eq!(h.apply(put("a", "v")), Err(RequestError::NoSpace));
    assert_eq!(h.grant(1), Err(RequestError::NoSpace));
    let txn = |op| TxnRequest { success: vec![op], ..Default::default() };
    assert_eq!(h.txn(txn(RequestOp::Put(put_request("a", "")))), Err(RequestError::NoSpace));
    assert!(h.txn(txn(RequestOp::DeleteRange(delete_request("a", "")))).is_ok());
    assert!(h.compact(4).is_ok());
    assert!(h.get("b").is_some());
    h.apply(Command::Alarm(AlarmCommand::Deactivate(alarm))).unwrap();
    h.put("a", "v");
    let corrupt = AlarmMember { member_id: 3, alarm: AlarmKind::Corrupt };
    h.apply(Command::Alarm(AlarmCommand::Activate(corrupt))).unwrap();
    assert_eq!(h.store.range(&range("a", "")), Err(RequestError::Corrupt));
    assert_eq!(h.apply(delete("a", "")), Err(RequestError::Corrupt));
    assert_eq!(h.store.alarms(), [corrupt]);
}

#[test]
fn an_alarm_that_is_raised_again_is_told_again() {
    let mut h = Harness::new();
    let alarm = AlarmMember { member_id: 3, alarm: AlarmKind::NoSpace };
    for _ in 0..2 {
        let told = h.apply(Command::Alarm(AlarmCommand::Activate(alarm))).unwrap();
        assert!(matches!(&told, Response::Alarm { changed, .. } if changed[..] == [alarm]));
    }
    let told = h.apply(Command::Alarm(AlarmCommand::Deactivate(alarm))).unwrap();
    assert!(matches!(&told, Response::Alarm { changed, .. } if changed[..] == [alarm]));
    let told = h.apply(Command::Alarm(AlarmCommand::Deactivate(alarm))).unwrap();
    assert!(matches!(&told, Response::Alarm { changed, .. } if changed.is_empty()));
}

#[test]
fn of_a_put_that_lacks_key_and_lease_etcds_error_is_told() {
    let mut h = Harness::new();
    let lacking = PutRequest { ignore_value: true, lease: LeaseId(7), ..put_request("a", "") };
    let put = Command::Put(lacking.clone());
    assert_eq!(h.apply(put), Err(RequestError::LeaseNotFound));
    let txn = TxnRequest { success: vec![RequestOp::Put(lacking)], ..TxnRequest::default() };
    assert_eq!(h.txn(txn).map(|_| ()), Err(RequestError::KeyNotFound));
}

#[test]
fn a_quota_that_is_used_up_is_free_again_after_a_compaction() {
    let mut h = Harness::with(StoreOptions { quota_bytes: 200_000, ..small_options() });
    let value = "v".repeat(500);
    let full = (0..).find(|n| h.apply(put(&format!("k{}", n % 5), &value)).is_err()).unwrap();
    assert!(h.store.quota_exceeded(), "after {full} puts");
    let newest = h.store.status().revision;
    h.compact(newest).unwrap();
    // Writes are refused now, so nothing but idle moments can bring the space back.
    while h.machine.maintain().unwrap() {}
    assert!(!h.store.quota_exceeded(), "{:?}", h.store.status());
    assert_eq!(h.get("k0").map(|kv| kv.value.len()), Some(500));
    // And none is lost in a restart from the checkpoint that let the space go.
    let hash = h.state_hash();
    let h = h.reopen();
    assert_eq!(h.state_hash(), hash);
}

#[test]
fn the_write_that_crosses_the_quota_is_done_and_answered_with_no_space() {
    let mut h = Harness::with(StoreOptions { quota_bytes: 4096, ..small_options() });
    assert!(h.apply(put("a", &"x".repeat(1000))).is_ok());
    assert_eq!(h.apply(put("b", &"x".repeat(4000))), Err(RequestError::NoSpace));
    assert!(h.get("b").is_some());
    assert!(h.store.quota_exceeded());
    assert_eq!(h.delete("a", "").deleted, 1);
}

#[test]
fn members() {
    let mut h = Harness::new();
    let member = MemberAttributes {
        id: 9,
        name: "n1".into(),
        peer_urls: vec!["http://p".into()],
        client_urls: vec!["http://c".into()],
    };
    h.apply(Command::MemberAttributes(member.clone())).unwrap();
    assert_eq!(h.store.members(), [member]);
    h.apply(Command::MemberRemove { id: 9 }).unwrap();
    assert!(h.store.members().is_empty());
}

#[test]
fn a_command_of_another_version_is_refused_and_the_log_goes_on() {
    let mut h = Harness::new();
    h.index += 1;
    let entry = host::CommittedEntry {
        id: raft::EntryId::new(1, h.index),
        command: Some(b("\u{7f}nonsense")),
    };
    let mut responses = Vec::new();
    StateMachine::apply(&mut h.machine, &[entry], &mut responses).unwrap();
    assert_eq!(responses, [Err(RequestError::UnknownCommand)]);
    assert_eq!(h.put("a", "1"), 2);
}

#[test]
fn the_texts_are_etcds() {
    let check = |error: RequestError, text: &str| assert_eq!(error.to_string(), text);
    check(RequestError::KeyNotProvided, "etcdserver: key is not provided");
    check(RequestError::Compacted, "etcdserver: mvcc: required revision has been compacted");
    check(RequestError::FutureRevision, "etcdserver: mvcc: required revision is a future revision");
    check(RequestError::TooManyOps, "etcdserver: too many operations in txn request");
    check(RequestError::DuplicateKey, "etcdserver: duplicate key given in txn request");
    check(RequestError::LeaseNotFound, "etcdserver: requested lease not found");
    check(RequestError::LeaseExists, "etcdserver: lease already exists");
    check(RequestError::LeaseTtlTooLarge, "etcdserver: too large lease TTL");
    check(RequestError::NoSpace, "etcdserver: mvcc: database space exceeded");
    check(RequestError::Corrupt, "etcdserver: corrupt cluster");
}
