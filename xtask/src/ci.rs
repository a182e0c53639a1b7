//! `cargo xtask ci`: every stage, one line each, in two lanes; stop at the first that fails.
//!
//! Half of what the stages take is waiting: one compiler thread at the end of a build, a test that
//! counts election timeouts. So what is arithmetic alone goes beside the rest, with the lower
//! priority, into folders of its own below `target`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Which stages follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Debug builds, and the tests that run processes against the clock.
    Main,
    /// Release builds, and what needs processors only.
    Beside,
}

/// One stage: a name for the line it prints, a cargo command, and variables it needs.
struct Stage {
    lane: Lane,
    name: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

/// What a user builds, but for optimising across crates, which takes minutes more. Each stage has
/// them, or the next one would build everything again for its own.
const QUICK_RELEASE: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
];

/// Beside people and the other lane: a fourth of a processor that both want.
const NICENESS: &str = "5";

/// In each lane the quickest to fail comes first.
const STAGES: &[Stage] = &[
    Stage {
        lane: Lane::Main,
        name: "fmt",
        arguments: &["fmt", "--all", "--check"],
        variables: &[],
    },
    Stage {
        lane: Lane::Main,
        name: "clippy",
        arguments: &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
        variables: &[],
    },
    Stage {
        lane: Lane::Main,
        name: "test",
        arguments: &["test", "--workspace", "--exclude", "conformance"],
        variables: &[],
    },
    Stage {
        lane: Lane::Main,
        name: "docs",
        arguments: &["doc", "--workspace", "--no-deps", "--quiet"],
        variables: &[("RUSTDOCFLAGS", "-D warnings")],
    },
    Stage { lane: Lane::Main, name: "tidy", arguments: &["xtask", "tidy"], variables: &[] },
    // The optimising compiler refuses things that the other one takes.
    Stage {
        lane: Lane::Beside,
        name: "release",
        arguments: &["build", "--release", "--quiet", "-p", "flotilla"],
        variables: QUICK_RELEASE,
    },
    Stage {
        lane: Lane::Beside,
        name: "seeded-bugs",
        arguments: &["xtask", "seeded-bugs"],
        variables: QUICK_RELEASE,
    },
    Stage {
        lane: Lane::Beside,
        name: "model-check",
        arguments: &["xtask", "model-check"],
        variables: QUICK_RELEASE,
    },
    // The release binary: it sees far more worlds in a minute than one for debugging. It goes by
    // the clock, and comes last, when the other lane waits more than it computes.
    Stage {
        lane: Lane::Beside,
        name: "sim",
        arguments: &[
            "run",
            "--release",
            "--quiet",
            "-p",
            "flotilla",
            "--",
            "sim",
            "--minutes",
            "1",
        ],
        variables: QUICK_RELEASE,
    },
    Stage {
        lane: Lane::Main,
        name: "conformance",
        arguments: &["xtask", "conformance"],
        variables: &[],
    },
];

/// Runs the stages, from the first or from the one named by `--from`.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let first = match arguments {
        [] => 0,
        ["--from", name] => {
            STAGES.iter().position(|stage| stage.name == *name).ok_or_else(|| {
                let names: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
                format!("no stage is called {name:?}; the stages are: {}", names.join(", "))
            })?
        }
        _ => return Err("usage: cargo xtask ci [--from <stage>]".to_owned()),
    };
    let begun = now();
    let xtask = own_copy(root).map_err(|error| format!("ci: the stages cannot begin: {error}"))?;
    let place = Place { root, xtask: &xtask };
    let failed = AtomicBool::new(false);
    let run_lane = |lane| {
        for stage in STAGES[first..].iter().filter(|stage| stage.lane == lane) {
            if failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            run_stage(&place, stage).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    let (main, beside) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| run_lane(Lane::Beside));
        let main = run_lane(Lane::Main);
        (main, beside.join().unwrap_or_else(|_| Err("ci: a lane panicked".to_owned())))
    });
    match (main, beside) {
        (Ok(()), Ok(())) => {
            println!("ci: all green in {}", seconds(begun.elapsed()));
            Ok(())
        }
        (Err(one), Err(other)) => Err(format!("{one}\n{other}")),
        (Err(error), Ok(())) | (Ok(()), Err(error)) => Err(error),
    }
}

/// Where stages run.
struct Place<'a> {
    root: &'a Path,
    xtask: &'a Path,
}

