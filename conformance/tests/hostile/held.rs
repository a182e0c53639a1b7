//! What a connection makes a member keep beside the messages of KV: heads, open streams, watchers,
//! and answers of other services.

use std::net::SocketAddr;
use std::time::Duration;

use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{LeaseGrantRequest, WatchCreateRequest, WatchRequest};
use api::etcdserverpb::{RangeRequest, lease_client::LeaseClient};
use api::v3electionpb::election_client::ElectionClient;
use api::v3electionpb::{CampaignRequest, LeaderRequest};
use bytes::Bytes;
use conformance::load::lazy;
use h2::client::{ResponseFuture, SendRequest};
use tokio::net::TcpStream;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::streams::{call, connect, encoded, status};

/// As the code of a refusal stands in its head.
const TOO_MANY: [&str; 2] = ["2", "8"];
/// Those that are taken stay open so long.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);
const ELECTION: &str = "hostile";

/// How many calls are refused at once; the others are kept until then.
async fn refused(calls: Vec<ResponseFuture>) -> usize {
    let mut asked = tokio::task::JoinSet::new();
    for call in calls {
        asked.spawn(status(call, REFUSED_WITHIN));
    }
    let answers = asked.join_all().await;
    answers.into_iter().flatten().filter(|code| TOO_MANY.contains(&code.as_str())).count()
}

/// Calls with long heads and no bodies, all open at a time.
pub(crate) async fn long_heads(to: SocketAddr, count: usize) -> usize {
    let Some(mut send) = connect(to, 65_535).await else { return 0 };
    let long = "x".repeat(15_000);
    let (mut answers, mut open) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let request = http::Request::post("http://localhost/etcdserverpb.KV/Put")
            .header("content-type", "application/grpc")
            .header("x-long", &long);
        let Ok(ready) = send.ready().await else { break };
        send = ready;
        let Ok((answer, body)) = send.send_request(request.body(()).unwrap(), false) else { break };
        answers.push(answer);
        open.push(body);
    }
    refused(answers).await
}

/// Streams on which nothing is said.
pub(crate) async fn open_streams(to: SocketAddr, count: usize) -> usize {
    let Some(mut send) = connect(to, 65_535).await else { return 0 };
    let (mut answers, mut open) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let Ok(ready) = send.ready().await else { break };
        send = ready;
        let Some((answer, body)) = call(&mut send, "/etcdserverpb.Watch/Watch") else { break };
        answers.push(answer);
        open.push(body);
    }
    refused(answers).await
}

/// Watchers of long keys on one stream: how many were not made.
pub(crate) async fn watchers(to: SocketAddr, count: usize, key_bytes: usize) -> usize {
    let (requests, stream) = tokio::sync::mpsc::unbounded_channel();
    let mut client = WatchClient::new(lazy(&to.to_string()));
    let key: Bytes = vec![b'k'; key_bytes].into();
    for _ in 0..count {
        let create = WatchCreateRequest { key: key.clone(), ..WatchCreateRequest::default() };
        let request_union = Some(RequestUnion::CreateRequest(create));
        requests.send(WatchRequest { request_union }).unwrap();
    }
    let answers = client.watch(UnboundedReceiverStream::new(stream)).await.unwrap();
    let mut answers = answers.into_inner();
    let mut refused = 0;
    for _ in 0..count {
        let answer = answers.message().await.unwrap().unwrap();
        if answer.canceled {
            assert!(answer.cancel_reason.contains("too many requests"), "{answer:?}");
            refused += 1;
        }
    }
    refused
}

/// Wins the election with a long value.
pub(crate) async fn lead(to: SocketAddr, value_bytes: usize) {
    let channel = lazy(&to.to_string());
    let grant = LeaseGrantRequest { ttl: 600, ..LeaseGrantRequest::default() };
    let lease = LeaseClient::new(channel.clone()).lease_grant(grant).await.unwrap().into_inner().id;
    let (name, value) = (ELECTION.into(), vec![b'v'; value_bytes].into());
    let campaign = CampaignRequest { name, lease, value };
    ElectionClient::new(channel).campaign(campaign).await.unwrap();
}

/// Who leads, asked many times, and nothing of the answers is read.
pub(crate) async fn unread_leaders(to: SocketAddr) {
    let Some(mut send) = connect(to, 0).await else { return };
    let ask = encoded(&LeaderRequest { name: ELECTION.into() });
    let mut kept = Vec::new();
    for number in 0..300 {
        let method = if number % 2 == 0 { "Leader" } else { "Observe" };
        let path = format!("/v3electionpb.Election/{method}");
        let Some((answer, mut body)) = call(&mut send, &path) else { break };
        let _sent = body.send_data(ask.clone(), true);
        kept.push((answer, body));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Ranges over a connection that says it reads everything, and reads nothing.
pub(crate) async fn unread_socket(to: SocketAddr) {
    let Ok(stream) = TcpStream::connect(to).await else { return };
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let Ok((send, connection)) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut send: SendRequest<Bytes> = send;
    let (key, range_end) = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let range = encoded(&RangeRequest { key, range_end, ..RangeRequest::default() });
    let mut kept = Vec::new();
    for _ in 0..100 {
        let Some((answer, mut body)) = call(&mut send, "/etcdserverpb.KV/Range") else { break };
        let _sent = body.send_data(range.clone(), true);
        kept.push((answer, body));
    }
    // Long enough for the questions to leave; then nobody reads any more.
    tokio::pin!(connection);
    let _stopped = tokio::time::timeout(Duration::from_millis(50), &mut connection).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
}
