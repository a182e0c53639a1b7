//! What accidents leave: torn, flipped, short, misplaced and lost bytes, and failed calls.

use super::*;

/// D5: whatever is lost of the last record, and wherever the loss begins, all others stay, the log
/// goes on, and the lost record does not come back.
#[test]
fn d5_torn_last_record_at_every_byte_is_cut() {
    let (disk, records) = ten_records();
    let last = records[9].0;
    let begin = u64::from(last.offset - format::RECORD_HEADER_BYTES);
    let end = u64::from(last.offset + last.len_bytes);
    for offset in begin..end {
        for filling in fillings(offset) {
            let disk = disk.fork();
            overwrite(&disk, offset, &vec![filling; usize::try_from(end - offset).unwrap()]);
            let (mut log, found, recovery) = open_with(&disk, small(), None).unwrap();
            if found.len() == 10 {
                assert_eq!(found, records, "the filling happened to be what was written");
                continue;
            }
            assert!(found == records[..9], "cut at {offset} with {filling:#x}");
            let has_header = offset >= u64::from(last.offset);
            assert_eq!(recovery.cut.is_some(), has_header, "cut at {offset}");
            let again = log.append(&[b"again"]).unwrap();
            assert_eq!(again.offset, last.offset, "the next record takes the place");
            log.sync().unwrap();
            disk.crash_all_lost();
            let (_, found) = open(&disk);
            assert!(found[..9] == records[..9]);
            assert_eq!(found[9..], [(again, b"again".to_vec())]);
        }
    }
}

/// D13, D14, and D5 when the file itself ends early, as after a crash of a file system that had not
/// allocated it, or by the hand of a nemesis: that is a file shorter than recorded, never cut in
/// silence, whatever its length.
#[test]
fn d13_d14_segment_shorter_than_recorded_is_refused() {
    let (disk, _) = ten_records();
    for len in 0..1024 {
        let disk = disk.fork();
        let file = env::Disk::open(&disk, &path(1), env::OpenMode::ReadWrite).unwrap();
        file.set_len(len).unwrap();
        let recorded = if len < 64 { 64 } else { 1024 };
        let kind = DamageKind::Short { recorded, found: len };
        assert_eq!(damage(&disk), Damage { path: path(1), offset: 0, kind });
    }
}

/// D6, D7: each bit of the segment header and of every record that a later one knows to have been
/// durable. The report names the record, and nothing on the disk changes.
#[test]
fn d6_d7_every_flipped_bit_below_the_durable_mark_is_reported() {
    let (disk, records) = ten_records();
    let mut bad_at = vec![0_u64; 64];
    for (position, bytes) in &records[..9] {
        let start = u64::from(position.offset - format::RECORD_HEADER_BYTES);
        // Padding is no field.
        let len = bytes.len() + format::RECORD_HEADER_BYTES as usize;
        bad_at.resize(usize::try_from(start).unwrap(), u64::MAX);
        bad_at.resize(usize::try_from(start).unwrap() + len, start);
    }
    for (offset, expected) in bad_at.into_iter().enumerate() {
        if expected == u64::MAX {
            continue;
        }
        for bit in 0..8 {
            let disk = disk.fork();
            disk.corrupt(&path(1), offset as u64, 1 << bit);
            let before = disk.contents(&path(1)).unwrap();
            let damage = damage(&disk);
            assert_eq!(damage.offset, expected, "bit {bit} of byte {offset}");
            assert_eq!(damage.path, path(1));
            assert!(disk.contents(&path(1)).unwrap() == before, "damage must not be written to");
            let text = damage.to_string();
            assert!(text.contains(&expected.to_string()), "the text names the place: {text}");
        }
    }
}

