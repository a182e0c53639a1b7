//! A snapshot is the files of a generation: the checkpoint, the sealed segments, and the current
//! one up to where it was written. Taking one pins them; the bytes are read later, while apply and
//! compaction go on. Whoever receives one opens it as after a crash.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::{Disk, File, OpenMode};
use host::SnapshotSource;
use raft::EntryId;
use seglog::Pin;
use seglog::format::{SEGMENT_HEADER_BYTES, SegmentHeader};

use crate::checkpoint;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::generation::Generation;

const MAGIC: &[u8; 8] = b"flotsnp1";
/// Magic, and length and checksum of the list of files.
const HEAD_BYTES: usize = 16;
const MANIFEST_BYTES_MAX: u32 = 64 << 20;
const COPY_BYTES: usize = 1 << 20;

/// One file of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// Bytes that are sent.
    pub(crate) len_bytes: u64,
    /// Length of the file; what is not sent is zero.
    file_bytes: u64,
}

#[derive(Debug)]
enum Content {
    Checkpoint(Arc<dyn File>),
    Segment(Pin),
}

/// The bytes of a snapshot.
#[derive(Debug)]
pub(crate) struct Source {
    last: EntryId,
    head: Vec<u8>,
    parts: Vec<(Part, Content)>,
    len_bytes: u64,
}

impl Source {
    /// Pins what a generation has written. Its last record says `last`.
    pub(crate) fn pin(generation: &Generation, last: EntryId) -> io::Result<Self> {
        let mut parts = Vec::new();
        if let Some(checkpoint) = &generation.checkpoint {
            let len_bytes = checkpoint.len_bytes;
            let name = checkpoint::file_name(checkpoint.number);
            let part = Part { name, len_bytes, file_bytes: len_bytes };
            parts.push((part, Content::Checkpoint(Arc::clone(&checkpoint.file))));
        }
        let reader = generation.log.reader();
        for segment in generation.log.segments() {
            let pin = reader.pin(segment.number)?;
            let mut header = [0; SEGMENT_HEADER_BYTES as usize];
            pin.read_raw(&mut header, 0)?;
            let header = SegmentHeader::decode(&header)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a bad segment header"))?;
            let name = pin.path().file_name().map(|name| name.to_string_lossy().into_owned());
            let part = Part {
                name: name.expect("a segment is a file with a name"),
                len_bytes: u64::from(pin.len_bytes()),
                file_bytes: u64::from(header.file_bytes),
            };
            parts.push((part, Content::Segment(pin)));
        }
        let head = encode_head(last, parts.iter().map(|(part, _)| part));
        let len_bytes = head.len() as u64 + parts.iter().map(|(p, _)| p.len_bytes).sum::<u64>();
        Ok(Self { last, head, parts, len_bytes })
    }
}

impl SnapshotSource for Source {
    fn last(&self) -> EntryId {
        self.last
    }

    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_exact_at(&mut self, offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let mut start = 0;
        let mut offset = offset;
        let head = (self.head.len() as u64, None);
        let pieces = self.parts.iter().map(|(part, content)| (part.len_bytes, Some(content)));
        for (len_bytes, content) in std::iter::once(head).chain(pieces) {
            if buffer.is_empty() {
                return Ok(());
            }
            let end = start + len_bytes;
            if offset < end {
                let here = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buffer.len());
                let (now, later) = buffer.split_at_mut(here);
                let at = offset - start;
                match content {
                    None => {
                        let at = usize::try_from(at).expect("the head is in memory");
                        now.copy_from_slice(&self.head[at..at + here]);
                    }
                    Some(Content::Checkpoint(file)) => file.read_exact_at(now, at)?,
                    Some(Content::Segment(pin)) => pin.read_raw(now, at)?,
                }
                offset += here as u64;
                buffer = later;
            }
            start = end;
        }
        if buffer.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

fn encode_head<'a>(last: EntryId, parts: impl ExactSizeIterator<Item = &'a Part>) -> Vec<u8> {
    let mut manifest = Encoder::default();
    manifest.u64(last.term.0);
    manifest.u64(last.index.0);
    manifest.len(parts.len());
    for part in parts {
        manifest.slice(part.name.as_bytes());
        manifest.u64(part.len_bytes);
        manifest.u64(part.file_bytes);
    }
    let len = u32::try_from(manifest.bytes.len()).expect("a list of some files is short");
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&len.to_le_bytes());
    head.extend_from_slice(&crc32c::crc32c(&manifest.bytes).to_le_bytes());
    head.extend_from_slice(&manifest.bytes);
    head
}

