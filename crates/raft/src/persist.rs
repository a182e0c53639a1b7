//! What is on its way to the disk, and what has arrived there.
//!
//! Everything that must be durable between two calls of
//! [`take_output`](crate::Node::take_output) becomes one [`Persist`] with one number. Completions
//! come back by number; since persists are written in order, number *n* stands for all up to *n*.
//!
//! What a completion proves about the *log* is subtler, because the log may have changed since:
//!
//! ```text
//!   #1 writes 5 6 7 8 of term 1          in flight: (#1, up to 8)
//!   #2 overwrites from 7 with term 2      in flight: (#1, up to 6)  (#2, up to 7)
//! ```
//!
//! When #1 completes now, 7 and 8 must not count: an overwriting append therefore cuts back what
//! every earlier flight will prove. It is cut back even if the same entry is appended a third time,
//! since the crash that loses #3 and keeps #2 loses the entry.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::queue::pop_front_if;
use crate::seeded::{Bug, bug};
use crate::{Entries, HardState, LogIndex, MarkWrite, Node, Persist, PersistNumber, Tick};

#[derive(Clone, Debug, Hash)]
struct Flight {
    number: PersistNumber,
    /// The log is durable up to here once this flight has landed.
    proves_index: LogIndex,
}

/// Numbers writes and remembers which of them have landed.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Persister {
    /// The next output will carry a write; its number is the newest, and its flight the last.
    is_pending: bool,
    /// What it will carry. Invariant: nothing if it is not pending.
    pending_mark: Option<MarkWrite>,
    pending_hard_state: Option<HardState>,
    /// The first of the entries that it will carry; the others are the log's from there on.
    pending_from: Option<LogIndex>,
    /// Invariant: numbers rise by one.
    flights: VecDeque<Flight>,
    newest: PersistNumber,
    durable: PersistNumber,
    durable_index: LogIndex,
    /// The persist that carries the hard state now in force.
    hard_state: PersistNumber,
    /// The disk has had something to write since then, and nothing has landed.
    waiting_since: Option<Tick>,
}

impl Persister {
    pub(crate) fn new(durable_index: LogIndex) -> Self {
        Self {
            is_pending: false,
            pending_mark: None,
            pending_hard_state: None,
            pending_from: None,
            flights: VecDeque::new(),
            newest: PersistNumber(0),
            durable: PersistNumber(0),
            durable_index,
            hard_state: PersistNumber(0),
            waiting_since: None,
        }
    }

    fn begin_pending(&mut self) {
        if self.is_pending {
            return;
        }
        self.is_pending = true;
        self.newest = PersistNumber(self.newest.0 + 1);
        self.flights.push_back(Flight { number: self.newest, proves_index: LogIndex::default() });
    }

    fn prove_when_landed(&mut self, index: LogIndex) {
        let flight = self.flights.back_mut().expect("a pending persist has a flight");
        flight.proves_index = index;
    }

    pub(crate) fn write_hard_state(&mut self, hard_state: HardState) {
        let voted_for = hard_state.voted_for.filter(|_| !bug(Bug::VoteIsNotWritten));
        self.begin_pending();
        self.pending_hard_state = Some(HardState { voted_for, ..hard_state });
        self.hard_state = self.newest;
    }

    /// Writes the entries from `first` to `last`, the log's end; whatever the disk holds from
    /// `first` on is overwritten.
    pub(crate) fn write_entries(&mut self, first: LogIndex, last: LogIndex) {
        self.cut_back(first.previous());
        self.begin_pending();
        self.pending_from = Some(self.pending_from.map_or(first, |from| from.min(first)));
        self.prove_when_landed(last);
    }

    /// Writes a mark. `kept` is the last index that is the same in the old log and the new.
    pub(crate) fn write_mark(&mut self, write: MarkWrite, kept: LogIndex) {
        let last = write.mark.last.index;
        let is_reset = write.reset;
        self.begin_pending();
        self.pending_mark = Some(write);
        if !is_reset {
            // What the mark stands for need not be written any more.
            self.pending_from = self.pending_from.map(|from| from.max(last.next()));
            return;
        }
        self.cut_back(kept);
        self.pending_from = None;
        self.prove_when_landed(last);
    }

    fn cut_back(&mut self, last: LogIndex) {
        self.durable_index = self.durable_index.min(last);
        if bug(Bug::LateCompletionCounts) {
            return;
        }
        // Flights prove more and more, so the newest tells whether any of them proves too much.
        for flight in self.flights.iter_mut().rev() {
            flight.proves_index = flight.proves_index.min(last);
        }
    }

    /// The first of the entries that must be written; they end with the log.
    pub(crate) fn pending_from(&self) -> Option<LogIndex> {
        self.pending_from
    }

    /// What must be written, for the output; at most one. `entries` are those from
    /// [`pending_from`](Self::pending_from) on.
    #[inline]
    pub(crate) fn take_pending(&mut self, now: Tick, entries: Entries) -> Option<Persist> {
        if !core::mem::take(&mut self.is_pending) {
            return None;
        }
        self.pending_from = None;
        self.waiting_since.get_or_insert(now);
        let (mark, hard_state) = (self.pending_mark.take(), self.pending_hard_state.take());
        Some(Persist { number: self.newest, mark, hard_state, entries })
    }

    /// Since when the disk has had something to write and nothing has landed.
    pub(crate) fn waiting_since(&self) -> Option<Tick> {
        self.waiting_since
    }

