//! Watching: order, history, slow clients, compaction, progress.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use store::*;

fn create(key: &str, range_end: &str, start_revision: i64) -> WatchCreateRequest {
    let (key, range_end) = (b(key), b(range_end));
    WatchCreateRequest { key, range_end, start_revision, ..WatchCreateRequest::default() }
}

fn all(start_revision: i64) -> WatchCreateRequest {
    create("\0", "\0", start_revision)
}

#[test]
fn created_comes_before_events_and_now_is_the_next_revision() {
    let mut h = Harness::new();
    h.put("a", "1");
    let s = stream(&h.store);
    assert_eq!(s.create(create("a", "", 0)), Ok(0));
    h.put("a", "2");
    h.put("b", "x");
    h.delete("a", "");
    assert_eq!(events(&drain(&s)), ["0 created", "0 put a=2 @3", "0 delete a= @5"]);
}

#[test]
fn history_then_live_without_gap_or_repeat() {
    let mut h = Harness::new();
    for n in 0..10 {
        h.put(&format!("k{}", n % 3), &n.to_string());
    }
    let s = stream(&h.store);
    s.create(create("k1", "", 3)).unwrap();
    h.put("k1", "10");
    assert_eq!(
        events(&drain(&s)),
        ["0 created", "0 put k1=1 @3", "0 put k1=4 @6", "0 put k1=7 @9", "0 put k1=10 @12"]
    );
    h.put("k1", "11");
    assert_eq!(events(&drain(&s)), ["0 put k1=11 @13"]);
}

#[test]
fn prev_kv_live_and_from_history() {
    let mut h = Harness::new();
    h.put("a", "1");
    h.put("a", "2");
    h.delete("a", "");
    h.put("a", "3");
    let s = stream(&h.store);
    s.create(WatchCreateRequest { prev_kv: true, ..all(1) }).unwrap();
    let expect = [
        "0 created",
        "0 put a=1 @2",
        "0 put a=2 @3 before 1",
        "0 delete a= @4 before 2",
        "0 put a=3 @5",
    ];
    assert_eq!(events(&drain(&s)), expect);
    h.put("a", "4");
    s.create(create("a", "", 0)).unwrap();
    h.delete("a", "");
    assert_eq!(
        events(&drain(&s)),
        ["0 put a=4 @6 before 3", "1 created", "1 delete a= @7", "0 delete a= @7 before 4"]
    );
}

#[test]
fn filters_leave_nothing_to_send() {
    let mut h = Harness::new();
    let s = stream(&h.store);
    s.create(WatchCreateRequest { no_put: true, ..all(0) }).unwrap();
    s.create(WatchCreateRequest { no_delete: true, ..all(0) }).unwrap();
    h.put("a", "1");
    h.delete("a", "");
    assert_eq!(events(&drain(&s)), ["0 created", "1 created", "1 put a=1 @2", "0 delete a= @3"]);
}

#[test]
fn a_future_start_gets_nothing_before_it() {
    let mut h = Harness::new();
    let s = stream(&h.store);
    s.create(all(5)).unwrap();
    for n in 0..5 {
        h.put("a", &n.to_string());
    }
    assert_eq!(events(&drain(&s)), ["0 created", "0 put a=3 @5", "0 put a=4 @6"]);
}

/// etcd-io/etcd#20221: a client takes progress for "all up to here was sent", so it must not say
/// anything of what lies before the start.
#[test]
fn a_future_start_is_told_no_progress_before_it() {
    let mut h = Harness::new();
    let s = stream(&h.store);
    s.create(WatchCreateRequest { progress_notify: true, ..all(4) }).unwrap();
    s.create(WatchCreateRequest { progress_notify: true, ..create("b", "", 0) }).unwrap();
    h.put("a", "1");
    s.request_progress();
    s.send_periodic_progress();
    assert_eq!(events(&drain(&s)), ["0 created", "1 created", "1 progress 2"]);
    h.put("a", "2");
    h.put("a", "3");
    s.request_progress();
    s.send_periodic_progress();
    s.send_periodic_progress();
    assert_eq!(
        events(&drain(&s)),
        ["0 put a=3 @4", "-1 progress 4", "1 progress 4", "0 progress 4", "1 progress 4"]
    );
}

