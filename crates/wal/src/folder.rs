//! The folder that a node keeps everything in: locked, and marked with whose it is.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crc32c::crc32c;
use env::{Disk, DiskLock, OpenMode};

const NAME: &str = "identity";
const UNFINISHED_NAME: &str = "identity.tmp";
const MAGIC: [u8; 8] = *b"FLOTNODE";
const VERSION: u32 = 1;
const FILE_BYTES: usize = 32;

/// Whose folder it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: u64,
    /// The node in it.
    pub node_id: u64,
}

/// A data folder, held by this process as long as the value lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    identity: Identity,
    is_new: bool,
    _lock: Box<dyn DiskLock>,
}

/// Why a folder cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum FolderError {
    /// Another process uses it.
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// It belongs to another cluster or another node.
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Who asked.
        expected: Identity,
        /// Whose it is.
        found: Identity,
    },
    /// It was written by another version of the program.
    Version {
        /// The folder.
        path: PathBuf,
        /// The version of its format.
        found: u32,
    },
    /// The file that says whose it is, is damaged.
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The disk failed.
    Io(io::Error),
}

impl DataFolder {
    /// Opens the folder of a node, or makes it. Its files can be read by their owner alone.
    pub fn open(disk: &dyn Disk, path: &Path, expected: Identity) -> Result<Self, FolderError> {
        disk.create_dir_all(path)?;
        let lock = disk.lock(path).map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                FolderError::Locked { path: path.to_path_buf() }
            } else {
                FolderError::Io(error)
            }
        })?;
        let file = path.join(NAME);
        let is_new = !disk.exists(&file)?;
        if is_new {
            write(disk, path, expected)?;
        } else {
            let found = read(disk, &file)?;
            if found != expected {
                return Err(FolderError::Foreign { path: path.to_path_buf(), expected, found });
            }
            // A process that was killed may have renamed the file and not synced the folder.
            disk.sync_dir(path)?;
        }
        Ok(Self { path: path.to_path_buf(), identity: expected, is_new, _lock: lock })
    }

    /// Whose folder `path` is; `None` if nobody's yet. Takes no lock and changes nothing.
    pub fn peek(disk: &dyn Disk, path: &Path) -> Result<Option<Identity>, FolderError> {
        let file = path.join(NAME);
        if disk.exists(&file)? { read(disk, &file).map(Some) } else { Ok(None) }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether this call made it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}

/// The file gets its name when it is whole and durable, so it is never seen in half.
fn write(disk: &dyn Disk, folder: &Path, identity: Identity) -> io::Result<()> {
    let unfinished = folder.join(UNFINISHED_NAME);
    if disk.exists(&unfinished)? {
        disk.remove_file(&unfinished)?;
    }
    let mut bytes = [0; FILE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&identity.cluster_id.to_le_bytes());
    bytes[20..28].copy_from_slice(&identity.node_id.to_le_bytes());
    let checksum = crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&checksum.to_le_bytes());
    let file = disk.open(&unfinished, OpenMode::CreateNew)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_data()?;
    disk.rename(&unfinished, &folder.join(NAME))?;
    disk.sync_dir(folder)
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Identity, FolderError> {
    let damaged = || FolderError::Damaged { path: path.to_path_buf() };
    let file = disk.open(path, OpenMode::ReadOnly)?;
    if file.len_bytes()? != FILE_BYTES as u64 {
        return Err(damaged());
    }
    let mut bytes = [0; FILE_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    let number =
        |at: usize| bytes[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let word =
        |at: usize| bytes[at..at + 4].iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    if bytes[..8] != MAGIC || word(28) != crc32c(&bytes[..28]) {
        return Err(damaged());
    }
    match word(8) {
        VERSION => Ok(Identity { cluster_id: number(12), node_id: number(20) }),
        found => Err(FolderError::Version { path: path.to_path_buf(), found }),
    }
}

impl From<io::Error> for FolderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path } => {
                write!(f, "{} is in use by another process; stop it first", path.display())
            }
            Self::Foreign { path, expected, found } => write!(
                f,
                "{} belongs to node {:x} of cluster {:x}, and this is node {:x} of cluster {:x}; \
                 give each node a data folder of its own",
                path.display(),
                found.node_id,
                found.cluster_id,
                expected.node_id,
                expected.cluster_id
            ),
            Self::Version { path, found } => write!(
                f,
                "{} has format version {found}, and this program reads {VERSION}",
                path.display()
            ),
            Self::Damaged { path } => write!(
                f,
                "{} is damaged; restore the data folder or start the member empty",
                path.display()
            ),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FolderError {}
