//! Watchers of one member: what they hear, and what they are told when they cannot.

use crate::common::{bytes, one, put, within};
use api::etcdserverpb as pb;

/// Watches one key; the answer to the creation is taken.
pub(crate) async fn watch_from(
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