#[test]
fn refusals_are_etcds() {
    let h = Harness::new();
    let s = stream(&h.store);
    assert_eq!(s.create(WatchCreateRequest { watch_id: 1, ..all(0) }), Ok(1));
    assert_eq!(
        s.create(WatchCreateRequest { watch_id: 1, ..all(0) }),
        Err(WatchRejection::DuplicateId)
    );
    assert_eq!(s.create(create("b", "a", 0)), Err(WatchRejection::EmptyRange));
    assert_eq!(s.create(all(-1)), Err(WatchRejection::NegativeStart));
    assert_eq!(s.create(all(0)), Ok(0), "ids count from 0");
    assert_eq!(s.create(all(0)), Ok(2), "and pass over those that are taken");
    assert_eq!(
        events(&drain(&s)),
        [
            "1 created",
            "rejected mvcc: duplicate watch ID provided on the WatchStream",
            "rejected mvcc: watcher range is empty",
            "rejected etcdserver: mvcc: required revision has been compacted",
            "0 created",
            "2 created",
        ]
    );
}

#[test]
fn a_start_below_the_compaction_is_cancelled_and_at_it_is_whole() {
    let mut h = Harness::new();
    h.put("a", "1");
    h.put("b", "1");
    h.delete("a", "");
    h.put("b", "2");
    h.compact(4).unwrap();
    while h.store.maintain() {}
    let s = stream(&h.store);
    s.create(all(3)).unwrap();
    s.create(all(4)).unwrap();
    assert_eq!(
        events(&drain(&s)),
        ["0 created", "1 created", "0 compacted 4", "1 delete a= @4", "1 put b=2 @5"]
    );
    assert!(!s.cancel(0), "it is gone");
}

#[test]
fn cancel_answers_once() {
    let mut h = Harness::new();
    let s = stream(&h.store);
    s.create(all(0)).unwrap();
    assert!(s.cancel(0));
    assert!(!s.cancel(0));
    h.put("a", "1");
    assert_eq!(events(&drain(&s)), ["0 created", "0 canceled"]);
}

#[test]
fn manual_progress_waits_for_all_and_comes_behind_events() {
    let mut h = Harness::new();
    let s = stream(&h.store);
    s.request_progress();
    assert!(drain(&s).is_empty(), "no watchers, no answer");
    h.put("a", "1");
    s.create(all(0)).unwrap();
    s.create(all(2)).unwrap();
    s.request_progress();
    assert_eq!(events(&drain(&s)), ["0 created", "1 created", "1 put a=1 @2"]);
    h.put("a", "2");
    s.request_progress();
    assert_eq!(events(&drain(&s)), ["0 put a=2 @3", "1 put a=2 @3", "-1 progress 3"]);
}

#[test]
fn periodic_progress_only_for_quiet_watchers_that_asked() {
    let mut h = Harness::new();
    let s = stream(&h.store);
    let notify = |key: &str| WatchCreateRequest { progress_notify: true, ..create(key, "", 0) };
    s.create(notify("a")).unwrap();
    s.create(notify("b")).unwrap();
    s.create(create("c", "", 0)).unwrap();
    h.put("a", "1");
    s.send_periodic_progress();
    let got = events(&drain(&s));
    assert_eq!(got[3..], ["0 put a=1 @2", "1 progress 2"]);
    s.send_periodic_progress();
    assert_eq!(events(&drain(&s)), ["0 progress 2", "1 progress 2"]);
}

#[test]
fn a_slow_client_loses_nothing_and_its_queue_is_bounded() {
    let mut h = Harness::new();
    let s = stream(&h.store);
    s.create(WatchCreateRequest { prev_kv: true, ..all(0) }).unwrap();
    for n in 0..300 {
        h.apply_all((0..50).map(|m| put(&format!("k{m}"), &n.to_string())));
    }
    let status = h.store.status();
    assert_eq!(status.slow_watcher_count, 1);
    assert!(status.pending_message_count <= 1 + 4096 / 50);
    let messages = drain(&s);
    let mut next = 2;
    for message in &messages {
        let WatchMessage::Events { events, .. } = message else { continue };
        for event in events.iter() {
            assert_eq!(event.kv.mod_revision, next);
            assert_eq!(event.prev_kv.is_some(), next > 51);
            next += 1;
        }
    }
    assert_eq!(next, 2 + 300 * 50);
    assert_eq!(h.store.status().slow_watcher_count, 0);
}

#[test]
fn a_slow_client_that_compaction_overtakes_is_told() {
    let mut h = Harness::new();
    let s = stream(&h.store);
    s.create(all(0)).unwrap();
    for n in 0..200 {
        h.apply_all((0..50).map(|m| put(&format!("k{m}"), &n.to_string())));
    }
    h.compact(10_000).unwrap();
    let got = events(&drain(&s));
    assert_eq!(got.last().unwrap(), "0 compacted 10000");
    assert!(got.len() > 4000, "what was queued before is delivered");
}

