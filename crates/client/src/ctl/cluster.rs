//! Status, hashes, alarms.

use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::{
    AlarmRequest, AlarmType, HashKvRequest, StatusRequest, StatusResponse, alarm_request,
};
use serde::Serialize;

use super::Output;
use crate::connect::Connection;
use crate::table::{Table, bytes_short};
use crate::{ClientError, Endpoints};

#[derive(Serialize)]
struct StatusLine {
    endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    member_id: String,
    version: String,
    db_size: i64,
    leader_id: String,
    is_leader: bool,
    raft_term: u64,
    raft_index: u64,
    raft_applied_index: u64,
    errors: Vec<String>,
}

impl StatusLine {
    fn new(endpoint: &str, answer: Result<StatusResponse, ClientError>) -> Self {
        let (status, error) = match answer {
            Ok(status) => (status, None),
            Err(error) => (StatusResponse::default(), Some(error.to_string())),
        };
        let member_id = status.header.as_ref().map_or(0, |header| header.member_id);
        Self {
            endpoint: endpoint.to_owned(),
            error,
            member_id: format!("{member_id:x}"),
            version: status.version,
            db_size: status.db_size,
            leader_id: format!("{:x}", status.leader),
            is_leader: member_id != 0 && member_id == status.leader,
            raft_term: status.raft_term,
            raft_index: status.raft_index,
            raft_applied_index: status.raft_applied_index,
            errors: status.errors,
        }
    }

    fn cells(&self) -> [String; 8] {
        if self.error.is_some() {
            let empty = String::new;
            let down = "down".to_owned();
            return [
                self.endpoint.clone(),
                down,
                empty(),
                empty(),
                empty(),
                empty(),
                empty(),
                empty(),
            ];
        }
        [
            self.endpoint.clone(),
            self.member_id.clone(),
            self.version.clone(),
            bytes_short(u64::try_from(self.db_size).unwrap_or(0)),
            if self.is_leader { "leader".to_owned() } else { "follower".to_owned() },
            self.raft_term.to_string(),
            self.raft_index.to_string(),
            self.raft_applied_index.to_string(),
        ]
    }
}

async fn ask_status(endpoints: &Endpoints, authority: &str) -> Result<StatusResponse, ClientError> {
    let mut client = MaintenanceClient::new(endpoints.connect(authority).await?);
    Ok(client.status(StatusRequest {}).await?.into_inner())
}

/// Each endpoint on a line of its own; fails if one of them does.
pub(super) async fn status(
    endpoints: &Endpoints,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let mut lines = Vec::new();
    for authority in endpoints.iter() {
        lines.push(StatusLine::new(authority, ask_status(endpoints, authority).await));
    }
    if output.json {
        output.json(&lines)?;
    } else {
        let head = ["ENDPOINT", "MEMBER", "VERSION", "SIZE", "ROLE", "TERM", "INDEX", "APPLIED"];
        let mut table = Table::new(&head);
        lines.iter().for_each(|line| table.row(line.cells()));
        table.write(output.out)?;
    }
    match lines.iter().find_map(|line| line.error.clone()) {
        Some(error) => Err(ClientError::Down(error)),
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct HashLine {
    endpoint: String,
    hash: u32,
    revision: i64,
    compact_revision: i64,
}

async fn ask_hash(channel: Connection, endpoint: &str, rev: i64) -> Result<HashLine, ClientError> {
    let mut client = MaintenanceClient::new(channel);
    let answer = client.hash_kv(HashKvRequest { revision: rev }).await?.into_inner();
    let revision = answer.header.as_ref().map_or(0, |header| header.revision);
    let compact_revision = answer.compact_revision;
    Ok(HashLine { endpoint: endpoint.to_owned(), hash: answer.hash, revision, compact_revision })
}

/// Without a revision the endpoints are asked for theirs first, and all are hashed at the lowest.
pub(super) async fn hash(
    endpoints: &Endpoints,
    rev: i64,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let mut channels = Vec::new();
    let mut common = rev;
    for authority in endpoints.iter() {
        let channel = endpoints.connect(authority).await?;
        if rev == 0 {
            let now = ask_hash(channel.clone(), authority, 0).await?.revision;
            common = if common == 0 { now } else { common.min(now) };
        }
        channels.push((authority, channel));
    }
    let mut lines = Vec::new();
    for (authority, channel) in channels {
        lines.push(HashLine { revision: common, ..ask_hash(channel, authority, common).await? });
    }
    if output.json {
        output.json(&lines)?;
    } else {
        let mut table = Table::new(&["ENDPOINT", "HASH", "REVISION", "COMPACTED"]);
        for line in &lines {
            let cells = [line.revision.to_string(), line.compact_revision.to_string()];
            let [revision, compacted] = cells;
            table.row([line.endpoint.clone(), format!("{:08x}", line.hash), revision, compacted]);
        }
        table.write(output.out)?;
    }
    let comparable = |line: &HashLine| (line.compact_revision, line.hash);
    let differ = lines.windows(2).any(|pair| {
        pair[0].compact_revision == pair[1].compact_revision
            && comparable(&pair[0]) != comparable(&pair[1])
    });
    if differ {
        let message = "the hashes differ: the members' data are not the same".to_owned();
        return Err(ClientError::NotFound(message));
    }
    Ok(())
}

#[derive(Serialize)]
struct AlarmLine {
    member_id: String,
    alarm: String,
}

pub(super) async fn alarm(
    endpoints: &Endpoints,
    disarm: bool,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let mut client = MaintenanceClient::new(endpoints.connect_any().await?);
    let action = if disarm {
        alarm_request::AlarmAction::Deactivate
    } else {
        alarm_request::AlarmAction::Get
    };
    let request = AlarmRequest { action: action.into(), ..AlarmRequest::default() };
    let answer = client.alarm(request).await?.into_inner();
    let lines: Vec<AlarmLine> = answer
        .alarms
        .into_iter()
        .map(|alarm| AlarmLine {
            member_id: format!("{:x}", alarm.member_id),
            alarm: AlarmType::try_from(alarm.alarm)
                .map_or_else(|_| alarm.alarm.to_string(), |kind| kind.as_str_name().to_owned()),
        })
        .collect();
    if output.json {
        return output.json(&lines);
    }
    if lines.is_empty() {
        return output.line("no alarm");
    }
    let mut table = Table::new(&["MEMBER", "ALARM"]);
    lines.into_iter().for_each(|line| table.row([line.member_id, line.alarm]));
    Ok(table.write(output.out)?)
}
