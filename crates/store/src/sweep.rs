//! The work behind a compaction, and behind a memory budget: both walk the index in small steps.
//!
//! What a compaction made unreadable is dropped here, chunk by chunk, some time later. No answer
//! depends on how far the walk has come.

use std::fmt;
use std::sync::atomic::Ordering;

use env::Moment;

use crate::index::Versions;
use crate::measures::Measures;
use crate::state::State;
use crate::store::Shared;

/// Chunks that one step visits.
const CHUNKS_PER_STEP: usize = 8;

/// How far the walks have come.
#[derive(Default)]
pub(crate) struct Sweep {
    /// Nothing below this revision is left.
    finished_revision: i64,
    /// The compaction that is being done.
    current: Option<Walk>,
    /// Where the search for values to put out of memory goes on.
    evict_after: Option<Box<[u8]>>,
    waiters: Vec<(i64, Box<dyn FnOnce() + Send>)>,
}

#[derive(Debug)]
struct Walk {
    revision: i64,
    after: Option<Box<[u8]>>,
    begun: Option<Moment>,
}

impl fmt::Debug for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep")
            .field("finished_revision", &self.finished_revision)
            .field("current", &self.current)
            .field("waiters", &self.waiters.len())
            .finish_non_exhaustive()
    }
}

impl Sweep {
    /// Of a state that was opened or restored: whether its last compaction was done is not known,
    /// so it is done again.
    pub(crate) fn new(compact_revision: i64) -> Self {
        let finished_revision = if compact_revision < 0 { compact_revision } else { -1 };
        Self { finished_revision, ..Self::default() }
    }

    /// Keeps the callback, or gives it back if there is nothing to wait for.
    pub(crate) fn wait(
        &mut self,
        revision: i64,
        done: Box<dyn FnOnce() + Send>,
    ) -> Option<Box<dyn FnOnce() + Send>> {
        if revision <= self.finished_revision {
            return Some(done);
        }
        self.waiters.push((revision, done));
        None
    }

    /// The state was replaced: begins anew, and who waits goes on waiting.
    pub(crate) fn restart(&mut self) {
        self.finished_revision = -1;
        self.current = None;
        self.evict_after = None;
    }

    fn compact(&mut self, state: &mut State, measures: &Measures) -> bool {
        let begun = measures.now();
        if self.current.is_none() && self.finished_revision < state.compact_revision {
            self.current = Some(Walk { revision: state.compact_revision, after: None, begun });
        }
        let Some(walk) = &mut self.current else { return false };
        let mut dropped_count = 0;
        let mut more = true;
        for _ in 0..CHUNKS_PER_STEP {
            let segments = &mut state.segments;
            let next = state.index.compact_chunk(walk.after.as_deref(), walk.revision, |dropped| {
                dropped_count += 1;
                if dropped.is_tombstone() {
                    return;
                }
                if let Some(usage) = segments.get_mut(&dropped.location.segment) {
                    usage.live -= 1;
                }
            });
            if next.is_none() {
                measures.compaction_ended(walk.begun);
                self.finished_revision = walk.revision;
                self.current = None;
                more = self.finished_revision < state.compact_revision;
                break;
            }
            walk.after = next;
        }
        measures.compacted_versions.fetch_add(dropped_count, Ordering::Relaxed);
        measures.add_since(begun, &measures.compaction_pauses);
        more
    }

    fn evict(&mut self, state: &mut State) -> bool {
        let budget_bytes = state.memory_budget_bytes;
        if state.index.memory_bytes() <= budget_bytes {
            return false;
        }
        let mut evicted = false;
        for _ in 0..CHUNKS_PER_STEP {
            let written_revision = state.written_revision;
            let after = self.evict_after.take();
            self.evict_after =
                state.index.update_chunk(after.as_deref(), |_, versions: &mut Versions| {
                    if versions.latest.mod_revision <= written_revision
                        && versions.value_bytes() > 0
                    {
                        versions.set_value(None);
                        evicted = true;
                    }
                });
            if state.index.memory_bytes() <= budget_bytes {
                return false;
            }
        }
        // With keys alone beyond the budget there is no end to search for.
        evicted
    }
}

impl Shared {
    /// Whether [`Shared::maintain`] would find something.
    pub(crate) fn has_work(&self) -> bool {
        let state = self.state.read();
        state.compact_revision > self.swept_revision.load(Ordering::Acquire)
            || state.index.memory_bytes() > state.memory_budget_bytes
    }

    /// One step of everything; returns whether there is more.
    pub(crate) fn maintain(&self) -> bool {
        let mut sweep = self.sweep.lock();
        let more = {
            let mut state = self.state.write();
            sweep.compact(&mut state, &self.measures) | sweep.evict(&mut state)
        };
        let finished = sweep.finished_revision;
        self.swept_revision.store(finished, Ordering::Release);
        let (done, waiting) =
            std::mem::take(&mut sweep.waiters).into_iter().partition(|(at, _)| *at <= finished);
        sweep.waiters = waiting;
        drop(sweep);
        let done: Vec<(i64, Box<dyn FnOnce() + Send>)> = done;
        done.into_iter().for_each(|(_, done)| done());
        more
    }
}
