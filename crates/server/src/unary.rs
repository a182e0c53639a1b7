//! Calls of one message and one answer, without the machinery that streams need. tonic's own way
//! takes two buffers of 8 KiB, a decoder and an encoder for each call, which for a put of some
//! hundred bytes costs more than the put's way through the log. And what is read and answered here
//! is counted, whichever service it is of.
//!
//! What a client sees is the same. Whatever is not plain, such as compression, goes tonic's way.

mod routes;
mod width;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use host::ProposeError;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::{Body as HttpBody, Frame};
use prost::Message;
use store::RequestError;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, StdError};
use tonic::metadata::{GRPC_CONTENT_TYPE, MetadataMap};

use crate::api_error::ApiError;
use crate::budget::{Budget, Held};
use crate::dispatch::RequestBody;
use crate::metrics::Meter;
pub(crate) use routes::route;

/// Before each message: one byte for compression, and the length.
const PREFIX_BYTES: usize = 5;
/// Operations of a transaction that are looked at at all. How many are done is an option, which is
/// no larger.
const OPERATIONS_MAX: usize = 1 << 16;
const TXN_PATH: &str = "/etcdserverpb.KV/Txn";
/// The largest answer is etcd's: what fits a signed 32-bit length.
const ANSWER_BYTES_MAX: usize = 0x7fff_ffff;
/// An answer goes to the connection in pieces of this length, each when there is room for it.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

pub(crate) type Answered = BoxFuture<Response<Body>, Infallible>;

/// How long a message may be, what may wait, and where messages are counted.
pub(crate) struct Limits {
    pub(crate) bytes_max: usize,
    pub(crate) budget: Budget,
    pub(crate) meter: Meter,
}

async fn answer<B: RequestBody, Q: Message + Default, A: Message>(
    request: Request<B>,
    Limits { bytes_max, budget, meter }: Limits,
    call: impl AsyncFnOnce(tonic::Request<Q>) -> Result<tonic::Response<A>, Status>,
) -> Result<Response<Body>, Infallible>
where
    B::Error: Into<StdError> + Send,
{
    let (head, body) = request.into_parts();
    let read = read(body, bytes_max, &budget).await;
    let answered = match read.and_then(|bytes| {
        let length = bytes.len();
        Ok((decode(head.uri.path(), bytes)?, length))
    }) {
        Ok((message, length)) => {
            meter.received(length);
            let metadata = MetadataMap::from_headers(head.headers);
            call(tonic::Request::from_parts(metadata, head.extensions, message)).await
        }
        Err(status) => Err(status),
    };
    let answered = answered.and_then(|it| {
        let refusal = |status| if only_reads(head.uri.path()) { status } else { untold() };
        whole(it, &budget, &meter).map_err(refusal)
    });
    Ok(answered.unwrap_or_else(Status::into_http))
}

/// Whether a call of this method has no effect, so that whoever is refused its answer may be
/// refused the call. One that may have an effect is taken for one that has.
fn only_reads(path: &str) -> bool {
    matches!(
        path,
        "/etcdserverpb.KV/Range"
            | "/etcdserverpb.Lease/LeaseTimeToLive"
            | "/etcdserverpb.Lease/LeaseLeases"
            | "/etcdserverpb.Auth/AuthStatus"
            | "/etcdserverpb.Auth/RoleGet"
            | "/etcdserverpb.Auth/RoleList"
            | "/etcdserverpb.Auth/UserGet"
            | "/etcdserverpb.Auth/UserList"
            | "/etcdserverpb.Cluster/MemberList"
            | "/etcdserverpb.Maintenance/Hash"
            | "/etcdserverpb.Maintenance/HashKV"
            | "/etcdserverpb.Maintenance/Status"
            | "/grpc.health.v1.Health/Check"
            | "/v3electionpb.Election/Leader"
    )
}

/// It is done, and its answer cannot be given. `too many requests` would say that it is not done:
/// a client that did it again would do it twice. These words leave that open, as etcd means them.
fn untold() -> Status {
    ApiError::TimedOut.into()
}

fn decode<Q: Message + Default>(path: &str, message: Bytes) -> Result<Q, Status> {
    if path == TXN_PATH && width::has_more_operations(&message, OPERATIONS_MAX) {
        return Err(ApiError::from(RequestError::TooManyOps).into());
    }
    Q::decode(message)
        .map_err(|error| Status::internal(format!("failed to decode Protobuf message: {error}")))
}

/// Reads the one message of a request.
async fn read<B: RequestBody>(
    mut body: B,
    bytes_max: usize,
    budget: &Budget,
) -> Result<Bytes, Status>
where
    B::Error: Into<StdError> + Send,
{
    let mut message = Collected::new(bytes_max);
    let mut held = None;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        if let Ok(data) = frame.into_data() {
            message.add(data)?;
            // A client may begin many long requests and end none.
            if held.is_none() && !message.is_whole() {
                held = Some(budget.hold(message.announced(&message.bytes)).ok_or_else(too_many)?);
            }
        }
    }
    message.whole()
}

/// The bytes of a request, as far as they have come.
struct Collected {
    bytes: Bytes,
    bytes_max: usize,
}

