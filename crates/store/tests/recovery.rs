//! What a disk holds after an end of any kind is the state of the entries up to there.

#![expect(clippy::cast_possible_truncation, reason = "offsets of small snapshots")]

mod common;

use common::*;
use env::SplitMix;
use host::{SnapshotSource, StateMachine};
use raft::EntryId;
use store::*;

fn spread(number: u64) -> String {
    format!("key-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Keys come in the middle of what the checkpoint has passed, beside it and behind it.
#[test]
fn a_checkpoint_that_is_written_while_keys_come_has_each_once() {
    let mut h = Harness::with(StoreOptions { segment_bytes: 1 << 20, ..small_options() });
    h.apply_all((0..20_000).map(|n| put(&spread(n), "v")));
    h.machine.flush().unwrap();
    for n in 0..200 {
        h.apply_all((0..50).map(|m| put(&spread(20_000 + 50 * n + m), "w")));
        h.apply(delete(&spread(n), "")).unwrap();
    }
    h.machine.flush().unwrap();
    let (hash, count) = (h.state_hash(), h.store.status().key_count);
    assert_eq!(count, 29_800);
    let h = h.reopen();
    assert_eq!((h.state_hash(), h.store.status().key_count), (hash, count));
}

#[test]
fn what_was_flushed_survives_and_what_changed_nothing_counts_as_applied() {
    let mut h = Harness::new();
    h.put("a", "1");
    h.delete("x", "");
    let applied = h.machine.flush().unwrap();
    assert_eq!(applied.index.0, 2);
    h.disk.crash_all_lost();
    let h = h.reopen();
    assert_eq!(h.machine.applied(), applied);
    assert_eq!(h.get("a").unwrap().value, b("1"));
}

#[test]
fn a_torn_tail_leaves_a_prefix() {
    for seed in 0..50 {
        let mut h = Harness::new();
        h.apply_all((0..20).map(|n| put(&format!("k{n}"), "before")));
        h.machine.flush().unwrap();
        h.apply_all((0..20).map(|n| put(&format!("k{n}"), &"after".repeat(200))));
        h.disk.crash(&mut SplitMix::new(seed));
        let h = h.reopen();
        let applied = h.machine.applied().index.0;
        assert!((20..=40).contains(&applied));
        for n in 0..20 {
            let value = h.get(&format!("k{n}")).unwrap().value;
            assert_eq!(value.starts_with(b"after"), n + 20 < applied, "seed {seed} key {n}");
        }
    }
}

#[test]
fn a_delete_of_more_keys_than_a_record_holds_is_one_revision() {
    let mut h = Harness::new();
    for _ in 0..10 {
        h.apply_all((0..300).map(|n| put(&format!("{n:0100}"), "v")));
    }
    let s = stream(&h.store);
    let deleted = h.delete("0", "1");
    assert_eq!((deleted.deleted, deleted.revision), (300, 3002));
    s.create(WatchCreateRequest {
        key: b("\0"),
        range_end: b("\0"),
        start_revision: 3002,
        ..Default::default()
    })
    .unwrap();
    assert_eq!(events(&drain(&s)).len(), 301);
    let hash = h.state_hash();
    drop(s);
    let h = h.reopen();
    assert_eq!(h.state_hash(), hash);
    assert_eq!(h.store.status().key_count, 0);
}

/// Records wait in memory before they are written; nobody but a crash can tell.
#[test]
fn what_is_not_written_yet_is_read_as_if_it_were() {
    let mut h = Harness::new();
    let s = stream(&h.store);
    let writes = h.disk.counts().writes;
    h.put("a", "1");
    h.put("a", "2");
    h.delete("a", "");
    h.txn(TxnRequest {
        success: vec![
            RequestOp::Put(PutRequest { key: b("a"), value: b("3"), ..PutRequest::default() }),
            RequestOp::Put(PutRequest { key: b("b"), value: b("4"), ..PutRequest::default() }),
        ],
        ..TxnRequest::default()
    })
    .unwrap();
    h.put("b", "5");
    let all_at = |h: &Harness, revision| {
        let request = RangeRequest { revision, ..range("a", "z") };
        let kvs = h.store.range(&request).unwrap().kvs;
        kvs.into_iter().map(|kv| (kv.key, kv.value)).collect::<Vec<_>>()
    };
    let check = |h: &Harness| {
        assert_eq!(all_at(h, 2), [(b("a"), b("1"))]);
        assert_eq!(all_at(h, 3), [(b("a"), b("2"))]);
        assert_eq!(all_at(h, 4), []);
        assert_eq!(all_at(h, 5), [(b("a"), b("3")), (b("b"), b("4"))]);
        assert_eq!(all_at(h, 6), [(b("a"), b("3")), (b("b"), b("5"))]);
    };
    check(&h);
    let watch = WatchCreateRequest {
        key: b("a"),
        range_end: b("z"),
        start_revision: 2,
        prev_kv: true,
        ..WatchCreateRequest::default()
    };
    s.create(watch.clone()).unwrap();
    let history = events(&drain(&s));
    assert_eq!(history.len(), 7, "that it was created, and six changes");
    let hash = h.state_hash();
    assert_eq!(h.disk.counts().writes, writes, "all of this was in memory");

    let mut other = Harness::new();
    let mut snapshot = h.machine.snapshot().unwrap();
    assert_eq!(snapshot.last(), h.machine.applied());
    other.machine.restore(snapshot.last(), &mut *snapshot).unwrap();
    drop(s);
    let h = h.reopen();
    for h in [&h, &other] {
        check(h);
        assert_eq!(h.state_hash(), hash);
        let s = stream(&h.store);
        s.create(watch.clone()).unwrap();
        assert_eq!(events(&drain(&s)), history);
    }
}

/// History and values that are partly in the file and partly in memory.
#[test]
fn history_goes_on_from_the_file_into_memory() {
    let mut h = Harness::new();
    for n in 0..300 {
        h.put("k", &format!("{n}-").repeat(20));
        if n % 50 == 7 {
            let s = stream(&h.store);
            s.create(WatchCreateRequest {
                key: b("k"),
                start_revision: 2,
                ..WatchCreateRequest::default()
            })
            .unwrap();
            assert_eq!(events(&drain(&s)).len(), n + 2, "one message is that it was created");
            for at in 0..=n {
                let request = RangeRequest { revision: at as i64 + 2, ..range("k", "") };
                let kvs = h.store.range(&request).unwrap().kvs;
                assert_eq!(kvs[0].value, b(&format!("{at}-").repeat(20)));
            }
        }
    }
}

/// Written, overwritten and compacted many times over: the disk does not grow, and no answer
/// changes.
#[test]
fn compaction_gives_segments_back() {
    let mut h = Harness::new();
    // Some keys live for ever and must move.
    h.apply_all((0..50).map(|n| put(&format!("for ever {n}"), &"x".repeat(500))));
    let mut largest = 0;
    for round in 0..60 {
        h.apply_all((0..100).map(|n| put(&format!("k{n}"), &format!("{round}").repeat(200))));
        let revision = h.store.revision();
        h.compact(revision).unwrap();
        while h.store.maintain() {}
        for _ in 0..20 {
            h.apply_all([put("tick", "tock")]);
        }
        h.machine.flush().unwrap();
        largest = largest.max(h.store.status().size_bytes);
    }
    assert!(largest < 800_000, "{largest}");
    let kv = h.get("for ever 49").unwrap();
    assert_eq!((kv.mod_revision, kv.value.len()), (51, 500));
    let hash = h.state_hash();
    let h = h.reopen();
    assert_eq!(h.state_hash(), hash);
    assert_eq!(h.get("for ever 7").unwrap().value.len(), 500);
}

/// A segment whose values have moved goes only when they are durable where they are now, and so is
/// the compaction that made the rest of it garbage: also when it goes in an idle moment.
#[test]
fn a_segment_goes_only_when_what_replaced_it_is_durable() {
    let mut released = 0;
    for (rounds, steps) in
        [4, 9, 20].into_iter().flat_map(|rounds| (0..40).map(move |n| (rounds, n)))
    {
        let mut h = Harness::new();
        h.apply_all((0..30).map(|n| put(&format!("for ever {n}"), &"x".repeat(500))));
        for round in 0..rounds {
            h.apply_all((0..40).map(|n| put(&format!("k{n}"), &format!("{round}").repeat(300))));
        }
        h.machine.checkpoint().unwrap();
        let (revision, size_bytes) = (h.store.revision(), h.store.status().size_bytes);
        h.compact(revision).unwrap();
        for _ in 0..steps {
            h.machine.maintain().unwrap();
        }
        released += usize::from(h.store.status().size_bytes < size_bytes);
        h.disk.crash_all_lost();
        let h = h.reopen();
        let all = h.store.range(&range("f", "l")).unwrap();
        assert_eq!(all.count, 70, "{rounds} rounds, {steps} steps");
        h.store.state_hash().unwrap();
    }
    assert!(released > 0, "no segment was given back");
}

/// Idle moments come behind every batch: segments that wait for a checkpoint cost no sync there.
#[test]
fn an_idle_moment_without_a_segment_to_give_back_syncs_nothing() {
    // No checkpoint is due, so that whatever is empty has to wait.
    let options = StoreOptions { checkpoint_bytes_min: 1 << 40, ..small_options() };
    let mut h = Harness::with(options);
    h.apply_all((0..9000).map(|n| put(&format!("for ever {n}"), "x")));
    h.machine.checkpoint().unwrap();
    for round in 0..10 {
        h.apply_all((0..40).map(|n| put(&format!("k{n}"), &format!("{round}").repeat(300))));
    }
    let revision = h.store.revision();
    h.compact(revision).unwrap();
    while h.machine.maintain().unwrap() {}
    let syncs = h.disk.counts().syncs;
    for _ in 0..20 {
        h.put("k1", "again");
        while h.machine.maintain().unwrap() {}
    }
    assert_eq!(h.disk.counts().syncs, syncs);
}

/// The bytes of a snapshot with one bit flipped.
#[derive(Debug)]
struct Rotten {
    bytes: Vec<u8>,
    last: EntryId,
}

impl SnapshotSource for Rotten {
    fn last(&self) -> EntryId {
        self.last
    }

    fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let start = offset as usize;
        buffer.copy_from_slice(&self.bytes[start..start + buffer.len()]);
        Ok(())
    }
}

#[test]
fn d6_a_snapshot_with_a_flipped_bit_is_found_out_before_it_is_taken() {
    let mut h = Harness::new();
    h.apply_all((0..100).map(|n| put(&format!("k{n}"), &"x".repeat(200))));
    h.machine.checkpoint().unwrap();
    h.apply_all((0..20).map(|n| put(&format!("k{n}"), "short")));
    let mut snapshot = h.machine.snapshot().unwrap();
    let mut bytes = vec![0; usize::try_from(snapshot.len_bytes()).unwrap()];
    snapshot.read_exact_at(0, &mut bytes).unwrap();
    let mut copy = Rotten { bytes, last: snapshot.last() };
    StoreMachine::check_snapshot(&mut copy).unwrap();
    let mut missed = 0;
    for at in (0..copy.bytes.len()).step_by(7) {
        copy.bytes[at] ^= 4;
        missed += usize::from(StoreMachine::check_snapshot(&mut copy).is_ok());
        copy.bytes[at] ^= 4;
    }
    // Between records there are a few bytes that nobody reads.
    assert!(missed < copy.bytes.len() / 7 / 20, "{missed} of {} bits", copy.bytes.len() / 7);
}

#[test]
fn a_snapshot_is_of_its_moment_while_everything_goes_on() {
    let mut h = Harness::new();
    h.apply_all((0..500).map(|n| put(&format!("k{n}"), &"x".repeat(300))));
    h.machine.checkpoint().unwrap();
    h.apply_all((0..50).map(|n| put(&format!("k{n}"), "short")));
    let hash = h.state_hash();
    let mut snapshot = h.machine.snapshot().unwrap();
    for round in 0..10 {
        h.apply_all((0..500).map(|n| put(&format!("k{n}"), &format!("{round}").repeat(300))));
        let revision = h.store.revision();
        h.compact(revision).unwrap();
        while h.store.maintain() {}
        h.machine.flush().unwrap();
        h.machine.checkpoint().unwrap();
        h.machine.flush().unwrap();
    }
    let mut other = Harness::new();
    other.put("gone", "1");
    let last = snapshot.last();
    other.machine.restore(last, &mut *snapshot).unwrap();
    assert_eq!(other.state_hash(), hash);
    assert_eq!(other.machine.applied(), last);
    assert!(other.get("gone").is_none());
    let other = other.reopen();
    assert_eq!(other.state_hash(), hash);
}

/// W1 and W2: a watcher on a member that catches up by snapshot.
#[test]
fn watchers_live_through_a_restore_and_see_nothing_twice() {
    let mut ahead = Harness::new();
    let mut behind = Harness::new();
    for h in [&mut ahead, &mut behind] {
        h.put("a", "1");
    }
    let s = stream(&behind.store);
    let watch = |start_revision| WatchCreateRequest {
        key: b("a"),
        start_revision,
        ..WatchCreateRequest::default()
    };
    s.create(watch(0)).unwrap();
    s.create(watch(6)).unwrap();
    drain(&s);
    for value in ["2", "3", "4"] {
        ahead.put("a", value);
    }
    let mut snapshot = ahead.machine.snapshot().unwrap();
    behind.machine.restore(snapshot.last(), &mut *snapshot).unwrap();
    behind.index = 4;
    s.request_progress();
    assert_eq!(events(&drain(&s)), ["0 put a=2 @3", "0 put a=3 @4", "0 put a=4 @5"]);
    behind.put("a", "5");
    assert_eq!(events(&drain(&s)), ["1 put a=5 @6", "0 put a=5 @6"]);
}

/// A watcher whose keys were quiet has missed nothing, whatever was compacted meanwhile.
#[test]
fn w1_a_quiet_watcher_lives_through_a_restore_behind_a_compaction() {
    let mut ahead = Harness::new();
    let mut behind = Harness::new();
    for h in [&mut ahead, &mut behind] {
        h.put("a", "1");
    }
    let s = stream(&behind.store);
    s.create(WatchCreateRequest { key: b("a"), ..WatchCreateRequest::default() }).unwrap();
    drain(&s);
    for h in [&mut ahead, &mut behind] {
        for value in ["1", "2", "3", "4", "5"] {
            h.put("b", value);
        }
    }
    ahead.put("b", "6");
    ahead.compact(6).unwrap();
    let mut snapshot = ahead.machine.snapshot().unwrap();
    behind.machine.restore(snapshot.last(), &mut *snapshot).unwrap();
    behind.index = ahead.index;
    let told = drain(&s);
    assert!(!told.iter().any(|message| matches!(message, WatchMessage::Compacted { .. })));
    behind.put("a", "2");
    assert_eq!(events(&drain(&s)), ["0 put a=2 @9"]);
}

#[test]
fn a_restore_of_other_bytes_is_refused_and_changes_nothing() {
    #[derive(Debug)]
    struct Damaged(Vec<u8>);
    impl SnapshotSource for Damaged {
        fn last(&self) -> EntryId {
            EntryId::new(1, 300)
        }
        fn len_bytes(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            let at = offset as usize;
            buffer.copy_from_slice(&self.0[at..at + buffer.len()]);
            Ok(())
        }
    }
    let mut ahead = Harness::new();
    ahead.apply_all((0..300).map(|n| put(&format!("k{n}"), "value")));
    let mut snapshot = ahead.machine.snapshot().unwrap();
    let mut bytes = vec![0; snapshot.len_bytes() as usize];
    snapshot.read_exact_at(0, &mut bytes).unwrap();
    let mut h = Harness::new();
    h.put("mine", "1");
    let hash = h.state_hash();
    let mut dice = SplitMix::new(7);
    let mut refused = 0;
    for _ in 0..200 {
        let mut damaged = bytes.clone();
        let at = dice.below(damaged.len() as u64) as usize;
        damaged[at] ^= 1 << dice.below(8);
        let result = h.machine.restore(EntryId::new(1, 300), &mut Damaged(damaged));
        if result.is_ok() {
            // It hit what fills a record up to its alignment.
            assert_eq!(h.state_hash(), ahead.state_hash(), "bit at {at}");
            h = Harness::new();
            h.put("mine", "1");
        }
        refused += usize::from(result.is_err());
        assert_eq!(h.state_hash(), hash);
    }
    assert!(refused > 150, "{refused}");
    h.put("mine", "2");
    h.machine.flush().unwrap();
    let h = h.reopen();
    assert_eq!(h.get("mine").unwrap().value, b("2"));
}

#[test]
fn a_crash_in_a_restore_leaves_the_old_state_or_the_new_one() {
    let mut ahead = Harness::new();
    ahead.apply_all((0..100).map(|n| put(&format!("k{n}"), "value")));
    let new = ahead.state_hash();
    let mut seen = [false, false];
    for nth in 1..40 {
        let mut h = Harness::new();
        h.put("mine", "1");
        h.machine.flush().unwrap();
        let old = h.state_hash();
        let mut snapshot = ahead.machine.snapshot().unwrap();
        h.disk.fail(env::mem::Operation::Sync, nth, std::io::ErrorKind::Other);
        let _any = h.machine.restore(snapshot.last(), &mut *snapshot);
        h.disk.clear_faults();
        h.disk.crash(&mut SplitMix::new(nth));
        let hash = h.reopen().state_hash();
        assert!(hash == old || hash == new, "sync {nth}");
        seen[usize::from(hash == new)] = true;
    }
    assert_eq!(seen, [true, true]);
}

#[test]
fn a_disk_that_fails_stops_apply() {
    let mut h = Harness::new();
    h.put("a", "1");
    h.disk.fail(env::mem::Operation::Sync, 1, std::io::ErrorKind::Other);
    assert!(h.machine.flush().is_err());
    assert!(h.machine.flush().is_err(), "an error is final");
}

#[test]
fn values_beyond_the_memory_budget_come_from_disk() {
    let mut h = Harness::with(StoreOptions { memory_budget_bytes: 100_000, ..small_options() });
    h.apply_all((0..2000).map(|n| put(&format!("k{n:04}"), &format!("{n}-").repeat(40))));
    while h.store.maintain() {}
    let all = h.store.range(&range("k", "l")).unwrap();
    assert_eq!(all.count, 2000);
    for (n, kv) in all.kvs.iter().enumerate() {
        assert_eq!(kv.value, b(&format!("{n}-").repeat(40)));
    }
}

/// By the log alone, and by a checkpoint.
#[test]
fn a_downgrade_under_way_outlives_a_restart() {
    let target = Some(ClusterVersion { major: 3, minor: 5 });
    let mut h = Harness::with(StoreOptions { segment_bytes: 1 << 20, ..small_options() });
    h.apply(Command::Downgrade { target }).unwrap();
    h.machine.flush().unwrap();
    let mut h = h.reopen();
    assert_eq!(h.store.downgrade(), target);
    // Enough for a checkpoint behind which the log is not read any more.
    for round in 0..20 {
        h.apply_all((0..1000).map(|n| put(&spread(1000 * round + n), "v")));
        h.machine.flush().unwrap();
    }
    let hash = h.state_hash();
    let mut h = h.reopen();
    assert_eq!((h.store.downgrade(), h.state_hash()), (target, hash));
    h.apply(Command::Downgrade { target: None }).unwrap();
    assert_ne!(h.state_hash(), hash);
    h.machine.flush().unwrap();
    assert_eq!(h.reopen().store.downgrade(), None);
}
