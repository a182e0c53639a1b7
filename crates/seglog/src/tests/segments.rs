//! Segments come and go, differ in size, and are read by the next version.

use super::*;

#[test]
fn released_segments_are_recycled_and_their_old_records_stay_unseen() {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk);
    let mut expected = Records::new();
    for n in 0..600 {
        expected.push(append(&mut log, n));
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
        records.push(append(&mut log, n));
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
