//! One member, as those who look after it see it: status, probes, alarms, restarts, backups and
//! downgrades.

use crate::common::{bytes, check, one, one_with, put, within};
use api::etcdserverpb as pb;
use api::etcdserverpb::kv_client::KvClient;
use tonic::Code;

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
