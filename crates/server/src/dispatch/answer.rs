//! The answer to a call: counted on its way out, and given up when its client has given up.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response};
use tonic::body::Body;
use tonic::{Code, Status};

use super::streamed::Streamed;
use crate::api_error::{ApiError, parse_oversize};
use crate::metrics::Tally;
use crate::unary::Answered;

/// The answer to come; on its way out it is counted, and tonic's words for an oversized message are
/// replaced by etcd's.
pub(crate) struct Answer {
    pub(super) answered: Answered,
    pub(super) tally: Option<Tally>,
    /// When the client will have given up.
    pub(super) deadline: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// What a client says of how long it waits: a number of at most eight digits, and a unit.
pub(super) fn timeout(value: Option<HeaderValue>) -> Option<Duration> {
    let value = value?;
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl Answer {
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut polled = self.answered.as_mut().poll(cx);
        // A stream has its head long before; for all else nobody waits any more.
        if polled.is_pending() && self.is_late(cx) {
            let late = Status::deadline_exceeded("context deadline exceeded");
            polled = Poll::Ready(Ok(late.into_http()));
        }
        polled.map(|answered| {
            let mut response = answered?;
            // Only a refusal has its code in the head; where all is well it follows the body.
            let code = match response.headers().get(Status::GRPC_STATUS) {
                None => Code::Ok,
                Some(code) => Code::from_bytes(code.as_bytes()),
            };
            if code == Code::OutOfRange
                && let Some(error) = oversize(response.headers())
            {
                response = Status::from(error).into_http();
            }
            if let Some(tally) = self.tally.take() {
                if code != Code::Ok || tally.is_unary() {
                    tally.end(code);
                } else {
                    response = response.map(|body| Streamed::body(body, tally));
                }
            }
            Ok(response)
        })
    }
}

fn oversize(headers: &HeaderMap<HeaderValue>) -> Option<ApiError> {
    let status = Status::from_header_map(headers)?;
    parse_oversize(status.code(), status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_number_and_a_unit() {
        let check = |text: &str, expect: Option<Duration>| {
            assert_eq!(timeout(text.parse().ok()), expect, "{text}");
        };
        check("20m", Some(Duration::from_millis(20)));
        check("7S", Some(Duration::from_secs(7)));
        check("99999999H", Some(Duration::from_secs(99_999_999 * 3600)));
        check("1u", Some(Duration::from_micros(1)));
        for text in ["", "m", "20", "20x", "-1S", "+1S", "100000000S", "1 S"] {
            check(text, None);
        }
    }
}
