//! The shipping [`raft::Node`] under a model checker: every behaviour of a small group, within
//! bounds, with every invariant of [`raft::invariants`] checked in every step.
//!
//! `cargo xtask model-check` runs it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks on standard output, and of its progress beside it"
)]

mod begin;
mod bounds;
mod dead;
mod disk;
mod groups;
mod peer;
mod properties;
mod shared;
mod state;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use stateright::{Checker, HasDiscoveries, Model};

use bounds::Bounds;

const USAGE: &str = "\
Explores every behaviour of a small group of nodes within bounds.

Usage: cargo xtask model-check [--long] [--json] [--bug NAME] [part of a name]...

  --long      larger bounds: hours, and gigabytes of memory
  --json      one JSON object on standard output in place of the table
  --bug NAME  put a known bug back first (cargo xtask seeded-bugs --list)

Example: cargo xtask model-check crash

Exit code: 0 if every property holds, 1 if not; the shortest way there is printed.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let names: Vec<&String> =
        arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let all = if has("--long") { groups::long() } else { groups::short() };
    let is_wanted = |bounds: &Bounds| {
        names.is_empty() || names.iter().any(|name| bounds.name.contains(name.as_str()))
    };
    let chosen: Vec<Bounds> = all.into_iter().filter(is_wanted).collect();
    if chosen.is_empty() {
        eprintln!("nothing is called {names:?}\n\n{USAGE}");
        return ExitCode::FAILURE;
    }
    // An assertion of the core's is caught and told as a violation.
    std::panic::set_hook(Box::new(|_| {}));
    let as_json = has("--json");
    let explore = |bounds| explore(bounds, has("--long"), as_json);
    let reports: Vec<Report> = chosen.into_iter().map(explore).collect();
    if as_json {
        let lines: Vec<_> = reports.iter().map(Report::to_json).collect();
        println!("{}", json!({ "configurations": lines }));
    }
    if reports.iter().all(|report| report.failures.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What one exploration came to.
struct Report {
    name: &'static str,
    steps: usize,
    states: usize,
    depth: usize,
    seconds: f64,
    failures: Vec<String>,
}

impl Report {
    fn to_json(&self) -> serde_json::Value {
        json!({
            "name": self.name, "steps": self.steps, "states": self.states, "depth": self.depth,
            "seconds": self.seconds, "failures": self.failures,
        })
    }
}

/// What comes first is looked at first, so that the way to what breaks is the shortest. The states
/// that wait to be looked at take kilobytes each; in the long form, where there are millions, the
/// newest is looked at first, so that few wait.
fn explore(bounds: Bounds, is_long: bool, as_json: bool) -> Report {
    let name = bounds.name;
    eprintln!("model-check: {name}");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // The first broken invariant ends the search: what follows from it is of no interest.
    let ends = HasDiscoveries::AnyOf(["every invariant holds"].into_iter().collect());
    let checker = bounds.checker().threads(threads).finish_when(ends);
    let report = match is_long {
        true => report(name, checker.spawn_dfs()),
        false => report(name, checker.spawn_bfs()),
    };
    if !as_json {
        let Report { steps, states, depth, seconds, failures, .. } = &report;
        println!(
            "{name:<40} {states:>10} states {steps:>11} steps  depth {depth:>3} {seconds:>7.1} s"
        );
        failures.iter().for_each(|failure| println!("{failure}"));
    }
    report
}

fn report(name: &'static str, mut checker: impl Checker<Bounds>) -> Report {
    let begun = now();
    let handles = checker.handles();
    watch(&checker, handles);
    let mut failures = Vec::new();
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        match (property.expectation, found) {
            (stateright::Expectation::Always, Some(path)) => {
                let violation = path.last_state().violation.clone();
                let steps = path.into_actions();
                let way: Vec<String> = steps.iter().map(told).collect();
                let what = violation.map_or_else(String::new, |violation| format!("{violation:?}"));
                failures.push(format!("{}:\n  {}\n  {what}", property.name, way.join("\n  ")));
            }
            (stateright::Expectation::Sometimes, None) => {
                failures.push(format!("never: {}", property.name));
            }
            _ => {}
        }
    }
    Report {
        name,
        steps: checker.state_count(),
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        seconds: begun.elapsed().as_secs_f64(),
        failures,
    }
}

fn watch<M: Model>(checker: &impl Checker<M>, handles: Vec<std::thread::JoinHandle<()>>)
where
    M::State: std::hash::Hash,
{
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            handles.into_iter().for_each(|handle| drop(handle.join()));
            drop(sender);
        });
        let tick = Duration::from_secs(10);
        while receiver.recv_timeout(tick) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("model-check: {} states", checker.unique_state_count());
        }
    });
}

fn told(action: &world::Action) -> String {
    format!("{action:?}")
}

#[expect(clippy::disallowed_methods, reason = "how long it took is shown to people")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
