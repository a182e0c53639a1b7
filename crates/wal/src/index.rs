//! What the log holds, group by group: the state that writing changes, that replay rebuilds, and
//! that readers look entries up in.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use raft::{Configuration, Entry, EntryId, HardState, LogIndex, MarkWrite, Payload, SnapshotMark};
use seglog::Position;

use crate::GroupId;
use crate::runs::{Live, Run, Runs};

/// Shared by the writer and its readers. Never locked across a call of the disk.
pub(crate) type SharedIndex = Arc<RwLock<Index>>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) live: Live,
}

/// One group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) hard_state: HardState,
    pub(crate) mark: SnapshotMark,
    pub(crate) runs: Runs,
    pub(crate) configurations: BTreeMap<LogIndex, Configuration>,
}

/// Entries that were written to one record.
pub(crate) type Placed<'a> = (Position, &'a [Entry]);

/// A persist as the index sees it.
#[derive(Debug, Default)]
pub(crate) struct Change<'a> {
    pub(crate) mark: Option<&'a MarkWrite>,
    pub(crate) hard_state: Option<HardState>,
    /// 0 for none.
    pub(crate) cut_from: u64,
    pub(crate) placed: &'a [Placed<'a>],
}

impl Index {
    /// Takes note of a persist, in the order mark, hard state, entries.
    pub(crate) fn apply(&mut self, group: GroupId, change: &Change<'_>) {
        let live = &mut self.live;
        let group = self.groups.entry(group).or_default();
        if let Some(write) = change.mark {
            group.set_mark(write, live);
        }
        if let Some(hard_state) = change.hard_state {
            group.hard_state = hard_state;
        }
        if change.cut_from > 0 {
            group.runs.cut_from(change.cut_from, live);
            group.configurations.split_off(&LogIndex(change.cut_from));
        }
        for (position, entries) in change.placed {
            group.place(*position, entries, live);
        }
    }

    /// Takes note of entries that were copied forward.
    pub(crate) fn copy(&mut self, group: GroupId, position: Position, entries: &[Entry]) {
        self.groups.entry(group).or_default().place(position, entries, &mut self.live);
    }

    pub(crate) fn remove(&mut self, group: GroupId) {
        if let Some(mut group) = self.groups.remove(&group) {
            group.runs.clear(&mut self.live);
        }
    }
}

impl Group {
    fn set_mark(&mut self, write: &MarkWrite, live: &mut Live) {
        let index = write.mark.last.index;
        if write.reset {
            self.runs.clear(live);
            self.configurations.clear();
        } else {
            self.runs.cut_upto(index.0, live);
            self.configurations = self.configurations.split_off(&LogIndex(index.0 + 1));
        }
        self.mark = (*write.mark).clone();
    }

    fn place(&mut self, position: Position, entries: &[Entry], live: &mut Live) {
        // Replay may see a copy of entries that a later mark has made old.
        let mark = self.mark.last.index;
        let behind = entries.partition_point(|entry| entry.id.index <= mark);
        let entries = &entries[behind..];
        for run in entries.chunk_by(|a, b| a.id.term == b.id.term) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let end = last.id.index.0 + 1;
            self.runs.insert(first.id.index.0, Run { end, term: first.id.term, position }, live);
        }
        for entry in entries {
            if let Payload::Configuration(configuration) = &entry.payload {
                self.configurations.insert(entry.id.index, configuration.as_ref().clone());
            }
        }
    }

    /// The last entry, or the mark's.
    pub(crate) fn last(&self) -> EntryId {
        self.runs.last().unwrap_or(self.mark.last)
    }
}
