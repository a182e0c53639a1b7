//! `/metrics` in Prometheus' text form: etcd's names where dashboards and alerts rely on them, our
//! own (`flotilla_…`) for what etcd has not. All is read at the moment of asking.

use std::fmt::{Display, Write as _};

use host::{BUCKET_BOUNDS_US, CountersView};

use crate::downgrade::cluster_version;
use crate::member::Member;
use crate::version::{ETCD_VERSION, FLOTILLA_VERSION};

/// The page while it is written.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.0.write_fmt(line).expect("writing to a String cannot fail");
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn one(&mut self, kind: &str, name: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.line(format_args!("{name} {value}\n"));
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.one("counter", name, help, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.one("gauge", name, help, value);
    }

    /// A gauge of 1 whose label says everything.
    fn label(&mut self, name: &str, help: &str, label: &str, value: &str) {
        self.head(name, "gauge", help);
        self.line(format_args!("{name}{{{label}=\"{value}\"}} 1\n"));
    }
}

/// The whole page.
pub(crate) fn text(member: &Member) -> String {
    let mut page = Page::default();
    raft(&mut page, member);
    let counters = member.group.counters();
    proposals(&mut page, member, &counters);
    disk(&mut page, member, &counters);
    mvcc(&mut page, member);
    leases(&mut page, member);
    peers(&mut page, &counters);
    clients(&mut page, member);
    process(&mut page);
    page.0
}

fn raft(page: &mut Page, member: &Member) {
    let status = member.group.status();
    let leads = member.leadership.is_leader();
    let has_leader = u8::from(member.leadership.has_leader());
    page.gauge("etcd_server_has_leader", "Whether a leader is known.", has_leader);
    page.gauge("etcd_server_is_leader", "Whether this member leads.", u8::from(leads));
    let learner = u8::from(status.is_learner);
    page.gauge("etcd_server_is_learner", "Whether this member has no vote.", learner);
    page.counter(
        "etcd_server_leader_changes_seen_total",
        "Changes of leader that this member saw.",
        status.leader_changes,
    );
    page.gauge("flotilla_raft_term", "The current term.", status.term.0);
    page.gauge("flotilla_raft_last_index", "Where the log ends.", status.last_index.0);
    page.gauge("flotilla_raft_snapshot_index", "Where the log begins.", status.snapshot_index.0);
    page.gauge(
        "flotilla_raft_unguarded_voters",
        "On the leader: voters that could lose their data folder without anybody noticing.",
        status.unguarded_voters,
    );
    page.counter(
        "flotilla_raft_slow_follower_notices_total",
        "Times that a follower did not keep up while this member led.",
        member.group.counters().slow_follower_notices,
    );
    let id = format!("{:x}", member.id());
    page.label("etcd_server_id", "This member.", "server_id", &id);
    page.label("etcd_server_version", "The protocol served.", "server_version", ETCD_VERSION);
    page.label(
        "etcd_cluster_version",
        "The cluster's version.",
        "cluster_version",
        &cluster_version(&member.store),
    );
    page.label("flotilla_version", "This program.", "version", FLOTILLA_VERSION);
    let ready = u8::from(member.is_ready());
    page.gauge("flotilla_ready", "Whether the member has caught up and serves.", ready);
}

fn proposals(page: &mut Page, member: &Member, counters: &CountersView) {
    let status = member.group.status();
    page.gauge(
        "etcd_server_proposals_committed_total",
        "Entries known to be committed.",
        status.commit_index.0,
    );
    page.gauge("etcd_server_proposals_applied_total", "Entries applied.", status.applied_index.0);
    page.gauge(
        "etcd_server_proposals_pending",
        "Proposals of this member's clients that wait for their result.",
        member.metrics.proposals_pending.value(),
    );
    page.counter(
        "etcd_server_proposals_failed_total",
        "Proposals that failed or timed out.",
        counters.proposals_failed,
    );
    page.counter("flotilla_proposals_total", "Proposals of clients.", counters.proposals);
    page.counter("flotilla_apply_batches_total", "Batches applied.", counters.apply_batches);
    page.counter("flotilla_entries_applied_total", "Entries applied.", counters.entries_applied);
    page.counter(
        "etcd_server_read_indexes_failed_total",
        "Linearizable reads that were not confirmed.",
        counters.reads_failed,
    );
    page.counter(
        "flotilla_read_indexes_total",
        "Linearizable reads that were confirmed.",
        counters.reads_confirmed,
    );
}

