//! Leaders that hand over by themselves, to a voter that is preferred (ADR 29).
//!
//! Nobody's state is wrong where they do that to a voter that is gone, or again and again, or wait
//! for one that has refused: the group is only led worse. So the world holds it against what it saw
//! of their time, and is mild where timeouts have changed meanwhile.

use raft::{Configuration, Event, FollowerStatus, NodeId, Tick};

use super::CoreWorld;

/// A leader that handed over waits twice as long each time, up to so many doublings.
const DOUBLINGS_MAX: u32 = 6;
/// What was done so many waits before an election is forgotten with it.
const FORGOTTEN_AFTER_WAITS: u64 = 8;

/// What a node has handed over by itself, in this life.
#[derive(Clone, Debug, Default)]
pub(super) struct HandOvers {
    last_at: Option<Tick>,
    /// At least so often in a row.
    doublings: u32,
    /// Other timeouts have come into force since it leads.
    has_other_timeouts: bool,
    /// To whom it does now, and when that one was told to campaign. Nobody else wants it.
    to: Option<NodeId>,
    called_at: Option<Tick>,
}

impl HandOvers {
    pub(super) fn begin_to_lead(&mut self, now: Tick, timeout_ticks: u64) {
        let forgotten_after = FORGOTTEN_AFTER_WAITS * self.wait_ticks(timeout_ticks);
        if self.last_at.is_some_and(|last| last.after(forgotten_after) <= now) {
            *self = Self::default();
        }
        (self.has_other_timeouts, self.to, self.called_at) = (false, None, None);
    }

    pub(super) fn timeouts_have_changed(&mut self) {
        *self = Self { has_other_timeouts: true, ..Self::default() };
    }

    fn wait_ticks(&self, timeout_ticks: u64) -> u64 {
        timeout_ticks << self.doublings
    }
}

impl CoreWorld {
    /// Something happened in a node that hands over, or is about to.
    pub(super) fn note_hand_over(&mut self, id: NodeId, event: &Event) {
        let member = self.member(id);
        let now = member.tick();
        let seen = &mut member.seen;
        if let Event::HandsOver { to } = event {
            self.check_hand_over(id, *to);
            let its = &mut self.member(id).seen.hand_overs;
            (its.to, its.called_at, its.last_at) = (Some(*to), None, Some(now));
            its.doublings = (its.doublings + 1).min(DOUBLINGS_MAX);
        } else if let Event::TransferRequested { to } = event {
            if seen.hand_overs.to == Some(*to) {
                seen.hand_overs.called_at = Some(now);
            }
        } else if let Event::TransferAborted { .. } = event {
            self.forget_hand_over(id);
        }
    }

    /// It is over, or somebody waits for it.
    pub(super) fn forget_hand_over(&mut self, id: NodeId) {
        let its = &mut self.member(id).seen.hand_overs;
        (its.to, its.called_at) = (None, None);
    }

    /// A leader hands over to a voter that it hears, when it has led for long enough, and leaves
    /// nothing open that its successor would have to begin anew.
    fn check_hand_over(&mut self, id: NodeId, to: NodeId) {
        let member = &self.members[&id];
        let (now, seen) = (member.tick(), &member.seen);
        let (Some(node), Some(leads_since)) = (&member.node, seen.leads_since) else { return };
        let timeout = seen.election_timeout_ticks;
        let its = &seen.hand_overs;
        let is_heard_now = self.hears == Some(to);
        let heard = if is_heard_now { Some(now) } else { seen.heard.get(&to).copied() };
        let since = its.last_at.unwrap_or(leads_since).max(leads_since);
        let is_open =
            node.configuration().is_joint() || node.configuration_index() > node.commit_index();
        let why = if is_open {
            format!("while {} is open", node.configuration())
        } else if !its.has_other_timeouts && now < since.after(its.wait_ticks(timeout)) {
            format!("at {now}, having led since {leads_since}; {its:?}")
        } else if heard.is_none_or(|heard| now > heard.after(timeout)) {
            format!("at {now}, heard at {heard:?}")
        } else {
            return;
        };
        self.break_promise(
            id,
            "a leader hands over when it may",
            format!("hands over to {to} {why}"),
        );
    }

    /// A group rests when nothing is left to do: no learner waits to vote (T203), and the leader
    /// has tried to hand over to whom it prefers, who has all now, and was slow perhaps (T174).
    pub(super) fn check_rest_is_over(&mut self, id: NodeId) {
        let Some(node) = self.node(id) else { return };
        let staged = node.status().staged;
        if let Some(learner) = staged.first() {
            let detail = format!("rests, and {learner} is to vote when it holds the log");
            self.break_promise(id, "a group rests when nothing is left to do", detail);
        }
        let followers = node.status().followers;
        let (now, timeout) =
            (self.members[&id].tick(), self.members[&id].seen.election_timeout_ticks);
        // Where a clock has jumped nobody was heard, and all had answered before.
        let could_lead = |voter: &NodeId| {
            let its = followers.iter().find(|its| its.id == *voter);
            its.is_some_and(|its| {
                let is_near = its.heard_at.is_some_and(|heard| now < heard.after(timeout));
                is_near && its.counts && !its.needs_snapshot
            })
        };
        let preferred = above(node.configuration(), id).into_iter().find(could_lead);
        if let Some(preferred) = preferred.filter(|_| !self.has_handed_over(id)) {
            let detail = format!("rests, and has not tried to hand over to {preferred}");
            self.break_promise(id, "a group rests when nothing is left to do", detail);
        }
    }

    /// A leader has heard from whom it hands over to: has that one answered what was sent after the
    /// call to campaign, and in the same term, it has refused (T173).
    pub(super) fn check_refused(&mut self, id: NodeId, from: NodeId) {
        let member = &self.members[&id];
        let (Some(node), seen) = (&member.node, &member.seen) else { return };
        // Who has forgotten something is asked anew: what it answered before is of no session.
        let called_at = seen.hand_overs.called_at.filter(|_| self.forgetful.is_empty());
        let Some(called_at) = called_at else { return };
        let status = node.status();
        let waits = status.transfer_to == Some(from) && seen.hand_overs.to == Some(from);
        let answered = seen.answered.get(&from).filter(|asked| **asked > called_at);
        let is_known = |its: &FollowerStatus| its.id == from && its.counts;
        if let Some(asked) = answered.filter(|_| waits && status.followers.iter().any(is_known)) {
            let detail = format!("waits for {from}, called at {called_at}, heard of {asked}");
            self.break_promise(id, "who has refused to lead is not waited for", detail);
        }
    }
}

/// The voters that are preferred to this one, and have the data.
pub(super) fn above(configuration: &Configuration, node: NodeId) -> Vec<NodeId> {
    if configuration.priorities.is_empty() {
        return Vec::new();
    }
    let priority = |node| configuration.priorities.get(&node).copied().unwrap_or(0);
    let full = configuration.voters.difference(&configuration.witnesses).copied();
    full.filter(|voter| priority(*voter) > priority(node)).collect()
}
