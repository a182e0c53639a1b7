//! A disk in memory that can crash, fill up, fail and rot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::file::{MemFile, MemLock};
use super::names::Names;
use crate::{Disk, DiskLock, File, OpenMode, SplitMix};

/// What [`Disk::free_bytes`] says of a disk without a limit.
const UNLIMITED_BYTES: u64 = 1 << 40;

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Disk::open`], for any mode.
    Open,
    /// [`File::read_exact_at`].
    Read,
    /// [`File::write_all_at`]. Half of the bytes arrive before the error.
    Write,
    /// [`File::allocate`] and [`File::set_len`].
    Allocate,
    /// [`File::sync_data`]. What was written since the last sync is then never made durable by a
    /// later one: systems forget that pages are dirty when writing them back fails.
    Sync,
    /// [`Disk::sync_dir`].
    SyncDir,
    /// [`Disk::rename`], [`Disk::remove_file`] and [`Disk::remove_dir_all`].
    Rename,
}

/// What has been asked of a disk since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Calls of [`File::write_all_at`].
    pub writes: u64,
    /// Bytes written by them.
    pub written_bytes: u64,
    /// Calls of [`File::sync_data`].
    pub syncs: u64,
    /// Calls of [`File::allocate`].
    pub allocations: u64,
    /// Writes that went to another place of their file.
    pub misdirected_writes: u64,
    /// Reads that got the bytes of another place.
    pub misdirected_reads: u64,
    /// Reads that saw flipped bits.
    pub rotten_reads: u64,
    /// Calls that failed since they were made to.
    pub errors: u64,
    /// Calls that failed since there was no space.
    pub refusals: u64,
}

/// A disk in memory. Clones are handles of the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    names: Names,
    pub(super) locks: BTreeSet<PathBuf>,
    /// Grows with each crash: handles of the process before are dead.
    pub(super) life: u64,
    pub(super) counts: DiskCounts,
    /// Calls until the failure (1 is the next), and what it says.
    faults: BTreeMap<Operation, (u64, io::ErrorKind)>,
    space_bytes: Option<u64>,
    /// The read that will get the bytes of another place.
    misdirected_read: Option<Misdirected>,
    /// The write that will go to another place.
    misdirected_write: Option<Misdirected>,
}

/// A call for a file below a folder that will go to the wrong place.
#[derive(Debug)]
struct Misdirected {
    dir: PathBuf,
    /// Calls until then; 1 is the next.
    left: u64,
}

impl DiskCounts {
    /// Of two disks together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            writes: self.writes + other.writes,
            written_bytes: self.written_bytes + other.written_bytes,
            syncs: self.syncs + other.syncs,
            allocations: self.allocations + other.allocations,
            misdirected_writes: self.misdirected_writes + other.misdirected_writes,
            misdirected_reads: self.misdirected_reads + other.misdirected_reads,
            rotten_reads: self.rotten_reads + other.rotten_reads,
            errors: self.errors + other.errors,
            refusals: self.refusals + other.refusals,
        }
    }
}

impl Misdirected {
    fn nth(dir: &Path, nth: u64) -> Self {
        assert!(nth > 0, "calls are counted from 1");
        Self { dir: dir.to_path_buf(), left: nth }
    }

    /// Counts a call; whether it is the one.
    fn meet(waits: &mut Option<Self>, path: &Path, length: usize) -> bool {
        let Some(it) = waits.as_mut().filter(|it| length > 0 && path.starts_with(&it.dir)) else {
            return false;
        };
        it.left -= 1;
        let is_now = it.left == 0;
        if is_now {
            *waits = None;
        }
        is_now
    }
}

impl MemDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine stops. Each 512-byte sector that was written and not synced is kept or lost as
    /// the dice fall, names that were not synced are kept up to some point in their order, and
    /// locks and open files of the dead process go.
    pub fn crash(&self, dice: &mut SplitMix) {
        self.state.lock().crash(Some(dice));
    }

    /// The same, and nothing that was not synced is left.
    pub fn crash_all_lost(&self) {
        self.state.lock().crash(None);
    }

    /// The process stops and the machine does not: nothing that was written is lost, but open
    /// files and locks go.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.life += 1;
        state.locks.clear();
    }

    /// Makes the `nth` call of `operation` from now on fail, once; 1 is the next.
    pub fn fail(&self, operation: Operation, nth: u64, kind: io::ErrorKind) {
        assert!(nth > 0, "calls are counted from 1");
        self.state.lock().faults.insert(operation, (nth, kind));
    }

    /// Takes back what [`Self::fail`] has set and that has not happened.
    pub fn clear_faults(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.misdirected_write = None;
    }

    /// From now on reads see the bits of `mask` flipped in one byte of a file, until the byte is
    /// written again or [`Self::mend_rot`] is called. Returns whether there is such a byte.
    pub fn rot(&self, path: &Path, offset: u64, mask: u8) -> bool {
        let Ok(inode) = self.state.lock().names.file(path) else { return false };
        let mut inode = inode.lock();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let is_there = offset < inode.bytes().len();
        if is_there {
            inode.rot(offset, mask);
        }
        is_there
    }

    /// The disk gives back what was written again.
    pub fn mend_rot(&self) {
        let mut state = self.state.lock();
        state.misdirected_read = None;
        for (_, inode) in state.names.files() {
            inode.lock().mend_rot();
        }
    }

    /// The `nth` read of files below `dir` from now on gets the bytes of another place of its file;
    /// 1 is the next.
    pub fn misdirect_read(&self, dir: &Path, nth: u64) {
        self.state.lock().misdirected_read = Some(Misdirected::nth(dir, nth));
    }

    /// The `nth` write to files below `dir` from now on goes to another place of its file, for
    /// good; 1 is the next.
    pub fn misdirect_write(&self, dir: &Path, nth: u64) {
        self.state.lock().misdirected_write = Some(Misdirected::nth(dir, nth));
    }

    /// The files of the disk, with their lengths in bytes.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let files = self.state.lock().names.files().into_iter();
        files.map(|(path, inode)| (path, inode.lock().bytes().len() as u64)).collect()
    }

    /// Limits the bytes of all files; growing beyond gives [`io::ErrorKind::StorageFull`].
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.state.lock().space_bytes = bytes;
    }

    /// Flips the bits of `mask` in one byte of a file, unnoticed by everyone.
    pub fn corrupt(&self, path: &Path, offset: u64, mask: u8) {
        let state = self.state.lock();
        let inode = state.names.file(path).expect("a test corrupts a file that exists");
        let offset = usize::try_from(offset).expect("a file in memory fits the address space");
        inode.lock().corrupt(offset, mask);
    }

    /// A file's bytes as reads would see them.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let inode = self.state.lock().names.file(path).ok()?;
        let bytes = inode.lock().bytes().to_vec();
        Some(bytes)
    }

    /// What has been asked of the disk so far.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        self.state.lock().counts
    }

    /// A disk of its own with what this one holds now, all of it durable: for trying many
    /// accidents on one state.
    #[must_use]
    pub fn fork(&self) -> Self {
        let names = self.state.lock().names.fork();
        Self { state: Arc::new(Mutex::new(State { names, ..State::default() })) }
    }
}

impl State {
    fn crash(&mut self, mut dice: Option<&mut SplitMix>) {
        for (_, inode) in self.names.files() {
            inode.lock().crash(dice.as_deref_mut());
        }
        self.names.crash(dice);
        self.locks.clear();
        self.faults.clear();
        self.life += 1;
    }

    /// Counts a call down to its failure.
    pub(super) fn meet_fault(&mut self, operation: Operation) -> io::Result<()> {
        let Some((left, kind)) = self.faults.get_mut(&operation) else { return Ok(()) };
        *left -= 1;
        if *left > 0 {
            return Ok(());
        }
        let kind = *kind;
        self.faults.remove(&operation);
        self.counts.errors += 1;
        Err(io::Error::new(kind, format!("{operation:?} was made to fail")))
    }

    /// Whether this read of so many bytes is the one that looks in the wrong place.
    pub(super) fn misdirects_read(&mut self, path: &Path, length: usize) -> bool {
        Misdirected::meet(&mut self.misdirected_read, path, length)
    }

    /// Whether this write of so many bytes is the one that goes to the wrong place.
    pub(super) fn misdirects_write(&mut self, path: &Path, length: usize) -> bool {
        let is_now = Misdirected::meet(&mut self.misdirected_write, path, length);
        self.counts.misdirected_writes += u64::from(is_now);
        is_now
    }

    pub(super) fn check_space(&mut self, growth: u64) -> io::Result<()> {
        match self.space_bytes {
            Some(limit) if growth > 0 && self.names.used_bytes() + growth > limit => {
                self.counts.refusals += 1;
                Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let mut state = self.state.lock();
        state.meet_fault(Operation::Open)?;
        let inode = match mode {
            OpenMode::CreateNew => state.names.create_file(path)?,
            OpenMode::ReadWrite | OpenMode::ReadOnly => state.names.file(path)?,
        };
        let writable = mode != OpenMode::ReadOnly;
        let life = state.life;
        let (state, path) = (Arc::clone(&self.state), path.to_path_buf());
        Ok(Box::new(MemFile { state, path, inode, life, writable }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state.lock().names.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.state.lock().names.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.state.lock().names.look_up(path).is_ok())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.meet_fault(Operation::Rename)?;
        state.names.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.meet_fault(Operation::Rename)?;
        state.names.file(path)?;
        state.names.remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.meet_fault(Operation::Rename)?;
        state.names.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.meet_fault(Operation::SyncDir)?;
        state.names.look_up(dir)?;
        state.names.sync_dir(dir);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state.lock();
        state.names.look_up(path)?;
        if !state.locks.insert(path.to_path_buf()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "the folder is locked"));
        }
        let life = state.life;
        Ok(Box::new(MemLock { state: Arc::clone(&self.state), path: path.to_path_buf(), life }))
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        let limit = state.space_bytes.unwrap_or(UNLIMITED_BYTES);
        Ok(limit.saturating_sub(state.names.used_bytes()))
    }
}

#[cfg(test)]
mod tests;
