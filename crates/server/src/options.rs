//! What a server is told at its start: etcd's flags, with etcd's defaults.

use std::net::TcpListener;
use std::path::PathBuf;

use host::{FRAME_VERSION, FRAME_VERSION_OLDEST};

use crate::compactor::AutoCompaction;
use crate::errors::OptionsError;
use crate::tls::{TlsFiles, TlsProtocol};

/// Whether the cluster is being made or exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClusterState {
    /// All members of `initial_cluster` start for the first time.
    #[default]
    New,
    /// The member joins, or joins again, a cluster that runs.
    Existing,
}

/// What a linearizable read rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinearizableReads {
    /// A round of messages: the leader makes sure that it still leads.
    ReadIndex,
    /// The log, and clocks of which none runs more than one per cent faster than another
    /// (`docs/adr/0009`): the leader answers at once. A new leader commits nothing for an election
    /// timeout.
    LeaseGuard,
}

/// How a server behaves. Every field is named as etcd's flag is.
#[derive(Debug)]
pub struct ServerOptions {
    /// The member's name: unique in the cluster, the same at every start.
    pub name: String,
    /// Where all of the member's files lie.
    pub data_dir: PathBuf,
    /// Where clients are served. Port 0 lets the system choose.
    pub listen_client_urls: Vec<String>,
    /// Where other members are served. Port 0 lets the system choose.
    pub listen_peer_urls: Vec<String>,
    /// Where metrics and health are served as well, and nothing else.
    pub listen_metrics_urls: Vec<String>,
    /// What clients are told to connect to; empty for what is listened on.
    pub advertise_client_urls: Vec<String>,
    /// What other members are told to connect to; empty for what is listened on.
    pub initial_advertise_peer_urls: Vec<String>,
    /// `name=url,name=url`: the members at the beginning; empty for this one alone. Needed at the
    /// first start only: later ones find the members in the data folder.
    pub initial_cluster: String,
    /// Whether that cluster is new.
    pub initial_cluster_state: ClusterState,
    /// Keeps clusters of the same names and addresses apart.
    pub initial_cluster_token: String,
    /// Milliseconds between two heartbeats of a leader.
    pub heartbeat_interval_ms: u64,
    /// Milliseconds without a leader after which a member wants to be one.
    pub election_timeout_ms: u64,
    /// What a linearizable read rests on. `None` is [`LinearizableReads::ReadIndex`] and leaves the
    /// cluster's terms of leases as they are; either of the others makes them fit.
    pub linearizable_reads: Option<LinearizableReads>,
    /// The newest version of the peer protocol that is spoken to other members: what the program
    /// speaks, or less so that a cluster can go back to a version before.
    pub peer_protocol_max: u8,
    /// Whether a change of the members is refused while too few of them have started, or one of
    /// them is not heard. What would stop the group at once is refused even without that.
    pub strict_reconfig_check: bool,
    /// Entries after which the state is flushed and the log cut.
    pub snapshot_count: u64,
    /// Bytes the store may take; 0 for 2 GiB, negative for no bound.
    pub quota_backend_bytes: i64,
    /// Bytes of the largest request.
    pub max_request_bytes: usize,
    /// Operations of the largest transaction.
    pub max_txn_ops: usize,
    /// Streams that one connection may have open.
    pub max_concurrent_streams: u32,
    /// Calls that one connection may make in a second; 0 for any number.
    pub max_requests_per_second: u32,
    /// Leases that there may be; none of them counts for the quota.
    pub leases_max: usize,
    /// Milliseconds of silence after which a connection is pinged.
    pub grpc_keepalive_interval_ms: u64,
    /// Milliseconds to wait for the answer to that.
    pub grpc_keepalive_timeout_ms: u64,
    /// Milliseconds between two progress notifications of a watcher that asked for them.
    pub watch_progress_notify_interval_ms: u64,
    /// Milliseconds between two notes of what a lease has left; 0 for none.
    pub lease_checkpoint_interval_ms: u64,
    /// History that is dropped by itself; nothing if it is kept until somebody compacts it.
    pub auto_compaction: Option<AutoCompaction>,
    /// Whether a member compares its keys with the leader's before it serves.
    pub initial_corrupt_check: bool,
    /// Milliseconds between two such comparisons while it serves; 0 for none.
    pub corrupt_check_time_ms: u64,
    /// Whether the JSON gateway is served.
    pub enable_grpc_gateway: bool,
    /// What a token is: `simple`, or `jwt,sign-method=RS256,pub-key=…,priv-key=…,ttl=10m`.
    pub auth_token: String,
    /// Seconds that a simple token lives without being used.
    pub auth_token_ttl_secs: u64,
    /// What bcrypt shall cost: each step doubles the time that a password takes to check.
    pub bcrypt_cost: u32,
    /// Certificates for clients' connections. Those of `listen_client_urls` that begin with
    /// `https://` are served with them, and so is `client_listener`.
    pub client_tls: TlsFiles,
    /// Certificates for connections between members: `listen_peer_urls` that begin with `https://`
    /// are served with them, as is `peer_listener`, and members at such addresses are shown them.
    pub peer_tls: TlsFiles,
    /// Versions and ciphers at both ports.
    pub tls_protocol: TlsProtocol,
    /// Whether plaintext may be spoken at addresses that everybody can reach.
    pub allow_plaintext: bool,
    /// A socket for clients that listens already: `listen_client_urls` is not looked at. So two
    /// who choose ports at the same time cannot take each other's.
    pub client_listener: Option<TcpListener>,
    /// A socket for members that listens already: `listen_peer_urls` is not looked at.
    pub peer_listener: Option<TcpListener>,
}

