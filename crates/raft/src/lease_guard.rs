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
//! Rule 2 needs no more than a bound on how fast clocks run apart. Clocks that know how wrong they
//! are tell the age of an entry to whoever has it: that second form is in
//! [`lease_clock`](crate::lease_clock), and differs in nothing but where the times come from.
//!
//! # Why nothing stale is read
//!
//! Claim: when a leader of term t₀ reads at time T, no leader of a later term has committed
//! anything by then. Suppose one has; let C ≤ T be the first such commit, and L1, of term t₁, its
//! leader.
//!
//! The lease is an entry *e* on a quorum, of term t₀. By Leader Completeness e is in the log of L1:
//! anybody elected later has a vote of somebody that held e. L1 got e no earlier than L0 appended
//! it, at a, and got the last entry s of its log no earlier than e. If both count the same D, L1
//! commits after s + D ≥ a + D > T: a contradiction. (Clocks that differ in speed, and the part of
//! a tick that is not seen, are taken off the one side and put on the other: [`LeaseTerms`].)
//!
//! D may differ, since a configuration may change it. L0 takes the *least* D of the configurations
//! from e to the end of its log; L1 the *largest* of those from m to the end of its log, where m is
//! what it knew to be committed when it was elected. The two have one in common:
//!
//! - e is at or behind m: the one in force at e. L1's log has e, and so all before it as L0 has it.
//! - e is before m: the one in force at m. m was committed before C, hence by a leader of a term
//!   up to t₀, hence it is in the log of L0, behind e.
//!
//! If the log of L0 is cut behind e, the first that it knows is the one at the mark, which is
//! committed and so among those of L1 as well. Lengthening and shortening are ordinary changes, in
//! force on append, and no D at all is a D of zero. Both sides need their half of the rule:
//!
//! ```text
//!   n1   1@1(D 50)  2@1(D 5)      appended 2@1 at 10, and would read on 1@1 until 50 …
//!   n2   1@1(D 50)  2@1(D 5)      … but n2 may know that 2@1 is committed, and wait for 5
//!
//!   n1   1@1(D 50)  2@1(D 5)      alone has 2@1, leads again in term 3, and waits 50: were it 5 …
//!   n2   1@1(D 50)                … n2, leader of term 2, may still be reading on 1@1
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
//! Without an entry of its own on a quorum it cannot tell by ticks how old the lease is that it
//! inherits; by clocks it can.
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

use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{
    Entry, EntryId, Event, LeaseClock, LeaseTerms, Limbo, LogIndex, Node, Options, ReadPoint, Term,
    Tick,
};

/// A leader remembers no more than so many of its appends within one lease.
const STEPS: u64 = 64;

/// Until when a new leader commits nothing.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Deferral {
    /// By ticks; whatever clocks say, it is over then.
    pub(crate) until: Tick,
    /// By the clock, if the log tells.
    pub(crate) until_us: Option<u64>,
    /// When the clock is worth another look.
    pub(crate) look_at: Option<Tick>,
}

/// The leader's side.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct LeaderGuard {
    /// Entries of this leader and when they were appended, oldest first.
    appended: VecDeque<(LogIndex, Tick)>,
    /// Nothing is committed before it is over.
    pub(crate) deferral: Option<Deferral>,
    /// The lease was given up in this term.
    pub(crate) is_void: bool,
}

impl LeaderGuard {
    pub(crate) fn new(deferral: Option<Deferral>) -> Self {
        Self { deferral, ..Self::default() }
    }

