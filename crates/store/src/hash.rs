//! Hashes, equal on replicas that are equal.

use crate::auth::encode_state;
use crate::codec::Encoder;
use crate::error::RequestError;
use crate::index::ValueRef;
use crate::state::State;
use crate::view::{Fetched, Wanted};

/// One step of hashing the keys: a chunk at a time, so that writers wait for no more than that.
#[derive(Debug)]
pub(crate) struct KeyHash {
    crc: u32,
    revision: i64,
    compact_revision: i64,
    after: Option<Box<[u8]>>,
}

/// What a step came to.
pub(crate) enum HashStep {
    /// Not at the end.
    More,
    /// The hash.
    Done(u32),
    /// Values to fetch; then the step is made again.
    Missing(Vec<Wanted>),
}

impl KeyHash {
    /// Of the keys as of `revision`, with their history from the compaction on.
    pub(crate) fn new(state: &State, revision: i64) -> Self {
        Self { crc: 0, revision, compact_revision: state.compact_revision, after: None }
    }

    /// Hashes the next chunk.
    ///
    /// # Errors
    /// [`RequestError::Compacted`] if history was compacted in the meantime.
    pub(crate) fn step(
        &mut self,
        state: &State,
        fetched: &Fetched,
    ) -> Result<HashStep, RequestError> {
        if state.compact_revision != self.compact_revision {
            return Err(RequestError::Compacted);
        }
        let Some(mut chunk) = state.index.some_after(self.after.as_deref()) else {
            return Ok(HashStep::Done(self.crc));
        };
        let mut missing = Vec::new();
        let mut crc = self.crc;
        for (key, versions) in chunk.clone() {
            let newest_compacted = versions
                .all()
                .filter(|found| found.version.mod_revision <= self.compact_revision)
                .last()
                .map(|found| found.version.mod_revision);
            for found in versions.all() {
                let version = found.version;
                // Whether a compaction has got as far as this key must not matter: what it would
                // drop is not hashed.
                let dropped = version.mod_revision <= self.compact_revision
                    && (version.is_tombstone() || Some(version.mod_revision) != newest_compacted);
                if dropped || version.mod_revision > self.revision {
                    continue;
                }
                let id = (version.mod_revision, version.sub);
                let cached = fetched.get(&id).or_else(|| state.unwritten.value(id));
                let value: &[u8] = match (found.value, cached) {
                    (ValueRef::Small(value), _) => value,
                    (ValueRef::Large(value), _) => value,
                    (ValueRef::Stored, _) if version.is_tombstone() => &[],
                    (ValueRef::Stored, Some(value)) => value,
                    (ValueRef::Stored, None) => {
                        missing.push(Wanted {
                            mod_revision: version.mod_revision,
                            sub: version.sub,
                            location: version.location,
                        });
                        continue;
                    }
                };
                crc = hash_bytes(crc, key);
                for number in [
                    version.mod_revision,
                    i64::from(version.sub),
                    version.create_revision,
                    version.version,
                    found.lease.0,
                ] {
                    crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
                }
                crc = hash_bytes(crc, value);
            }
        }
        if !missing.is_empty() {
            return Ok(HashStep::Missing(missing));
        }
        self.crc = crc;
        self.after = chunk.next_back().map(|(key, _)| key.into());
        Ok(HashStep::More)
    }
}

/// With the length, so that two strings cannot pass for one.
fn hash_bytes(crc: u32, bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc, &(bytes.len() as u64).to_le_bytes());
    crc32c::crc32c_append(crc, bytes)
}

/// Everything but the keys: leases with what is attached, alarms, members, users and roles,
/// revisions.
pub(crate) fn hash_tables(state: &State) -> u32 {
    let mut crc = 0;
    for number in [state.revision, state.compact_revision] {
        crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
    }
    for (id, lease) in &state.leases {
        for number in [id.0, lease.ttl, lease.remaining_ttl] {
            crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
        }
        for key in &lease.keys {
            crc = hash_bytes(crc, key);
        }
    }
    for alarm in &state.alarms {
        crc = hash_bytes(crc, format!("{alarm:?}").as_bytes());
    }
    for member in state.members.values() {
        crc = hash_bytes(crc, format!("{member:?}").as_bytes());
    }
    if let Some(target) = state.downgrade {
        crc = hash_bytes(crc, format!("{target:?}").as_bytes());
    }
    if !state.auth.is_pristine() {
        let mut e = Encoder::default();
        encode_state(&mut e, &state.auth);
        crc = hash_bytes(crc, &e.bytes);
    }
    crc
}
