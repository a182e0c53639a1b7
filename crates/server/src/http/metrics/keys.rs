//! What is shown of keys: the disk that they are on, what was done to them, and how long it took.

use std::sync::atomic::Ordering;

use host::CountersView;
use store::Measures;

use super::{Page, Unit};
use crate::member::Member;

pub(super) fn write(page: &mut Page, member: &Member, counters: &CountersView) {
    disk(page, member, counters);
    mvcc(page, member);
    let measures = member.store.measures();
    operations(page, measures);
    compactions(page, measures);
    durations(page, member, measures);
}

fn disk(page: &mut Page, member: &Member, counters: &CountersView) {
    page.histogram(
        "etcd_disk_wal_fsync_duration_seconds",
        "Writes of the Raft log, each with one fdatasync.",
        &counters.log_sync_times,
    );
    page.gauge(
        "etcd_disk_wal_write_bytes_total",
        "Bytes of records written to the Raft log.",
        counters.log_bytes,
    );
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
    let (measures, metrics) = (member.store.measures(), &member.metrics);
    let histograms = [
        (
            "etcd_disk_backend_commit_duration_seconds",
            "Making what was applied durable.",
            &measures.commit_times,
        ),
        (
            "etcd_disk_backend_defrag_duration_seconds",
            "Defragmentations: there is nothing to do, compactions give space back.",
            &metrics.times.defragment,
        ),
        (
            "etcd_disk_backend_snapshot_duration_seconds",
            "Writing backups of the store.",
            &metrics.times.backup,
        ),
    ];
    for (name, help, times) in histograms {
        page.histogram(name, help, &times.view());
    }
    page.gauge(
        "etcd_disk_defrag_inflight",
        "Defragmentations under way.",
        metrics.defragmenting.value(),
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

fn operations(page: &mut Page, measures: &Measures) {
    let rows = [
        ("etcd_mvcc_range_total", "Ranges, those of transactions too.", &measures.ranges),
        ("etcd_mvcc_put_total", "Puts that were applied.", &measures.puts),
        ("etcd_mvcc_delete_total", "Deletions of ranges that were applied.", &measures.deletes),
        ("etcd_mvcc_txn_total", "Requests of more than one operation on keys.", &measures.txns),
        ("etcd_server_slow_apply_total", "Requests that took longer than 100 ms.", &measures.slow),
    ];
    for (name, help, value) in rows {
        page.counter(name, help, value.load(Ordering::Relaxed));
    }
}

fn compactions(page: &mut Page, measures: &Measures) {
    page.counter(
        "etcd_debugging_mvcc_db_compaction_keys_total",
        "Versions of keys that compactions dropped.",
        measures.compacted_versions.load(Ordering::Relaxed),
    );
    page.gauge(
        "etcd_debugging_mvcc_db_compaction_last",
        "When the last compaction ended, in seconds since 1970; 0 if there was none.",
        measures.compacted_at_ms.load(Ordering::Relaxed) / 1_000,
    );
    let rows = [
        (
            "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
            "How long writers waited for one step of a compaction.",
            &measures.compaction_pauses,
        ),
        (
            "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
            "From the first step of a compaction to its last.",
            &measures.compaction_times,
        ),
    ];
    for (name, help, times) in rows {
        page.head(name, "histogram", help);
        page.buckets(name, "", &times.view(), Unit::Millisecond);
    }
}

fn durations(page: &mut Page, member: &Member, measures: &Measures) {
    let times = &member.metrics.times;
    page.histogram("etcd_mvcc_hash_duration_seconds", "Hashes of all keys.", &times.hash.view());
    page.histogram(
        "etcd_mvcc_hash_rev_duration_seconds",
        "Hashes of all keys as of a revision.",
        &times.hash_at_revision.view(),
    );
    let name = "etcd_server_apply_duration_seconds";
    page.head(name, "histogram", "Applying a command, by what it was.");
    for (kind, outcomes) in measures.applied() {
        for (is_success, times) in [(true, &outcomes.succeeded), (false, &outcomes.failed)] {
            let times = times.view();
            if times.count() > 0 {
                let labels = format!("version=\"v3\",op=\"{kind}\",success=\"{is_success}\"");
                page.buckets(name, &labels, &times, Unit::Second);
            }
        }
    }
    let name = "etcd_server_range_duration_seconds";
    page.head(name, "histogram", "Ranges, without the wait for the state to be new enough.");
    let outcomes = &measures.range_times;
    for (is_success, times) in [(true, &outcomes.succeeded), (false, &outcomes.failed)] {
        let labels = format!("success=\"{is_success}\"");
        page.buckets(name, &labels, &times.view(), Unit::Second);
    }
}
