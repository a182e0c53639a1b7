//! Nodes and messages in one line each, as the scripts print them.

use std::fmt::Write;

use raft::*;

use super::Cluster;

impl Cluster {
    /// The commands that a node has applied, in order.
    pub(crate) fn applied_commands(&self, node: u64) -> Vec<String> {
        let commands =
            self.members[&node].applied.iter().filter_map(|entry| match &entry.payload {
                Payload::Command(command) => Some(String::from_utf8_lossy(command).into_owned()),
                Payload::Keyed(keyed) => Some(String::from_utf8_lossy(&keyed.command).into_owned()),
                Payload::Noop
                | Payload::Withheld
                | Payload::Lease(_)
                | Payload::Configuration(_) => None,
            });
        commands.collect()
    }

    /// A node in one line, as the scripts print it.
    pub(crate) fn status_line(&self, node: u64) -> String {
        let member = &self.members[&node];
        let Some(raft) = &member.node else { return format!("n{node} crashed") };
        let status = raft.status();
        let role = match status.role {
            Role::Follower => "follower",
            Role::PreCandidate => "pre-candidate",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        };
        let mut line = format!(
            "n{node}@{} {role} last={} commit={} applied={}",
            status.hard_state.current_term, status.last, status.commit_index, status.applied_index
        );
        for follower in &status.followers {
            let snapshot = if follower.needs_snapshot { "!" } else { "" };
            write!(
                line,
                " n{}:{}/{}{snapshot}",
                follower.id, follower.match_index, follower.next_index
            )
            .unwrap();
        }
        line
    }
}

/// The session of a member that was there at the election goes without saying.
fn in_session(session: u64) -> String {
    if session == 0 { String::new() } else { format!(" session={session}") }
}

/// A message in one line, as the scripts print it.
pub(crate) fn message_line(message: &Message) -> String {
    let Message { from, to, term, body, .. } = message;
    let body = match body {
        Body::PreVote { last } => format!("PreVote last={last}"),
        Body::PreVoteResponse { granted } => format!("PreVoteResponse granted={granted}"),
        Body::RequestVote { last, leadership_transfer } => {
            let transfer = if *leadership_transfer { " transfer" } else { "" };
            format!("RequestVote last={last}{transfer}")
        }
        Body::RequestVoteResponse { granted } => format!("RequestVoteResponse granted={granted}"),
        Body::AppendEntries { prev, commit_index, session, entries } => {
            let span = match (entries.first(), entries.last()) {
                (Some(first), Some(last)) if first == last => format!(" entries={}", first.id),
                (Some(first), Some(last)) => format!(" entries={}..{}", first.id, last.id),
                _ => String::new(),
            };
            format!("AppendEntries prev={prev}{span} commit={commit_index}{}", in_session(*session))
        }
        Body::CommitIndex { prev, commit_index, session } => {
            format!("CommitIndex prev={prev} commit={commit_index}{}", in_session(*session))
        }
        Body::AppendEntriesResponse(AppendOutcome::Accepted { session, match_index }) => {
            format!("Accepted match={match_index}{}", in_session(*session))
        }
        Body::AppendEntriesResponse(AppendOutcome::Rejected { session, prev_index, hint }) => {
            format!("Rejected prev={prev_index} hint={hint}{}", in_session(*session))
        }
        Body::Heartbeat { commit_index, round } => {
            format!("Heartbeat commit={commit_index} round={round}")
        }
        Body::HeartbeatResponse { round, last_index } => {
            format!("HeartbeatResponse round={round} last={last_index}")
        }
        Body::Quiesce { last, commit_index } => {
            format!("Quiesce last={last} commit={commit_index}")
        }
        Body::InstallSnapshot { mark } => format!("InstallSnapshot last={}", mark.last),
        Body::InstallSnapshotResponse { match_index } => {
            format!("InstallSnapshotResponse match={match_index}")
        }
        Body::TimeoutNow { lease_ended: false } => "TimeoutNow".to_owned(),
        Body::TimeoutNow { lease_ended: true } => "TimeoutNow lease ended".to_owned(),
        Body::ReadIndex { replied: false, .. } => "ReadIndex".to_owned(),
        Body::ReadIndex { replied: true, .. } => "ReadIndex replied".to_owned(),
        Body::Pull { prev } => format!("Pull prev={prev}"),
        Body::PullResponse { prev, commit_index, entries } => {
            let upto = entries.last().map_or(*prev, |entry| entry.id);
            format!("PullResponse prev={prev} upto={upto} commit={commit_index}")
        }
        Body::Removed { by, .. } => format!("Removed by={}", by.last),
        Body::ReadIndexResponse { index, .. } => {
            let index = index.map_or_else(|| "none".to_owned(), |index| index.to_string());
            format!("ReadIndexResponse index={index}")
        }
    };
    format!("n{from} -> n{to} t{term} {body}")
}
