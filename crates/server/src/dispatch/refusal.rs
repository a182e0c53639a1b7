//! What is refused before its message was read. The client sends that all the same, perhaps later
//! than the refusal reaches it: HTTP/2 takes bytes of a call that is over, and that nobody
//! remembers, for an error of the client, and after a thousand of them ends the connection, with
//! all calls that are under way on it. So the message is waited for and thrown away first.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tonic::Status;
use tonic::codegen::StdError;

use super::RequestBody;
use crate::methods::{Kind, METHODS};
use crate::unary::Answered;

/// A message that is longer, or later, is the client's own fault.
const BYTES_MAX: usize = 64 << 10;
const WITHIN: Duration = Duration::from_secs(1);

/// Refuses a call of the method at this place, or of one that nobody serves. Requests of a stream
/// may have no end: those are refused at once.
pub(super) fn refuse_unread<B: RequestBody>(
    place: Option<usize>,
    body: B,
    status: Status,
) -> Answered
where
    B::Error: Into<StdError> + Send,
{
    if place.is_some_and(|place| matches!(METHODS[place].kind, Kind::BidiStream)) {
        return super::refuse(status);
    }
    Box::pin(async move {
        let mut rest = pin!(throw_away(body));
        // What is here already needs no timer, and so no runtime: a call from the same process.
        let is_whole = poll_fn(|cx| Poll::Ready(rest.as_mut().poll(cx).is_ready())).await;
        if !is_whole {
            let _late = tokio::time::timeout(WITHIN, rest).await;
        }
        Ok(status.into_http())
    })
}

/// Reads to the end, or as far as it goes.
async fn throw_away<B: RequestBody>(mut body: B)
where
    B::Error: Into<StdError> + Send,
{
    let mut bytes = 0;
    while bytes <= BYTES_MAX {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else { return };
        bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
}
