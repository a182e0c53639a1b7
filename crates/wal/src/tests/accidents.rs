//! Crashes and failures at every byte of one write.

use env::mem::Operation;

use super::*;

/// Does `write` on what `before` left, then destroys the end of it from each byte on, as a crash
/// may. Gives what each recovery found to `check`, with how many bytes were left.
fn at_every_byte(
    before: &[WalWrite],
    write: &[WalWrite],
    mut check: impl FnMut(usize, &Recovered, &WalReader),
) {
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    wal.append(before).unwrap();
    wal.sync().unwrap();
    drop(wal);
    let path = segment_path(1);
    let old = disk.contents(&path).unwrap();
    let (mut wal, _) = open(&disk);
    wal.append(write).unwrap();
    wal.sync().unwrap();
    drop(wal);
    let new = disk.contents(&path).unwrap();
    assert!(!env::Disk::exists(&disk, &segment_path(2)).unwrap(), "the test is about one segment");
    let begin = old.iter().zip(&new).position(|(old, new)| old != new).unwrap();
    let end = new.len() - new.iter().rev().position(|byte| *byte != 0).unwrap();
    for cut in begin..=end {
        let disk = disk.fork();
        let file = env::Disk::open(&disk, &path, env::OpenMode::ReadWrite).unwrap();
        file.write_all_at(&old[cut..], cut as u64).unwrap();
        let (wal, recovered) = open(&disk);
        check(cut - begin, &recovered, &wal.reader());
    }
}

/// E2: a crash between writing the term and writing the vote leaves the old pair or the new one.
#[test]
fn e2_term_and_vote_are_one_record() {
    let mut seen = Vec::new();
    at_every_byte(&[vote(1, 4, 1)], &[vote(1, 5, 2)], |_, recovered, _| {
        let state = recovered.groups[&GroupId(1)].hard_state;
        seen.push((state.current_term.0, state.voted_for.unwrap().0));
    });
    assert!(seen.is_sorted());
    seen.dedup();
    assert_eq!(seen, [(4, 1), (5, 2)], "the old pair until all bytes are there");
}

/// L2: truncating and appending is one write; a crash leaves the old log or the new one, and what
/// lies before, which may be committed, is untouched.
#[test]
fn l2_truncate_and_append_are_one_write() {
    let mut seen = Vec::new();
    at_every_byte(&[entries(1, 1, 1, 9)], &[entries(1, 2, 4, 6)], |_, recovered, reader| {
        assert_eq!(
            recovered.groups[&GroupId(1)].last.to_string(),
            ids(reader, 1, 1, 99).pop().unwrap()
        );
        seen.push(ids(reader, 1, 1, 99).join(" "));
    });
    seen.dedup();
    assert_eq!(
        seen,
        ["1@1 2@1 3@1 4@1 5@1 6@1 7@1 8@1", "1@1 2@1 3@1 4@2 5@2"],
        "the old log, then the new one"
    );
}

/// L2: the same for a mark that replaces the log.
#[test]
fn l2_snapshot_mark_with_reset_is_one_write() {
    let mut install = mark(1, 3, 20, true);
    install.persist.hard_state = Some(HardState { current_term: Term(3), voted_for: None });
    install.persist.entries = vec![entry(3, 21)].into();
    let mut seen = Vec::new();
    at_every_byte(&[entries(1, 1, 1, 4)], &[install], |_, recovered, reader| {
        let group = &recovered.groups[&GroupId(1)];
        let first = group.first_index().0;
        seen.push((group.mark.last, group.hard_state.current_term, ids(reader, 1, first, 99)));
    });
    seen.dedup();
    assert_eq!(seen.len(), 2, "the old state, then the new one: {seen:?}");
    assert_eq!(seen[1], (EntryId::new(3, 20), Term(3), vec!["21@3".to_owned()]));
}

/// D15: a torn batch that spans many groups. Each persist is there whole or not at all, and none
/// without those before it.
#[test]
fn d15_torn_batch_of_many_groups_is_a_prefix_of_whole_persists() {
    let mut batch = Vec::new();
    for group in 1..=5 {
        let mut write = entries(group, 2, 2, 4);
        write.persist.hard_state = vote(group, 2, group).persist.hard_state;
        batch.push(write);
    }
    let before: Vec<WalWrite> = (1..=5).map(|group| entries(group, 1, 1, 3)).collect();
    let mut counts = Vec::new();
    at_every_byte(&before, &batch, |_, recovered, reader| {
        let mut is_new = Vec::new();
        for group in 1..=5 {
            let state = recovered.groups[&GroupId(group)].hard_state;
            let log = ids(reader, group, 1, 99).join(" ");
            match (state.current_term.0, log.as_str()) {
                (0, "1@1 2@1") => is_new.push(false),
                (2, "1@1 2@2 3@2") => is_new.push(true),
                torn => panic!("group {group} is neither old nor new: {torn:?}"),
            }
        }
        assert!(is_new.is_sorted_by(|a, b| a >= b), "a group was written without those before it");
        counts.push(is_new.iter().filter(|new| **new).count());
    });
    assert!(counts.is_sorted());
    counts.dedup();
    assert_eq!(counts, [0, 1, 2, 3, 4, 5]);
}

