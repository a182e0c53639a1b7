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

const USAGE: &str = "\
The workshop's commands.

Usage: cargo xtask <command>

  ci                      the whole gate: format, clippy, tests, docs, tidy, conformance
  ci --from <stage>       the same, beginning with the named stage
  tidy [--tighten]        floors, links and names in Markdown, sizes, banned words;
                          --tighten records smaller sizes in xtask/ratchet.txt
  rewrite [crate]         write the expected part of the golden scripts again (REWRITE=1)
  codegen                 generate the protobuf code of crates/api again
  seeded-bugs [--json] [--sim] [bug]...
                          put known bugs back, one at a time: the tests must notice each
  auth-matrix             every method × everybody × every way to ask, with authentication on
  differential [--requests N] [--seed S] [--pairs P] [--release]
                          random requests to Flotilla and to the etcd of this machine: all answers
                          are equal but for what docs/differences.md has; --pairs asks as many
                          pairs of servers at a time, each by a seed of its own
  model-check [--long] [--json] [--bug name] [part of a name]...
                          every behaviour of a small group, within bounds
  conformance [--long] [--release] [--etcd] [filter]
                          real clients and killed processes against three nodes;
                          --long runs the minute-long forms,
                          --etcd drives the etcd of this machine instead;
                          at the end a table of what each foreign client was seen doing
  compare [--rounds N] [--secs N] [--json]
                          puts and gets beside the etcd of this machine, by turns, with the
                          same client program; needs a quiet machine and a few minutes

Example: cargo xtask ci --from docs
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = workspace_root();
    let done = match words.split_first() {
        Some((&"ci", rest)) => ci::run(&root, rest),
        Some((&"tidy", rest)) => tidy::run(&root, rest),
        Some((&"rewrite", rest)) => generate::rewrite(&root, rest),
        Some((&"codegen", [])) => generate::codegen(&root),
        Some((&"seeded-bugs", rest)) => seeded_bugs::run(&root, rest),
        Some((&"auth-matrix", [])) => generate::auth_matrix(&root),
        Some((&"differential", rest)) => conformance::differential(&root, rest),
        Some((&"model-check", rest)) => model_check::run(&root, rest),
        Some((&"conformance", rest)) => conformance::run(&root, rest),
        Some((&"compare", rest)) => conformance::compare(&root, rest),
        Some((&("help" | "--help" | "-h"), _)) => {
            println!("{USAGE}");
            Ok(())
        }
        Some((unknown, _)) => Err(format!("no command is called {unknown:?}\n\n{USAGE}")),
        None => Err(USAGE.to_owned()),
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
