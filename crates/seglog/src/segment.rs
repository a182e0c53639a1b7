//! One segment file, and the walk over its records.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crc32c::crc32c;
use env::{Disk, File, OpenMode};

use crate::error::{Damage, DamageKind};
use crate::format::{
    ALIGNMENT, HeaderFault, Place, RECORD_HEADER_BYTES, RecordHeader, RecordKind,
    SEGMENT_HEADER_BYTES, SegmentHeader, record_bytes,
};
use crate::{OpenError, Position};

const NAME_END: &str = ".seg";
/// A walk reads this much at once.
const WALK_CHUNK_BYTES: usize = 1 << 20;

/// A segment file. Readers hold it, and as long as one does it is not recycled.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn File>,
    /// End of the records that were written, for readers.
    pub(crate) written: AtomicU32,
}

/// The name of the file of segment `number`.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:016x}{NAME_END}")
}

/// The number in a name, if it is a segment's.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(NAME_END)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

impl Segment {
    pub(crate) fn place(&self) -> Place {
        Place { salt: self.header.salt, number: self.header.number }
    }

    pub(crate) fn damage(&self, offset: u32, kind: DamageKind) -> Damage {
        Damage { path: self.path.clone(), offset: u64::from(offset), kind }
    }

    pub(crate) fn written(&self) -> u32 {
        self.written.load(Ordering::Acquire)
    }

    /// Opens segment `number` and checks its header.
    pub(crate) fn open<E>(
        disk: &dyn Disk,
        dir: &Path,
        number: u64,
        identity: u64,
    ) -> Result<Self, OpenError<E>> {
        let path = dir.join(file_name(number));
        let damage = |kind| Damage { path: path.clone(), offset: 0, kind };
        let file = disk.open(&path, OpenMode::ReadWrite)?;
        let len = file.len_bytes()?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        if len < bytes.len() as u64 {
            let recorded = bytes.len() as u64;
            return Err(damage(DamageKind::Short { recorded, found: len }).into());
        }
        file.read_exact_at(&mut bytes, 0)?;
        let header = SegmentHeader::decode(&bytes).map_err(|fault| {
            damage(match fault {
                HeaderFault::Bad => DamageKind::SegmentHeader,
                HeaderFault::Version(found) => DamageKind::Version { found },
            })
        })?;
        if header.identity != identity {
            let found = header.identity;
            return Err(damage(DamageKind::Identity { expected: identity, found }).into());
        }
        if header.number != number {
            return Err(damage(DamageKind::Number { found: header.number }).into());
        }
        let recorded = u64::from(header.file_bytes);
        if len < recorded {
            return Err(damage(DamageKind::Short { recorded, found: len }).into());
        }
        Ok(Self { header, path, file, written: AtomicU32::new(0) })
    }

    /// Reads the payload of one record and checks it.
    pub(crate) fn read(&self, position: Position) -> io::Result<Vec<u8>> {
        let unreadable = |offset| {
            io::Error::new(io::ErrorKind::InvalidData, self.damage(offset, DamageKind::Record))
        };
        let start = position
            .offset
            .checked_sub(RECORD_HEADER_BYTES)
            .ok_or_else(|| unreadable(position.offset))?;
        let end = position.offset.checked_add(position.len_bytes);
        if end.is_none_or(|end| end > self.written()) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the record has not been written",
            ));
        }
        let mut bytes = vec![0; (RECORD_HEADER_BYTES + position.len_bytes) as usize];
        self.file.read_exact_at(&mut bytes, u64::from(start))?;
        let (head, payload) = bytes.split_at(RECORD_HEADER_BYTES as usize);
        match RecordHeader::decode(head, self.place(), start) {
            Some((header, _))
                if header.len_bytes == position.len_bytes
                    && header.kind == RecordKind::Data
                    && header.payload_checksum == crc32c(payload) =>
            {
                Ok(bytes)
            }
            Some(_) | None => Err(unreadable(start)),
        }
    }
}

/// What a walk finds next.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A record of the owner.
    Data(Position, &'a [u8]),
    /// A record that is only for the log itself.
    Mark,
    /// The seal; the walk is over.
    Seal,
    /// No good record here; the walk is over.
    Bad,
}

