//! Moves what is still alive out of segments that are mostly garbage, so that they can go.
//!
//! Only segments whose history is compacted altogether are emptied: while a watcher may ask for a
//! revision, its record stays where it is.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use seglog::{Position, Scan, SegmentLog};

use crate::codec::{LogOp, LogRecord, Part};
use crate::state::{SegmentUse, State};
use crate::store::{Shared, decode};

/// Bytes of records that one step reads.
const BYTES_PER_STEP: usize = 256 << 10;

/// The segment that is being emptied.
#[derive(Debug, Default)]
pub(crate) struct Mover {
    current: Option<Emptying>,
    /// Segments that were emptied and wait for their release.
    emptied: BTreeSet<u32>,
    has_garbage: bool,
}

#[derive(Debug)]
struct Emptying {
    segment: u32,
    scan: Scan,
}

fn is_history_gone(usage: &SegmentUse, state: &State) -> bool {
    usage.last_revision < state.compact_revision
}

impl Mover {
    /// Whether segments wait for a checkpoint to be released.
    pub(crate) fn has_garbage(&self) -> bool {
        self.has_garbage
    }

    /// Whether a segment is being emptied.
    pub(crate) fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    /// Reads a piece of the segment that is being emptied, or chooses one. The record that comes
    /// back says where the values are to go.
    pub(crate) fn step(
        &mut self,
        log: &SegmentLog,
        shared: &Shared,
    ) -> io::Result<Option<LogRecord>> {
        if self.current.is_none() {
            self.choose(log, &shared.state.read());
        }
        let Some(emptying) = &mut self.current else { return Ok(None) };
        let segment = emptying.segment;
        let mut records = Vec::new();
        let mut bytes_read = 0;
        while bytes_read < BYTES_PER_STEP {
            match emptying.scan.next().transpose()? {
                Some((position, bytes)) if position.segment == u64::from(segment) => {
                    bytes_read += bytes.len();
                    records.push(decode(bytes)?);
                }
                _ => {
                    self.current = None;
                    self.emptied.insert(segment);
                    break;
                }
            }
        }
        let state = shared.state.read();
        let ops: Vec<LogOp> =
            records.iter().flat_map(|record| live_values(record, segment, &state)).collect();
        let (id, revision) = (state.applied, state.revision);
        Ok((!ops.is_empty()).then_some(LogRecord { id, revision, part: Part::WHOLE, ops }))
    }

    fn choose(&mut self, log: &SegmentLog, state: &State) {
        let end = log.end().segment;
        self.has_garbage = false;
        for (segment, usage) in &state.segments {
            if u64::from(*segment) >= end || !is_history_gone(usage, state) {
                continue;
            }
            if usage.live == 0 {
                self.has_garbage = true;
            } else if usage.live * 2 <= usage.total && !self.emptied.contains(segment) {
                let from = Position { segment: u64::from(*segment), offset: 0, len_bytes: 0 };
                let scan = log.reader().scan(Some(from));
                self.current = Some(Emptying { segment: *segment, scan });
                return;
            }
        }
    }

    /// Sealed segments that nothing points to any more.
    pub(crate) fn empty_segments(&mut self, log: &SegmentLog, state: &State) -> Vec<u64> {
        let sealed = log.segments().into_iter().filter(|segment| segment.sealed);
        let numbers = sealed.map(|segment| segment.number).filter(|number| {
            let number = u32::try_from(*number).expect("a location had it in 32 bits");
            state
                .segments
                .get(&number)
                .is_none_or(|usage| usage.live == 0 && is_history_gone(usage, state))
        });
        numbers.collect()
    }
}

/// The values of a record that the index finds in `segment`.
fn live_values(record: &LogRecord, segment: u32, state: &State) -> Vec<LogOp> {
    let is_live = |key: &Bytes, mod_revision: i64, sub: u32| {
        state.index.get(key).is_some_and(|versions| {
            versions.all().any(|found| {
                let version = found.version;
                version.mod_revision == mod_revision
                    && version.sub == sub
                    && version.location.segment == segment
            })
        })
    };
    let mut changes = record.part.first_sub;
    let mut live = Vec::new();
    for op in &record.ops {
        let (key, value, mod_revision, sub) = match op {
            LogOp::Put { key, value, .. } => {
                changes += 1;
                (key, value, record.revision, changes - 1)
            }
            LogOp::Delete { .. } => {
                changes += 1;
                continue;
            }
            LogOp::Moved { key, value, mod_revision, sub } => (key, value, *mod_revision, *sub),
            LogOp::Lease { .. }
            | LogOp::LeaseRevoke { .. }
            | LogOp::Compact { .. }
            | LogOp::Alarm { .. }
            | LogOp::Downgrade { .. }
            | LogOp::Member(_)
            | LogOp::MemberRemove { .. }
            | LogOp::Auth(_) => continue,
        };
        if is_live(key, mod_revision, sub) {
            let (key, value) = (key.clone(), value.clone());
            live.push(LogOp::Moved { key, value, mod_revision, sub });
        }
    }
    live
}