/// A copy of this program for the stages that call it: cargo would wait for the other lane's build
/// to look whether it is up to date, and may put another file in its place.
fn own_copy(root: &Path) -> std::io::Result<PathBuf> {
    let copy = root.join("target").join("xtask-of-ci");
    std::fs::copy(std::env::current_exe()?, &copy)?;
    Ok(copy)
}

fn command_of(place: &Place<'_>, stage: &Stage) -> Command {
    let (mut command, arguments) = match stage.arguments {
        ["xtask", rest @ ..] => (Command::new(place.xtask), rest),
        all => (crate::cargo(), all),
    };
    if stage.lane == Lane::Beside && cfg!(unix) {
        let mut nice = Command::new("nice");
        nice.args(["-n", NICENESS]).arg(command.get_program());
        command = nice;
    }
    command.current_dir(place.root).args(arguments);
    command.envs(stage.variables.iter().copied());
    command
}

fn run_stage(place: &Place<'_>, stage: &Stage) -> Result<(), String> {
    let begun = now();
    let mut command = command_of(place, stage);
    let (succeeded, output) = run_and_show_results(&mut command)
        .map_err(|error| format!("ci: {} could not be started: {error}", stage.name))?;
    let taken = seconds(begun.elapsed());
    if succeeded {
        println!("ci: {:<12} ok      {taken}", stage.name);
        return Ok(());
    }
    println!("{output}");
    println!("ci: {:<12} FAILED  {taken}", stage.name);
    let repeat: Vec<String> = stage
        .variables
        .iter()
        .map(|(name, value)| format!("{name}='{value}'"))
        .chain(["cargo".to_owned()])
        .chain(stage.arguments.iter().map(|&word| word.to_owned()))
        .collect();
    Err(format!("to repeat: {}", repeat.join(" ")))
}

/// Runs to the end, keeps what was said, and passes on at once the lines that tell a test's result,
/// so that a reader of CI's log sees what ran without the compiler's talk.
fn run_and_show_results(command: &mut Command) -> std::io::Result<(bool, String)> {
    let (reader, writer) = std::io::pipe()?;
    let mut child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // The command keeps its copies of the pipe's write end; while one is open the pipe has no end.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut output = String::new();
    let mut running = String::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if let Some(what) = test_target(&line) {
            running = what.to_owned();
        }
        if line.starts_with("test result:") {
            println!("    {line}  [{running}]");
        } else if is_for_the_reader(&line) {
            println!("    {line}");
        }
        output.push_str(&line);
        output.push('\n');
    }
    Ok((child.wait()?.success(), output))
}

/// The test program that cargo says it starts now.
fn test_target(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("Running ").or_else(|| line.strip_prefix("Doc-tests "))
}

/// A test that skips says so in a line that begins with SKIPPED, and nobody may miss it; and the
/// table of foreign clients is a result.
fn is_for_the_reader(line: &str) -> bool {
    line.contains("SKIPPED") || line.starts_with("| ")
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a stage's duration is shown to people, nothing depends on it"
)]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_fails_ends_the_run_with_the_command_to_repeat() {
        let stage = Stage {
            lane: Lane::Main,
            name: "broken",
            arguments: &["no-such-subcommand-anywhere"],
            variables: &[("COLOUR", "never")],
        };
        let root = crate::workspace_root();
        let place = Place { root: &root, xtask: Path::new("none") };
        let message = run_stage(&place, &stage).unwrap_err();
        assert_eq!(message, "to repeat: COLOUR='never' cargo no-such-subcommand-anywhere");
    }

    #[test]
    fn an_unknown_stage_is_answered_with_the_names_of_the_stages() {
        let message = run(&crate::workspace_root(), &["--from", "lunch"]).unwrap_err();
        assert!(message.contains("\"lunch\"") && message.contains("clippy"), "{message}");
    }

    /// A stage with another profile builds everything again: it once took four minutes.
    #[test]
    fn the_stages_beside_build_for_each_other() {
        let mut beside = STAGES.iter().filter(|stage| stage.lane == Lane::Beside);
        assert!(beside.all(|stage| stage.variables == QUICK_RELEASE));
    }

    #[test]
    fn the_program_under_test_is_told_beside_its_result() {
        assert_eq!(
            test_target("     Running unittests src/lib.rs (x)"),
            Some("unittests src/lib.rs (x)")
        );
        assert_eq!(test_target("   Doc-tests raft"), Some("raft"));
        assert_eq!(test_target("test tests::running ... ok"), None);
    }
}
