//! Watchers: each has a stream of its own on one of the shared connections. A value begins with the
//! moment of its put, so that an event tells how long it was on its way.

use std::sync::Arc;
use std::time::Duration;

use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use bytes::{BufMut, Bytes, BytesMut};
use env::{Clock, Moment};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{MEASURING, Run};
use crate::ClientError;
use crate::connect::Connection;

const STAMP_BYTES: usize = 8;

/// The value with the moment before it.
pub(crate) fn stamped(now: Moment, value: &Bytes) -> Bytes {
    let mut bytes = BytesMut::with_capacity(STAMP_BYTES + value.len());
    bytes.put_u64(now.0);
    bytes.put_slice(&value[value.len().min(STAMP_BYTES)..]);
    bytes.freeze()
}

fn stamp_of(value: &[u8]) -> Option<Moment> {
    Some(Moment(u64::from_be_bytes(value.get(..STAMP_BYTES)?.try_into().ok()?)))
}

/// Opens all watchers and waits until each is confirmed. They end when the set is dropped.
pub(crate) async fn start(
    run: &Arc<Run>,
    channels: &[Connection],
) -> Result<JoinSet<()>, ClientError> {
    let mut watching = JoinSet::new();
    for number in 0..run.options.watchers {
        let channel = channels[number as usize % channels.len()].clone();
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let create = WatchCreateRequest {
            key: run.options.prefix.clone().into(),
            range_end: format!("{}g", run.options.prefix).into(),
            ..WatchCreateRequest::default()
        };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        if sender.send(create).await.is_err() {
            return Err(ClientError::Argument("a watcher's own stream closed".to_owned()));
        }
        let mut client = WatchClient::new(channel);
        let mut events = client.watch(ReceiverStream::new(receiver)).await?.into_inner();
        let confirmed = tokio::time::timeout(Duration::from_secs(10), events.message()).await;
        match confirmed {
            Ok(Ok(Some(response))) if response.created && !response.canceled => {}
            Ok(Err(status)) => return Err(status.into()),
            _ => return Err(ClientError::Argument("a watcher was not confirmed".to_owned())),
        }
        let run = Arc::clone(run);
        watching.spawn(async move {
            // The request side stays open as long as the watcher listens.
            let _open = sender;
            listen(&run, number, events).await;
        });
    }
    Ok(watching)
}

async fn listen(run: &Run, number: u32, mut events: Streaming<WatchResponse>) {
    while let Some(response) = events.next().await {
        if run.phase() != MEASURING {
            continue;
        }
        match response {
            Ok(response) => record(run, number, &response),
            Err(status) => return run.recorders.failure(number, status.message()),
        }
    }
}

fn record(run: &Run, number: u32, response: &WatchResponse) {
    let now = run.clock.now();
    for event in &response.events {
        let sent = event.kv.as_ref().and_then(|kv| stamp_of(&kv.value));
        let taken = sent.map_or(0, |sent| now.since(sent).as_micros());
        run.recorders.success(number, u64::try_from(taken).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back() {
        let value = stamped(Moment(77), &Bytes::from_static(&[1; 16]));
        assert_eq!(value.len(), 16);
        assert_eq!(stamp_of(&value), Some(Moment(77)));
        assert_eq!(stamp_of(b"short"), None);
    }
}
