//! Reads a backup, ours or a real etcd's.

use std::io;
use std::path::Path;
use std::sync::Arc;

use api::{authpb, mvccpb};
use env::{Disk, File, OpenMode};
use prost::Message;
use raft::EntryId;
use sha2::{Digest, Sha256};
use store::{
    AuthStatus, ExportedTables, ExportedUser, ExportedVersion, KeyValue, LeaseId, LeaseInfo,
    PasswordHash, Permission,
};

use super::LeaseRecord;
use crate::bbolt::{Cursor, Reader};
use crate::service::auth::permission;

const HASH_BYTES: u64 = 32;
/// bbolt's files are whole pages, of 512 bytes at least; a hash behind one shows.
const PAGE_BYTES_MIN: u64 = 512;
const READ_BYTES: usize = 1 << 20;
/// `revision main │ '_' │ revision sub`, and `t` behind it for a delete.
const REVISION_BYTES: usize = 17;

/// What a backup is, as `etcdutl snapshot status` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupStatus {
    /// CRC-32C over buckets, keys and values.
    pub hash: u32,
    /// The newest revision.
    pub revision: i64,
    /// Keys of all buckets.
    pub key_count: u64,
    /// Bytes of the database.
    pub size_bytes: u64,
    /// The storage version that is written in it; empty before etcd 3.6.
    pub version: String,
    /// Whether a SHA-256 stands behind the database, which then is right.
    pub has_hash: bool,
}

/// A file that is open, and that is what its hash says.
pub(super) struct Backup {
    reader: Reader,
    size_bytes: u64,
    /// Of the database.
    pub(super) digest: [u8; 32],
    has_hash: bool,
}

pub(super) fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Backup {
    /// Opens a file and holds it against its hash. A file without one is taken only if it is not to
    /// be checked.
    pub(super) fn open(disk: &dyn Disk, path: &Path, skip_hash_check: bool) -> io::Result<Self> {
        let file: Arc<dyn File> = disk.open(path, OpenMode::ReadOnly)?.into();
        let length = file.len_bytes()?;
        let has_hash = length % PAGE_BYTES_MIN == HASH_BYTES;
        if !has_hash && !skip_hash_check {
            return Err(bad(
                "there is no SHA-256 behind it, so it was copied from a member's folder or is cut \
                 short; --skip-hash-check takes it as it is",
            ));
        }
        let size_bytes = if has_hash { length - HASH_BYTES } else { length };
        let digest = digest_of(&*file, size_bytes)?;
        if has_hash && !skip_hash_check {
            let mut expected = [0; 32];
            file.read_exact_at(&mut expected, size_bytes)?;
            if digest != expected {
                return Err(bad("it is not what its SHA-256 says: take another copy"));
            }
        }
        let reader = Reader::open(file, size_bytes)?;
        Ok(Self { reader, size_bytes, digest, has_hash })
    }

    pub(super) fn status(&self) -> io::Result<BackupStatus> {
        let (mut hash, mut key_count, mut revision) = (0, 0, 0);
        for bucket in self.reader.buckets() {
            let (name, value) = bucket?;
            hash = crc32c::crc32c_append(hash, &name);
            for pair in self.reader.inside(&value)? {
                let (key, value) = pair?;
                hash = crc32c::crc32c_append(hash, &key);
                hash = crc32c::crc32c_append(hash, &value);
                // etcd's tools count those of all buckets.
                key_count += 1;
                if name == b"key" {
                    revision = revision_of(&key)?.0;
                }
            }
        }
        let version = self.meta("storageVersion")?.unwrap_or_default();
        let version = String::from_utf8_lossy(&version).into_owned();
        let (size_bytes, has_hash) = (self.size_bytes, self.has_hash);
        Ok(BackupStatus { hash, revision, key_count, size_bytes, version, has_hash })
    }

    pub(super) fn has_hash(&self) -> bool {
        self.has_hash
    }

    fn meta(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        value_of(self.reader.bucket("meta")?, name)
    }

    /// Everything but the keys. `applied` is what the new cluster begins with.
    pub(super) fn tables(&self, applied: EntryId) -> io::Result<ExportedTables> {
        // A compaction that was under way counts as done: nobody can read below it.
        let mut compact_revision = -1;
        for name in ["finishedCompactRev", "scheduledCompactRev"] {
            if let Some(value) = self.meta(name)? {
                compact_revision = revision_of(&value)?.0.max(compact_revision);
            }
        }
        let mut revision = compact_revision.max(1);
        for pair in self.reader.bucket("key")? {
            revision = revision_of(&pair?.0)?.0.max(revision);
        }
        Ok(ExportedTables {
            revision,
            compact_revision,
            applied,
            leases: self.leases()?,
            alarms: Vec::new(),
            downgrade: None,
            members: Vec::new(),
            auth: self.auth_status()?,
            users: self.users()?,
            roles: self.roles()?,
        })
    }

    fn leases(&self) -> io::Result<Vec<LeaseInfo>> {
        let lease = |pair: io::Result<(Vec<u8>, Vec<u8>)>| {
            let record = LeaseRecord::decode(&*pair?.1).map_err(|_| bad("a lease is no lease"))?;
            let remaining_ttl = match record.remaining_ttl {
                0 => record.ttl,
                remaining => remaining,
            };
            Ok(LeaseInfo { id: LeaseId(record.id), ttl: record.ttl, remaining_ttl })
        };
        self.reader.bucket("lease")?.map(lease).collect()
    }

    fn auth_status(&self) -> io::Result<AuthStatus> {
        let value = |name| value_of(self.reader.bucket("auth")?, name);
        let enabled = value("authEnabled")?.is_some_and(|value| value == [1]);
        let revision = value("authRevision")?;
        let revision = revision.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
        Ok(AuthStatus { enabled, revision: revision.unwrap_or(0) })
    }

    fn users(&self) -> io::Result<Vec<ExportedUser>> {
        let user = |pair: io::Result<(Vec<u8>, Vec<u8>)>| {
            let wire = authpb::User::decode(&*pair?.1).map_err(|_| bad("a user is no user"))?;
            let hash = text(&wire.password)?;
            let password_hash = (!hash.is_empty()).then_some(PasswordHash(hash));
            Ok(ExportedUser { name: text(&wire.name)?, password_hash, roles: wire.roles })
        };
        self.reader.bucket("authUsers")?.map(user).collect()
    }

    fn roles(&self) -> io::Result<Vec<(String, Vec<Permission>)>> {
        let role = |pair: io::Result<(Vec<u8>, Vec<u8>)>| {
            let wire = authpb::Role::decode(&*pair?.1).map_err(|_| bad("a role is no role"))?;
            let permissions: Result<Vec<_>, _> =
                wire.key_permission.into_iter().map(permission).collect();
            let permissions = permissions.map_err(|_| bad("a role permits nothing known"))?;
            Ok((text(&wire.name)?, permissions))
        };
        self.reader.bucket("authRoles")?.map(role).collect()
    }

    /// The versions of keys in order of revision.
    pub(super) fn versions(
        &self,
    ) -> io::Result<impl Iterator<Item = io::Result<ExportedVersion>> + use<>> {
        Ok(self.reader.bucket("key")?.map(|pair| version(pair?)))
    }
}

