//! `cargo xtask compare`: Flotilla and the etcd of this machine, three members each with fsync on,
//! under the same client program on the same disk, by turns. `README.md` quotes its table.
//!
//! Each run has a fresh cluster. A row is the median of the rounds, and the line behind it says
//! what matters on a machine that somebody else may use as well: the ratio.

#![expect(clippy::print_stdout, reason = "a command-line tool speaks on standard output")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use conformance::{Cluster, ClusterPlan, Target};
use env::Clock;
use env::os::OsClock;
use serde_json::{Value, json};

const USAGE: &str = "\
Measures Flotilla and the etcd of this machine, by turns.

Usage: cargo xtask compare [--rounds N] [--secs N] [--json]

  --rounds N   runs of each server for each load; the median counts [default: 3]
  --secs N     seconds of a run [default: 6]
  --json       print the result as JSON

Without an etcd (Debian: etcd-server) only Flotilla is measured.

Example: cargo xtask compare --rounds 1";

/// What is measured: a workload of `flotilla bench`, and its clients.
const LOADS: [(&str, u32); 4] = [("put", 128), ("put", 512), ("put", 1), ("get", 128)];
/// Connections that the clients share.
const CONNECTIONS_MAX: u32 = 6;
/// What is taken from a report, and how it is called in the table.
const FIGURES: [(&str, &str); 5] = [
    ("/ops_per_sec", "per s"),
    ("/p50_us", "p50 µs"),
    ("/p99_us", "p99 µs"),
    ("/servers/cpu_us_per_op", "servers µs"),
    ("/own_cpu_us_per_op", "client µs"),
];

struct Options {
    rounds: usize,
    secs: u32,
    json: bool,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = parse(&words).unwrap_or_else(|message| {
        println!("{message}");
        std::process::exit(2);
    });
    let parent = folder();
    let mut servers = vec![Target::flotilla()];
    servers.extend(Target::etcd());
    if !options.json {
        println!("fdatasync of an overwrite of 4 KiB on this disk: {} µs", sync_us(&parent));
        if servers.len() == 1 {
            println!("etcd is not installed (Debian: etcd-server): nothing to compare with");
        }
        let columns: String = FIGURES.iter().map(|(_, name)| format!("{name:>12}")).collect();
        println!("{:<22}{columns}", "");
    }
    let mut rows = Vec::new();
    for (workload, clients) in LOADS {
        let figures = measure(&options, &parent, &servers, (workload, clients));
        if !options.json {
            show(workload, clients, &servers, &figures);
        }
        for (server, figures) in servers.iter().zip(&figures) {
            let named = FIGURES.iter().zip(figures);
            let named = named.map(|((path, _), value)| (last_of(path).to_owned(), json!(value)));
            let mut row: serde_json::Map<String, Value> = named.collect();
            row.insert("server".into(), json!(name(server)));
            row.insert("workload".into(), json!(workload));
            row.insert("clients".into(), json!(clients));
            rows.push(Value::Object(row));
        }
    }
    if options.json {
        println!("{}", json!({ "fdatasync_us": sync_us(&parent), "rows": rows }));
    }
}

fn parse(words: &[String]) -> Result<Options, String> {
    let mut options = Options { rounds: 3, secs: 6, json: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse().ok()).filter(|n| *n > 0);
        match word.as_str() {
            "--json" => options.json = true,
            "--rounds" => {
                let rounds = number().ok_or("--rounds needs a number above 0")?;
                options.rounds = usize::try_from(rounds).unwrap_or(1);
            }
            "--secs" => options.secs = number().ok_or("--secs needs a number above 0")?,
            "--help" | "-h" => return Err(USAGE.to_owned()),
            other => return Err(format!("compare has no flag {other:?}\n\n{USAGE}")),
        }
    }
    Ok(options)
}

