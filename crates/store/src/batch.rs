//! The events of a batch, on their way from apply to the watchers.

use crate::codec::LogOp;
use crate::response::Event;
use crate::state::State;
use crate::view::{Fetched, View};
use crate::watch::{Batch, event_of};

/// Collects events while entries are applied.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    before: i64,
    wants_events: bool,
    has_prev: bool,
    events: Vec<Event>,
}

impl BatchBuilder {
    /// Of a state at revision `before`. `wants`: events at all, and what was there before them.
    pub(crate) fn new(before: i64, wants: (bool, bool)) -> Self {
        Self { before, wants_events: wants.0, has_prev: wants.1, events: Vec::new() }
    }

    /// Adds the events of changes that are about to be made.
    pub(crate) fn add(&mut self, state: &State, fetched: &Fetched, ops: &[LogOp]) {
        if !self.wants_events {
            return;
        }
        let revision = state.revision + 1;
        let view = View { state, fetched };
        for mut event in ops.iter().filter_map(|op| event_of(op, revision)) {
            if self.has_prev {
                match view.get(&event.kv.key, state.revision).map(|item| item.to_kv()).transpose() {
                    Ok(prev) => event.prev_kv = prev,
                    // It is on disk. Who wants it reads the whole batch from there, and apply
                    // does not wait.
                    Err(_) => self.has_prev = false,
                }
            }
            self.events.push(event);
        }
    }

    /// The batch that led to `revision`, if it changed anything.
    pub(crate) fn finish(self, revision: i64) -> Option<Batch> {
        (revision > self.before).then(|| Batch {
            first: self.before + 1,
            last: revision,
            events: self.wants_events.then(|| self.events.into()),
            has_prev: self.has_prev,
        })
    }
}
