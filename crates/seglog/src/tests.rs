use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::mem::MemDisk;
use proptest::prelude::*;

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
