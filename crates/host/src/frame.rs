//! Frames: what two nodes exchange. One frame carries the messages of many groups.
//!
//! ```text
//! length u32 │ checksum u32 │ version u8 │ stream u16 │ cluster u64 │ from u64 │ to u64 │
//! life u64 │ sequence u64 │ records …                                       little-endian
//! ```
//!
//! `length` counts what follows it; `checksum` (CRC-32C) covers what follows it. `life` is drawn
//! at the start of a process, and `sequence` counts the frames of one stream from one node to
//! another in that life: a frame that comes twice, or late, is dropped, so that a proposal that was
//! forwarded once is appended at most once.
//!
//! `version` is that of the records. A frame is written in the newest one that both ends speak
//! (`docs/adr/0026`), so members of two versions that follow each other talk, and a cluster is
//! upgraded one member at a time.

use std::fmt;
use std::ops::RangeInclusive;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::NodeId;

/// The newest version of frames, records and the greeting of a connection.
pub const FRAME_VERSION: u8 = 3;
/// The oldest one that is still spoken.
pub const FRAME_VERSION_OLDEST: u8 = 2;

/// The newest version in which an errand says no term, and in which there is no CommitIndex.
pub(crate) const SAYS_NO_TERM: u8 = 2;

/// What a program speaks whose newest version is `newest`.
pub(crate) fn versions_up_to(newest: u8) -> RangeInclusive<u8> {
    FRAME_VERSION_OLDEST..=newest
}

/// Largest frame that is read, so that a damaged length does not allocate the machine's memory.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 20;
/// Bytes before `checksum`'s cover, and bytes of the whole header.
const LENGTH_BYTES: usize = 4;
const CHECKED_FROM: usize = 8;
const VERSION_AT: usize = CHECKED_FROM;
pub(crate) const HEADER_BYTES: usize = CHECKED_FROM + 1 + 2 + 5 * 8;

/// Where a frame comes from and goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Of the records.
    pub(crate) version: u8,
    pub(crate) stream: u16,
    pub(crate) cluster_id: u64,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) life: u64,
    pub(crate) sequence: u64,
}

/// Why a frame was refused. Never a reason to stop: it is counted, and the frame dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameFault {
    /// Shorter than its header or than its own length says.
    Truncated,
    /// The checksum does not match.
    Checksum,
    /// A version that this node does not speak.
    Version(u8),
    /// Another cluster's id.
    Cluster(u64),
    /// Meant for another node.
    Receiver(NodeId),
    /// Not from the node that the connection greeted as.
    Sender(NodeId),
    /// Seen before, or overtaken by a later one.
    Replayed,
    /// A record in it makes no sense.
    Record,
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the frame is cut short"),
            Self::Checksum => f.write_str("the frame's checksum does not match"),
            Self::Version(version) => {
                write!(f, "the frame has version {version}, which this node does not speak")
            }
            Self::Cluster(id) => write!(f, "the frame belongs to cluster {id:x}"),
            Self::Receiver(id) => write!(f, "the frame is for node {:x}", id.0),
            Self::Sender(id) => write!(f, "the frame claims to come from node {:x}", id.0),
            Self::Replayed => f.write_str("the frame was seen before"),
            Self::Record => f.write_str("a record of the frame makes no sense"),
        }
    }
}

impl std::error::Error for FrameFault {}

/// A frame that is being filled.
#[derive(Debug, Default)]
pub(crate) struct FrameBuilder {
    buffer: BytesMut,
}

impl FrameBuilder {
    /// Where records are written.
    pub(crate) fn records(&mut self) -> &mut BytesMut {
        if self.buffer.is_empty() {
            self.buffer.put_bytes(0, HEADER_BYTES);
        }
        &mut self.buffer
    }

