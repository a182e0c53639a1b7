//! The objects of a body, one by one as it comes.

use bytes::{Buf, Bytes};
use tonic::Status;
use tonic::codegen::StdError;

use super::received::Received;
use crate::budget::Budget;
use crate::dispatch::RequestBody;

/// A body on its way, cut at the ends of its objects. Each byte is looked at once.
pub(super) struct Objects<B> {
    received: Received<B>,
    scan: Scan,
    bytes_max: usize,
}

/// How far the first object of a text goes.
#[derive(Debug, Default)]
struct Scan {
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Goes on; where the object ends, once it does. `None` if it has not ended yet.
    fn end_in(&mut self, text: &[u8]) -> Result<Option<usize>, Status> {
        while let Some(byte) = text.get(self.at) {
            self.at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Ok(Some(self.at));
                    }
                }
                _ => {}
            }
            if self.depth == 0 {
                return Err(Status::invalid_argument("a message is an object: {…}"));
            }
        }
        Ok(None)
    }
}

impl<B> Objects<B>
where
    B: RequestBody,
    B::Error: Into<StdError>,
{
    /// Of a body, each of them at most so long.
    pub(super) fn new(body: B, bytes_max: usize, budget: &Budget) -> Self {
        let received = Received::new(body, budget.clone());
        Self { received, scan: Scan::default(), bytes_max }
    }

    /// The next one; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let received = &mut self.received;
        loop {
            if self.scan.at == 0 {
                let is_blank = |byte: &&u8| byte.is_ascii_whitespace();
                let blank = received.bytes.iter().take_while(is_blank).count();
                received.bytes.advance(blank);
            }
            if let Some(end) = self.scan.end_in(&received.bytes)? {
                self.scan = Scan::default();
                return Ok(Some(received.cut(end)));
            }
            if received.bytes.len() > self.bytes_max {
                let text = format!("a message is over {} bytes", self.bytes_max);
                return Err(Status::resource_exhausted(text));
            }
            let has_begun = !received.bytes.is_empty();
            if has_begun {
                received.begin();
            }
            match received.more().await? {
                true => {}
                false if has_begun => {
                    return Err(Status::invalid_argument("the last message is cut short"));
                }
                false => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body as HttpBody;

    use super::*;

    async fn objects(text: &str, piece: usize) -> (Vec<String>, Option<Status>) {
        let pieces: Vec<Result<Bytes, std::convert::Infallible>> =
            text.as_bytes().chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let body = HttpBody::from_stream(tokio_stream::iter(pieces));
        let mut objects = Objects::new(body, 64, &Budget::of_messages());
        let mut found = Vec::new();
        loop {
            match objects.next().await {
                Ok(Some(object)) => found.push(String::from_utf8(object.to_vec()).unwrap()),
                Ok(None) => return (found, None),
                Err(status) => return (found, Some(status)),
            }
        }
    }

    async fn check(text: &str, expect: &[&str], is_whole: bool) {
        for piece in [1, 3, 1000] {
            let (found, status) = objects(text, piece).await;
            assert_eq!(found, expect, "{text} in pieces of {piece}");
            assert_eq!(status.is_none(), is_whole, "{text}: {status:?}");
        }
    }

    #[tokio::test]
    async fn a_body_is_cut_where_its_objects_end() {
        check("", &[], true).await;
        check(" \n ", &[], true).await;
        check(r#"{"a":1}"#, &[r#"{"a":1}"#], true).await;
        check("{}{ }\n{\"a\":[{}]}", &["{}", "{ }", "{\"a\":[{}]}"], true).await;
        check(r#"{"a":"}{\"]\\"} {}"#, &[r#"{"a":"}{\"]\\"}"#, "{}"], true).await;
        check("{} {", &["{}"], false).await;
        check("{} x {}", &["{}"], false).await;
        check("}", &[], false).await;
        check("\"{}\"", &[], false).await;
        check(&format!("{{}} {{\"a\":\"{}\"}}", "x".repeat(2000)), &["{}"], false).await;
    }
}
