//! Three cores under the same load, one after the other, in one thread of one process:
//! `cargo bench -p raft`. `docs/benchmarks.md` says what is measured and what differs.

#[path = "../../throughput/flotilla.rs"]
mod flotilla;
#[path = "../../throughput/load.rs"]
mod load;
mod openraft_group;
mod tikv;

// The house's core goes by its own name in the file that is shared.
extern crate flotilla_raft as raft;

use std::alloc::System;
use std::process::ExitCode;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use flotilla::Flotilla;
use load::{Group, Load};
use openraft_group::Openraft;
use tikv::Tikv;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const USAGE: &str = "\
Entries per second through three in-memory nodes: this house's core beside the crates raft (tikv)
and openraft, one thread each.

Usage: cargo bench -p raft [-- --json] [-- --quick] [-- --only NAME] [-- --load LOAD]

  --json       one JSON object on standard output in place of the table
  --quick      a tenth of the entries
  --only NAME  flotilla, raft-rs or openraft alone (for a profiler)
  --load LOAD  one load alone: 1x1, 1x64 or 16x64 (window x batch)
  --alone      this core alone, without building the others

Example: cargo bench -p raft -- --quick
";

const NAMES: [&str; 3] = ["flotilla", "raft-rs", "openraft"];
const REPEATS: usize = 3;

/// What one entry cost; the best of the repeats.
#[derive(Clone, Copy, Debug)]
struct Cost {
    wall_ns: f64,
    cpu_ns: f64,
    allocations: f64,
    allocated_bytes: f64,
}

fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn measure(mut group: impl Group, load: &mut Load, entries: u64) -> Cost {
    group.run(load, entries / 10 / load.batch as u64 * load.batch as u64);
    let region = Region::new(ALLOCATOR);
    let (cpu, begun) = (cpu_ns(), Instant::now());
    group.run(load, entries);
    let wall = begun.elapsed().as_nanos() as f64;
    let cpu = cpu_ns() - cpu;
    let change = region.change();
    let each = entries as f64;
    Cost {
        wall_ns: wall / each,
        cpu_ns: cpu / each,
        allocations: (change.allocations + change.reallocations) as f64 / each,
        allocated_bytes: change.bytes_allocated as f64 / each,
    }
}

fn measure_named(name: &str, load: &mut Load, entries: u64) -> Cost {
    match name {
        "flotilla" => measure(Flotilla::new(), load, entries),
        "raft-rs" => measure(Tikv::new(), load, entries),
        _ => measure(Openraft::with(load.payload_bytes), load, entries),
    }
}

/// In turns, so that a busy moment of the machine does not meet one of them alone.
fn compare(names: &[&'static str], load: &mut Load, entries: u64) -> Vec<Cost> {
    let mut best: Vec<Option<Cost>> = vec![None; names.len()];
    for _ in 0..REPEATS {
        for (name, best) in names.iter().zip(&mut best) {
            let cost = measure_named(name, load, entries);
            if best.is_none_or(|best| cost.cpu_ns < best.cpu_ns) {
                *best = Some(cost);
            }
        }
    }
    best.into_iter().flatten().collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let value =
        |flag: &str| arguments.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1].clone());
    let (only, wanted) = (value("--only"), value("--load"));
    let known = ["--json", "--quick", "--only", "--load"];
    let is_known = |argument: &String| {
        known.contains(&argument.as_str()) || [&only, &wanted].contains(&&Some(argument.clone()))
    };
    if has("--help") || !arguments.iter().all(is_known) {
        println!("{USAGE}");
        return if has("--help") { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let names: Vec<&'static str> =
        NAMES.into_iter().filter(|name| only.as_ref().is_none_or(|only| only == name)).collect();
    let less = if has("--quick") { 10 } else { 1 };
    let mut lines = Vec::new();
    if !has("--json") {
        println!(
            "{:<22} {:<9} {:>11} {:>11} {:>12} {:>12}",
            "load", "core", "entries/s", "CPU/entry", "allocations", "bytes"
        );
    }
    for (batch, window, entries) in [(1, 1, 102_400), (64, 1, 512_000), (64, 16, 1_024_000)] {
        if wanted.as_ref().is_some_and(|wanted| *wanted != format!("{window}x{batch}")) {
            continue;
        }
        for payload_bytes in [16, 128, 1024, 4096] {
            let mut load = Load::new(payload_bytes, batch, window);
            let costs = compare(&names, &mut load, entries / less);
            for (name, cost) in names.iter().zip(&costs) {
                let Cost { wall_ns, cpu_ns, allocations, allocated_bytes } = *cost;
                let per_second = 1e9 / wall_ns;
                lines.push(json!({
                    "core": name, "payload_bytes": payload_bytes, "batch": batch,
                    "window": window, "entries_per_second": per_second.round(),
                    "cpu_ns": cpu_ns, "allocations": allocations, "allocated_bytes": allocated_bytes,
                }));
                if !has("--json") {
                    let shape = format!("{payload_bytes} B, {window} x {batch}");
                    println!(
                        "{shape:<22} {name:<9} {per_second:>11.0} {cpu_ns:>8.0} ns \
                         {allocations:>12.2} {allocated_bytes:>12.0}"
                    );
                }
            }
            if !has("--json") && costs.len() == NAMES.len() {
                let peers = costs[1].cpu_ns.min(costs[2].cpu_ns);
                println!("{:<22} {:.1} times the better of the two", "", peers / costs[0].cpu_ns);
            }
        }
    }
    if has("--json") {
        println!("{}", json!({ "costs": lines }));
    }
    ExitCode::SUCCESS
}
