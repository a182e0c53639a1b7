//! The writer.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crc32c::{crc32c, crc32c_append};
use env::{Disk, OpenMode, SplitMix};
use parking_lot::RwLock;

use crate::format::{
    RECORD_HEADER_BYTES, RecordHeader, RecordKind, SEGMENT_HEADER_BYTES, SegmentHeader,
    record_bytes,
};
use crate::reader::Shared;
use crate::recover::{End, Visit, recover};
use crate::segment::{Segment, file_name};
use crate::{OpenError, Options, Position, Reader, Recovery, Spares};

/// Appended records are written at the latest when this much waits.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// Size of the first segment of a log, unless all are smaller.
const FIRST_SEGMENT_BYTES: u32 = 4 << 20;
/// 4 MiB doubled this often is the largest that fits 32 bits.
const FIRST_DOUBLINGS_MAX: u32 = 9;

/// What is known of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u64,
    /// End of its records in the file.
    pub len_bytes: u32,
    /// Whether nothing more will be appended to it.
    pub sealed: bool,
}

/// A log with its one writer.
#[derive(Debug)]
pub struct SegmentLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    segments: Shared,
    spares: Spares,
    current: Arc<Segment>,
    /// Records that are not written yet; the first belongs at `end - buffer.len()`.
    buffer: Vec<u8>,
    /// End of the last record in the current segment. Invariant: a seal fits behind it.
    end: u32,
    /// Header checksum of the last record.
    chain: u32,
    /// End of what was synced in the current segment.
    durable: u32,
    /// End of the last record of the owner in the current segment.
    data_end: u32,
    /// The `durable` that the last record says.
    marked: u32,
    /// The error that ended the log.
    failed: Option<io::ErrorKind>,
}

impl SegmentLog {
    /// Opens the log in `dir`, or makes one if there is none. Calls `visit` for every record from
    /// `from` on (from the first one without it) in order. A torn tail is cut; damage is refused.
    ///
    /// The caller holds the folder's lock.
    pub fn open<E>(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        from: Option<Position>,
        visit: Visit<'_, E>,
    ) -> Result<(Self, Recovery), OpenError<E>> {
        assert!(options.record_bytes_max() > 0, "a segment of this size holds no record");
        disk.create_dir_all(dir)?;
        let names = disk.list(dir)?;
        let found = recover(&*disk, dir, &names, &options, from, visit)?;
        let spares = Spares::open(Arc::clone(&disk), dir.to_path_buf(), options, &names)?;
        disk.sync_dir(dir)?;
        let maker = Maker { disk: &*disk, dir, options, spares: &spares };
        let (current, end) = match (found.segments.last(), found.end) {
            (Some(last), Some(end)) if !end.sealed => (Arc::clone(last), end),
            (Some(last), Some(end)) => maker.make(last.header.number + 1, end)?,
            _ => maker.make(1, End { offset: 0, chain: 0, sealed: true, marked: 0 })?,
        };
        let mut segments: BTreeMap<u64, Arc<Segment>> =
            found.segments.into_iter().map(|segment| (segment.header.number, segment)).collect();
        segments.insert(current.header.number, Arc::clone(&current));
        let log = Self {
            dir: dir.to_path_buf(),
            options,
            segments: Arc::new(RwLock::new(segments)),
            spares,
            current,
            buffer: Vec::new(),
            end: end.offset,
            chain: end.chain,
            durable: end.offset,
            data_end: end.offset,
            marked: end.marked,
            failed: None,
            disk,
        };
        Ok((log, found.recovery))
    }

