//! What no client of gRPC would send, over HTTP/2.

use std::net::SocketAddr;

use api::etcdserverpb::auth_client::AuthClient;
use api::etcdserverpb::{self as pb};
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Method, Request, Response, StatusCode};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tonic::{Code, Status};

use crate::common::{one, one_with, within};
use crate::users::turn_on;

/// A connection whose streams may be sent so many bytes before they say that they have read.
async fn connect(to: SocketAddr, window: u32) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(to).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (send, connection) =
        builder.initial_window_size(window).handshake::<_, Bytes>(stream).await.unwrap();
    tokio::spawn(connection);
    send.ready().await.unwrap()
}

/// Sends a request whole; its answer as far as its head.
async fn ask(
    send: &mut SendRequest<Bytes>,
    (method, path): (Method, &str),
    content_type: &str,
    body: Bytes,
) -> Response<RecvStream> {
    let request = Request::builder().method(method).uri(format!("http://localhost{path}"));
    let request = request.header("content-type", content_type).header("te", "trailers");
    *send = send.clone().ready().await.unwrap();
    let (answer, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
    // Whoever is answered by the head alone, as by a refusal, may find the stream ended before the
    // rest is sent; the answer is there all the same.
    drop(stream.send_data(body, true));
    within("an answer", answer).await.unwrap()
}

async fn whole(answer: Response<RecvStream>) -> Bytes {
    let (mut body, mut all) = (answer.into_body(), BytesMut::new());
    while let Some(data) = body.data().await {
        all.put(data.unwrap());
    }
    all.freeze()
}

fn put(key: &str, value_bytes: usize) -> pb::PutRequest {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), vec![b'v'; value_bytes].into());
    pb::PutRequest { key, value, ..pb::PutRequest::default() }
}

/// A refusal that is sent before the message has come must not make an error of the message: after
/// a thousand of those a connection ends, and whatever else goes on upon it (T66).
#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_often_keeps_the_connection() {
    let node = one().await;
    let mut auth = AuthClient::new(node.channel.clone());
    turn_on(&mut auth, Some("secret")).await;
    let mut send = connect(node.server.client_address(), 65_535).await;
    let message = Bytes::from_static(&[0; 5]);
    for _ in 0..12 {
        let mut calls = Vec::new();
        for _ in 0..100 {
            let request = Request::post("http://localhost/etcdserverpb.KV/Put");
            let request = request.header("content-type", "application/grpc");
            send = send.ready().await.unwrap();
            calls.push(send.send_request(request.body(()).unwrap(), false).unwrap());
        }
        // The heads go ahead, as they may on any network: the member has seen them all by now.
        let path = (Method::GET, "/version");
        let seen = ask(&mut send, path, "text/plain", Bytes::new()).await;
        assert_eq!(seen.status(), StatusCode::OK);
        for (answer, mut stream) in calls {
            stream.send_data(message.clone(), true).unwrap();
            let answer = within("a refusal", answer).await.unwrap();
            let status = Status::from_header_map(answer.headers()).unwrap();
            assert_eq!(status.message(), "etcdserver: user name is empty");
        }
    }
    node.server.shutdown().await;
}

/// In the words of Go's servers, by which clients of newer releases know older servers.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_serves_is_unimplemented_and_the_connection_lives() {
    let node = one().await;
    let mut send = connect(node.server.client_address(), 65_535).await;
    for (path, text) in [
        ("/etcdserverpb.KV/Nothing", "unknown method Nothing for service etcdserverpb.KV"),
        ("/none.Nothing/Never", "unknown service none.Nothing"),
    ] {
        let call = (Method::POST, path);
        let answer = ask(&mut send, call, "application/grpc", Bytes::from_static(&[0; 5])).await;
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, text));
    }
    let message = put("k", 1).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let message = Bytes::from([&[0][..], &length, &message].concat());
    let call = (Method::POST, "/etcdserverpb.KV/Put");
    let answer = ask(&mut send, call, "application/grpc", message).await;
    assert!(Status::from_header_map(answer.headers()).is_none(), "no refusal in the head");
    let mut body = answer.into_body();
    while body.data().await.is_some() {}
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::Ok);
    node.server.shutdown().await;
}

/// What the gateway has made for a client that does not read is counted as gRPC's answers are.
#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_gateway_that_nobody_reads_are_bounded() {
    let node = one().await;
    for number in 0..8 {
        node.kv().put(put(&format!("large/{number}"), 1 << 20)).await.unwrap();
    }
    let mut send = connect(node.server.client_address(), 0).await;
    let all = Bytes::from_static(br#"{"key":"AA==","range_end":"AA=="}"#);
    let range = (Method::POST, "/v3/kv/range");
    let mut unread = Vec::new();
    let refused = loop {
        assert!(unread.len() < 12, "twelve answers of 11 MiB wait");
        let answer = ask(&mut send, range.clone(), "application/json", all.clone()).await;
        match answer.status() {
            StatusCode::OK => unread.push(answer),
            status => break status,
        }
    };
    assert_eq!((unread.len(), refused), (5, StatusCode::TOO_MANY_REQUESTS), "64 MiB wait");
    // Others have their own, and so has this one once it has read, or does not want it any more.
    let mut other = connect(node.server.client_address(), 1 << 20).await;
    let answer = ask(&mut other, range.clone(), "application/json", all.clone()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    drop((unread, answer));
    within("room", async {
        while ask(&mut send, range.clone(), "application/json", all.clone()).await.status()
            != StatusCode::OK
        {}
    })
    .await;
    drop((send, other));
    node.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_a_second_are_those_of_the_gateway_and_of_pages_as_well() {
    let node = one_with(|options| options.max_requests_per_second = 2).await;
    let mut send = connect(node.server.client_address(), 65_535).await;
    let text = "etcdserver: too many requests";
    // More than two a second, however slow this machine is: one of them is refused.
    for (method, path) in [(Method::POST, "/v3/kv/range"), (Method::GET, "/version")] {
        let mut once = async || {
            let body = Bytes::from_static(br#"{"key":"YQ=="}"#);
            ask(&mut send, (method.clone(), path), "application/json", body).await
        };
        let refused = within("a refusal", async {
            let mut answer = once().await;
            while answer.status() == StatusCode::OK {
                answer = once().await;
            }
            answer
        })
        .await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        let body: Value = serde_json::from_slice(&whole(refused).await).unwrap();
        assert_eq!(body, json!({ "error": text, "code": 8, "message": text }), "{path}");
    }
    node.server.shutdown().await;
}
