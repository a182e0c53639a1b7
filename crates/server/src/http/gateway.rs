//! The JSON gateway: every method at etcd's path under `/v3/`, for those who have no gRPC.
//!
//! A request is turned into protobuf by the descriptors of the services and goes the way of every
//! other, through the same gate and into the same counts; so it can do no more and no less. Names
//! and forms are those of etcd's gateway: fields as in the protobuf texts, 64-bit numbers as
//! strings, bytes in base64, nothing for what is zero.
//!
//! Browsers have no business here: a request with an `Origin` is refused, so that no page that
//! somebody looks at can write to a server on their machine (CVE-2018-5702 was such a door).

mod frames;
mod objects;
mod routes;

use std::convert::Infallible;
use std::sync::LazyLock;

use axum::body::Body as HttpBody;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MethodDescriptor, ReflectMessage as _,
    SerializeOptions,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::dispatch::{Dispatch, RequestBody};
use frames::{Frames, Next};
use objects::Objects;

/// base64 makes four letters of three bytes, and there are names and braces around it.
const BODY_BYTES_PER_MESSAGE_BYTE: usize = 2;
/// Lines of a stream that may wait for a client to read them.
const LINES_MAX: usize = 4;
/// Messages of a stream that may wait for the service to read them.
const MESSAGES_MAX: usize = 1;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(api::DESCRIPTORS).expect("the descriptors were made with the services")
});

/// Whether a path is the gateway's.
pub(crate) fn is_path(path: &str) -> bool {
    path.starts_with("/v3/")
}

/// Answers a request.
pub(crate) async fn handle<B>(
    dispatch: Dispatch,
    request: Request<B>,
    message_bytes_max: usize,
) -> Result<Response<HttpBody>, Infallible>
where
    B: RequestBody,
    B::Error: Into<tonic::codegen::StdError>,
{
    let answered = answer(dispatch, request, message_bytes_max).await;
    Ok(answered.unwrap_or_else(|status| refusal(&status)))
}

async fn answer<B>(
    dispatch: Dispatch,
    request: Request<B>,
    message_bytes_max: usize,
) -> Result<Response<HttpBody>, Status>
where
    B: RequestBody,
    B::Error: Into<tonic::codegen::StdError>,
{
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let method = routes::grpc_path(path).and_then(method_of);
    let method = method.ok_or_else(|| Status::not_found("Not Found"))?;
    if head.method != Method::POST {
        return Err(Status::unimplemented("Method Not Allowed"));
    }
    if head.headers.contains_key(ORIGIN) {
        return Err(Status::permission_denied("requests of web pages are not answered"));
    }
    let bytes_max = message_bytes_max * BODY_BYTES_PER_MESSAGE_BYTE;
    let is_streaming = method.is_server_streaming();
    let (body, fault) = if method.is_client_streaming() {
        let (body, fault) = streamed_body(&method, Objects::new(body, bytes_max)).await?;
        (body, Some(fault))
    } else {
        (whole_body(&method, body, bytes_max).await?, None)
    };
    let answered = dispatch.grpc_call(grpc_request(&method, &head.headers, body)).await;
    let answered = answered.unwrap_or_else(|never| match never {});
    if let Some(status) = Status::from_header_map(answered.headers())
        && status.code() != Code::Ok
    {
        return Err(status);
    }
    let mut frames = Frames::new(answered.into_body());
    if is_streaming {
        return Ok(json_response(StatusCode::OK, stream(method, frames, fault)));
    }
    let message = match frames.next().await {
        Next::Message(message) => message,
        Next::End(status) => return Err(status),
    };
    Ok(json_response(StatusCode::OK, HttpBody::from(to_json(&method, message)?)))
}

fn method_of(path: &str) -> Option<MethodDescriptor> {
    let (service, name) = path.get(1..)?.split_once('/')?;
    let found = POOL.get_service_by_name(service)?;
    let mut methods = found.methods();
    methods.find(|method| method.name() == name)
}

/// The message of a body, as gRPC has it. etcd's gateway reads one value and looks no further.
async fn whole_body<B>(
    method: &MethodDescriptor,
    body: B,
    bytes_max: usize,
) -> Result<HttpBody, Status>
where
    B: RequestBody,
    B::Error: Into<tonic::codegen::StdError>,
{
    let body = axum::body::to_bytes(HttpBody::new(body), bytes_max).await.map_err(|_| {
        Status::resource_exhausted(format!(
            "the body could not be read, or is over {bytes_max} bytes"
        ))
    })?;
    let body = body.trim_ascii();
    if body.is_empty() {
        return Ok(HttpBody::from(grpc_frame(&DynamicMessage::new(method.input()))));
    }
    Ok(HttpBody::from(grpc_frame(&message(method, body)?)))
}

