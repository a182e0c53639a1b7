//! `cargo xtask seeded-bugs`: puts known bugs back, one at a time, and sees that the tests notice.
//!
//! The list is the table in `crates/raft/src/seeded.rs`. The tests are built once, with
//! `--cfg seeded_bugs`; then each test program runs with `SEEDED_BUG=<name>`, the quick ones first,
//! until one is red. A bug that none of them notices is a test that is missing.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ci::now;

const LIST: &str = "crates/raft/src/seeded.rs";
pub(crate) const VARIABLE: &str = "SEEDED_BUG";
const USAGE: &str = "\
Puts known bugs back, one at a time, and fails if the tests of crate raft do not notice one.

Usage: cargo xtask seeded-bugs [--json] [--list] [--only NAME[,NAME]...] [name or scenario]...
       cargo xtask seeded-bugs --sim [--json] [--only NAME[,NAME]...] [--seconds N]
                                     [--world core|hosts|both] [--jobs N] [name or scenario]...

  --list       print the bugs and run nothing
  --only       these bugs, by name or by scenario
  --json       one JSON object on standard output in place of the table
  --sim        put them before the simulator in place of the tests, and print the world, the seed
               and the seconds that each took; a line for each bug as it goes
  --seconds N  so long may worlds of each kind look for a bug [default: 60]
  --world      which worlds look [default: both, those of the protocol alone first]
  --jobs N     worlds at the same time [default: one per core]

Examples: cargo xtask seeded-bugs
          cargo xtask seeded-bugs C1 VotesTwice
          cargo xtask seeded-bugs --sim --only VotesTwice,MajorityIsHalf --seconds 120

Exit code: 0 if every bug was noticed, 1 if one survived or anything is red without any bug. The
simulator cannot see a few of them from outside: it says which, and why, and does not look for them
unless they are named.
";

/// Test programs in the order in which they run, the quick ones first; those that are not named
/// here come in between.
const FIRST: &[&str] = &[
    "scripts",
    "raft",
    "paper",
    "restore",
    "order",
    "scenarios",
    "sessions",
    "quorum_oracle",
    "answers",
    "lease_intervals",
    "lease_schedule",
];
const LAST: &[&str] = &[
    "bad_peers",
    "hostile_peers",
    "quorum_rules",
    "lease_clocks",
    "random_schedule",
    "disk_schedule",
];

/// A test program that takes longer has met a bug that lets it turn in circles.
const TIME_MAX: Duration = Duration::from_secs(120);

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bug {
    pub(crate) name: String,
    pub(crate) scenario: String,
    pub(crate) story: String,
}

/// A program of tests, built with the bugs inside.
#[derive(Debug)]
struct Program {
    name: String,
    path: PathBuf,
}

/// What became of one bug.
struct Outcome {
    /// The test that noticed, and what it said; nothing if the bug survived.
    caught: Option<(String, String)>,
    seconds: f64,
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq)]
struct Request {
    as_json: bool,
    only_list: bool,
    by_simulator: bool,
    search: Search,
    wanted: Vec<String>,
}

/// How the simulator looks for a bug.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Search {
    /// For so long, in worlds of each kind.
    pub(crate) seconds: f64,
    /// In which worlds, in this order.
    pub(crate) worlds: Vec<&'static str>,
    /// In so many at the same time; as many as there are cores if none.
    pub(crate) jobs: Option<String>,
}

impl Default for Search {
    fn default() -> Self {
        Self { seconds: 60.0, worlds: vec!["core", "hosts"], jobs: None }
    }
}

impl Request {
    /// `None` if help is asked for.
    fn of(arguments: &[&str]) -> Result<Option<Self>, String> {
        let mut request = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || format!("{argument} takes a value\n\n{USAGE}");
                arguments.next().copied().ok_or_else(missing)
            };
            match *argument {
                "--json" => request.as_json = true,
                "--list" => request.only_list = true,
                "--sim" => request.by_simulator = true,
                "--only" => request.wanted.extend(value()?.split(',').map(str::to_owned)),
                "--seconds" => request.search.seconds = seconds_of(value()?)?,
                "--world" => request.search.worlds = worlds_of(value()?)?,
                "--jobs" => request.search.jobs = Some(value()?.to_owned()),
                "--help" | "-h" => return Ok(None),
                flag if flag.starts_with('-') => return Err(format!("no flag {flag}\n\n{USAGE}")),
                name => request.wanted.push(name.to_owned()),
            }
        }
        if !request.by_simulator && request.search != Search::default() {
            return Err(format!("--seconds, --world and --jobs go with --sim\n\n{USAGE}"));
        }
        Ok(Some(request))
    }
}

fn seconds_of(value: &str) -> Result<f64, String> {
    let seconds = value.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
    seconds.ok_or_else(|| format!("--seconds takes a number of seconds, not {value:?}"))
}

fn worlds_of(value: &str) -> Result<Vec<&'static str>, String> {
    match value {
        "core" => Ok(vec!["core"]),
        "hosts" => Ok(vec!["hosts"]),
        "both" => Ok(vec!["core", "hosts"]),
        _ => Err(format!("--world takes core, hosts or both, not {value:?}")),
    }
}

pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let Some(request) = Request::of(arguments)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let bugs = choose(read_list(root)?, &request.wanted)?;
    if request.only_list {
        for Bug { name, scenario, story } in &bugs {
            println!("{scenario:<15} {name:<32} {story}");
        }
        return Ok(());
    }
    let as_json = request.as_json;
    if request.by_simulator {
        let all = request.wanted.is_empty();
        return crate::seeded_sim::run(root, &bugs, all, &request.search, as_json);
    }
    let programs = build(root)?;
    check_without_bugs(&programs)?;
    let report = try_all(&bugs, &programs, as_json);
    conclude(&bugs, &report, as_json)
}

fn read_list(root: &Path) -> Result<Vec<Bug>, String> {
    let text =
        std::fs::read_to_string(root.join(LIST)).map_err(|error| format!("{LIST}: {error}"))?;
    let bugs = parse(&text);
    if bugs.is_empty() { Err(format!("{LIST} names no bugs")) } else { Ok(bugs) }
}

/// Lines of the form `Name "scenario" "story",`.
fn parse(text: &str) -> Vec<Bug> {
    let line = |line: &str| {
        let (name, rest) = line.trim().split_once(" \"")?;
        let (scenario, story) = rest.strip_suffix("\",")?.split_once("\" \"")?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
        is_name.then(|| Bug {
            name: name.to_owned(),
            scenario: scenario.to_owned(),
            story: story.to_owned(),
        })
    };
    text.lines().filter_map(line).collect()
}

fn choose(bugs: Vec<Bug>, wanted: &[String]) -> Result<Vec<Bug>, String> {
    let is_wanted = |bug: &Bug, name: &String| bug.name == *name || bug.scenario == *name;
    if let Some(unknown) = wanted.iter().find(|name| !bugs.iter().any(|bug| is_wanted(bug, name))) {
        return Err(format!("no bug is called {unknown}; cargo xtask seeded-bugs --list has all"));
    }
    let is_chosen = |bug: &Bug| wanted.is_empty() || wanted.iter().any(|name| is_wanted(bug, name));
    Ok(bugs.into_iter().filter(is_chosen).collect())
}

/// Builds the tests of crate raft, apart from the other builds.
fn build(root: &Path) -> Result<Vec<Program>, String> {
    eprintln!("seeded-bugs: building the tests with the bugs inside");
    let output = crate::cargo()
        .current_dir(root)
        .args(["test", "--package", "raft", "--lib", "--tests", "--no-run"])
        .args(["--message-format", "json-render-diagnostics", "--target-dir"])
        .arg(root.join("target/seeded-bugs"))
        .env("RUSTFLAGS", "--cfg seeded_bugs")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo test could not run: {error}"))?;
    if !output.status.success() {
        return Err("seeded-bugs: the tests do not build".to_owned());
    }
    let mut programs: Vec<Program> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let path = message["executable"].as_str()?.into();
            Some(Program { name: message["target"]["name"].as_str()?.to_owned(), path })
        })
        .collect();
    programs.sort_by_key(|program| (rank(&program.name), program.name.clone()));
    Ok(programs)
}

fn rank(name: &str) -> usize {
    let place = |list: &[&str]| list.iter().position(|known| *known == name);
    let after_all = FIRST.len() + 1;
    place(FIRST).or_else(|| place(LAST).map(|place| after_all + place)).unwrap_or(FIRST.len())
}

fn check_without_bugs(programs: &[Program]) -> Result<(), String> {
    match try_one("", programs).caught {
        None => Ok(()),
        Some((test, said)) => Err(format!("seeded-bugs: {test} is red without any bug: {said}")),
    }
}

fn try_all(bugs: &[Bug], programs: &[Program], as_json: bool) -> BTreeMap<String, Outcome> {
    let mut report = BTreeMap::new();
    for bug in bugs {
        let outcome = try_one(&bug.name, programs);
        if !as_json {
            let (test, said) =
                outcome.caught.clone().unwrap_or_else(|| ("SURVIVED".to_owned(), String::new()));
            let Bug { name, scenario, .. } = bug;
            println!("{scenario:<15} {name:<32} {:>5.1} s  {test}  {said}", outcome.seconds);
        }
        report.insert(bug.name.clone(), outcome);
    }
    report
}

fn try_one(name: &str, programs: &[Program]) -> Outcome {
    let begun = now();
    let caught = programs.iter().find_map(|program| run_program(name, program));
    Outcome { caught, seconds: begun.elapsed().as_secs_f64() }
}

