use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::mem::MemDisk;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const DIR: &str = "/log";

fn small() -> Options {
    Options { segment_bytes: 1024, spare_segments_max: 2, identity: 7, gaps_allowed: false }
}

type Records = Vec<(Position, Vec<u8>)>;

fn open_with(
    disk: &MemDisk,
    options: Options,
    from: Option<Position>,
) -> Result<(SegmentLog, Records, Recovery), OpenError<Infallible>> {
    let mut records = Vec::new();
    let (log, recovery) = SegmentLog::open(
        Arc::new(disk.clone()),
        Path::new(DIR),
        options,
        from,
        &mut |position, bytes| {
            records.push((position, bytes.to_vec()));
            Ok(())
        },
    )?;
    Ok((log, records, recovery))
}

fn open(disk: &MemDisk) -> (SegmentLog, Records) {
    let (log, records, _) = open_with(disk, small(), None).unwrap();
    (log, records)
}

fn damage(disk: &MemDisk) -> Damage {
    match open_with(disk, small(), None) {
        Err(OpenError::Damage(damage)) => damage,
        other => panic!("damage was not reported: {other:?}"),
    }
}

fn path(number: u64) -> PathBuf {
    Path::new(DIR).join(segment::file_name(number))
}

fn payload(n: u64) -> Vec<u8> {
    vec![u8::try_from(n % 251).unwrap() + 1; usize::try_from(10 + n * 7 % 60).unwrap()]
}

#[test]
fn records_come_back_in_order_over_many_segments() {
    let disk = MemDisk::new();
    let (mut log, none) = open(&disk);
    assert!(none.is_empty());
    let mut expected = Records::new();
    for n in 0..100 {
        let bytes = payload(n);
        let position = log.append(&[&bytes[..3], &bytes[3..]]).unwrap();
        expected.push((position, bytes));
    }
    log.sync().unwrap();
    assert!(log.segments().len() > 4);
    let reader = log.reader();
    for (position, bytes) in &expected {
        assert_eq!(reader.read(*position).unwrap(), bytes);
    }
    let scanned: Records =
        reader.scan(None).map(|record| record.unwrap()).map(|(p, b)| (p, b.to_vec())).collect();
    assert_eq!(scanned, expected);
    let middle = reader.scan(Some(expected[50].0)).next().unwrap().unwrap();
    assert_eq!(middle.0, expected[50].0);
    drop(log);
    disk.crash_all_lost();
    assert_eq!(open(&disk).1, expected);
    let (log, from_middle, _) = open_with(&disk, small(), Some(expected[50].0)).unwrap();
    assert_eq!(from_middle, expected[50..]);
    assert_eq!(log.reader().read(expected[3].0).unwrap(), expected[3].1);
}

/// The same on a real disk: allocation, recycling and reading go through the operating system.
#[test]
fn records_come_back_from_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let open = |records: &mut Records| {
        SegmentLog::open::<Infallible>(
            Arc::new(env::os::OsDisk),
            &dir,
            small(),
            None,
            &mut |position, bytes| {
                records.push((position, bytes.to_vec()));
                Ok(())
            },
        )
        .unwrap()
        .0
    };
    let mut expected = Records::new();
    for _life in 0..3 {
        let mut found = Records::new();
        let mut log = open(&mut found);
        assert!(found == expected);
        for n in 0..100 {
            let bytes = payload(n);
            expected.push((log.append(&[&bytes]).unwrap(), bytes));
            if let [first, _, _, _, ..] = log.segments()[..] {
                log.release(first.number).unwrap();
                expected.retain(|(position, _)| position.segment > first.number);
            }
        }
        log.sync().unwrap();
        let reader = log.reader();
        assert!(expected.iter().all(|(position, bytes)| reader.read(*position).unwrap() == bytes));
        assert!(log.spares().ready_count() > 0);
    }
}

/// Ten records, all synced one by one, in one segment.
fn ten_records() -> (MemDisk, Records) {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk);
    let mut records = Records::new();
    for n in 0..10 {
        let bytes = payload(n);
        records.push((log.append(&[&bytes]).unwrap(), bytes));
        log.sync().unwrap();
    }
    assert_eq!(log.segments().len(), 1);
    drop(log);
    disk.kill();
    (disk, records)
}

