//! Records that are in the log's buffer and not in its file yet: what a reader wants of them comes
//! from here.
//!
//! The revision log is not the journal (the Raft log is), so a batch is not handed to the operating
//! system on its own: some hundred records go at once. Nothing is copied for it: the keys and
//! values are those of the entry.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::codec::{LogOp, LogRecord};

/// Records that change keys, one per revision.
///
/// Invariant: the n-th is of revision `first + n`.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    first: i64,
    records: VecDeque<LogRecord>,
}

impl Unwritten {
    pub(crate) fn push(&mut self, record: LogRecord) {
        if self.records.is_empty() {
            self.first = record.revision;
        }
        let n = usize::try_from(record.revision - self.first).ok();
        assert_eq!(n, Some(self.records.len()), "each change of keys makes the next revision");
        self.records.push_back(record);
    }

    /// The record of a revision, with all its parts in one.
    pub(crate) fn record(&self, revision: i64) -> Option<&LogRecord> {
        self.records.get(usize::try_from(revision.checked_sub(self.first)?).ok()?)
    }

    /// A value by revision and sub-revision.
    pub(crate) fn value(&self, (mod_revision, sub): (i64, u32)) -> Option<&Bytes> {
        let mut changes = self.record(mod_revision)?.ops.iter().filter(|op| op.changes_key());
        match changes.nth(sub as usize)? {
            LogOp::Put { value, .. } => Some(value),
            LogOp::Delete { .. }
            | LogOp::Moved { .. }
            | LogOp::Lease { .. }
            | LogOp::LeaseRevoke { .. }
            | LogOp::Compact { .. }
            | LogOp::Alarm { .. }
            | LogOp::Downgrade { .. }
            | LogOp::Member(_)
            | LogOp::MemberRemove { .. }
            | LogOp::Auth(_) => None,
        }
    }

    /// All of them are written. What comes back is to be dropped without the lock.
    pub(crate) fn take(&mut self) -> VecDeque<LogRecord> {
        // The room is about what will be needed again.
        let room = VecDeque::with_capacity(self.records.len());
        std::mem::replace(&mut self.records, room)
    }
}
