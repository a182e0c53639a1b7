//! How long a node waits before it campaigns. One that waits too long elects nobody for as long,
//! and nothing else shows it.

use raft::{Event, NodeId, Role};

use super::CoreWorld;
use super::hand_overs::above;

/// Of those above no more are waited for.
const ABOVE_MAX: u64 = 4;

impl CoreWorld {
    /// A node has heard its leader: should that one be gone from now on, the node waits for an
    /// election timeout, up to twice, and for each voter above it half a timeout more; not for the
    /// leader, which is gone (T206).
    pub(super) fn check_patience(&mut self, id: NodeId) {
        let member = &self.members[&id];
        let (now, seen) = (member.tick(), &member.seen);
        let Some(node) = member.node.as_ref().filter(|node| node.role() == Role::Follower) else {
            return;
        };
        // What begins in this step was not known yet when the leader was heard.
        if seen.rests || seen.calm_since >= now {
            return;
        }
        let leader_id = node.leader();
        let others = above(node.configuration(), id);
        let waited_for = others.iter().filter(|voter| Some(**voter) != leader_id).count();
        self.check_deadline(id, 2 * seen.election_timeout_ticks, waited_for, 0);
    }

    /// A node campaigns, once more perhaps: it waits half as long each time for those above.
    pub(super) fn note_campaign(&mut self, id: NodeId, event: &Event) {
        let member = self.member(id);
        let pre_vote = member.options.pre_vote;
        let seen = &mut member.seen;
        let again = if let Event::BecameFollower { leader_id: Some(_), .. }
        | Event::BecameLeader { .. } = event
        {
            (seen.fruitless, seen.stood) = (0, 0);
            return;
        } else if let Event::BecamePreCandidate { .. } = event {
            true
        } else if let Event::BecameCandidate { .. } = event {
            seen.stood += 1;
            !pre_vote
        } else if let Event::LacksCommitted { .. } = event {
            // It was to be a candidate once more, and waits as one.
            seen.stood += 1;
            return;
        } else {
            return;
        };
        seen.fruitless += u32::from(again);
        let (fruitless, stood) = (seen.fruitless, seen.stood);
        let timeout = seen.election_timeout_ticks;
        let doublings = stood.min(member.options.election_backoff_doublings_max);
        let Some(node) = self.node(id) else { return };
        if !matches!(node.role(), Role::PreCandidate | Role::Candidate) {
            return;
        }
        let waited_for = above(node.configuration(), id).len();
        self.check_deadline(id, timeout + (timeout << doublings), waited_for, fruitless);
    }

    /// Within so many ticks, and those that it waits for others, a node does something.
    fn check_deadline(&mut self, id: NodeId, ticks: u64, waited_for: usize, fruitless: u32) {
        let member = &self.members[&id];
        let (now, timeout) = (member.tick(), member.seen.election_timeout_ticks);
        let above = u64::try_from(waited_for).unwrap_or(ABOVE_MAX).min(ABOVE_MAX);
        let delay = member.options.campaign_delay_ticks + timeout / 2 * above;
        let latest = now.after(ticks).after(delay.checked_shr(fruitless).unwrap_or(0));
        let due = member.node.as_ref().and_then(raft::Node::next_deadline);
        let Some(due) = due.filter(|due| *due > latest) else { return };
        // Who may not campaign waits for its reads, or for nothing.
        let mut reads = self.open_reads.range((id, 0)..=(id, u64::MAX));
        if reads.next().is_none() && self.may_vote(id) {
            let why = format!("{waited_for} above, {fruitless} in vain, {ticks} of {timeout}");
            let detail = format!("at {now} waits until {due}, and may until {latest}: {why}");
            self.break_promise(id, "a node campaigns in time", detail);
        }
    }
}