/// Bytes of the store when nothing else is said.
pub const QUOTA_BYTES_DEFAULT: i64 = 2 << 30;

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            data_dir: PathBuf::from("default.flotilla"),
            listen_client_urls: vec!["http://localhost:2379".to_owned()],
            listen_peer_urls: vec!["http://localhost:2380".to_owned()],
            listen_metrics_urls: Vec::new(),
            advertise_client_urls: Vec::new(),
            initial_advertise_peer_urls: Vec::new(),
            initial_cluster: String::new(),
            initial_cluster_state: ClusterState::New,
            initial_cluster_token: "etcd-cluster".to_owned(),
            heartbeat_interval_ms: 100,
            election_timeout_ms: 1000,
            linearizable_reads: None,
            peer_protocol_max: FRAME_VERSION,
            strict_reconfig_check: true,
            snapshot_count: 10_000,
            quota_backend_bytes: 0,
            max_request_bytes: 1_572_864,
            max_txn_ops: 128,
            // etcd allows 2³²−1, which lets one client open streams until memory ends. The largest
            // honest user, a Kubernetes API server, has some hundreds on a connection.
            max_concurrent_streams: 16_384,
            max_requests_per_second: 0,
            leases_max: 1_000_000,
            grpc_keepalive_interval_ms: 7_200_000,
            grpc_keepalive_timeout_ms: 20_000,
            watch_progress_notify_interval_ms: 600_000,
            lease_checkpoint_interval_ms: 300_000,
            auto_compaction: None,
            initial_corrupt_check: false,
            corrupt_check_time_ms: 0,
            enable_grpc_gateway: true,
            auth_token: "simple".to_owned(),
            auth_token_ttl_secs: 300,
            bcrypt_cost: 10,
            client_tls: TlsFiles::default(),
            peer_tls: TlsFiles::default(),
            tls_protocol: TlsProtocol::default(),
            allow_plaintext: false,
            client_listener: None,
            peer_listener: None,
        }
    }
}

/// A limit: the option's name, what it says, and where it must lie.
struct Bound {
    option: &'static str,
    value: u64,
    min: u64,
    max: u64,
}