/// Runs one program; if it is red, says which test was, and its first words.
fn run_program(bug: &str, program: &Program) -> Option<(String, String)> {
    let (mut reader, writer) = std::io::pipe().ok()?;
    let mut command = Command::new(&program.path);
    command
        .env(VARIABLE, bug)
        .env("RUST_BACKTRACE", "0")
        .stdout(writer.try_clone().ok()?)
        .stderr(writer);
    let mut child = command.spawn().ok()?;
    // The command keeps its copies of the pipe's write end; while one is open the pipe has no end.
    drop(command);
    let (sender, receiver) = mpsc::channel();
    let listener = std::thread::spawn(move || {
        let mut said = Vec::new();
        drop(reader.read_to_end(&mut said));
        drop(sender.send(String::from_utf8_lossy(&said).into_owned()));
    });
    let said = receiver.recv_timeout(TIME_MAX);
    if said.is_err() {
        // It turns in circles: so it was noticed, if roughly.
        drop(child.kill());
    }
    let status = child.wait();
    drop(listener.join());
    match said {
        Ok(_) if status.is_ok_and(|status| status.success()) => None,
        Ok(said) => Some(first_failure(&program.name, &said)),
        Err(_) => Some((program.name.clone(), format!("not over after {} s", TIME_MAX.as_secs()))),
    }
}

/// The test or the script that failed first, and the sentence that it failed with.
fn first_failure(program: &str, said: &str) -> (String, String) {
    let failed = said
        .lines()
        .find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .unwrap_or("?");
    // Either a script that differs, or whatever a panic said.
    if let Some(script) = said.lines().find_map(script_of) {
        return (script, "the story goes otherwise".to_owned());
    }
    let mut lines = said.lines().skip_while(|line| !line.contains("panicked at"));
    let sentence = lines.nth(1).unwrap_or("no word").trim();
    let sentence: String = sentence.chars().take(96).collect();
    (format!("{program}: {failed}"), sentence)
}

/// `…/testdata/election/split_vote.txt:12` becomes `election/split_vote.txt`.
fn script_of(line: &str) -> Option<String> {
    let (_, script) = line.split_once("/testdata/")?;
    let (script, place) = script.split_once(".txt:")?;
    place.parse::<u64>().is_ok().then(|| format!("{script}.txt"))
}

fn conclude(bugs: &[Bug], report: &BTreeMap<String, Outcome>, as_json: bool) -> Result<(), String> {
    let survivors: Vec<&str> = bugs
        .iter()
        .filter(|bug| report[&bug.name].caught.is_none())
        .map(|bug| bug.name.as_str())
        .collect();
    if as_json {
        let lines: Vec<Value> = bugs
            .iter()
            .map(|bug| {
                let Outcome { caught, seconds } = &report[&bug.name];
                let (test, said) = caught.clone().unzip();
                json!({
                    "bug": bug.name, "scenario": bug.scenario, "story": bug.story,
                    "caught_by": test, "said": said, "seconds": seconds,
                })
            })
            .collect();
        println!("{}", json!({ "bugs": lines, "survivors": survivors }));
    } else {
        println!("seeded-bugs: {} of {} noticed", bugs.len() - survivors.len(), bugs.len());
    }
    if survivors.is_empty() {
        return Ok(());
    }
    Err(format!("seeded-bugs: nothing notices {}: a test is missing", survivors.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_core_is_read() {
        let bugs = read_list(&crate::workspace_root()).expect("the table is there");
        assert!(bugs.len() >= 90, "{} bugs", bugs.len());
        let chosen =
            choose(bugs.clone(), &["C1".to_owned()]).expect("the bug of Figure 8 is known");
        assert_eq!(chosen[0].name, "CommitsOldTermsByCounting");
        assert!(choose(bugs, &["C1", "Unheard"].map(str::to_owned)).is_err());
    }

    #[test]
    fn a_command_line_is_read() {
        let words = ["--sim", "--only", "A,B", "--seconds", "9", "--world", "core", "C1"];
        let request = Request::of(&words).expect("sound").expect("no help");
        assert_eq!(request.wanted, ["A", "B", "C1"]);
        assert!(request.by_simulator && !request.as_json);
        assert_eq!((request.search.seconds, request.search.worlds), (9.0, vec!["core"]));
        assert_eq!(Request::of(&["--sim", "--help"]), Ok(None));
        let bad = [&["--seconds", "9"][..], &["--sim", "--seconds", "-1"], &["--sim", "--only"]];
        assert!(bad.into_iter().all(|words| Request::of(words).is_err()));
    }

    #[test]
    fn a_line_of_the_table() {
        let bug = Bug { name: "A1".into(), scenario: "E 1".into(), story: "Why, then.".into() };
        assert_eq!(parse("    A1 \"E 1\" \"Why, then.\",\n    // Elections.\n"), [bug]);
    }

    #[test]
    fn the_first_failure_is_found() {
        let script = "---- read stdout ----\n/x/testdata/read/one.txt:12\n  expected: a\n";
        assert_eq!(first_failure("scripts", script).0, "read/one.txt");
        let panic =
            "test a ... ok\ntest b::c ... FAILED\nthread 'b::c' panicked at x.rs:1:2:\nit is so\n";
        assert_eq!(first_failure("raft", panic), ("raft: b::c".to_owned(), "it is so".to_owned()));
    }

    #[test]
    fn quick_programs_come_first() {
        let mut names = ["random_schedule", "new", "bad_peers", "paper", "scripts"];
        names.sort_by_key(|name| rank(name));
        assert_eq!(names, ["scripts", "paper", "new", "bad_peers", "random_schedule"]);
    }
}
