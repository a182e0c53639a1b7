//! The answers of a gRPC call, one by one.

use std::pin::Pin;

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
        loop {
            if let Some(message) = self.message() {
                return Next::Message(message);
            }
            let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            match frame {
                None => return Next::End(Status::ok("")),
                Some(Err(status)) => return Next::End(status),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.read.extend_from_slice(&data),
                    Err(other) => {
                        let status = other.into_trailers().ok();
                        let status = status.and_then(|trailers| Status::from_header_map(&trailers));
                        return Next::End(status.unwrap_or_else(|| Status::ok("")));
                    }
                },
            }
        }
    }

    fn message(&mut self) -> Option<Bytes> {
        let prefix = self.read.get(..PREFIX_BYTES)?;
        let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
        let end = PREFIX_BYTES + usize::try_from(length).ok()?;
        if self.read.len() < end {
            return None;
        }
        let mut message = self.read.split_to(end);
        message.advance(PREFIX_BYTES);
        Some(message.freeze())
    }
}
