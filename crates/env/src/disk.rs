//! Files, as much of them as a log needs. All calls block; the caller chooses its thread.

use std::fmt::Debug;
use std::io;
use std::path::Path;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Make a new file; an error if there is one.
    CreateNew,
    /// Read and write a file that exists.
    ReadWrite,
    /// Read a file that exists.
    ReadOnly,
}

/// A file system. Directory entries are durable only after [`Disk::sync_dir`]; bytes only after
/// [`File::sync_data`].
pub trait Disk: Send + Sync + Debug {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>>;
    /// Makes a directory and those above it, readable by the owner alone. They are durable when
    /// this returns.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Whether a file or a directory of this name exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Renames a file or a directory, replacing a file of the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the one lock of a folder, for as long as the value lives;
    /// [`io::ErrorKind::WouldBlock`] if another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
    /// Bytes that may still be written to the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file. Shared by readers and one writer.
pub trait File: Send + Sync + Debug {
    /// Length in bytes.
    fn len_bytes(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset`; [`io::ErrorKind::UnexpectedEof`] behind the end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Sets the length. Space behind the present end is reserved and zeroed, so that later writes
    /// below `len_bytes` neither fail for space nor change the file's metadata; bytes that the file
    /// has already stay.
    fn allocate(&self, len_bytes: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, len_bytes: u64) -> io::Result<()>;
    /// Makes the bytes durable. An error is final: what was written before it may be gone, and a
    /// second call that succeeds proves nothing.
    fn sync_data(&self) -> io::Result<()>;
}

/// Held while a folder is in use.
pub trait DiskLock: Send + Sync + Debug {}
