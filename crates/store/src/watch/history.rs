//! Events of the past, from the revision log.

use std::io;

use bytes::Bytes;

use super::hub::Behind;
use crate::codec::{LogOp, LogRecord};
use crate::error::RequestError;
use crate::response::{Event, EventKind, KeyValue};
use crate::store::{READ_ATTEMPTS, Shared, read_record};
use crate::view::{Fetched, View};

/// Bytes of history read at once, or one revision if that is larger: what a client that asks for
/// the past makes this member hold.
const HISTORY_BYTES_MAX: usize = 4 << 20;

/// A piece of history.
#[derive(Debug)]
pub(crate) enum Histories {
    /// All changes in it.
    Events(Vec<Event>),
    /// It is gone.
    Compacted {
        /// What is left begins here.
        compact_revision: i64,
    },
}

/// The event of a change of a key; `None` for all else.
pub(crate) fn event_of(op: &LogOp, mod_revision: i64) -> Option<Event> {
    match op {
        LogOp::Put { key, value, lease, create_revision, version } => {
            let kv = KeyValue {
                key: key.clone(),
                create_revision: *create_revision,
                mod_revision,
                version: *version,
                value: value.clone(),
                lease: *lease,
            };
            Some(Event { kind: EventKind::Put, kv, prev_kv: None })
        }
        LogOp::Delete { key } => Some(Event::delete(key.clone(), mod_revision, None)),
        LogOp::Moved { .. }
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

/// The first records, as many as may be held at once, and whether those were not all.
fn up_to_bytes(
    records: impl Iterator<Item = io::Result<LogRecord>>,
) -> io::Result<(Vec<LogRecord>, bool)> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for record in records {
        let record = record?;
        bytes += record.ops.iter().map(op_bytes).sum::<usize>();
        taken.push(record);
        if bytes >= HISTORY_BYTES_MAX {
            return Ok((taken, true));
        }
    }
    Ok((taken, false))
}

/// About what a change takes in memory.
fn op_bytes(op: &LogOp) -> usize {
    match op {
        LogOp::Put { key, value, .. } => key.len() + value.len(),
        LogOp::Delete { key } => key.len(),
        LogOp::Moved { .. }
        | LogOp::Lease { .. }
        | LogOp::LeaseRevoke { .. }
        | LogOp::Compact { .. }
        | LogOp::Alarm { .. }
        | LogOp::Downgrade { .. }
        | LogOp::Member(_)
        | LogOp::MemberRemove { .. }
        | LogOp::Auth(_) => 0,
    }
}

impl Shared {
    /// Reads the events of a range from history, without a lock across the disk, and moves the end
    /// of what is read nearer if it is long. A segment may be released in between, if a compaction
    /// overtakes; then it is tried again, and says so.
    pub(super) fn read_history(&self, behind: &mut Behind) -> Result<Histories, RequestError> {
        for _ in 0..READ_ATTEMPTS {
            let (reader, locations, unwritten) = {
                let state = self.state.read();
                if behind.from < state.compact_revision {
                    return Ok(Histories::Compacted { compact_revision: state.compact_revision });
                }
                // Revision 1 and below are before the first change.
                let from = behind.from.max(state.history.first);
                let written_to = behind.to.min(state.written_revision);
                let locations: Vec<_> =
                    (from..=written_to).map_while(|at| state.history.get(at)).collect();
                // The last ones are not in the file yet.
                let behind_these = from.max(written_to + 1)..=behind.to;
                let unwritten: Vec<_> =
                    behind_these.map_while(|at| state.unwritten.record(at).cloned()).collect();
                (state.reader(), locations, unwritten)
            };
            let read = locations.into_iter().map(|location| read_record(&reader, location));
            let Ok((records, is_cut)) = up_to_bytes(read.chain(unwritten.into_iter().map(Ok)))
            else {
                continue;
            };
            if let Some(last) = records.last().filter(|_| is_cut) {
                behind.to = last.revision;
            }
            let mut events = Vec::new();
            for record in &records {
                let changes = record.ops.iter().filter_map(|op| event_of(op, record.revision));
                events.extend(changes.filter(|event| behind.range.contains(&event.kv.key)));
            }
            if behind.prev_kv {
                self.add_prev(&mut events)?;
            }
            return Ok(Histories::Events(events));
        }
        Err(RequestError::ReadFailed)
    }

    fn add_prev(&self, events: &mut [Event]) -> Result<(), RequestError> {
        for event in events {
            let before = event.kv.mod_revision - 1;
            let key: Bytes = event.kv.key.clone();
            event.prev_kv = self.read_with(|state, fetched: &Fetched| {
                if before < state.compact_revision {
                    return Ok(None);
                }
                let view = View { state, fetched };
                view.get(&key, before).map(|item| item.to_kv()).transpose()
            })?;
        }
        Ok::<(), RequestError>(())
    }
}
