//! What has happened, as the watchers that see everything tell it together, replayed.

use std::collections::BTreeMap;

use api::mvccpb::{Event, KeyValue};

use super::watcher::{Watcher, revision};
use super::writer::Acknowledged;

#[derive(Debug, Default)]
pub(super) struct Truth {
    revisions: BTreeMap<i64, Vec<Event>>,
}

impl Truth {
    /// Puts together what the references saw. Each revision has an event, so none may be missing;
    /// a transaction is whole; and each event fits the state before it.
    pub(super) fn of(
        watchers: &[Watcher],
        first: i64,
        last: i64,
        faults: &mut Vec<String>,
    ) -> Self {
        let mut truth = Self::default();
        for watcher in watchers {
            let mut seen: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
            for event in watcher.events.iter().flatten() {
                seen.entry(revision(event)).or_default().push(event.clone());
            }
            for (at, events) in seen {
                let known = truth.revisions.entry(at).or_insert_with(|| events.clone());
                // One that came late may lack what was there before.
                let has_all =
                    |events: &[Event]| events.iter().filter(|e| e.prev_kv.is_some()).count();
                if has_all(&events) > has_all(known) {
                    *known = events;
                }
            }
        }
        truth.check_each(first, last, faults);
        truth
    }

    fn check_each(&self, first: i64, last: i64, faults: &mut Vec<String>) {
        let mut state: BTreeMap<&[u8], &KeyValue> = BTreeMap::new();
        for at in first..=last {
            let Some(events) = self.revisions.get(&at) else {
                faults.push(format!("nobody saw revision {at}"));
                return;
            };
            check_whole(at, events, faults);
            for event in events {
                let Some(kv) = &event.kv else { continue };
                let before = state.get(&kv.key[..]).copied();
                let fits = if event.r#type == 0 {
                    let (created, version) =
                        before.map_or((at, 1), |kv| (kv.create_revision, kv.version + 1));
                    (kv.create_revision, kv.version) == (created, version)
                } else {
                    before.is_some() && kv.create_revision == 0 && kv.version == 0
                };
                let prev_fits = event.prev_kv.is_none() || event.prev_kv.as_ref() == before;
                if !fits || !prev_fits {
                    faults.push(format!("{event:?} does not fit what was before: {before:?}"));
                }
                if event.r#type == 0 {
                    state.insert(&kv.key, kv);
                } else {
                    state.remove(&kv.key[..]);
                }
            }
        }
    }

    /// Every acknowledged transaction is at its revision.
    pub(super) fn check_acknowledged(&self, writes: &[Acknowledged], faults: &mut Vec<String>) {
        for write in writes {
            let events = self.revisions.get(&write.revision).map_or(&[][..], Vec::as_slice);
            let is_there = |event: &Event| {
                event.kv.as_ref().is_some_and(|kv| kv.value == write.value.as_bytes())
            };
            if !events.iter().any(is_there) {
                faults.push(format!("{write:?} was acknowledged; there is {events:?}"));
            }
        }
    }

    pub(super) fn events(&self, from: i64, to: i64) -> impl Iterator<Item = &Event> {
        // A start in the future may be behind the end.
        let range = from..=to.max(from);
        self.revisions.range(range).flat_map(|(_, events)| events)
    }

    pub(super) fn changes(&self) -> u64 {
        self.revisions.values().map(|events| events.len() as u64).sum()
    }
}

/// All puts of a revision are of one transaction, and are as many as it had.
fn check_whole(at: i64, events: &[Event], faults: &mut Vec<String>) {
    let puts = events.iter().filter(|event| event.r#type == 0);
    let values: Vec<&[u8]> =
        puts.filter_map(|event| event.kv.as_ref()).map(|kv| &kv.value[..]).collect();
    let Some(first) = values.first() else { return };
    let count = String::from_utf8_lossy(first);
    let count = count.rsplit_once('/').and_then(|(_, count)| count.parse::<usize>().ok());
    if values.iter().any(|value| value != first) || count != Some(values.len()) {
        faults.push(format!("revision {at} is no whole transaction: {events:?}"));
    }
}
