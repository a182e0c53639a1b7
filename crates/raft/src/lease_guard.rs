//! LeaseGuard: the log is the lease (Davis, Demirbas and Deng, SIGMOD 2026, arXiv 2512.15659).
//!
//! A lease of the thesis (`lease.rs`) rests on votes: for a while nobody else can be *elected*.
//! This one rests on the log: anybody may be elected, but for a while nobody else *commits*.
//! No message, no promise and no vote is added. Two rules, for a duration D that stands in the
//! configuration ([`LeaseTerms`]) and is therefore the same for whoever has the same log:
//!
//! 1. **Reading.** A leader whose newest entry on a quorum was appended less than D ago reads.
//! 2. **Deferring.** A new leader commits nothing until the last entry of its log is older than D,
//!    counted from when *it* got that entry, or from the beginning of its life if that was before.
//!
//! ```text
//!   L0, term 1    append e ─────────────── reads until a + D ──┤
//!                   a    └ e on a quorum                           time →
//!   L1, term 2             gets e, or what follows e ─────────── commits nothing until s + D ─┤
//!                            s ≥ a            └ elected, takes writes, replicates them
//! ```
//!
//! # Why nothing stale is read
//!
//! Claim: when a leader of term t₀ reads at time T, no leader of a later term t₁ has committed
//! anything by then. By induction over t₁, so that it holds for the leaders between.
//!
//! The lease is an entry *e* of term t₀ on a quorum. By Leader Completeness e is in the log of the
//! leader of t₁: anybody elected later has a vote of somebody that held e. That node got e no
//! earlier than L0 appended it, at a, and got its last entry s no earlier than e. If both count the
//! same D, it commits after s + D ≥ a + D > T. (Clocks that differ in speed, and the part of a tick
//! that is not seen, are taken off the one side and put on the other: [`LeaseTerms`].)
//!
//! D may differ, since a configuration may change it. L0 takes the *least* D of the configurations
//! from e to the end of its log; L1 the D of the last configuration g in its log before its own
//! entries.
//!
//! - g is e or before it: then L0 knows g as the one in force at e, and took no more than its D.
//! - L0 appended g behind e, before T: then L0 took no more than its D either.
//! - L0 appended g after T: then L1 got it, and commits, after T.
//! - Somebody of a term between appended g: no change begins before its leader has committed an
//!   entry of its own term (M1), and by induction that was after T.
//!
//! If the log is cut behind e, the first of them is the one at the mark: it is committed, hence in
//! every later leader's log. So lengthening and shortening are ordinary changes, in force on
//! append, and no D at all is a D of zero. A rule that took the D at e alone would fail:
//!
//! ```text
//!   n1   1@1(D 50)  2@1(D 5)      appended 2@1 at 10, and reads on 1@1 until 50 …
//!   n2   1@1(D 50)  2@1(D 5)      gets 2@1 at 10, leads term 2, and commits from 15 on
//! ```
//!
//! # What a new leader can read meanwhile
//!
//! Until the wait is over its commit index stands where it learned it as a follower. It may read
//! there all the same, once an entry of its own is on a quorum: that entry is its lease, as above,
//! with the same proof. What earlier leaders may have committed beyond, and acknowledged, lies
//! between that commit index and its own first entry: the *limbo*. A read that nothing in the limbo
//! could have changed is linearizable ([`Limbo`]); of the others nobody can say yet.
//!
//! ```text
//!   L1    1  2 │ 3  4 │ 5@2          commit index 2: its state is that of 2
//!              └ limbo ┘              L0 may have committed 3, or 3 and 4, and told its clients
//! ```
//!
//! To inherit the lease of L0 as well, without an entry of its own on a quorum, would save a round
//! and lose the proof: L0 could come back with a shorter D behind e that only it has.
//!
//! # What else could end a wait too early
//!
//! - **A crash.** The times are forgotten. Whatever is in the log was there when the node began, so
//!   it waits from then.
//! - **Compaction, a snapshot.** The wait is one time, of when the log last grew; no entry is
//!   looked at. A snapshot that replaces the log is growth.
//! - **A group of one.** It waits as well. n2 leads 1 and 2 and removes itself; n1 has C_new on
//!   disk, crashes before it can say so, and is the only voter when it begins. n2 knows nothing and
//!   reads. A group of one needs no lease: its rounds are free.
//! - **A transfer.** Nothing would go wrong, but the successor would wait. So a leader that has
//!   committed in its own term, after which no older lease runs, gives its own up for the rest of
//!   the term and says so. The successor leads the very next term, so there is nobody between, and
//!   need not wait. It forgets that in a crash, and then waits.
//! - **Check-quorum** only ends leaderships; **rest** ends no wait, since a group that waits has
//!   something to do; and a **removed** leader reads on entries that are on a quorum without it.
//!
//! Scripts: `testdata/lease_guard/`.

