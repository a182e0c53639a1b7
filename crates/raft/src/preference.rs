//! Voters that are preferred as leaders: the priorities of the configuration.
//!
//! **Priorities touch no safety.** They say when a node campaigns and when a leader hands over, and
//! both may happen at any moment anyway. No vote and no commit looks at them, so that absurd ones
//! make a group that is led worse, and never wrong.
//!
//! Being in the configuration ([`priorities`](crate::Configuration::priorities)) they are the same
//! for all, and the leader knows them. A site that is to lead is the same number for each of its
//! members: among equals nobody is handed anything.
//!
//! - *Who campaigns later.* A voter waits half an election timeout longer for each voter above it,
//!   but not for the leader that has gone, and half as long after each campaign that led to
//!   nothing: those above may be gone as well.
//! - *Who hands over.* A leader below a voter that could lead as well hands over to it, as if
//!   somebody had asked for it (thesis §3.10). It could lead if it has a vote in C_new and the
//!   data, was heard within an election timeout, held at this heartbeat what was committed at the
//!   last one, and is not slow.
//!
//! # Leadership that comes and goes
//!
//! A hand-over leads up, so that there are never more of them in a row than there are priorities.
//! What leads down again is an election, and it may be the very node that was handed to:
//!
//! ```text
//!   n1  leads, hears all            n3, above it, hears n1 alone of five: it is handed to, ends
//!   n3  is heard by n1 alone        the term, and cannot be elected; n1 is, and hands over again
//! ```
//!
//! So a leader leads for an election timeout before it hands over, for two the next time, and so
//! on, up to sixty-four, whatever became of the hand-over; and begins with one again when the last
//! is eight times as long ago as it waits. What it remembers is its own: another node that leads in
//! between has to find out for itself, and a node forgets it with its life.
//!
//! Scripts: `testdata/leadership/preferred_*.txt`.

use core::cmp::Reverse;

use crate::progress::ProgressState;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Event, Node, NodeId, Tick};

/// The longest wait is so many times the election timeout, as a power of two.
const DOUBLINGS_MAX: u32 = 6;
/// A hand-over is forgotten after so many times the wait.
const FORGOTTEN_AFTER_WAITS: u64 = 8;
/// Nobody waits longer for those above than for so many.
const ABOVE_MAX: usize = 4;

/// What a node remembers of the times that it handed over.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct HandOvers {
    /// None before this.
    due_at: Tick,
    last_at: Option<Tick>,
    doublings: u32,
}

impl Node {
    fn priority(&self, node: NodeId) -> u32 {
        self.configurations.current().priorities.get(&node).copied().unwrap_or(0)
    }

    /// How much longer this node waits before it campaigns, so that those above are elected.
    pub(crate) fn wait_for_preferred_ticks(&self) -> u64 {
        let configuration = self.configurations.current();
        if configuration.priorities.is_empty() {
            return 0;
        }
        let own = self.priority(self.options.id);
        // This counts for the time when the leader is gone.
        let leader_id = self.leader_id().filter(|_| !bug(Bug::WaitsForWhoHasGone));
        let is_above = |(node, priority): &(&NodeId, &u32)| {
            **priority > own
                && leader_id != Some(**node)
                && configuration.voters.contains(*node)
                && !configuration.witnesses.contains(*node)
        };
        let above = configuration.priorities.iter().filter(is_above).take(ABOVE_MAX).count();
        let above = u64::try_from(above).unwrap_or(u64::MAX);
        (self.options.election_timeout_ticks / 2).saturating_mul(above)
    }

    fn hand_over_wait_ticks(&self) -> u64 {
        self.options.election_timeout_ticks.saturating_mul(1 << self.hand_overs.doublings)
    }

    /// This node has begun to lead.
    pub(crate) fn plan_hand_over(&mut self) {
        let long = self.hand_over_wait_ticks().saturating_mul(FORGOTTEN_AFTER_WAITS);
        if self.hand_overs.last_at.is_some_and(|last| last.after(long) <= self.now) {
            self.hand_overs = HandOvers::default();
        }
        self.hand_overs.due_at = self.now.after(self.hand_over_wait_ticks());
    }

    /// Whoever has woken this leader wants something of it, and not to be sent elsewhere at once.
    pub(crate) fn put_hand_over_off(&mut self) {
        let at = self.now.after(self.options.election_timeout_ticks);
        self.hand_overs.due_at = self.hand_overs.due_at.max(at);
    }

    /// With each heartbeat, before it is noted what is committed by now.
    pub(crate) fn hand_over_if_due(&mut self) {
        if self.hand_overs.due_at > self.now {
            return;
        }
        let Some(to) = self.preferred(false) else { return };
        let more = u32::from(!bug(Bug::HandsOverAgainAndAgain));
        self.hand_overs.doublings = (self.hand_overs.doublings + more).min(DOUBLINGS_MAX);
        self.hand_overs.last_at = Some(self.now);
        self.hand_overs.due_at = self.now.after(self.hand_over_wait_ticks());
        self.record(|| Event::HandsOver { to });
        self.begin_hand_over(to);
    }

    /// The voter above this leader that could lead as well, or `may_be_slow` beside that, of the
    /// highest priority. None while anything is under way that a new leader would have to begin
    /// anew: members that change, a transfer, a term in which nothing is committed yet, as behind a
    /// recovery or beside the lease of another.
    fn preferred(&self, may_be_slow: bool) -> Option<NodeId> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let configuration = self.configurations.current();
        if configuration.priorities.is_empty() {
            return None;
        }
        let is_open = configuration.is_joint()
            || self.configurations.index() > self.commit_index
            || self.commit_index < leader.first_index;
        if is_open && !bug(Bug::HandsOverInAChange) || leader.transfer.is_some() {
            return None;
        }
        let own = self.priority(self.options.id);
        let could_lead = leader.members.iter().filter(|member| {
            let is_well = self.hears(member)
                && member.counts()
                && (may_be_slow || !member.slowness.is_slow())
                && matches!(member.state, ProgressState::Replicate(_))
                && member.match_index >= leader.commit_at_heartbeat;
            self.priority(member.id) > own
                && member.votes_incoming
                && !member.is_witness
                && (is_well || bug(Bug::HandsOverToTheSilent))
        });
        let best = could_lead.max_by_key(|member| {
            (self.priority(member.id), member.match_index, Reverse(member.id))
        });
        best.map(|member| member.id)
    }

    /// Whether a hand-over will come that was not tried before: the leader stays awake for it. Also
    /// to a voter that is called slow and has all by now: at rest nobody would see that it is well
    /// again. That has an end, since whoever lacks nothing is slow for a while and no longer.
    pub(crate) fn owes_a_hand_over(&self) -> bool {
        let may_be_slow = !bug(Bug::RestsBelowWhoWasSlow);
        self.hand_overs.doublings == 0 && self.preferred(may_be_slow).is_some()
    }
}
