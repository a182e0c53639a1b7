//! Files that wait to become segments: fresh ones, and released ones that nobody reads any more.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use env::{Disk, OpenMode};
use parking_lot::Mutex;

use crate::Options;
use crate::segment::Segment;

const SPARE_END: &str = ".spare";
const UNFINISHED_END: &str = ".tmp";

/// The spare segments of a log, for a thread that prepares them ahead of need. Clones share them.
#[derive(Clone, Debug)]
pub struct Spares {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    ready: Mutex<Ready>,
    /// Released segments in the order of their release. The lock is held while one is renamed or
    /// removed, so that this happens in order.
    retired: Mutex<VecDeque<Arc<Segment>>>,
    /// Held while a fresh file is made, so that two threads do not make one each.
    making: Mutex<()>,
}

#[derive(Debug, Default)]
struct Ready {
    paths: Vec<PathBuf>,
    names_used: u64,
}

impl Spares {
    /// Takes stock of the spare files in a folder. Unfinished, surplus and odd-sized ones go.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: Options,
        names: &[String],
    ) -> io::Result<Self> {
        let mut ready = Ready::default();
        for name in names {
            let path = dir.join(name);
            if let Some(digits) = name.strip_suffix(SPARE_END) {
                let number = u64::from_str_radix(digits, 16).unwrap_or(0);
                ready.names_used = ready.names_used.max(number);
                let len = disk.open(&path, OpenMode::ReadOnly)?.len_bytes()?;
                let fits = len == u64::from(options.segment_bytes);
                if fits && ready.paths.len() < options.spare_segments_max {
                    ready.paths.push(path);
                } else {
                    disk.remove_file(&path)?;
                }
            } else if name.ends_with(UNFINISHED_END) {
                disk.remove_file(&path)?;
            }
        }
        let inner = Inner {
            disk,
            dir,
            options,
            ready: Mutex::new(ready),
            retired: Mutex::new(VecDeque::new()),
            making: Mutex::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes a spare segment if there is none; says whether it did. Writing the zeros of a fresh
    /// file takes long, so call this from an idle moment or another thread. A failure (a full disk)
    /// leaves nothing behind and hurts nobody.
    pub fn prepare(&self) -> io::Result<bool> {
        let _making = self.inner.making.lock();
        self.reap()?;
        if !self.inner.ready.lock().paths.is_empty() {
            return Ok(false);
        }
        let path = self.make(self.inner.options.segment_bytes)?;
        self.inner.ready.lock().paths.push(path);
        Ok(true)
    }

    /// How many spare segments wait.
    #[must_use]
    pub fn ready_count(&self) -> usize {
        self.inner.ready.lock().paths.len()
    }

    /// A file for the next segment: a spare, or a fresh one of `fresh_bytes` if there is none.
    pub(crate) fn take(&self, fresh_bytes: u32) -> io::Result<PathBuf> {
        if let Some(path) = self.inner.ready.lock().paths.pop() {
            return Ok(path);
        }
        // Somebody may be making one just now; that is quicker than to begin another.
        let _making = self.inner.making.lock();
        if let Some(path) = self.inner.ready.lock().paths.pop() {
            return Ok(path);
        }
        self.make(fresh_bytes)
    }

    fn make(&self, len_bytes: u32) -> io::Result<PathBuf> {
        let inner = &*self.inner;
        let path = self.new_name();
        let unfinished = path.with_extension(&UNFINISHED_END[1..]);
        let file = inner.disk.open(&unfinished, OpenMode::CreateNew)?;
        let made = file
            .allocate(u64::from(len_bytes))
            .and_then(|()| file.sync_data())
            .and_then(|()| inner.disk.rename(&unfinished, &path))
            .and_then(|()| inner.disk.sync_dir(&inner.dir));
        if let Err(error) = made {
            // The first error is the one to report; what cannot be removed goes at the next open.
            let _ = inner.disk.remove_file(&unfinished);
            return Err(error);
        }
        Ok(path)
    }

    fn new_name(&self) -> PathBuf {
        let mut ready = self.inner.ready.lock();
        ready.names_used += 1;
        self.inner.dir.join(format!("{:016x}{SPARE_END}", ready.names_used))
    }

    /// Hands over a segment that no new reader can reach.
    pub(crate) fn retire(&self, segment: Arc<Segment>) {
        self.inner.retired.lock().push_back(segment);
    }

    /// Recycles or removes the retired segments that nobody holds.
    pub(crate) fn reap(&self) -> io::Result<()> {
        let mut retired = self.inner.retired.lock();
        let mut at = 0;
        while let Some(segment) = retired.get(at) {
            if Arc::strong_count(segment) == 1 {
                self.recycle(segment)?;
                retired.remove(at);
            } else if self.inner.options.gaps_allowed {
                at += 1;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Each file is renamed or removed durably before the next: a crash must not leave a gap, and
    /// a file that is reused must not come back under its old name.
    fn recycle(&self, segment: &Segment) -> io::Result<()> {
        let inner = &*self.inner;
        let fits = segment.header.file_bytes == inner.options.segment_bytes;
        if fits && self.ready_count() < inner.options.spare_segments_max {
            let path = self.new_name();
            inner.disk.rename(&segment.path, &path)?;
            inner.disk.sync_dir(&inner.dir)?;
            inner.ready.lock().paths.push(path);
            Ok(())
        } else {
            inner.disk.remove_file(&segment.path)?;
            inner.disk.sync_dir(&inner.dir)
        }
    }
}
