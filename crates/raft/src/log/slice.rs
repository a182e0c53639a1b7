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
#[derive(Debug)]
pub(crate) struct LogSlice {
    prev: EntryId,
    entries: Entries,
}

impl LogSlice {
    pub(crate) fn new(
        leader_term: Term,
        prev: EntryId,
        entries: Entries,
        is_witness: bool,
    ) -> Result<Self, PeerFault> {
        let mut before = prev;
        for entry in &entries {
            let follows = before.index.0.checked_add(1) == Some(entry.id.index.0);
            let is_sound = match &entry.payload {
                Payload::Configuration(configuration) => is_sound(configuration),
                Payload::Command(_) => !is_witness,
                Payload::Withheld => is_witness,
                Payload::Lease(at) => at.is_sound(),
                Payload::Noop => true,
            };
            if !follows || entry.id.term < before.term || entry.id.term.0 == 0 || !is_sound {
                return Err(PeerFault::MalformedEntries);
            }
            before = entry.id;
        }
        let origin_is_zero =
            (prev.index.0 == 0) == (prev.term.0 == 0) || bug(Bug::MalformedEntriesAreTaken);
        if before.term > leader_term || !origin_is_zero {
            return Err(PeerFault::MalformedEntries);
        }
        Ok(Self { prev, entries })
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