/// D6: without a later record, a rotten last record looks like a torn tail. The mark written in an
/// idle moment tells them apart.
#[test]
fn d6_idle_mark_protects_the_last_record() {
    let (disk, records) = ten_records();
    let offset = u64::from(records[9].0.offset);
    let unmarked = disk.fork();
    unmarked.corrupt(&path(1), offset, 1);
    assert_eq!(open(&unmarked).1, records[..9]);
    let (mut log, _) = open(&disk);
    let end = log.end();
    log.mark_durable().unwrap();
    assert!(log.end() > end, "a log that was just recovered has news");
    let end = log.end();
    log.mark_durable().unwrap();
    log.sync().unwrap();
    log.mark_durable().unwrap();
    assert_eq!(log.end(), end, "one mark is enough");
    disk.corrupt(&path(1), offset, 1);
    let start = offset - u64::from(format::RECORD_HEADER_BYTES);
    assert_eq!(damage(&disk).offset, start);
}

/// D6: a flipped bit is also found by a reader that comes later.
#[test]
fn d6_reader_checks_what_it_reads() {
    let (disk, records) = ten_records();
    let (log, _) = open(&disk);
    let reader = log.reader();
    let (position, bytes) = &records[4];
    for offset in
        position.offset - format::RECORD_HEADER_BYTES..position.offset + position.len_bytes
    {
        disk.corrupt(&path(1), u64::from(offset), 4);
        let error = reader.read(*position).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "byte {offset}");
        disk.corrupt(&path(1), u64::from(offset), 4);
    }
    assert_eq!(reader.read(*position).unwrap(), bytes);
    let beyond = Position { offset: log.end().offset, len_bytes: 1, ..*position };
    assert_eq!(reader.read(beyond).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

/// D12: a whole record, byte for byte, in another place of the same file and in another segment.
#[test]
fn d12_misdirected_record_is_not_taken() {
    let (disk, records) = ten_records();
    let start = (records[2].0.offset - format::RECORD_HEADER_BYTES) as usize;
    let end = (records[3].0.offset - format::RECORD_HEADER_BYTES) as usize;
    let record = disk.contents(&path(1)).unwrap()[start..end].to_vec();
    let behind = u64::from(records[9].0.offset + records[9].0.len_bytes).next_multiple_of(8);
    overwrite(&disk, behind, &record);
    assert_eq!(open(&disk).1, records, "behind the end it is no record");
    let (disk, records) = ten_records();
    let target = u64::from(records[5].0.offset - format::RECORD_HEADER_BYTES);
    overwrite(&disk, target, &record);
    assert_eq!(damage(&disk).offset, target, "over another it is damage");
}

/// D12: a file under another segment's name, and one of another log.
#[test]
fn d12_misplaced_file_is_refused() {
    let (disk, _) = ten_records();
    let renamed = disk.fork();
    env::Disk::rename(&renamed, &path(1), &path(2)).unwrap();
    assert_eq!(damage(&renamed).kind, DamageKind::Number { found: 1 });
    let other = Options { identity: 8, ..small() };
    match open_with(&disk, other, None) {
        Err(OpenError::Damage(damage)) => {
            assert_eq!(damage.kind, DamageKind::Identity { expected: 8, found: 7 });
        }
        outcome => panic!("another log's file was taken: {outcome:?}"),
    }
}

/// D5: a record behind a lost one is on the disk, whole. What is written next ends just where it
/// begins, and is the same byte for byte as what was lost; so the old record chains to it. It must
/// not come back all the same: nobody wrote it in this life.
#[test]
fn d5_record_behind_a_lost_one_never_comes_back() {
    let (disk, mut records) = ten_records();
    let (mut log, _) = open(&disk);
    let lost = log.append(&[b"lost"]).unwrap();
    log.append(&[b"ghost"]).unwrap();
    log.sync().unwrap();
    disk.kill();
    let start = u64::from(lost.offset - format::RECORD_HEADER_BYTES);
    overwrite(&disk, start, &[0; 28]);
    let (mut log, found, recovery) = open_with(&disk, small(), None).unwrap();
    assert_eq!(found, records);
    assert_eq!(recovery.cut.map(|cut| cut.orphan_count), Some(1));
    records.push((log.append(&[b"lost"]).unwrap(), b"lost".to_vec()));
    log.sync().unwrap();
    disk.crash_all_lost();
    assert_eq!(open(&disk).1, records);
}

/// D14: a missing segment in the middle, and a sealed one whose end is gone.
#[test]
fn d14_missing_segment_and_lost_seal_are_damage() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk);
    for n in 0..60 {
        log.append(&[&payload(n)]).unwrap();
    }
    log.sync().unwrap();
    let segments = log.segments();
    assert!(segments.len() >= 4);
    disk.kill();
    let missing = disk.fork();
    env::Disk::remove_file(&missing, &path(2)).unwrap();
    assert_eq!(damage(&missing), Damage { path: path(2), offset: 0, kind: DamageKind::Missing });
    let seal = segments[1].len_bytes - format::RECORD_HEADER_BYTES;
    disk.corrupt(&path(2), u64::from(seal) + 8, 1);
    let kind = DamageKind::Record;
    assert_eq!(damage(&disk), Damage { path: path(2), offset: u64::from(seal), kind });
}

