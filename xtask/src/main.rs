//! The workshop's own commands. They need nothing but cargo.
//!
//! `cargo xtask ci` is the whole gate, the same on a desk and in CI; the other commands are its
//! stages and the two regenerators (`rewrite` for golden scripts, `codegen` for protobuf code).

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks on standard output, and of its progress beside it"
)]

mod ci;
mod client_table;
mod conformance;
mod generate;
mod model_check;
mod seeded_bugs;
mod seeded_sim;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Each command: how it is called, what it does, and a call that one would make.
const COMMANDS: &[(&str, &str, &str)] = &[
    (
        "ci [--from STAGE]",
        "the whole gate: format, clippy, tests, docs, tidy, conformance;\n\
         --from begins with the named stage",
        "cargo xtask ci --from docs",
    ),
    (
        "tidy [--tighten]",
        "floors, links and names in Markdown, sizes, banned words;\n\
         --tighten records smaller sizes in xtask/ratchet.txt",
        "cargo xtask tidy",
    ),
    (
        "rewrite [CRATE]",
        "write the expected part of the golden scripts again (REWRITE=1)",
        "cargo xtask rewrite raft",
    ),
    ("codegen", "generate the protobuf code of crates/api again", "cargo xtask codegen"),
    (
        "seeded-bugs [--json] [--sim [--seconds N]] [--only BUG[,BUG]...]",
        "put known bugs back, one at a time: the tests must notice each,\n\
         or with --sim the simulator alone; --help has the rest",
        "cargo xtask seeded-bugs CommitsOldTermsByCounting",
    ),
    (
        "auth-matrix",
        "every method × everybody × every way to ask, with authentication on",
        "cargo xtask auth-matrix",
    ),
    (
        "differential [--requests N] [--seed S] [--pairs P] [--release]",
        "random requests to Flotilla and to the etcd of this machine: all answers\n\
         are equal but for what docs/differences.md has; --pairs asks as many\n\
         pairs of servers at a time, each by a seed of its own",
        "cargo xtask differential --requests 2000",
    ),
    (
        "model-check [--long] [--json] [--bug NAME] [PART OF A NAME]...",
        "every behaviour of a small group, within bounds",
        "cargo xtask model-check \"a read on\"",
    ),
    (
        "conformance [--long] [--release] [--etcd] [FILTER]",
        "real clients and killed processes against three nodes;\n\
         --long runs the minute-long forms,\n\
         --etcd drives the etcd of this machine instead;\n\
         at the end a table of what each foreign client was seen doing",
        "cargo xtask conformance kill --long",
    ),
    (
        "compare [--rounds N] [--secs N] [--json]",
        "puts and gets beside the etcd of this machine, by turns, with the\n\
         same client program; needs a quiet machine and a few minutes;\n\
         --rounds: runs of each server for each load, of which the median counts (3);\n\
         --secs: seconds of a run (6)",
        "cargo xtask compare --rounds 1",
    ),
];

/// What all commands do, or the one that is named alone.
fn usage(only: Option<&str>) -> String {
    let mut text = String::from("The workshop's commands.\n\nUsage: cargo xtask <command>\n");
    for (call, what, example) in COMMANDS {
        let name = call.split(' ').next();
        if only.is_some() && only != name {
            continue;
        }
        text += &format!("\n  {call}\n");
        for line in what.lines() {
            text += &format!("      {line}\n");
        }
        text += &format!("      Example: {example}\n");
    }
    text
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = workspace_root();
    let done = match words.split_first() {
        Some((&("help" | "--help" | "-h"), _)) => {
            print!("{}", usage(None));
            Ok(())
        }
        // It has more to tell than fits here.
        Some((&"seeded-bugs", rest)) => seeded_bugs::run(&root, rest),
        Some((name, rest)) if rest.contains(&"--help") || rest.contains(&"-h") => {
            print!("{}", usage(Some(name)));
            Ok(())
        }
        Some((&"ci", rest)) => ci::run(&root, rest),
        Some((&"tidy", rest)) => tidy::run(&root, rest),
        Some((&"rewrite", rest)) => generate::rewrite(&root, rest),
        Some((&"codegen", [])) => generate::codegen(&root),
        Some((&"auth-matrix", [])) => generate::auth_matrix(&root),
        Some((&"differential", rest)) => conformance::differential(&root, rest),
        Some((&"model-check", rest)) => model_check::run(&root, rest),
        Some((&"conformance", rest)) => conformance::run(&root, rest),
        Some((&"compare", rest)) => conformance::compare(&root, rest),
        Some((unknown, _)) => Err(format!("no command is called {unknown:?}\n\n{}", usage(None))),
        None => Err(usage(None)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The folder that holds the workspace's `Cargo.toml`: the parent of this crate's own folder.
fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The cargo that started us, so that a toolchain override stays in force.
fn cargo() -> std::process::Command {
    std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
