//! `/metrics`: every name that dashboards and alerts of etcd look for is there, and each number
//! moves with what it counts.

use std::time::Duration;

use api::etcdserverpb as pb;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::common::{Node, bytes, one, range, three, within};

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes("v"), ..pb::PutRequest::default() }
}

fn all_keys() -> pb::RangeRequest {
    pb::RangeRequest { key: bytes("\0"), range_end: bytes("\0"), ..pb::RangeRequest::default() }
}

/// The page at one moment.
struct Page(String);

impl Page {
    async fn of(node: &Node) -> Self {
        let (status, text) = node.get("/metrics").await;
        assert_eq!(status, 200);
        Self(text)
    }

    /// The number behind a name with its labels; 0 if the row is not there.
    fn value(&self, row: &str) -> f64 {
        let found = self.0.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
        found.map_or(0.0, |number| number.parse().unwrap())
    }

    fn has_sample(&self, name: &str) -> bool {
        self.0
            .lines()
            .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
    }
}

/// How much each of these rows grew while something was done.
async fn growth<T>(node: &Node, rows: &[&str], does: impl Future<Output = T>) -> Vec<f64> {
    let before = Page::of(node).await;
    does.await;
    let after = Page::of(node).await;
    rows.iter().map(|row| after.value(row) - before.value(row)).collect()
}