/// What an accident may leave in place of bytes that were being written.
fn fillings(offset: u64) -> [u8; 3] {
    [0, 0xff, u8::try_from(offset % 256).unwrap() | 1]
}

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

fn overwrite(disk: &MemDisk, offset: u64, bytes: &[u8]) {
    let file = env::Disk::open(disk, &path(1), env::OpenMode::ReadWrite).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file.sync_data().unwrap();
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

#[test]
fn released_segments_are_recycled_and_their_old_records_stay_unseen() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk);
    let mut expected = Records::new();
    for n in 0..600 {
        let bytes = payload(n);
        expected.push((log.append(&[&bytes]).unwrap(), bytes));
        log.sync().unwrap();
        if let [first, _, _, ..] = log.segments()[..] {
            log.release(first.number).unwrap();
            expected.retain(|(position, _)| position.segment > first.number);
        }
    }
    assert!(disk.counts().allocations <= 4, "segments are reused, not made");
    assert!(expected.last().unwrap().0.segment > 30);
    for seed in 0..20 {
        let disk = disk.fork();
        disk.crash(&mut env::SplitMix::new(seed));
        assert_eq!(open(&disk).1, expected);
    }
}

#[test]
fn pin_and_read_keep_a_released_segment() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk);
    let first = log.append(&[b"first"]).unwrap();
    log.roll().unwrap();
    log.roll().unwrap();
    let reader = log.reader();
    let pin = reader.pin(1).unwrap();
    log.release(1).unwrap();
    log.release(2).unwrap();
    assert_eq!(reader.read(first).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(pin.read(first).unwrap().as_ref(), b"first");
    assert!(disk.contents(&path(1)).is_some() && disk.contents(&path(2)).is_some(), "no gap");
    drop(pin);
    let spares = log.spares();
    assert!(!spares.prepare().unwrap(), "what was released is enough");
    assert_eq!(spares.ready_count(), 2);
    assert!(disk.contents(&path(1)).is_none());
    log.append(&[b"goes on"]).unwrap();
    log.sync().unwrap();
}

#[test]
fn prepared_spare_keeps_allocation_off_the_write_path() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk);
    assert!(log.spares().prepare().unwrap());
    assert!(!log.spares().prepare().unwrap());
    let before = disk.counts().allocations;
    log.roll().unwrap();
    assert_eq!(disk.counts().allocations, before);
    // A full disk while preparing hurts nobody and leaves nothing.
    disk.limit_space(Some(2048));
    let error = log.spares().prepare().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    log.append(&[b"there is room in the segment"]).unwrap();
    log.sync().unwrap();
    let names = env::Disk::list(&disk, Path::new(DIR)).unwrap();
    assert_eq!(names, ["0000000000000001.seg", "0000000000000002.seg"]);
}

