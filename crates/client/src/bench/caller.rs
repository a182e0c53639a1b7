//! Unary gRPC calls straight over HTTP/2.
//!
//! The bench shares its machine with the servers that it measures, so every microsecond of its own
//! is one that they lack. A general client passes a request through a queue, a reconnecting
//! connector, a balancer and a boxed body; a closed loop of calls on a few lasting connections
//! needs none of these. What goes over the wire is the same.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::Status;

use crate::ClientError;
use crate::connect::{CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, Endpoints, STREAM_WINDOW_BYTES};
use crate::tls::Connector;

/// Before each message: one byte for compression, which is never used here, and the length.
const PREFIX_BYTES: usize = 5;
/// A range of 500 keys with large values must fit.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// One client's way to call on a connection that it shares with others.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    requests: SendRequest<Bytes>,
    /// The head of each call, made once.
    put: Request<()>,
    range: Request<()>,
}

/// What can be called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Put,
    Range,
}

impl Caller {
    /// Connects to one of the endpoints; each request shows the token, if there is one.
    pub(crate) async fn connect(
        endpoints: &Endpoints,
        authority: &str,
        token: Option<&HeaderValue>,
    ) -> Result<Self, ClientError> {
        let (place, connector) = endpoints.place(authority)?;
        let unreachable = |cause: String| {
            let endpoints = authority.to_owned();
            ClientError::Unreachable { endpoints, cause }
        };
        let opening = Self::open(place, connector, token);
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, opening).await;
        let after = |timeout: Duration| format!("no answer in {} s", timeout.as_secs());
        match connecting {
            Ok(connected) => connected.map_err(unreachable),
            Err(_) => Err(unreachable(after(CONNECT_TIMEOUT))),
        }
    }

    async fn open(
        place: &str,
        connector: Option<Connector>,
        token: Option<&HeaderValue>,
    ) -> Result<Self, String> {
        let (requests, scheme) = match connector {
            None => {
                let stream = TcpStream::connect(place).await.map_err(|error| error.to_string())?;
                stream.set_nodelay(true).map_err(|error| error.to_string())?;
                (requests(stream).await?, "http")
            }
            Some(connector) => {
                let stream = connector.open(place).await.map_err(|error| error.to_string())?;
                (requests(stream).await?, "https")
            }
        };
        let put = head(scheme, place, "/etcdserverpb.KV/Put", token)?;
        let range = head(scheme, place, "/etcdserverpb.KV/Range", token)?;
        Ok(Self { requests, put, range })
    }

    /// Sends one request and returns its answer.
    pub(crate) async fn call<A: Message + Default>(
        &mut self,
        call: Call,
        request: &impl Message,
    ) -> Result<A, Status> {
        poll_fn(|cx| self.requests.poll_ready(cx)).await.map_err(broken)?;
        let head = match call {
            Call::Put => &self.put,
            Call::Range => &self.range,
        };
        let (answer, mut body) = self.requests.send_request(head.clone(), false).map_err(broken)?;
        body.send_data(framed(request), true).map_err(broken)?;
        let (head, body) = answer.await.map_err(broken)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(Status::unknown(format!("the server answered HTTP {}", head.status)));
        }
        // A refusal may be all in the head.
        check(&head.headers)?;
        read(body).await
    }
}

/// Speaks HTTP/2 on a connection.
async fn requests<S>(stream: S) -> Result<SendRequest<Bytes>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(|error| error.to_string())?;
    // Its end shows in the calls that need it.
    tokio::spawn(connection);
    Ok(requests)
}

fn head(
    scheme: &str,
    authority: &str,
    path: &str,
    token: Option<&HeaderValue>,
) -> Result<Request<()>, String> {
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    let uri = uri.map_err(|error| error.to_string())?;
    let mut head = Request::new(());
    *head.method_mut() = Method::POST;
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = uri;
    head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    if let Some(token) = token {
        head.headers_mut().insert("token", token.clone());
    }
    Ok(head)
}

fn framed(request: &impl Message) -> Bytes {
    let length = request.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    // What a server takes is a few MiB.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    request.encode_raw(&mut frame);
    frame.freeze()
}

/// Reads one message and the status behind it.
async fn read<A: Message + Default>(mut body: RecvStream) -> Result<A, Status> {
    let mut message = Bytes::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(broken)?;
        body.flow_control().release_capacity(chunk.len()).map_err(broken)?;
        if message.is_empty() {
            // A short answer comes in one piece, which is not copied.
            message = chunk;
        } else {
            let mut joined = BytesMut::from(message);
            joined.extend_from_slice(&chunk);
            message = joined.freeze();
        }
        if message.len() > ANSWER_BYTES_MAX {
            return Err(Status::out_of_range("the answer is larger than 512 MiB"));
        }
    }
    check(&body.trailers().await.map_err(broken)?.unwrap_or_default())?;
    open(message)
}

/// Takes the prefix off and decodes.
fn open<A: Message + Default>(mut message: Bytes) -> Result<A, Status> {
    let malformed = || Status::internal("the answer is no gRPC message");
    let compressed = message.try_get_u8().map_err(|_| malformed())?;
    let length = message.try_get_u32().map_err(|_| malformed())?;
    if compressed != 0 || usize::try_from(length) != Ok(message.len()) {
        return Err(malformed());
    }
    A::decode(message).map_err(|error| Status::internal(error.to_string()))
}

/// Whether the call went well as far as these headers say.
fn check(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get(Status::GRPC_STATUS) {
        None => Ok(()),
        Some(code) if code.as_bytes() == b"0" => Ok(()),
        Some(_) => Err(Status::from_header_map(headers)
            .unwrap_or_else(|| Status::unknown("the server failed without saying why"))),
    }
}

fn broken(error: h2::Error) -> Status {
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => Status::unavailable("the server took no more streams"),
        _ => Status::unavailable(format!("the connection broke: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use api::etcdserverpb::{PutRequest, RangeResponse};

    use super::*;

    #[test]
    fn a_message_is_framed_and_opened() {
        let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
        let frame = framed(&put);
        assert_eq!(&frame[..], b"\0\0\0\0\x06\x0a\x01k\x12\x01v");
        assert_eq!(open::<PutRequest>(frame).unwrap(), put);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [&b""[..], b"\0\0\0", b"\x01\0\0\0\0", b"\0\0\0\0\x02x", b"\0\0\0\0\0x"] {
            let refused = open::<RangeResponse>(Bytes::copy_from_slice(bytes));
            assert!(refused.is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_status_other_than_0_is_an_error_with_its_words() {
        let mut headers = HeaderMap::new();
        assert!(check(&headers).is_ok());
        headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        assert!(check(&headers).is_ok());
        headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("14"));
        headers.insert("grpc-message", HeaderValue::from_static("no%20leader"));
        let status = check(&headers).unwrap_err();
        assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "no leader"));
    }
}
