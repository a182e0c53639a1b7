//! `cargo bench -p raft`: entries per second and CPU per entry through three in-memory nodes,
//! beside the crates `raft` (tikv) and `openraft` in the same run.
//!
//! The comparison is a package of its own (`benches/comparison`), so that nobody who tests this
//! crate builds the other two; this program builds it and lets it run. With `-- --alone` it
//! measures our core alone, and needs nothing. `docs/benchmarks.md` says what is measured.
#![expect(clippy::print_stdout, reason = "the numbers are what it is for")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock; the core has none")]

#[path = "throughput/flotilla.rs"]
mod flotilla;
#[path = "throughput/load.rs"]
mod load;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use flotilla::Flotilla;
use load::{Group, Load};

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.iter().any(|argument| argument == "--alone") {
        alone();
        return ExitCode::SUCCESS;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--manifest-path"])
        .arg(here.join("benches/comparison/Cargo.toml"))
        .arg("--target-dir")
        .arg(here.join("../../target/comparison"))
        .arg("--")
        .args(arguments)
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("cargo could not run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn alone() {
    for (batch, window) in [(1, 1), (64, 16)] {
        for payload_bytes in [16, 128, 1024, 4096] {
            let mut load = Load::new(payload_bytes, batch, window);
            let mut group = Flotilla::new();
            let entries = if batch == 1 { 200_000 } else { 1 << 20 };
            group.run(&mut load, entries / 10);
            let begin = Instant::now();
            group.run(&mut load, entries);
            let nanoseconds = begin.elapsed().as_nanos() / u128::from(entries);
            println!(
                "{:>5} bytes, {window:>2} x {batch:>2}: {nanoseconds:>6} ns",
                load.payload_bytes
            );
        }
    }
}