fn digest_of(file: &dyn File, length: u64) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    while at < length {
        let left = usize::try_from(length - at).unwrap_or(usize::MAX).min(READ_BYTES);
        file.read_exact_at(&mut buffer[..left], at)?;
        hasher.update(&buffer[..left]);
        at += left as u64;
    }
    Ok(hasher.finalize().into())
}

fn value_of(mut bucket: Cursor, name: &str) -> io::Result<Option<Vec<u8>>> {
    let found = bucket.find(|pair| pair.as_ref().map_or(true, |(key, _)| key == name.as_bytes()));
    Ok(found.transpose()?.map(|(_, value)| value))
}

fn text(bytes: &[u8]) -> io::Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| bad("a name is no text"))
}

/// The main and sub revision that a name says.
fn revision_of(name: &[u8]) -> io::Result<(i64, i64)> {
    let number = |at: usize| {
        let bytes: Option<[u8; 8]> = name.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(i64::from_be_bytes).ok_or_else(|| bad("a revision is no revision"))
    };
    Ok((number(0)?, number(9)?))
}

fn version((name, value): (Vec<u8>, Vec<u8>)) -> io::Result<ExportedVersion> {
    let (main, sub) = revision_of(&name)?;
    let sub = u32::try_from(sub).map_err(|_| bad("a revision is no revision"))?;
    let is_tombstone = match &name[REVISION_BYTES..] {
        [] => false,
        [b't'] => true,
        _ => return Err(bad("a revision is no revision")),
    };
    let wire = mvccpb::KeyValue::decode(&*value).map_err(|_| bad("a key is no key"))?;
    let kv = KeyValue {
        key: wire.key,
        value: if is_tombstone { bytes::Bytes::new() } else { wire.value },
        create_revision: if is_tombstone { 0 } else { wire.create_revision },
        mod_revision: main,
        version: if is_tombstone { 0 } else { wire.version },
        lease: if is_tombstone { LeaseId::NONE } else { LeaseId(wire.lease) },
    };
    if kv.key.is_empty() || (!is_tombstone && wire.mod_revision != main) {
        return Err(bad("a key does not fit its revision"));
    }
    Ok(ExportedVersion { sub, kv, is_tombstone })
}
