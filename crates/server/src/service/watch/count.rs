//! What the watchers of a stream take of a connection's budget.

use std::collections::BTreeMap;

use store::WatchCreateRequest;

use crate::budget::{Budget, Held};

/// Of a watcher beside its keys.
const WATCHER_BYTES: usize = 512;

/// Those of one stream, by id.
#[derive(Debug)]
pub(super) struct Watchers {
    /// Nothing counts without one.
    budget: Option<Budget>,
    held: BTreeMap<i64, Held>,
}

impl Watchers {
    pub(super) fn new(budget: Option<Budget>) -> Self {
        Self { budget, held: BTreeMap::new() }
    }

    /// Counts a watcher that is asked for; `None` if it would be too much.
    pub(super) fn hold(&self, create: &WatchCreateRequest) -> Option<Option<Held>> {
        // It has its range, and so has the index of watchers.
        let bytes = WATCHER_BYTES + 2 * (create.key.len() + create.range_end.len());
        match &self.budget {
            None => Some(None),
            Some(budget) => budget.hold_all(bytes).map(Some),
        }
    }

    /// It was made.
    pub(super) fn keep(&mut self, id: i64, held: Option<Held>) {
        if let Some(held) = held {
            self.held.insert(id, held);
        }
    }

    /// It is gone.
    pub(super) fn release(&mut self, id: i64) {
        self.held.remove(&id);
    }
}
