//! Giving up segments.

use super::*;

/// One group writes without end and cuts its log, another wrote once long ago. The log stays
/// small, and the quiet group has what it wrote.
#[test]
fn quiet_group_does_not_hold_the_log_of_a_busy_one() {
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    wal.append(&[mark(1, 1, 0, true), entries(1, 1, 1, 4), vote(1, 9, 2), vote(3, 8, 1)]).unwrap();
    wal.sync().unwrap();
    for index in 1..2000 {
        wal.append(&[entries(2, 1, index, index + 1)]).unwrap();
        if index % 8 == 0 {
            wal.append(&[mark(2, 1, index - 4, false)]).unwrap();
        }
        wal.sync().unwrap();
        assert!(wal.stats().segment_count <= 6, "{:?}", wal.stats());
    }
    assert!(wal.stats().first_segment > 40, "{:?}", wal.stats());
    assert_eq!(ids(&wal.reader(), 1, 1, 9), ["1@1", "2@1", "3@1"]);
    drop(wal);
    disk.crash_all_lost();
    let (wal, recovered) = open(&disk);
    assert_eq!(ids(&wal.reader(), 1, 1, 9), ["1@1", "2@1", "3@1"]);
    assert_eq!(recovered.groups[&GroupId(1)].mark, mark_of(1, 0));
    assert_eq!(recovered.groups[&GroupId(1)].hard_state.current_term, Term(9));
    assert_eq!(recovered.groups[&GroupId(3)].hard_state.current_term, Term(8));
    assert_eq!(recovered.groups[&GroupId(2)].last, EntryId::new(1, 1999));
    assert!(disk.counts().allocations <= 10, "segments are recycled: {:?}", disk.counts());
}

/// A group that never cuts its log keeps it, however long; copying it round and round would not
/// make it shorter.
#[test]
fn log_that_is_all_live_is_kept_and_not_copied() {
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    for index in 1..300 {
        wal.append(&[entries(1, 1, index, index + 1)]).unwrap();
        wal.sync().unwrap();
    }
    let written = disk.counts().written_bytes;
    let payload: u64 = (1..300).map(|index| entry(1, index).size_bytes() as u64).sum();
    assert!(written < 3 * payload, "{written} bytes were written for {payload}");
    assert_eq!(ids(&wal.reader(), 1, 1, 300).len(), 299);
    // Once it cuts, the space comes back.
    wal.append(&[mark(1, 1, 298, false)]).unwrap();
    wal.sync().unwrap();
    wal.append(&[vote(1, 2, 1)]).unwrap();
    wal.sync().unwrap();
    assert!(wal.stats().segment_count <= 2, "{:?}", wal.stats());
}

/// A reader that works while segments are given up gets what is in the log, or nothing.
#[test]
fn reader_in_another_thread_sees_whole_logs() {
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    wal.append(&[entries(1, 1, 1, 3), entries(2, 1, 1, 2)]).unwrap();
    wal.sync().unwrap();
    let reader = wal.reader();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (done, reader) = (&done, &reader);
        let handle = scope.spawn(move || {
            let mut rounds = 0_u64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) || rounds == 0 {
                assert_eq!(ids(reader, 1, 1, 3), ["1@1", "2@1"], "a quiet log is always there");
                for entry in reader.entries(GroupId(2), LogIndex(1), LogIndex(2), 99).unwrap() {
                    assert_eq!(entry, super::entry(1, 1));
                }
                rounds += 1;
            }
            rounds
        });
        for index in 2..3000 {
            wal.append(&[entries(2, 1, index, index + 1)]).unwrap();
            wal.append(&[mark(2, 1, index - 1, false)]).unwrap();
            wal.sync().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(handle.join().unwrap() > 0);
    });
    assert!(wal.stats().first_segment > 10, "{:?}", wal.stats());
}
