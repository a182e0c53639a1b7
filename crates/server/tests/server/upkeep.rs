//! What members do beside answering: ending leases, dropping history; and where they are looked at.

use api::etcdserverpb as pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::common::{bytes, one, one_with, three, within};

fn put(key: &str, lease: i64) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes("v"), lease, ..Default::default() }
}

/// W10 and the plan's ten thousand: leases that end at the same time end within bounds, and puts go
/// on meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_leases_that_end_at_once_hold_nobody_up() {
    const LEASES: i64 = 10_000;
    const AT_ONCE: usize = 64;
    let nodes = three().await;
    let leader = nodes.iter().find(|node| {
        let status = node.server.status();
        status.leader_id == Some(status.member_id)
    });
    let node = leader.unwrap_or(&nodes[0]);
    let mut granting = tokio::task::JoinSet::new();
    for id in 1..=LEASES {
        let (mut lease, mut kv) = (node.lease(), node.kv());
        granting.spawn(async move {
            lease.lease_grant(pb::LeaseGrantRequest { ttl: 5, id }).await.unwrap();
            kv.put(put(&format!("l{id}"), id)).await.unwrap();
        });
        if granting.len() >= AT_ONCE {
            granting.join_next().await;
        }
    }
    while granting.join_next().await.is_some() {}
    let left = async || {
        let request = pb::LeaseLeasesRequest {};
        node.lease().lease_leases(request).await.unwrap().into_inner().leases.len()
    };
    let mut puts = 0;
    within("all leases to end", async {
        while left().await > 0 {
            // Each is answered although leases end by the thousand.
            node.kv().put(put("other", 0)).await.unwrap();
            puts += 1;
        }
    })
    .await;
    let range = pb::RangeRequest {
        key: bytes("l"),
        range_end: bytes("m"),
        count_only: true,
        ..Default::default()
    };
    for node in &nodes {
        assert_eq!(node.kv().range(range.clone()).await.unwrap().into_inner().count, 0);
    }
    assert!(puts > 10, "only {puts} puts were answered meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_have_a_socket_where_nothing_else_is() {
    let node = one_with(|options| {
        options.listen_metrics_urls = vec!["http://127.0.0.1:0".to_owned()];
    })
    .await;
    let address = node.server.metrics_addresses()[0];
    let get = async |method: &str, path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    for path in ["/health", "/livez", "/readyz"] {
        assert!(get("GET", path).await.starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(get("GET", "/metrics").await.contains("etcd_server_has_leader"));
    assert!(get("POST", "/v3/kv/put").await.starts_with("HTTP/1.1 404"));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut kv = pb::kv_client::KvClient::new(channel.connect().await.unwrap());
    assert!(kv.put(put("k", 0)).await.is_err(), "no client is served there");
    node.server.shutdown().await;
}

/// A client that asks for large ranges over and over on one connection and reads none of the
/// answers is refused before they fill the memory, and nobody else is.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_are_bounded() {
    const ASKED: usize = 200;
    let node = one().await;
    let large = pb::PutRequest { key: bytes("k"), value: vec![7; 1 << 20].into(), ..put("k", 0) };
    node.kv().put(large).await.unwrap();
    let range = pb::RangeRequest { key: bytes("k"), ..Default::default() };
    let message = prost::Message::encode_to_vec(&range);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = bytes::Bytes::from([&[0][..], &length, &message].concat());
    let stream = TcpStream::connect(node.server.client_address()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..ASKED {
        let request = http::Request::post("http://node/etcdserverpb.KV/Range")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(frame.clone(), true).unwrap();
        // Held and never read.
        answers.push(within("an answer", answer).await.unwrap());
    }
    let codes = answers.iter().map(|answer| Status::from_header_map(answer.headers()));
    let refused: Vec<Status> = codes.flatten().collect();
    assert!(!refused.is_empty() && refused.len() < ASKED, "{} are refused", refused.len());
    let text = "etcdserver: too many requests";
    assert!(refused.iter().all(|status| status.message() == text), "{refused:?}");
    node.kv().range(range).await.unwrap();
    drop((answers, client));
    connection.abort();
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_too_quickly_is_told_so() {
    let node = one_with(|options| options.max_requests_per_second = 5).await;
    let mut refused = 0;
    for _ in 0..50 {
        if let Err(status) = node.kv().put(put("k", 0)).await {
            let told = (status.code(), status.message());
            assert_eq!(told, (Code::Unknown, "etcdserver: too many requests"));
            refused += 1;
        }
    }
    assert!(refused > 0, "fifty puts in no time at all");
    within("a second to pass", async { while node.kv().put(put("k", 0)).await.is_err() {} }).await;
    node.server.shutdown().await;
}

/// A message that is compressed goes the long way, not that of calls without a stream: its flag and
/// its header must fit each other, and nothing is decompressed.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_request_is_refused_by_name_and_harms_nobody() {
    let node = one().await;
    let call = async |encoding: Option<&str>, flag: u8| {
        let message = prost::Message::encode_to_vec(&put("k", 0));
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let body = [&[flag][..], &length, &message].concat();
        let mut request = http::Request::post("http://node/etcdserverpb.KV/Put")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(encoding) = encoding {
            request = request.header("grpc-encoding", encoding);
        }
        let request = request.body(Body::new(axum::body::Body::from(body))).unwrap();
        let mut channel = node.channel.clone();
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
        let answer = channel.call(request).await.unwrap();
        // A refusal is in the head; where all is well the code follows the body.
        Status::from_header_map(answer.headers()).map(|status| status.code())
    };
    assert_eq!(call(Some("gzip"), 1).await, Some(Code::Unimplemented));
    assert_eq!(call(Some("gzip"), 0).await, Some(Code::Unimplemented));
    assert_eq!(call(None, 1).await, Some(Code::Internal));
    assert_eq!(call(Some("identity"), 0).await, None);
    node.kv().put(put("k", 0)).await.unwrap();
    node.server.shutdown().await;
}
