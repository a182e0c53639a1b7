//! The body of a request, as gRPC has it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body as HttpBody;
use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use prost::Message as _;
use prost_reflect::{DeserializeOptions, DynamicMessage, MethodDescriptor};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use tonic::codegen::StdError;

use super::objects::Objects;
use super::received::Received;
use super::turn;
use crate::budget::{Budget, Growing, Held};
use crate::dispatch::{RequestBody, too_many};

/// Messages of a stream that may wait for the service to read them.
const MESSAGES_MAX: usize = 1;
/// Objects in the text of a message, those inside of others included.
const OBJECTS_MAX: usize = 1 << 17;

/// The message of a body, with what it holds. etcd's gateway reads one value and looks no further.
pub(super) async fn whole_body<B>(
    method: &MethodDescriptor,
    body: B,
    bytes_max: usize,
    budget: &Budget,
) -> Result<(HttpBody, Growing), Status>
where
    B: RequestBody,
    B::Error: Into<StdError>,
{
    let mut received = Received::new(body, budget.clone());
    received.expect(bytes_max)?;
    while received.more().await? {
        if received.bytes.len() > bytes_max {
            return Err(Status::resource_exhausted(format!("the body is over {bytes_max} bytes")));
        }
    }
    let (body, held) = received.into_parts();
    let text = body.trim_ascii();
    if text.is_empty() {
        return Ok((HttpBody::from(grpc_frame(&DynamicMessage::new(method.input()))), held));
    }
    let _turn = turn(text.len()).await;
    Ok((HttpBody::from(grpc_frame(&message(method, text)?)), held))
}

/// The messages of a stream, handed on as they come; and what was wrong with one of them, if
/// something is. What is wrong with the first is told before anything begins.
pub(super) async fn streamed_body<B>(
    method: &MethodDescriptor,
    mut objects: Objects<B>,
    budget: &Budget,
) -> Result<(HttpBody, oneshot::Receiver<Status>), Status>
where
    B: RequestBody,
    B::Error: Into<StdError>,
{
    let (method, budget) = (method.clone(), budget.clone());
    let one = move |object: Option<Bytes>| -> Result<Option<(Bytes, Held)>, Status> {
        let Some(object) = object else { return Ok(None) };
        let frame = grpc_frame(&message(&method, &object)?);
        let held = budget.hold(frame.len()).ok_or_else(too_many)?;
        Ok(Some((frame, held)))
    };
    let mut next = Ok(one(objects.next().await?)?);
    let (send, messages) = mpsc::channel(MESSAGES_MAX);
    let (tell, fault) = oneshot::channel();
    tokio::spawn(async move {
        while let Ok(Some(message)) = next {
            if send.send(message).await.is_err() {
                return;
            }
            // A client that is gone sends nothing more, and its service ends.
            next = tokio::select! {
                object = objects.next() => object.and_then(&one),
                () = send.closed() => return,
            };
        }
        if let Err(status) = next {
            // Nobody is left to hear it if the stream has ended.
            let _ = tell.send(status);
        }
    });
    Ok((HttpBody::new(Messages { messages, last: None }), fault))
}

/// Messages on their way to the service, each counted until it asks for the next one.
struct Messages {
    messages: mpsc::Receiver<(Bytes, Held)>,
    last: Option<Held>,
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.last = None;
        let next = std::task::ready!(self.messages.poll_recv(cx));
        Poll::Ready(next.map(|(message, held)| {
            self.last = Some(held);
            Ok(Frame::data(message))
        }))
    }
}

/// A message from its text.
fn message(method: &MethodDescriptor, text: &[u8]) -> Result<DynamicMessage, Status> {
    // Two letters of text become some hundred bytes: a text of nothing but braces is no request.
    if text.iter().filter(|byte| **byte == b'{').count() > OBJECTS_MAX {
        let told = format!("a message of more than {OBJECTS_MAX} objects is not read");
        return Err(Status::invalid_argument(told));
    }
    let malformed = |error: serde_json::Error| Status::invalid_argument(error.to_string());
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut one = serde_json::Deserializer::from_slice(text);
    DynamicMessage::deserialize_with_options(method.input(), &mut one, &options).map_err(malformed)
}

