//! `/metrics` in Prometheus' text form: etcd's names where dashboards and alerts rely on them, our
//! own (`flotilla_…`) for what etcd has not. All is read at the moment of asking.

mod clients;
mod keys;

use std::fmt::{Display, Write as _};
use std::sync::LazyLock;

use host::{CountersView, HistogramView, PeerView};

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

    /// A histogram in seconds, and its head.
    fn histogram(&mut self, name: &str, help: &str, times: &HistogramView) {
        self.head(name, "histogram", help);
        self.buckets(name, "", times, Unit::Second);
    }

    /// One of the histograms under a head. Labels are as they are written, without braces.
    fn buckets(&mut self, name: &str, labels: &str, times: &HistogramView, unit: Unit) {
        let comma = if labels.is_empty() { "" } else { "," };
        let count = times.count();
        for (bound_us, so_far) in times.no_longer() {
            let bound = unit.bound(bound_us);
            self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {so_far}\n"));
        }
        self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}\n"));
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        self.line(format_args!("{name}_sum{labels} {}\n", unit.sum(times.nanos)));
        self.line(format_args!("{name}_count{labels} {count}\n"));
    }

    /// A gauge of 1 whose label says everything.
    fn label(&mut self, name: &str, help: &str, label: &str, value: &str) {
        self.head(name, "gauge", help);
        self.line(format_args!("{name}{{{label}=\"{value}\"}} 1\n"));
    }
}

/// In what a histogram is told.
#[derive(Clone, Copy)]
enum Unit {
    Second,
    Millisecond,
}

impl Unit {
    /// A bound of a bucket as Prometheus writes it, without zeros that say nothing.
    fn bound(self, micros: u64) -> String {
        let text = match self {
            Self::Second => format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000),
            Self::Millisecond => format!("{}.{:03}", micros / 1_000, micros % 1_000),
        };
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// Nanoseconds with all digits, without the detour through a float.
    fn sum(self, nanos: u64) -> String {
        match self {
            Self::Second => seconds(nanos),
            Self::Millisecond => format!("{}.{:06}", nanos / 1_000_000, nanos % 1_000_000),
        }
    }
}

/// Nanoseconds as seconds.
fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// The whole page.
pub(crate) fn text(member: &Member) -> String {
    let mut page = Page::default();
    raft(&mut page, member);
    let counters = member.group.counters();
    proposals(&mut page, member, &counters);
    keys::write(&mut page, member, &counters);
    leases(&mut page, member);
    peers(&mut page, member, &counters);
    clients::write(&mut page, member);
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
        "etcd_server_slow_read_indexes_total",
        "Rounds of linearizable reads that were made again, and reads that timed out.",
        counters.reads_slow,
    );
    page.counter(
        "flotilla_read_indexes_total",
        "Linearizable reads that were confirmed.",
        counters.reads_confirmed,
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

fn peers(page: &mut Page, member: &Member, counters: &CountersView) {
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
    let views = member.group.peers();
    let mut rows = |name: &str, kind: &str, help: &str, row: &dyn Fn(&PeerView) -> String| {
        page.head(name, kind, help);
        for peer in &views {
            page.line(format_args!("{name}{{{}\n", row(peer)));
        }
    };
    let (sent, received) = ("Bytes to each peer.", "Bytes from each peer.");
    rows("etcd_network_peer_sent_bytes_total", "counter", sent, &|peer| {
        format!("To=\"{:x}\"}} {}", peer.node.0, peer.sent_bytes)
    });
    rows("etcd_network_peer_received_bytes_total", "counter", received, &|peer| {
        format!("From=\"{:x}\"}} {}", peer.node.0, peer.received_bytes)
    });
    let (own, help) = (member.id(), "Whether the peer has a connection to this member.");
    rows("etcd_network_active_peers", "gauge", help, &|peer| {
        let is_active = u8::from(peer.is_active);
        format!("Local=\"{own:x}\",Remote=\"{:x}\"}} {is_active}", peer.node.0)
    });
    let name = "etcd_network_peer_round_trip_time_seconds";
    page.head(name, "histogram", "A question to each peer, every four seconds, and its answer.");
    for peer in &views {
        let labels = format!("To=\"{:x}\"", peer.node.0);
        let times = member.metrics.round_trips.of(peer.node);
        page.buckets(name, &labels, &times, Unit::Second);
    }
}

/// What Linux says of this process; left out where it says nothing.
fn process(page: &mut Page) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let sizes = [
        ("VmRSS:", "process_resident_memory_bytes", "Memory of this process."),
        ("VmSize:", "process_virtual_memory_bytes", "Addresses that this process has taken."),
    ];
    for (field, name, help) in sizes {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        if let Some(kilobytes) = kilobytes.map(|kilobytes: u64| kilobytes * 1024) {
            page.gauge(name, help, kilobytes);
        }
    }
    if let Some(seconds) = *BEGAN_AT_SECONDS {
        page.gauge("process_start_time_seconds", "When this process began, since 1970.", seconds);
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

static BEGAN_AT_SECONDS: LazyLock<Option<u64>> = LazyLock::new(began_at_seconds);

/// When this process began: so long after the machine did, which is known by the clock.
fn began_at_seconds() -> Option<u64> {
    /// What Linux counts the times of processes in, whatever the kernel was built with.
    const PER_SECOND: u64 = 100;
    /// The 22nd field of all, the 20th behind the program's name, which may have blanks in it.
    const BEGAN: usize = 19;
    let own = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = own.rsplit_once(") ")?;
    let after: u64 = fields.split_ascii_whitespace().nth(BEGAN)?.parse().ok()?;
    let machine = std::fs::read_to_string("/proc/stat").ok()?;
    let line = machine.lines().find_map(|line| line.strip_prefix("btime "))?;
    let booted: u64 = line.trim().parse().ok()?;
    Some(booted + after / PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_keep_their_digits() {
        assert_eq!(seconds(0), "0.000000000");
        assert_eq!(seconds(1_500_000_042), "1.500000042");
        assert_eq!(Unit::Millisecond.sum(1_500_042), "1.500042");
        let bounds = [100, 1_000, 25_000, 2_000_000, 20_000_000].map(|us| Unit::Second.bound(us));
        assert_eq!(bounds, ["0.0001", "0.001", "0.025", "2", "20"]);
        assert_eq!([1_000, 819_200_000].map(|us| Unit::Millisecond.bound(us)), ["1", "819200"]);
    }

    #[test]
    fn a_counter_is_three_lines() {
        let mut page = Page::default();
        page.counter("a_total", "Help.", 7);
        assert_eq!(page.0, "# HELP a_total Help.\n# TYPE a_total counter\na_total 7\n");
        page.label("b", "Help.", "version", "1");
        assert!(page.0.ends_with("b{version=\"1\"} 1\n"));
    }

    #[test]
    fn a_histogram_counts_what_is_no_longer_than_each_bound() {
        let times = host::Histogram::new(&[1_000, 2_000]);
        [500_000, 1_500_000, 9_000_000].into_iter().for_each(|nanos| times.add(nanos));
        let mut page = Page::default();
        page.buckets("a", "b=\"c\"", &times.view(), Unit::Second);
        let expect = [
            "a_bucket{b=\"c\",le=\"0.001\"} 1",
            "a_bucket{b=\"c\",le=\"0.002\"} 2",
            "a_bucket{b=\"c\",le=\"+Inf\"} 3",
            "a_sum{b=\"c\"} 0.011000000",
            "a_count{b=\"c\"} 3\n",
        ];
        assert_eq!(page.0, expect.join("\n"));
    }
}