    /// Adds a record whose payload is `parts`, one behind another. It is in memory until
    /// [`Self::write`] or [`Self::sync`], or until much waits. A payload that is too large for a
    /// segment is `InvalidInput` and changes nothing; every other error is final.
    pub fn append(&mut self, parts: &[&[u8]]) -> io::Result<Position> {
        self.check()?;
        let len = parts.iter().try_fold(0_u32, |sum, part| {
            u32::try_from(part.len()).ok().and_then(|len| sum.checked_add(len))
        });
        let Some(len) = len.filter(|len| *len <= self.options.record_bytes_max()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the record does not fit a segment",
            ));
        };
        let total = record_bytes(len).expect("a record that fits a segment is below 4 GiB");
        // More than once only for a record that is too large for the small segments of a young log.
        while u64::from(self.end) + u64::from(total) + u64::from(RECORD_HEADER_BYTES)
            > u64::from(self.current.header.file_bytes)
        {
            self.roll()?;
        }
        let offset = self.end + RECORD_HEADER_BYTES;
        self.push(RecordKind::Data, len, parts);
        self.data_end = self.end;
        if self.buffer.len() >= BUFFER_BYTES_MAX {
            self.write()?;
        }
        Ok(Position { segment: self.current.header.number, offset, len_bytes: len })
    }

    fn push(&mut self, kind: RecordKind, len_bytes: u32, parts: &[&[u8]]) {
        let payload_checksum =
            parts.iter().fold(crc32c(&[]), |checksum, part| crc32c_append(checksum, part));
        let header = RecordHeader {
            len_bytes,
            kind,
            durable: self.durable,
            previous: self.chain,
            payload_checksum,
        };
        let (bytes, checksum) = header.encode(self.current.place(), self.end);
        let total = record_bytes(len_bytes).expect("the caller has checked that the record fits");
        let buffer_end = self.buffer.len() + total as usize;
        self.buffer.extend_from_slice(&bytes);
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
        self.buffer.resize(buffer_end, 0);
        self.end += total;
        self.chain = checksum;
        self.marked = self.durable;
    }

    /// Hands all records to the operating system, so that readers see them. They survive the death
    /// of the process, and not that of the machine.
    pub fn write(&mut self) -> io::Result<()> {
        self.check()?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        let len = u32::try_from(self.buffer.len()).expect("the buffer is below a segment's size");
        let written = self.current.file.write_all_at(&self.buffer, u64::from(self.end - len));
        self.guard(written)?;
        self.buffer.clear();
        self.current.written.store(self.end, Ordering::Release);
        Ok(())
    }

    /// Makes all records durable, with one sync.
    pub fn sync(&mut self) -> io::Result<()> {
        self.write()?;
        if self.durable < self.end {
            let synced = self.current.file.sync_data();
            self.guard(synced)?;
            self.durable = self.end;
        }
        Ok(())
    }

    /// For an idle moment: if everything is durable and no record says so, writes one that does.
    /// Without it the last records before an idle time could not be told from a torn tail if they
    /// rot. Not synced: what it says is true whenever it arrives.
    pub fn mark_durable(&mut self) -> io::Result<()> {
        self.check()?;
        let is_news = self.durable >= self.data_end && self.marked < self.data_end;
        let room = self.current.header.file_bytes - self.end;
        if !is_news || room < 2 * RECORD_HEADER_BYTES {
            return Ok(());
        }
        self.push(RecordKind::Mark, 0, &[]);
        self.write()
    }

    /// Ends the current segment and begins the next one.
    pub fn roll(&mut self) -> io::Result<()> {
        self.check()?;
        self.push(RecordKind::Seal, 0, &[]);
        // A segment is durable before the next one gets a byte; recovery relies on it.
        self.sync()?;
        let sealed =
            End { offset: self.end, chain: self.chain, sealed: true, marked: self.durable };
        let maker = Maker {
            disk: &*self.disk,
            dir: &self.dir,
            options: self.options,
            spares: &self.spares,
        };
        let made = maker.make(self.current.header.number + 1, sealed);
        let (current, end) = self.guard(made)?;
        self.segments.write().insert(current.header.number, Arc::clone(&current));
        self.current = current;
        self.end = end.offset;
        self.chain = end.chain;
        self.durable = end.offset;
        self.data_end = end.offset;
        self.marked = end.marked;
        Ok(())
    }

    /// A way to read that any thread may have.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { segments: Arc::clone(&self.segments) }
    }

    /// A way to make spare segments that any thread may have.
    #[must_use]
    pub fn spares(&self) -> Spares {
        self.spares.clone()
    }

    /// All segments, in order.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let current = self.current.header.number;
        let info = |(number, segment): (&u64, &Arc<Segment>)| SegmentInfo {
            number: *number,
            len_bytes: if *number == current { self.end } else { segment.written() },
            sealed: *number != current,
        };
        self.segments.read().iter().map(info).collect()
    }

    /// Gives up a sealed segment. Its file is recycled, or removed when enough spares wait; a
    /// [`Pin`](crate::Pin) or a read under way defers that to a later call. Unless gaps are
    /// allowed, segments are released from the front.
    pub fn release(&mut self, number: u64) -> io::Result<()> {
        self.check()?;
        let segment = {
            let mut segments = self.segments.write();
            assert!(number < self.current.header.number, "the segment being written is needed");
            let first = segments.keys().next().copied();
            assert!(
                self.options.gaps_allowed || first == Some(number),
                "segment {number} was released before {first:?}, which would leave a gap"
            );
            segments.remove(&number)
        };
        if let Some(segment) = segment {
            self.spares.retire(segment);
        }
        self.spares.reap()
    }

    /// Where the next record's payload will be, unless it goes to the next segment.
    #[must_use]
    pub fn end(&self) -> Position {
        Position {
            segment: self.current.header.number,
            offset: self.end + RECORD_HEADER_BYTES,
            len_bytes: 0,
        }
    }

    /// Everything before this position is durable.
    #[must_use]
    pub fn durable_end(&self) -> Position {
        Position { offset: self.durable + RECORD_HEADER_BYTES, ..self.end() }
    }

    /// The error that ended the log, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<io::ErrorKind> {
        self.failed
    }

    fn check(&self) -> io::Result<()> {
        match self.failed {
            None => Ok(()),
            Some(kind) => Err(io::Error::new(kind, "the log has failed before and is closed")),
        }
    }

    fn guard<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.failed = Some(error.kind());
        }
        result
    }
}