impl ServerOptions {
    /// Checks every number on its own and against the others.
    ///
    /// # Errors
    /// The first that is out of its bounds, with the bounds.
    pub(crate) fn check_numbers(&self) -> Result<(), OptionsError> {
        let bytes = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let bounds = [
            Bound {
                option: "heartbeat-interval",
                value: self.heartbeat_interval_ms,
                min: 1,
                max: 10_000,
            },
            Bound {
                option: "election-timeout",
                value: self.election_timeout_ms,
                // A follower that campaigns before a few heartbeats could have come depose leaders
                // that are well.
                min: self.heartbeat_interval_ms.saturating_mul(5),
                max: 50_000,
            },
            Bound {
                option: "peer-protocol-max",
                value: u64::from(self.peer_protocol_max),
                min: u64::from(FRAME_VERSION_OLDEST),
                max: u64::from(FRAME_VERSION),
            },
            Bound { option: "snapshot-count", value: self.snapshot_count, min: 1, max: 1 << 40 },
            Bound {
                option: "max-request-bytes",
                value: bytes(self.max_request_bytes),
                min: 1024,
                max: 256 << 20,
            },
            Bound { option: "max-txn-ops", value: bytes(self.max_txn_ops), min: 1, max: 1 << 16 },
            Bound {
                option: "max-concurrent-streams",
                value: u64::from(self.max_concurrent_streams),
                min: 1,
                max: u64::from(u32::MAX),
            },
            Bound {
                option: "grpc-keepalive-interval",
                value: self.grpc_keepalive_interval_ms,
                min: 1_000,
                max: u64::MAX,
            },
            Bound {
                option: "grpc-keepalive-timeout",
                value: self.grpc_keepalive_timeout_ms,
                min: 1_000,
                max: u64::MAX,
            },
            Bound {
                option: "watch-progress-notify-interval",
                value: self.watch_progress_notify_interval_ms,
                min: 100,
                max: u64::MAX,
            },
            Bound {
                option: "auth-token-ttl",
                value: self.auth_token_ttl_secs,
                min: 1,
                max: 1 << 32,
            },
            // bcrypt's own bounds.
            Bound { option: "bcrypt-cost", value: u64::from(self.bcrypt_cost), min: 4, max: 31 },
        ];
        for Bound { option, value, min, max } in bounds {
            if value < min || value > max {
                return Err(OptionsError::OutOfBounds { option, value, min, max });
            }
        }
        Ok(())
    }

    /// Bytes the store may take; `None` for no bound.
    #[must_use]
    pub fn quota_bytes(&self) -> Option<u64> {
        match self.quota_backend_bytes {
            0 => u64::try_from(QUOTA_BYTES_DEFAULT).ok(),
            bytes => u64::try_from(bytes).ok(),
        }
    }

    /// Milliseconds after which a request has failed: time for the disk, and for two elections.
    #[must_use]
    pub fn request_timeout_ms(&self) -> u64 {
        5_000 + 2 * self.election_timeout_ms
    }

    /// The fewest seconds a lease may live: one and a half election timeouts, rounded up, so that
    /// an election alone does not end a lease.
    #[must_use]
    pub fn lease_ttl_secs_min(&self) -> i64 {
        let secs = self.election_timeout_ms.saturating_mul(3).div_ceil(2_000);
        i64::try_from(secs).unwrap_or(i64::MAX).max(1)
    }

    /// Bytes of the largest gRPC message: the largest request and what wraps it, as etcd has it.
    #[must_use]
    pub fn message_bytes_max(&self) -> usize {
        self.max_request_bytes + (512 << 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_etcd() {
        let options = ServerOptions::default();
        assert_eq!(options.check_numbers(), Ok(()));
        assert_eq!(options.request_timeout_ms(), 7_000);
        assert_eq!(options.lease_ttl_secs_min(), 2);
        assert_eq!(options.message_bytes_max(), 2_097_152);
        assert_eq!(options.quota_bytes(), Some(2 << 30));
    }

    #[test]
    fn quota_is_off_when_negative() {
        let options = ServerOptions { quota_backend_bytes: -1, ..ServerOptions::default() };
        assert_eq!(options.quota_bytes(), None);
    }

    #[test]
    fn election_timeout_leaves_room_for_five_heartbeats() {
        let check = |election_timeout_ms, ok| {
            let options = ServerOptions { election_timeout_ms, ..ServerOptions::default() };
            assert_eq!(options.check_numbers().is_ok(), ok, "{election_timeout_ms}");
        };
        check(499, false);
        check(500, true);
        check(50_000, true);
        check(50_001, false);
    }

    #[test]
    fn a_number_out_of_bounds_is_named_with_its_bounds() {
        let options = ServerOptions { snapshot_count: 0, ..ServerOptions::default() };
        let text = options.check_numbers().unwrap_err().to_string();
        assert!(text.contains("--snapshot-count=0"), "{text}");
    }
}
