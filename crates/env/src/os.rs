//! The real world: files of the operating system, its clocks and its dice.
//!
//! This is the one place that asks the machine for the time. It knows nothing of logs; what a
//! write order means is decided above.

use std::fs::{DirBuilder, File as StdFile, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FallocateFlags, FlockOperation};

use crate::{Clock, Disk, DiskLock, Entropy, File, Moment, OpenMode};

/// The name of the file in a folder that [`Disk::lock`] holds.
const LOCK_NAME: &str = "LOCK";

/// Zeros are written in pieces of this size.
const ZERO_CHUNK_BYTES: usize = 1 << 20;

/// The file system of this machine. Files are made with mode 0600 and folders with 0700.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

#[derive(Debug)]
struct OsFile(StdFile);

/// Held by keeping the file open: the kernel drops the lock with the last descriptor, also when
/// the process is killed.
#[derive(Debug)]
struct OsLock {
    _file: StdFile,
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::ReadWrite => options.write(true),
            OpenMode::ReadOnly => &mut options,
        };
        Ok(Box::new(OsFile(options.open(path)?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync_dir(parent.unwrap_or_else(|| Path::new("."))),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            // A name that is not UTF-8 is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        StdFile::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_NAME))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(OsLock { _file: file }))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl File for OsFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    /// `fallocate` alone leaves extents that are reserved but not written, and the first write to
    /// each then changes metadata, which fdatasync must wait for. So zeros are written once, here,
    /// away from the write path.
    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        let present = self.len_bytes()?;
        if len_bytes <= present {
            return self.0.set_len(len_bytes);
        }
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), present, len_bytes - present)
        {
            // Not every file system can reserve; the zeros below reserve as well.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        let zeros = vec![0_u8; ZERO_CHUNK_BYTES];
        let mut at = present;
        while at < len_bytes {
            let chunk = usize::try_from(len_bytes - at).unwrap_or(usize::MAX).min(zeros.len());
            self.0.write_all_at(&zeros[..chunk], at)?;
            at += chunk as u64;
        }
        // The zeros are in the page cache as folios as large as the writes were, and a later write
        // of a few bytes would send its whole folio to the disk: 1 MiB for a record of 300 bytes
        // (measured on ext4 of Linux 6.18). Out of the cache, they come back as single pages.
        self.0.sync_data()?;
        rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.0.set_len(len_bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl DiskLock for OsLock {}

/// The machine's clocks. [`Moment`] 0 is when the value was made; clones share it.
#[derive(Clone, Copy, Debug)]
pub struct OsClock {
    origin: Instant,
}

impl OsClock {
    /// A clock that starts at [`Moment`] 0.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else must ask")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for OsClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for OsClock {
    fn now(&self) -> Moment {
        Moment::default().after(self.origin.elapsed())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else must ask")]
    fn wall_ms(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What the thread that asks has computed since it began. Unlike [`OsClock`] it stands while others
/// have the processor, so it tells what something costs on a machine that is shared. To the
/// nanosecond, as far as the kernel knows.
#[must_use]
pub fn processor_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // The kernel counts up from zero.
    Duration::try_from(spent).unwrap_or_default()
}

/// What all threads of this process have computed since it began.
#[must_use]
pub fn process_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    // The kernel counts up from zero.
    Duration::try_from(spent).unwrap_or_default()
}

/// Whether users other than the owner may do anything with a file or folder.
///
/// # Errors
/// It is not there, or cannot be looked at.
pub fn is_open_to_others(path: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o077 != 0)
}

/// The kernel's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0_u8; 8];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(
                &mut bytes[filled..],
                rustix::rand::GetRandomFlags::empty(),
            ) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                // Without getrandom (Linux before 3.17) there is no service to offer: say so.
                Err(error) => panic!("the kernel gives no random numbers: {error}"),
            }
        }
        u64::from_le_bytes(bytes)
    }
}

/// Takes as many file descriptors as the system lets this process have, and tells how many. The
/// bound that a process begins with is low for the sake of old programs.
#[must_use]
pub fn raise_descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let reached = if setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    reached.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests;
