//! Bugs of others that a store could have; each test is named after its row.

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use env::SplitMix;
use env::mem::Operation;
use host::{CommittedEntry, StateMachine};
use raft::EntryId;
use store::*;

fn compact(revision: i64) -> Command {
    Command::Compact(CompactRequest { revision, physical: false })
}

fn txn(success: Vec<RequestOp>) -> Command {
    Command::Txn(TxnRequest { success, ..TxnRequest::default() })
}

fn read_at(revision: i64) -> RequestOp {
    RequestOp::Range(RangeRequest { revision, ..range("k", "l") })
}

/// Writes that move, delete, attach and compact, with enough bytes for several segments.
fn history() -> Vec<Command> {
    let mut commands = vec![Command::LeaseGrant { id: LeaseId(7), ttl: 10 }];
    for round in 0..6_i64 {
        for n in 0..8 {
            commands.push(put(&format!("k{n}"), &format!("{round}-{n}-").repeat(150)));
        }
        commands.push(put_with_lease(&format!("leased {round}"), 7));
        commands.push(delete("k2", "k5"));
        commands.push(txn(vec![
            RequestOp::Put(put_request("k3", "again")),
            RequestOp::DeleteRange(delete_request("k6", "")),
            read_at(0),
        ]));
        commands.push(compact(round * 11 + 3));
    }
    commands.push(Command::LeaseRevoke { id: LeaseId(7) });
    commands
}

fn entries(commands: &[Command]) -> Vec<CommittedEntry> {
    let entry = |(number, command): (usize, &Command)| CommittedEntry {
        id: EntryId::new(1, number as u64 + 1),
        command: Some(command.encode()),
    };
    commands.iter().enumerate().map(entry).collect()
}

/// The state hash after each entry, the empty store's first.
fn hashes(entries: &[CommittedEntry]) -> Vec<u64> {
    let mut h = Harness::new();
    let mut all = vec![h.state_hash()];
    for entry in entries {
        h.machine.apply(std::slice::from_ref(entry), &mut Vec::new()).expect("the disk works");
        all.push(h.state_hash());
    }
    all
}

/// Applies what is left, four at a time, with flushes and maintenance between, as an applier does.
fn apply_rest(h: &mut Harness, entries: &[CommittedEntry]) -> io::Result<()> {
    let applied = usize::try_from(h.machine.applied().index.0).expect("a short history");
    for (number, some) in entries[applied..].chunks(4).enumerate() {
        h.machine.apply(some, &mut Vec::new())?;
        match number % 3 {
            0 => drop(h.machine.flush()?),
            1 => while h.machine.maintain()? {},
            _ => h.machine.checkpoint()?,
        }
    }
    h.machine.flush().map(drop)
}

