//! Execution apart from commit: which committed entries may be executed at the same time.
//!
//! Entries are committed in the order of the log, always; ADR 11 says why
//! (`docs/adr/0011-commit-in-order-execute-apart.md`). What a state machine makes of them need not
//! be done in that order, as long as nobody can tell. So a proposer may say what its command
//! touches, as [`ConflictKeys`]: numbers that mean nothing here, such as hashes of keys or numbers
//! of blocks. Two commands that share none may be executed in any order, or at once. [`waves`]
//! sorts a batch of committed entries into waves:
//!
//! ```text
//!   index     5      6      7      8        9        10
//!   touches   a      b      a c    b        all      c
//!   wave      0      0      1      1        2        3
//! ```
//!
//! Within a wave no two entries conflict, and an entry is behind all that it conflicts with and
//! that the log has before it. So any way through the waves, one after the other, leaves the state
//! that the log's own order leaves, and gives each command the same answer.
//!
//! What the state machine has to see to:
//!
//! - It reports [`Input::Applied`](crate::Input::Applied) for a batch when all its waves are done.
//! - It makes no state durable that has executed an entry and lacks an earlier one: what it writes,
//!   it writes between batches, or so that a batch is in it whole or not at all. After a crash the
//!   log is executed again from the applied index on.
//! - All replicas need not sort alike; only the keys must be what the command touches.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::seeded::{Bug, bug};
use crate::{Entry, Payload};

/// What a command touches: whatever it reads or writes is named by one of these numbers.
///
/// Invariant: ascending, none twice, at most [`ConflictKeys::MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
pub struct ConflictKeys(Vec<u64>);

impl ConflictKeys {
    /// Who touches more says so by saying nothing: a command without keys touches everything.
    pub const MAX: usize = 64;

    /// The keys in order; `None` if there are too many.
    #[must_use]
    pub fn of(keys: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut keys: Vec<u64> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        (keys.len() <= Self::MAX).then_some(Self(keys))
    }

    /// The keys, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[u64] {
        &self.0
    }
}

/// A command that says what it touches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyedCommand {
    /// What it touches; nothing at all if empty.
    pub keys: ConflictKeys,
    /// What the state machine is told.
    pub command: Bytes,
}

