//! The answer of a stream on its way out: its messages are counted, and the call by the code that
//! is behind the last of them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::metrics::Tally;

/// Before each message: one byte for compression, and the length.
const PREFIX_BYTES: usize = 5;

/// A body with its call, which ends with it.
#[derive(Debug)]
pub(super) struct Streamed {
    body: Body,
    messages: Messages,
    /// Until the end is known. Who drops the body before that has given the call up.
    tally: Option<Tally>,
}

impl Streamed {
    pub(super) fn body(body: Body, tally: Tally) -> Body {
        Body::new(Self { body, messages: Messages::default(), tally: Some(tally) })
    }

    fn end(&mut self, code: Code) {
        self.tally.take().into_iter().for_each(|tally| tally.end(code));
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let this = &mut *self;
        match &frame {
            None => this.end(Code::Ok),
            Some(Err(status)) => this.end(status.code()),
            Some(Ok(frame)) => {
                if let (Some(data), Some(tally)) = (frame.data_ref(), &this.tally) {
                    this.messages.pass(data, |bytes| tally.meter().sent(bytes));
                }
                let code = frame.trailers_ref().map(|trailers| {
                    let code = trailers.get(Status::GRPC_STATUS);
                    code.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
                });
                code.into_iter().for_each(|code| this.end(code));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Finds the messages in bytes that come in any pieces.
#[derive(Debug, Default)]
struct Messages {
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the prefix that are here.
    begun: usize,
    /// Bytes of the message that are to come.
    missing: usize,
}

impl Messages {
    /// Tells how long each message is that begins in `data`, once its length is known.
    fn pass(&mut self, mut data: &[u8], mut found: impl FnMut(usize)) {
        while !data.is_empty() {
            if self.missing > 0 {
                let passed = data.len().min(self.missing);
                self.missing -= passed;
                data = &data[passed..];
                continue;
            }
            let taken = data.len().min(PREFIX_BYTES - self.begun);
            self.prefix[self.begun..self.begun + taken].copy_from_slice(&data[..taken]);
            self.begun += taken;
            data = &data[taken..];
            if self.begun == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                self.missing = u32::from_be_bytes(length) as usize;
                self.begun = 0;
                found(self.missing);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let bytes = b"\0\0\0\0\x03put\0\0\0\0\0\0\0\0\0\x02ok";
        for at in 0..=bytes.len() {
            let (begin, end) = bytes.split_at(at);
            let (mut messages, mut found) = (Messages::default(), Vec::new());
            messages.pass(begin, |length| found.push(length));
            messages.pass(end, |length| found.push(length));
            assert_eq!(found, [3, 0, 2], "cut at {at}");
        }
    }
}
