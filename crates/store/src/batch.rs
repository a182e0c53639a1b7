//! The events of a batch, on their way from apply to the watchers.

use crate::codec::LogOp;
use crate::response::Event;
use crate::state::State;
use crate::view::{Fetched, View};
use crate::watch::{Batch, event_of};

/// Collects events while entries are applied.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    /// The revision before it.
    before: Option<i64>,
    /// The revision after what was applied of it so far.
    revision: i64,
    wants_events: bool,
    has_prev: bool,
    events: Vec<Event>,
}

impl BatchBuilder {
    /// `wants`: events at all, and what was there before them.
    pub(crate) fn new(wants: (bool, bool)) -> Self {
        let (wants_events, has_prev) = wants;
        Self { before: None, revision: 0, wants_events, has_prev, events: Vec::new() }
    }

    /// The state has this revision: said before the first change, and after some.
    pub(crate) fn note_revision(&mut self, revision: i64) {
        self.before.get_or_insert(revision);
        self.revision = revision;
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

    /// The batch, if it changed anything.
    pub(crate) fn finish(self) -> Option<Batch> {
        let before = self.before?;
        (self.revision > before).then(|| Batch {
            first: before + 1,
            last: self.revision,
            events: self.wants_events.then(|| self.events.into()),
            has_prev: self.has_prev,
        })
    }
}
