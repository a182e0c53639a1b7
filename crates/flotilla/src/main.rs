//! The `flotilla` binary: flags and environment to options, options to the doors of the crates
//! below, errors to one line and an exit code (`docs/exit-codes.md`).

mod config_file;
mod dev;
mod environment;
mod etcd_flags;
mod force;
mod go_values;
mod logs;
mod password;
mod runtime;
mod serve;
mod snapshot;
mod version;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A Raft coordination store that etcd v3 clients use.
#[derive(Debug, Parser)]
#[command(
    name = "flotilla",
    disable_version_flag = true,
    after_help = "--version prints etcd's version line and ours.\n\nExample: flotilla dev"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A cluster on this machine, in one process.
    #[command(after_help = "Example: flotilla dev --nodes 5 --data-dir ./cluster")]
    Dev(dev::DevOptions),
    /// One member of a cluster, with etcd's flags.
    #[command(after_help = serve::AFTER_HELP)]
    Serve(Box<serve::ServeOptions>),
    /// Make a cluster of what one member has, after a majority was lost for good.
    #[command(after_help = force::AFTER_HELP)]
    ForceNewCluster(force::ForceOptions),
    /// Look at a cluster and its keys.
    #[command(after_help = "Example: flotilla ctl get users/ --prefix")]
    Ctl(Box<client::ctl::CtlOptions>),
    /// Measure any etcd v3 endpoints.
    #[command(after_help = "Example: flotilla bench put --clients 128 --secs 10 --pid 4711")]
    Bench(Box<client::bench::BenchOptions>),
    /// Run whole clusters in one thread from one seed, and look at what happened.
    #[command(after_help = SIM_AFTER_HELP)]
    Sim(sim::command::SimOptions),
}

const SIM_AFTER_HELP: &str = "\
Exit code 1: a property broke, and the seed is printed with the command that shows it again.
Exit code 3: a long run never met a fault or a meeting that it should have met.

Example: flotilla sim --minutes 10
Example: flotilla sim --seed 7 --html seed-7.html
Example: flotilla sim --scenario figure-8 --html figure-8.html";

/// A flag makes no sense; as of `server::StartError::Options`.
const BAD_OPTION: u8 = 10;

fn main() -> ExitCode {
    let arguments = as_etcd_if_called_so(std::env::args_os().collect());
    if version::is_asked_for(&arguments) {
        return finish(version::print(&mut std::io::stdout()).map_err(Failure::from));
    }
    let variables = std::env::vars().collect();
    let serve_flags = serve::flag_names(&Cli::command());
    let expanded = match environment::expand(arguments, &serve_flags, &variables) {
        Ok(expanded) => expanded,
        Err(reason) => return finish(Err(Failure::new(&reason, BAD_OPTION))),
    };
    let parsed = Cli::command()
        .try_get_matches_from(&expanded.arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        // Help is on standard output and code 0, a mistake on standard error and code 2.
        Err(error) => error.exit(),
    };
    finish(match cli.command {
        Command::Dev(options) => dev::run(&options),
        Command::Serve(options) => serve::run(*options, &expanded.warnings),
        Command::ForceNewCluster(options) => force::run(&options, &mut std::io::stdout().lock()),
        Command::Ctl(options) => ctl(*options),
        Command::Bench(options) => bench(*options),
        Command::Sim(options) => {
            sim::command::run(&options, &mut std::io::stdout().lock()).map_err(Failure::from)
        }
    })
}

fn ctl(mut options: client::ctl::CtlOptions) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if let Some(done) = snapshot::run(&options, &mut out) {
        return done;
    }
    ask_for_password(options.user.as_ref(), &mut options.password)?;
    Ok(client::ctl::run(&options, &mut out)?)
}

fn bench(mut options: client::bench::BenchOptions) -> Result<(), Failure> {
    ask_for_password(options.user.as_ref(), &mut options.password)?;
    Ok(client::bench::run(options, &mut std::io::stdout().lock())?)
}

/// Of a user who came without one.
fn ask_for_password(
    user: Option<&client::User>,
    password: &mut Option<String>,
) -> Result<(), Failure> {
    let nameless = user.and_then(client::User::lacks_password);
    if let Some(name) = nameless.filter(|_| password.is_none()) {
        *password = Some(password::ask(name)?);
    }
    Ok(())
}

/// A link with the name `etcd` to this program behaves as `flotilla serve`, for start scripts.
fn as_etcd_if_called_so(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    if called.is_some_and(|name| name == "etcd") {
        arguments.insert(1, "serve".into());
    }
    arguments
}

/// Why a command ends badly: a line for people and the code of the process.
#[derive(Debug)]
struct Failure {
    message: String,
    exit_code: u8,
}

impl Failure {
    fn new(message: &impl Display, exit_code: u8) -> Self {
        Self { message: message.to_string(), exit_code }
    }
}

impl From<client::ClientError> for Failure {
    fn from(error: client::ClientError) -> Self {
        Self::new(&error, error.exit_code())
    }
}

impl From<sim::command::SimError> for Failure {
    fn from(error: sim::command::SimError) -> Self {
        Self::new(&error, error.exit_code())
    }
}

impl From<server::StartError> for Failure {
    fn from(error: server::StartError) -> Self {
        Self::new(&error, error.exit_code())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(&error, 1)
    }
}

fn finish(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With standard error gone there is nobody left to tell; the code still tells.
            let _told = writeln!(std::io::stderr(), "flotilla: {}", failure.message);
            ExitCode::from(failure.exit_code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            if command.has_subcommands() {
                command.get_subcommands().for_each(check);
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let has_example =
                help.contains("Example: ") || ["lease", "snapshot"].contains(&command.get_name());
            assert!(has_example, "{} has no example", command.get_name());
        }
        check(&Cli::command());
    }

    /// T63: the certificate's key and the key of a value had one name, and clap panicked.
    #[test]
    fn a_key_of_a_certificate_is_not_the_key_of_a_value() {
        for line in ["ctl get k", "ctl put k v", "ctl --cert c --key f get k", "ctl del k"] {
            let words = ["flotilla"].into_iter().chain(line.split_whitespace());
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_link_called_etcd_serves() {
        let expect: Vec<OsString> = vec!["/bin/etcd".into(), "serve".into(), "--name".into()];
        assert_eq!(as_etcd_if_called_so(vec!["/bin/etcd".into(), "--name".into()]), expect);
    }
}
