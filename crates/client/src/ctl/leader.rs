//! Leadership: who has it, and who gets it.

use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::{MoveLeaderRequest, StatusRequest};
use clap::Subcommand;
use serde::Serialize;

use super::{Output, member};
use crate::connect::Connection;
use crate::{ClientError, Endpoints};

/// `ctl leader`. The leader is found among the endpoints.
#[derive(Clone, Debug, Subcommand)]
pub enum Leader {
    /// Hand leadership to a member.
    #[command(after_help = "Example: flotilla ctl leader transfer n2")]
    Transfer {
        /// The member's name, or its id in hexadecimal.
        member: String,
    },
    /// Take leadership from the member that has it; the most up-to-date other voter gets it.
    #[command(after_help = "Example: flotilla ctl leader step-down")]
    StepDown,
}

#[derive(Serialize)]
struct Moved {
    from: String,
    to: String,
}

pub(super) async fn run(
    endpoints: &Endpoints,
    leader: &Leader,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    match leader {
        Leader::Transfer { member } => transfer(endpoints, member, output).await,
        Leader::StepDown => step_down(endpoints, output).await,
    }
}

/// The endpoint that leads, and its id.
pub(super) async fn find(endpoints: &Endpoints) -> Result<(Connection, u64), ClientError> {
    let mut leader_id = 0;
    let mut last_error = None;
    for authority in endpoints.iter() {
        let channel = match endpoints.connect(authority).await {
            Ok(channel) => channel,
            Err(error) => {
                last_error = Some(error);
                continue;
            }
        };
        let mut client = MaintenanceClient::new(channel.clone());
        let status = client.status(StatusRequest {}).await?.into_inner();
        let own_id = status.header.as_ref().map_or(0, |header| header.member_id);
        if own_id == status.leader {
            return Ok((channel, own_id));
        }
        leader_id = status.leader;
    }
    if let (0, Some(error)) = (leader_id, last_error) {
        return Err(error);
    }
    let message = match leader_id {
        0 => format!("{endpoints}: no leader is known; the cluster may be electing one"),
        id => format!("the leader {id:x} is none of {endpoints}; name all endpoints"),
    };
    Err(ClientError::NotFound(message))
}

pub(super) async fn transfer(
    endpoints: &Endpoints,
    to: &str,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let target = member::find(endpoints, to).await?;
    let (channel, own_id) = find(endpoints).await?;
    hand_over((channel, own_id), target.id, output).await
}

async fn hand_over(
    (channel, own_id): (Connection, u64),
    target_id: u64,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let mut client = MaintenanceClient::new(channel);
    client.move_leader(MoveLeaderRequest { target_id }).await?;
    let moved = Moved { from: format!("{own_id:x}"), to: format!("{target_id:x}") };
    if output.json {
        return output.json(&moved);
    }
    output.line(&format!("leadership went from {} to {}", moved.from, moved.to))
}

/// The voters that answer at their client URLs are asked how far they are.
async fn step_down(endpoints: &Endpoints, output: &mut Output<'_>) -> Result<(), ClientError> {
    let (channel, own_id) = find(endpoints).await?;
    let others = member::voters(endpoints).await?.into_iter().filter(|other| other.id != own_id);
    let mut best = None;
    for other in others {
        let applied = applied_index(endpoints, &other.client_ur_ls).await;
        best = best.max(applied.map(|applied| (applied, other.id)));
    }
    let Some((_, target_id)) = best else {
        let message = "no other voter answers: there is nobody to lead".to_owned();
        return Err(ClientError::NotFound(message));
    };
    hand_over((channel, own_id), target_id, output).await
}

async fn applied_index(endpoints: &Endpoints, client_urls: &[String]) -> Option<u64> {
    for url in client_urls {
        let authority = url.strip_prefix("http://").unwrap_or(url);
        let Ok(channel) = endpoints.connect(authority).await else { continue };
        let mut client = MaintenanceClient::new(channel);
        if let Ok(status) = client.status(StatusRequest {}).await {
            return Some(status.into_inner().raft_applied_index);
        }
    }
    None
}
