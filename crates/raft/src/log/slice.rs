//! The entries of an AppendEntries, checked once at the gate.

use crate::configuration::is_sound;
use crate::seeded::{Bug, bug};
use crate::{Entries, Entry, EntryId, Payload, PeerFault, Term};

/// A piece of a leader's log, as it came from a peer. A value of this type guarantees:
///
/// 1. The first entry follows `prev`, and indexes go up by one.
/// 2. Terms never fall, from `prev` on.
/// 3. No term is above the sender's.
/// 4. The place before the log is `0@0`.
/// 5. A configuration has voters, and nobody in two roles (M13).
/// 6. A lease says a time that can be.
/// 7. Commands are withheld from a witness, and from nobody else.
#[derive(Debug, Hash)]
pub(crate) struct LogSlice {
    prev: EntryId,
    entries: Entries,
}

impl LogSlice {
    /// A place in the log, and nothing that follows it.
    #[inline]
    pub(crate) fn place(leader_term: Term, prev: EntryId) -> Result<Self, PeerFault> {
        let origin_is_zero =
            (prev.index.0 == 0) == (prev.term.0 == 0) || bug(Bug::MalformedEntriesAreTaken);
        if prev.term > leader_term || !origin_is_zero {
            return Err(PeerFault::MalformedEntries);
        }
        Ok(Self { prev, entries: Entries::new() })
    }

    #[inline]
    pub(crate) fn new(
        leader_term: Term,
        prev: EntryId,
        entries: Entries,
        is_witness: bool,
    ) -> Result<Self, PeerFault> {
        let place = Self::place(leader_term, prev)?;
        let mut before = prev;
        for entry in &entries {
            let follows = before.index.0.checked_add(1) == Some(entry.id.index.0);
            let is_sound = match &entry.payload {
                Payload::Configuration(configuration) => is_sound(configuration),
                Payload::Command(_) | Payload::Keyed(_) => !is_witness,
                Payload::Withheld => is_witness,
                Payload::Lease(at) => at.is_sound(),
                Payload::Noop => true,
            };
            if !follows || entry.id.term < before.term || entry.id.term.0 == 0 || !is_sound {
                return Err(PeerFault::MalformedEntries);
            }
            before = entry.id;
        }
        if before.term > leader_term {
            return Err(PeerFault::MalformedEntries);
        }
        Ok(Self { entries, ..place })
    }

    pub(crate) fn prev(&self) -> EntryId {
        self.prev
    }

    /// The last entry that the slice proves to be in the leader's log.
    pub(crate) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.prev, |entry| entry.id)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries without the first `count`.
    pub(crate) fn into_entries_behind(mut self, count: usize) -> Entries {
        self.entries.advance(count);
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list in the head of [`LogSlice`], word by word.
    fn is_sound_by_the_list(leader_term: u64, prev: EntryId, entries: &[EntryId]) -> bool {
        let all: alloc::vec::Vec<EntryId> = [&[prev], entries].concat();
        let consecutive = all.windows(2).all(|pair| pair[0].index.0 + 1 == pair[1].index.0);
        let never_falls = all.windows(2).all(|pair| pair[0].term <= pair[1].term);
        let is_of_the_leader = all.iter().all(|id| id.term.0 <= leader_term);
        let has_terms = entries.iter().all(|id| id.term.0 > 0);
        let begins_at_zero = (prev.index.0 == 0) == (prev.term.0 == 0);
        consecutive && never_falls && is_of_the_leader && has_terms && begins_at_zero
    }

    /// Every place before, and every two entries behind it, in three terms and five places (S16).
    #[test]
    fn a_slice_is_what_its_list_says() {
        let ids = |number: u64| EntryId::new(number / 5, number % 5);
        let mut sound = 0;
        for number in 0..20 * 20 * 20 {
            let (prev, first) = (ids(number % 20), ids(number / 20 % 20));
            let second = ids(number / 400);
            for names in [&[][..], &[first], &[first, second]] {
                for leader_term in 1..=3 {
                    let entry = |id: &EntryId| Entry { id: *id, payload: Payload::Noop };
                    let entries = names.iter().map(entry).collect();
                    let slice = LogSlice::new(Term(leader_term), prev, entries, false);
                    let expected = is_sound_by_the_list(leader_term, prev, names);
                    assert_eq!(slice.is_ok(), expected, "{prev} then {names:?} of {leader_term}");
                    let is_place = LogSlice::place(Term(leader_term), prev).is_ok();
                    assert_eq!(is_place, is_sound_by_the_list(leader_term, prev, &[]), "{prev}");
                    sound += u32::from(expected);
                }
            }
        }
        assert!(sound > 100, "{sound}");
    }
}