/// Reads records one behind another.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    segment: &'a Segment,
    /// Nothing behind this is read.
    limit: u32,
    /// Where the next record starts.
    pub(crate) offset: u32,
    /// The checksum it must chain to; unknown when the walk starts in the middle.
    pub(crate) chain: Option<u32>,
    /// What the last record says was durable.
    pub(crate) durable: u32,
    chunk: Vec<u8>,
    chunk_at: u32,
}

impl<'a> Walk<'a> {
    /// A walk from the first record.
    pub(crate) fn from_start(segment: &'a Segment, limit: u32) -> Self {
        let chain = Some(segment.header.checksum());
        Self { chain, ..Self::from_middle(segment, SEGMENT_HEADER_BYTES, limit) }
    }

    /// A walk from a record that starts at `offset`.
    pub(crate) fn from_middle(segment: &'a Segment, offset: u32, limit: u32) -> Self {
        Self {
            segment,
            limit,
            offset,
            chain: None,
            durable: SEGMENT_HEADER_BYTES,
            chunk: Vec::new(),
            chunk_at: offset,
        }
    }

    /// Makes `len` bytes at `offset` available, or `None` if they are behind the limit.
    fn load(&mut self, offset: u32, len: u32) -> io::Result<Option<usize>> {
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.limit) else {
            return Ok(None);
        };
        let loaded_end = u64::from(self.chunk_at) + self.chunk.len() as u64;
        if offset < self.chunk_at || u64::from(end) > loaded_end {
            let available = (self.limit - offset) as usize;
            self.chunk.resize(available.min(WALK_CHUNK_BYTES.max(len as usize)), 0);
            self.chunk_at = offset;
            self.segment.file.read_exact_at(&mut self.chunk, u64::from(offset))?;
        }
        Ok(Some((offset - self.chunk_at) as usize))
    }

    fn header_at(&mut self, offset: u32) -> io::Result<Option<(RecordHeader, u32)>> {
        let Some(at) = self.load(offset, RECORD_HEADER_BYTES)? else { return Ok(None) };
        Ok(RecordHeader::decode(&self.chunk[at..], self.segment.place(), offset))
    }

    /// The next record.
    pub(crate) fn step(&mut self) -> io::Result<Step<'_>> {
        let start = self.offset;
        let Some((header, checksum)) = self.header_at(start)? else { return Ok(Step::Bad) };
        if self.chain.is_some_and(|chain| chain != header.previous) {
            return Ok(Step::Bad);
        }
        let Some(total) = record_bytes(header.len_bytes) else { return Ok(Step::Bad) };
        let Some(at) = self.load(start, total)? else { return Ok(Step::Bad) };
        let payload_at = at + RECORD_HEADER_BYTES as usize;
        let payload = &self.chunk[payload_at..payload_at + header.len_bytes as usize];
        if crc32c(payload) != header.payload_checksum {
            return Ok(Step::Bad);
        }
        self.offset = start + total;
        self.chain = Some(checksum);
        self.durable = header.durable;
        Ok(match header.kind {
            RecordKind::Seal => Step::Seal,
            RecordKind::Mark => Step::Mark,
            RecordKind::Data => {
                let position = Position {
                    segment: self.segment.header.number,
                    offset: start + RECORD_HEADER_BYTES,
                    len_bytes: header.len_bytes,
                };
                Step::Data(position, payload)
            }
        })
    }

    /// Looks behind a bad record for good headers of this segment: where they are and how far each
    /// says the segment was durable.
    pub(crate) fn headers_behind(mut self) -> io::Result<Vec<(u32, RecordHeader)>> {
        let mut found = Vec::new();
        let mut offset = self.offset;
        while let Some(at) = self.load(offset, RECORD_HEADER_BYTES)? {
            let bytes = &self.chunk[at..at + RECORD_HEADER_BYTES as usize];
            // Most of a fresh segment is zero, and no header ends so.
            if bytes[16..].iter().any(|byte| *byte != 0)
                && let Some((header, _)) = RecordHeader::decode(bytes, self.segment.place(), offset)
            {
                found.push((offset, header));
            }
            offset += ALIGNMENT;
        }
        Ok(found)
    }
}