pub(crate) fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The files of a snapshot, and where the first one begins.
pub(crate) fn read_head(source: &mut dyn SnapshotSource) -> io::Result<(Vec<Part>, u64)> {
    if source.len_bytes() < HEAD_BYTES as u64 {
        return Err(invalid("a snapshot is too short to be one"));
    }
    let mut head = [0; HEAD_BYTES];
    source.read_exact_at(0, &mut head)?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (len, crc) = (number(8), number(12));
    let fits =
        u64::from(len) <= source.len_bytes() - HEAD_BYTES as u64 && len <= MANIFEST_BYTES_MAX;
    if head[..8] != *MAGIC || !fits {
        return Err(invalid("these bytes are no snapshot of a store"));
    }
    let mut manifest = vec![0; len as usize];
    source.read_exact_at(HEAD_BYTES as u64, &mut manifest)?;
    if crc32c::crc32c(&manifest) != crc {
        return Err(invalid("the list of files of a snapshot is damaged"));
    }
    let parts = decode_manifest(Bytes::from(manifest))
        .map_err(|_| invalid("the list of files of a snapshot is malformed"))?;
    let start = HEAD_BYTES as u64 + u64::from(len);
    let end = parts.iter().try_fold(start, |end, part| end.checked_add(part.len_bytes));
    if end != Some(source.len_bytes()) {
        return Err(invalid("a snapshot has another length than its files"));
    }
    Ok((parts, start))
}

fn decode_manifest(bytes: Bytes) -> Result<Vec<Part>, Malformed> {
    let mut d = Decoder::new(bytes);
    let _last = (d.u64()?, d.u64()?);
    let parts = d.list(|d| {
        let part = Part { name: d.string()?, len_bytes: d.u64()?, file_bytes: d.u64()? };
        // A name from the wire must not lead out of the folder.
        let is_plain = part.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let is_name = is_plain && !part.name.starts_with('.') && !part.name.is_empty();
        if is_name && part.len_bytes <= part.file_bytes { Ok(part) } else { Err(Malformed) }
    })?;
    if d.is_at_end() { Ok(parts) } else { Err(Malformed) }
}

/// Writes the files of a snapshot into a fresh folder, durably.
pub(crate) fn receive(
    disk: &dyn Disk,
    dir: &Path,
    source: &mut dyn SnapshotSource,
) -> io::Result<()> {
    let (parts, mut offset) = read_head(source)?;
    if disk.exists(dir)? {
        disk.remove_dir_all(dir)?;
    }
    disk.create_dir_all(dir)?;
    let mut buffer = vec![0; COPY_BYTES];
    for part in parts {
        let file = disk.open(&dir.join(&part.name), OpenMode::CreateNew)?;
        let mut at = 0;
        while at < part.len_bytes {
            let len = usize::try_from(part.len_bytes - at).unwrap_or(usize::MAX).min(COPY_BYTES);
            source.read_exact_at(offset, &mut buffer[..len])?;
            file.write_all_at(&buffer[..len], at)?;
            at += len as u64;
            offset += len as u64;
        }
        if part.file_bytes > part.len_bytes {
            file.allocate(part.file_bytes)?;
        }
        file.sync_data()?;
    }
    disk.sync_dir(dir)?;
    if let Some(parent) = dir.parent() {
        disk.sync_dir(parent)?;
    }
    Ok(())
}

/// Reads every record, also those that opening passed over, and so checks them.
pub(crate) fn verify(generation: &Generation) -> io::Result<()> {
    generation.log.reader().scan(None).try_for_each(|record| record.map(|_| ()))
}