use alloc::collections::VecDeque;
use core::fmt;

use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Entry, EntryId, Event, LogIndex, Node, Options, Payload, ReadPoint, Term, Tick};

/// What a tick may hide from a node that waits: the first one may have been all but over.
const ROUNDING_TICKS: u64 = 1;

/// A leader remembers no more than so many of its appends within one lease.
const STEPS: u64 = 64;

/// The terms of leases that lie in the log. Part of the configuration, and changed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// How long an entry is a lease, and how long a new leader therefore waits.
    pub duration_us: u64,
    /// Of any two clocks in the group one runs at most this many parts in a million faster.
    pub drift_ppm: u32,
}

impl LeaseTerms {
    /// A longer lease would be an outage: nobody commits for so long after a leader is gone.
    pub const DURATION_US_MAX: u64 = 60_000_000;

    /// Whether a group can live with it.
    #[must_use]
    pub fn is_sound(self) -> bool {
        (1..=Self::DURATION_US_MAX).contains(&self.duration_us)
    }

    /// For how many ticks after its append an entry is read on.
    fn reading_ticks(self, tick_us: u64) -> u64 {
        const MILLION: u128 = 1_000_000;
        let slowest = MILLION + u128::from(self.drift_ppm);
        let ticks = u128::from(self.duration_us) * MILLION / slowest / u128::from(tick_us);
        u64::try_from(ticks).unwrap_or(0)
    }

    /// For how many ticks behind the last growth of its log a new leader commits nothing.
    fn waiting_ticks(self, tick_us: u64) -> u64 {
        self.duration_us.div_ceil(tick_us).saturating_add(ROUNDING_TICKS)
    }
}

impl fmt::Display for LeaseTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.duration_us)
    }
}

/// Entries of earlier leaders that may be committed, and acknowledged, or not. A read at the index
/// before `first` is linearizable if none of them could change what it returns, and not otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limbo {
    /// The first of them.
    pub first: LogIndex,
    /// The last.
    pub last: LogIndex,
}

/// The leader's side.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaderGuard {
    /// Entries of this leader and when they were appended, oldest first.
    appended: VecDeque<(LogIndex, Tick)>,
    /// Nothing is committed before.
    pub(crate) deferred_until: Option<Tick>,
    /// The lease was given up in this term.
    pub(crate) is_void: bool,
}

impl LeaderGuard {
    pub(crate) fn new(deferred_until: Option<Tick>) -> Self {
        Self { deferred_until, ..Self::default() }
    }

    /// Appends within one part of a lease are remembered as the first of them.
    fn note(&mut self, index: LogIndex, now: Tick, ticks: u64) {
        let is_near = |(_, at): &(LogIndex, Tick)| now < at.after((ticks / STEPS).max(1));
        if !self.appended.back().is_some_and(is_near) {
            let behind = self.appended.partition_point(|(_, at)| at.after(ticks) <= now);
            self.appended.drain(..behind);
            self.appended.push_back((index, now));
        }
    }

    /// The newest one up to `index`.
    fn newest(&self, index: LogIndex) -> Option<(LogIndex, Tick)> {
        let behind = self.appended.partition_point(|(at, _)| *at <= index);
        self.appended.get(behind.checked_sub(1)?).copied()
    }
}

impl Options {
    fn reading_ticks(&self, terms: Option<LeaseTerms>) -> u64 {
        terms.map_or(0, |terms| terms.reading_ticks(self.tick_us))
    }
}

impl Node {
    /// The log has grown: whoever leads next waits from here, and a leader has a lease from here.
    pub(crate) fn note_growth(&mut self, last: LogIndex) {
        self.log_grew_at = self.now;
        let terms = self.configurations.current().lease;
        let ticks = self.options.reading_ticks(terms);
        if let RoleState::Leader(leader) = &mut self.role
            && ticks > 0
        {
            leader.guard.note(last, self.now, ticks);
        }
    }

    /// Until when this node, if it is elected now, commits nothing. Asked before it appends.
    pub(crate) fn deferral(&self, term: Term) -> Option<Tick> {
        let terms = self.configurations.current().lease?;
        // Nobody has led yet, or the leader before has given its lease up for this very term.
        let is_free = self.log.last() == EntryId::default() || self.lease_ended_for == Some(term);
        let until = self.log_grew_at.after(terms.waiting_ticks(self.options.tick_us));
        let until = if bug(Bug::DeferralBeginsNowhere) { self.now } else { until };
        (!is_free && until > self.now).then_some(until)
    }

    pub(crate) fn is_deferring(&self) -> bool {
        matches!(&self.role, RoleState::Leader(leader) if leader.guard.deferred_until.is_some())
            && !bug(Bug::CommitsAtOnce)
    }

