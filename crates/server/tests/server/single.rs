//! One member, everything that a client of it can see.

use crate::common::{bytes, one, one_with, within};
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::{self as pb, request_op::Request, response_op::Response as Answer};
use tonic::{Code, Status};

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..pb::PutRequest::default() }
}

fn range(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), ..pb::RangeRequest::default() }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

#[track_caller]
fn check(status: &Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, text));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_read_and_every_header_says_where_and_when() {
    let node = one().await;
    let mut kv = node.kv();
    let answer = kv.range(range("k")).await.unwrap().into_inner();
    assert_eq!((answer.count, answer.header.unwrap().revision), (0, 1), "a fresh store");
    let answer = kv.put(put("k", "v")).await.unwrap().into_inner();
    let header = answer.header.unwrap();
    let status = node.server.status();
    assert_eq!(header.revision, 2);
    assert_eq!(header.member_id, status.member_id);
    assert_eq!(header.cluster_id, status.cluster_id);
    assert_eq!(header.raft_term, status.term);
    for serializable in [false, true] {
        let request = pb::RangeRequest { serializable, ..range("k") };
        let answer = kv.range(request).await.unwrap().into_inner();
        let kv = &answer.kvs[0];
        assert_eq!((&kv.key[..], &kv.value[..]), (&b"k"[..], &b"v"[..]));
        assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 2, 1));
    }
    let delete = pb::DeleteRangeRequest { key: bytes("k"), prev_kv: true, ..Default::default() };
    let answer = kv.delete_range(delete).await.unwrap().into_inner();
    assert_eq!((answer.deleted, &answer.prev_kvs[0].value[..]), (1, &b"v"[..]));
    assert_eq!(answer.header.unwrap().revision, 3);
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_takes_one_branch_at_one_revision() {
    let node = one().await;
    let mut kv = node.kv();
    let txn = |value: &str| pb::TxnRequest {
        compare: vec![pb::Compare {
            key: bytes("k"),
            target_union: Some(pb::compare::TargetUnion::Version(0)),
            ..pb::Compare::default()
        }],
        success: vec![op(Request::RequestPut(put("k", value)))],
        failure: vec![op(Request::RequestRange(range("k")))],
    };
    let first = kv.txn(txn("1")).await.unwrap().into_inner();
    assert!(first.succeeded);
    assert_eq!(first.header.unwrap().revision, 2);
    let second = kv.txn(txn("2")).await.unwrap().into_inner();
    assert!(!second.succeeded);
    let Some(Answer::ResponseRange(read)) = &second.responses[0].response else {
        panic!("the failure branch reads: {second:?}");
    };
    assert_eq!(&read.kvs[0].value[..], b"1");
    assert_eq!(second.header.unwrap().revision, 2, "it changed nothing");
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_codes_and_texts_of_etcd() {
    let node = one().await;
    let mut kv = node.kv();
    let refused = kv.put(put("", "v")).await.unwrap_err();
    check(&refused, Code::InvalidArgument, "etcdserver: key is not provided");
    let refused = kv.put(pb::PutRequest { lease: 77, ..put("k", "v") }).await.unwrap_err();
    check(&refused, Code::NotFound, "etcdserver: requested lease not found");
    let future = pb::RangeRequest { revision: 99, ..range("k") };
    let refused = kv.range(future).await.unwrap_err();
    let text = "etcdserver: mvcc: required revision is a future revision";
    check(&refused, Code::OutOfRange, text);
    let twice =
        vec![op(Request::RequestPut(put("k", "1"))), op(Request::RequestPut(put("k", "2")))];
    let refused =
        kv.txn(pb::TxnRequest { success: twice, ..Default::default() }).await.unwrap_err();
    check(&refused, Code::InvalidArgument, "etcdserver: duplicate key given in txn request");
    let many = vec![op(Request::RequestRange(range("k"))); 129];
    let refused = kv.txn(pb::TxnRequest { success: many, ..Default::default() }).await.unwrap_err();
    check(&refused, Code::InvalidArgument, "etcdserver: too many operations in txn request");
    let refused = node.lease().lease_revoke(pb::LeaseRevokeRequest { id: 5 }).await.unwrap_err();
    check(&refused, Code::NotFound, "etcdserver: requested lease not found");
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_limits_are_refused_before_they_reach_the_log() {
    let node = one().await;
    let mut kv = node.kv();
    let refused = kv.put(put("k", &"v".repeat(1_600_000))).await.unwrap_err();
    check(&refused, Code::InvalidArgument, "etcdserver: request is too large");
    let refused = kv.put(put("k", &"v".repeat(2_100_000))).await.unwrap_err();
    // Key and value with their heads are 12 bytes more than the value.
    let text = "grpc: received message larger than max (2100008 vs. 2097152)";
    check(&refused, Code::ResourceExhausted, text);
    let answer = kv.put(put("k", &"v".repeat(1_500_000))).await.unwrap().into_inner();
    assert_eq!(answer.header.unwrap().revision, 2, "nothing was written before");
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compacted_is_gone_and_the_rest_is_there() {
    let node = one().await;
    let mut kv = node.kv();
    for value in ["1", "2", "3"] {
        kv.put(put("k", value)).await.unwrap();
    }
    let compact = pb::CompactionRequest { revision: 3, physical: true };
    within("the space to be free", kv.compact(compact)).await.unwrap();
    let refused = kv.range(pb::RangeRequest { revision: 2, ..range("k") }).await.unwrap_err();
    let text = "etcdserver: mvcc: required revision has been compacted";
    check(&refused, Code::OutOfRange, text);
    let at = pb::RangeRequest { revision: 3, ..range("k") };
    assert_eq!(&kv.range(at).await.unwrap().into_inner().kvs[0].value[..], b"2");
    let again = kv.compact(pb::CompactionRequest { revision: 3, physical: false }).await;
    check(&again.unwrap_err(), Code::OutOfRange, text);
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_with_its_keys_unless_it_is_kept_alive() {
    let node = one().await;
    let (mut kv, mut lease) = (node.kv(), node.lease());
    let granted = lease.lease_grant(pb::LeaseGrantRequest { ttl: 0, id: 0 }).await.unwrap();
    let granted = granted.into_inner();
    assert_eq!(granted.ttl, 1, "one and a half election timeouts, rounded up");
    assert!(granted.id > 0);
    let long = lease.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 7 }).await.unwrap();
    assert_eq!(long.into_inner().id, 7);
    let refused = lease.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 7 }).await.unwrap_err();
    check(&refused, Code::FailedPrecondition, "etcdserver: lease already exists");
    kv.put(pb::PutRequest { lease: granted.id, ..put("short", "v") }).await.unwrap();
    kv.put(pb::PutRequest { lease: 7, ..put("long", "v") }).await.unwrap();

    let (asks, requests) = tokio::sync::mpsc::channel(4);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut kept = lease.lease_keep_alive(requests).await.unwrap().into_inner();
    asks.send(pb::LeaseKeepAliveRequest { id: 7 }).await.unwrap();
    assert_eq!(kept.message().await.unwrap().unwrap().ttl, 60);
    asks.send(pb::LeaseKeepAliveRequest { id: 8 }).await.unwrap();
    assert_eq!(kept.message().await.unwrap().unwrap().ttl, 0, "there is no lease 8");

    let ask = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    let life = lease.lease_time_to_live(ask).await.unwrap().into_inner();
    assert_eq!((life.granted_ttl, &life.keys[..]), (60, &[bytes("long")][..]));
    assert!((59..=60).contains(&life.ttl), "{}", life.ttl);
    let ask = pb::LeaseTimeToLiveRequest { id: 8, keys: false };
    assert_eq!(lease.lease_time_to_live(ask).await.unwrap().into_inner().ttl, -1);

    let mut events = watch_from(&node, "short", 2).await;
    let event = within("the lease to end", events.message()).await.unwrap().unwrap();
    let kinds: Vec<i32> = event.events.iter().map(|event| event.r#type).collect();
    let kinds = if kinds == [0] {
        within("the lease to end", events.message()).await.unwrap().unwrap().events[0].r#type
    } else {
        *kinds.last().unwrap()
    };
    assert_eq!(kinds, 1, "the key of the lease was deleted");
    assert_eq!(kv.range(range("short")).await.unwrap().into_inner().count, 0);
    assert_eq!(kv.range(range("long")).await.unwrap().into_inner().count, 1);
    let left = lease.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    assert_eq!(left.leases, [pb::LeaseStatus { id: 7 }]);
    node.server.shutdown().await;
}

/// Watches one key; the answer to the creation is taken.
async fn watch_from(
    node: &crate::common::Node,
    key: &str,
    start_revision: i64,
) -> tonic::Streaming<pb::WatchResponse> {
    let create = pb::WatchCreateRequest { key: bytes(key), start_revision, ..Default::default() };
    let (requests, mut answers) = watch_stream(node).await;
    requests.send(create_request(create)).await.unwrap();
    let created = answers.message().await.unwrap().unwrap();
    assert!(created.created && !created.canceled, "{created:?}");
    answers
}

type WatchRequests = tokio::sync::mpsc::Sender<pb::WatchRequest>;

async fn watch_stream(
    node: &crate::common::Node,
) -> (WatchRequests, tonic::Streaming<pb::WatchResponse>) {
    let (requests, stream) = tokio::sync::mpsc::channel(16);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let answers = node.watch().watch(stream).await.unwrap().into_inner();
    (requests, answers)
}

fn create_request(create: pb::WatchCreateRequest) -> pb::WatchRequest {
    let request_union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
    pb::WatchRequest { request_union }
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_of_one_stream_hear_the_past_and_the_present_in_order() {
    let node = one().await;
    let mut kv = node.kv();
    kv.put(put("a1", "1")).await.unwrap();
    kv.put(put("b1", "2")).await.unwrap();
    let (requests, mut answers) = watch_stream(&node).await;
    let past = pb::WatchCreateRequest {
        key: bytes("a"),
        range_end: bytes("b"),
        start_revision: 1,
        prev_kv: true,
        ..Default::default()
    };
    requests.send(create_request(past)).await.unwrap();
    let mut next = async || within("an answer", answers.message()).await.unwrap().unwrap();
    let created = next().await;
    assert!(created.created);
    assert_eq!(created.watch_id, 0);
    let event = next().await;
    assert_eq!((event.watch_id, &event.events[0].kv.as_ref().unwrap().key[..]), (0, &b"a1"[..]));
    kv.put(put("b1", "3")).await.unwrap();
    kv.put(put("a1", "4")).await.unwrap();
    let event = next().await;
    assert_eq!(event.events.len(), 1, "other keys are not this watcher's: {event:?}");
    assert_eq!(&event.events[0].prev_kv.as_ref().unwrap().value[..], b"1");
    assert_eq!(event.header.unwrap().revision, 5);

    let progress = pb::watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
    requests.send(pb::WatchRequest { request_union: Some(progress) }).await.unwrap();
    let told = next().await;
    assert_eq!((told.watch_id, told.header.unwrap().revision, told.events.len()), (-1, 5, 0));

    let same = pb::WatchCreateRequest { watch_id: 9, key: bytes("x"), ..Default::default() };
    requests.send(create_request(same.clone())).await.unwrap();
    assert_eq!(next().await.watch_id, 9);
    requests.send(create_request(same)).await.unwrap();
    let rejected = next().await;
    assert!(rejected.created && rejected.canceled);
    assert_eq!(rejected.watch_id, -1);
    assert_eq!(rejected.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");

    let cancel = pb::WatchCancelRequest { watch_id: 9 };
    let cancel = pb::watch_request::RequestUnion::CancelRequest(cancel);
    requests.send(pb::WatchRequest { request_union: Some(cancel) }).await.unwrap();
    let canceled = next().await;
    assert!(canceled.canceled && canceled.watch_id == 9 && canceled.cancel_reason.is_empty());
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_compacted_history_is_told_where_history_begins() {
    let node = one().await;
    let mut kv = node.kv();
    for value in ["1", "2", "3"] {
        kv.put(put("k", value)).await.unwrap();
    }
    kv.compact(pb::CompactionRequest { revision: 3, physical: false }).await.unwrap();
    let (requests, mut answers) = watch_stream(&node).await;
    let create =
        pb::WatchCreateRequest { key: bytes("k"), start_revision: 2, ..Default::default() };
    requests.send(create_request(create)).await.unwrap();
    assert!(answers.message().await.unwrap().unwrap().created);
    let canceled = within("the end of the watcher", answers.message()).await.unwrap().unwrap();
    assert!(canceled.canceled);
    assert_eq!((canceled.compact_revision, canceled.cancel_reason.as_str()), (3, ""));
    assert_eq!(canceled.header.unwrap().revision, 0);
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_and_probes_get_their_answers() {
    let node = one().await;
    node.kv().put(put("k", "v")).await.unwrap();
    let mut maintenance = node.maintenance();
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.version, server::ETCD_VERSION);
    assert_eq!(status.leader, node.server.status().member_id);
    assert!(status.db_size > 0 && status.raft_index >= status.raft_applied_index);
    assert_eq!(status.errors, Vec::<String>::new());
    let hash = maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await.unwrap().into_inner();
    assert_eq!((hash.compact_revision, hash.hash_revision), (-1, 2));
    let defragmented = maintenance.defragment(pb::DefragmentRequest {}).await.unwrap();
    assert_eq!(defragmented.into_inner().header, None);

    let health = node.get("/health").await;
    assert_eq!(health, (200, r#"{"health":"true","reason":""}"#.to_owned()));
    assert_eq!(node.get("/livez").await, (200, "ok\n".to_owned()));
    let verbose = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n\
                   [+]non_learner ok\nok\n";
    assert_eq!(node.get("/readyz?verbose").await, (200, verbose.to_owned()));
    assert_eq!(node.get("/readyz/no_such_check").await.0, 404);
    assert_eq!(node.get("/livez/serializable_read").await, (200, "ok\n".to_owned()));
    let (status, verbose) = node.get("/readyz?verbose&exclude=non_learner").await;
    assert_eq!(status, 200);
    assert!(!verbose.contains("[+]non_learner ok"), "{verbose}");
    let (_, version) = node.get("/version").await;
    assert!(version.contains(&format!("\"etcdserver\":\"{}\"", server::ETCD_VERSION)), "{version}");
    let (_, metrics) = node.get("/metrics").await;
    for line in [
        "etcd_server_has_leader 1\n",
        "etcd_server_is_leader 1\n",
        "etcd_debugging_mvcc_current_revision 2\n",
        "# TYPE etcd_disk_wal_fsync_duration_seconds histogram\n",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} ",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} ",
        "process_cpu_seconds_total ",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",\
         grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_services_refuse_in_etcds_words() {
    use api::etcdserverpb::auth_client::AuthClient;
    use api::etcdserverpb::cluster_client::ClusterClient;
    let node = one().await;
    let mut auth = AuthClient::new(node.channel.clone());
    let refused = auth.authenticate(pb::AuthenticateRequest::default()).await.unwrap_err();
    check(&refused, Code::FailedPrecondition, "etcdserver: authentication is not enabled");
    assert!(!auth.auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner().enabled);
    let mut cluster = ClusterClient::new(node.channel.clone());
    let refused = cluster.member_add(pb::MemberAddRequest::default()).await.unwrap_err();
    check(&refused, Code::InvalidArgument, "etcdserver: given member URLs are invalid");
    let refused = cluster.member_promote(pb::MemberPromoteRequest { id: 1 }).await.unwrap_err();
    check(&refused, Code::NotFound, "etcdserver: member not found");
    node.kv().put(put("k", "v")).await.unwrap();
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_stops_writes_until_it_is_disarmed() {
    use pb::alarm_request::AlarmAction::{Activate, Deactivate, Get};
    let node = one().await;
    let member_id = node.server.status().member_id;
    let request = |action: pb::alarm_request::AlarmAction, member_id, alarm: pb::AlarmType| {
        pb::AlarmRequest { action: action.into(), member_id, alarm: alarm.into() }
    };
    let mut maintenance = node.maintenance();
    let nospace = pb::AlarmType::Nospace;
    maintenance.alarm(request(Activate, member_id, nospace)).await.unwrap();
    let refused = node.kv().put(put("k", "v")).await.unwrap_err();
    let text = "etcdserver: mvcc: database space exceeded";
    check(&refused, Code::ResourceExhausted, text);
    assert_eq!(
        node.get("/health").await,
        (503, r#"{"health":"false","reason":"ALARM NOSPACE"}"#.to_owned())
    );
    assert_eq!(node.get("/health?exclude=NOSPACE").await.0, 200);
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.errors, [format!("memberID:{member_id} alarm:NOSPACE ")]);
    let listed = maintenance.alarm(request(Get, 0, pb::AlarmType::None)).await.unwrap();
    assert_eq!(listed.into_inner().alarms.len(), 1);
    let gone = maintenance.alarm(request(Deactivate, 0, pb::AlarmType::None)).await.unwrap();
    assert_eq!(gone.into_inner().alarms[0].member_id, member_id);
    node.kv().put(put("k", "v")).await.unwrap();
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_over_grpc_says_serving() {
    use api::grpc::health::v1::{HealthCheckRequest, health_client::HealthClient};
    let node = one().await;
    let mut health = HealthClient::new(node.channel.clone());
    let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status, 1);
    let unknown = HealthCheckRequest { service: "x".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
    let mut phases = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(phases.message().await.unwrap().unwrap().status, 1);
    node.server.shutdown().await;
    assert_eq!(phases.message().await.unwrap().unwrap().status, 2, "not serving any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_everything_and_refuses_what_is_not_its_own() {
    let node = one_with(|options| options.snapshot_count = 10).await;
    for number in 0..50 {
        node.kv().put(put(&format!("k{number}"), "v")).await.unwrap();
    }
    let hash = node.server.hash().unwrap();
    let crate::common::Node { dir, server, .. } = node;
    let again = crate::common::options("a", dir.path());
    let busy = server::Server::start(again).await.unwrap_err();
    assert_eq!(busy.exit_code(), 12, "{busy}");
    server.shutdown().await;
    let other = crate::common::options("b", dir.path());
    let foreign = server::Server::start(other).await.unwrap_err();
    assert_eq!(foreign.exit_code(), 11, "{foreign}");
    let server = server::Server::start(crate::common::options("a", dir.path())).await.unwrap();
    within("the member to be ready again", server.wait_ready()).await;
    assert_eq!(server.hash().unwrap(), hash);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = crate::common::listener();
    let options = server::ServerOptions {
        client_listener: None,
        listen_client_urls: vec![format!("http://{}", taken.local_addr().unwrap())],
        ..crate::common::options("a", dir.path())
    };
    let error = server::Server::start(options).await.unwrap_err();
    assert_eq!(error.exit_code(), 13);
    let text = error.to_string();
    assert!(text.contains(&taken.local_addr().unwrap().to_string()), "{text}");
    assert!(!dir.path().join("data").exists(), "nothing was made");
}

/// Put together, the pieces are what a Range answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_range_in_pieces_is_the_range() {
    let node = one().await;
    for number in 0..57 {
        node.kv().put(put(&format!("k{number:02}"), "v")).await.unwrap();
    }
    for (limit, end, keys_only) in
        [(0, "l", false), (25, "l", true), (57, "l", false), (0, "", false)]
    {
        let request = pb::RangeRequest { range_end: bytes(end), limit, keys_only, ..range("k10") };
        let whole = node.kv().range(request.clone()).await.unwrap().into_inner();
        let mut stream = node.kv().range_stream(request).await.unwrap().into_inner();
        let (mut merged, mut pieces) = (pb::RangeResponse::default(), 0);
        while let Some(piece) = within("a piece", stream.message()).await.unwrap() {
            let piece = piece.range_response.unwrap();
            assert!(merged.header.is_none(), "the one with the header is the last");
            pieces += 1;
            merged.kvs.extend(piece.kvs);
            (merged.header, merged.more, merged.count) = (piece.header, piece.more, piece.count);
        }
        assert_eq!(merged, whole, "limit {limit}, end {end:?}");
        assert_eq!(pieces > 2, end == "l");
    }
    // (order, target, the least revision): what etcd streams, and what it says of the rest.
    let sort = "RangeStream does not support custom sort orders";
    let filter = "RangeStream does not support revision filters";
    for (sort_order, sort_target, min_mod_revision, refusal) in [
        (1, 0, 0, None),
        (0, 3, 0, None),
        (2, 0, 0, Some(sort)),
        (1, 3, 0, Some(sort)),
        (2, 0, 5, Some(sort)),
        (0, 0, 5, Some(filter)),
    ] {
        let request = pb::RangeRequest { sort_order, sort_target, min_mod_revision, ..range("k0") };
        let answer = node.kv().range_stream(request).await;
        let told = answer.err().map(|status| (status.code(), status.message().to_owned()));
        assert_eq!(told, refusal.map(|text| (Code::Unimplemented, text.to_owned())));
    }
    for sort_order in [2, 99] {
        let empty = pb::RangeRequest { sort_order, ..range("") };
        let told = node.kv().range_stream(empty).await.unwrap_err();
        assert_eq!(told.message(), "etcdserver: key is not provided");
    }
    node.server.shutdown().await;
}

/// What `etcdctl snapshot save` writes: a whole number of pages, and their SHA-256.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_a_bbolt_file_with_its_hash_behind_it() {
    use sha2::Digest as _;
    let node = one().await;
    for number in 0..300 {
        node.kv().put(put(&format!("k{number}"), &"v".repeat(number * 10))).await.unwrap();
    }
    node.kv().compact(pb::CompactionRequest { revision: 100, physical: false }).await.unwrap();
    let mut stream =
        node.maintenance().snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    let (mut file, mut left) = (Vec::new(), None);
    while let Some(piece) = within("a piece", stream.message()).await.unwrap() {
        assert_eq!(piece.header, None);
        if let Some(left) = left {
            let bytes = piece.blob.len() as u64;
            assert!(left == piece.remaining_bytes + bytes || piece.remaining_bytes == 0);
        }
        left = Some(piece.remaining_bytes);
        file.extend_from_slice(&piece.blob);
    }
    assert_eq!(file.len() % 512, 32);
    let (database, hash) = file.split_at(file.len() - 32);
    assert_eq!(sha2::Sha256::digest(database)[..], *hash);
    assert_eq!(database[16..20], 0xED0C_DAED_u32.to_le_bytes(), "the magic of bbolt");
    let left: Vec<_> = std::fs::read_dir(node.dir.path().join("data")).unwrap().collect();
    assert!(
        left.iter().flatten().all(|file| !file.file_name().to_string_lossy().contains("backup"))
    );
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_bounded_in_number() {
    let node = one_with(|options| options.leases_max = 3).await;
    let grant = async |id| node.lease().lease_grant(pb::LeaseGrantRequest { ttl: 600, id }).await;
    for id in 1..=3 {
        grant(id).await.unwrap();
    }
    assert_eq!(grant(4).await.unwrap_err().message(), "etcdserver: too many requests");
    let name = bytes("lock");
    let lock = api::v3lockpb::LockRequest { name, lease: 0 };
    let mut locks = api::v3lockpb::lock_client::LockClient::new(node.channel.clone());
    let refused = locks.lock(lock).await.unwrap_err();
    check(&refused, Code::Unknown, "etcdserver: too many requests");
    node.lease().lease_revoke(pb::LeaseRevokeRequest { id: 1 }).await.unwrap();
    grant(4).await.unwrap();
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_that_nobody_reads_keep_nobody_else_from_reading() {
    let node = one().await;
    for number in 0..4 {
        let value = vec![b'v'; 1 << 20].into();
        let key = bytes(&format!("large/{number}"));
        node.kv().put(pb::PutRequest { key, value, ..Default::default() }).await.unwrap();
    }
    let mut unread = Vec::new();
    let refused = loop {
        assert!(unread.len() < 100, "a hundred backups are under way");
        match node.maintenance().snapshot(pb::SnapshotRequest {}).await {
            Ok(backup) => unread.push(backup),
            Err(status) => break status,
        }
    };
    assert_eq!((unread.len(), refused.message()), (8, "etcdserver: too many requests"));
    let (key, range_end) = (bytes("large/"), bytes("large0"));
    let all = pb::RangeRequest { key, range_end, ..Default::default() };
    // What is not read fills the window of its connection.
    let other = crate::common::connect(&node.server);
    let mut kv = KvClient::new(other).max_decoding_message_size(8 << 20);
    assert_eq!(kv.range(all).await.unwrap().into_inner().count, 4);
    drop(unread);
    within("a turn", async {
        while node.maintenance().snapshot(pb::SnapshotRequest {}).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_downgrade_is_validated_enabled_and_cancelled_as_in_etcd() {
    use pb::downgrade_request::DowngradeAction::{Cancel, Enable, Validate};
    let node = one().await;
    let mut maintenance = node.maintenance();
    let request = |action: pb::downgrade_request::DowngradeAction, version: &str| {
        pb::DowngradeRequest { action: action.into(), version: version.to_owned() }
    };
    let refused = maintenance.downgrade(request(Validate, "x")).await.unwrap_err();
    let text = "etcdserver: wrong downgrade target version format";
    check(&refused, Code::InvalidArgument, text);
    let refused = maintenance.downgrade(request(Validate, "1.0")).await.unwrap_err();
    check(&refused, Code::InvalidArgument, "etcdserver: invalid downgrade target version");
    let refused = maintenance.downgrade(request(Cancel, "")).await.unwrap_err();
    check(&refused, Code::FailedPrecondition, "etcdserver: no inflight downgrade job");
    let unknown = pb::DowngradeRequest { action: 9, version: "3.5".to_owned() };
    let refused = maintenance.downgrade(unknown).await.unwrap_err();
    check(&refused, Code::Unknown, "etcdserver: unknown method");

    let answer = maintenance.downgrade(request(Validate, "3.5.9")).await.unwrap().into_inner();
    assert_eq!((answer.version.as_str(), answer.header.is_some()), ("3.6", true));
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.downgrade_info, Some(pb::DowngradeInfo::default()));

    let answer = maintenance.downgrade(request(Enable, "3.5")).await.unwrap().into_inner();
    assert_eq!(answer.version, "3.6", "what it was");
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    let enabled = pb::DowngradeInfo { enabled: true, target_version: "3.5.0".to_owned() };
    assert_eq!(status.downgrade_info, Some(enabled));
    assert_eq!(status.storage_version, "3.5.0");
    assert_eq!(status.version, server::ETCD_VERSION, "the program is what it was");
    let version = node.get("/version").await.1;
    assert!(version.contains("\"etcdcluster\":\"3.5.0\""), "{version}");
    // It is a cluster of 3.5 now: no way leads down to where it is, and one at a time is enough.
    let refused = maintenance.downgrade(request(Enable, "3.5")).await.unwrap_err();
    check(&refused, Code::InvalidArgument, "etcdserver: invalid downgrade target version");
    let refused = maintenance.downgrade(request(Validate, "3.4")).await.unwrap_err();
    let text = "etcdserver: cluster has a downgrade job in progress";
    check(&refused, Code::FailedPrecondition, text);

    let answer = maintenance.downgrade(request(Cancel, "")).await.unwrap().into_inner();
    assert_eq!(answer.version, "3.5");
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (status.storage_version.as_str(), status.downgrade_info),
        ("3.6.0", Some(pb::DowngradeInfo::default()))
    );
    node.server.shutdown().await;
}
