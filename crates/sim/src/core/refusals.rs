//! Who asks for what it was just told, asks in vain.
//!
//! Each of these goes on as fast as the network carries a message, or the disk an answer, and looks
//! like work from outside: nothing is wrong with any single step.
#![expect(clippy::wildcard_enum_match_arm, reason = "of many messages, a few ask or refuse")]

use raft::{AppendOutcome, Body, LogIndex, Message, Node, NodeId, Role, Term};

use super::CoreWorld;
use crate::Failure;

/// So often one may ask its log again for what it has just read: what was read may have been
/// replaced in the log meanwhile.
const READS_IN_VAIN_MAX: u32 = 20;

/// A follower refuses entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    from: NodeId,
    term: Term,
    session: u64,
    prev_index: LogIndex,
}

impl CoreWorld {
    /// Whether this answer to a leader is a refusal. One that is none makes good all before it.
    pub(super) fn refusal(&mut self, message: &Message) -> Option<Refusal> {
        match &message.body {
            Body::AppendEntriesResponse(AppendOutcome::Rejected {
                session, prev_index, ..
            }) => {
                let (from, term) = (message.from, message.term);
                Some(Refusal { from, term, session: *session, prev_index: *prev_index })
            }
            Body::AppendEntriesResponse(AppendOutcome::Accepted { .. })
            | Body::InstallSnapshotResponse { .. } => {
                self.forget_refusal(message.to, message.from);
                None
            }
            _ => None,
        }
    }

    /// The leader has handled it, and has not told it as late; what it says then comes after it.
    pub(super) fn note_refusal(&mut self, id: NodeId) {
        let Some(Refusal { from, term, session, prev_index }) = self.hears_refusal.take() else {
            return;
        };
        // Who is fed by another member may hold more by now, whatever it said.
        let feeds = self.node(id).is_some_and(|node| {
            let is_fed = node.configuration().feeders.contains_key(&from);
            node.role() == Role::Leader && node.term() == term && !is_fed
        });
        if feeds && !self.has_objected {
            self.member(id).seen.refused.insert(from, (session, prev_index));
        }
    }

    /// What follows is of something else: a snapshot, or entries that were taken.
    pub(super) fn forget_refusal(&mut self, leader: NodeId, follower: NodeId) {
        self.member(leader).seen.refused.remove(&follower);
    }

    /// Who has refused what follows one place is asked for an earlier one, or under another name:
    /// it would refuse the same again, as fast as the network can carry it (T82).
    pub(super) fn check_asked_again(&mut self, message: &Message) {
        let (id, to) = (message.from, message.to);
        match &message.body {
            Body::InstallSnapshot { .. } => self.forget_refusal(id, to),
            Body::AppendEntries { prev, session, .. } => {
                let is_fed = |node: &Node| node.configuration().feeders.contains_key(&to);
                if self.node(id).is_some_and(is_fed) {
                    return self.forget_refusal(id, to);
                }
                let refused = self.members[&id].seen.refused.get(&to).copied();
                if let Some((of, index)) = refused
                    && of == *session
                    && prev.index >= index
                {
                    let detail =
                        format!("leader {id} asks {to} for {prev}, which has refused {index}");
                    self.fail(id, Failure::new("what was refused is not asked for again", detail));
                }
            }
            _ => {}
        }
    }

    /// What was read of the log is used: it is not asked for again in the same step (T140).
    pub(super) fn check_read(&mut self, id: NodeId, from: LogIndex) {
        let seen = &mut self.member(id).seen;
        let again = seen.fetches.contains(&from);
        let (of, before) = seen.read_in_vain;
        let times = if again && of == from { before + 1 } else { u32::from(again) };
        seen.read_in_vain = (from, times);
        if times > READS_IN_VAIN_MAX {
            let detail = format!("node {id} reads {from}, and at once again, {times} times");
            self.fail(id, Failure::new("what was read is used", detail));
        }
    }
}
