//! `flotilla serve`: one member, with etcd's flag names.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use server::{ClusterState, ExitReason, RunningServer, Server, ServerOptions, TlsFiles};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::{Failure, logs};

/// The text behind the help of `serve`.
pub(crate) const AFTER_HELP: &str = "\
Every flag can also be given as FLOTILLA_… or ETCD_…, such as ETCD_DATA_DIR for --data-dir; a flag
wins over a variable, FLOTILLA_… over ETCD_….

Example: flotilla serve --name n1 --data-dir /var/lib/flotilla --initial-cluster \\
           n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380 \\
           --initial-advertise-peer-urls http://10.0.0.1:2380 \\
           --listen-peer-urls http://10.0.0.1:2380 \\
           --listen-client-urls http://10.0.0.1:2379 --advertise-client-urls http://10.0.0.1:2379";

/// What etcd calls the two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InitialState {
    New,
    Existing,
}

/// The flags of a member. Those that are left out have the defaults of [`ServerOptions`].
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeOptions {
    /// The member's name: unique in the cluster, the same at every start.
    #[arg(long, default_value = "default")]
    name: String,
    /// Where all of the member's files lie [default: NAME.flotilla].
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Where clients are served.
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    listen_client_urls: Vec<String>,
    /// What clients are told to connect to [default: what is listened on].
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    advertise_client_urls: Vec<String>,
    /// Where other members are served.
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    listen_peer_urls: Vec<String>,
    /// What other members are told to connect to [default: what is listened on].
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    initial_advertise_peer_urls: Vec<String>,
    /// The members at the beginning, as name=url,name=url; this one alone if left out.
    #[arg(long, default_value = "")]
    initial_cluster: String,
    /// Whether that cluster is being made or exists.
    #[arg(long, value_enum, default_value = "new")]
    initial_cluster_state: InitialState,
    /// Keeps clusters of the same names and addresses apart.
    #[arg(long)]
    initial_cluster_token: Option<String>,
    /// Milliseconds between two heartbeats of a leader [default: 100].
    #[arg(long, value_name = "MS")]
    heartbeat_interval: Option<u64>,
    /// Milliseconds without a leader after which a member wants to be one [default: 1000].
    #[arg(long, value_name = "MS")]
    election_timeout: Option<u64>,
    /// Entries after which the state is flushed and the log cut.
    #[arg(long, value_name = "ENTRIES")]
    snapshot_count: Option<u64>,
    /// Bytes the store may take; 0 for 2 GiB, negative for no bound.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    quota_backend_bytes: Option<i64>,
    /// Bytes of the largest request [default: 1572864].
    #[arg(long, value_name = "BYTES")]
    max_request_bytes: Option<usize>,
    /// Operations of the largest transaction [default: 128].
    #[arg(long, value_name = "OPS")]
    max_txn_ops: Option<usize>,
    /// Streams that one connection may have open.
    #[arg(long, value_name = "STREAMS")]
    max_concurrent_streams: Option<u32>,
    /// The certificate for clients' connections to those --listen-client-urls that begin with
    /// https.
    #[arg(long, value_name = "FILE")]
    cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Who signs the certificates of clients; if given, they must show one.
    #[arg(long, value_name = "FILE")]
    trusted_ca_file: Option<PathBuf>,
    /// Certificates of clients that are no longer good.
    #[arg(long, value_name = "FILE")]
    client_crl_file: Option<PathBuf>,
    /// Clients must show a certificate; the common name in it is a user.
    #[arg(long)]
    client_cert_auth: bool,
    /// Whether the JSON gateway is served under /v3/ [default: true].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    enable_grpc_gateway: Option<bool>,
    /// What a token is; only simple ones are made.
    #[arg(long, value_parser = ["simple"], default_value = "simple")]
    auth_token: String,
    /// Seconds that a token lives without being used [default: 300].
    #[arg(long, value_name = "SECS")]
    auth_token_ttl: Option<u64>,
    /// What bcrypt shall cost: each step doubles the time that a password takes to check
    /// [default: 10].
    #[arg(long, value_name = "COST")]
    bcrypt_cost: Option<u32>,
    /// What is logged: debug, info, warn, error, or a filter such as info,raft=debug.
    #[arg(long, default_value = "info")]
    log_level: String,
}

