//! Where a snapshot from a peer lies until the state machine has it.
//!
//! `staging/<group>-<term>-<index>.part` while it comes, `.snapshot` once it is whole and synced.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use env::{Disk, File, OpenMode};
use raft::EntryId;
use wal::GroupId;

use crate::SnapshotSource;

/// The staging folder.
#[derive(Clone, Debug)]
pub(crate) struct Staging {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    check: SnapshotCheck,
}

/// Sees that a snapshot is as it was written.
pub(crate) type SnapshotCheck = fn(&mut dyn SnapshotSource) -> io::Result<()>;

impl Staging {
    /// Opens the folder and removes what `is_needed` does not claim.
    pub(crate) fn open_folder(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        is_needed: impl Fn(&str) -> bool,
    ) -> io::Result<Self> {
        disk.create_dir_all(&folder)?;
        for name in disk.list(&folder)? {
            if !is_needed(&name) {
                disk.remove_file(&folder.join(name))?;
            }
        }
        Ok(Self { disk, folder, check: |_| Ok(()) })
    }

    /// The same folder, where no snapshot counts as whole that this check refuses.
    pub(crate) fn checked_by(self, check: SnapshotCheck) -> Self {
        Self { check, ..self }
    }

    /// The name of a whole snapshot.
    pub(crate) fn name(group: GroupId, last: EntryId) -> String {
        format!("{:016x}-{:016x}-{:016x}.snapshot", group.0, last.term.0, last.index.0)
    }

    /// Begins a file for a snapshot that comes.
    pub(crate) fn begin(&self, group: GroupId, last: EntryId) -> io::Result<Box<dyn File>> {
        let path = self.part_path(group, last);
        if self.disk.exists(&path)? {
            self.disk.remove_file(&path)?;
        }
        self.disk.open(&path, OpenMode::CreateNew)
    }

    /// Checks a file that has come whole and makes it durable under its final name. Until both the
    /// bytes and the name are on disk nobody may be told that the snapshot is here.
    pub(crate) fn finish(&self, group: GroupId, last: EntryId, file: &dyn File) -> io::Result<()> {
        file.sync_data()?;
        let part = self.part_path(group, last);
        let file = self.disk.open(&part, OpenMode::ReadOnly)?;
        let len_bytes = file.len_bytes()?;
        (self.check)(&mut StagedSnapshot { file, last, len_bytes })?;
        self.disk.rename(&part, &self.folder.join(Self::name(group, last)))?;
        self.disk.sync_dir(&self.folder)
    }

    /// Gives up a file that did not come whole.
    pub(crate) fn abandon(&self, group: GroupId, last: EntryId) {
        // What cannot be removed now is removed at the next start.
        let _ = self.disk.remove_file(&self.part_path(group, last));
    }

    /// Opens a whole snapshot.
    pub(crate) fn open(&self, group: GroupId, last: EntryId) -> io::Result<StagedSnapshot> {
        let path = self.folder.join(Self::name(group, last));
        let file = self.disk.open(&path, OpenMode::ReadOnly)?;
        let len_bytes = file.len_bytes()?;
        Ok(StagedSnapshot { file, last, len_bytes })
    }

    /// Whether a whole snapshot is there.
    pub(crate) fn has(&self, group: GroupId, last: EntryId) -> io::Result<bool> {
        self.disk.exists(&self.folder.join(Self::name(group, last)))
    }

    /// Removes a snapshot that is installed.
    pub(crate) fn discard(&self, group: GroupId, last: EntryId) {
        // What cannot be removed now is removed at the next start.
        let _ = self.disk.remove_file(&self.folder.join(Self::name(group, last)));
    }

    fn part_path(&self, group: GroupId, last: EntryId) -> PathBuf {
        self.folder.join(Self::name(group, last)).with_extension("part")
    }
}

/// A whole snapshot on disk.
#[derive(Debug)]
pub(crate) struct StagedSnapshot {
    file: Box<dyn File>,
    last: EntryId,
    len_bytes: u64,
}

impl SnapshotSource for StagedSnapshot {
    fn last(&self) -> EntryId {
        self.last
    }

    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}