/// Until a row has this value: a call is counted when its connection lets it go.
async fn becomes(node: &Node, row: &str, value: f64) {
    within(row, async {
        while Page::of(node).await.value(row) < value {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!((Page::of(node).await.value(row) - value).abs() < 0.5, "{row} is {value}");
}

fn call(method: &str, service: &str, kind: &str) -> String {
    format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"")
}

/// A watch that has been created.
async fn watch(
    node: &Node,
) -> (tokio::sync::mpsc::Sender<pb::WatchRequest>, tonic::Streaming<pb::WatchResponse>) {
    use pb::watch_request::RequestUnion;
    let (requests, stream) = tokio::sync::mpsc::channel(4);
    let create = pb::WatchCreateRequest { key: bytes("k"), ..pb::WatchCreateRequest::default() };
    let create = RequestUnion::CreateRequest(create);
    requests.send(pb::WatchRequest { request_union: Some(create) }).await.unwrap();
    let answered = node.watch().watch(ReceiverStream::new(stream)).await.unwrap();
    let mut answers = answered.into_inner();
    let created = within("the watch", answers.next()).await.unwrap().unwrap();
    assert!(created.created);
    (requests, answers)
}

async fn use_everything(node: &Node) {
    let (mut kv, mut maintenance) = (node.kv(), node.maintenance());
    for _ in 0..3 {
        kv.put(put("k")).await.unwrap();
    }
    kv.range(range("k")).await.unwrap();
    kv.compact(pb::CompactionRequest { revision: 3, physical: true }).await.unwrap();
    maintenance.defragment(pb::DefragmentRequest {}).await.unwrap();
    maintenance.hash(pb::HashRequest {}).await.unwrap();
    maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await.unwrap();
    let snapshot = maintenance.snapshot(pb::SnapshotRequest {}).await.unwrap();
    let mut pieces = snapshot.into_inner();
    while within("the backup", pieces.next()).await.transpose().unwrap().is_some() {}
    node.get("/livez").await;
    node.get("/readyz").await;
}

/// What monitoring of etcd looks for: name and type. Those of peers are in another test, which has
/// some.
const CONTRACT: &[(&str, &str)] = &[
    ("etcd_server_has_leader", "gauge"),
    ("etcd_server_is_leader", "gauge"),
    ("etcd_server_is_learner", "gauge"),
    ("etcd_server_leader_changes_seen_total", "counter"),
    ("etcd_server_proposals_committed_total", "gauge"),
    ("etcd_server_proposals_applied_total", "gauge"),
    ("etcd_server_proposals_pending", "gauge"),
    ("etcd_server_proposals_failed_total", "counter"),
    ("etcd_server_heartbeat_send_failures_total", "counter"),
    ("etcd_server_slow_apply_total", "counter"),
    ("etcd_server_slow_read_indexes_total", "counter"),
    ("etcd_server_read_indexes_failed_total", "counter"),
    ("etcd_server_quota_backend_bytes", "gauge"),
    ("etcd_server_health_success", "counter"),
    ("etcd_server_health_failures", "counter"),
    ("etcd_server_healthcheck", "gauge"),
    ("etcd_server_healthchecks_total", "counter"),
    ("etcd_server_version", "gauge"),
    ("etcd_cluster_version", "gauge"),
    ("etcd_server_id", "gauge"),
    ("etcd_server_client_requests_total", "counter"),
    ("etcd_server_apply_duration_seconds", "histogram"),
    ("etcd_server_range_duration_seconds", "histogram"),
    ("etcd_server_request_duration_seconds", "histogram"),
    ("etcd_disk_wal_fsync_duration_seconds", "histogram"),
    ("etcd_disk_wal_write_bytes_total", "gauge"),
    ("etcd_disk_backend_commit_duration_seconds", "histogram"),
    ("etcd_disk_backend_defrag_duration_seconds", "histogram"),
    ("etcd_disk_backend_snapshot_duration_seconds", "histogram"),
    ("etcd_disk_defrag_inflight", "gauge"),
    ("etcd_mvcc_db_total_size_in_bytes", "gauge"),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge"),
    ("etcd_mvcc_range_total", "counter"),
    ("etcd_mvcc_put_total", "counter"),
    ("etcd_mvcc_delete_total", "counter"),
    ("etcd_mvcc_txn_total", "counter"),
    ("etcd_mvcc_hash_duration_seconds", "histogram"),
    ("etcd_mvcc_hash_rev_duration_seconds", "histogram"),
    ("etcd_debugging_mvcc_keys_total", "gauge"),
    ("etcd_debugging_mvcc_current_revision", "gauge"),
    ("etcd_debugging_mvcc_compact_revision", "gauge"),
    ("etcd_debugging_mvcc_watcher_total", "gauge"),
    ("etcd_debugging_mvcc_watch_stream_total", "gauge"),
    ("etcd_debugging_mvcc_slow_watcher_total", "gauge"),
    ("etcd_debugging_mvcc_pending_events_total", "gauge"),
    ("etcd_debugging_mvcc_events_total", "counter"),
    ("etcd_debugging_mvcc_db_compaction_keys_total", "counter"),
    ("etcd_debugging_mvcc_db_compaction_last", "gauge"),
    ("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", "histogram"),
    ("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "histogram"),
    ("etcd_debugging_lease_granted_total", "counter"),
    ("etcd_debugging_lease_revoked_total", "counter"),
    ("etcd_debugging_lease_renewed_total", "counter"),
    ("etcd_network_client_grpc_sent_bytes_total", "counter"),
    ("etcd_network_client_grpc_received_bytes_total", "counter"),
    ("grpc_server_started_total", "counter"),
    ("grpc_server_handled_total", "counter"),
    ("grpc_server_msg_sent_total", "counter"),
    ("grpc_server_msg_received_total", "counter"),
    ("grpc_server_handling_seconds", "histogram"),
    ("process_cpu_seconds_total", "counter"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_virtual_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_open_fds", "gauge"),
    ("process_max_fds", "gauge"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_contract_is_there_with_its_type() {
    let node = one().await;
    use_everything(&node).await;
    let page = Page::of(&node).await;
    for (name, kind) in CONTRACT {
        let head = format!("# TYPE {name} {kind}\n");
        assert_eq!(page.0.matches(&head).count(), 1, "{head} in {}", page.0);
        let parts: &[&str] = match *kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        for part in parts {
            assert!(page.has_sample(&format!("{name}{part}")), "{name}{part} in {}", page.0);
        }
    }
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_time_is_counted_when_it_is_done() {
    let node = one().await;
    let rows = [
        "etcd_debugging_mvcc_db_compaction_keys_total",
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count",
        "etcd_disk_backend_defrag_duration_seconds_count",
        "etcd_disk_backend_snapshot_duration_seconds_count",
        "etcd_mvcc_hash_duration_seconds_count",
        "etcd_mvcc_hash_rev_duration_seconds_count",
        "etcd_server_healthchecks_total{type=\"livez\",name=\"serializable_read\",status=\"success\"}",
        "etcd_server_healthcheck{type=\"readyz\",name=\"data_corruption\"}",
        "etcd_server_apply_duration_seconds_count{version=\"v3\",op=\"Put\",success=\"true\"}",
        "etcd_server_range_duration_seconds_count{success=\"true\"}",
        "etcd_server_request_duration_seconds_count{type=\"Put\",success=\"true\"}",
        "etcd_disk_defrag_inflight",
    ];
    let grew = growth(&node, &rows, use_everything(&node)).await;
    // Two checks of health read as well, and nothing else does.
    let expect = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 4.0, 3.0, 0.0];
    assert_eq!(grew, expect, "{rows:?}");
    let page = Page::of(&node).await;
    assert!(page.value("etcd_debugging_mvcc_db_compaction_last") > 1e9, "a moment of our time");
    assert!(page.value("etcd_disk_wal_write_bytes_total") > 100.0);
    node.server.shutdown().await;
}

/// The counts of a real etcd 3.4 for the same requests, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn operations_on_keys_are_counted_as_etcd_counts_them() {
    use pb::request_op::Request;
    let node = one().await;
    let rows = [
        "etcd_mvcc_put_total",
        "etcd_mvcc_range_total",
        "etcd_mvcc_delete_total",
        "etcd_mvcc_txn_total",
    ];
    let txn = |success: Vec<Request>| {
        let op = |request| pb::RequestOp { request: Some(request) };
        let success = success.into_iter().map(op).collect();
        pb::TxnRequest { success, ..pb::TxnRequest::default() }
    };
    let mut kv = node.kv();
    let grew = growth(&node, &rows, async { kv.put(put("a")).await.unwrap() }).await;
    assert_eq!(grew, [1.0, 0.0, 0.0, 0.0], "a put");
    let one_put = txn(vec![Request::RequestPut(put("x"))]);
    let grew = growth(&node, &rows, async { kv.txn(one_put).await.unwrap() }).await;
    assert_eq!(grew, [1.0, 0.0, 0.0, 0.0], "a transaction of one put");
    let two_puts = txn(vec![Request::RequestPut(put("x")), Request::RequestPut(put("y"))]);
    let grew = growth(&node, &rows, async { kv.txn(two_puts).await.unwrap() }).await;
    assert_eq!(grew, [2.0, 0.0, 0.0, 1.0], "of two");
    let reads = txn(vec![Request::RequestRange(range("x")), Request::RequestRange(range("y"))]);
    let grew = growth(&node, &rows, async { kv.txn(reads).await.unwrap() }).await;
    assert_eq!(grew, [0.0, 2.0, 0.0, 1.0], "of two ranges");
    let grew = growth(&node, &rows, async { kv.range(range("a")).await.unwrap() }).await;
    assert_eq!(grew, [0.0, 1.0, 0.0, 0.0], "a range");
    let delete = |key, prev_kv| pb::DeleteRangeRequest {
        key: bytes(key),
        prev_kv,
        ..pb::DeleteRangeRequest::default()
    };
    let grew = growth(&node, &rows, async { kv.delete_range(delete("a", true)).await.unwrap() });
    assert_eq!(grew.await, [0.0, 1.0, 1.0, 1.0], "a deletion that tells what there was");
    let again = pb::PutRequest { prev_kv: true, ..put("x") };
    let grew = growth(&node, &rows, async { kv.put(again).await.unwrap() }).await;
    assert_eq!(grew, [1.0, 1.0, 0.0, 1.0], "a put that does");
    let grew = growth(&node, &rows, async { kv.delete_range(delete("x", false)).await.unwrap() });
    assert_eq!(grew.await, [0.0, 0.0, 1.0, 0.0], "a deletion");
    let refused = pb::PutRequest { lease: 77, ..put("x") };
    let grew = growth(&node, &rows, async { kv.put(refused).await.unwrap_err() }).await;
    assert_eq!(grew, [0.0; 4], "what is refused is not done");
    let failed =
        "etcd_server_apply_duration_seconds_count{version=\"v3\",op=\"Put\",success=\"false\"}";
    assert!((Page::of(&node).await.value(failed) - 1.0).abs() < 0.1);
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_their_bytes_are_counted_both_ways() {
    let node = one().await;
    let unary = call("Put", "etcdserverpb.KV", "unary");
    let rows = [
        format!("grpc_server_msg_received_total{{{unary}}}"),
        format!("grpc_server_msg_sent_total{{{unary}}}"),
        "etcd_network_client_grpc_received_bytes_total".to_owned(),
        "etcd_network_client_grpc_sent_bytes_total".to_owned(),
        format!("grpc_server_handling_seconds_count{{{unary}}}"),
    ];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let request = put("k");
    let request_bytes = prost::Message::encoded_len(&request);
    let mut answer_bytes = 0;
    let grew = growth(&node, &rows, async {
        let answer = node.kv().put(request).await.unwrap().into_inner();
        answer_bytes = prost::Message::encoded_len(&answer);
    })
    .await;
    assert_eq!(grew, [1.0, 1.0, request_bytes as f64, answer_bytes as f64, 1.0]);

    let bidi = call("Watch", "etcdserverpb.Watch", "bidi_stream");
    let rows = [
        format!("grpc_server_msg_received_total{{{bidi}}}"),
        format!("grpc_server_msg_sent_total{{{bidi}}}"),
    ];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let grew = growth(&node, &rows, async {
        let (_requests, mut answers) = watch(&node).await;
        node.kv().put(put("k")).await.unwrap();
        let event = within("the event", answers.next()).await.unwrap().unwrap();
        assert_eq!(event.events.len(), 1);
    })
    .await;
    assert_eq!(grew, [1.0, 2.0], "the creation, and the answer and the event");
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_counted_when_it_ends_and_by_how_it_ends() {
    let node = one().await;
    let handled = |code: &str, labels: &str| {
        format!("grpc_server_handled_total{{grpc_code=\"{code}\",{labels}}}")
    };
    let bidi = call("Watch", "etcdserverpb.Watch", "bidi_stream");
    let going_on = watch(&node).await;
    let page = Page::of(&node).await;
    assert!(page.value(&format!("grpc_server_started_total{{{bidi}}}")) > 0.5);
    let ended = format!(",{bidi}}} ");
    let mut rows = page.0.lines().filter(|row| row.starts_with("grpc_server_handled_total{"));
    assert!(!rows.any(|row| row.contains(&ended)), "it goes on: {}", page.0);
    // Given up.
    drop(going_on);
    becomes(&node, &handled("Canceled", &bidi), 1.0).await;
    // Ended by an error that comes behind messages.
    let (requests, mut answers) = watch(&node).await;
    let long = pb::WatchCreateRequest { key: vec![7; 3 << 20].into(), ..Default::default() };
    let long = pb::watch_request::RequestUnion::CreateRequest(long);
    requests.send(pb::WatchRequest { request_union: Some(long) }).await.unwrap();
    let refused = within("the refusal", answers.next()).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    becomes(&node, &handled("ResourceExhausted", &bidi), 1.0).await;
    // One that the server ends by itself.
    let stream = call("RangeStream", "etcdserverpb.KV", "server_stream");
    let mut kv = node.kv();
    let mut pieces = kv.range_stream(all_keys()).await.unwrap().into_inner();
    while within("a piece", pieces.next()).await.transpose().unwrap().is_some() {}
    becomes(&node, &handled("OK", &stream), 1.0).await;
    // One that is refused in its head.
    let sorted =
        pb::RangeRequest { sort_order: pb::range_request::SortOrder::Descend.into(), ..all_keys() };
    assert_eq!(kv.range_stream(sorted).await.unwrap_err().code(), Code::Unimplemented);
    becomes(&node, &handled("Unimplemented", &stream), 1.0).await;
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_the_version_of_their_client() {
    let node = one().await;
    let rows = [
        "etcd_server_client_requests_total{client_api_version=\"3.5\",type=\"unary\"}",
        "etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"unary\"}",
        "etcd_server_client_requests_total{client_api_version=\"other\",type=\"unary\"}",
    ];
    let says = |version: Option<&'static str>| {
        let mut request = tonic::Request::new(range("k"));
        if let Some(version) = version {
            request.metadata_mut().insert("client-api-version", version.parse().unwrap());
        }
        request
    };
    let grew = growth(&node, &rows, async {
        for version in [Some("3.5"), None, Some("99"), Some("3.5")] {
            node.kv().range(says(version)).await.unwrap();
        }
    })
    .await;
    assert_eq!(grew, [2.0, 1.0, 1.0]);
    node.server.shutdown().await;
}

const CONTRACT_OF_PEERS: &[(&str, &str)] = &[
    ("etcd_network_peer_sent_bytes_total", "counter"),
    ("etcd_network_peer_received_bytes_total", "counter"),
    ("etcd_network_peer_round_trip_time_seconds", "histogram"),
    ("etcd_network_active_peers", "gauge"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_peer_has_its_bytes_its_connection_and_its_round_trips() {
    let nodes = three().await;
    let ids: Vec<u64> = nodes.iter().map(|node| node.server.status().member_id).collect();
    let page = Page::of(&nodes[0]).await;
    for (name, kind) in CONTRACT_OF_PEERS {
        assert!(page.0.contains(&format!("# TYPE {name} {kind}\n")), "{name} in {}", page.0);
    }
    let active =
        |id: u64| format!("etcd_network_active_peers{{Local=\"{:x}\",Remote=\"{id:x}\"}}", ids[0]);
    for id in &ids[1..] {
        becomes(&nodes[0], &active(*id), 1.0).await;
        let count = format!("etcd_network_peer_round_trip_time_seconds_count{{To=\"{id:x}\"}}");
        within("an answer", async {
            while Page::of(&nodes[0]).await.value(&count) < 1.0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    assert!(!Page::of(&nodes[0]).await.0.contains(&active(ids[0])), "nobody is its own peer");
    let rows: Vec<String> = ids[1..]
        .iter()
        .flat_map(|id| {
            [
                format!("etcd_network_peer_sent_bytes_total{{To=\"{id:x}\"}}"),
                format!("etcd_network_peer_received_bytes_total{{From=\"{id:x}\"}}"),
            ]
        })
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let grew = growth(&nodes[0], &rows, async {
        let value = bytes(&"v".repeat(100_000));
        nodes[0].kv().put(pb::PutRequest { value, ..put("k") }).await.unwrap();
    })
    .await;
    let large = grew.iter().filter(|bytes| **bytes > 100_000.0).count();
    assert!(large >= 1, "the value went to a peer, or to the leader: {grew:?}");
    for node in nodes {
        node.server.shutdown().await;
    }
}
