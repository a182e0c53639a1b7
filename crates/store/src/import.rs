//! The whole state from a backup: the way back of `export`.
//!
//! What a compaction dropped is not in a backup, so revisions have gaps below it; from the
//! compacted revision on there are none. The new store is complete when its checkpoint is: before
//! that there is none in the folder.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::Disk;
use host::StateMachine;
use raft::EntryId;

use crate::auth::{AuthOp, Role, User};
use crate::codec::{LogOp, LogRecord, Part};
use crate::export::{ExportedTables, ExportedVersion};
use crate::machine::StoreMachine;
use crate::options::StoreOptions;
use crate::request::LeaseId;
use crate::state::{History, State};

impl StoreMachine {
    /// Makes the store of a backup in `dir`, which has none yet, and makes it durable. Versions
    /// come in order of revision and of place in it, as an export hands them over; alarms and
    /// members are left out, since they are those of the cluster that the backup was taken of.
    ///
    /// # Errors
    /// What the versions or the disk said; [`io::ErrorKind::InvalidData`] for a backup that
    /// contradicts itself, [`io::ErrorKind::AlreadyExists`] for a folder that has a store.
    pub fn import(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: StoreOptions,
        tables: &ExportedTables,
        versions: impl Iterator<Item = io::Result<ExportedVersion>>,
    ) -> io::Result<Self> {
        let (machine, _) = Self::open(disk, dir, options)?;
        if machine.applied() != EntryId::default() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let mut import = Import { machine, tables };
        import.add(FIRST_RECORD_REVISION, tables_ops(tables))?;
        import.add_versions(versions)?;
        import.finish()?;
        Ok(import.machine)
    }
}

/// The tables change no key, so they stand at the revision of an empty store.
const FIRST_RECORD_REVISION: i64 = 1;

struct Import<'a> {
    machine: StoreMachine,
    tables: &'a ExportedTables,
}

impl Import<'_> {
    fn add_versions(
        &mut self,
        versions: impl Iterator<Item = io::Result<ExportedVersion>>,
    ) -> io::Result<()> {
        let mut ops = Vec::new();
        let mut revision = FIRST_RECORD_REVISION;
        for version in versions {
            let version = version?;
            let next = version.kv.mod_revision;
            if next <= FIRST_RECORD_REVISION || next < revision || next > self.tables.revision {
                return Err(contradiction(next, "is out of order"));
            }
            if next != revision {
                self.add(revision, std::mem::take(&mut ops))?;
                revision = next;
            }
            // etcd 3.4 writes a key twice at one revision where a delete without end meets a put;
            // the last of them is what its readers see.
            ops.retain(|op| key_of(op) != Some(&version.kv.key));
            if version.is_tombstone && !self.has_key(&version.kv.key) {
                // What it deleted was compacted.
                continue;
            }
            ops.push(op_of(version));
        }
        self.add(revision, ops)
    }

    fn has_key(&self, key: &[u8]) -> bool {
        let state = self.machine.shared().state.read();
        state.index.get(key).is_some_and(|versions| !versions.latest.is_tombstone())
    }

    /// What happened at one revision.
    fn add(&mut self, revision: i64, ops: Vec<LogOp>) -> io::Result<()> {
        if ops.is_empty() && revision > FIRST_RECORD_REVISION {
            return Ok(());
        }
        let bytes = ops.iter().map(bytes_of).sum::<usize>();
        let record = LogRecord { id: self.tables.applied, revision, part: Part::WHOLE, ops };
        self.machine.append(record, bytes, |state, record| {
            let makes_revision = record.ops.iter().any(LogOp::changes_key);
            if makes_revision && revision != state.revision + 1 {
                skip_to(state, revision);
            }
        })
    }

    fn finish(&mut self) -> io::Result<()> {
        let ExportedTables { revision, compact_revision, applied, .. } = *self.tables;
        let last = self.machine.shared().state.read().revision;
        if last < revision {
            // The last changes were deletes that a compaction dropped, or the backup is to count on
            // from a later revision. History has a record for it that says nothing.
            let record = LogRecord { id: applied, revision, part: Part::WHOLE, ops: Vec::new() };
            let location = self.machine.append_empty(&record)?;
            let mut state = self.machine.shared().state.write();
            skip_to(&mut state, revision);
            state.revision = revision;
            state.history.locations.push_back(location);
        }
        if compact_revision > 0 {
            let op = LogOp::Compact { revision: compact_revision };
            let revision = self.machine.shared().state.read().revision;
            let record = LogRecord { id: applied, revision, part: Part::WHOLE, ops: vec![op] };
            self.machine.append(record, 64, |_, _| {})?;
        }
        self.machine.flush()?;
        self.machine.checkpoint()
    }
}

/// The next revision is this, and there is no history before it. Nobody reads meanwhile what is not
/// written yet.
fn skip_to(state: &mut State, revision: i64) {
    drop(state.unwritten.take());
    state.revision = revision - 1;
    state.history = History { first: revision, locations: VecDeque::new() };
}

fn contradiction(revision: i64, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("revision {revision} {what}"))
}

fn key_of(op: &LogOp) -> Option<&Bytes> {
    match op {
        LogOp::Put { key, .. } | LogOp::Delete { key } => Some(key),
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

/// About the bytes that it takes in the log.
fn bytes_of(op: &LogOp) -> usize {
    const REST: usize = 128;
    let value = if let LogOp::Put { value, .. } = op { value.len() } else { 0 };
    REST + key_of(op).map_or(0, Bytes::len) + value
}

fn op_of(version: ExportedVersion) -> LogOp {
    let kv = version.kv;
    if version.is_tombstone {
        return LogOp::Delete { key: kv.key };
    }
    LogOp::Put {
        key: kv.key,
        value: kv.value,
        lease: kv.lease,
        create_revision: kv.create_revision,
        version: kv.version,
    }
}

fn tables_ops(tables: &ExportedTables) -> Vec<LogOp> {
    let mut ops: Vec<LogOp> = Vec::new();
    for lease in tables.leases.iter().filter(|lease| lease.id != LeaseId::NONE) {
        let (ttl, remaining_ttl) = (lease.ttl, lease.remaining_ttl);
        ops.push(LogOp::Lease { id: lease.id, ttl, remaining_ttl });
    }
    for (name, permissions) in &tables.roles {
        let permissions: BTreeMap<_, _> = permissions
            .iter()
            .map(|one| ((one.key.clone(), one.range_end.clone()), one.access))
            .collect();
        let role = Some(Role { permissions });
        ops.push(LogOp::Auth(AuthOp::Role { name: name.clone(), role }));
    }
    for user in &tables.users {
        let roles = user.roles.iter().cloned().collect();
        let value = Some(User { password_hash: user.password_hash.clone(), roles });
        ops.push(LogOp::Auth(AuthOp::User { name: user.name.clone(), user: value }));
    }
    if !tables.users.is_empty() || !tables.roles.is_empty() || tables.auth.enabled {
        ops.push(LogOp::Auth(AuthOp::Revision(tables.auth.revision)));
        ops.push(LogOp::Auth(AuthOp::Enabled(tables.auth.enabled)));
    }
    ops
}
