//! Opening a log: replaying its records into an index.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::{Configuration, Entry, EntryId, HardState, LogIndex, SnapshotMark, Term};
use seglog::{Position, Recovery};

use crate::index::{Change, Group, Index};
use crate::reader::WalReader;
use crate::record::{Kind, Record};
use crate::{GroupId, WalOpenError};

/// What a log held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The groups.
    pub groups: BTreeMap<GroupId, RecoveredGroup>,
    /// What opening the files found.
    pub files: Recovery,
}

/// One group: what [`raft::Restored`] needs from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// Term and vote.
    pub hard_state: HardState,
    /// Where the log begins.
    pub mark: SnapshotMark,
    /// The last entries of the log within [`crate::WalOptions::recent_bytes_max`].
    pub entries: Vec<Entry>,
    /// Where each term begins, behind the mark.
    pub term_runs: Vec<(LogIndex, Term)>,
    /// The last entry; the mark's if the log is empty.
    pub last: EntryId,
    /// The configuration entries behind the mark.
    pub configurations: Vec<(LogIndex, Configuration)>,
}

impl RecoveredGroup {
    /// The first index that the log holds, or would hold.
    #[must_use]
    pub fn first_index(&self) -> LogIndex {
        self.mark.last.index.next()
    }
}

/// Rebuilds the index from records in order.
///
/// The records may be any tail of the log's history that begins at a segment: segments before it
/// were given up because nothing in them counts any more. So a part of a persist may come without
/// the parts before it, a copy may bring entries of an index below what is known, and only at the
/// end must everything be in place.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) index: Index,
    /// Parts of a persist whose last part has not come, and the group.
    parts: Vec<(Position, Vec<Entry>)>,
    parts_of: Option<GroupId>,
}

impl Replay {
    pub(crate) fn visit(&mut self, position: Position, bytes: &[u8]) -> Result<(), WalOpenError> {
        let record = Record::decode(Bytes::copy_from_slice(bytes))
            .ok_or(WalOpenError::Record { position })?;
        match record.kind {
            Kind::Persist => self.persist(position, record),
            Kind::State => {
                let change = Change {
                    mark: record.mark.as_ref(),
                    hard_state: record.hard_state,
                    ..Change::default()
                };
                self.index.apply(record.group, &change);
            }
            Kind::Copy => self.index.copy(record.group, position, &record.entries),
            Kind::Remove => {
                self.drop_parts();
                self.index.remove(record.group);
            }
        }
        Ok(())
    }

    fn persist(&mut self, position: Position, record: Record) {
        if record.is_first || self.parts_of != Some(record.group) {
            self.drop_parts();
        }
        let (group, cut_from, hard_state) = (record.group, record.cut_from, record.hard_state);
        self.parts_of = Some(group);
        self.parts.push((position, record.entries));
        if !record.is_last {
            return;
        }
        let placed: Vec<_> =
            self.parts.iter().map(|(position, entries)| (*position, entries.as_slice())).collect();
        let change = Change { mark: record.mark.as_ref(), hard_state, cut_from, placed: &placed };
        self.index.apply(group, &change);
        self.drop_parts();
    }

    /// A persist without its last part was torn by a crash.
    fn drop_parts(&mut self) {
        self.parts.clear();
        self.parts_of = None;
    }

    /// Checks that no group's log has a hole.
    pub(crate) fn finish(self) -> Result<Index, WalOpenError> {
        for (id, group) in &self.index.groups {
            if let Some(index) = group.runs.gap_behind(group.mark.last.index.0) {
                return Err(WalOpenError::Gap { group: *id, index: LogIndex(index) });
            }
        }
        Ok(self.index)
    }
}

/// What to hand over of a group.
pub(crate) fn hand_over(
    id: GroupId,
    group: &Group,
    reader: &WalReader,
    recent_bytes_max: usize,
) -> Result<RecoveredGroup, WalOpenError> {
    let last = group.last();
    // Runs are bounded by records, so the sum of their records bounds what has to be read.
    let mut from = last.index.0 + 1;
    let mut bytes = 0_usize;
    for (first, run) in group.runs.iter().rev() {
        from = first;
        bytes = bytes.saturating_add(run.position.len_bytes as usize);
        if bytes > recent_bytes_max {
            break;
        }
    }
    let mut entries = reader.entries(id, LogIndex(from), last.index.next(), usize::MAX)?;
    let mut budget = recent_bytes_max;
    let kept = entries
        .iter()
        .rev()
        .take_while(|entry| {
            let size = entry.size_bytes();
            let fits = size <= budget;
            budget = budget.saturating_sub(size);
            fits
        })
        .count();
    entries.drain(..entries.len() - kept);
    Ok(RecoveredGroup {
        hard_state: group.hard_state,
        mark: group.mark.clone(),
        entries,
        term_runs: group.runs.term_runs(),
        last,
        configurations: group
            .configurations
            .iter()
            .map(|(index, configuration)| (*index, configuration.clone()))
            .collect(),
    })
}