/// Nanoseconds as seconds with all digits, without the detour through a float.
fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// A bound of a bucket as Prometheus writes it: in seconds, without zeros that say nothing.
fn bound(micros: u64) -> String {
    let text = format!("{}.{:03}", micros / 1_000_000, micros % 1_000_000 / 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn disk(page: &mut Page, member: &Member, counters: &CountersView) {
    let name = "etcd_disk_wal_fsync_duration_seconds";
    page.head(name, "histogram", "Writes of the Raft log, each with one fdatasync.");
    let mut so_far = 0;
    for (bound_us, count) in BUCKET_BOUNDS_US.iter().zip(counters.log_sync_times) {
        so_far += count;
        page.line(format_args!("{name}_bucket{{le=\"{}\"}} {so_far}\n", bound(*bound_us)));
    }
    page.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {}\n", counters.log_syncs));
    page.line(format_args!("{name}_sum {}\n", seconds(counters.log_sync_nanos)));
    page.line(format_args!("{name}_count {}\n", counters.log_syncs));
    page.counter("flotilla_log_writes_total", "Writes of groups in those.", counters.log_writes);
    page.gauge(
        "etcd_server_quota_backend_bytes",
        "Bytes the store may take; 0 for no bound.",
        member.limits.quota_bytes,
    );
    page.counter(
        "flotilla_snapshots_sent_total",
        "Snapshots sent to other members.",
        counters.snapshots_sent,
    );
    page.counter(
        "flotilla_snapshots_installed_total",
        "Snapshots installed.",
        counters.snapshots_installed,
    );
}

fn mvcc(page: &mut Page, member: &Member) {
    let status = member.store.status();
    page.gauge(
        "etcd_mvcc_db_total_size_in_bytes",
        "Bytes of the store on disk.",
        status.size_bytes,
    );
    page.gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Bytes of the store on disk that are not garbage.",
        status.size_in_use_bytes,
    );
    page.gauge("flotilla_store_memory_bytes", "Keys and values in memory.", status.memory_bytes);
    page.gauge("etcd_debugging_mvcc_keys_total", "Keys.", status.key_count);
    page.gauge("etcd_debugging_mvcc_current_revision", "The current revision.", status.revision);
    page.gauge(
        "etcd_debugging_mvcc_compact_revision",
        "The compacted revision; -1 if there was no compaction.",
        status.compact_revision,
    );
    page.gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", status.watcher_count);
    page.gauge(
        "etcd_debugging_mvcc_watch_stream_total",
        "Watch streams.",
        status.watch_stream_count,
    );
    page.gauge(
        "etcd_debugging_mvcc_slow_watcher_total",
        "Watchers that are behind.",
        status.slow_watcher_count,
    );
    page.gauge(
        "etcd_debugging_mvcc_pending_events_total",
        "Messages that wait in watch streams.",
        status.pending_message_count,
    );
    page.counter(
        "etcd_debugging_mvcc_events_total",
        "Events handed to watch streams.",
        status.events_total,
    );
}

fn leases(page: &mut Page, member: &Member) {
    let metrics = &member.metrics;
    page.gauge("flotilla_leases", "Leases.", member.store.status().lease_count);
    page.counter(
        "etcd_debugging_lease_granted_total",
        "Leases granted through this member.",
        metrics.lease_granted.value(),
    );
    page.counter(
        "etcd_debugging_lease_revoked_total",
        "Leases revoked through this member.",
        metrics.lease_revoked.value(),
    );
    page.counter(
        "etcd_debugging_lease_renewed_total",
        "Leases kept alive by this member as leader.",
        metrics.lease_renewed.value(),
    );
    page.counter(
        "etcd_server_lease_expired_total",
        "Leases that this member as leader ended.",
        metrics.lease_expired.value(),
    );
}

fn peers(page: &mut Page, counters: &CountersView) {
    page.counter(
        "etcd_server_heartbeat_send_failures_total",
        "Frames that a slow or absent peer did not get: any of them may hold a heartbeat.",
        counters.frames_dropped,
    );
    let rows = [
        ("flotilla_peer_frames_received_total", "Frames taken.", counters.frames_received),
        ("flotilla_peer_bytes_received_total", "Bytes of those.", counters.frame_bytes_received),
        ("flotilla_peer_frames_sent_total", "Frames sent.", counters.frames_sent),
        ("flotilla_peer_bytes_sent_total", "Bytes of those.", counters.frame_bytes_sent),
        (
            "flotilla_peer_frames_dropped_total",
            "Frames that a slow or absent peer did not get.",
            counters.frames_dropped,
        ),
        (
            "flotilla_peer_frames_refused_total",
            "Frames refused: damaged, of another cluster or version.",
            counters.frames_refused,
        ),
    ];
    for (name, help, value) in rows {
        page.counter(name, help, value);
    }
    // etcd has one of these for each peer; those who add them up find the same here.
    for (name, label, value) in [
        ("etcd_network_peer_sent_bytes_total", "To", counters.frame_bytes_sent),
        ("etcd_network_peer_received_bytes_total", "From", counters.frame_bytes_received),
    ] {
        page.head(name, "counter", "Bytes between members, of all of them together.");
        page.line(format_args!("{name}{{{label}=\"all\"}} {value}\n"));
    }
}

/// As Go's gRPC spells the codes in metrics, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

fn clients(page: &mut Page, member: &Member) {
    let metrics = &member.metrics;
    page.gauge("flotilla_connections", "Connections of clients.", metrics.connections.value());
    page.counter(
        "flotilla_connections_refused_total",
        "Connections closed because there were too many.",
        metrics.connections_refused.value(),
    );
    page.counter(
        "flotilla_tls_handshakes_failed_total",
        "TLS handshakes of clients that failed or took too long.",
        metrics.handshakes_failed.value(),
    );
    let (good, bad) = (metrics.health_success.value(), metrics.health_failures.value());
    page.counter("etcd_server_health_success", "Times that /health said true.", good);
    page.counter("etcd_server_health_failures", "Times that /health said false.", bad);
    page.head("grpc_server_started_total", "counter", "Calls that began.");
    for (method, rpc) in metrics.rpcs.all() {
        let value = rpc.started.value();
        if value > 0 {
            let labels = labels(method.path, method.kind.label());
            page.line(format_args!("grpc_server_started_total{{{labels}}} {value}\n"));
        }
    }
    page.head("grpc_server_handled_total", "counter", "Calls that were answered, by code.");
    for (method, rpc) in metrics.rpcs.all() {
        let labels = labels(method.path, method.kind.label());
        for (code, count) in CODES.iter().zip(&rpc.handled) {
            let value = count.value();
            if value > 0 {
                page.line(format_args!(
                    "grpc_server_handled_total{{grpc_code=\"{code}\",{labels}}} {value}\n"
                ));
            }
        }
    }
}

/// Paths are those of our own table: nothing from the network becomes a label.
fn labels(path: &str, kind: &str) -> String {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"")
}

