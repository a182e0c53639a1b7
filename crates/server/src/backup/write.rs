//! Writes a backup.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{authpb, mvccpb};
use bytes::Bytes;
use env::{Disk, File, OpenMode};
use prost::Message;
use store::{AlarmKind, ExportedTables, ExportedVersion, RequestError};

use super::LeaseRecord;
use crate::api_error::ApiError;
use crate::bbolt::Database;
use crate::downgrade;
use crate::member::Member;
use crate::metrics::nanos_since;
use crate::service::auth::wire_permission;
use crate::translate::response::key_value;

/// Compactions may overtake the reading; each must come from a client, so this is a fault.
const ATTEMPTS: usize = 8;

/// A backup that is complete, in a file without a name: it is gone when nobody reads it any more.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) file: Arc<dyn File>,
    pub(crate) length: u64,
}

/// Why there is none.
enum Fault {
    Request(RequestError),
    Io(io::Error),
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes a backup of what this member has applied. Blocks as long as reading everything takes.
pub(crate) fn write(member: &Member) -> Result<Backup, ApiError> {
    for _ in 0..ATTEMPTS {
        let begun = member.clock.now();
        match attempt(member) {
            Ok(backup) => {
                member.metrics.times.backup.add(nanos_since(&*member.clock, begun));
                return Ok(backup);
            }
            Err(Fault::Request(RequestError::Compacted)) => {}
            Err(Fault::Request(error)) => return Err(error.into()),
            Err(Fault::Io(error)) => {
                tracing::warn!(%error, "no backup: its file could not be written");
                return Err(ApiError::Internal(
                    "flotilla: the file of the backup failed; see the log",
                ));
            }
        }
    }
    Err(RequestError::Compacted.into())
}

fn attempt(member: &Member) -> Result<Backup, Fault> {
    let file = nameless(&*member.disk, &member.data_dir, member.entropy.next_u64())?;
    let tables = member.store.export_tables();
    let mut database = Database::new(&*file);
    tables_before_keys(&mut database, &tables)?;
    let mut keys = database.bucket();
    member.store.export_versions(&tables, |version| {
        let (name, value) = record(version);
        database.put(&mut keys, &name, &value).map_err(Fault::Io)
    })?;
    database.finish_bucket("key", keys)?;
    tables_after_keys(&mut database, &tables, member)?;
    let length = database.finish()?;
    Ok(Backup { file, length })
}

/// Opens a file and takes its name away at once.
fn nameless(disk: &dyn Disk, dir: &Path, dice: u64) -> io::Result<Arc<dyn File>> {
    let path: PathBuf = dir.join(format!("backup-{dice:016x}.tmp"));
    let file = disk.open(&path, OpenMode::CreateNew)?;
    disk.remove_file(&path)?;
    Ok(file.into())
}

fn revision_name(main: i64, sub: u32) -> Vec<u8> {
    let mut name = main.to_be_bytes().to_vec();
    name.push(b'_');
    name.extend_from_slice(&i64::from(sub).to_be_bytes());
    name
}

/// One version as etcd keeps it.
fn record(version: ExportedVersion) -> (Vec<u8>, Vec<u8>) {
    let mut name = revision_name(version.kv.mod_revision, version.sub);
    if version.is_tombstone {
        name.push(b't');
        // etcd's has the key alone: the revision is in the name.
        let kv = mvccpb::KeyValue { key: version.kv.key, ..mvccpb::KeyValue::default() };
        return (name, kv.encode_to_vec());
    }
    (name, key_value(version.kv).encode_to_vec())
}

fn whole(
    database: &mut Database<'_>,
    name: &str,
    pairs: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
) -> io::Result<()> {
    let mut bucket = database.bucket();
    for (key, value) in pairs {
        database.put(&mut bucket, &key, &value)?;
    }
    database.finish_bucket(name, bucket)
}

fn tables_before_keys(database: &mut Database<'_>, tables: &ExportedTables) -> io::Result<()> {
    let mut alarms: Vec<_> = tables
        .alarms
        .iter()
        .map(|alarm| {
            let kind = match alarm.alarm {
                AlarmKind::NoSpace => api::etcdserverpb::AlarmType::Nospace,
                AlarmKind::Corrupt => api::etcdserverpb::AlarmType::Corrupt,
            };
            let wire =
                api::etcdserverpb::AlarmMember { member_id: alarm.member_id, alarm: kind.into() };
            (wire.encode_to_vec(), Vec::new())
        })
        .collect();
    alarms.sort();
    whole(database, "alarm", alarms)?;
    let enabled = vec![u8::from(tables.auth.enabled)];
    let revision = tables.auth.revision.to_be_bytes().to_vec();
    let auth = [(b"authEnabled".to_vec(), enabled), (b"authRevision".to_vec(), revision)];
    whole(database, "auth", auth)?;
    let roles = tables.roles.iter().map(|(name, permissions)| {
        let wire = authpb::Role {
            name: Bytes::copy_from_slice(name.as_bytes()),
            key_permission: permissions.iter().cloned().map(wire_permission).collect(),
        };
        (name.clone().into_bytes(), wire.encode_to_vec())
    });
    whole(database, "authRoles", roles)?;
    let users = tables.users.iter().map(|user| {
        let hash = user.password_hash.as_ref().map(|hash| hash.0.clone());
        let wire = authpb::User {
            name: Bytes::copy_from_slice(user.name.as_bytes()),
            roles: user.roles.clone(),
            options: Some(authpb::UserAddOptions { no_password: hash.is_none() }),
            password: hash.unwrap_or_default().into_bytes().into(),
        };
        (user.name.clone().into_bytes(), wire.encode_to_vec())
    });
    whole(database, "authUsers", users)?;
    let version = downgrade::version_text(tables.downgrade).into_bytes();
    whole(database, "cluster", [(b"clusterVersion".to_vec(), version)])
}

fn tables_after_keys(
    database: &mut Database<'_>,
    tables: &ExportedTables,
    member: &Member,
) -> io::Result<()> {
    let mut leases: Vec<_> = tables
        .leases
        .iter()
        .map(|lease| {
            let remaining_ttl =
                if lease.remaining_ttl < lease.ttl { lease.remaining_ttl } else { 0 };
            let record = LeaseRecord { id: lease.id.0, ttl: lease.ttl, remaining_ttl };
            (lease.id.0.to_be_bytes().to_vec(), record.encode_to_vec())
        })
        .collect();
    leases.sort();
    whole(database, "lease", leases)?;
    let mut members: Vec<_> = member
        .members()
        .into_iter()
        .map(|member| {
            let wire = serde_json::json!({
                "id": member.id,
                "peerURLs": member.peer_ur_ls,
                "name": member.name,
                "clientURLs": member.client_ur_ls,
            });
            (format!("{:x}", member.id).into_bytes(), wire.to_string().into_bytes())
        })
        .collect();
    members.sort();
    whole(database, "members", members)?;
    whole(database, "members_removed", [])?;
    let mut meta = vec![
        (b"consistent_index".to_vec(), tables.applied.index.0.to_be_bytes().to_vec()),
        (b"term".to_vec(), tables.applied.term.0.to_be_bytes().to_vec()),
    ];
    if tables.compact_revision > 0 {
        let compacted = revision_name(tables.compact_revision, 0);
        meta.push((b"finishedCompactRev".to_vec(), compacted.clone()));
        meta.push((b"scheduledCompactRev".to_vec(), compacted));
    }
    meta.sort();
    whole(database, "meta", meta)
}
