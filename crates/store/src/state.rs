//! The replicated state, and what a log record does to it. Apply and recovery both go through
//! [`State::commit`], so that they cannot differ.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use raft::EntryId;
use seglog::{Position, Reader};

use crate::auth::AuthState;
use crate::codec::{LogOp, LogRecord};
use crate::index::{Index, Location, Place, Version, Versions};
use crate::request::{AlarmKind, AlarmMember, ClusterVersion, LeaseId, MemberAttributes};
use crate::unwritten::Unwritten;

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

/// Where the parts of a record are; nearly always one, which then takes no allocation.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) first: PartLocation,
    rest: Vec<PartLocation>,
}

impl Parts {
    pub(crate) fn new(first: PartLocation) -> Self {
        Self { first, rest: Vec::new() }
    }

    pub(crate) fn push(&mut self, part: PartLocation) {
        self.rest.push(part);
    }

    fn iter(&self) -> impl Iterator<Item = &PartLocation> {
        std::iter::once(&self.first).chain(&self.rest)
    }
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

/// The state. Everything but `unwritten`, `segments`, `reader`, locations and what of the values is
/// in memory is the same on every replica that applied the same entries.
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
    pub(crate) auth: AuthState,
    /// The version that a downgrade is under way to.
    pub(crate) downgrade: Option<ClusterVersion>,
    /// All records up to this revision can be read from disk; those behind it are `unwritten`.
    pub(crate) written_revision: i64,
    pub(crate) unwritten: Unwritten,
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
            auth: AuthState::default(),
            downgrade: None,
            written_revision: FIRST_REVISION,
            unwritten: Unwritten::default(),
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

    /// Does what a record says. `parts` says how many of its operations are where; `place`, where
    /// in the index the first of its keys is likely to be.
    pub(crate) fn commit(&mut self, record: LogRecord, parts: &Parts, place: Option<Place>) {
        self.applied = record.id;
        let mut sub = 0;
        let mut place = place;
        let locations = parts.iter().flat_map(|part| std::iter::repeat_n(part.location, part.ops));
        for (op, location) in record.ops.iter().zip(locations) {
            match op {
                LogOp::Put { key, value, lease, create_revision, version } => {
                    let (mod_revision, create_revision) = (record.revision, *create_revision);
                    let version = *version;
                    let version = Version { mod_revision, create_revision, version, sub, location };
                    self.put(key, version, *lease, value, place.take());
                    sub += 1;
                }
                LogOp::Delete { key } => {
                    self.delete(key, record.revision, sub, location);
                    sub += 1;
                }
                LogOp::Moved { key, value: _, mod_revision, sub } => {
                    self.relocate(key, *mod_revision, *sub, location);
                }
                LogOp::Lease { id, ttl, remaining_ttl } => {
                    let (ttl, remaining_ttl) = (*ttl, *remaining_ttl);
                    let lease = Lease { ttl, remaining_ttl, keys: BTreeSet::new() };
                    let lease = self.leases.entry(*id).or_insert(lease);
                    (lease.ttl, lease.remaining_ttl) = (ttl, remaining_ttl);
                }
                LogOp::LeaseRevoke { id } => {
                    self.leases.remove(id);
                }
                LogOp::Compact { revision } => {
                    self.compact_revision = self.compact_revision.max(*revision);
                    self.history.forget_below(*revision);
                }
                LogOp::Alarm { alarm, on: true } => {
                    self.alarms.insert(*alarm);
                }
                LogOp::Alarm { alarm, on: false } => {
                    self.alarms.remove(alarm);
                }
                LogOp::Member(member) => {
                    self.members.insert(member.id, member.clone());
                }
                LogOp::MemberRemove { id } => {
                    self.members.remove(id);
                }
                LogOp::Downgrade { target } => self.downgrade = *target,
                LogOp::Auth(op) => self.auth.commit(op),
            }
        }
        if sub > 0 {
            self.made_revision(record.revision, parts);
            if !self.replaying {
                self.unwritten.push(record);
            }
        }
    }

    /// All records up to now can be read from disk. What comes back is to be dropped without the
    /// lock.
    pub(crate) fn mark_written(&mut self) -> VecDeque<LogRecord> {
        self.written_revision = self.revision;
        self.unwritten.take()
    }

    fn made_revision(&mut self, revision: i64, parts: &Parts) {
        for part in parts.iter() {
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
            self.history.locations.push_back(parts.first.location);
        }
    }

    fn put(
        &mut self,
        key: &Bytes,
        version: Version,
        lease: LeaseId,
        value: &Bytes,
        place: Option<Place>,
    ) {
        if self.is_known(key, version.mod_revision) {
            return;
        }
        let usage = self.segments.entry(version.location.segment).or_default();
        usage.total += 1;
        usage.live += u64::from(!self.replaying);
        let fits = self.index.memory_bytes() + value.len() <= self.memory_budget_bytes;
        // Who writes a value may read it soon; a sweep puts out what does not fit.
        let value = (fits || !self.replaying).then_some(value);
        self.replace(key, version, lease, value, place);
    }

    fn delete(&mut self, key: &Bytes, mod_revision: i64, sub: u32, location: Location) {
        if self.is_known(key, mod_revision) {
            return;
        }
        let tombstone = Version { mod_revision, create_revision: 0, version: 0, sub, location };
        self.replace(key, tombstone, LeaseId::NONE, None, None);
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

    fn replace(
        &mut self,
        key: &Bytes,
        version: Version,
        lease: LeaseId,
        value: Option<&Bytes>,
        place: Option<Place>,
    ) {
        let old_lease = self.index.push(key, version, lease, value, place);
        if self.replaying || old_lease == lease {
            return;
        }
        if let Some(old_lease) = self.leases.get_mut(&old_lease) {
            old_lease.keys.remove(key.as_ref());
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