/// The messages of a stream, handed on as they come; and what was wrong with one of them, if
/// something is. What is wrong with the first is told before anything begins.
async fn streamed_body<B>(
    method: &MethodDescriptor,
    mut objects: Objects<B>,
) -> Result<(HttpBody, oneshot::Receiver<Status>), Status>
where
    B: RequestBody,
    B::Error: Into<tonic::codegen::StdError>,
{
    let first = objects.next().await?.map(|object| message(method, &object)).transpose()?;
    let (messages, stream) = mpsc::channel::<Result<Bytes, Infallible>>(MESSAGES_MAX);
    let (tell, fault) = oneshot::channel();
    let method = method.clone();
    tokio::spawn(async move {
        let mut next = Ok(first);
        while let Ok(Some(one)) = &next {
            if messages.send(Ok(grpc_frame(one))).await.is_err() {
                return;
            }
            // A client that is gone sends nothing more, and its service ends.
            next = tokio::select! {
                object = objects.next() => object.and_then(|object| {
                    object.map(|object| message(&method, &object)).transpose()
                }),
                () = messages.closed() => return,
            };
        }
        if let Err(status) = next {
            // Nobody is left to hear it if the stream has ended.
            let _ = tell.send(status);
        }
    });
    Ok((HttpBody::from_stream(ReceiverStream::new(stream)), fault))
}

/// A message from its text.
fn message(method: &MethodDescriptor, text: &[u8]) -> Result<DynamicMessage, Status> {
    let malformed = |error: serde_json::Error| Status::invalid_argument(error.to_string());
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut one = serde_json::Deserializer::from_slice(text);
    DynamicMessage::deserialize_with_options(method.input(), &mut one, &options).map_err(malformed)
}

/// A message as it lies in the body of a gRPC call.
fn grpc_frame(message: &DynamicMessage) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    message.encode(&mut frame).expect("a buffer that grows takes every message");
    frame.freeze()
}

fn grpc_request(
    method: &MethodDescriptor,
    headers: &HeaderMap,
    body: HttpBody,
) -> Request<HttpBody> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().expect("the names of services and methods are a path");
    let to = request.headers_mut();
    to.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    // A certificate of the connection is no user here, as in etcd: only tokens are.
    for name in [AUTHORIZATION, HeaderName::from_static("grpc-timeout")] {
        if let Some(value) = headers.get(&name) {
            to.insert(name, value.clone());
        }
    }
    request
}

fn to_json(method: &MethodDescriptor, message: Bytes) -> Result<Vec<u8>, Status> {
    let broken = |_| Status::internal("flotilla: an answer is not of its own type");
    let message = DynamicMessage::decode(method.output(), message).map_err(broken)?;
    debug_assert_eq!(message.descriptor(), method.output());
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(true)
        .skip_default_fields(true);
    let mut json = serde_json::Serializer::new(Vec::new());
    let written = message.serialize_with_options(&mut json, &options);
    written.map_err(|error| Status::internal(format!("flotilla: {error}")))?;
    Ok(json.into_inner())
}

/// One line for each answer: `{"result":…}`, at the end perhaps `{"error":…}`: also for what is wrong
/// with a message of the request.
fn stream(
    method: MethodDescriptor,
    mut frames: Frames,
    fault: Option<oneshot::Receiver<Status>>,
) -> HttpBody {
    let (lines, stream) = mpsc::channel::<Result<Bytes, Infallible>>(LINES_MAX);
    let fault = async move {
        match fault {
            Some(fault) => match fault.await {
                Ok(status) => status,
                Err(_) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    };
    tokio::spawn(async move {
        tokio::pin!(fault);
        loop {
            let next = tokio::select! {
                next = frames.next() => next,
                status = &mut fault => Next::End(status),
                () = lines.closed() => return,
            };
            let line = match next {
                Next::Message(message) => to_json(&method, message)
                    .map(|json| [b"{\"result\":", &json[..], b"}\n"].concat()),
                Next::End(status) if status.code() == Code::Ok => return,
                Next::End(status) => Err(status),
            };
            let is_last = line.is_err();
            let line = line.unwrap_or_else(|status| {
                format!("{{\"error\":{}}}\n", error_body(&status)).into_bytes()
            });
            if lines.send(Ok(line.into())).await.is_err() || is_last {
                return;
            }
        }
    });
    HttpBody::from_stream(ReceiverStream::new(stream))
}

fn error_body(status: &Status) -> serde_json::Value {
    let message = status.message();
    serde_json::json!({ "error": message, "code": i32::from(status.code()), "message": message })
}

fn refusal(status: &Status) -> Response<HttpBody> {
    json_response(http_status(status.code()), HttpBody::from(error_body(status).to_string()))
}

fn json_response(status: StatusCode, body: HttpBody) -> Response<HttpBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// As grpc-gateway maps them.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
