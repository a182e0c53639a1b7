//! `flotilla serve`: one member, with etcd's flag names.

mod feature_gates;
mod flags;
mod tls_flags;

pub(crate) use flags::ServeOptions;
use server::{ExitReason, RunningServer, Server};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::{Failure, logs};

/// The text behind the help of `serve`.
pub(crate) const AFTER_HELP: &str = "\
Every flag can also be given as FLOTILLA_… or ETCD_…, such as ETCD_DATA_DIR for --data-dir; a flag
wins over a variable, FLOTILLA_… over ETCD_…. With --config-file, a YAML file with etcd's keys,
nothing else counts.

Example: flotilla serve --name n1 --data-dir /var/lib/flotilla --initial-cluster \\
           n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380 \\
           --initial-advertise-peer-urls http://10.0.0.1:2380 \\
           --listen-peer-urls http://10.0.0.1:2380 \\
           --listen-client-urls http://10.0.0.1:2379 --advertise-client-urls http://10.0.0.1:2379";

/// The names of all flags of `serve`.
pub(crate) fn flag_names(cli: &clap::Command) -> Vec<String> {
    let serve = cli.find_subcommand("serve");
    serve
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_long)
        .filter(|name| !["help", "config-file"].contains(name))
        .map(str::to_owned)
        .collect()
}

/// Serves until a signal or a fault of the machine.
pub(crate) fn run(options: ServeOptions, warnings: &[String]) -> Result<(), Failure> {
    options.check().map_err(|reason| Failure::new(&reason, crate::BAD_OPTION))?;
    logs::start(options.log_level())?;
    for warning in warnings.iter().chain(&options.warnings()) {
        tracing::warn!("{warning}");
    }
    let runtime = crate::runtime::build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let server = Server::start(options.into()).await?;
        tokio::select! {
            name = signals.next() => {
                tracing::info!(signal = name, "ending well; a second signal ends at once");
                tokio::select! {
                    reason = server.shutdown() => Ok(reason),
                    _ = signals.next() => Ok(ExitReason::Shutdown),
                }
            }
            reason = wait(&server) => {
                if reason == ExitReason::Removed {
                    // The others still want to hear what was committed last.
                    server.shutdown().await;
                }
                Ok::<ExitReason, Failure>(reason)
            }
        }
    });
    // Nothing that still runs may hold up the end of a process that has nothing left to do.
    runtime.shutdown_background();
    end(&ended?)
}

/// Waits until the server ends by itself. On the way a service manager that asked for it
/// (`NOTIFY_SOCKET`, systemd's `Type=notify`) is told once the member is ready.
async fn wait(server: &RunningServer) -> ExitReason {
    tokio::select! {
        reason = server.wait() => return reason,
        () = server.wait_ready() => {}
    }
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager cannot be told that the member is ready");
    }
    server.wait().await
}

/// A fault of the machine is a failure with its code; an end that was asked for is none.
pub(crate) fn end(reason: &ExitReason) -> Result<(), Failure> {
    match reason.exit_code() {
        0 => Ok(()),
        code => Err(Failure::new(reason, code)),
    }
}

/// Ends several servers well, all at the same time: one that waited for the others would be alone
/// and have nobody to hand leadership to.
pub(crate) async fn shut_down_all(servers: Vec<RunningServer>) -> ExitReason {
    let mut ending: JoinSet<ExitReason> =
        servers.into_iter().map(RunningServer::shutdown).collect();
    let mut fault = ExitReason::Shutdown;
    while let Some(ended) = ending.join_next().await {
        if let Ok(reason) = ended
            && fault == ExitReason::Shutdown
        {
            fault = reason;
        }
    }
    fault
}

/// Ctrl-C and SIGTERM.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Returns when one comes.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
