//! LeaseGuard's second form: leases by clocks that know how wrong they may be.
//!
//! The rules are those of [`lease_guard`](crate::lease_guard), and so is the proof. Only the times
//! come from elsewhere. An entry that is to be a lease says when it was appended, as an interval
//! ([`Payload::Lease`]), and whoever has the entry knows how old it is: also a node that was off,
//! and one that was elected a moment ago. The core looks at no clock. The host hands in what its
//! clock says ([`Input::Clock`](crate::Input::Clock)).
//!
//! ```text
//!   the entry      ├────────┤           appended somewhere in here
//!   plus D                    ├────────┤
//!   a reader                ┤          goes on while the latest of now is before the earliest end
//!   one who waits                      ├    until the earliest of now is not before the latest end
//! ```
//!
//! # Why nothing stale is read
//!
//! Let e be the lease, read on at a moment T. Then T is not after the latest of now, which is
//! before e.earliest + D. Let L1 wait by f, the newest such entry in its log. L1's log has e, and f
//! is e or behind it, so it was appended no earlier. e.earliest is not after that moment, and
//! f.latest not before it: L1 commits no earlier than f.latest + D ≥ e.earliest + D > T. That it
//! is f's latest, and not its earliest, is for entries like e, whose leader had the better clock:
//!
//! ```text
//!   e   1@1  [40,42]     L0 reads until 40 + D
//!   f   2@2  [31,43]     appended after e, by a node that knows less: 31 + D would be too early
//! ```
//!
//! D is the reader's side of the argument in `lease_guard.rs`: the least from e on for who reads,
//! the largest from what it knew to be committed on for who waits. Terms that go by other clocks
//! are a D of zero for the reader. So who waits may go by the clock only if all terms on its side
//! go by clocks; else some reader may count in ticks on an entry that says no time.
//!
//! # What is not known
//!
//! - **No interval in the log that is in memory**: after a snapshot, or a restart with a log whose
//!   tail has none. Then the wait of the first form holds, in ticks since the log last grew; it
//!   would always do, only longer. So neither marks nor the recovery of a log carry any time.
//! - **A clock far ahead** would stop the group until its time has come. It is bounded in the same
//!   way: nobody waits longer than by ticks.
//! - **An interval of a moment ago.** For who waits it is old news and good: time only goes on. For
//!   who reads it is none: the interval must have been handed in at the tick of the read, and is
//!   taken to be a whole tick old.
//! - **An entry from the future**, whose earliest is after the latest of now: one of the two clocks
//!   has broken its word. Nobody reads on it, and the host is told ([`Event::ClocksDisagree`]).
//!
//! # Reading on what an earlier leader left
//!
//! A new leader need not wait for an entry of its own to be on a quorum before it reads. An entry
//! that it knows to be committed is in the log of whoever leads later, and its age is known here
//! as it is there. It reads at its commit index and tells the limbo, as ever. With ticks alone this
//! is not possible: they tell how long an entry has been here, not how long before it was appended.
//!
//! Scripts: `testdata/lease_guard/clock_*` and `tests/lease_intervals.rs`, clocks that lie among
//! them; `tests/lease_clocks.rs` runs worlds.

use alloc::collections::VecDeque;

use crate::lease_guard::Deferral;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{ClockInterval, Entry, Event, LeaseClock, LeaseTerms, LogIndex, Node, Payload, Tick};

/// Of so many leases the times are remembered; the oldest are forgotten first.
const TIMES_MAX: usize = 64;

/// What a node knows of time by clocks.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct LeaseTimes {
    /// Entries of the log that say when they were appended, oldest first. What is missing is older
    /// than the first.
    appended: VecDeque<(LogIndex, ClockInterval)>,
    /// What the host's clock said, and at which tick.
    heard: Option<(Tick, ClockInterval)>,
    /// True time is past this.
    past_us: u64,
}

impl LeaseTimes {
    pub(crate) fn note(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let Payload::Lease(at) = entry.payload {
                self.appended.push_back((entry.id.index, at));
            }
        }
        let excess = self.appended.len().saturating_sub(TIMES_MAX);
        self.appended.drain(..excess);
    }

    /// Drops `from` and all behind it.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        while self.appended.back().is_some_and(|(index, _)| *index >= from) {
            self.appended.pop_back();
        }
    }

    /// A snapshot is in the place of the log, and may cover leases that never were here.
    pub(crate) fn clear(&mut self) {
        self.appended.clear();
    }

    /// The newest lease up to `index`.
    fn newest(&self, index: LogIndex) -> Option<(LogIndex, ClockInterval)> {
        let behind = self.appended.partition_point(|(at, _)| *at <= index);
        self.appended.get(behind.checked_sub(1)?).copied()
    }

    fn last(&self) -> Option<ClockInterval> {
        self.appended.back().map(|(_, at)| *at)
    }
}

impl Node {
    /// The host has looked at its clock.
    pub(crate) fn hear_clock(&mut self, interval: ClockInterval) {
        if !interval.is_sound() {
            return; // As good as none.
        }
        self.lease_times.heard = Some((self.now, interval));
        let said =
            if bug(Bug::WaitsByTheLatest) { interval.latest_us } else { interval.earliest_us };
        self.lease_times.past_us = self.lease_times.past_us.max(said);
        let now = self.now;
        let wait_us = self.deferral_us().map(|until| until.saturating_sub(said));
        let ticks = wait_us.map(|wait| wait.div_ceil(self.options.tick_us));
        if let RoleState::Leader(leader) = &mut self.role
            && let Some(deferral) = &mut leader.guard.deferral
        {
            deferral.look_at = ticks.map(|ticks| now.after(ticks));
        }
    }