    /// Notes that all up to `number` is on disk.
    pub(crate) fn landed(&mut self, number: PersistNumber, now: Tick) {
        let issued = self.newest.0 - u64::from(self.is_pending);
        assert!(number.0 <= issued, "persist {} completed, but only {issued} exist", number.0);
        while let Some(flight) = pop_front_if(&mut self.flights, |flight| flight.number <= number) {
            self.durable_index = self.durable_index.max(flight.proves_index);
        }
        if number > self.durable || bug(Bug::OldCompletionCounts) {
            self.durable = number;
            self.waiting_since = (number.0 < issued).then_some(now);
        }
    }

    /// Counts from the last write that landed, and says how many were forgotten.
    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn forget_landed(&mut self) -> u64 {
        let landed = self.durable.0;
        let numbers = [&mut self.newest, &mut self.durable, &mut self.hard_state];
        let in_flight = self.flights.iter_mut().map(|flight| &mut flight.number);
        for number in numbers.into_iter().chain(in_flight) {
            number.0 = number.0.saturating_sub(landed);
        }
        self.waiting_since = self.waiting_since.map(|_| Tick(0));
        landed
    }

    /// All persists up to this one are on disk.
    pub(crate) fn durable(&self) -> PersistNumber {
        self.durable
    }

    /// The log as it is now is on disk up to here.
    pub(crate) fn durable_index(&self) -> LogIndex {
        self.durable_index
    }

    /// The persist after which term and vote are on disk.
    pub(crate) fn of_hard_state(&self) -> PersistNumber {
        self.hard_state
    }

    /// The persist after which term, vote, and the log up to `index` are on disk.
    pub(crate) fn of_index(&self, index: LogIndex) -> PersistNumber {
        if index <= self.durable_index {
            return self.hard_state;
        }
        let flight = self.flights.iter().find(|flight| flight.proves_index >= index);
        let flight = flight.expect("what is in the log and not on disk is in flight");
        flight.number.max(self.hard_state)
    }
}

impl Node {
    /// What must be written, with the entries as the log has them.
    pub(crate) fn take_persist_into(&mut self, persists: &mut Vec<Persist>) {
        if !self.persister.is_pending {
            return;
        }
        let last = self.log.last().index;
        let entries = match self.persister.pending_from {
            // Nothing is dropped from memory that was not handed out, and only what is durable is.
            Some(from) if from <= last => {
                self.log.read(from, last, usize::MAX).expect("what is not durable yet is in memory")
            }
            Some(_) | None => Entries::new(),
        };
        persists.extend(self.persister.take_pending(self.now, entries));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(persister: &mut Persister, indexes: core::ops::RangeInclusive<u64>) {
        persister.write_entries(LogIndex(*indexes.start()), LogIndex(*indexes.end()));
    }

    /// L16: the picture in the head of this file.
    #[test]
    fn late_completion_proves_only_what_still_stands() {
        let mut persister = Persister::new(LogIndex(4));
        write(&mut persister, 5..=8);
        drop(persister.take_pending(Tick(0), Entries::new()));
        write(&mut persister, 7..=7);
        drop(persister.take_pending(Tick(0), Entries::new()));
        // The very entry comes back; the crash that keeps #2 and loses #3 would lose it again.
        write(&mut persister, 7..=8);
        drop(persister.take_pending(Tick(0), Entries::new()));

        persister.landed(PersistNumber(1), Tick(0));
        assert_eq!(persister.durable_index(), LogIndex(6));
        persister.landed(PersistNumber(2), Tick(0));
        assert_eq!(persister.durable_index(), LogIndex(6));
        persister.landed(PersistNumber(3), Tick(0));
        assert_eq!(persister.durable_index(), LogIndex(8));
    }

    /// L16: completions out of order; the older one is news no more.
    #[test]
    fn older_completion_after_a_newer_one_changes_nothing() {
        let mut persister = Persister::new(LogIndex(0));
        for index in 1..=2 {
            write(&mut persister, index..=index);
            drop(persister.take_pending(Tick(0), Entries::new()));
        }
        persister.landed(PersistNumber(2), Tick(0));
        persister.landed(PersistNumber(1), Tick(0));
        assert_eq!(persister.durable(), PersistNumber(2));
        assert_eq!(persister.durable_index(), LogIndex(2));
    }

    #[test]
    fn what_happens_between_two_outputs_is_one_persist() {
        let mut persister = Persister::new(LogIndex(0));
        write(&mut persister, 2..=4);
        write(&mut persister, 1..=3);
        write(&mut persister, 4..=5);
        persister.write_hard_state(HardState::default());
        assert_eq!(persister.pending_from(), Some(LogIndex(1)));
        let persist =
            persister.take_pending(Tick(0), Entries::new()).expect("something was written");
        assert_eq!(persister.pending_from(), None);
        assert_eq!(
            (persist.number, persister.take_pending(Tick(0), Entries::new())),
            (PersistNumber(1), None)
        );
        assert_eq!(persister.of_index(LogIndex(5)), PersistNumber(1));
    }

    /// A write that is still gathered here is on no disk, and the disk waits for nothing else.
    #[test]
    fn what_was_not_handed_out_has_not_landed() {
        let mut persister = Persister::new(LogIndex(0));
        write(&mut persister, 1..=1);
        drop(persister.take_pending(Tick(0), Entries::new()));
        write(&mut persister, 2..=2);
        persister.landed(PersistNumber(1), Tick(5));
        assert_eq!(persister.durable_index(), LogIndex(1));
        assert_eq!(persister.waiting_since(), None);
        drop(persister.take_pending(Tick(7), Entries::new()));
        assert_eq!(persister.waiting_since(), Some(Tick(7)));
    }
}
