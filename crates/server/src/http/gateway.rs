//! The JSON gateway: every method at etcd's path under `/v3/`, for those who have no gRPC.
//!
//! A request is turned into protobuf by the descriptors of the services and goes the way of every
//! other, through the same gate and into the same counts; so it can do no more and no less. What
//! waits here, of requests and of answers, is counted in the budgets of messages as well. Names
//! and forms are those of etcd's gateway: fields as in the protobuf texts, 64-bit numbers as
//! strings, bytes in base64, nothing for what is zero.
//!
//! Browsers have no business here: a request with an `Origin` is refused, so that no page that
//! somebody looks at can write to a server on their machine (CVE-2018-5702 was such a door).

mod frames;
mod lines;
mod objects;
mod received;
mod requests;
mod routes;

use std::convert::Infallible;
use std::sync::LazyLock;

use axum::body::Body as HttpBody;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use prost_reflect::{
    DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage as _, SerializeOptions,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Code, Status};

use crate::dispatch::{Dispatch, RequestBody, too_many};
use crate::http::sent::Sent;
use frames::{Frames, Next};
use lines::Lines;
use objects::Objects;
use requests::{streamed_body, whole_body};

/// base64 makes four letters of three bytes, and there are names and braces around it.
const BODY_BYTES_PER_MESSAGE_BYTE: usize = 2;
/// What is as long as this is turned from text to message, or back, alone: for that moment it takes
/// many times its bytes.
const ALONE_BYTES_MIN: usize = 256 << 10;
static TURNS: Semaphore = Semaphore::const_new(1);

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
    let budget = dispatch.messages().clone();
    let (body, fault, held) = if method.is_client_streaming() {
        let objects = Objects::new(body, bytes_max, &budget);
        let (body, fault) = streamed_body(&method, objects, &budget).await?;
        (body, Some(fault), None)
    } else {
        let (body, held) = whole_body(&method, body, bytes_max, &budget).await?;
        (body, None, Some(held))
    };
    // The rate has been asked when the request began.
    let call = dispatch.grpc_call(grpc_request(&method, &head.headers, body), false);
    let answered = call.await.unwrap_or_else(|never| match never {});
    drop(held);
    if let Some(status) = Status::from_header_map(answered.headers())
        && status.code() != Code::Ok
    {
        return Err(status);
    }
    let mut frames = Frames::new(answered.into_body());
    if method.is_server_streaming() {
        let lines = Lines::new(method, frames, fault, budget);
        return Ok(json_response(StatusCode::OK, HttpBody::new(lines)));
    }
    let message = match frames.next().await {
        Next::Message(message) => message,
        Next::End(status) => return Err(status),
    };
    let turn = turn(message.len()).await;
    let json = match turn {
        None => to_json(&method, message)?,
        // It takes long: not on a thread that serves connections.
        Some(turn) => {
            let json = move || {
                let _turn = turn;
                to_json(&method, message)
            };
            let broken = |_| Status::internal("flotilla: an answer could not be turned into text");
            tokio::task::spawn_blocking(json).await.map_err(broken)??
        }
    };
    // Until here the message was counted, from here its text is: one that is alone is never too
    // long.
    drop(frames);
    let sent = Sent::new(json.into(), &budget).ok_or_else(too_many)?;
    Ok(json_response(StatusCode::OK, HttpBody::new(sent)))
}

fn method_of(path: &str) -> Option<MethodDescriptor> {
    let (service, name) = path.get(1..)?.split_once('/')?;
    let found = POOL.get_service_by_name(service)?;
    let mut methods = found.methods();
    methods.find(|method| method.name() == name)
}

/// Waits for the turn to turn a message, or a text, of this length into the other form.
async fn turn(bytes: usize) -> Option<SemaphorePermit<'static>> {
    if bytes < ALONE_BYTES_MIN {
        return None;
    }
    TURNS.acquire().await.ok()
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
    let mut json = json.into_inner();
    json.shrink_to_fit();
    Ok(json)
}

fn error_body(status: &Status) -> serde_json::Value {
    let message = status.message();
    serde_json::json!({ "error": message, "code": i32::from(code(status)), "message": message })
}

/// gRPC's clients of etcd know an overload by its text alone, those of HTTP by its status.
fn code(status: &Status) -> Code {
    let is_overload = status.code() == Code::Unknown && status.message() == too_many().message();
    if is_overload { Code::ResourceExhausted } else { status.code() }
}

/// An answer that nothing was done.
pub(crate) fn refusal(status: &Status) -> Response<HttpBody> {
    json_response(http_status(code(status)), HttpBody::from(error_body(status).to_string()))
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
