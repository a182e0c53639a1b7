//! What must be said, and what must not, to whoever is heard or followed.

use raft::{NodeId, Role};

use super::CoreWorld;
use super::promises::{Heard, Hearing};

impl CoreWorld {
    /// Whom a node follows while its group rests, and how often it has spoken to that one.
    pub(super) fn rests_with(&self, id: NodeId) -> Option<(NodeId, u64)> {
        let member = &self.members[&id];
        let node = member.node.as_ref().filter(|_| member.seen.rests)?;
        let leader = node.leader().filter(|leader| *leader != id)?;
        Some((leader, self.spoken_to(id, leader)))
    }

    /// Entries of an old term are answered with the term alone: whoever leads a second time would
    /// take the name of a session for one of its own (L11). What waited for an entry of this term
    /// may be given up, and refused, in the same moment.
    pub(super) fn check_old_term(&mut self, id: NodeId, before: &Hearing) {
        let is_old = before.message_term < before.term;
        let names_session = self.names_session == Some(before.from)
            && self.members[&id].seen.kept_in != Some(before.term);
        if is_old && matches!(before.body, Heard::OfLeader(..)) && names_session {
            let detail = format!("answers with a session after {before:?}");
            self.break_promise(id, "an old term is answered with the term alone", detail);
        }
    }

    /// Whoever is woken by what its leader does not hear of tells it (G2): it alone would count the
    /// time, and end the term of a leader that lives.
    pub(super) fn check_waking(&mut self, id: NodeId, before: &Hearing) {
        let Some((leader, spoken)) = before.rests_with else { return };
        let is_answered = before.from == leader && matches!(before.body, Heard::OfLeader(_, true));
        let member = &self.members[&id];
        let Some(node) = &member.node else { return };
        // Nothing was written in this step: what was said has left.
        let is_idle = before.is_idle && member.in_flight.is_empty();
        let follows = node.role() == Role::Follower && node.term() == before.term;
        if member.seen.rests || is_answered || !is_idle || !follows {
            return;
        }
        if self.spoken_to(id, leader) == spoken {
            let detail = format!("is woken, and says nothing to {leader} after {before:?}");
            self.break_promise(id, "who is woken tells its leader", detail);
        }
    }
}
