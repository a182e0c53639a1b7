//! Well-formed HTTP/2 with hostile use of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{RangeRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest};
use bytes::{BufMut, Bytes, BytesMut};
use conformance::load::lazy;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::net::{TcpSocket, TcpStream};
use tokio_stream::wrappers::ReceiverStream;

/// Methods of all services and of none.
const PATHS: [&str; 9] = [
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Cluster/MemberAdd",
    "/etcdserverpb.Auth/Authenticate",
    "/v3lockpb.Lock/Lock",
    "/none.Nothing/Never",
];

/// Whoever is refused is told by then.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

/// A connection whose streams may be sent so many bytes before they say that they have read.
pub(crate) async fn connect(to: SocketAddr, window: u32) -> Option<SendRequest<Bytes>> {
    let stream = TcpStream::connect(to).await.ok()?;
    let mut builder = h2::client::Builder::new();
    let handshake = builder.initial_window_size(window).handshake(stream).await;
    let (send, connection) = handshake.ok()?;
    tokio::spawn(connection);
    send.ready().await.ok()
}

/// A connection from one of this machine's addresses that says nothing.
pub(crate) async fn silent_connection(from: Ipv4Addr, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::from((from, 0))).ok()?;
    let connected = tokio::time::timeout(Duration::from_secs(5), socket.connect(to)).await;
    connected.ok()?.ok()
}

/// Begins a call.
pub(crate) fn call(
    send: &mut SendRequest<Bytes>,
    path: &str,
) -> Option<(ResponseFuture, SendStream<Bytes>)> {
    let request = http::Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    send.send_request(request.body(()).ok()?, false).ok()
}

fn message(bytes: &[u8]) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(bytes.len()).unwrap());
    framed.put(bytes);
    framed.freeze()
}

pub(crate) fn encoded(message_: &impl prost::Message) -> Bytes {
    message(&message_.encode_to_vec())
}

