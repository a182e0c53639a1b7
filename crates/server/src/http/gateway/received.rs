//! What has come of a request's body: counted, however it is cut, and not waited for without end.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::time::Instant;
use tonic::Status;
use tonic::codegen::StdError;

use crate::budget::{Budget, Growing};
use crate::dispatch::{RequestBody, too_many};

/// A body is whole by then; of a stream, each message that has begun.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The bytes that have come, and the body that more come of.
pub(super) struct Received<B> {
    body: B,
    pub(super) bytes: BytesMut,
    counted: Growing,
    /// When the message whose beginning is here must be whole.
    deadline: Option<Instant>,
}

impl<B> Received<B>
where
    B: RequestBody,
    B::Error: Into<StdError>,
{
    /// Of a body that is waited for from now on.
    pub(super) fn new(body: B, budget: Budget) -> Self {
        let deadline = Some(Instant::now() + BODY_TIMEOUT);
        Self { body, bytes: BytesMut::new(), counted: Growing::new(budget), deadline }
    }

    /// Counts what is to come, as far as its client says how much that is; of this many bytes at
    /// most, since no more are read.
    pub(super) fn expect(&mut self, bytes_max: usize) -> Result<(), Status> {
        let announced = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        self.counted.reach(announced.min(bytes_max)).ok_or_else(too_many)
    }

    /// One more piece. `false` at the end.
    pub(super) async fn more(&mut self) -> Result<bool, Status> {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
        let frame = match self.deadline {
            None => frame.await,
            Some(deadline) => match tokio::time::timeout_at(deadline, frame).await {
                Ok(frame) => frame,
                Err(_) => {
                    let text = format!("the body did not come in {} s", BODY_TIMEOUT.as_secs());
                    return Err(Status::deadline_exceeded(text));
                }
            },
        };
        let Some(frame) = frame else { return Ok(false) };
        let frame = frame.map_err(|_| Status::cancelled("the body could not be read"))?;
        if let Ok(data) = frame.into_data() {
            // Before there is room for them, since others may have taken it.
            let bytes = self.bytes.len() + data.len();
            self.counted.reach(bytes).ok_or_else(too_many)?;
            self.bytes.extend_from_slice(&data);
            self.counted.reach(self.bytes.capacity()).ok_or_else(too_many)?;
        }
        Ok(true)
    }

    /// A message has begun, and must be whole in time.
    pub(super) fn begin(&mut self) {
        self.deadline.get_or_insert_with(|| Instant::now() + BODY_TIMEOUT);
    }

    /// A message that is whole. The next one may be long in coming, and nothing is kept meanwhile.
    pub(super) fn cut(&mut self, bytes: usize) -> Bytes {
        let message = Bytes::copy_from_slice(&self.bytes[..bytes]);
        self.bytes.advance(bytes);
        self.deadline = None;
        if self.bytes.trim_ascii().is_empty() {
            self.bytes = BytesMut::new();
            self.counted.clear();
        }
        message
    }

    /// What has come, counted until the second of both is dropped.
    pub(super) fn into_parts(self) -> (BytesMut, Growing) {
        (self.bytes, self.counted)
    }
}
