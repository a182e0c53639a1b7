//! `flotilla sim` without the rest of the binary:
//! `cargo run --release -p sim --example seeds -- --help`.

use std::process::ExitCode;

use clap::Parser;
use sim::command::{SimOptions, run};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    options: SimOptions,
}

#[expect(clippy::print_stderr, reason = "an example speaks on standard error")]
fn main() -> ExitCode {
    match run(&Cli::parse().options, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seeds: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
