//! `cargo xtask ci`: every stage in order, one line each, stop at the first that fails.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// One stage: a name for the line it prints, a cargo command, and variables it needs.
struct Stage {
    name: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

const QUICK_RELEASE: &[(&str, &str)] =
    &[("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")];

/// Conformance is last because it is the slowest.
const STAGES: &[Stage] = &[
    Stage { name: "fmt", arguments: &["fmt", "--all", "--check"], variables: &[] },
    Stage {
        name: "clippy",
        arguments: &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
        variables: &[],
    },
    Stage {
        name: "test",
        arguments: &["test", "--workspace", "--exclude", "conformance"],
        variables: &[],
    },
    Stage {
        name: "docs",
        arguments: &["doc", "--workspace", "--no-deps", "--quiet"],
        variables: &[("RUSTDOCFLAGS", "-D warnings")],
    },
    Stage { name: "tidy", arguments: &["xtask", "tidy"], variables: &[] },
    // What a user builds, but for optimising across crates, which takes two minutes more: the
    // optimising compiler refuses things that the other one takes.
    Stage {
        name: "release",
        arguments: &["build", "--release", "--quiet", "-p", "flotilla"],
        variables: QUICK_RELEASE,
    },
    // The binary of the stage before: it sees far more worlds in a minute than one for debugging.
    Stage {
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
        variables: &[],
    },
    Stage { name: "seeded-bugs", arguments: &["xtask", "seeded-bugs"], variables: &[] },
    Stage { name: "model-check", arguments: &["xtask", "model-check"], variables: &[] },
    Stage { name: "conformance", arguments: &["xtask", "conformance"], variables: &[] },
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
    for stage in &STAGES[first..] {
        run_stage(root, stage)?;
    }
    println!("ci: all green in {}", seconds(begun.elapsed()));
    Ok(())
}

fn run_stage(root: &Path, stage: &Stage) -> Result<(), String> {
    let begun = now();
    let mut command = crate::cargo();
    command.current_dir(root).args(stage.arguments);
    command.envs(stage.variables.iter().copied());
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
            name: "broken",
            arguments: &["no-such-subcommand-anywhere"],
            variables: &[("COLOUR", "never")],
        };
        let message = run_stage(&crate::workspace_root(), &stage).unwrap_err();
        assert_eq!(message, "to repeat: COLOUR='never' cargo no-such-subcommand-anywhere");
    }

    #[test]
    fn an_unknown_stage_is_answered_with_the_names_of_the_stages() {
        let message = run(&crate::workspace_root(), &["--from", "lunch"]).unwrap_err();
        assert!(message.contains("\"lunch\"") && message.contains("clippy"), "{message}");
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
