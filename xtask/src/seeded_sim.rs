//! `cargo xtask seeded-bugs --sim`: the same bugs, put before the simulator alone.
//!
//! The tests of the core know what they look for; the simulator does not. So this shows how long
//! random worlds take to stumble over each bug: core worlds first, whole hosts for the rest.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ci::now;
use crate::seeded_bugs::{Bug, Search, VARIABLE};

/// A run that goes on for so long behind its time turns in circles: so it was noticed, if roughly.
const PATIENCE: Duration = Duration::from_secs(45);
/// Without any bug there is nothing to find; so long is looked.
const CLEAN_SECONDS: f64 = 5.0;

/// Bugs that random worlds do not meet within a minute, or that nobody sees who stands outside of a
/// node, each with the reason. The tests of the core notice them (`cargo xtask seeded-bugs`).
const UNSEEN: &[(&str, &str)] = &[
    (
        "TimesOutliveTheirLog",
        "A lease of a log that a snapshot has replaced must be the newest one in its taker's memory.",
    ),
    (
        "WhoIsBehindIsGivenUp",
        "To give a change up is allowed; that waiting would have been better shows later, if ever.",
    ),
    (
        "WhoAdvancesIsGivenUp",
        "A voter must advance for as long as a standstill takes and still lack the change.",
    ),
    (
        "WitnessOwesWhatItIsNotTold",
        "A change beside a witness must be open for as long as a standstill takes, all others well.",
    ),
    (
        "GoesBackToWhoCannotAgree",
        "Nothing can be committed with either set of members; the one is as good as the other.",
    ),
    (
        "LeadIsThePriceOfAChange",
        "A leader that hears no quorum may go; that it had another way is known to itself alone.",
    ),
    (
        "WayBackForgetsTheWitness",
        "A witness must know more than its group as a change is given up, and then elect another.",
    ),
    (
        "GuardsByTheNewestAlone",
        "Two disks must be lost, and a voter be cut off since before a change of the members.",
    ),
    (
        "OnlyTheLastWordWasHeard",
        "As WayBackForgetsTheWitness, and what the witness was told must seem lost.",
    ),
];

/// How a bug was found.
struct Caught {
    world: &'static str,
    seed: Option<u64>,
    worlds: u64,
    property: String,
}

/// Runs the simulator with each bug put back, and fails if one survives.
pub(crate) fn run(
    root: &Path,
    bugs: &[Bug],
    all: bool,
    search: &Search,
    as_json: bool,
) -> Result<(), String> {
    let program = build(root)?;
    let clean = Search { seconds: CLEAN_SECONDS, ..search.clone() };
    if let Some(caught) = try_one(&program, "", &clean) {
        return Err(format!("seeded-bugs: red without any bug: {}", caught.property));
    }
    let (mut survivors, mut lines, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
    for (place, bug) in bugs.iter().enumerate() {
        if let Some(why) = reason(&bug.name).filter(|_| all) {
            unseen.push((bug.name.clone(), why));
            continue;
        }
        let begun = now();
        let caught = try_one(&program, &bug.name, search);
        let seconds = begun.elapsed().as_secs_f64();
        if caught.is_none() {
            survivors.push(bug.name.clone());
        }
        lines.push(line(bug, caught.as_ref(), seconds));
        let how = caught.map_or_else(|| "SURVIVED".to_owned(), |caught| caught.to_string());
        let (Bug { name, scenario, .. }, nth) = (bug, place + 1);
        let told = format!("{nth:>3}/{} {scenario:<15} {name:<32} {seconds:>5.1} s", bugs.len());
        if as_json {
            eprintln!("{told}  {how}");
        } else {
            println!("{told}  {how}");
            // Somebody may be looking at a file that this goes to.
            drop(std::io::stdout().flush());
        }
    }
    let (tried, missed) = (lines.len(), survivors.len());
    if as_json {
        let unseen = unseen.iter().map(|(bug, why)| json!({ "bug": bug, "why": why }));
        let unseen: Vec<Value> = unseen.collect();
        println!("{}", json!({ "bugs": lines, "survivors": survivors, "not_looked_for": unseen }));
    } else {
        for (bug, why) in &unseen {
            println!("not looked for: {bug}: {why}");
        }
        println!("seeded-bugs: {} of {tried} noticed", tried - missed);
    }
    if survivors.is_empty() {
        return Ok(());
    }
    Err(format!("seeded-bugs: no world notices {}", survivors.join(", ")))
}

fn reason(bug: &str) -> Option<&'static str> {
    UNSEEN.iter().find(|(name, _)| *name == bug).map(|(_, why)| *why)
}

