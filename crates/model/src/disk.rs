//! The disk of one node.

use raft::invariants::Durable;
use raft::*;

/// What survives a crash.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Disk {
    hard_state: HardState,
    pub(crate) mark: SnapshotMark,
    entries: Vec<Entry>,
    /// The state machine's own: everything up to here would survive a crash.
    pub(crate) applied: LogIndex,
}

impl Disk {
    pub(crate) fn new(mark: SnapshotMark) -> Self {
        let (hard_state, applied) = (HardState::default(), LogIndex(0));
        Self { hard_state, mark, entries: Vec::new(), applied }
    }

    pub(crate) fn write(&mut self, persist: Persist) {
        if let Some(MarkWrite { mark, reset }) = persist.mark {
            self.entries.retain(|entry| !reset && entry.id.index > mark.last.index);
            self.mark = *mark;
        }
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(first) = persist.entries.first() {
            self.entries.retain(|entry| entry.id.index < first.id.index);
        }
        self.entries.extend(persist.entries);
    }

    pub(crate) fn restored(&self) -> Restored {
        let mut term_runs: Vec<(LogIndex, Term)> = Vec::new();
        let mut configurations = Vec::new();
        for entry in &self.entries {
            if term_runs.last().is_none_or(|(_, term)| *term < entry.id.term) {
                term_runs.push((entry.id.index, entry.id.term));
            }
            if let Payload::Configuration(configuration) = &entry.payload {
                configurations.push((entry.id.index, configuration.as_ref().clone()));
            }
        }
        Restored {
            hard_state: self.hard_state,
            mark: self.mark.clone(),
            entries: self.entries.clone(),
            term_runs,
            last: self.entries.last().map_or(self.mark.last, |entry| entry.id),
            applied: self.applied,
            configurations,
        }
    }

    pub(crate) fn durable(&self) -> Durable<'_> {
        Durable { hard_state: self.hard_state, mark: self.mark.last, entries: &self.entries }
    }

    /// Term and vote as a crash would leave them.
    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(crate) fn holds(&self, entry: EntryId) -> bool {
        self.durable().holds(entry)
    }
}
