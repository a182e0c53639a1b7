//! Reads a whole snapshot before anybody relies on it.
//!
//! The bytes of a snapshot are sent as the sender's disk gives them back, and the transfer's
//! checksum vouches for the way and not for that disk. Bits that rotted there must not cost the
//! receiver its own state: once the protocol has taken a snapshot, the log before it is gone.

use std::io;

use host::SnapshotSource;
use seglog::format::{
    Place, RECORD_HEADER_BYTES, RecordHeader, RecordKind, SEGMENT_HEADER_BYTES, SegmentHeader,
    record_bytes,
};

use crate::checkpoint;
use crate::snapshot::{invalid, read_head};

/// Part of a snapshot: one of its files.
struct Window<'a> {
    source: &'a mut dyn SnapshotSource,
    start: u64,
    len_bytes: u64,
}

impl Window<'_> {
    fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let end = at.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len_bytes) {
            return Err(invalid("a file of a snapshot ends too early"));
        }
        self.source.read_exact_at(self.start + at, buffer)
    }
}

/// Sees that every record and every block of a snapshot is as it was written.
pub(crate) fn check(source: &mut dyn SnapshotSource) -> io::Result<()> {
    let (parts, mut start) = read_head(source)?;
    for part in parts {
        let mut window = Window { source: &mut *source, start, len_bytes: part.len_bytes };
        if checkpoint::is_name(&part.name) {
            checkpoint::check_blocks(part.len_bytes, |buffer, at| window.read(buffer, at))?;
        } else {
            check_segment(&mut window)?;
        }
        start += part.len_bytes;
    }
    Ok(())
}

fn check_segment(window: &mut Window<'_>) -> io::Result<()> {
    let damaged = || invalid("a record of a snapshot is damaged");
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    window.read(&mut bytes, 0)?;
    let header = SegmentHeader::decode(&bytes).map_err(|_| damaged())?;
    let place = Place { salt: header.salt, number: header.number };
    let (mut offset, mut chain) = (SEGMENT_HEADER_BYTES, header.checksum());
    while u64::from(offset) < window.len_bytes {
        let mut bytes = [0; RECORD_HEADER_BYTES as usize];
        window.read(&mut bytes, u64::from(offset))?;
        let (record, checksum) = RecordHeader::decode(&bytes, place, offset).ok_or_else(damaged)?;
        let total = record_bytes(record.len_bytes).ok_or_else(damaged)?;
        // Before any memory is asked for: the length may be anything.
        if record.previous != chain || u64::from(offset) + u64::from(total) > window.len_bytes {
            return Err(damaged());
        }
        let mut payload = vec![0; record.len_bytes as usize];
        window.read(&mut payload, u64::from(offset + RECORD_HEADER_BYTES))?;
        if crc32c::crc32c(&payload) != record.payload_checksum {
            return Err(damaged());
        }
        if record.kind == RecordKind::Seal {
            return Ok(());
        }
        (offset, chain) = (offset + total, checksum);
    }
    Ok(())
}
