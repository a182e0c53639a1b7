//! What survives a crash, and what a recovery makes of it.

use raft::invariants::Durable;
use raft::*;

/// What survives a crash: the log as written, and the state machine's last durable state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) mark: SnapshotMark,
    pub(crate) entries: Vec<Entry>,
    pub(crate) applied: LogIndex,
}

impl Disk {
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
            let before = self.entries.last().map_or(self.mark.last, |entry| entry.id);
            assert_eq!(before.index.next(), first.id.index, "the disk gets no hole");
        }
        self.entries.extend(persist.entries);
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.mark.last, |entry| entry.id)
    }

    /// What a recovery hands to the node; only the last `tail` entries in full.
    pub(crate) fn restored(&self, tail: usize) -> Restored {
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
        let skip = self.entries.len().saturating_sub(tail);
        Restored {
            hard_state: self.hard_state,
            mark: self.mark.clone(),
            entries: self.entries[skip..].to_vec(),
            term_runs,
            last: self.last(),
            applied: self.applied,
            configurations,
        }
    }

    pub(crate) fn durable(&self) -> Durable<'_> {
        Durable { hard_state: self.hard_state, mark: self.mark.last, entries: &self.entries }
    }
}
