//! The flags of `serve`, etcd's, and the options that they are.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use server::{AutoCompaction, ClusterState, LinearizableReads, ServerOptions};

use super::feature_gates::FeatureGates;
use super::tls_flags::{ClientTlsFlags, PeerTlsFlags, ProtocolFlags};
use crate::go_values::{boolean, duration_ms};

/// Longer than anything lives.
const NEVER_MS: u64 = 100 * 365 * 86_400_000;

/// What linearizable reads rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reads {
    ReadIndex,
    LeaseGuard,
}

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
    /// What linearizable reads rest on: a round of messages (read-index), or entries of the log and
    /// clocks that run alike (lease-guard). The same on all members.
    #[arg(long, value_enum, value_name = "MODE")]
    linearizable_reads: Option<Reads>,
    /// The newest version of the peer protocol to speak to other members; less than the program's
    /// own for a member of a cluster that may go back to the release before.
    #[arg(long, value_name = "VERSION")]
    peer_protocol_max: Option<u8>,
    /// Refuse a change of the members while one of them is not there; false for a repair
    /// [default: true].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL", value_parser = boolean)]
    strict_reconfig_check: Option<bool>,
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
    /// Calls that one connection may make in a second; any number if left out.
    #[arg(long, value_name = "REQUESTS")]
    max_requests_per_second: Option<u32>,
    /// How long a connection is silent before it is pinged, such as 2h; 0 for never.
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    grpc_keepalive_interval: Option<u64>,
    /// How long the answer to that may take [default: 20s].
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    grpc_keepalive_timeout: Option<u64>,
    /// Between two progress notifications of a watcher that asked for them [default: 10m].
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    watch_progress_notify_interval: Option<u64>,
    /// Where metrics and health are served as well, and nothing else.
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    listen_metrics_urls: Vec<String>,
    /// Drop history by itself: by time (periodic) or by number of revisions (revision).
    #[arg(long, default_value = "periodic", value_name = "MODE")]
    auto_compaction_mode: String,
    /// The history to keep: hours, or a duration such as 30m, or revisions; 0 for all.
    #[arg(long, default_value = "0", value_name = "LENGTH")]
    auto_compaction_retention: String,
    /// Compare the keys with the leader's before serving.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL", value_parser = boolean)]
    initial_corrupt_check: Option<bool>,
    /// etcd's gates, such as InitialCorruptCheck=true, which is --initial-corrupt-check.
    #[arg(long, value_name = "GATES", value_parser = FeatureGates::parse)]
    feature_gates: Option<FeatureGates>,
    /// Between two comparisons of the keys with the leader's, such as 12h; 0 for none.
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    corrupt_check_time: Option<u64>,
    #[command(flatten)]
    client_tls: ClientTlsFlags,
    #[command(flatten)]
    peer_tls: PeerTlsFlags,
    #[command(flatten)]
    protocol: ProtocolFlags,
    /// Whether the JSON gateway is served under /v3/ [default: true].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL", value_parser = boolean)]
    enable_grpc_gateway: Option<bool>,
    /// What a token is: simple, or jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=10m.
    #[arg(long, default_value = "simple")]
    auth_token: String,
    /// Seconds that a simple token lives without being used [default: 300].
    #[arg(long, value_name = "SECS")]
    auth_token_ttl: Option<u64>,
    /// What bcrypt shall cost: each step doubles the time that a password takes to check
    /// [default: 10].
    #[arg(long, value_name = "COST")]
    bcrypt_cost: Option<u32>,
    /// A YAML file with etcd's keys; flags and variables do not count beside it.
    // It is read before flags are parsed, and replaced by what is in it.
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// What is logged: debug, info, warn, error, or a filter such as info,raft=debug.
    #[arg(long, default_value = "info")]
    log_level: String,
}

impl ServeOptions {
    /// Checks what belongs together.
    pub(crate) fn check(&self) -> Result<(), String> {
        AutoCompaction::parse(&self.auto_compaction_mode, &self.auto_compaction_retention)
            .map(drop)
            .map_err(|reason| format!("--auto-compaction-mode and -retention: {reason}"))
    }

