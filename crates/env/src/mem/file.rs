//! An open file and a lock of a [`MemDisk`](super::MemDisk), both of one life of its machine.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::Operation;
use super::disk::State;
use super::inode::Inode;
use crate::{DiskLock, File};

/// How far from its place a misdirected call looks or writes.
const MISDIRECTED_BYTES: usize = 512;

#[derive(Debug)]
pub(super) struct MemFile {
    pub(super) state: Arc<Mutex<State>>,
    /// The name that it was opened by.
    pub(super) path: PathBuf,
    pub(super) inode: Arc<Mutex<Inode>>,
    pub(super) life: u64,
    pub(super) writable: bool,
}

#[derive(Debug)]
pub(super) struct MemLock {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) path: PathBuf,
    pub(super) life: u64,
}

impl MemFile {
    /// The world's lock, unless the machine has crashed since the file was opened.
    fn enter(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.life == self.life {
            Ok(state)
        } else {
            Err(io::Error::other("the process that opened this file is dead"))
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading"))
        }
    }

    fn len(&self) -> u64 {
        self.inode.lock().bytes().len() as u64
    }
}

impl File for MemFile {
    fn len_bytes(&self) -> io::Result<u64> {
        let _state = self.enter()?;
        Ok(self.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.enter()?;
        state.meet_fault(Operation::Read)?;
        let mut start = usize::try_from(offset).unwrap_or(usize::MAX);
        if state.misdirects_read(&self.path, buffer.len()) && start >= MISDIRECTED_BYTES {
            start -= MISDIRECTED_BYTES;
            state.counts.misdirected_reads += 1;
        }
        match self.inode.lock().read(start, buffer) {
            Some(flipped) => {
                state.counts.rotten_reads += u64::from(flipped > 0);
                Ok(())
            }
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "read behind the end")),
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.enter()?;
        let mut at = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if let Err(error) = state.meet_fault(Operation::Write) {
            self.inode.lock().write(&bytes[..bytes.len() / 2], at);
            return Err(error);
        }
        state.check_space((offset + bytes.len() as u64).saturating_sub(self.len()))?;
        if state.misdirects_write(&self.path, bytes.len()) {
            at = at.checked_sub(MISDIRECTED_BYTES).unwrap_or(at + MISDIRECTED_BYTES);
        }
        self.inode.lock().write(bytes, at);
        state.counts.writes += 1;
        state.counts.written_bytes += bytes.len() as u64;
        Ok(())
    }

    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.enter()?;
        state.counts.allocations += 1;
        state.meet_fault(Operation::Allocate)?;
        state.check_space(len_bytes.saturating_sub(self.len()))?;
        let len = usize::try_from(len_bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.inode.lock().set_len(len);
        Ok(())
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.allocate(len_bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.enter()?;
        state.counts.syncs += 1;
        if let Err(error) = state.meet_fault(Operation::Sync) {
            self.inode.lock().fail_sync();
            return Err(error);
        }
        self.inode.lock().sync();
        Ok(())
    }
}

impl DiskLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        // After a crash the lock may already be another process's.
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}