/// A message as it lies in the body of a gRPC call.
fn grpc_frame(message: &DynamicMessage) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode(&mut frame).expect("a buffer that grows takes every message");
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use tonic::Code;

    use super::super::method_of;
    use super::super::received::BODY_TIMEOUT;
    use super::*;

    /// A body of these pieces that never ends.
    fn unended(pieces: Vec<Bytes>) -> HttpBody {
        use tokio_stream::StreamExt as _;
        let pieces = tokio_stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
        HttpBody::from_stream(pieces.chain(tokio_stream::pending()))
    }

    /// Lets all others go as far as they can.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_counted_and_given_up() {
        let put = method_of("/etcdserverpb.KV/Put").unwrap();
        let budget = Budget::of_messages();
        let begun = tokio::time::Instant::now();
        let body = unended(vec![Bytes::from_static(b"{\"key\":\""), vec![b'A'; 1 << 20].into()]);
        let waits = whole_body(&put, body, 4 << 20, &budget);
        tokio::pin!(waits);
        let early = tokio::time::timeout(BODY_TIMEOUT / 2, waits.as_mut()).await;
        assert!(early.is_err() && budget.held_bytes() >= 1 << 20, "{} B", budget.held_bytes());
        let status = waits.await.err().unwrap();
        let took = begun.elapsed();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(took >= BODY_TIMEOUT && took < 2 * BODY_TIMEOUT, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_are_not_whole_are_refused_in_time() {
        let put = method_of("/etcdserverpb.KV/Put").unwrap();
        let budget = Budget::of_messages();
        let mut refused = 0;
        let mut waiting = Vec::new();
        for _ in 0..100 {
            let body = unended(vec![vec![b' '; 1 << 20].into()]);
            let mut waits = Box::pin(whole_body(&put, body, 4 << 20, &budget));
            match std::future::poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await {
                Poll::Pending => waiting.push(waits),
                Poll::Ready(answer) => {
                    assert_eq!(answer.err().unwrap().message(), too_many().message());
                    refused += 1;
                }
            }
        }
        assert!(refused >= 36 && !waiting.is_empty(), "a connection holds 64 MiB: {refused}");
        drop(waiting);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[test]
    fn a_text_of_nothing_but_objects_is_not_read() {
        let txn = method_of("/etcdserverpb.KV/Txn").unwrap();
        let text = |count| format!("{{\"success\":[{}{{}}]}}", "{},".repeat(count));
        assert!(message(&txn, text(100).as_bytes()).is_ok());
        let refused = message(&txn, text(OBJECTS_MAX).as_bytes()).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_of_a_stream_that_nobody_takes_are_counted() {
        let watch = method_of("/etcdserverpb.Watch/Watch").unwrap();
        let budget = Budget::of_messages();
        let long = format!("{{\"create_request\":{{\"key\":\"{}\"}}}}", "A".repeat(1 << 20));
        let body = unended(vec![long.repeat(5).into()]);
        let objects = Objects::new(body, 8 << 20, &budget);
        let (mut messages, _fault) = streamed_body(&watch, objects, &budget).await.unwrap();
        settle().await;
        let least = (5 << 20) + 2 * (3 << 18);
        assert!(budget.held_bytes() >= least, "{} bytes", budget.held_bytes());
        for _ in 0..5 {
            let next = std::future::poll_fn(|cx| Pin::new(&mut messages).poll_frame(cx));
            assert!(Frame::is_data(&next.await.unwrap().unwrap()));
        }
        drop(messages);
        settle().await;
        assert_eq!(budget.held_bytes(), 0);
    }
}
