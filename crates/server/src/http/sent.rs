//! A body that is whole and goes out as its client reads it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::budget::{Budget, Held};
use crate::unary::PIECE_BYTES;

/// Bytes that are counted until the connection has taken them, or is gone.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What of them the connection has not taken yet.
    bytes: Bytes,
    _held: Held,
}

impl Sent {
    /// Nothing if that is more than may be held.
    pub(crate) fn new(bytes: Bytes, budget: &Budget) -> Option<Self> {
        let held = budget.hold(bytes.len())?;
        Some(Self { bytes, _held: held })
    }

    /// The next piece.
    pub(crate) fn piece(&mut self) -> Option<Bytes> {
        let length = self.bytes.len().min(PIECE_BYTES);
        (length > 0).then(|| self.bytes.split_to(length))
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_until_the_last_of_them_is_taken_and_the_body_dropped() {
        let budget = Budget::of_messages();
        let bytes = Bytes::from(vec![7; PIECE_BYTES + 1]);
        let mut sent = Sent::new(bytes, &budget).unwrap();
        assert_eq!(sent.size_hint().exact(), Some(PIECE_BYTES as u64 + 1));
        assert_eq!(sent.piece().unwrap().len(), PIECE_BYTES);
        assert_eq!((budget.held_bytes(), sent.is_end_stream()), (PIECE_BYTES + 1, false));
        assert_eq!(sent.piece().unwrap().len(), 1);
        assert_eq!((sent.piece(), sent.is_end_stream()), (None, true));
        drop(sent);
        assert_eq!(budget.held_bytes(), 0);
    }
}
