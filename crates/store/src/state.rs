//! The replicated state, and what a log record does to it. Apply and recovery both go through
//! [`State::commit`], so that they cannot differ.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use raft::EntryId;
use seglog::{Position, Reader};

use crate::codec::{LogOp, LogRecord};
use crate::index::{Index, Location, Version, Versions};
use crate::request::{AlarmKind, AlarmMember, LeaseId, MemberAttributes};

/// The revision of a store that nothing was written to.
const FIRST_REVISION: i64 = 1;

impl Location {
    pub(crate) fn of(position: Position) -> Self {
        let segment = u32::try_from(position.segment)
            .expect("2^32 segments of a mebibyte and more are not written in a lifetime");
        Self { segment, offset: position.offset, len_bytes: position.len_bytes }
    }

    pub(crate) fn position(self) -> Position {
        Position {
            segment: u64::from(self.segment),
            offset: self.offset,
            len_bytes: self.len_bytes,
        }
    }
}

/// Where a part of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartLocation {
    pub(crate) location: Location,
    /// Operations in it.
    pub(crate) ops: usize,
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) ttl: i64,
    pub(crate) remaining_ttl: i64,
    pub(crate) keys: BTreeSet<Box<[u8]>>,
}

/// Where the records of the last revisions are, one per revision.
///
/// Invariant: the record of revision `first + n` is at `locations[n]`.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) first: i64,
    pub(crate) locations: VecDeque<Location>,
}

impl History {
    pub(crate) fn get(&self, revision: i64) -> Option<Location> {
        let at = usize::try_from(revision.checked_sub(self.first)?).ok()?;
        self.locations.get(at).copied()
    }

    fn end(&self) -> i64 {
        self.first + i64::try_from(self.locations.len()).expect("a length fits 63 bits")
    }

    /// Keeps `revision` and what is behind it.
    fn forget_below(&mut self, revision: i64) {
        let count = usize::try_from(revision.saturating_sub(self.first)).unwrap_or(0);
        let count = count.min(self.locations.len());
        self.locations.drain(..count);
        self.first = self.first.max(revision);
    }
}

/// Values that newer ones replaced not long ago: transactions, watchers and readers of a pinned
/// revision ask for these, and those of the running batch are not on disk yet.
#[derive(Debug, Default)]
pub(crate) struct RecentValues {
    values: BTreeMap<(i64, u32), Bytes>,
    bytes: usize,
}

impl RecentValues {
    const BYTES_MAX: usize = 8 << 20;
    /// What a value costs beside its bytes.
    const OVERHEAD_BYTES: usize = 64;

    pub(crate) fn get(&self, id: (i64, u32)) -> Option<&Bytes> {
        self.values.get(&id)
    }

    fn insert(&mut self, id: (i64, u32), value: Bytes) {
        self.bytes += value.len() + Self::OVERHEAD_BYTES;
        self.values.insert(id, value);
    }

    /// Makes room, but keeps what readers could not have from disk.
    pub(crate) fn trim(&mut self, written_revision: i64) {
        while self.bytes > Self::BYTES_MAX {
            match self.values.first_key_value() {
                Some((id, _)) if id.0 <= written_revision => {}
                _ => return,
            }
            if let Some((_, value)) = self.values.pop_first() {
                self.bytes -= value.len() + Self::OVERHEAD_BYTES;
            }
        }
    }
}

/// What a segment of the log is still good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentUse {
    /// Values ever put there.
    pub(crate) total: u64,
    /// Of these, values that some version in the index has.
    pub(crate) live: u64,
    /// The last revision with a record there: history while it is not compacted.
    pub(crate) last_revision: i64,
}

