//! What is written beside an arrow, and by which kind it is found.

use raft::{AppendOutcome, Body, Message};

/// What a row of a picture is about; the page can show or hide each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Votes and pre-votes.
    Election,
    /// Entries and their answers.
    Append,
    /// "I am alive", and rest.
    Heartbeat,
    /// Linearizable reads.
    Read,
    /// Snapshots, and logs that are cut.
    Snapshot,
    /// Leadership that is handed over, members that come and go.
    Change,
    /// What clients ask and are told.
    Client,
    /// What is done to the nodes from outside.
    Fault,
    /// Everything else.
    Other,
}

impl Kind {
    /// As the page names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Election => "election",
            Self::Append => "append",
            Self::Heartbeat => "heartbeat",
            Self::Read => "read",
            Self::Snapshot => "snapshot",
            Self::Change => "change",
            Self::Client => "client",
            Self::Fault => "fault",
            Self::Other => "other",
        }
    }
}

/// A message in a few words.
#[must_use]
pub fn describe(message: &Message) -> (Kind, String) {
    let term = message.term;
    let (kind, text) = match &message.body {
        Body::PreVote { last } => (Kind::Election, format!("PreVote last={last}")),
        Body::PreVoteResponse { granted } => (Kind::Election, answer("PreVote", *granted)),
        Body::RequestVote { last, .. } => (Kind::Election, format!("RequestVote last={last}")),
        Body::RequestVoteResponse { granted } => (Kind::Election, answer("vote", *granted)),
        Body::AppendEntries { prev, commit_index, entries, .. } => {
            let span = match (entries.first(), entries.last()) {
                (Some(first), Some(last)) if first == last => format!("{}", first.id),
                (Some(first), Some(last)) => format!("{}..{}", first.id, last.id),
                _ => "nothing".to_owned(),
            };
            (Kind::Append, format!("AppendEntries {span} behind {prev} commit={commit_index}"))
        }
        Body::CommitIndex { prev, commit_index, .. } => {
            (Kind::Append, format!("committed up to {commit_index}, of what ends with {prev}"))
        }
        Body::AppendEntriesResponse(AppendOutcome::Accepted { match_index, .. }) => {
            (Kind::Append, format!("accepted up to {match_index}"))
        }
        Body::AppendEntriesResponse(AppendOutcome::Rejected { prev_index, hint, .. }) => {
            (Kind::Append, format!("rejected at {prev_index}, try {hint}"))
        }
        Body::Heartbeat { commit_index, round } => {
            (Kind::Heartbeat, format!("heartbeat commit={commit_index}{}", round_of(*round)))
        }
        Body::HeartbeatResponse { round, .. } => {
            (Kind::Heartbeat, format!("alive{}", round_of(*round)))
        }
        Body::Quiesce { .. } => (Kind::Heartbeat, "rest".to_owned()),
        Body::InstallSnapshot { mark } => (Kind::Snapshot, format!("snapshot of {}", mark.last)),
        Body::InstallSnapshotResponse { match_index } => {
            (Kind::Snapshot, format!("snapshot taken, up to {match_index}"))
        }
        Body::Pull { prev } => (Kind::Append, format!("what is committed behind {prev}?")),
        Body::PullResponse { prev, entries, .. } => {
            let upto = entries.last().map_or(*prev, |entry| entry.id);
            (Kind::Append, format!("committed: up to {upto} behind {prev}"))
        }
        Body::Removed { by, .. } => (Kind::Change, format!("you were removed at {}", by.last)),
        Body::TimeoutNow { .. } => (Kind::Change, "TimeoutNow".to_owned()),
        Body::ReadIndex { .. } => (Kind::Read, "ReadIndex?".to_owned()),
        Body::ReadIndexResponse { index: Some(index), .. } => {
            (Kind::Read, format!("read at {index}"))
        }
        Body::ReadIndexResponse { index: None, .. } => (Kind::Read, "no leader here".to_owned()),
    };
    (kind, format!("{text} · term {term}"))
}

fn answer(what: &str, granted: bool) -> String {
    if granted { format!("{what} granted") } else { format!("{what} refused") }
}

fn round_of(round: u64) -> String {
    if round == 0 { String::new() } else { format!(" for read round {round}") }
}
