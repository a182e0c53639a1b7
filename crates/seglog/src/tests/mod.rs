use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::mem::MemDisk;

use super::*;

mod damage;
mod random;
mod segments;

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
            expected.push(append(&mut log, n));
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

/// Appends the payload of this number.
fn append(log: &mut SegmentLog, n: u64) -> (Position, Vec<u8>) {
    let bytes = payload(n);
    (log.append(&[&bytes]).unwrap(), bytes)
}

/// Ten records, all synced one by one, in one segment.
fn ten_records() -> (MemDisk, Records) {
    let disk = MemDisk::new();
    let (mut log, _) = open(&disk);
    let mut records = Records::new();
    for n in 0..10 {
        records.push(append(&mut log, n));
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

fn overwrite(disk: &MemDisk, offset: u64, bytes: &[u8]) {
    let file = env::Disk::open(disk, &path(1), env::OpenMode::ReadWrite).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file.sync_data().unwrap();
}
