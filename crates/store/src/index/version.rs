//! The versions of one key, as small as they can be: there are millions of these.

use bytes::Bytes;

use crate::request::LeaseId;

/// Where a record of the revision log is: a `seglog::Position` in twelve bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) len_bytes: u32,
}

/// One version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) mod_revision: i64,
    /// 0 for a tombstone.
    pub(crate) create_revision: i64,
    /// 0 for a tombstone.
    pub(crate) version: i64,
    /// The order of changes at one revision.
    pub(crate) sub: u32,
    /// The record that holds the value.
    pub(crate) location: Location,
}

impl Version {
    pub(crate) fn is_tombstone(&self) -> bool {
        self.version == 0
    }
}

/// Values of this length and above are shared with readers; smaller ones are copied, which costs
/// less than counting references and keeps them in 16 bytes.
const LARGE_BYTES: usize = 4096;

/// All versions of a key.
///
/// Invariant: `older` is in order of revision, all below `latest`.
#[derive(Debug)]
pub(crate) struct Versions {
    pub(crate) latest: Version,
    value: Option<Box<[u8]>>,
    extra: Option<Box<Extra>>,
}

#[derive(Debug, Default)]
struct Extra {
    lease: LeaseId,
    large: Option<Bytes>,
    older: Vec<(Version, LeaseId)>,
}

/// Where a value can be had.
#[derive(Clone, Debug)]
pub(crate) enum ValueRef<'a> {
    /// In memory, to be copied.
    Small(&'a [u8]),
    /// In memory, to be shared.
    Large(&'a Bytes),
    /// In the record at the version's location.
    Stored,
}

/// A version as a reader sees it.
#[derive(Clone, Debug)]
pub(crate) struct VersionRef<'a> {
    pub(crate) version: &'a Version,
    pub(crate) lease: LeaseId,
    pub(crate) value: ValueRef<'a>,
}

impl Versions {
    pub(crate) fn new(version: Version, lease: LeaseId, value: Option<&Bytes>) -> Self {
        let mut versions = Self { latest: version, value: None, extra: None };
        versions.set_lease(lease);
        versions.set_value(value);
        versions
    }

    pub(crate) fn lease(&self) -> LeaseId {
        self.extra.as_ref().map_or(LeaseId::NONE, |extra| extra.lease)
    }

    pub(crate) fn older(&self) -> &[(Version, LeaseId)] {
        self.extra.as_ref().map_or(&[], |extra| &extra.older)
    }

