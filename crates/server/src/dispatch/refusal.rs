//! What is refused before its message was read. The client sends that all the same, perhaps later
//! than the refusal reaches it: HTTP/2 takes bytes of a call that is over, and that nobody
//! remembers, for an error of the client, and after a thousand of them ends the connection, with
//! all calls that are under way on it. So the message is waited for and thrown away first.

use std::pin::Pin;
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
        let _late = tokio::time::timeout(WITHIN, throw_away(body)).await;
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
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else { return };
        bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
}