#[test]
fn a_revision_is_never_split() {
    let mut h = Harness::new();
    let s = stream(&h.store);
    s.create(all(0)).unwrap();
    let keys: Vec<String> = (0..100).map(|n| format!("k{n:03}")).collect();
    let success = keys.iter().map(|key| RequestOp::Put(put_request(key, "v"))).collect();
    h.txn(TxnRequest { success, ..Default::default() }).unwrap();
    s.create(all(2)).unwrap();
    let sizes: Vec<usize> = drain(&s)
        .iter()
        .filter_map(|message| {
            let WatchMessage::Events { events, .. } = message else { return None };
            Some(events.len())
        })
        .collect();
    assert_eq!(sizes, [100, 100]);
}

#[test]
fn a_hundred_watchers_share_one_batch() {
    let mut h = Harness::new();
    let streams: Vec<_> = (0..100).map(|_| stream(&h.store)).collect();
    for s in &streams {
        s.create(create("k", "l", 0)).unwrap();
        drain(s);
    }
    h.apply_all([put("k1", "v"), put("x", "v"), put("k2", "v")]);
    let keys: std::collections::BTreeSet<_> = streams
        .iter()
        .map(|s| match &drain(s)[..] {
            [WatchMessage::Events { events, .. }] => {
                assert_eq!(events.len(), 2);
                events.share_key()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    // The messages are gone again, but the batch was one at any time.
    assert!(keys.len() <= 100);
}

#[test]
fn on_ready_is_called_when_there_is_something_new() {
    let mut h = Harness::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let s = h.store.watch_stream(Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    s.create(all(0)).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    drain(&s);
    h.put("a", "1");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    h.put("a", "2");
    assert_eq!(calls.load(Ordering::SeqCst), 2, "once until the queue was empty");
}

#[test]
fn a_dropped_stream_leaves_nothing() {
    let mut h = Harness::new();
    let s = stream(&h.store);
    s.create(all(0)).unwrap();
    drop(s);
    h.put("a", "1");
    let status = h.store.status();
    assert_eq!((status.watch_stream_count, status.watcher_count), (0, 0));
}

/// Room for values of a mebibyte.
fn large_segments() -> StoreOptions {
    StoreOptions { segment_bytes: 4 << 20, ..small_options() }
}

/// Bytes of the values in a message.
fn event_bytes(message: &WatchMessage) -> usize {
    let WatchMessage::Events { events, .. } = message else { return 0 };
    events.iter().map(|event| event.kv.value.len()).sum()
}

#[test]
fn a_client_that_never_reads_holds_a_bounded_number_of_bytes() {
    let mut h = Harness::with(large_segments());
    let s = stream(&h.store);
    s.create(all(0)).unwrap();
    let large = "x".repeat(1 << 20);
    for n in 0..40 {
        h.put(&format!("k{n}"), &large);
    }
    // By events alone all forty mebibytes would wait.
    let status = h.store.status();
    assert_eq!(status.slow_watcher_count, 1);
    assert!(status.pending_message_count <= 9, "{status:?}");
    // History comes in pieces as well, and nothing is lost.
    let messages = drain(&s);
    assert!(messages.iter().all(|message| event_bytes(message) <= 5 << 20));
    assert_eq!(messages.iter().map(event_bytes).sum::<usize>(), 40 << 20);
}

#[test]
fn watchers_of_one_stream_share_what_waits_for_it() {
    let mut h = Harness::with(large_segments());
    let s = stream(&h.store);
    for _ in 0..50 {
        s.create(all(0)).unwrap();
    }
    h.put("k", &"x".repeat(1 << 20));
    // One value that fifty watchers wait for takes its room once.
    assert_eq!(h.store.status().slow_watcher_count, 0);
    assert_eq!(drain(&s).iter().map(event_bytes).sum::<usize>(), 50 << 20);
}

#[test]
fn clients_that_never_read_hold_a_bounded_number_of_bytes_together() {
    let mut h = Harness::with(large_segments());
    let streams: Vec<_> = (0..60).map(|_| stream(&h.store)).collect();
    streams.iter().for_each(|s| assert!(s.create(all(0)).is_ok()));
    let large = "x".repeat(1 << 20);
    for n in 0..7 {
        h.put(&format!("k{n}"), &large);
    }
    // Each of them has room for all seven, all together have not.
    let status = h.store.status();
    assert!(status.slow_watcher_count > 10, "{status:?}");
    assert!(status.pending_message_count <= 60 + 256, "{status:?}");
    for s in &streams {
        assert_eq!(drain(s).iter().map(event_bytes).sum::<usize>(), 7 << 20);
    }
    // What was read is free for the next ones.
    h.put("k", &large);
    assert_eq!(h.store.status().slow_watcher_count, 0);
    streams.into_iter().for_each(drop);
    let s = stream(&h.store);
    s.create(all(0)).unwrap();
    h.put("k", &large);
    assert_eq!(h.store.status().slow_watcher_count, 0);
}