impl From<ServeOptions> for ServerOptions {
    fn from(given: ServeOptions) -> Self {
        let default = Self::default();
        let or_default = |urls: Vec<String>, default: Vec<String>| {
            if urls.is_empty() { default } else { urls }
        };
        Self {
            data_dir: given.data_dir.unwrap_or_else(|| format!("{}.flotilla", given.name).into()),
            name: given.name,
            listen_client_urls: or_default(given.listen_client_urls, default.listen_client_urls),
            listen_peer_urls: or_default(given.listen_peer_urls, default.listen_peer_urls),
            advertise_client_urls: given.advertise_client_urls,
            initial_advertise_peer_urls: given.initial_advertise_peer_urls,
            initial_cluster: given.initial_cluster,
            initial_cluster_state: match given.initial_cluster_state {
                InitialState::New => ClusterState::New,
                InitialState::Existing => ClusterState::Existing,
            },
            initial_cluster_token: given
                .initial_cluster_token
                .unwrap_or(default.initial_cluster_token),
            heartbeat_interval_ms: given
                .heartbeat_interval
                .unwrap_or(default.heartbeat_interval_ms),
            election_timeout_ms: given.election_timeout.unwrap_or(default.election_timeout_ms),
            snapshot_count: given.snapshot_count.unwrap_or(default.snapshot_count),
            quota_backend_bytes: given.quota_backend_bytes.unwrap_or(default.quota_backend_bytes),
            max_request_bytes: given.max_request_bytes.unwrap_or(default.max_request_bytes),
            max_txn_ops: given.max_txn_ops.unwrap_or(default.max_txn_ops),
            max_concurrent_streams: given
                .max_concurrent_streams
                .unwrap_or(default.max_concurrent_streams),
            client_tls: TlsFiles {
                cert_file: given.cert_file,
                key_file: given.key_file,
                trusted_ca_file: given.trusted_ca_file,
                client_crl_file: given.client_crl_file,
                client_cert_auth: given.client_cert_auth,
            },
            enable_grpc_gateway: given.enable_grpc_gateway.unwrap_or(default.enable_grpc_gateway),
            auth_token_ttl_secs: given.auth_token_ttl.unwrap_or(default.auth_token_ttl_secs),
            bcrypt_cost: given.bcrypt_cost.unwrap_or(default.bcrypt_cost),
            ..default
        }
    }
}

/// The names of all flags of `serve`.
pub(crate) fn flag_names(cli: &clap::Command) -> Vec<String> {
    let serve = cli.find_subcommand("serve");
    serve
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_long)
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Serves until a signal or a fault of the machine.
pub(crate) fn run(options: ServeOptions, unknown_variables: &[String]) -> Result<(), Failure> {
    logs::start(&options.log_level)?;
    for name in unknown_variables {
        tracing::warn!(name, "this environment variable means nothing here and is not looked at");
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
            reason = server.wait() => {
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

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::{Cli, Command};

    fn options(line: &str) -> ServerOptions {
        let words = ["flotilla", "serve"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Serve(options) => (*options).into(),
            other @ (Command::Dev(_) | Command::Ctl(_) | Command::Bench(_) | Command::Sim(_)) => {
                panic!("parsed as {other:?}")
            }
        }
    }

    #[test]
    fn without_flags_the_defaults_are_those_of_the_server() {
        let (given, default) = (options(""), ServerOptions::default());
        assert_eq!(format!("{given:?}"), format!("{default:?}"));
    }

    #[test]
    fn flags_are_those_of_etcd() {
        let given = options(
            "--name n1 --listen-client-urls http://a:1,http://b:2 --initial-cluster n1=http://a:3 \
             --initial-cluster-state existing --quota-backend-bytes -1 --snapshot-count=7",
        );
        assert_eq!(given.data_dir, PathBuf::from("n1.flotilla"));
        assert_eq!(given.listen_client_urls, ["http://a:1", "http://b:2"]);
        assert_eq!(given.initial_cluster, "n1=http://a:3");
        assert_eq!(given.initial_cluster_state, ClusterState::Existing);
        assert_eq!((given.quota_backend_bytes, given.snapshot_count), (-1, 7));
    }

    #[test]
    fn every_flag_of_the_issue_can_come_from_the_environment() {
        let names = flag_names(&Cli::command());
        for flag in [
            "name",
            "data-dir",
            "listen-client-urls",
            "advertise-client-urls",
            "listen-peer-urls",
            "initial-advertise-peer-urls",
            "initial-cluster",
            "initial-cluster-state",
            "initial-cluster-token",
            "heartbeat-interval",
            "election-timeout",
            "snapshot-count",
            "quota-backend-bytes",
            "max-request-bytes",
        ] {
            assert!(names.iter().any(|name| name == flag), "{flag}");
        }
    }

    #[test]
    fn an_unknown_flag_is_named_and_ends_with_2() {
        let error = Cli::try_parse_from(["flotilla", "serve", "--no-such-flag"]).unwrap_err();
        assert!(error.to_string().contains("--no-such-flag"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