/// The state. Everything but `recent`, `segments`, `reader`, locations and what of the values is in
/// memory is the same on every replica that applied the same entries.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) applied: EntryId,
    pub(crate) revision: i64,
    /// −1 before the first compaction.
    pub(crate) compact_revision: i64,
    pub(crate) index: Index,
    pub(crate) history: History,
    pub(crate) leases: BTreeMap<LeaseId, Lease>,
    pub(crate) alarms: BTreeSet<AlarmMember>,
    pub(crate) members: BTreeMap<u64, MemberAttributes>,
    /// All records up to this revision can be read from disk.
    pub(crate) written_revision: i64,
    pub(crate) recent: RecentValues,
    pub(crate) segments: BTreeMap<u32, SegmentUse>,
    /// `None` only during recovery.
    pub(crate) reader: Option<Reader>,
    pub(crate) memory_budget_bytes: usize,
    /// Whether the records come from the log: then some may be in the state already.
    pub(crate) replaying: bool,
}

impl State {
    pub(crate) fn new(memory_budget_bytes: usize) -> Self {
        Self {
            applied: EntryId::default(),
            revision: FIRST_REVISION,
            compact_revision: -1,
            index: Index::default(),
            history: History { first: FIRST_REVISION + 1, locations: VecDeque::new() },
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
            members: BTreeMap::new(),
            written_revision: FIRST_REVISION,
            recent: RecentValues::default(),
            segments: BTreeMap::new(),
            reader: None,
            memory_budget_bytes,
            replaying: false,
        }
    }

    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone().expect("recovery is over before anybody reads")
    }

    pub(crate) fn has_alarm(&self, kind: AlarmKind) -> bool {
        self.alarms.iter().any(|alarm| alarm.alarm == kind)
    }

    /// Does what a record says. `parts` says how many of its operations are where.
    pub(crate) fn commit(&mut self, record: LogRecord, parts: &[PartLocation]) {
        self.applied = record.id;
        let mut sub = 0;
        let mut changes_keys = false;
        let locations = parts.iter().flat_map(|part| std::iter::repeat_n(part.location, part.ops));
        for (op, location) in record.ops.into_iter().zip(locations) {
            match op {
                LogOp::Put { key, value, lease, create_revision, version } => {
                    let mod_revision = record.revision;
                    let version = Version { mod_revision, create_revision, version, sub, location };
                    self.put(&key, version, lease, value);
                    sub += 1;
                    changes_keys = true;
                }
                LogOp::Delete { key } => {
                    self.delete(&key, record.revision, sub, location);
                    sub += 1;
                    changes_keys = true;
                }
                LogOp::Moved { key, value: _, mod_revision, sub } => {
                    self.relocate(&key, mod_revision, sub, location);
                }
                LogOp::Lease { id, ttl, remaining_ttl } => {
                    let lease = Lease { ttl, remaining_ttl, keys: BTreeSet::new() };
                    let lease = self.leases.entry(id).or_insert(lease);
                    (lease.ttl, lease.remaining_ttl) = (ttl, remaining_ttl);
                }
                LogOp::LeaseRevoke { id } => {
                    self.leases.remove(&id);
                }
                LogOp::Compact { revision } => {
                    self.compact_revision = self.compact_revision.max(revision);
                    self.history.forget_below(revision);
                }
                LogOp::Alarm { alarm, on: true } => {
                    self.alarms.insert(alarm);
                }
                LogOp::Alarm { alarm, on: false } => {
                    self.alarms.remove(&alarm);
                }
                LogOp::Member(member) => {
                    self.members.insert(member.id, member);
                }
                LogOp::MemberRemove { id } => {
                    self.members.remove(&id);
                }
            }
        }
        if changes_keys {
            self.made_revision(record.revision, parts);
        }
    }

    fn made_revision(&mut self, revision: i64, parts: &[PartLocation]) {
        for part in parts {
            let usage = self.segments.entry(part.location.segment).or_default();
            usage.last_revision = usage.last_revision.max(revision);
        }
        if self.replaying && revision <= self.revision {
            return;
        }
        assert_eq!(revision, self.revision + 1, "each change of keys makes the next revision");
        self.revision = revision;
        if revision >= self.history.first {
            if self.replaying && self.history.locations.is_empty() {
                // A compaction overtook the checkpoint: all before was forgotten.
                self.history.first = revision;
            }
            assert_eq!(revision, self.history.end(), "history has a record for each revision");
            self.history.locations.push_back(parts[0].location);
        }
    }

    fn put(&mut self, key: &Bytes, version: Version, lease: LeaseId, value: Bytes) {
        if self.is_known(key, version.mod_revision) {
            return;
        }
        let usage = self.segments.entry(version.location.segment).or_default();
        usage.total += 1;
        usage.live += u64::from(!self.replaying);
        let fits = self.index.memory_bytes() + value.len() <= self.memory_budget_bytes;
        // What is not on disk yet must be in memory.
        let value = (fits || !self.replaying).then_some(value);
        self.replace(key, version, lease, value);
    }

    fn delete(&mut self, key: &Bytes, mod_revision: i64, sub: u32, location: Location) {
        if self.is_known(key, mod_revision) {
            return;
        }
        let tombstone = Version { mod_revision, create_revision: 0, version: 0, sub, location };
        self.replace(key, tombstone, LeaseId::NONE, None);
    }

    /// Whether a replayed change is in the state already, by way of a checkpoint that was written
    /// while changes went on.
    fn is_known(&self, key: &[u8], mod_revision: i64) -> bool {
        self.replaying
            && self
                .index
                .get(key)
                .is_some_and(|versions| versions.latest.mod_revision >= mod_revision)
    }

    fn replace(&mut self, key: &Bytes, version: Version, lease: LeaseId, value: Option<Bytes>) {
        if self.replaying {
            self.index.push(key, version, lease, value);
            return;
        }
        let before = self.index.get(key).map(|versions| (versions.latest, versions.lease()));
        let old_value = self.index.push(key, version, lease, value);
        if let Some((old, old_lease)) = before {
            if let Some(old_value) = old_value {
                self.recent.insert((old.mod_revision, old.sub), old_value);
            }
            if old_lease != lease
                && let Some(old_lease) = self.leases.get_mut(&old_lease)
            {
                old_lease.keys.remove(key.as_ref());
            }
        }
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.insert(key.as_ref().into());
        }
    }

    fn relocate(&mut self, key: &[u8], mod_revision: i64, sub: u32, location: Location) {
        let segments = &mut self.segments;
        // At the end of a recovery everything is counted.
        let counts = u64::from(!self.replaying);
        self.index.update(key, |versions: &mut Versions| {
            let Some(version) = versions.version_mut(mod_revision) else { return };
            if version.sub != sub || version.is_tombstone() {
                return;
            }
            if let Some(usage) = segments.get_mut(&version.location.segment) {
                usage.live -= counts;
            }
            let usage = segments.entry(location.segment).or_default();
            usage.total += 1;
            usage.live += counts;
            version.location = location;
        });
    }

    /// Ends a recovery: counts what segments are good for and attaches keys to their leases, both
    /// by what the index says.
    pub(crate) fn finish_replay(&mut self) {
        self.replaying = false;
        self.written_revision = self.revision;
        self.segments.values_mut().for_each(|usage| usage.live = 0);
        self.leases.values_mut().for_each(|lease| lease.keys.clear());
        let mut after: Option<Box<[u8]>> = None;
        while let Some(mut chunk) = self.index.some_after(after.as_deref()) {
            for (key, versions) in chunk.clone() {
                for found in versions.all().filter(|found| !found.version.is_tombstone()) {
                    let segment = found.version.location.segment;
                    self.segments.entry(segment).or_default().live += 1;
                }
                if let Some(lease) = self.leases.get_mut(&versions.lease()) {
                    lease.keys.insert(key.into());
                }
            }
            after = chunk.next_back().map(|(key, _)| key.into());
        }
        for usage in self.segments.values_mut() {
            usage.total = usage.total.max(usage.live);
        }
    }
}