impl std::fmt::Display for Caught {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seed = self.seed.map_or_else(|| "-".to_owned(), |seed| seed.to_string());
        write!(f, "{} world {}, seed {seed}: {}", self.world, self.worlds, self.property)
    }
}

fn line(bug: &Bug, caught: Option<&Caught>, seconds: f64) -> Value {
    json!({
        "bug": bug.name,
        "scenario": bug.scenario,
        "story": bug.story,
        "world": caught.map(|caught| caught.world),
        "seed": caught.and_then(|caught| caught.seed),
        "worlds": caught.map(|caught| caught.worlds),
        "property": caught.map(|caught| caught.property.clone()),
        "seconds": seconds,
    })
}

/// Builds the simulator with the bugs inside, apart from the other builds.
fn build(root: &Path) -> Result<PathBuf, String> {
    eprintln!("seeded-bugs: building the simulator with the bugs inside");
    let target = root.join("target/seeded-bugs");
    let status = crate::cargo()
        .current_dir(root)
        .args(["build", "--release", "--package", "sim", "--example", "seeds", "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "--cfg seeded_bugs")
        .status()
        .map_err(|error| format!("cargo build could not run: {error}"))?;
    if !status.success() {
        return Err("seeded-bugs: the simulator does not build".to_owned());
    }
    Ok(target.join("release/examples/seeds"))
}

fn try_one(program: &Path, bug: &str, search: &Search) -> Option<Caught> {
    search.worlds.iter().find_map(|world| try_world(program, bug, world, search))
}

fn try_world(program: &Path, bug: &str, world: &'static str, search: &Search) -> Option<Caught> {
    let mut command = Command::new(program);
    command.args(["--json", "--fail-fast", "--no-shrink", "--world", world, "--minutes"]);
    command.arg((search.seconds / 60.0).to_string());
    if let Some(jobs) = &search.jobs {
        command.args(["--jobs", jobs]);
    }
    let command = command.env(VARIABLE, bug).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut reader = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    let listener = std::thread::spawn(move || {
        let mut said = String::new();
        drop(reader.read_to_string(&mut said));
        drop(sender.send(said));
    });
    let time_max = Duration::from_secs_f64(search.seconds) + PATIENCE;
    let said = receiver.recv_timeout(time_max);
    if said.is_err() {
        drop(child.kill());
    }
    let status = child.wait();
    drop(listener.join());
    match said {
        Ok(_) if status.is_ok_and(|status| is_clean(status.code())) => None,
        Ok(said) => Some(caught_in(world, &said)),
        Err(_) => {
            let property = format!("not over after {} s", time_max.as_secs());
            Some(Caught { world, seed: None, worlds: 0, property })
        }
    }
}

/// Whether nothing broke. That something never happened, which a long run tells by a code of its
/// own, is no sign of a bug: there was little time.
fn is_clean(code: Option<i32>) -> bool {
    const NEVER_HAPPENED: i32 = 3;
    matches!(code, Some(0 | NEVER_HAPPENED))
}

/// What the simulator said of its first failure.
fn caught_in(world: &'static str, said: &str) -> Caught {
    let said: Value = serde_json::from_str(said).unwrap_or_default();
    let failure = &said["failures"][0];
    Caught {
        world,
        seed: failure["seed"].as_u64(),
        worlds: said["worlds"].as_u64().unwrap_or_default(),
        property: failure["property"].as_str().unwrap_or("no word").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said to be out of sight is in the table, is little, and has a reason.
    #[test]
    fn little_is_out_of_sight() {
        let table = include_str!("../../crates/raft/src/seeded.rs");
        let bugs = table.lines().filter(|line| line.trim().ends_with("\",")).count();
        assert!(UNSEEN.len() * 20 <= bugs, "{} of {bugs}", UNSEEN.len());
        for (bug, why) in UNSEEN {
            assert!(table.contains(&format!(" {bug} \"")) && why.ends_with('.'), "{bug}");
        }
    }

    #[test]
    fn the_first_failure_is_read() {
        let said = r#"{"worlds": 7, "failures": [{"seed": 3, "property": "Log Matching"}]}"#;
        assert_eq!(caught_in("core", said).to_string(), "core world 7, seed 3: Log Matching");
        assert_eq!(caught_in("core", "").to_string(), "core world 0, seed -: no word");
    }
}
