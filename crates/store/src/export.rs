//! The whole state as of one moment, for a backup: keys with all the history that can be read, in
//! the order of revisions, and the tables.
//!
//! Reading goes on in small steps while others write. What is written meanwhile is of later
//! revisions and left out; a compaction that overtakes ends the export, and it is begun anew.

use bytes::Bytes;
use raft::EntryId;

use crate::auth::{AuthStatus, PasswordHash, Permission};
use crate::error::RequestError;
use crate::index::Versions;
use crate::request::{AlarmMember, ClusterVersion, LeaseId, MemberAttributes};
use crate::response::KeyValue;
use crate::state::State;
use crate::store::{LeaseInfo, Store};
use crate::view::{Fetched, Stop, View};

/// Versions read under one lock.
const VERSIONS_PER_STEP: usize = 256;

/// A user with everything that it takes to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedUser {
    /// Its name.
    pub name: String,
    /// `None` for one who signs in by certificate alone.
    pub password_hash: Option<PasswordHash>,
    /// Its roles, in order.
    pub roles: Vec<String>,
}

/// Everything but the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedTables {
    /// The revision of the export.
    pub revision: i64,
    /// The compacted revision; −1 if there was no compaction.
    pub compact_revision: i64,
    /// The last entry applied.
    pub applied: EntryId,
    /// Leases, in order of id.
    pub leases: Vec<LeaseInfo>,
    /// Alarms that are on.
    pub alarms: Vec<AlarmMember>,
    /// The version that a downgrade is under way to.
    pub downgrade: Option<ClusterVersion>,
    /// The table of members.
    pub members: Vec<MemberAttributes>,
    /// Whether requests need a user.
    pub auth: AuthStatus,
    /// Users, in order.
    pub users: Vec<ExportedUser>,
    /// Roles with what they permit, in order.
    pub roles: Vec<(String, Vec<Permission>)>,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedVersion {
    /// Its place in its revision.
    pub sub: u32,
    /// The key after it; of a delete only key and mod revision.
    pub kv: KeyValue,
    /// Whether it is a delete.
    pub is_tombstone: bool,
}

/// Where a version is: in the order of an export.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    mod_revision: i64,
    sub: u32,
    key: Bytes,
    is_tombstone: bool,
}

impl Store {
    /// What an export begins with.
    #[must_use]
    pub fn export_tables(&self) -> ExportedTables {
        let users = self.users();
        let roles = self.roles();
        let state = self.shared.state.read();
        // Users and roles change seldom, and all that matters is that each is one that there was.
        let user = |name: String| {
            let (password_hash, roles) = state.auth.exported(&name)?;
            Some(ExportedUser { name, password_hash, roles })
        };
        let role = |name: String| {
            let permissions = state.auth.permissions(&name)?;
            Some((name, permissions))
        };
        ExportedTables {
            revision: state.revision,
            compact_revision: state.compact_revision,
            applied: state.applied,
            leases: state.leases.iter().map(|(id, lease)| LeaseInfo::of(*id, lease)).collect(),
            alarms: state.alarms.iter().copied().collect(),
            downgrade: state.downgrade,
            members: state.members.values().cloned().collect(),
            auth: state.auth.status(),
            users: users.into_iter().filter_map(user).collect(),
            roles: roles.into_iter().filter_map(role).collect(),
        }
    }

    /// Hands over every version that can be read, in order of revision. The tables are those that
    /// [`Store::export_tables`] has given.
    ///
    /// # Errors
    /// What `each` says; [`RequestError::Compacted`] if a compaction overtook.
    pub fn export_versions<E: From<RequestError>>(
        &self,
        tables: &ExportedTables,
        mut each: impl FnMut(ExportedVersion) -> Result<(), E>,
    ) -> Result<(), E> {
        let places = self.export_places(tables)?;
        for step in places.chunks(VERSIONS_PER_STEP) {
            let versions = self.shared.read_with(|state, fetched| {
                refuse_compacted(state, tables)?;
                all_of(step, |place| version(state, fetched, place))
            });
            versions?.into_iter().try_for_each(&mut each)?;
        }
        Ok(())
    }

    fn export_places(&self, tables: &ExportedTables) -> Result<Vec<Place>, RequestError> {
        let mut places = Vec::new();
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let state = self.shared.state.read();
            refuse_compacted(&state, tables)?;
            let Some(mut chunk) = state.index.some_after(after.as_deref()) else { break };
            for (key, versions) in chunk.clone() {
                places.extend(places_of(key, versions, tables));
            }
            after = chunk.next_back().map(|(key, _)| key.into());
        }
        places.sort_unstable();
        Ok(places)
    }
}

/// What of a key's versions is exported: not what a compaction dropped, or will, as the hash of the
/// keys has it.
fn places_of<'a>(
    key: &'a [u8],
    versions: &'a Versions,
    tables: &'a ExportedTables,
) -> impl Iterator<Item = Place> + 'a {
    let compact_revision = tables.compact_revision;
    let all = versions.all().map(|found| found.version.mod_revision);
    let newest_compacted = all.filter(|at| *at <= compact_revision).last();
    versions.all().filter_map(move |found| {
        let (at, is_tombstone) = (found.version.mod_revision, found.version.is_tombstone());
        let dropped = at <= compact_revision && (is_tombstone || Some(at) != newest_compacted);
        (!dropped && at <= tables.revision).then(|| Place {
            mod_revision: at,
            sub: found.version.sub,
            key: Bytes::copy_from_slice(key),
            is_tombstone,
        })
    })
}

fn refuse_compacted(state: &State, tables: &ExportedTables) -> Result<(), RequestError> {
    if state.compact_revision == tables.compact_revision {
        Ok(())
    } else {
        Err(RequestError::Compacted)
    }
}

/// Every version of a step, or all the values that are missing for it: attempts are few, and one
/// that asked for a single value each time would come to their end.
fn all_of(
    step: &[Place],
    mut version: impl FnMut(&Place) -> Result<ExportedVersion, Stop>,
) -> Result<Vec<ExportedVersion>, Stop> {
    let (mut versions, mut missing) = (Vec::new(), Vec::new());
    for place in step {
        match version(place) {
            Ok(found) => versions.push(found),
            Err(Stop::Missing(more)) => missing.extend(more),
            Err(refused @ Stop::Refused(_)) => return Err(refused),
        }
    }
    if missing.is_empty() { Ok(versions) } else { Err(Stop::Missing(missing)) }
}

fn version(state: &State, fetched: &Fetched, place: &Place) -> Result<ExportedVersion, Stop> {
    let Place { mod_revision, sub, key, is_tombstone } = place.clone();
    if is_tombstone {
        let kv = KeyValue { key, mod_revision, lease: LeaseId::NONE, ..KeyValue::default() };
        return Ok(ExportedVersion { sub, kv, is_tombstone });
    }
    let item = View { state, fetched }.get(&key, mod_revision).ok_or(RequestError::Compacted)?;
    Ok(ExportedVersion { sub, kv: item.to_kv()?, is_tombstone })
}