impl Collected {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: Bytes::new(), bytes_max }
    }

    fn add(&mut self, data: Bytes) -> Result<(), Status> {
        if self.bytes.is_empty() {
            // A short message comes in one piece, which is not copied.
            self.bytes = data;
        } else {
            let mut joined = BytesMut::from(std::mem::take(&mut self.bytes));
            joined.reserve(self.announced(&joined).saturating_sub(joined.len()).max(data.len()));
            joined.put(data);
            self.bytes = joined.freeze();
        }
        // Before all of it is here: a length beyond the limit must not be waited for.
        let announced = self.announced(&self.bytes);
        if announced > self.bytes_max + PREFIX_BYTES {
            return Err(too_large(announced - PREFIX_BYTES, self.bytes_max));
        }
        if self.bytes.len() > announced.max(PREFIX_BYTES) {
            return Err(Status::unimplemented("a call of this method has one message"));
        }
        Ok(())
    }

    /// How long prefix and message say that they are; 0 if the prefix is not here yet.
    fn announced(&self, bytes: &[u8]) -> usize {
        let length = bytes.get(1..PREFIX_BYTES).and_then(|length| length.try_into().ok());
        length.map_or(0, |length| u32::from_be_bytes(length) as usize + PREFIX_BYTES)
    }

    fn is_whole(&self) -> bool {
        self.bytes.len() >= self.announced(&self.bytes).max(PREFIX_BYTES)
    }

    fn whole(mut self) -> Result<Bytes, Status> {
        if self.bytes.is_empty() || self.bytes.len() < self.announced(&self.bytes) {
            return Err(Status::internal("Missing request message."));
        }
        if self.bytes[0] != 0 {
            return Err(Status::internal(
                "protocol error: received message with compressed-flag but no grpc-encoding was \
                 specified",
            ));
        }
        if self.bytes.len() < PREFIX_BYTES {
            return Err(Status::internal("Missing request message."));
        }
        self.bytes.advance(PREFIX_BYTES);
        Ok(self.bytes)
    }
}

fn too_many() -> Status {
    ApiError::from(ProposeError::Overloaded).into()
}

fn too_large(found_bytes: usize, max_bytes: usize) -> Status {
    let number = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let (found_bytes, max_bytes) = (number(found_bytes), number(max_bytes));
    ApiError::MessageTooLarge { found_bytes, max_bytes }.into()
}

/// Head, message and status of an answer that is good.
fn whole<A: Message>(
    answer: tonic::Response<A>,
    budget: &Budget,
    meter: &Meter,
) -> Result<Response<Body>, Status> {
    let (metadata, message, extensions) = answer.into_parts();
    let length = message.encoded_len();
    let Some(length_field) = u32::try_from(length).ok().filter(|_| length <= ANSWER_BYTES_MAX)
    else {
        return Err(Status::out_of_range("the answer is larger than a message can be"));
    };
    // Until the client has read it, however slowly.
    let held = budget.hold(PREFIX_BYTES + length).ok_or_else(too_many)?;
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(length_field);
    message.encode_raw(&mut bytes);
    meter.sent(length);
    let mut response =
        Response::new(Body::new(Whole { message: bytes.freeze(), ended: false, _held: held }));
    *response.headers_mut() = metadata.into_headers();
    response.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    *response.extensions_mut() = extensions;
    Ok(response)
}

/// One message, and that all went well.
#[derive(Debug)]
struct Whole {
    /// What of it the connection has not taken yet.
    message: Bytes,
    ended: bool,
    _held: Held,
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.message.is_empty() {
            let length = self.message.len().min(PIECE_BYTES);
            return Poll::Ready(Some(Ok(Frame::data(self.message.split_to(length)))));
        }
        if std::mem::replace(&mut self.ended, true) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_empty() && self.ended
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn collect(pieces: &[&[u8]]) -> Result<Bytes, Code> {
        let mut collected = Collected::new(8);
        for piece in pieces {
            let added = collected.add(Bytes::copy_from_slice(piece));
            added.map_err(|status| status.code())?;
        }
        collected.whole().map_err(|status| status.code())
    }

    #[test]
    fn a_message_comes_in_any_pieces() {
        let frame = b"\0\0\0\0\x03put";
        for at in 0..=frame.len() {
            let (begin, end) = frame.split_at(at);
            assert_eq!(collect(&[begin, end]), Ok(Bytes::from_static(b"put")), "cut at {at}");
        }
        assert_eq!(collect(&[b"\0\0\0\0\0"]), Ok(Bytes::new()));
    }

    #[test]
    fn what_is_no_single_message_is_refused() {
        assert_eq!(collect(&[]), Err(Code::Internal));
        assert_eq!(collect(&[b"\0\0\0"]), Err(Code::Internal));
        assert_eq!(collect(&[b"\0\0\0\0\x03pu"]), Err(Code::Internal));
        assert_eq!(collect(&[b"\x01\0\0\0\x03put"]), Err(Code::Internal));
        assert_eq!(collect(&[b"\0\0\0\0\x03put", b"\0\0\0\0\x03put"]), Err(Code::Unimplemented));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_the_bytes_come() {
        assert_eq!(collect(&[b"\0\0\0\0\x09"]), Err(Code::ResourceExhausted));
        assert_eq!(collect(&[b"\0\xff", b"\xff\xff\xff"]), Err(Code::ResourceExhausted));
    }
}
