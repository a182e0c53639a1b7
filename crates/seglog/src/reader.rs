//! Reading records while the writer appends.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::Position;
use crate::error::DamageKind;
use crate::format::RECORD_HEADER_BYTES;
use crate::segment::{Segment, Step, Walk};

/// The segments that readers can reach. The lock is never held across a read of the disk.
pub(crate) type Shared = Arc<RwLock<BTreeMap<u64, Arc<Segment>>>>;

/// Reads records by position. Clones are cheap, and any thread may have one.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) segments: Shared,
}

/// Keeps a segment's file as it is, even after its release.
#[derive(Clone, Debug)]
pub struct Pin {
    segment: Arc<Segment>,
}

/// Records one behind another, up to what had been written when the scan came there.
#[derive(Debug)]
pub struct Scan {
    reader: Reader,
    /// The next record starts here, with its header.
    segment: u64,
    offset: u32,
    /// Records of one read of the disk, last first.
    ready: Vec<(Position, Bytes)>,
    failed: bool,
}

/// A scan reads about this much at once.
const SCAN_CHUNK_BYTES: u32 = 256 << 10;

impl Reader {
    /// Reads a record and checks it. The error is `NotFound` when the segment has been released,
    /// `UnexpectedEof` when the record is not yet written, and `InvalidData` when it is damaged.
    pub fn read(&self, position: Position) -> io::Result<Bytes> {
        let bytes = self.segment(position.segment)?.read(position)?;
        Ok(Bytes::from(bytes).slice(RECORD_HEADER_BYTES as usize..))
    }

    /// Holds a segment: as long as the pin lives, its file is neither recycled nor removed.
    pub fn pin(&self, number: u64) -> io::Result<Pin> {
        Ok(Pin { segment: self.segment(number)? })
    }

    /// All records from the one at `from` on, or the first one behind it if its segment is gone.
    /// `None` begins with the first record of the log.
    #[must_use]
    pub fn scan(&self, from: Option<Position>) -> Scan {
        let (segment, offset) = match from {
            Some(from) => (from.segment, from.offset.saturating_sub(RECORD_HEADER_BYTES)),
            None => (0, 0),
        };
        Scan { reader: self.clone(), segment, offset, ready: Vec::new(), failed: false }
    }

    fn segment(&self, number: u64) -> io::Result<Arc<Segment>> {
        self.segments.read().get(&number).cloned().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("segment {number} has been released"))
        })
    }
}

impl Pin {
    /// The segment's number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.segment.header.number
    }

    /// The segment's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.segment.path
    }

    /// End of the records that have been written.
    #[must_use]
    pub fn len_bytes(&self) -> u32 {
        self.segment.written()
    }

    /// Reads bytes of the file as they are, header and all.
    pub fn read_raw(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.segment.file.read_exact_at(buffer, offset)
    }

    /// Reads a record of this segment, also after its release.
    pub fn read(&self, position: Position) -> io::Result<Bytes> {
        assert_eq!(position.segment, self.number(), "a pin reads its own segment only");
        Ok(Bytes::from(self.segment.read(position)?).slice(RECORD_HEADER_BYTES as usize..))
    }
}

impl Scan {
    /// Moves to the next segment if this one is read to its end; `false` at the end of the log.
    fn fill(&mut self) -> io::Result<bool> {
        loop {
            let next = {
                let segments = self.reader.segments.read();
                segments.range(self.segment..).next().map(|(_, segment)| Arc::clone(segment))
            };
            let Some(segment) = next else { return Ok(false) };
            if segment.header.number != self.segment {
                self.segment = segment.header.number;
                self.offset = 0;
            }
            let sealed = self.read_chunk(&segment)?;
            if !self.ready.is_empty() {
                return Ok(true);
            }
            if !sealed {
                return Ok(false);
            }
        }
    }

    /// Reads some records; says whether the segment is read to its seal.
    fn read_chunk(&mut self, segment: &Segment) -> io::Result<bool> {
        let written = segment.written();
        let mut walk = match self.offset {
            0 => Walk::from_start(segment, written),
            offset => Walk::from_middle(segment, offset, written),
        };
        let begin = walk.offset;
        let mut sealed = false;
        while walk.offset < written && walk.offset - begin < SCAN_CHUNK_BYTES && !sealed {
            match walk.step()? {
                Step::Data(position, payload) => {
                    self.ready.push((position, Bytes::copy_from_slice(payload)));
                }
                Step::Mark => {}
                Step::Seal => sealed = true,
                Step::Bad => {
                    let damage = segment.damage(walk.offset, DamageKind::Record);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, damage));
                }
            }
        }
        self.offset = walk.offset;
        if sealed {
            self.segment += 1;
            self.offset = 0;
        }
        self.ready.reverse();
        Ok(sealed)
    }
}

impl Iterator for Scan {
    type Item = io::Result<(Position, Bytes)>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && !self.failed {
            match self.fill() {
                Ok(_) => {}
                Err(error) => {
                    self.failed = true;
                    self.ready.clear();
                    return Some(Err(error));
                }
            }
        }
        self.ready.pop().map(Ok)
    }
}
