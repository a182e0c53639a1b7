//! The body of a request that is a stream, and what a call holds while it is open: counted, as
//! everything that a client makes a member keep.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use host::ProposeError;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::StdError;

use crate::api_error::ApiError;
use crate::budget::{Budget, Budgets, Held};
use crate::dispatch::RequestBody;
use crate::metrics::Meter;

/// What an open stream takes beside its messages: the buffers of its decoder and its encoder.
const STREAM_BYTES: usize = 16 << 10;
/// A head that is shorter is not counted by itself: a token and some flags.
const HEAD_BYTES_MIN: usize = 1 << 10;
/// Before each message: one byte for compression, and the length.
const PREFIX_BYTES: usize = 5;

/// Counts the head of a call that is answered once; nothing if the connection holds too much.
pub(crate) fn hold_head(calls: &Budget, headers: &HeaderMap) -> Option<Option<Held>> {
    match head_bytes(headers) {
        ..HEAD_BYTES_MIN => Some(None),
        bytes => calls.hold_all(bytes).map(Some),
    }
}

/// Counts a call that lasts.
pub(crate) fn hold_stream(calls: &Budget, headers: &HeaderMap) -> Option<Held> {
    calls.hold_all(STREAM_BYTES + head_bytes(headers))
}

fn head_bytes(headers: &HeaderMap) -> usize {
    /// Of a name and a value in a map, beside their bytes.
    const ENTRY_BYTES: usize = 100;
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ENTRY_BYTES).sum()
}

/// A body whose messages are counted from when their length is known until they are whole, since a
/// decoder makes room for all of a message that has begun.
#[derive(Debug)]
pub(crate) struct Counted<B> {
    body: B,
    budget: Budget,
    /// The beginning of a message, as far as it has come.
    prefix: Vec<u8>,
    /// Bytes of the message that are to come.
    missing: usize,
    held: Option<Held>,
    meter: Option<Meter>,
}

impl<B> Counted<B> {
    pub(crate) fn new(body: B, budget: Budget) -> Self {
        Self { body, budget, prefix: Vec::new(), missing: 0, held: None, meter: None }
    }

    /// Tells of each message that is whole.
    pub(crate) fn metered(self, meter: Meter) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// Goes through bytes that have come. `None` if a message is more than may be held.
    fn count(&mut self, mut data: &[u8]) -> Option<()> {
        while !data.is_empty() {
            if self.missing == 0 && self.prefix.len() < PREFIX_BYTES {
                let (begin, rest) = data.split_at(data.len().min(PREFIX_BYTES - self.prefix.len()));
                self.prefix.extend_from_slice(begin);
                data = rest;
                let length = self.prefix.get(1..PREFIX_BYTES).and_then(|it| it.try_into().ok());
                let Some(length) = length else { return Some(()) };
                self.missing = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.held = Some(self.budget.hold(self.missing)?);
            }
            let taken = data.len().min(self.missing);
            data = &data[taken..];
            self.missing -= taken;
            if self.missing == 0 {
                let length = self.prefix.get(1..PREFIX_BYTES).and_then(|it| it.try_into().ok());
                let length = length.map_or(0, |length| u32::from_be_bytes(length) as usize);
                self.meter.iter().for_each(|meter| meter.received(length));
                self.prefix.clear();
                self.held = None;
            }
        }
        Some(())
    }
}

impl<B: RequestBody> HttpBody for Counted<B>
where
    B::Error: Into<StdError> + Send,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        let refused = frame.data_ref().is_some_and(|data| self.count(data).is_none());
        if refused {
            let too_many: Status = ApiError::from(ProposeError::Overloaded).into();
            return Poll::Ready(Some(Err(too_many.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What the connection of a request may hold of messages; nothing for one that came without a
/// connection.
pub(crate) fn messages_of<T>(request: &tonic::Request<T>) -> Option<Budget> {
    request.extensions().get::<Budgets>().map(|budgets| budgets.messages.clone())
}

/// Counts a message of a stream.
pub(crate) fn hold_message(
    budget: Option<&Budget>,
    bytes: usize,
) -> Result<Option<Held>, ApiError> {
    let Some(budget) = budget else { return Ok(None) };
    budget.hold(bytes).map(Some).ok_or_else(|| ProposeError::Overloaded.into())
}

/// Messages with what they hold, which is let go when the next one is taken: then the connection
/// has taken the bytes of the one before.
#[derive(Debug)]
pub(crate) struct Handed<T> {
    messages: mpsc::Receiver<(Result<T, Status>, Option<Held>)>,
    last: Option<Held>,
}

impl<T> Handed<T> {
    pub(crate) fn new(messages: mpsc::Receiver<(Result<T, Status>, Option<Held>)>) -> Self {
        Self { messages, last: None }
    }
}

impl<T> Stream for Handed<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = std::task::ready!(this.messages.poll_recv(cx));
        Poll::Ready(next.map(|(message, held)| {
            this.last = held;
            message
        }))
    }
}

/// The body of an answer, with what its call holds.
#[derive(Debug)]
pub(crate) struct Kept {
    body: Body,
    _held: Option<Held>,
}

impl Kept {
    pub(crate) fn body(body: Body, held: Option<Held>) -> Body {
        Body::new(Self { body, _held: held })
    }
}

impl HttpBody for Kept {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_counted_while_it_is_not_whole_however_it_is_cut() {
        let long = [&[0, 0, 1, 0, 0][..], &vec![7; 1 << 16]].concat();
        let both = [&long[..], b"\0\0\0\0\x02ok"].concat();
        for at in [1, 4, 5, 6, 1000, long.len() - 1] {
            let budget = Budget::of_messages();
            let mut counted = Counted::new((), budget.clone());
            let (begin, end) = both.split_at(at);
            counted.count(begin).unwrap();
            let waits = if at < PREFIX_BYTES { 0 } else { 1 << 16 };
            assert_eq!(budget.held_bytes(), waits, "cut at {at}");
            counted.count(end).unwrap();
            assert_eq!((budget.held_bytes(), counted.missing), (0, 0), "cut at {at}");
        }
    }

    #[test]
    fn messages_that_are_begun_and_not_ended_are_refused_in_time() {
        let budget = Budget::of_messages();
        let begin = [&[0, 0, 16, 0, 0][..], b"x"].concat();
        let mut all: Vec<_> = (0..100).map(|_| Counted::new((), budget.clone())).collect();
        let taken = all.iter_mut().filter_map(|one| one.count(&begin)).count();
        assert_eq!(taken, 64, "a connection holds 64 MiB");
    }

    #[test]
    fn a_short_head_is_free_and_a_long_one_is_counted() {
        let budget = Budget::of_messages();
        let mut headers = HeaderMap::new();
        headers.insert("token", "abcdef.7".parse().unwrap());
        let held = hold_head(&budget, &headers).unwrap();
        assert!(held.is_none());
        headers.insert("x-long", "x".repeat(8000).parse().unwrap());
        let held = hold_head(&budget, &headers).unwrap();
        assert!(held.is_some() && budget.held_bytes() > 8000);
    }
}