#[test]
fn segments_of_another_size_are_read_and_new_ones_have_the_new_size() {
    let (disk, records) = ten_records();
    let larger = Options { segment_bytes: 4096, ..small() };
    let (mut log, found, _) = open_with(&disk, larger, None).unwrap();
    assert_eq!(found, records);
    let position = log.append(&[&[1; 3000]]).unwrap();
    assert_eq!(position.segment, 2, "a record too large for the old segment goes to the next");
    log.sync().unwrap();
    let error = log.append(&[&[1; 4096]]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    log.append(&[b"a refused record changes nothing"]).unwrap();
}

/// An owner that compacts gives up segments in any order; the log is read around the gaps.
#[test]
fn gaps_are_allowed_to_an_owner_that_makes_them() {
    let disk = MemDisk::new();
    let options = Options { gaps_allowed: true, spare_segments_max: 0, ..small() };
    let (mut log, _, _) = open_with(&disk, options, None).unwrap();
    let mut records = Records::new();
    for n in 0..100 {
        let bytes = payload(n);
        records.push((log.append(&[&bytes]).unwrap(), bytes));
    }
    log.sync().unwrap();
    let mut scan = log.reader().scan(None);
    let first = scan.next().unwrap().unwrap();
    assert_eq!((first.0, first.1.to_vec()), records[0]);
    for number in [4, 2, 5] {
        log.release(number).unwrap();
    }
    let gone = |position: &Position| [2, 4, 5].contains(&position.segment);
    records.retain(|(position, _)| !gone(position));
    let rest: Records = scan.map(|record| record.unwrap()).map(|(p, b)| (p, b.to_vec())).collect();
    assert!(rest == records[1..], "a scan goes on behind what was released under it");
    drop(log);
    disk.crash_all_lost();
    let (_, found, _) = open_with(&disk, options, None).unwrap();
    assert!(found == records);
    let from = records[20].0;
    assert!(open_with(&disk, options, Some(from)).unwrap().1 == records[20..]);
    disk.corrupt(&path(3), 500, 1);
    let Err(OpenError::Damage(damage)) = open_with(&disk, options, None) else {
        panic!("a segment before a gap was cut")
    };
    assert_eq!(damage.path, path(3));
    let strict = Options { gaps_allowed: false, ..options };
    let Err(OpenError::Damage(damage)) = open_with(&disk, strict, None) else {
        panic!("a gap was accepted")
    };
    assert_eq!((damage.path, damage.kind), (path(2), DamageKind::Missing));
}

#[test]
fn visitor_that_refuses_a_record_ends_the_opening() {
    let (disk, records) = ten_records();
    let mut seen = 0;
    let outcome =
        SegmentLog::open(Arc::new(disk), Path::new(DIR), small(), None, &mut |position, _| {
            seen += 1;
            if position == records[4].0 { Err("enough") } else { Ok(()) }
        });
    assert!(matches!(outcome, Err(OpenError::Visit("enough"))), "{outcome:?}");
    assert_eq!(seen, 5);
}

#[test]
fn young_log_begins_small_and_takes_large_records() {
    let disk = MemDisk::new();
    let options = Options { segment_bytes: 64 << 20, ..small() };
    let (mut log, _, _) = open_with(&disk, options, None).unwrap();
    let len = |number| disk.contents(&path(number)).map(|bytes| bytes.len() >> 20);
    assert_eq!(len(1), Some(4));
    log.roll().unwrap();
    assert_eq!(len(2), Some(8));
    let large = vec![7; 20 << 20];
    let position = log.append(&[&large]).unwrap();
    assert_eq!((position.segment, len(4)), (4, Some(32)));
    log.sync().unwrap();
    assert!(log.reader().read(position).unwrap() == large);
    drop(log);
    disk.crash_all_lost();
    let (_, records, _) = open_with(&disk, options, None).unwrap();
    assert!(records == [(position, large)]);
}

/// Format 1, byte for byte. A change of this test is a change of the format: it needs a version.
#[test]
fn golden_bytes_of_format_1() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk);
    log.append(&[b"flo", b"tilla"]).unwrap();
    log.sync().unwrap();
    log.append(&[b"!"]).unwrap();
    log.roll().unwrap();
    let bytes = disk.contents(&path(1)).unwrap();
    let hex: String = bytes[..152].iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<&str> =
        (0..hex.len()).step_by(32).map(|at| &hex[at..hex.len().min(at + 32)]).collect();
    assert_eq!(lines, GOLDEN);
}

const GOLDEN: [&str; 10] = [
    "464c4f545345470a0100000000040000",
    "01000000000000001fd0e1c60717cf27",
    "07000000000000000000000000000000",
    "000000000000000000000000d2db7994",
    "080000000000000040000000d2db7994",
    "2a85cebddce3d6e5666c6f74696c6c61",
    "010000000000000060000000dce3d6e5",
    "8c5eab80281fa5562100000000000000",
    "000000000200000060000000281fa556",
    "000000002be4bc09",
];

#[test]
fn other_version_is_refused_by_number() {
    let (disk, _) = ten_records();
    let mut header = disk.contents(&path(1)).unwrap()[..64].to_vec();
    header[8] = 2;
    let checksum = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&checksum.to_le_bytes());
    overwrite(&disk, 0, &header);
    assert_eq!(damage(&disk).kind, DamageKind::Version { found: 2 });
}

