//! What the log costs on the disk of a folder (the first argument; the current one without it):
//! fdatasync of an overwrite beside that of an appending write, and entries a second through a
//! [`wal::Wal`] for batches of several sizes. Prints; asserts nothing.
//!
//! ```text
//! cargo run --release -p wal --example wal_bench -- /var/tmp
//! ```

#![expect(clippy::print_stdout, reason = "a program that prints its results")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::os::{OsClock, OsDisk};
use env::{Clock, Disk, OpenMode};
use raft::{Entry, EntryId, MarkWrite, Payload, Persist, PersistNumber, SnapshotMark};
use wal::{GroupId, Wal, WalOptions, WalWrite};

const ROUNDS: u64 = 2000;
const ENTRY_BYTES: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let folder = base.join(format!("wal-bench-{}", std::process::id()));
    OsDisk.create_dir_all(&folder)?;
    let outcome = measure(&folder);
    OsDisk.remove_dir_all(&folder)?;
    outcome
}

fn measure(folder: &Path) -> Result<(), Box<dyn Error>> {
    let clock = OsClock::new();
    let begun = clock.now();
    let file = OsDisk.open(&folder.join("overwrite"), OpenMode::CreateNew)?;
    file.allocate(64 << 20)?;
    file.sync_data()?;
    println!("allocate, zero and sync 64 MiB: {:?}", clock.now().since(begun));
    print_sync("fdatasync of a 4 KiB overwrite", &clock, |round| {
        file.write_all_at(&[1; 4096], round * 4096)?;
        file.sync_data()
    })?;
    let file = OsDisk.open(&folder.join("append"), OpenMode::CreateNew)?;
    print_sync("fdatasync of a 4 KiB append", &clock, |round| {
        file.write_all_at(&[1; 4096], round * 4096)?;
        file.sync_data()
    })?;
    for batch in [1, 16, 64] {
        bench_wal(folder, &clock, batch)?;
    }
    Ok(())
}

fn print_sync(
    name: &str,
    clock: &OsClock,
    mut call: impl FnMut(u64) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let begun = clock.now();
        call(round)?;
        times.push(clock.now().since(begun));
    }
    println!("{name}: {}", percentiles(times));
    Ok(())
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |permille: usize| times[(times.len() - 1) * permille / 1000];
    format!("p50 {:?}, p99 {:?}, max {:?}", at(500), at(990), at(1000))
}

fn bench_wal(folder: &Path, clock: &OsClock, batch: u64) -> Result<(), Box<dyn Error>> {
    let dir = folder.join(format!("wal-{batch}"));
    let (mut wal, _) = Wal::open(Arc::new(OsDisk), &dir, WalOptions::default())?;
    let mut next = 1;
    let mut times = Vec::new();
    let begun = clock.now();
    for round in 1..=ROUNDS {
        let write = write_of(next, batch);
        next += batch;
        let begun = clock.now();
        wal.append(&[write])?;
        wal.sync()?;
        times.push(clock.now().since(begun));
        if round % 500 == 0 {
            let mark = SnapshotMark { last: EntryId::new(1, next - 100), ..Default::default() };
            let mark = Some(MarkWrite { mark: mark.into(), reset: false });
            let persist = Persist { mark, ..write_of(next, 0).persist };
            wal.append(&[WalWrite { group: GroupId(1), persist }])?;
        }
    }
    let total = clock.now().since(begun);
    let count = ROUNDS * batch;
    let per_second = u128::from(count) * 1_000_000_000 / total.as_nanos().max(1);
    println!(
        "wal, {batch} × {ENTRY_BYTES} B per sync: {per_second} entries/s, {}",
        percentiles(times)
    );
    Ok(())
}

fn write_of(first: u64, count: u64) -> WalWrite {
    let entries = (first..first + count)
        .map(|index| Entry {
            id: EntryId::new(1, index),
            payload: Payload::Command(Bytes::from(vec![7; ENTRY_BYTES])),
        })
        .collect();
    let persist = Persist { number: PersistNumber(first), mark: None, hard_state: None, entries };
    WalWrite { group: GroupId(1), persist }
}