    /// Whether no record was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.len() <= HEADER_BYTES
    }

    /// Bytes so far.
    pub(crate) fn len_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Puts the header before the records.
    pub(crate) fn finish(&mut self, header: FrameHeader) -> Bytes {
        let mut frame = self.buffer.split();
        let length = u32::try_from(frame.len() - LENGTH_BYTES)
            .expect("a frame is cut at a few MiB, far below 4 GiB");
        let mut fields = &mut frame[CHECKED_FROM..HEADER_BYTES];
        fields.put_u8(header.version);
        fields.put_u16_le(header.stream);
        fields.put_u64_le(header.cluster_id);
        fields.put_u64_le(header.from.0);
        fields.put_u64_le(header.to.0);
        fields.put_u64_le(header.life);
        fields.put_u64_le(header.sequence);
        let checksum = crc32c::crc32c(&frame[CHECKED_FROM..]);
        frame[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        frame[LENGTH_BYTES..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
        frame.freeze()
    }
}

/// How many bytes the frame at the beginning of `bytes` has with its length field, once that can be
/// told.
pub(crate) fn frame_length(bytes: &[u8]) -> Result<Option<usize>, FrameFault> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let total = u32::from_le_bytes(*length) as usize + LENGTH_BYTES;
    if (HEADER_BYTES..=FRAME_BYTES_MAX).contains(&total) {
        Ok(Some(total))
    } else {
        Err(FrameFault::Truncated)
    }
}

/// The version that a frame is written in; `None` if it is none.
#[must_use]
pub fn frame_version(frame: &[u8]) -> Option<u8> {
    frame.get(VERSION_AT).copied()
}

/// Checks a frame and takes the header off; what is left are its records. `newest` is the newest
/// version that the receiver speaks.
pub(crate) fn open(mut frame: Bytes, newest: u8) -> Result<(FrameHeader, Bytes), FrameFault> {
    if frame.len() < HEADER_BYTES || frame_length(&frame)? != Some(frame.len()) {
        return Err(FrameFault::Truncated);
    }
    frame.advance(LENGTH_BYTES);
    let checksum = frame.get_u32_le();
    if crc32c::crc32c(&frame) != checksum {
        return Err(FrameFault::Checksum);
    }
    let version = frame.get_u8();
    if !versions_up_to(newest).contains(&version) {
        return Err(FrameFault::Version(version));
    }
    let header = FrameHeader {
        version,
        stream: frame.get_u16_le(),
        cluster_id: frame.get_u64_le(),
        from: NodeId(frame.get_u64_le()),
        to: NodeId(frame.get_u64_le()),
        life: frame.get_u64_le(),
        sequence: frame.get_u64_le(),
    };
    Ok((header, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            version: FRAME_VERSION,
            stream: 2,
            cluster_id: 0xc1,
            from: NodeId(1),
            to: NodeId(3),
            life: 7,
            sequence: 9,
        }
    }

    fn frame_of(version: u8) -> Bytes {
        let mut builder = FrameBuilder::default();
        builder.records().put_slice(b"records");
        builder.finish(FrameHeader { version, ..header() })
    }

    fn frame() -> Bytes {
        frame_of(FRAME_VERSION)
    }

    fn opened(frame: Bytes) -> Result<(FrameHeader, Bytes), FrameFault> {
        open(frame, FRAME_VERSION)
    }

    #[test]
    fn golden_bytes_of_versions_2_and_3() {
        for version in [2, 3] {
            let frame = frame_of(version);
            let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
            let fields = "0200c1000000000000000100000000000000030000000000000007000000000000000900000000000000";
            assert_eq!(hex[16..], format!("0{version}{fields}7265636f726473"));
            assert_eq!(hex[..8], *"36000000");
            assert_eq!(frame_version(&frame), Some(version));
            let header = FrameHeader { version, ..header() };
            assert_eq!(opened(frame), Ok((header, Bytes::from_static(b"records"))));
        }
    }

    #[test]
    fn a_frame_of_a_version_that_is_not_spoken_is_refused() {
        for version in [0, 1, 4, 255] {
            assert_eq!(opened(frame_of(version)), Err(FrameFault::Version(version)));
        }
        assert!(open(frame_of(2), 2).is_ok(), "a node that speaks no newer one");
        assert_eq!(open(frame_of(3), 2), Err(FrameFault::Version(3)));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        let frame = frame();
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut bad = frame.to_vec();
                bad[at] ^= 1 << bit;
                assert!(opened(bad.into()).is_err(), "bit {bit} of byte {at}");
            }
            assert_eq!(opened(frame.slice(..at)), Err(FrameFault::Truncated));
        }
    }

    #[test]
    fn a_length_beyond_reason_is_refused_before_anything_is_allocated() {
        assert_eq!(frame_length(&[0xff; 4]), Err(FrameFault::Truncated));
        assert_eq!(frame_length(&[0, 0, 0, 0]), Err(FrameFault::Truncated));
        assert_eq!(frame_length(&[9]), Ok(None));
    }
}
