//! The state machine of a core world: a few cells, each a hash of all that touched it.
//!
//! A command may say which of them it touches. A node then executes what is committed together in
//! waves (`raft::waves`), within a wave in any order, and must come to where the log's own order
//! leads.

use env::SplitMix;
use raft::{ConflictKeys, Entry, EntryId, KeyedCommand, LogIndex, NodeId, Payload, waves};

use super::CoreWorld;
use crate::Failure;
use crate::chaos::pick;

const CELLS: usize = 3;

/// The state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cells([u64; CELLS]);

impl Cells {
    /// What the command touches becomes a hash of all that it touches, and of the command.
    fn execute(&mut self, entry: &Entry) {
        match &entry.payload {
            Payload::Command(command) => self.touch(&[0, 1, 2], entry.id, command),
            Payload::Keyed(keyed) => self.touch(keyed.keys.as_slice(), entry.id, &keyed.command),
            Payload::Noop | Payload::Lease(_) | Payload::Withheld | Payload::Configuration(_) => {}
        }
    }

    fn touch(&mut self, keys: &[u64], id: EntryId, command: &[u8]) {
        let cell = |key: &u64| usize::try_from(*key).unwrap_or(0) % CELLS;
        let mut hash = id.index.0 ^ id.term.0 << 32;
        let read = keys.iter().map(|key| self.0[cell(key)]);
        for part in read.chain(command.iter().map(|byte| u64::from(*byte))) {
            hash = (hash.rotate_left(7) ^ part).wrapping_mul(0x0000_0100_0000_01b3);
        }
        keys.iter().for_each(|key| self.0[cell(key)] = hash);
    }
}

/// A command that touches some of the cells.
pub(super) fn any_keyed(dice: &mut SplitMix, command: &str) -> KeyedCommand {
    let keys: &[u64] = pick(dice, &[&[0, 2][..], &[1, 2], &[0, 1], &[1], &[]]);
    let keys = ConflictKeys::of(keys.iter().copied()).expect("few");
    KeyedCommand { keys, command: command.as_bytes().to_vec().into() }
}

impl CoreWorld {
    /// Executes a batch of committed entries. The log's own order, which is what the result must be
    /// equal to, is gone through once, by whoever comes first.
    pub(super) fn execute(&mut self, id: NodeId, entries: &[Entry]) {
        let mut before = self.members[&id].applied;
        for entry in entries {
            if before.next() != entry.id.index {
                let detail = format!("node {id} applies {} behind {before}", entry.id);
                self.fail(id, Failure::new("entries are applied in order", detail));
            }
            if !self.states.contains_key(&entry.id.index) {
                let mut cells = self.state_of(before);
                cells.execute(entry);
                self.states.insert(entry.id.index, cells);
            }
            before = entry.id.index;
        }
        let mut cells = self.members[&id].state;
        for place in self.any_way_through(entries) {
            cells.execute(&entries[place]);
        }
        let member = self.member(id);
        (member.state, member.applied) = (cells, before);
        if cells != self.state_of(before) {
            let detail = format!("node {id} differs from another at {before}");
            self.fail(id, Failure::new("equal logs, equal states", detail));
        }
    }

    /// The state of whoever has applied the log up to there.
    pub(super) fn state_of(&self, index: LogIndex) -> Cells {
        self.states.get(&index).copied().unwrap_or_default()
    }

    /// Wave after wave, and each in any order.
    fn any_way_through(&mut self, entries: &[Entry]) -> Vec<usize> {
        let is_keyed = |entry: &Entry| matches!(entry.payload, Payload::Keyed(_));
        if entries.len() < 2 || !entries.iter().any(is_keyed) {
            return (0..entries.len()).collect();
        }
        let mut places: Vec<(usize, u64, usize)> = waves(entries)
            .into_iter()
            .enumerate()
            .map(|(place, wave)| (wave, self.dice.next_u64(), place))
            .collect();
        places.sort_unstable();
        if places.iter().enumerate().any(|(at, (_, _, place))| at != *place) {
            self.census.meet("sometimes: commands are executed out of order");
        }
        places.into_iter().map(|(_, _, place)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state tells in which order commands were executed that touch the same, and no others.
    #[test]
    fn only_commands_that_share_a_cell_have_an_order() {
        let entry = |index, keys: &[u64]| {
            let keys = ConflictKeys::of(keys.iter().copied()).expect("few");
            let command = KeyedCommand { keys, command: "c".into() };
            Entry { id: EntryId::new(1, index), payload: Payload::Keyed(command.into()) }
        };
        let state = |entries: [&Entry; 2]| {
            let mut cells = Cells::default();
            entries.into_iter().for_each(|entry| cells.execute(entry));
            cells
        };
        let (a, b, both) = (entry(1, &[0]), entry(2, &[1]), entry(3, &[0, 1]));
        assert_eq!(state([&a, &b]), state([&b, &a]));
        assert_ne!(state([&a, &both]), state([&both, &a]));
    }
}