    fn deferral_us(&self) -> Option<u64> {
        let RoleState::Leader(leader) = &self.role else { return None };
        leader.guard.deferral.and_then(|deferral| deferral.until_us)
    }

    /// Whether leases in force are measured by clocks, which the host then has to hand in.
    #[must_use]
    pub fn goes_by_clock(&self) -> bool {
        self.declared_terms().is_some()
    }

    fn declared_terms(&self) -> Option<LeaseTerms> {
        let terms = self.configurations.current().lease?;
        (terms.clock != LeaseClock::Monotonic).then_some(terms)
    }

    /// What the clock says now, if it was looked at in this very tick and is certain enough. The
    /// tick may have been all but over since.
    fn clock_now(&self) -> Option<ClockInterval> {
        let LeaseTerms { drift_ppm, clock, .. } = self.declared_terms()?;
        let LeaseClock::Declared { uncertainty_us_max } = clock else { return None };
        let (at, interval) = self.lease_times.heard?;
        let is_fresh = at == self.now || bug(Bug::OldIntervalsAreRead);
        if !is_fresh || interval.width_us() > u64::from(uncertainty_us_max) {
            return None;
        }
        // A tick may be longer than it says.
        let tick_us = u128::from(self.options.tick_us);
        let longest_us = tick_us + (tick_us * u128::from(drift_ppm)).div_ceil(1_000_000);
        let longest_us = u64::try_from(longest_us).unwrap_or(u64::MAX);
        let latest_us = interval.latest_us.saturating_add(longest_us);
        Some(ClockInterval { latest_us, ..interval })
    }

    /// What begins a term, or renews a lease: an entry that says nothing but, where it can, when.
    pub(crate) fn lease_payload(&self) -> Payload {
        self.clock_now().map_or(Payload::Noop, Payload::Lease)
    }

    /// Whether an entry up to `upto`, all of which whoever leads later has, is a lease now.
    pub(crate) fn reads_by_clock(&mut self, upto: LogIndex) -> bool {
        let upto = if bug(Bug::InheritsWhatIsNotCommitted) { self.log.last().index } else { upto };
        let Some(now) = self.clock_now() else { return false };
        let Some((index, at)) = self.lease_times.newest(upto) else { return false };
        if at.earliest_us > now.latest_us && !bug(Bug::LeasesOfTheFutureCount) {
            self.record(|| Event::ClocksDisagree { index });
            return false;
        }
        let terms = self.configurations.since(index).map(|configuration| configuration.lease);
        let least_us = terms.map(|terms| terms.map_or(0, LeaseTerms::declared_us)).min();
        let end_us = at.earliest_us.saturating_add(least_us.unwrap_or(0));
        let read_us = if bug(Bug::ReadsByTheEarliest) { now.earliest_us } else { now.latest_us };
        read_us < end_us
    }

    /// Whether there is no lease in the log that is not half over, and the clock is good for one.
    pub(crate) fn is_lease_due(&self) -> bool {
        let (Some(terms), Some(now)) = (self.declared_terms(), self.clock_now()) else {
            return false;
        };
        let half_us = terms.duration_us / 2;
        let newest = self.lease_times.last();
        newest.is_none_or(|at| now.latest_us >= at.earliest_us.saturating_add(half_us))
    }

    /// What a wait comes to by the clock: `by_ticks` is what it would be otherwise. Nothing if it
    /// is over.
    pub(crate) fn deferral_by_clock(&self, by_ticks: Deferral) -> Option<Deferral> {
        let committed = self.commit_index;
        let mut longest_us = 0;
        for configuration in self.configurations.since(committed) {
            let declared_us = configuration.lease.map_or(0, LeaseTerms::declared_us);
            let goes_by_ticks = configuration.lease.is_some() && declared_us == 0;
            if goes_by_ticks && !bug(Bug::WaitIgnoresOtherClocks) {
                return Some(by_ticks);
            }
            longest_us = longest_us.max(declared_us);
        }
        let Some(newest) = self.lease_times.last() else { return Some(by_ticks) };
        let from_us =
            if bug(Bug::WaitBeginsAtTheEarliest) { newest.earliest_us } else { newest.latest_us };
        let until_us = from_us.saturating_add(longest_us);
        let past_us = self.lease_times.past_us;
        let ticks = until_us.saturating_sub(past_us).div_ceil(self.options.tick_us);
        let look_at = self.lease_times.heard.map(|(at, _)| at.after(ticks));
        let look_at = look_at.filter(|at| *at > self.now);
        (until_us > past_us).then_some(Deferral { until_us: Some(until_us), look_at, ..by_ticks })
    }

    pub(crate) fn is_past(&self, time_us: u64) -> bool {
        time_us <= self.lease_times.past_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntryId;

    fn lease(index: u64, earliest_us: u64) -> Entry {
        let at = ClockInterval { earliest_us, latest_us: earliest_us + 2 };
        Entry { id: EntryId::new(1, index), payload: Payload::Lease(at) }
    }

    /// The times are those of the log: they go with their entries, and the oldest go first.
    #[test]
    fn times_come_and_go_with_their_entries() {
        let mut times = LeaseTimes::default();
        for index in 1..=100 {
            times.note(&[lease(index, index * 10)]);
        }
        assert_eq!(times.appended.len(), TIMES_MAX);
        assert_eq!(times.newest(LogIndex(36)), None, "forgotten");
        let (index, at) = times.newest(LogIndex(40)).expect("remembered");
        assert_eq!((index, at.earliest_us), (LogIndex(40), 400));
        times.truncate(LogIndex(50));
        assert_eq!(times.last().map(|at| at.earliest_us), Some(490));
        times.clear();
        assert_eq!(times.last(), None);
    }
}
