//! The answers of a gRPC call, one by one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;
use tonic::Status;
use tonic::body::Body;

/// Before each message: a flag for compression, which is never used here, and the length.
const PREFIX_BYTES: usize = 5;

/// What comes next.
pub(super) enum Next {
    Message(Bytes),
    /// How the call ended.
    End(Status),
}

/// The body of an answer.
pub(super) struct Frames {
    body: Body,
    read: BytesMut,
}

impl Frames {
    pub(super) fn new(body: Body) -> Self {
        Self { body, read: BytesMut::new() }
    }

    pub(super) async fn next(&mut self) -> Next {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            if let Some(message) = self.message() {
                return Poll::Ready(Next::Message(message));
            }
            let end = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => Status::ok(""),
                Some(Err(status)) => status,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.read.extend_from_slice(&data);
                        continue;
                    }
                    Err(other) => {
                        let status = other.into_trailers().ok();
                        let status = status.and_then(|trailers| Status::from_header_map(&trailers));
                        status.unwrap_or_else(|| Status::ok(""))
                    }
                },
            };
            return Poll::Ready(Next::End(end));
        }
    }

    fn message(&mut self) -> Option<Bytes> {
        let prefix = self.read.get(..PREFIX_BYTES)?;
        let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
        let end = PREFIX_BYTES + usize::try_from(length).ok()?;
        if self.read.len() < end {
            // Room for all of it at once: growing by doubling takes twice as much.
            self.read.reserve(end - self.read.len());
            return None;
        }
        let mut message = self.read.split_to(end);
        message.advance(PREFIX_BYTES);
        Some(message.freeze())
    }
}