/// Makes segments.
struct Maker<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    options: Options,
    spares: &'a Spares,
}

impl Maker<'_> {
    /// The first segments of a log are small and double from one to the next: a log begins at once,
    /// and one that nobody prepares spares for never waits for much at a time.
    fn fresh_bytes(&self, number: u64) -> u32 {
        let doublings = u32::try_from(number - 1).unwrap_or(u32::MAX).min(FIRST_DOUBLINGS_MAX);
        self.options.segment_bytes.min(FIRST_SEGMENT_BYTES << doublings)
    }

    /// The header is on the disk before the file gets its name, and the name before the first
    /// record: a file with a segment's name has a good header, always.
    fn make(&self, number: u64, previous: End) -> io::Result<(Arc<Segment>, End)> {
        let spare = self.spares.take(self.fresh_bytes(number))?;
        let file = self.disk.open(&spare, OpenMode::ReadWrite)?;
        let file_bytes =
            u32::try_from(file.len_bytes()?).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut dice = SplitMix::new(
            self.options.identity ^ number.rotate_left(32) ^ u64::from(previous.chain),
        );
        let header = SegmentHeader {
            file_bytes,
            number,
            salt: dice.next_u64(),
            identity: self.options.identity,
            previous_end: previous.offset,
            previous_checksum: previous.chain,
        };
        file.write_all_at(&header.encode(), 0)?;
        file.sync_data()?;
        let path = self.dir.join(file_name(number));
        self.disk.rename(&spare, &path)?;
        self.disk.sync_dir(self.dir)?;
        let written = AtomicU32::new(SEGMENT_HEADER_BYTES);
        let segment = Arc::new(Segment { header, path, file, written });
        let end = End {
            offset: SEGMENT_HEADER_BYTES,
            chain: header.checksum(),
            sealed: false,
            marked: SEGMENT_HEADER_BYTES,
        };
        Ok((segment, end))
    }
}
