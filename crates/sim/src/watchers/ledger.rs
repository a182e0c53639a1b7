//! All changes of a group as its watchers must see them, each learned once from whoever saw it
//! first.

use std::collections::BTreeMap;

use api::mvccpb::{Event, KeyValue, event::EventType};
use store::{EventKind, EventRef};

use crate::clients::value_of;
use crate::history::{Change, Value};

/// The revision of an empty store.
pub(super) const FIRST: i64 = 1;

/// One change as a watcher is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) key: String,
    /// `None` deletes the key.
    pub(super) value: Option<Value>,
    pub(super) create_revision: i64,
    pub(super) version: i64,
    /// What was there before, and since when.
    pub(super) before: Option<(Value, i64)>,
}

impl Seen {
    pub(super) fn of(event: &EventRef<'_>) -> Self {
        let kv = event.kv;
        Self {
            key: String::from_utf8_lossy(&kv.key).into_owned(),
            value: match event.kind {
                EventKind::Put => Some(value_of(&kv.value)),
                EventKind::Delete => None,
            },
            create_revision: kv.create_revision,
            version: kv.version,
            before: event.prev_kv.map(|before| (value_of(&before.value), before.mod_revision)),
        }
    }

    /// The same as the API tells it; `None` if that is no change.
    pub(super) fn on_the_wire(event: &Event) -> Option<Self> {
        let kv = event.kv.as_ref()?;
        let before = |before: &KeyValue| (value_of(&before.value), before.mod_revision);
        Some(Self {
            key: String::from_utf8_lossy(&kv.key).into_owned(),
            value: match EventType::try_from(event.r#type).ok()? {
                EventType::Put => Some(value_of(&kv.value)),
                EventType::Delete => None,
            },
            create_revision: kv.create_revision,
            version: kv.version,
            before: event.prev_kv.as_ref().map(before),
        })
    }
}

/// A key as of the newest revision.
#[derive(Clone, Copy, Debug)]
struct Key {
    value: Value,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
}

/// What every watcher of everything must see, by revision.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    keys: BTreeMap<String, Key>,
    revisions: BTreeMap<i64, Vec<Seen>>,
}

impl Ledger {
    pub(super) fn newest(&self) -> i64 {
        self.revisions.last_key_value().map_or(FIRST, |(newest, _)| *newest)
    }

    pub(super) fn at(&self, revision: i64) -> &[Seen] {
        self.revisions.get(&revision).map_or(&[], Vec::as_slice)
    }

    /// The first watcher comes to a revision: its keys and values are taken for true, and what they
    /// mean is worked out here.
    pub(super) fn learn(&mut self, revision: i64, mut changes: Vec<Change>) {
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        let seen = changes.into_iter().map(|change| self.apply(revision, change)).collect();
        self.revisions.insert(revision, seen);
    }

    fn apply(&mut self, revision: i64, change: Change) -> Seen {
        let before = self.keys.get(&change.key).copied();
        let told = before.map(|key| (key.value, key.mod_revision));
        let Some(value) = change.value else {
            self.keys.remove(&change.key);
            return Seen {
                key: change.key,
                value: None,
                create_revision: 0,
                version: 0,
                before: told,
            };
        };
        let key = Key {
            value,
            create_revision: before.map_or(revision, |key| key.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |key| key.version + 1),
        };
        self.keys.insert(change.key.clone(), key);
        Seen {
            key: change.key,
            value: Some(value),
            create_revision: key.create_revision,
            version: key.version,
            before: told,
        }
    }
}
