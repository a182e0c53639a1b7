//! One member, everything that a client of it can see.

use crate::common::{bytes, check, one, one_with, put, range, within};
use crate::watchers::watch_from;
use api::etcdserverpb::{self as pb, request_op::Request, response_op::Response as Answer};
use tonic::Code;

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
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