/// What Linux says of this process; left out where it says nothing.
fn process(page: &mut Page) {
    let resident_bytes = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    if let Some(kilobytes) = resident_bytes {
        let name = "process_resident_memory_bytes";
        page.gauge(name, "Memory of this process.", kilobytes * 1024);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.gauge("process_open_fds", "Open files of this process.", open.count());
    }
    // They were raised at the start: this asks how many there are.
    let most = env::os::raise_descriptors();
    page.gauge("process_max_fds", "Files that this process may have open.", most);
    let nanos = env::os::process_time().as_nanos();
    page.counter(
        "process_cpu_seconds_total",
        "Time that this process had a processor.",
        seconds(u64::try_from(nanos).unwrap_or(u64::MAX)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_keep_their_digits() {
        assert_eq!(seconds(0), "0.000000000");
        assert_eq!(seconds(1_500_000_042), "1.500000042");
        let bounds: Vec<String> = BUCKET_BOUNDS_US.iter().map(|us| bound(*us)).collect();
        assert_eq!(bounds[..4], ["0.001", "0.002", "0.004", "0.008"]);
        assert_eq!(bounds[10..], ["1.024", "2.048", "4.096", "8.192"]);
        assert_eq!((bound(2_000_000), bound(20_000_000)), ("2".into(), "20".into()));
    }

    #[test]
    fn a_counter_is_three_lines() {
        let mut page = Page::default();
        page.counter("a_total", "Help.", 7);
        assert_eq!(page.0, "# HELP a_total Help.\n# TYPE a_total counter\na_total 7\n");
        page.label("b", "Help.", "version", "1");
        assert!(page.0.ends_with("b{version=\"1\"} 1\n"));
    }
}