/// The median figures of each server.
fn measure(
    options: &Options,
    parent: &Path,
    servers: &[Target],
    (workload, clients): (&str, u32),
) -> Vec<Vec<f64>> {
    let mut runs: Vec<Vec<Vec<f64>>> = vec![Vec::new(); servers.len()];
    for _ in 0..options.rounds {
        for (server, runs) in servers.iter().zip(&mut runs) {
            let report = run(options, parent, server, (workload, clients));
            let figure = |path: &str| report.pointer(path).and_then(Value::as_f64);
            runs.push(FIGURES.iter().map(|(path, _)| figure(path).unwrap_or(f64::NAN)).collect());
        }
    }
    runs.iter().map(|runs| medians(runs)).collect()
}

/// One run: a fresh cluster, one report.
fn run(
    options: &Options,
    parent: &Path,
    server: &Target,
    (workload, clients): (&str, u32),
) -> Value {
    let (target, parent) = (Some(server.clone()), Some(parent.to_owned()));
    let cluster = Cluster::start_plan(&ClusterPlan { target, parent, ..ClusterPlan::default() });
    let pids: Vec<String> = cluster.pids().iter().map(u32::to_string).collect();
    // The client is ours for both.
    let output = Command::new(Target::flotilla().binary())
        .args(["bench", workload, "--json", "--endpoints", &cluster.endpoints_joined()])
        .args(["--clients", &clients.to_string(), "--secs", &options.secs.to_string()])
        .args(["--conns", &clients.min(CONNECTIONS_MAX).to_string(), "--pid", &pids.join(",")])
        .output()
        .expect("the program that was built can be run");
    let report = serde_json::from_slice(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        report.unwrap_or_else(|error| panic!("bench gave no report ({error}): {told}"));
    assert_eq!(report["failures"], 0, "a run with failures measures something else: {report}");
    report
}

fn medians(runs: &[Vec<f64>]) -> Vec<f64> {
    let median = |at: usize| {
        let mut values: Vec<f64> = runs.iter().map(|run| run[at]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (0..FIGURES.len()).map(median).collect()
}

fn show(workload: &str, clients: u32, servers: &[Target], figures: &[Vec<f64>]) {
    let load = format!("{workload}, {clients} client{}", if clients == 1 { "" } else { "s" });
    let cells = |values: &[f64], digits: usize| -> String {
        values.iter().map(|value| format!("{value:>12.digits$}")).collect()
    };
    println!("{load}");
    for (server, figures) in servers.iter().zip(figures) {
        println!("  {:<20}{}", name(server), cells(figures, 1));
    }
    if let [ours, theirs] = figures {
        let ratios: Vec<f64> =
            ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        println!("  {:<20}{}", "ratio", cells(&ratios, 2));
    }
}

fn name(server: &Target) -> &'static str {
    if server.is_etcd() { "etcd" } else { "flotilla" }
}

fn last_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

/// A folder on the disk of the build, since the system's own for temporary files may be in memory,
/// where an fsync costs nothing.
fn folder() -> PathBuf {
    let own = std::env::current_exe().expect("a process can name its own program");
    let parent = own.ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default();
    let folder = parent.join("compare");
    std::fs::create_dir_all(&folder).expect("the build's folder can be written to");
    folder
}

/// The median time of an fdatasync after an overwrite.
fn sync_us(folder: &Path) -> u128 {
    const SYNCS: usize = 201;
    let path = folder.join("sync");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path);
    let file = file.expect("the folder was made a moment ago");
    let clock = OsClock::new();
    let mut times: Vec<u128> = (0..SYNCS)
        .map(|_| {
            let begun = clock.now();
            file.write_all_at(&[7; 4096], 0).expect("the disk has room for 4 KiB");
            file.sync_data().expect("a disk that cannot sync is no place to measure");
            clock.now().since(begun).as_micros()
        })
        .collect();
    // What was measured counts, not whether the file is gone.
    let _removed = std::fs::remove_file(path);
    times.sort_unstable();
    times[SYNCS / 2]
}
