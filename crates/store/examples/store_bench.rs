//! What the store costs without Raft and without a network: `cargo run --release -p store --example
//! store_bench [keys]`. Writes to a fresh folder below the system's temporary one.
//!
//! `store_bench busy [keys] [puts]` is the part of a busy node: puts of known keys in batches of 10
//! to 50, flushed every 10,000. It prints CPU time of the thread, which other load on the machine
//! hardly changes; for instructions, which nothing changes, run it under `valgrind
//! --tool=callgrind --toggle-collect='*StateMachine>::apply'`.
#![allow(clippy::print_stdout, reason = "it is there to print")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::os::{OsClock, OsDisk};
use env::{Clock, SplitMix};
use host::{CommittedEntry, StateMachine};
use raft::EntryId;
use store::{
    Command, PutRequest, RangeRequest, RequestError, Response, StoreMachine, StoreOptions,
};

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
        let entries = entries_of(first..(first + BATCH).min(count), index, &value);
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

/// CPU time of this thread, in the kernel too, as Linux counts it; zero elsewhere.
fn cpu_time() -> Duration {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = counted.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn entries_of(
    numbers: impl Iterator<Item = usize>,
    index: u64,
    value: &Bytes,
) -> Vec<CommittedEntry> {
    numbers
        .zip(index + 1..)
        .map(|(number, index)| {
            let put =
                PutRequest { key: key(number), value: value.clone(), ..PutRequest::default() };
            let command = Some(Command::Put(put).encode());
            CommittedEntry { id: EntryId::new(1, index), command }
        })
        .collect()
}

/// A function of its own, for callgrind.
#[inline(never)]
fn apply_busy(
    machine: &mut StoreMachine,
    entries: &[CommittedEntry],
    responses: &mut Vec<Result<Response, RequestError>>,
) {
    machine.apply(entries, responses).expect("the disk works");
}

/// As the applier of a busy node does it.
fn busy(dir: &Path, key_count: usize, put_count: usize) {
    const FLUSH_ENTRIES: usize = 10_000;
    let clock = OsClock::new();
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    let (mut machine, store) = open(dir);
    put_all(&mut machine, &clock, "put of a new key", key_count);
    machine.flush().expect("the disk works");
    let mut dice = SplitMix::new(1);
    let (mut cpu, mut worst_apply, mut worst_flush) =
        (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut done, mut unflushed, mut flush_cpu) = (0, 0, Duration::ZERO);
    while done < put_count {
        let count = usize::try_from(10 + dice.below(41)).expect("it is small");
        let numbers: Vec<usize> = (0..count)
            .map(|_| usize::try_from(dice.below(key_count as u64)).expect("it came from one"))
            .collect();
        let entries = entries_of(numbers.into_iter(), machine.applied().index.0, &value);
        let mut responses = Vec::with_capacity(count);
        let (begin, cpu_begin) = (clock.now(), cpu_time());
        apply_busy(&mut machine, &entries, &mut responses);
        cpu += cpu_time() - cpu_begin;
        worst_apply = worst_apply.max(clock.now().since(begin));
        done += count;
        unflushed += count;
        if unflushed >= FLUSH_ENTRIES {
            unflushed = 0;
            let (begin, cpu_begin) = (clock.now(), cpu_time());
            machine.flush().expect("the disk works");
            flush_cpu += cpu_time() - cpu_begin;
            worst_flush = worst_flush.max(clock.now().since(begin));
        }
    }
    assert_eq!(store.status().key_count, key_count as u64, "no key became another one");
    println!(
        "busy, {key_count} keys: {:.2} µs of CPU each and {:.2} µs of flush; worst batch {:.1} ms, \
         worst flush {:.1} ms",
        micros(cpu, done),
        micros(flush_cpu, done),
        worst_apply.as_secs_f64() * 1e3,
        worst_flush.as_secs_f64() * 1e3,
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: usize| {
        arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let dir = std::env::temp_dir().join(format!("store-bench-{}", std::process::id()));
    if arguments.first().is_some_and(|mode| mode == "busy") {
        busy(&dir, number(1, 10_000), number(2, 1_000_000));
    } else {
        run(&dir, number(0, 1_000_000));
    }
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