/// C6, W6, D11: effects and applied index are one write, and a compaction that is cut short at any
/// call of the disk leaves revisions and hashes as they were.
#[test]
fn c6_w6_d11_a_crash_at_any_call_of_the_disk_leaves_the_state_of_one_entry() {
    let entries = entries(&history());
    let hashes = hashes(&entries);
    let operations =
        [Operation::Write, Operation::Sync, Operation::SyncDir, Operation::Rename, Operation::Open];
    let mut crashes = 0;
    for operation in operations {
        for nth in 1.. {
            let mut h = Harness::new();
            h.disk.fail(operation, nth, io::ErrorKind::Other);
            let ended = apply_rest(&mut h, &entries);
            h.disk.clear_faults();
            h.disk.crash(&mut SplitMix::new(nth));
            let flushed = if ended.is_ok() { entries.len() } else { 0 };
            let mut h = h.reopen();
            let applied = usize::try_from(h.machine.applied().index.0).expect("a short history");
            assert!(applied >= flushed);
            assert_eq!(h.state_hash(), hashes[applied], "{operation:?} {nth}: entry {applied}");
            apply_rest(&mut h, &entries).unwrap();
            assert_eq!(h.state_hash(), hashes[entries.len()], "{operation:?} {nth}");
            if ended.is_ok() {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes > 100, "only {crashes} crashes: the disk was hardly used");
}

/// C7, W7, C8: what a replica has forgotten physically, what it keeps in memory, whether it came by
/// snapshot or lived through restarts: no answer may tell.
#[test]
fn c7_w7_c8_answers_do_not_depend_on_what_a_replica_has_forgotten() {
    let mut commands = history();
    commands.extend([
        txn(vec![read_at(20), RequestOp::Put(put_request("k1", "not if 20 is compacted"))]),
        txn(vec![read_at(60), RequestOp::Put(put_request("k1", "since 60 is readable"))]),
        txn(vec![read_at(1000)]),
        compact(61),
        txn(vec![read_at(60)]),
        Command::Auth(AuthCommand::RoleAdd { name: "root".to_owned() }),
        put("k1", "whoever"),
    ]);
    let entries = entries(&commands);
    let mut lazy = Harness::new();
    let mut eager = Harness::with(StoreOptions { memory_budget_bytes: 2_000, ..small_options() });
    let mut restarted = Harness::new();
    let mut newcomer = Harness::new();
    let mut refusals = 0;
    for (number, entry) in entries.iter().enumerate() {
        let entry = std::slice::from_ref(entry);
        let mut expected = Vec::new();
        lazy.machine.apply(entry, &mut expected).unwrap();
        refusals += usize::from(expected[0].is_err());
        if number % 9 == 8 {
            restarted.machine.flush().unwrap();
            restarted = restarted.reopen();
        }
        if number % 17 == 16 {
            let mut snapshot = eager.machine.snapshot().unwrap();
            newcomer = Harness::new();
            newcomer.machine.restore(snapshot.last(), &mut *snapshot).unwrap();
        }
        for replica in [&mut eager, &mut restarted, &mut newcomer] {
            let mut answers = Vec::new();
            replica.machine.apply(entry, &mut answers).unwrap();
            assert_eq!(answers, expected, "entry {number}: {:?}", commands[number]);
            assert_eq!(replica.state_hash(), lazy.state_hash(), "entry {number}");
        }
        while eager.machine.maintain().unwrap() {}
    }
    assert_eq!(refusals, 3, "the reads at 20, at 1000 and, at last, at 60");
}

/// S11: a snapshot that is installed while a compaction is half done.
#[test]
fn s11_a_compaction_under_way_is_no_part_of_the_state_that_replaces_it() {
    let entries = entries(&history());
    let mut ahead = Harness::new();
    apply_rest(&mut ahead, &entries).unwrap();
    for steps in 0..12 {
        let mut h = Harness::new();
        h.apply_all((0..2000).map(|n| put(&format!("mine {n:04}"), "v")));
        h.compact(1500).unwrap();
        for _ in 0..steps {
            h.store.maintain();
        }
        let mut snapshot = ahead.machine.snapshot().unwrap();
        h.machine.restore(snapshot.last(), &mut *snapshot).unwrap();
        let is_finished = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_finished);
        h.store.compaction_finished(58, Box::new(move || told.store(true, Ordering::Relaxed)));
        assert!(!is_finished.load(Ordering::Relaxed), "{steps} steps: another state's compaction");
        while h.machine.maintain().unwrap() {}
        assert!(is_finished.load(Ordering::Relaxed));
        assert_eq!(h.state_hash(), ahead.state_hash(), "{steps} steps of the compaction");
        let h = h.reopen();
        assert_eq!(h.state_hash(), ahead.state_hash(), "{steps} steps, and a restart");
    }
}

/// W8: a revision of many changes gives each of them once, live and from history, also to one who
/// came while it was not written yet.
#[test]
fn w8_a_transaction_gives_each_event_once() {
    let mut h = Harness::new();
    h.put("k0", "old");
    h.put("k1", "old");
    let watch = |h: &Harness, start_revision| {
        let s = stream(&h.store);
        let request = WatchCreateRequest {
            key: b("k"),
            range_end: b("l"),
            start_revision,
            prev_kv: true,
            ..WatchCreateRequest::default()
        };
        s.create(request).unwrap();
        s
    };
    let live = watch(&h, 0);
    let past = watch(&h, 2);
    assert_eq!(drain(&past).len(), 2, "created, and two puts in one message");
    let ops = vec![
        RequestOp::Put(put_request("k0", "new")),
        RequestOp::DeleteRange(delete_request("k1", "")),
        RequestOp::Txn(TxnRequest {
            success: vec![RequestOp::Put(put_request("k2", "nested"))],
            ..TxnRequest::default()
        }),
        RequestOp::Put(put_request("other", "not watched")),
    ];
    h.apply(txn(ops)).unwrap();
    let expected = [
        "0 put k0=new @4 before old".to_owned(),
        "0 delete k1= @4 before old".to_owned(),
        "0 put k2=nested @4".to_owned(),
    ];
    let of_transaction = |stream: &WatchStream| {
        let all = events(&drain(stream)).into_iter();
        all.filter(|event| event.contains("@4")).collect::<Vec<_>>()
    };
    let late = watch(&h, 4);
    assert_eq!(of_transaction(&live), expected);
    assert_eq!(of_transaction(&past), expected);
    assert_eq!(of_transaction(&late), expected);
    h.machine.flush().unwrap();
    let h = h.reopen();
    assert_eq!(of_transaction(&watch(&h, 4)), expected);
    assert_eq!(of_transaction(&watch(&h, 2)), expected);
}

/// S10: the files of a snapshot go while its receiver is still at it, and the receiver crashes.
#[test]
fn s10_a_receiver_that_crashes_starts_again_though_the_files_are_gone_at_the_sender() {
    let entries = entries(&history());
    let mut seen = [false, false];
    for nth in 1..40 {
        let mut ahead = Harness::new();
        apply_rest(&mut ahead, &entries).unwrap();
        ahead.index = ahead.machine.applied().index.0;
        ahead.machine.checkpoint().unwrap();
        let new = ahead.state_hash();
        let mut snapshot = ahead.machine.snapshot().unwrap();
        // All that the snapshot is made of is replaced, and given back as far as nobody reads it.
        for round in 0..3 {
            ahead.apply_all(
                (0..200).map(|n| put(&format!("k{n}"), &format!("{round}").repeat(400))),
            );
            let newest = ahead.store.revision();
            ahead.compact(newest).unwrap();
            while ahead.machine.maintain().unwrap() {}
            ahead.machine.flush().unwrap();
            ahead.machine.checkpoint().unwrap();
        }
        let mut h = Harness::new();
        h.put("mine", "1");
        h.machine.flush().unwrap();
        let old = h.state_hash();
        h.disk.fail(Operation::Sync, nth, io::ErrorKind::Other);
        let _any = h.machine.restore(snapshot.last(), &mut *snapshot);
        drop(snapshot);
        h.disk.clear_faults();
        h.disk.crash(&mut SplitMix::new(nth));
        let mut h = h.reopen();
        let hash = h.state_hash();
        assert!(hash == old || hash == new, "sync {nth}");
        seen[usize::from(hash == new)] = true;
        // The next snapshot is of now, and is taken.
        let mut snapshot = ahead.machine.snapshot().unwrap();
        h.machine.restore(snapshot.last(), &mut *snapshot).unwrap();
        assert_eq!(h.reopen().state_hash(), ahead.state_hash(), "sync {nth}");
    }
    assert_eq!(seen, [true, true]);
}

/// S13: the newest checkpoint is damaged. One before it may be there still, and the log between the
/// two may not: whatever could be read would be a state that never was.
#[test]
fn s13_a_damaged_checkpoint_is_named_and_nothing_older_is_taken_for_it() {
    let mut h = Harness::new();
    for round in 0..4 {
        h.apply_all((0..300).map(|n| put(&format!("k{n}"), &format!("{round}").repeat(200))));
        h.machine.flush().unwrap();
        h.machine.checkpoint().unwrap();
    }
    let is_checkpoint = |path: &std::path::Path| path.to_string_lossy().contains("checkpoint-");
    let checkpoints = h.disk.files().into_iter().filter(|(path, _)| is_checkpoint(path));
    let (path, length) = checkpoints.max().expect("a checkpoint was made");
    for at in (8..length).step_by(97) {
        let disk = h.disk.fork();
        disk.corrupt(&path, at, 0x10);
        let opened = StoreMachine::open(Arc::new(disk), DIR.as_ref(), h.options.clone());
        let error = opened.err().unwrap_or_else(|| panic!("byte {at}: it was taken"));
        assert!(error.to_string().contains("is damaged"), "byte {at}: {error}");
    }
}