/// D15: a persist too large for one record is still all or nothing, and one that was torn does not
/// disturb what comes next.
#[test]
fn d15_persist_in_many_parts_is_atomic() {
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    wal.append(&[entries(1, 1, 1, 5)]).unwrap();
    wal.sync().unwrap();
    let mut large = entries(1, 2, 3, 63);
    large.persist.hard_state = vote(1, 2, 3).persist.hard_state;
    let whole = disk.fork();
    wal.append(&[large.clone()]).unwrap();
    let stats = wal.stats();
    assert!(stats.segment_count > 1, "the parts span segments: {stats:?}");
    let mut outcomes = Vec::new();
    for seed in 0..40 {
        // The parts in full segments are durable, those in the last are not.
        let disk = disk_after(&whole, &large, seed);
        let (mut wal, recovered) = open(&disk);
        let group = &recovered.groups[&GroupId(1)];
        let log = ids(&wal.reader(), 1, 1, 99);
        match group.hard_state.current_term.0 {
            0 => assert_eq!(log, ["1@1", "2@1", "3@1", "4@1"]),
            _ => assert_eq!(log.len(), 62),
        }
        outcomes.push(log.len());
        wal.append(&[entries(1, 3, 2, 4), entries(2, 1, 1, 2)]).unwrap();
        wal.sync().unwrap();
        disk.crash_all_lost();
        let (wal, _) = open(&disk);
        assert_eq!(ids(&wal.reader(), 1, 1, 99), ["1@1", "2@3", "3@3"]);
        assert_eq!(ids(&wal.reader(), 2, 1, 99), ["1@1"]);
    }
    assert!(outcomes.contains(&4) && outcomes.contains(&62), "both happen: {outcomes:?}");
}

fn disk_after(disk: &MemDisk, write: &WalWrite, seed: u64) -> MemDisk {
    let disk = disk.fork();
    let (mut wal, _) = open(&disk);
    wal.append(std::slice::from_ref(write)).unwrap();
    drop(wal);
    disk.crash(&mut env::SplitMix::new(seed));
    disk
}

/// D3, G7: one failed sync, or one failed write, and no group is told anything more; nothing is
/// tried again, although the disk would work.
#[test]
fn d3_g7_first_failure_ends_the_log_for_every_group() {
    for (operation, kind) in
        [(Operation::Sync, io::ErrorKind::Other), (Operation::Write, io::ErrorKind::StorageFull)]
    {
        let disk = MemDisk::new();
        let (mut wal, _) = open(&disk);
        wal.append(&[entries(1, 1, 1, 3), entries(2, 1, 1, 3)]).unwrap();
        wal.sync().unwrap();
        disk.fail(operation, 1, kind);
        let error = wal
            .append(&[entries(1, 1, 3, 4)])
            .and_then(|()| wal.sync())
            .expect_err("the disk was made to fail");
        let calls_before = disk.counts();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<WalFailed>());
        assert_eq!(inner, Some(&WalFailed { kind }));
        for error in [
            wal.append(&[entries(2, 1, 3, 4)]),
            wal.append(&[]),
            wal.sync(),
            wal.idle(),
            wal.remove_group(GroupId(2)),
        ] {
            assert_eq!(error.unwrap_err().kind(), kind);
        }
        assert_eq!(disk.counts(), calls_before, "nothing is tried again");
        assert_eq!(wal.failure(), Some(WalFailed { kind }));
        drop(wal);
        disk.crash_all_lost();
        let (mut wal, recovered) = open(&disk);
        for group in 1..=2 {
            assert_eq!(recovered.groups[&GroupId(group)].last, EntryId::new(1, 2));
        }
        wal.append(&[entries(1, 1, 3, 4)]).unwrap();
        wal.sync().unwrap();
    }
}

/// D4: a full disk while a new segment is needed ends the log; after a restart with space it goes
/// on, and nothing that was acknowledged is lost.
#[test]
fn d4_full_disk_at_a_new_segment() {
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    disk.limit_space(Some(3 * 2048));
    let mut durable = 0;
    let error = loop {
        let outcome =
            wal.append(&[entries(1, 1, durable + 1, durable + 2)]).and_then(|()| wal.sync());
        match outcome {
            Ok(()) => durable += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(durable > 20);
    drop(wal);
    disk.crash_all_lost();
    disk.limit_space(None);
    let (mut wal, recovered) = open(&disk);
    assert_eq!(recovered.groups[&GroupId(1)].last, EntryId::new(1, durable));
    wal.append(&[entries(1, 1, durable + 1, durable + 2)]).unwrap();
    wal.sync().unwrap();
}

/// D6: a bit that rots below the durable mark, in any byte of a record with a vote, is reported
/// with file and offset. The vote is never quietly the old one.
#[test]
fn d6_rotten_vote_is_reported() {
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    wal.append(&[vote(1, 4, 1)]).unwrap();
    wal.sync().unwrap();
    let before = disk.contents(&segment_path(1)).unwrap();
    wal.append(&[vote(1, 5, 2)]).unwrap();
    wal.sync().unwrap();
    wal.idle().unwrap();
    let after = disk.contents(&segment_path(1)).unwrap();
    let changed: Vec<usize> = (0..after.len()).filter(|at| before[*at] != after[*at]).collect();
    let begin = changed[0];
    drop(wal);
    // The record is 24 bytes of header, 24 fixed ones and 17 of hard state; the idle mark behind
    // it is what knows that it was durable.
    for offset in begin..begin + 65 {
        for bit in 0..8 {
            let disk = disk.fork();
            disk.corrupt(&segment_path(1), offset as u64, 1 << bit);
            match Wal::open(Arc::new(disk), Path::new(DIR), small()) {
                Err(WalOpenError::Damage(damage)) => {
                    assert_eq!((damage.path, damage.offset), (segment_path(1), begin as u64));
                }
                outcome => panic!("bit {bit} of byte {offset} went unnoticed: {outcome:?}"),
            }
        }
    }
}

/// D8: a log that was opened and synced is there after a crash, with its name.
#[test]
fn d8_new_log_survives_a_crash_at_once() {
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    wal.append(&[vote(1, 1, 1)]).unwrap();
    wal.sync().unwrap();
    disk.crash_all_lost();
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.groups[&GroupId(1)].hard_state.current_term, Term(1));
}