    /// What is asked for and not heeded.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.feature_gates.iter().flat_map(|gates| gates.warnings.clone()).collect()
    }

    /// What is logged.
    pub(crate) fn log_level(&self) -> &str {
        &self.log_level
    }
}

/// 0 is etcd's way to say never.
fn or_never(millis: u64) -> u64 {
    if millis == 0 { NEVER_MS } else { millis }
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
            linearizable_reads: given.linearizable_reads.map(|reads| match reads {
                Reads::ReadIndex => LinearizableReads::ReadIndex,
                Reads::LeaseGuard => LinearizableReads::LeaseGuard,
            }),
            peer_protocol_max: given.peer_protocol_max.unwrap_or(default.peer_protocol_max),
            strict_reconfig_check: given
                .strict_reconfig_check
                .unwrap_or(default.strict_reconfig_check),
            snapshot_count: given.snapshot_count.unwrap_or(default.snapshot_count),
            quota_backend_bytes: given.quota_backend_bytes.unwrap_or(default.quota_backend_bytes),
            max_request_bytes: given.max_request_bytes.unwrap_or(default.max_request_bytes),
            max_txn_ops: given.max_txn_ops.unwrap_or(default.max_txn_ops),
            max_concurrent_streams: given
                .max_concurrent_streams
                .unwrap_or(default.max_concurrent_streams),
            max_requests_per_second: given.max_requests_per_second.unwrap_or(0),
            grpc_keepalive_interval_ms: given
                .grpc_keepalive_interval
                .map_or(default.grpc_keepalive_interval_ms, or_never),
            grpc_keepalive_timeout_ms: given
                .grpc_keepalive_timeout
                .map_or(default.grpc_keepalive_timeout_ms, or_never),
            watch_progress_notify_interval_ms: given
                .watch_progress_notify_interval
                .unwrap_or(default.watch_progress_notify_interval_ms),
            listen_metrics_urls: given.listen_metrics_urls,
            auto_compaction: AutoCompaction::parse(
                &given.auto_compaction_mode,
                &given.auto_compaction_retention,
            )
            .unwrap_or_default(),
            initial_corrupt_check: given
                .initial_corrupt_check
                .or_else(|| given.feature_gates.and_then(|gates| gates.initial_corrupt_check))
                .unwrap_or(false),
            corrupt_check_time_ms: given.corrupt_check_time.unwrap_or(0),
            client_tls: given.client_tls.into(),
            peer_tls: given.peer_tls.into(),
            allow_plaintext: given.protocol.allow_plaintext.unwrap_or(false),
            tls_protocol: given.protocol.into(),
            enable_grpc_gateway: given.enable_grpc_gateway.unwrap_or(default.enable_grpc_gateway),
            auth_token: given.auth_token,
            auth_token_ttl_secs: given.auth_token_ttl.unwrap_or(default.auth_token_ttl_secs),
            bcrypt_cost: given.bcrypt_cost.unwrap_or(default.bcrypt_cost),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use server::TlsVersion;

    use super::*;
    use crate::serve::flag_names;
    use crate::{Cli, Command};

    fn options(line: &str) -> ServerOptions {
        let words = ["flotilla", "serve"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Serve(options) => (*options).into(),
            other @ (Command::ForceNewCluster(_)
            | Command::Dev(_)
            | Command::Ctl(_)
            | Command::Bench(_)
            | Command::Sim(_)) => {
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
    fn a_member_can_be_told_to_speak_an_older_version_to_its_peers() {
        assert_eq!(options("--peer-protocol-max 2").peer_protocol_max, 2);
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

    #[test]
    fn tls_is_asked_for_as_of_etcd() {
        let given = options(
            "--client-cert-auth=true --peer-client-cert-auth --peer-cert-file p.pem \
             --peer-cert-allowed-cn a,b --tls-min-version TLS1.3 --cipher-suites=",
        );
        assert!(given.client_tls.client_cert_auth && given.peer_tls.client_cert_auth);
        assert_eq!(given.peer_tls.cert_file, Some(PathBuf::from("p.pem")));
        assert_eq!(given.peer_tls.allowed_cns, ["a", "b"]);
        assert_eq!(given.tls_protocol.min_version, TlsVersion::Tls13);
        assert!(given.tls_protocol.cipher_suites.is_empty());
    }
}
