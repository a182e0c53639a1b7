//! `flotilla sim` without the rest of the binary:
//! `cargo run --release -p sim --example seeds -- --help`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use sim::command::{SimOptions, run};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    options: SimOptions,
}

fn main() -> ExitCode {
    match run(&Cli::parse().options, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error gone there is nobody left to tell.
            let _told = writeln!(io::stderr(), "seeds: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
