//! Format 1 of a segment file. All numbers are little-endian.
//!
//! ```text
//! segment header, 64 bytes            record, at a multiple of 8
//!  0  magic "FLOTSEG\n"                0  len            of the payload
//!  8  version u32                      4  kind           0 data, 1 mark, 2 seal
//! 12  file length u32                  8  durable        offset that was durable, see below
//! 16  number u64                      12  previous       checksum of the header before
//! 24  salt u64                        16  payload checksum
//! 32  log identity u64                20  header checksum
//! 40  previous segment's end u32      24  payload, zeros up to the next multiple of 8
//! 44  previous segment's last checksum
//! 48  zeros
//! 60  checksum of the 60 bytes before
//! ```
//!
//! Checksums are CRC-32C. The header checksum of a record also covers salt, number and offset,
//! which are not in the record, so a record is good in one place of one use of one file only.
//! `previous` of the first record is the checksum of the segment header. A seal is the last record
//! of a segment; it and all before it are synced before the next segment gets its first byte, so a
//! segment that is not the last one ends with a good seal or is damaged.
//!
//! `durable` is the end of what was synced in this segment when the record was appended. A crash
//! may lose any sector written since the last sync, in any order, so a good record behind a bad one
//! proves nothing by itself. A good record whose `durable` lies behind the bad one does: those
//! bytes had been on the disk.

use crc32c::{crc32c, crc32c_append};

/// The first bytes of a segment file.
pub const MAGIC: [u8; 8] = *b"FLOTSEG\n";
/// The version that is written and the only one that is read.
pub const VERSION: u32 = 1;
/// Bytes of the segment header.
pub const SEGMENT_HEADER_BYTES: u32 = 64;
/// Bytes of a record header.
pub const RECORD_HEADER_BYTES: u32 = 24;
/// Records start at multiples of this.
pub const ALIGNMENT: u32 = 8;

const SEGMENT_HEADER_LEN: usize = SEGMENT_HEADER_BYTES as usize;
const RECORD_HEADER_LEN: usize = RECORD_HEADER_BYTES as usize;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Length of the file.
    pub file_bytes: u32,
    /// Number of the segment; never used twice.
    pub number: u64,
    /// Makes the checksums of this segment unlike those of any other.
    pub salt: u64,
    /// [`crate::Options::identity`].
    pub identity: u64,
    /// Where the segment before ends, its seal included; 0 for the first.
    pub previous_end: u32,
    /// Header checksum of the seal of the segment before; 0 for the first.
    pub previous_checksum: u32,
}

/// Why the first bytes of a file are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// Magic or checksum is wrong.
    Bad,
    /// The header is good and of a version that this program does not know.
    Version(u32),
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.identity.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.previous_checksum.to_le_bytes());
        let checksum = crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header.
    pub fn decode(bytes: &[u8; SEGMENT_HEADER_LEN]) -> Result<Self, HeaderFault> {
        if bytes[..8] != MAGIC || u32_at(bytes, 60) != crc32c(&bytes[..60]) {
            return Err(HeaderFault::Bad);
        }
        match u32_at(bytes, 8) {
            VERSION => Ok(Self {
                file_bytes: u32_at(bytes, 12),
                number: u64_at(bytes, 16),
                salt: u64_at(bytes, 24),
                identity: u64_at(bytes, 32),
                previous_end: u32_at(bytes, 40),
                previous_checksum: u32_at(bytes, 44),
            }),
            other => Err(HeaderFault::Version(other)),
        }
    }

    /// The checksum that the first record chains to.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        u32_at(&self.encode(), 60)
    }
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The owner's bytes.
    Data,
    /// Nothing but a newer `durable`.
    Mark,
    /// The end of a segment.
    Seal,
}

/// What the header of a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Length of the payload.
    pub len_bytes: u32,
    /// What it is for.
    pub kind: RecordKind,
    /// End of what was durable in the segment when the record was appended.
    pub durable: u32,
    /// Checksum of the header before.
    pub previous: u32,
    /// Checksum of the payload.
    pub payload_checksum: u32,
}

impl RecordHeader {
    /// The header's bytes and its checksum, for a record that starts at `offset` of a segment.
    #[must_use]
    pub fn encode(&self, place: Place, offset: u32) -> ([u8; RECORD_HEADER_LEN], u32) {
        let kind: u32 = match self.kind {
            RecordKind::Data => 0,
            RecordKind::Mark => 1,
            RecordKind::Seal => 2,
        };
        let mut bytes = [0; RECORD_HEADER_LEN];
        bytes[..4].copy_from_slice(&self.len_bytes.to_le_bytes());
        bytes[4..8].copy_from_slice(&kind.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.durable.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.previous.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.payload_checksum.to_le_bytes());
        let checksum = place.checksum(offset, &bytes[..20]);
        bytes[20..].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// Reads the header of a record that starts at `offset`, with its checksum; `None` if it is
    /// not a good header for this place. Takes at least the bytes of a header.
    #[must_use]
    pub fn decode(bytes: &[u8], place: Place, offset: u32) -> Option<(Self, u32)> {
        let bytes: &[u8; RECORD_HEADER_LEN] = bytes.first_chunk()?;
        let kind = match u32_at(bytes, 4) {
            0 => RecordKind::Data,
            1 => RecordKind::Mark,
            2 => RecordKind::Seal,
            _ => return None,
        };
        let checksum = u32_at(bytes, 20);
        if checksum != place.checksum(offset, &bytes[..20]) {
            return None;
        }
        let header = Self {
            len_bytes: u32_at(bytes, 0),
            kind,
            durable: u32_at(bytes, 8),
            previous: u32_at(bytes, 12),
            payload_checksum: u32_at(bytes, 16),
        };
        Some((header, checksum))
    }
}

/// What of a segment goes into the checksums of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment's salt.
    pub salt: u64,
    /// Its number.
    pub number: u64,
}

impl Place {
    fn checksum(self, offset: u32, bytes: &[u8]) -> u32 {
        let mut place = [0; 20];
        place[..8].copy_from_slice(&self.salt.to_le_bytes());
        place[8..16].copy_from_slice(&self.number.to_le_bytes());
        place[16..].copy_from_slice(&offset.to_le_bytes());
        crc32c_append(crc32c(&place), bytes)
    }
}

/// Bytes that a record with this payload takes; `None` on overflow.
#[must_use]
pub fn record_bytes(payload_bytes: u32) -> Option<u32> {
    payload_bytes.checked_add(RECORD_HEADER_BYTES)?.checked_next_multiple_of(ALIGNMENT)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
