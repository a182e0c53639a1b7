//! The JSON gateway and the pages for probes, over HTTP/2: the same hostile use as of gRPC.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Method, StatusCode};

use crate::streams::connect;

/// As many bytes as the text of a value of 2 MiB has.
const BODY_BYTES: usize = 2_900_000;
/// Those that are taken stay open so long.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);
/// Methods that take one message and methods that take many.
const PATHS: [&str; 5] = ["kv/put", "kv/txn", "watch", "lease/keepalive", "auth/authenticate"];

fn request(method: Method, path: &str) -> http::Request<()> {
    let request = http::Request::builder().method(method);
    request.uri(format!("http://localhost{path}")).body(()).unwrap()
}

async fn begin(
    send: &mut SendRequest<Bytes>,
    path: &str,
) -> Option<(ResponseFuture, h2::SendStream<Bytes>)> {
    *send = send.clone().ready().await.ok()?;
    send.send_request(request(Method::POST, &format!("/v3/{path}")), false).ok()
}

/// How many are answered with 429; whatever else is answered is good.
async fn refused(answers: Vec<ResponseFuture>) -> usize {
    let mut asked = tokio::task::JoinSet::new();
    for answer in answers {
        asked.spawn(tokio::time::timeout(REFUSED_WITHIN, answer));
    }
    let answers = asked.join_all().await;
    let statuses = answers.into_iter().flatten().flatten().map(|answer| answer.status());
    let (refused, taken): (Vec<_>, Vec<_>) =
        statuses.partition(|status| *status == StatusCode::TOO_MANY_REQUESTS);
    assert!(taken.iter().all(StatusCode::is_success), "{taken:?}");
    refused.len()
}

/// Long bodies that are begun and not ended: how many are refused.
pub(crate) async fn unfinished_bodies(to: SocketAddr) -> usize {
    let Some(mut send) = connect(to, 65_535).await else { return 0 };
    let long = Bytes::from(format!("{{\"key\":\"{}", "A".repeat(BODY_BYTES)));
    let (mut answers, mut open) = (Vec::new(), Vec::new());
    for number in 0..100 {
        let Some((answer, mut body)) = begin(&mut send, PATHS[number % PATHS.len()]).await else {
            break;
        };
        let _sent = body.send_data(long.clone(), false);
        answers.push(answer);
        open.push(body);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    refused(answers).await
}

/// Ranges over everything, and nothing of the answers is read: how many are refused.
pub(crate) async fn unread_ranges(to: SocketAddr) -> usize {
    let Some(mut send) = connect(to, 0).await else { return 0 };
    let range = Bytes::from_static(br#"{"key":"AA==","range_end":"AA=="}"#);
    let (mut answers, mut open) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let Some((answer, mut body)) = begin(&mut send, "kv/range").await else { break };
        let _sent = body.send_data(range.clone(), true);
        answers.push(tokio::spawn(answer));
        open.push(body);
    }
    let (mut refused, mut kept) = (0, Vec::new());
    for answer in answers {
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
        let Ok(Ok(Ok(answer))) = answer else { continue };
        refused += usize::from(answer.status() == StatusCode::TOO_MANY_REQUESTS);
        kept.push(answer);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    refused
}

/// Pages of metrics, and nothing of them is read: how many are refused.
pub(crate) async fn unread_metrics(to: SocketAddr, count: usize) -> usize {
    let Some(mut send) = connect(to, 0).await else { return 0 };
    let mut answers = Vec::new();
    for _ in 0..count {
        let Ok(ready) = send.ready().await else { return 0 };
        send = ready;
        let Ok((answer, _)) = send.send_request(request(Method::GET, "/metrics"), true) else {
            return 0;
        };
        answers.push(tokio::spawn(answer));
    }
    let (mut refused, mut kept) = (0, Vec::new());
    for answer in answers {
        let Ok(Ok(answer)) = answer.await else { continue };
        refused += usize::from(answer.status() == StatusCode::TOO_MANY_REQUESTS);
        kept.push(answer);
    }
    refused
}