/// An owner that has seen records up to somewhere is told when they are gone.
#[test]
fn log_that_ends_before_what_its_owner_knows_is_damage() {
    let (disk, records) = ten_records();
    let known = Position { offset: records[9].0.offset + 400, ..records[9].0 };
    match open_with(&disk, small(), Some(known)) {
        Err(OpenError::Damage(damage)) => assert_eq!(damage.kind, DamageKind::Record),
        outcome => panic!("the loss went unnoticed: {outcome:?}"),
    }
    let behind = Position { segment: 2, ..known };
    match open_with(&disk, small(), Some(behind)) {
        Err(OpenError::Damage(damage)) => assert_eq!(damage.kind, DamageKind::Missing),
        outcome => panic!("the loss went unnoticed: {outcome:?}"),
    }
}

/// D3, D4: the first error of a write, a sync or of making a segment ends the log, and what was
/// synced before is found again.
#[test]
fn d3_d4_first_error_is_final() {
    use env::mem::Operation::{Allocate, Rename, Sync, SyncDir, Write};
    for operation in [Write, Sync, Allocate, Rename, SyncDir] {
        let disk = MemDisk::new();
        let (mut log, _) = open(&disk);
        let mut synced = Records::new();
        disk.fail(operation, 3, std::io::ErrorKind::StorageFull);
        let error = loop {
            let bytes = payload(synced.len() as u64);
            let outcome = log.append(&[&bytes]).and_then(|at| log.sync().map(|()| at));
            match outcome {
                Ok(at) => synced.push((at, bytes)),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(log.failure(), Some(std::io::ErrorKind::StorageFull));
        for again in [log.sync(), log.write(), log.append(&[b"x"]).map(|_| ()), log.roll()] {
            assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::StorageFull, "{operation:?}");
        }
        disk.crash_all_lost();
        let (mut log, found) = open(&disk);
        assert!(found == synced, "{operation:?}: {} of {}", found.len(), synced.len());
        log.append(&[b"works again"]).unwrap();
        log.sync().unwrap();
    }
}

/// D3: the process dies of a failed sync, the machine does not. What the next process reads from
/// the page cache was never on the disk; it must be by the time `open` returns.
#[test]
fn d3_records_read_after_a_failed_sync_are_made_durable() {
    let (disk, mut records) = ten_records();
    let (mut log, _) = open(&disk);
    let bytes = b"in the cache alone".to_vec();
    records.push((log.append(&[&bytes]).unwrap(), bytes));
    disk.fail(env::mem::Operation::Sync, 1, std::io::ErrorKind::Other);
    assert!(log.sync().is_err());
    disk.kill();
    assert_eq!(open(&disk).1, records);
    disk.crash_all_lost();
    assert_eq!(open(&disk).1, records);
}
