//! What the store costs without Raft and without a network: `cargo run --release -p store --example
//! store_bench [keys]`. Writes to a fresh folder below the system's temporary one.
#![allow(clippy::print_stdout, reason = "it is there to print")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::Clock;
use env::os::{OsClock, OsDisk};
use host::{CommittedEntry, StateMachine};
use raft::EntryId;
use store::{Command, PutRequest, RangeRequest, StoreMachine, StoreOptions};

const BATCH: usize = 64;
const VALUE_BYTES: usize = 256;

fn key(number: usize) -> Bytes {
    // Spread, so that keys do not come in order.
    let spread = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Bytes::from(format!("/registry/some/kind/{spread:020}"))
}

fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0.0);
    pages * 4096.0 / f64::from(1 << 20)
}

fn micros(duration: Duration, count: usize) -> f64 {
    duration.as_secs_f64() * 1e6 / count as f64
}

fn put_all(machine: &mut StoreMachine, clock: &dyn Clock, what: &str, count: usize) {
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    let mut spent = Duration::ZERO;
    let mut worst = Duration::ZERO;
    let mut flush = Duration::ZERO;
    for first in (0..count).step_by(BATCH) {
        let index = machine.applied().index.0;
        let entries: Vec<CommittedEntry> = (first..(first + BATCH).min(count))
            .zip(index + 1..)
            .map(|(number, index)| {
                let key = key(number);
                let put = PutRequest { key, value: value.clone(), ..PutRequest::default() };
                let command = Some(Command::Put(put).encode());
                CommittedEntry { id: EntryId::new(1, index), command }
            })
            .collect();
        let begin = clock.now();
        let mut responses = Vec::with_capacity(BATCH);
        machine.apply(&entries, &mut responses).expect("the disk works");
        let took = clock.now().since(begin);
        spent += took;
        worst = worst.max(took);
        if (first / BATCH) % 1000 == 999 {
            let begin = clock.now();
            machine.flush().expect("the disk works");
            flush += clock.now().since(begin);
        }
    }
    println!(
        "{what}: {:.2} µs each in batches of {BATCH}, worst batch {:.1} ms; flushes {:.2} µs each",
        micros(spent, count),
        worst.as_secs_f64() * 1e3,
        micros(flush, count)
    );
}

fn main() {
    let count = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let dir = std::env::temp_dir().join(format!("store-bench-{}", std::process::id()));
    run(&dir, count);
    std::fs::remove_dir_all(&dir).expect("the folder is ours");
}

fn open(dir: &Path) -> (StoreMachine, store::Store) {
    let options = StoreOptions { quota_bytes: 0, ..StoreOptions::default() };
    StoreMachine::open(Arc::new(OsDisk), dir, options).expect("the store opens")
}

fn run(dir: &Path, count: usize) {
    let clock = OsClock::new();
    let before = resident_mib();
    let (mut machine, store) = open(dir);
    put_all(&mut machine, &clock, "put of a new key", count);
    println!("memory: {:.0} MiB for {count} keys of {VALUE_BYTES} B", resident_mib() - before);
    let key_count = store.status().key_count;
    assert_eq!(key_count, count as u64, "each key is there once");
    put_all(&mut machine, &clock, "put of a known key", count / 2);
    assert_eq!(store.status().key_count, key_count, "no key became another one");

    let begin = clock.now();
    for number in 0..count {
        let request = RangeRequest { key: key(number), ..RangeRequest::default() };
        black_box(store.range(&request).expect("a get"));
    }
    println!("get: {:.2} µs", micros(clock.now().since(begin), count));

    let rounds = 4000;
    let mut keys = 0;
    let begin = clock.now();
    for number in 0..rounds {
        let request = RangeRequest {
            key: key(number),
            range_end: Bytes::from_static(b"\0"),
            limit: 500,
            ..RangeRequest::default()
        };
        keys += black_box(store.range(&request).expect("a range")).kvs.len();
    }
    println!("range of 500: {:.3} µs a key", micros(clock.now().since(begin), keys));

    let begin = clock.now();
    black_box(store.hash_kv(0).expect("a hash"));
    println!("hash of everything: {:.0} ms", clock.now().since(begin).as_secs_f64() * 1e3);

    machine.flush().expect("the disk works");
    drop((machine, store));
    let begin = clock.now();
    let (mut machine, store) = open(dir);
    println!(
        "restart by the last checkpoint of a flush: {:.0} ms, {} keys",
        clock.now().since(begin).as_secs_f64() * 1e3,
        store.status().key_count
    );
    let begin = clock.now();
    machine.checkpoint().expect("the disk works");
    println!("checkpoint: {:.0} ms", clock.now().since(begin).as_secs_f64() * 1e3);
    drop((machine, store));
    let begin = clock.now();
    let (_machine, store) = open(dir);
    println!(
        "restart by a fresh checkpoint: {:.0} ms, {} keys",
        clock.now().since(begin).as_secs_f64() * 1e3,
        store.status().key_count
    );
}
