//! `ctl watch`: changes as they come.

use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use api::mvccpb::event::EventType;
use clap::Args;
use serde::Serialize;
use tokio_stream::wrappers::ReceiverStream;

use super::Output;
use super::kv::{KeyLine, KeyRange};
use crate::{ClientError, Endpoints};

/// What to watch.
#[derive(Clone, Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    range: KeyRange,
    /// Begin with the changes of this revision; 0 for those to come.
    #[arg(long, default_value_t = 0)]
    rev: i64,
    /// End after so many changes; 0 for never.
    #[arg(long, default_value_t = 0)]
    count: u64,
}

#[derive(Serialize)]
struct EventLine {
    event: &'static str,
    #[serde(flatten)]
    key: KeyLine,
}

pub(super) async fn watch(
    endpoints: &Endpoints,
    watch: &Watch,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let mut client = WatchClient::new(endpoints.connect_any().await?);
    let (key, range_end) = watch.range.bounds();
    let create = WatchCreateRequest {
        key,
        range_end,
        start_revision: watch.rev,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    // The channel has room for one and nobody else sends, so this neither waits nor fails.
    let _sent = requests.try_send(request);
    let mut events = client.watch(ReceiverStream::new(receiver)).await?.into_inner();
    let mut told = 0;
    while let Some(response) = events.message().await? {
        if response.canceled {
            return Err(cancelled(&response));
        }
        for event in &response.events {
            let Some(kv) = &event.kv else { continue };
            let deleted = event.r#type == i32::from(EventType::Delete);
            tell(if deleted { "DELETE" } else { "PUT" }, KeyLine::from(kv), output)?;
            told += 1;
            if told == watch.count {
                return Ok(());
            }
        }
    }
    Err(ClientError::NotFound("the server ended the watch; start it again".to_owned()))
}

fn tell(event: &'static str, key: KeyLine, output: &mut Output<'_>) -> Result<(), ClientError> {
    if output.json {
        return output.json(&EventLine { event, key });
    }
    output.line(&format!("{event:<6}  {}  {}  (revision {})", key.key, key.value, key.mod_revision))
}

fn cancelled(response: &WatchResponse) -> ClientError {
    if response.compact_revision > 0 {
        let oldest = response.compact_revision;
        return ClientError::NotFound(format!(
            "the history before revision {oldest} is compacted; watch from --rev {oldest}"
        ));
    }
    ClientError::NotFound(format!("the server cancelled the watch: {}", response.cancel_reason))
}