#[derive(Clone, Debug)]
enum Act {
    Append(usize),
    Write,
    Sync,
    Mark,
    Roll,
    Release,
    Die(Death),
}

#[derive(Clone, Debug)]
enum Death {
    Crash(u64),
    Lose,
    Kill,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (0..200_usize).prop_map(Act::Append),
        2 => Just(Act::Write),
        4 => Just(Act::Sync),
        1 => Just(Act::Mark),
        1 => Just(Act::Roll),
        1 => Just(Act::Release),
        2 => any::<u64>().prop_map(|seed| Act::Die(Death::Crash(seed))),
        1 => Just(Act::Die(Death::Lose)),
        1 => Just(Act::Die(Death::Kill)),
    ];
    prop::collection::vec(act, 1..120)
}

/// The same cases in every run.
fn random(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(1);
    ProptestConfig { cases, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(random(400))]

    /// Whatever is in the files, opening says so or gives some of what was written; it never
    /// panics and never makes anything up.
    #[test]
    fn hostile_files_are_refused_or_give_a_prefix(
        changes in prop::collection::vec((1..4_u64, 0..1024_u64, any::<u8>()), 1..8),
        zero_from in prop::option::of(0..1024_usize),
    ) {
        let disk = MemDisk::new();
        let (mut log, _) = open(&disk);
        let mut records = Records::new();
        for n in 0..40 {
            let bytes = payload(n);
            records.push((log.append(&[&bytes]).unwrap(), bytes));
        }
        log.sync().unwrap();
        prop_assert_eq!(log.segments().len(), 3);
        disk.kill();
        for (segment, offset, mask) in changes {
            disk.corrupt(&path(segment), offset, mask);
        }
        if let Some(from) = zero_from {
            let file = env::Disk::open(&disk, &path(3), env::OpenMode::ReadWrite).unwrap();
            file.write_all_at(&vec![0; 1024 - from], from as u64).unwrap();
        }
        match open_with(&disk, small(), None) {
            Ok((_, found, _)) => prop_assert!(records.starts_with(&found)),
            Err(OpenError::Damage(_)) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// Whatever happens: everything synced survives, in order, and what else survives is what was
    /// appended behind it, without a hole.
    #[test]
    fn synced_survives_and_nothing_else_appears(acts in acts()) {
        let disk = MemDisk::new();
        let (mut log, _) = open(&disk);
        let mut records = Records::new();
        let mut synced = 0;
        let mut released = 0;
        for (n, act) in acts.into_iter().enumerate() {
            match act {
                Act::Append(len) => {
                    // Few different bytes, so that stale records would pass for new ones.
                    let bytes = vec![u8::try_from(n % 2).unwrap(); len];
                    records.push((log.append(&[&bytes]).unwrap(), bytes));
                }
                Act::Write => log.write().unwrap(),
                Act::Sync => {
                    log.sync().unwrap();
                    synced = records.len();
                }
                Act::Mark => log.mark_durable().unwrap(),
                Act::Roll => {
                    log.roll().unwrap();
                    synced = records.len();
                }
                Act::Release => {
                    let first = log.segments()[0];
                    if first.sealed {
                        log.release(first.number).unwrap();
                        released = first.number;
                        let before = records.len();
                        records.retain(|(position, _)| position.segment > released);
                        synced = synced.saturating_sub(before - records.len());
                    }
                }
                Act::Die(death) => {
                    match death {
                        Death::Crash(seed) => disk.crash(&mut env::SplitMix::new(seed)),
                        Death::Lose => disk.crash_all_lost(),
                        Death::Kill => disk.kill(),
                    }
                    let (reopened, found) = open(&disk);
                    log = reopened;
                    prop_assert!(found.len() >= synced, "{} of {synced} are left", found.len());
                    prop_assert!(records.starts_with(&found), "something else appeared");
                    records.truncate(found.len());
                    synced = found.len();
                    prop_assert!(records.iter().all(|(position, _)| position.segment > released));
                }
            }
        }
        log.write().unwrap();
        let scanned: Records = log
            .reader()
            .scan(None)
            .map(|record| record.unwrap())
            .map(|(position, bytes)| (position, bytes.to_vec()))
            .collect();
        prop_assert!(scanned == records);
    }
}