    /// No lease of an earlier leader runs any more: what a quorum holds is committed.
    pub(crate) fn end_deferral(&mut self) {
        let now = self.now;
        let RoleState::Leader(leader) = &mut self.role else { return };
        if leader.guard.deferred_until.take_if(|until| *until <= now).is_some() {
            self.record(|| Event::CommitsAgain);
            self.advance_commit_index();
        }
    }

    /// Where a read may be answered at once.
    pub(crate) fn guarded_point(&mut self) -> Option<ReadPoint> {
        let (now, index) = (self.now, self.commit_index);
        let RoleState::Leader(leader) = &mut self.role else { return None };
        let held = leader.match_quorum().index();
        if (leader.guard.is_void && !bug(Bug::GuardOutlivesTheTransfer))
            || held < leader.first_index
        {
            return None;
        }
        let first_index = leader.first_index;
        let held = if bug(Bug::GuardNeedsNoQuorum) { self.log.last().index } else { held };
        let (lease, at) = leader.guard.newest(held)?;
        let terms = self.configurations.since(lease).map(|configuration| configuration.lease);
        let least = terms.map(|terms| self.options.reading_ticks(terms)).min()?;
        let first = self.configurations.since(lease).next()?.lease;
        let ticks = if bug(Bug::GuardIgnoresShorterTerms) {
            self.options.reading_ticks(first)
        } else {
            least
        };
        let limbo = Limbo { first: index.next(), last: first_index.previous() };
        let limbo = (limbo.first <= limbo.last).then_some(limbo);
        (now < at.after(ticks)).then_some(ReadPoint { index, limbo })
    }

    /// A lease that is half over, or was never had, is worth a no-op: reads are asked for.
    pub(crate) fn renew_guard(&mut self) {
        let terms = self.configurations.current().lease;
        let half = self.options.reading_ticks(terms) / 2;
        let (now, last) = (self.now, self.log.last());
        let RoleState::Leader(leader) = &mut self.role else { return };
        let newest = leader.guard.appended.back();
        let is_fresh = newest.is_some_and(|(_, at)| now < at.after(half.max(1)));
        // The target of a transfer has been promised a log that stands still.
        if half == 0 || is_fresh || leader.guard.is_void || leader.transfer.is_some() {
            return;
        }
        let id = EntryId { term: last.term, index: last.index.next() };
        let entry = Entry { id, payload: Payload::Noop };
        leader.uncommitted_bytes += entry.size_bytes();
        self.append(alloc::vec![entry]);
    }

    /// Gives the lease up, for a successor that is told so; says whether no other one runs.
    pub(crate) fn give_guard_up(&mut self) -> bool {
        let commit_index = self.commit_index;
        let has_terms = self.configurations.current().lease.is_some();
        let RoleState::Leader(leader) = &mut self.role else { return false };
        // Nothing is committed while an older lease runs, and this one has.
        let is_last = has_terms && commit_index >= leader.first_index;
        leader.guard.is_void |= is_last;
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reader counts less than the one that waits, whatever the tick and whoever's clock is the
    /// faster one.
    #[test]
    fn reading_ends_before_waiting() {
        let lengths = [1_u64, 999, 1000, 1001, 12_345, LeaseTerms::DURATION_US_MAX];
        let ticks = [1_u64, 7, 1000, 10_000];
        let drifts = [0_u32, 1, 500, 100_000];
        for duration_us in lengths {
            for drift_ppm in drifts {
                let terms = LeaseTerms { duration_us, drift_ppm };
                for (reader_us, waiter_us) in ticks.iter().flat_map(|a| ticks.map(|b| (*a, b))) {
                    // A reader on a slow clock: what it counts as one is one and the drift.
                    let read_us = u128::from(terms.reading_ticks(reader_us) * reader_us)
                        * (1_000_000 + u128::from(drift_ppm));
                    // The first tick of the one that waits was over when it began.
                    let waited = (terms.waiting_ticks(waiter_us) - 1) * waiter_us;
                    assert!(read_us <= u128::from(waited) * 1_000_000, "{terms:?}");
                }
            }
        }
    }

    /// However many entries a leader appends, it remembers a few, and the newest is near.
    #[test]
    fn a_busy_leader_remembers_little() {
        let mut guard = LeaderGuard::default();
        for tick in 0..100_000 {
            guard.note(LogIndex(tick + 1), Tick(tick), 6400);
        }
        assert!(guard.appended.len() <= 66, "{}", guard.appended.len());
        let (_, at) = guard.newest(LogIndex(100_000)).expect("it appended a moment ago");
        assert!(at >= Tick(99_999 - 100));
        assert_eq!(guard.newest(LogIndex(1)), None, "forgotten");
    }
}
