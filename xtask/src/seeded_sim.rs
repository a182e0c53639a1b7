//! `cargo xtask seeded-bugs --sim`: the same bugs, put before the simulator alone.
//!
//! The tests of the core know what they look for; the simulator does not. So this shows how long
//! random worlds take to stumble over each bug: core worlds first, whole hosts for the rest.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ci::now;
use crate::seeded_bugs::{Bug, VARIABLE};

/// Minutes that worlds of each kind may look for a bug.
const ROUNDS: &[(&str, &str)] = &[("core", "0.12"), ("hosts", "0.25")];
/// A run that is not over by then turns in circles: so it was noticed, if roughly.
const TIME_MAX: Duration = Duration::from_secs(60);

/// How a bug was found.
struct Caught {
    world: &'static str,
    seed: Option<u64>,
    worlds: u64,
    property: String,
}

/// Runs the simulator with each bug put back, and fails if one survives.
pub(crate) fn run(root: &Path, bugs: &[Bug], as_json: bool) -> Result<(), String> {
    let program = build(root)?;
    if let Some(caught) = try_one(&program, "") {
        return Err(format!("seeded-bugs: red without any bug: {}", caught.property));
    }
    let mut survivors = Vec::new();
    let mut lines = Vec::new();
    for bug in bugs {
        let begun = now();
        let caught = try_one(&program, &bug.name);
        let seconds = begun.elapsed().as_secs_f64();
        if caught.is_none() {
            survivors.push(bug.name.clone());
        }
        if as_json {
            lines.push(line(bug, caught.as_ref(), seconds));
        } else {
            let how = caught.map_or_else(|| "SURVIVED".to_owned(), |caught| caught.to_string());
            println!("{:<15} {:<32} {seconds:>5.1} s  {how}", bug.scenario, bug.name);
        }
    }
    if as_json {
        println!("{}", json!({ "bugs": lines, "survivors": survivors }));
    } else {
        println!("seeded-bugs: {} of {} noticed", bugs.len() - survivors.len(), bugs.len());
    }
    if survivors.is_empty() {
        return Ok(());
    }
    Err(format!("seeded-bugs: no world notices {}", survivors.join(", ")))
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

fn try_one(program: &Path, bug: &str) -> Option<Caught> {
    ROUNDS.iter().find_map(|(world, minutes)| try_world(program, bug, world, minutes))
}

fn try_world(program: &Path, bug: &str, world: &'static str, minutes: &str) -> Option<Caught> {
    let mut child = Command::new(program)
        .args(["--json", "--fail-fast", "--no-shrink", "--world", world, "--minutes", minutes])
        .env(VARIABLE, bug)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut reader = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    let listener = std::thread::spawn(move || {
        let mut said = String::new();
        drop(reader.read_to_string(&mut said));
        drop(sender.send(said));
    });
    let said = receiver.recv_timeout(TIME_MAX);
    if said.is_err() {
        drop(child.kill());
    }
    let status = child.wait();
    drop(listener.join());
    match said {
        Ok(_) if status.is_ok_and(|status| status.success()) => None,
        Ok(said) => Some(caught_in(world, &said)),
        Err(_) => {
            let property = format!("not over after {} s", TIME_MAX.as_secs());
            Some(Caught { world, seed: None, worlds: 0, property })
        }
    }
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

    #[test]
    fn the_first_failure_is_read() {
        let said = r#"{"worlds": 7, "failures": [{"seed": 3, "property": "Log Matching"}]}"#;
        assert_eq!(caught_in("core", said).to_string(), "core world 7, seed 3: Log Matching");
        assert_eq!(caught_in("core", "").to_string(), "core world 0, seed -: no word");
    }
}