/// The wave of each entry: waves are executed one after the other, from 0 on, the entries of one
/// in any order or at once. Each entry is in the first wave that it can be in.
///
/// ```
/// use raft::{ConflictKeys, Entry, EntryId, KeyedCommand, Payload, waves};
///
/// let entry = |index, key| {
///     let keys = ConflictKeys::of([key]).expect("one is not too many");
///     let command = KeyedCommand { keys, command: "add".into() };
///     Entry { id: EntryId::new(1, index), payload: Payload::Keyed(command.into()) }
/// };
/// assert_eq!(waves(&[entry(1, 7), entry(2, 8), entry(3, 7)]), [0, 0, 1]);
/// ```
#[must_use]
pub fn waves(entries: &[Entry]) -> Vec<usize> {
    // The first wave behind the last entry that touches a key, or everything.
    let mut behind_key: BTreeMap<u64, usize> = BTreeMap::new();
    let mut behind_all = 0;
    let mut used = 0;
    let mut waves = Vec::with_capacity(entries.len());
    for entry in entries {
        let wave = match &entry.payload {
            // Nothing for a state machine to do.
            Payload::Noop | Payload::Lease(_) | Payload::Withheld => behind_all,
            Payload::Keyed(keyed) => {
                let keys = keyed.keys.as_slice();
                let keys =
                    if bug(Bug::OneKeyIsLookedAt) { &keys[..keys.len().min(1)] } else { keys };
                let behind = keys.iter().filter_map(|key| behind_key.get(key));
                let wave = behind.copied().max().unwrap_or(0).max(behind_all);
                for key in keys {
                    behind_key.insert(*key, wave + 1);
                }
                wave
            }
            Payload::Command(_) | Payload::Configuration(_) => {
                if !bug(Bug::WhoTouchesAllIsPassed) {
                    behind_all = used + 1;
                }
                used
            }
        };
        used = used.max(wave + 1);
        waves.push(wave);
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntryId;
    use alloc::vec;

    /// What an entry of the test touches: some of two keys, everything, or nothing.
    const KINDS: usize = 6;

    fn keyed(keys: &[u64]) -> Payload {
        let keys = ConflictKeys::of(keys.iter().copied()).expect("few");
        Payload::Keyed(KeyedCommand { keys, command: Bytes::new() }.into())
    }

    fn payload(kind: usize) -> Payload {
        match kind {
            0 => Payload::Noop,
            1 => Payload::Command(Bytes::new()),
            2 => keyed(&[]),
            3 => keyed(&[1]),
            4 => keyed(&[2]),
            _ => keyed(&[1, 2]),
        }
    }

    /// The state is the history of each key, and an answer is all that the command could see: no
    /// two entries that share a key can change places and nobody notice.
    fn execute(kinds: &[usize], order: &[usize]) -> (Vec<Vec<usize>>, Vec<Vec<Vec<usize>>>) {
        let mut state = vec![Vec::new(); 2];
        let mut answers = vec![Vec::new(); kinds.len()];
        for &place in order {
            let touched: &[usize] = match kinds[place] {
                0 | 2 => &[],
                3 => &[0],
                4 => &[1],
                _ => &[0, 1],
            };
            for &key in touched {
                answers[place].push(state[key].clone());
                state[key].push(place);
            }
        }
        (state, answers)
    }

    /// Every order in which each of `places` comes once.
    fn orders(places: &[usize]) -> Vec<Vec<usize>> {
        if places.is_empty() {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for (at, first) in places.iter().enumerate() {
            let mut rest = places.to_vec();
            rest.remove(at);
            for mut order in orders(&rest) {
                order.insert(0, *first);
                all.push(order);
            }
        }
        all
    }

    fn check(kinds: &[usize]) {
        let entry = |(kind, index): (&usize, u64)| Entry {
            id: EntryId::new(1, index),
            payload: payload(*kind),
        };
        let entries: Vec<Entry> = kinds.iter().zip(1..).map(entry).collect();
        let waves = waves(&entries);
        let serial: Vec<usize> = (0..kinds.len()).collect();
        let expected = execute(kinds, &serial);
        let mut ways = vec![Vec::new()];
        for wave in 0..waves.iter().max().map_or(0, |last| last + 1) {
            let members: Vec<usize> =
                serial.iter().copied().filter(|place| waves[*place] == wave).collect();
            assert!(!members.is_empty(), "{kinds:?} has no wave for nothing: {waves:?}");
            ways = ways
                .iter()
                .flat_map(|way: &Vec<usize>| {
                    orders(&members).into_iter().map(|order| [way.clone(), order].concat())
                })
                .collect();
        }
        for way in ways {
            assert_eq!(execute(kinds, &way), expected, "{kinds:?} in {waves:?} by {way:?}");
        }
    }

    /// Every batch of up to five entries, in every order that its waves allow.
    #[test]
    fn any_way_through_the_waves_is_the_order_of_the_log() {
        for length in 0..=5_u32 {
            for number in 0..KINDS.pow(length) {
                let kind = |place: u32| number / KINDS.pow(place) % KINDS;
                check(&(0..length).map(kind).collect::<Vec<_>>());
            }
        }
    }

    /// Nobody waits without a reason: before an entry of a later wave is one that it conflicts with
    /// in the wave before, or one that touches everything.
    #[test]
    fn nobody_waits_for_nothing() {
        let entries: Vec<Entry> = [3, 4, 3, 0, 5, 1, 4, 2]
            .iter()
            .zip(1..)
            .map(|(kind, index)| Entry { id: EntryId::new(1, index), payload: payload(*kind) })
            .collect();
        assert_eq!(waves(&entries), [0, 0, 1, 0, 2, 3, 4, 4]);
    }

    #[test]
    fn who_touches_too_much_touches_everything() {
        let max = ConflictKeys::MAX as u64;
        assert_eq!(ConflictKeys::of((0..=max).chain(0..9)), None);
        let keys = ConflictKeys::of((0..max).rev().chain(0..9)).expect("just few enough");
        assert!(keys.as_slice().is_sorted() && keys.as_slice().len() == ConflictKeys::MAX);
    }
}
