//! `flotilla ctl`: looks at a cluster and its keys, as tables for people or as JSON for programs.

mod cluster;
mod kv;
mod leader;
mod lease;
mod member;
mod replace;
pub mod snapshot;
mod watch;

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{ClientError, Endpoints, TlsOptions, User};

/// What every command of `ctl` takes.
#[derive(Clone, Debug, Args)]
pub struct CtlOptions {
    /// The servers, as host:port,https://host:port.
    #[arg(long, global = true, default_value = "127.0.0.1:2379")]
    pub endpoints: Endpoints,
    /// Who asks, where authentication is on.
    #[arg(long, global = true, value_name = "NAME[:PASSWORD]")]
    pub user: Option<User>,
    /// The password of --user; asked for if it is left out.
    #[arg(long, global = true)]
    pub password: Option<String>,
    /// Certificates.
    #[command(flatten)]
    pub tls: TlsOptions,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Seconds after which a request has failed.
    #[arg(long, global = true, default_value_t = 5, visible_alias = "command-timeout")]
    #[arg(value_parser = seconds)]
    pub timeout: u64,
    /// What to do.
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// Seconds as a number, or as `etcdctl` has them: `5s`.
fn seconds(text: &str) -> Result<u64, std::num::ParseIntError> {
    text.strip_suffix('s').unwrap_or(text).parse()
}

/// The commands of `ctl`.
#[derive(Clone, Debug, Subcommand)]
pub enum CtlCommand {
    /// How each endpoint is: its leader, term, log and size.
    #[command(
        after_help = "Example: flotilla ctl status --endpoints 127.0.0.1:2379,127.0.0.1:2380"
    )]
    Status,
    /// The members of the cluster.
    #[command(after_help = "Example: flotilla ctl members --json")]
    Members,
    /// Look at and change the members of the cluster.
    #[command(subcommand, after_help = "Example: flotilla ctl member list")]
    Member(member::Member),
    /// Move leadership between members.
    #[command(subcommand, after_help = "Example: flotilla ctl leader transfer n2")]
    Leader(leader::Leader),
    /// The hash of each endpoint's keys at one revision.
    #[command(after_help = "Example: flotilla ctl hash --endpoints 127.0.0.1:2379,127.0.0.1:2380")]
    Hash {
        /// The revision; the newest that all endpoints have if left out.
        #[arg(long, default_value_t = 0)]
        rev: i64,
    },
    /// Read keys.
    #[command(after_help = "Example: flotilla ctl get users/ --prefix --limit 10")]
    Get(kv::Get),
    /// Write a key.
    #[command(after_help = "Example: flotilla ctl put greeting hello")]
    Put(kv::Put),
    /// Delete keys.
    #[command(after_help = "Example: flotilla ctl del users/ --prefix")]
    Del(kv::Del),
    /// Print changes as they come, until Ctrl-C.
    #[command(after_help = "Example: flotilla ctl watch users/ --prefix --rev 42")]
    Watch(watch::Watch),
    /// Drop the history before a revision.
    #[command(after_help = "Example: flotilla ctl compact 42")]
    Compact {
        /// The oldest revision that stays readable.
        rev: i64,
        /// Wait until the space is free.
        #[arg(long)]
        physical: bool,
    },
    /// Times to live that keys are attached to.
    #[command(subcommand)]
    Lease(lease::Lease),
    /// Alarms that are raised; with --disarm, clear them.
    #[command(after_help = "Example: flotilla ctl alarm --disarm")]
    Alarm {
        /// Clear every alarm.
        #[arg(long)]
        disarm: bool,
    },
    /// Backups.
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// Hand leadership to a member. Must be asked of the leader, which is found by itself.
    #[command(after_help = "Example: flotilla ctl move-leader 8e9e05c52164694d")]
    MoveLeader {
        /// The member's id in hexadecimal, as `ctl members` prints it.
        member: String,
    },
}

/// Where a command's words go.
struct Output<'a> {
    json: bool,
    out: &'a mut dyn Write,
}

impl Output<'_> {
    /// One line of JSON.
    fn json(&mut self, value: &impl Serialize) -> Result<(), ClientError> {
        serde_json::to_writer(&mut self.out, value).map_err(std::io::Error::from)?;
        writeln!(self.out)?;
        self.out.flush()?;
        Ok(())
    }

    fn line(&mut self, text: &str) -> Result<(), ClientError> {
        writeln!(self.out, "{text}")?;
        self.out.flush()?;
        Ok(())
    }
}

/// Does what the options say and writes the answer to `out`.
///
/// # Errors
/// What the cluster answered, or that it did not.
pub fn run(options: &CtlOptions, out: &mut dyn Write) -> Result<(), ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut output = Output { json: options.json, out };
    let user = options.user.clone().map(|user| user.or_password(options.password.as_deref()));
    let endpoints = options.endpoints.clone().signed(user).secured(options.tls.clone());
    let options = &CtlOptions { endpoints, ..options.clone() };
    runtime.block_on(async {
        let within = Duration::from_secs(options.timeout);
        // These last as long as they last, and say how it goes.
        if let CtlCommand::Watch(watch) = &options.command {
            return watch::watch(&options.endpoints, watch, &mut output).await;
        }
        if let CtlCommand::Member(member::Member::Replace(replace)) = &options.command {
            return replace::run(&options.endpoints, replace, &mut output).await;
        }
        if let CtlCommand::Snapshot(snapshot) = &options.command {
            return snapshot::run(&options.endpoints, snapshot, &mut output).await;
        }
        match tokio::time::timeout(within, dispatch(options, &mut output)).await {
            Ok(done) => done,
            Err(_) => {
                let message =
                    format!("no answer within {} s; --timeout gives more", options.timeout);
                Err(ClientError::Refused(tonic::Status::deadline_exceeded(message)))
            }
        }
    })
}

async fn dispatch(options: &CtlOptions, output: &mut Output<'_>) -> Result<(), ClientError> {
    let endpoints = &options.endpoints;
    match &options.command {
        CtlCommand::Status => cluster::status(endpoints, output).await,
        CtlCommand::Members => member::list(endpoints, output).await,
        CtlCommand::Member(member) => member::run(endpoints, member, output).await,
        CtlCommand::Leader(leader) => leader::run(endpoints, leader, output).await,
        CtlCommand::Hash { rev } => cluster::hash(endpoints, *rev, output).await,
        CtlCommand::Get(get) => kv::get(endpoints, get, output).await,
        CtlCommand::Put(put) => kv::put(endpoints, put, output).await,
        CtlCommand::Del(del) => kv::del(endpoints, del, output).await,
        CtlCommand::Watch(watch) => watch::watch(endpoints, watch, output).await,
        CtlCommand::Compact { rev, physical } => {
            kv::compact(endpoints, *rev, *physical, output).await
        }
        CtlCommand::Lease(lease) => lease::run(endpoints, lease, output).await,
        CtlCommand::Alarm { disarm } => cluster::alarm(endpoints, *disarm, output).await,
        CtlCommand::Snapshot(snapshot) => snapshot::run(endpoints, snapshot, output).await,
        CtlCommand::MoveLeader { member } => leader::transfer(endpoints, member, output).await,
    }
}