/// Many ranges over everything, and nothing of the answers is read.
pub(crate) async fn unread_ranges(to: SocketAddr) {
    let Some(mut send) = connect(to, 0).await else { return };
    let (key, range_end) = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let range = encoded(&RangeRequest { key, range_end, ..RangeRequest::default() });
    let mut kept = Vec::new();
    for _ in 0..100 {
        let Some((answer, mut body)) = call(&mut send, "/etcdserverpb.KV/Range") else { break };
        let _sent = body.send_data(range.clone(), true);
        kept.push((answer, body));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// Many long requests that are begun and not ended.
pub(crate) async fn unfinished_requests(to: SocketAddr) {
    let Some(mut send) = connect(to, 65_535).await else { return };
    let long = message(&[0; 1_500_000]);
    let mut kept = Vec::new();
    for number in 0..300 {
        // Of all services: the first ones, and the last, take no message.
        let path = PATHS[number % (PATHS.len() - 1)];
        let Some((answer, mut body)) = call(&mut send, path) else { break };
        let _sent = body.send_data(long.slice(..long.len() - 1), false);
        kept.push((answer, body));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// The code that a call ends with; nothing if it does not end.
pub(crate) async fn status(answer: ResponseFuture, within: Duration) -> Option<String> {
    tokio::time::timeout(within, ended(answer)).await.ok()?
}

async fn ended(answer: ResponseFuture) -> Option<String> {
    let answer = answer.await.ok()?;
    let text = |headers: &http::HeaderMap| {
        headers.get("grpc-status").map(|value| value.to_str().unwrap().to_owned())
    };
    if let Some(code) = text(answer.headers()) {
        return Some(code);
    }
    let mut body: RecvStream = answer.into_body();
    while let Some(data) = body.data().await {
        let length = data.ok()?.len();
        let _released = body.flow_control().release_capacity(length);
    }
    text(&body.trailers().await.ok()??)
}

/// Messages that are no messages, for methods of all services: each is refused with a code.
pub(crate) async fn malformed_messages(to: SocketAddr) {
    let mut broken: Vec<Bytes> = vec![
        message(&[0xff; 40]),
        message(b"\x0a\xff\xff\xff\xff\x0f"),
        message(&[0x0b; 3000]),
        Bytes::from_static(b"\x01\0\0\0\x01x"),
        Bytes::from_static(b"\0\xff\xff\xff\xff"),
        Bytes::from_static(b"\0\0"),
    ];
    broken.push(nested_transaction(5000));
    broken.push(wide_transaction());
    // All of them at a time, since a watch that goes on is waited for in vain.
    let mut asked = tokio::task::JoinSet::new();
    for path in PATHS {
        for body in &broken {
            asked.spawn(malformed_message(to, path, body.clone()));
        }
    }
    asked.join_all().await;
}

async fn malformed_message(to: SocketAddr, path: &str, body: Bytes) {
    let Some(mut send) = connect(to, 65_535).await else { return };
    let Some((answer, mut stream)) = call(&mut send, path) else { return };
    let _sent = stream.send_data(body.clone(), true);
    let code = status(answer, ANSWERED_WITHIN).await;
    // A watch whose client says no more goes on; all else ends, and not well.
    let is_open = code.is_none() && path.ends_with("Watch");
    let is_refused = code.as_deref().is_some_and(|code| code != "0");
    let begin = &body[..body.len().min(40)];
    assert!(is_open || is_refused, "{path} answered {code:?} to {begin:?}");
}

/// As many steps without anything in them as fit a request.
fn wide_transaction() -> Bytes {
    message(&[0x12, 0].repeat(700_000))
}

/// A transaction in a transaction in a transaction, so many of them.
fn nested_transaction(depth: usize) -> Bytes {
    let mut inner: Vec<u8> = Vec::new();
    for _ in 0..depth {
        for tag in [0x22_u8, 0x12] {
            // Field 4 of an operation is a transaction; field 2 of that has operations.
            let mut outer = vec![tag];
            let mut length = inner.len();
            while length >= 128 {
                outer.push(u8::try_from(length % 128).unwrap() | 128);
                length /= 128;
            }
            outer.push(u8::try_from(length).unwrap());
            outer.extend(&inner);
            inner = outer;
        }
    }
    message(&inner)
}

/// A stream with questions without end, whose answers are read.
pub(crate) async fn progress_flood(to: SocketAddr) {
    let (requests, stream) = tokio::sync::mpsc::channel(1000);
    let mut client = WatchClient::new(lazy(&to.to_string()));
    let request = |union| WatchRequest { request_union: Some(union) };
    let create = WatchCreateRequest { key: "quiet".into(), ..WatchCreateRequest::default() };
    let create = request(RequestUnion::CreateRequest(create));
    if requests.send(create).await.is_err() {
        return;
    }
    let Ok(answers) = client.watch(ReceiverStream::new(stream)).await else { return };
    let mut answers = answers.into_inner();
    let flood = async {
        let ask = request(RequestUnion::ProgressRequest(WatchProgressRequest {}));
        while requests.send(ask.clone()).await.is_ok() {}
    };
    let read = async { while answers.message().await.is_ok_and(|answer| answer.is_some()) {} };
    let both = async { tokio::join!(flood, read) };
    let _time_out = tokio::time::timeout(Duration::from_millis(1500), both).await;
}

/// A watch of everything that is never read; it lasts until it is dropped.
pub(crate) async fn unread_watch(to: SocketAddr) -> Option<impl Sized> {
    let mut send = connect(to, 65_535).await?;
    let (key, range_end) = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let create = WatchCreateRequest { key, range_end, ..WatchCreateRequest::default() };
    let request_union = Some(RequestUnion::CreateRequest(create));
    let (answer, mut body) = call(&mut send, "/etcdserverpb.Watch/Watch")?;
    body.send_data(encoded(&WatchRequest { request_union }), false).ok()?;
    Some((send, answer, body))
}
