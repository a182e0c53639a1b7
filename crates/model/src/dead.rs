//! Messages that make no difference.

use raft::*;

use crate::peer::Peer;

/// Whether `message` changes nothing, now and for ever: its term is over at both ends, or its
/// answer came too late. That a node drops such messages is taken for granted here; the stories of
/// late and repeated grants show it.
pub(crate) fn is_dead(message: &Message, from: &Peer, to: &Peer) -> bool {
    let current_term = to.disk.hard_state().current_term;
    let is_news_to_sender = from.disk.hard_state().current_term < to.node.term();
    let (is_old, is_of_now) = (current_term > message.term, current_term == message.term);
    match &message.body {
        Body::PreVote { .. } => (is_old || is_of_now) && !is_news_to_sender,
        Body::PreVoteResponse { .. } => is_old || is_of_now,
        Body::RequestVote { .. } if is_of_now => from.disk.hard_state().current_term > message.term,
        Body::RequestVoteResponse { granted } => {
            is_old || is_of_now && !(*granted && to.node.role() == Role::Candidate)
        }
        Body::AppendEntriesResponse(_)
        | Body::HeartbeatResponse { .. }
        | Body::InstallSnapshotResponse { .. }
        | Body::ReadIndexResponse { .. } => {
            let may_lead = matches!(to.node.role(), Role::Candidate | Role::Leader);
            is_old || is_of_now && !may_lead
        }
        Body::TimeoutNow { .. } | Body::Pull { .. } | Body::PullResponse { .. } => is_old,
        Body::Removed { .. } => false,
        Body::RequestVote { .. }
        | Body::AppendEntries { .. }
        | Body::CommitIndex { .. }
        | Body::Heartbeat { .. }
        | Body::Quiesce { .. }
        | Body::InstallSnapshot { .. }
        | Body::ReadIndex { .. } => is_old && !is_news_to_sender,
    }
}