    pub(crate) fn value(&self) -> ValueRef<'_> {
        match (&self.value, self.extra.as_ref().and_then(|extra| extra.large.as_ref())) {
            (Some(value), _) => ValueRef::Small(value),
            (None, Some(value)) => ValueRef::Large(value),
            (None, None) => ValueRef::Stored,
        }
    }

    /// The latest version, also if it is a tombstone.
    pub(crate) fn latest_ref(&self) -> VersionRef<'_> {
        VersionRef { version: &self.latest, lease: self.lease(), value: self.value() }
    }

    /// The key as of `revision`, if it existed then.
    pub(crate) fn at(&self, revision: i64) -> Option<VersionRef<'_>> {
        let found = if self.latest.mod_revision <= revision {
            self.latest_ref()
        } else {
            let older = self.older();
            let behind = older.partition_point(|(version, _)| version.mod_revision <= revision);
            let (version, lease) = &older[behind.checked_sub(1)?];
            VersionRef { version, lease: *lease, value: ValueRef::Stored }
        };
        (!found.version.is_tombstone()).then_some(found)
    }

    /// Bytes of the value in memory.
    pub(crate) fn value_bytes(&self) -> usize {
        match self.value() {
            ValueRef::Small(value) => value.len(),
            ValueRef::Large(value) => value.len(),
            ValueRef::Stored => 0,
        }
    }

    /// Makes `version` the latest. The old value leaves memory here; it can be read from its
    /// record.
    pub(crate) fn push(&mut self, version: Version, lease: LeaseId, value: Option<&Bytes>) {
        assert!(
            version.mod_revision > self.latest.mod_revision,
            "a key changes once per revision and revisions rise: {version:?} after {:?}",
            self.latest
        );
        let old = (std::mem::replace(&mut self.latest, version), self.lease());
        let extra = self.extra.get_or_insert_default();
        extra.older.push(old);
        extra.lease = lease;
        self.set_value(value);
    }

    /// A key that a checkpoint has: versions from the oldest on, values on disk.
    pub(crate) fn from_checkpoint(mut versions: Vec<(Version, LeaseId)>) -> Option<Self> {
        let rising =
            versions.windows(2).all(|pair| pair[0].0.mod_revision < pair[1].0.mod_revision);
        let (latest, lease) = versions.pop().filter(|_| rising)?;
        let mut all = Self::new(latest, lease, None);
        if !versions.is_empty() {
            versions.shrink_to_fit();
            all.extra.get_or_insert_default().older = versions;
        }
        Some(all)
    }

    /// Puts the value into memory or, with `None`, out of it.
    ///
    /// It is copied: what it lies in may be a whole message.
    pub(crate) fn set_value(&mut self, value: Option<&Bytes>) {
        if let Some(extra) = &mut self.extra {
            extra.large = None;
        }
        match (value, &mut self.value) {
            (Some(value), _) if value.len() >= LARGE_BYTES => {
                self.value = None;
                self.extra.get_or_insert_default().large = Some(Bytes::copy_from_slice(value));
            }
            // Values of one key are often of one length.
            (Some(value), Some(old)) if old.len() == value.len() => old.copy_from_slice(value),
            (value, place) => *place = value.map(|value| value.as_ref().into()),
        }
    }

    fn set_lease(&mut self, lease: LeaseId) {
        if let Some(extra) = &mut self.extra {
            extra.lease = lease;
        } else if !lease.is_none() {
            self.extra = Some(Box::new(Extra { lease, ..Extra::default() }));
        }
    }

    /// Whether [`Versions::compact`] may find something now or later.
    pub(crate) fn has_history(&self) -> bool {
        self.latest.is_tombstone() || !self.older().is_empty()
    }

    /// Drops what cannot be read at `revision` or above: every version that has a successor at or
    /// below it, and a tombstone at or below it. Calls `dropped` for each. Returns whether the key
    /// is gone altogether.
    pub(crate) fn compact(&mut self, revision: i64, mut dropped: impl FnMut(&Version)) -> bool {
        let latest_mod = self.latest.mod_revision;
        if let Some(extra) = &mut self.extra {
            let older = &mut extra.older;
            let behind = older.partition_point(|(version, _)| version.mod_revision <= revision);
            let mut drop_count = behind;
            if behind > 0 && latest_mod > revision {
                // The newest at or below the revision is what a read there sees.
                drop_count -= usize::from(!older[behind - 1].0.is_tombstone());
            }
            older.drain(..drop_count).for_each(|(version, _)| dropped(&version));
            older.shrink_to_fit();
            if older.is_empty() && extra.lease.is_none() && extra.large.is_none() {
                self.extra = None;
            }
        }
        let gone = self.latest.is_tombstone() && latest_mod <= revision;
        if gone {
            assert!(self.older().is_empty(), "versions below a dropped tombstone are dropped");
            dropped(&self.latest);
        }
        gone
    }

    /// The version of that revision.
    pub(crate) fn version_mut(&mut self, mod_revision: i64) -> Option<&mut Version> {
        if self.latest.mod_revision == mod_revision {
            return Some(&mut self.latest);
        }
        let older = &mut self.extra.as_mut()?.older;
        let at = older.binary_search_by_key(&mod_revision, |(v, _)| v.mod_revision).ok()?;
        Some(&mut older[at].0)
    }

    /// All versions, the oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = VersionRef<'_>> {
        let older = self.older().iter().map(|(version, lease)| VersionRef {
            version,
            lease: *lease,
            value: ValueRef::Stored,
        });
        older.chain(std::iter::once(self.latest_ref()))
    }
}