    /// When the node should be told the time, to go on committing.
    pub(crate) fn next_deadline(&self, now: Tick) -> Option<Tick> {
        let Deferral { until, look_at, .. } = self.deferral?;
        // Who was told the time and not what the clock says is not asked again.
        let look_at = look_at.filter(|at| *at > now);
        Some(look_at.map_or(until, |at| at.min(until)))
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
    pub(crate) fn deferral(&self, term: Term) -> Option<Deferral> {
        let tick_us = self.options.tick_us;
        let known = if bug(Bug::ShorterTermsEndTheWait) {
            self.log.last().index
        } else {
            self.commit_index
        };
        let terms =
            self.configurations.since(known).filter_map(|configuration| configuration.lease);
        let ticks = terms.map(|terms| terms.waiting_ticks(tick_us)).max()?;
        // Nobody has led yet, or the leader before has given its lease up for this very term.
        let is_free = self.log.last() == EntryId::default() || self.lease_ended_for == Some(term);
        let until = self.log_grew_at.after(ticks);
        let until = if bug(Bug::DeferralBeginsNowhere) { self.now } else { until };
        if is_free || until <= self.now {
            return None;
        }
        self.deferral_by_clock(Deferral { until, until_us: None, look_at: None })
    }

    pub(crate) fn is_deferring(&self) -> bool {
        matches!(&self.role, RoleState::Leader(leader) if leader.guard.deferral.is_some())
            && !bug(Bug::CommitsAtOnce)
    }

    /// No lease of an earlier leader runs any more: what a quorum holds is committed.
    pub(crate) fn end_deferral(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        let Some(Deferral { until, until_us, .. }) = leader.guard.deferral else { return };
        if until > self.now && !until_us.is_some_and(|until_us| self.is_past(until_us)) {
            return;
        }
        if let RoleState::Leader(leader) = &mut self.role {
            leader.guard.deferral = None;
        }
        self.record(|| Event::CommitsAgain);
        self.advance_commit_index();
    }

    /// Where a read may be answered at once.
    pub(crate) fn guarded_point(&mut self) -> Option<ReadPoint> {
        let index = self.commit_index;
        let clock = self.configurations.current().lease?.clock;
        let RoleState::Leader(leader) = &mut self.role else { return None };
        // Newcomers may lack what is committed, and a quorum with them then holds less (T222).
        let held = leader.match_quorum().index().max(index);
        let first_index = leader.first_index;
        if leader.guard.is_void && !bug(Bug::GuardOutlivesTheTransfer) {
            return None;
        }
        // What a quorum holds is in every later leader's log if it is of this term, or committed.
        let has_own = held >= first_index;
        let reads = match clock {
            LeaseClock::Monotonic => has_own && self.reads_by_ticks(held),
            LeaseClock::Declared { .. } => self.reads_by_clock(if has_own { held } else { index }),
        };
        let limbo = Limbo { first: index.next(), last: first_index.previous() };
        let limbo = (limbo.first <= limbo.last).then_some(limbo);
        reads.then_some(ReadPoint { index, limbo })
    }

    /// Whether an entry of this leader's, up to `held`, is a lease now.
    fn reads_by_ticks(&self, held: LogIndex) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let held = if bug(Bug::GuardNeedsNoQuorum) { self.log.last().index } else { held };
        let Some((lease, at)) = leader.guard.newest(held) else { return false };
        let terms = self.configurations.since(lease).map(|configuration| configuration.lease);
        let mut ticks = terms.map(|terms| self.options.reading_ticks(terms));
        let ticks = if bug(Bug::GuardIgnoresShorterTerms) { ticks.next() } else { ticks.min() };
        self.now < at.after(ticks.unwrap_or(0))
    }

    /// A lease that is half over, or was never had, is worth a no-op: reads are asked for.
    pub(crate) fn renew_guard(&mut self) {
        let terms = self.configurations.current().lease;
        let half = self.options.reading_ticks(terms) / 2;
        let (now, last) = (self.now, self.log.last());
        let is_due_by_clock = self.is_lease_due();
        let payload = self.lease_payload();
        let RoleState::Leader(leader) = &mut self.role else { return };
        let newest = leader.guard.appended.back();
        let is_fresh = newest.is_some_and(|(_, at)| now < at.after(half.max(1)));
        let is_due = half > 0 && !is_fresh || is_due_by_clock;
        // The target of a transfer has been promised a log that stands still.
        if !is_due || leader.guard.is_void || leader.transfer.is_some() {
            return;
        }
        let id = EntryId { term: last.term, index: last.index.next() };
        let entry = Entry { id, payload };
        leader.uncommitted_bytes += entry.size_bytes();
        self.append(alloc::vec![entry].into());
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
