//! Reads that a leader owes an answer.
//!
//! Only a leader may wait without end, for a quorum. One that a quorum has answered has heard from
//! it all that there is to hear, and must not wait for anything else.

use raft::quorum::{Decision, Quorum};
use raft::{Body, Event, Message, Node, NodeId, ReadMode, Tick};

use super::CoreWorld;
use crate::Failure;

pub(super) fn is_heartbeat(message: &Message) -> bool {
    matches!(message.body, Body::Heartbeat { .. })
}

impl CoreWorld {
    /// A leader hears that a member has followed it after this heartbeat was sent.
    pub(super) fn note_answer(&mut self, message: &Message, asked_at: Option<Tick>) {
        let Some(asked_at) = asked_at.filter(|_| !is_heartbeat(message)) else { return };
        let receiver = self.members.get(&message.to).and_then(|member| member.node.as_ref());
        let is_of_now = receiver.is_some_and(|node| node.term() == message.term);
        if is_of_now && !self.net.is_cut(message.from.0, message.to.0) {
            let seen = &mut self.member(message.to).seen;
            let newest = seen.answered.entry(message.from).or_default();
            *newest = asked_at.max(*newest);
        }
    }

    /// A leader knows what is committed once an entry of its own term is.
    pub(super) fn note_knowledge(&mut self, id: NodeId, event: &Event) {
        let Event::Committed { .. } = event else { return };
        let knows = |node: &Node| {
            node.id_at(node.commit_index()).is_some_and(|newest| newest.term == node.term())
        };
        if self.node(id).is_some_and(knows) {
            let member = self.member(id);
            let now = member.tick();
            member.seen.commits_since.get_or_insert(now);
        }
    }

    /// A read by messages alone that a leader has not answered, though a quorum has answered it: a
    /// heartbeat or two behind the read, and behind the configuration that says who is asked.
    pub(super) fn unanswered(&self, id: NodeId) -> Option<Failure> {
        let member = &self.members[&id];
        let (node, seen) = (member.node.as_ref()?, &member.seen);
        // Who has forgotten something is asked anew.
        let knows_since = seen.commits_since.filter(|_| self.forgetful.is_empty())?;
        let patience = 3 * seen.heartbeat_interval_ticks;
        let mut open = self.open_reads.range((id, 0)..=(id, u64::MAX));
        let late = open.find_map(|key| {
            let read = self.reads.get(key)?;
            let since = read.asked_at.max(seen.calm_since).max(knows_since).after(patience);
            let has_answered = |voter: NodeId| {
                voter == id || seen.answered.get(&voter).is_some_and(|asked| *asked >= since)
            };
            let is_due = read.life == member.life
                && read.mode == ReadMode::ReadIndex
                && node.configuration().is_quorum(Decision::Commit, &has_answered);
            is_due.then_some(read)
        })?;
        let (now, answered) = (member.tick(), &seen.answered);
        let configuration = node.configuration();
        let detail = format!("leader {id} at {now}: {late:?}; {answered:?} of {configuration}");
        Some(Failure::new("whom a quorum answers answers", detail))
    }
}
