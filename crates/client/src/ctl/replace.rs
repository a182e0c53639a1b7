//! `ctl member replace`: a new member in the place of another.
//!
//! The new one is added as a learner that says whose place it will take
//! ([`REPLACES`]); the leader makes the exchange, in one joint change, once it holds the log. A
//! server that does not know the word adds a learner and nothing else, and is found out by that.

use std::time::Duration;

use api::etcdserverpb::{MemberAddRequest, MemberListRequest};
use clap::Args;
use serde::Serialize;
use tonic::metadata::MetadataValue;

use super::{Output, member};
use crate::{ClientError, Endpoints};

/// The key of the request's metadata.
const REPLACES: &str = "flotilla-replaces";
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Between two lines that say that it is still under way.
const SAY_EVERY: u32 = 10;

/// The arguments of `ctl member replace`.
#[derive(Clone, Debug, Args)]
pub struct Replace {
    /// The member that leaves: its name, or its id in hexadecimal.
    member: String,
    /// The name that the new one will start with.
    #[arg(long, value_name = "NAME")]
    with: String,
    /// Where the other members will reach the new one.
    #[arg(long, value_delimiter = ',', required = true, value_name = "URLS")]
    peer_urls: Vec<String>,
    /// Do not wait until the new one has taken the place.
    #[arg(long)]
    no_wait: bool,
    /// Seconds to wait for that.
    #[arg(long, default_value_t = 600, value_name = "SECS")]
    wait: u64,
}

#[derive(Serialize)]
struct Replaced {
    old: String,
    new: String,
    initial_cluster: String,
    is_done: bool,
}

pub(super) async fn run(
    endpoints: &Endpoints,
    replace: &Replace,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let old = member::find(endpoints, &replace.member).await?.id;
    let mut client = member::client(endpoints).await?;
    let peer_ur_ls = replace.peer_urls.clone();
    let mut request = tonic::Request::new(MemberAddRequest { peer_ur_ls, is_learner: true });
    let value = MetadataValue::try_from(format!("{old:x}"));
    let value = value.map_err(|error| ClientError::Argument(error.to_string()))?;
    request.metadata_mut().insert(REPLACES, value);
    let answer = client.member_add(request).await?.into_inner();
    let new = answer.member.unwrap_or_default();
    if new.is_learner {
        let message = format!(
            "this server does not replace members; learner {:x} was added, remove it or promote it",
            new.id
        );
        return Err(ClientError::NotFound(message));
    }
    let initial_cluster = member::initial_cluster(&answer.members, &new, &replace.with);
    let mut told = Replaced {
        old: format!("{old:x}"),
        new: format!("{:x}", new.id),
        initial_cluster,
        is_done: false,
    };
    if !output.json {
        member::say_how_to_start(&new, &told.initial_cluster, &replace.with, output)?;
    }
    if !replace.no_wait {
        let within = Duration::from_secs(replace.wait);
        let exchanged = wait_for_exchange(endpoints, (old, new.id), output);
        told.is_done = tokio::time::timeout(within, exchanged).await.unwrap_or(Ok(false))?;
        if !told.is_done {
            let message = format!(
                "not done within {} s; it goes on: look with flotilla ctl member list",
                replace.wait
            );
            return Err(ClientError::NotFound(message));
        }
    }
    if output.json {
        return output.json(&told);
    }
    if told.is_done {
        output.line(&format!("{} has the place of {}", told.new, told.old))
    } else {
        Ok(())
    }
}

/// Looks until the old one is no member any more; `false` if the new one was removed instead.
async fn wait_for_exchange(
    endpoints: &Endpoints,
    (old, new): (u64, u64),
    output: &mut Output<'_>,
) -> Result<bool, ClientError> {
    for look in 0_u32.. {
        // An endpoint may be that of the member that leaves: any other will do.
        if let Ok(mut client) = member::client(endpoints).await
            && let Ok(answer) = client.member_list(MemberListRequest { linearizable: true }).await
        {
            let members = answer.into_inner().members;
            let has = |id| members.iter().any(|member| member.id == id);
            if !has(new) || !has(old) {
                return Ok(has(new));
            }
            if look % SAY_EVERY == 0 && !output.json {
                let started =
                    members.iter().any(|member| member.id == new && !member.name.is_empty());
                let line =
                    if started { "it fetches the data …" } else { "waiting for it to start …" };
                output.line(line)?;
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(false)
}
