//! Reads on a lease (thesis §6.4.1): without a round, as long as nobody else can have been elected.
//!
//! A voter that hears a leader votes for nobody else for an election timeout (stickiness). So a
//! leader that a quorum answered knows that no other is elected before that time is over, counted
//! from when it *sent* what they answered:
//!
//! ```text
//!   leader     send ───────────── lease ──────────────┤
//!   follower         hears ──────────── votes for nobody else ────────────┤
//!                                                     └ drift, and two ticks, since a tick
//!                                                       may have been all but over
//! ```
//!
//! The lease is compared with the time at which the read is asked for, not with that of the last
//! tick (R6). It rests on clocks that run alike within a bound, which nothing here can check, and
//! so it is an option; reads in another [mode](crate::ReadMode) never rest on it.
//!
//! # What a promise must survive
//!
//! - **A crash.** The voter forgets whom it heard. So a node that begins behaves as if it had heard
//!   a leader at that moment.
//! - **A higher term.** Stickiness forgets the leader with the term; the promise is about time
//!   alone.
//! - **A campaign of its own.** A node may be called to campaign, or begin a life with a short
//!   timeout. Its vote for itself would count like any other, so it waits as well:
//!
//!   ```text
//!     n1 n2 n3   n1 leads, and reads on the word of n2; a wire between n1 and n3 is cut
//!     n2         is called to campaign: its own vote and that of n3 are a majority
//!   ```
//! - **A transfer.** Who campaigns for the leader is voted for at once. The leader that has told
//!   anybody to do so has no lease any more in its term: the message may come late (E19).
//!
//! Scripts: `testdata/lease/`.

use alloc::collections::VecDeque;

use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Event, LogIndex, Node, Options, Tick};

/// What a tick may hide on each side.
const ROUNDING_TICKS: u64 = 2;

/// The leader's side.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct LeaderLease {
    /// Rounds of heartbeats and when they were sent, oldest first.
    sent: VecDeque<(u64, Tick)>,
    /// A node was told to campaign in this term.
    pub(crate) is_void: bool,
}

impl LeaderLease {
    pub(crate) fn sent(&mut self, round: u64, now: Tick) {
        self.sent.push_back((round, now));
    }

    /// When the newest round up to `confirmed` was sent; older ones are of no use any more.
    fn newest_sent(&mut self, confirmed: u64) -> Option<Tick> {
        let behind = self.sent.partition_point(|(round, _)| *round <= confirmed);
        self.sent.drain(..behind.saturating_sub(1));
        self.sent.front().filter(|(round, _)| *round <= confirmed).map(|(_, at)| *at)
    }

    /// Forgets rounds that could not carry a lease even if they were confirmed now.
    pub(crate) fn forget_before(&mut self, time: Tick) {
        let behind = self.sent.partition_point(|(_, at)| *at < time);
        self.sent.drain(..behind);
    }
}

impl Options {
    /// How long a lease is, from when it was sent for; `None` if there are none.
    pub(crate) fn lease_ticks(&self) -> Option<u64> {
        const MILLION: u128 = 1_000_000;
        let drift = u128::from(self.lease_drift_ppm?);
        let ticks = u128::from(self.election_timeout_ticks) * MILLION / (MILLION + drift);
        // Not above the election timeout, which is 64 bits wide.
        u64::try_from(ticks).ok()?.checked_sub(ROUNDING_TICKS)
    }
}

impl Node {
    /// Votes for nobody but a leader's own choice: it may be reading on the word of this node.
    pub(crate) fn is_promised(&self) -> bool {
        let is_over = bug(Bug::PromiseEndsWithTheTerm) && self.leader_id().is_none();
        let timeout = self.options.election_timeout_ticks;
        !is_over
            && self.options.lease_drift_ppm.is_some()
            && self.leader_heard_at.is_some_and(|heard| self.now < heard.after(timeout))
    }

    /// A vote for oneself is a vote, and may break the same promise: of a node that is called to
    /// campaign, or whose first timeout in a life is short. Who was never in a group with others
    /// has promised nothing.
    pub(crate) fn may_not_vote_for_itself(&self) -> bool {
        let configuration = self.configurations.current();
        let was_always_alone = self.is_sole_voter()
            && configuration.learners.is_empty()
            && configuration.removed.is_empty();
        self.is_promised() && !was_always_alone && !bug(Bug::CampaignsUnderAPromise)
    }

    /// Where a read may be answered at once.
    pub(crate) fn lease_index(&mut self) -> Option<LogIndex> {
        let lease_ticks = self.options.lease_ticks()?;
        let (now, index) = (self.now, self.commit_index);
        let RoleState::Leader(leader) = &mut self.role else { return None };
        // As for every read, the commit index must cover what earlier leaders committed (C2).
        let is_void = leader.lease.is_void && !bug(Bug::LeaseOutlivesTheTransfer);
        let covers_all = index >= leader.first_index || bug(Bug::LeaseBeforeTheNoop);
        if is_void || !covers_all {
            return None;
        }
        let confirmed = leader.quorum_value(|member| member.confirmed_round);
        let mut sent = leader.lease.newest_sent(confirmed)?;
        if bug(Bug::LeaseHasNoEnd) {
            sent = now;
        }
        (now < sent.after(lease_ticks)).then_some(index)
    }

    pub(crate) fn answer_on_lease(&mut self, context: u64, index: LogIndex) {
        self.record(|| Event::LeaseRead { index });
        self.decide_read(context, Ok(index));
    }
}
