//! The answers of a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use prost_reflect::MethodDescriptor;
use tokio::sync::oneshot;
use tonic::{Code, Status};

use super::frames::{Frames, Next};
use super::{error_body, to_json};
use crate::budget::Budget;
use crate::dispatch::too_many;
use crate::http::sent::Sent;

/// One line for each answer: `{"result":…}`, at the end perhaps `{"error":…}`: also for what is wrong
/// with a message of the request. A line is made when the client has read the one before.
pub(super) struct Lines {
    method: MethodDescriptor,
    frames: Frames,
    fault: Option<oneshot::Receiver<Status>>,
    budget: Budget,
    line: Option<Sent>,
    is_last: bool,
}

impl Lines {
    pub(super) fn new(
        method: MethodDescriptor,
        frames: Frames,
        fault: Option<oneshot::Receiver<Status>>,
        budget: Budget,
    ) -> Self {
        Self { method, frames, fault, budget, line: None, is_last: false }
    }

    /// What is wrong with a message of the request, once it is known.
    fn poll_fault(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Some(fault) = &mut self.fault else { return Poll::Pending };
        let told = std::task::ready!(Pin::new(fault).poll(cx));
        self.fault = None;
        told.map_or(Poll::Pending, |status| Poll::Ready(Next::End(status)))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        match self.frames.poll_next(cx) {
            // The service has seen no more of the request than its end, and all was well with that.
            Poll::Ready(Next::End(status)) if status.code() == Code::Ok => {
                match self.poll_fault(cx) {
                    Poll::Ready(fault) => Poll::Ready(fault),
                    Poll::Pending => Poll::Ready(Next::End(status)),
                }
            }
            Poll::Ready(next) => Poll::Ready(next),
            Poll::Pending => self.poll_fault(cx),
        }
    }

    /// The line of an answer, or the last one.
    fn line(&mut self, message: Result<Bytes, Status>) -> Option<Sent> {
        let line = message.and_then(|message| {
            let json = to_json(&self.method, message)?;
            let line = Bytes::from([b"{\"result\":", &json[..], b"}\n"].concat());
            Sent::new(line, &self.budget).ok_or_else(too_many)
        });
        match line {
            Ok(line) => Some(line),
            Err(status) => {
                self.is_last = true;
                // It is short, and short ones are never refused.
                let line = format!("{{\"error\":{}}}\n", error_body(&status));
                Sent::new(line.into(), &self.budget)
            }
        }
    }
}

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(piece) = self.line.as_mut().and_then(Sent::piece) {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            self.line = None;
            if self.is_last {
                return Poll::Ready(None);
            }
            let message = match std::task::ready!(self.poll_next(cx)) {
                Next::Message(message) => Ok(message),
                Next::End(status) if status.code() == Code::Ok => return Poll::Ready(None),
                Next::End(status) => Err(status),
            };
            self.line = self.line(message);
        }
    }
}
