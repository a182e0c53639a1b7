//! Leases: grant, revoke, ttl, list, keep-alive.

use api::etcdserverpb::lease_client::LeaseClient;
use api::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest,
};
use clap::Subcommand;
use serde::Serialize;

use super::Output;
use crate::table::printable;
use crate::{ClientError, Endpoints};

/// `ctl lease`. Ids are hexadecimal.
#[derive(Clone, Debug, Subcommand)]
pub enum Lease {
    /// Make a lease.
    #[command(after_help = "Example: flotilla ctl lease grant 60")]
    Grant {
        /// Seconds to live.
        ttl: i64,
    },
    /// End a lease and delete its keys.
    #[command(after_help = "Example: flotilla ctl lease revoke 694d8f1b2c3a4e05")]
    Revoke {
        /// The lease.
        id: String,
    },
    /// How long a lease still lives, and its keys.
    #[command(after_help = "Example: flotilla ctl lease ttl 694d8f1b2c3a4e05")]
    Ttl {
        /// The lease.
        id: String,
    },
    /// All leases.
    #[command(after_help = "Example: flotilla ctl lease list")]
    List,
    /// Renew a lease once.
    #[command(after_help = "Example: flotilla ctl lease keep-alive 694d8f1b2c3a4e05")]
    KeepAlive {
        /// The lease.
        id: String,
    },
}

#[derive(Serialize)]
struct LeaseLine {
    id: String,
    ttl: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

/// A lease's id from its hexadecimal text.
pub(super) fn parse_id(text: &str) -> Result<i64, ClientError> {
    i64::from_str_radix(text, 16).map_err(|_| {
        ClientError::Argument(format!(
            "{text} is no lease id; `flotilla ctl lease list` prints them"
        ))
    })
}

pub(super) async fn run(
    endpoints: &Endpoints,
    lease: &Lease,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let mut client = LeaseClient::new(endpoints.connect_any().await?);
    let line = match lease {
        Lease::Grant { ttl } => {
            let answer =
                client.lease_grant(LeaseGrantRequest { ttl: *ttl, id: 0 }).await?.into_inner();
            line(answer.id, answer.ttl)
        }
        Lease::Revoke { id } => {
            let id = parse_id(id)?;
            client.lease_revoke(LeaseRevokeRequest { id }).await?;
            line(id, 0)
        }
        Lease::Ttl { id } => {
            let request = LeaseTimeToLiveRequest { id: parse_id(id)?, keys: true };
            let answer = client.lease_time_to_live(request).await?.into_inner();
            let keys = answer.keys.iter().map(|key| printable(key)).collect();
            LeaseLine { keys, ..line(answer.id, answer.ttl) }
        }
        Lease::List => {
            let answer = client.lease_leases(LeaseLeasesRequest {}).await?.into_inner();
            let ids: Vec<String> =
                answer.leases.iter().map(|lease| format!("{:x}", lease.id)).collect();
            if output.json {
                return output.json(&ids);
            }
            return ids.iter().try_for_each(|id| output.line(id));
        }
        Lease::KeepAlive { id } => {
            let once = tokio_stream::once(LeaseKeepAliveRequest { id: parse_id(id)? });
            let mut answers = client.lease_keep_alive(once).await?.into_inner();
            let answer = answers.message().await?;
            answer.map_or_else(|| line(0, 0), |answer| line(answer.id, answer.ttl))
        }
    };
    tell(&line, lease, output)
}

fn line(id: i64, ttl: i64) -> LeaseLine {
    LeaseLine { id: format!("{id:x}"), ttl, keys: Vec::new() }
}

fn tell(line: &LeaseLine, lease: &Lease, output: &mut Output<'_>) -> Result<(), ClientError> {
    let revoked = matches!(lease, Lease::Revoke { .. });
    if line.ttl <= 0 && !revoked {
        return Err(ClientError::NotFound(format!("there is no lease {}", line.id)));
    }
    if output.json {
        return output.json(line);
    }
    if revoked {
        return output.line(&format!("lease {} is revoked", line.id));
    }
    output.line(&format!("lease {} lives {} s", line.id, line.ttl))?;
    line.keys.iter().try_for_each(|key| output.line(key))
}
