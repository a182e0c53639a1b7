//! Pieces of snapshots, and how much of one has come.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::{SnapshotMark, Term};
use wal::codec;

use super::pieces::{put_bytes, take_bool, take_bytes};

/// A piece of a snapshot, complete in itself: a receiver that knows nothing can begin with any
/// piece at offset 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotChunk {
    /// The leader's term when it decided to send.
    pub(crate) term: Term,
    /// The sender's number for this transfer.
    pub(crate) transfer: u64,
    pub(crate) mark: Box<SnapshotMark>,
    /// Length of the whole snapshot.
    pub(crate) total_bytes: u64,
    /// CRC-32C of all bytes up to the end of this piece: a piece that is missing or doubled shows.
    pub(crate) checksum_so_far: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
}

/// How much of a snapshot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotAck {
    pub(crate) transfer: u64,
    /// The receiver has all before this offset and wants what follows.
    pub(crate) next_offset: u64,
    /// All is there, checked and on disk.
    pub(crate) complete: bool,
}

pub(super) fn put_chunk(out: &mut BytesMut, chunk: &SnapshotChunk) {
    out.put_u64_le(chunk.term.0);
    out.put_u64_le(chunk.transfer);
    codec::put_mark(out, &chunk.mark);
    out.put_u64_le(chunk.total_bytes);
    out.put_u32_le(chunk.checksum_so_far);
    out.put_u64_le(chunk.offset);
    put_bytes(out, &chunk.bytes);
}

pub(super) fn put_ack(out: &mut BytesMut, ack: SnapshotAck) {
    out.put_u64_le(ack.transfer);
    out.put_u64_le(ack.next_offset);
    out.put_u8(u8::from(ack.complete));
}

pub(super) fn take_chunk(input: &mut Bytes) -> Option<SnapshotChunk> {
    Some(SnapshotChunk {
        term: Term(input.try_get_u64_le().ok()?),
        transfer: input.try_get_u64_le().ok()?,
        mark: codec::take_mark(input)?.into(),
        total_bytes: input.try_get_u64_le().ok()?,
        checksum_so_far: input.try_get_u32_le().ok()?,
        offset: input.try_get_u64_le().ok()?,
        bytes: take_bytes(input)?,
    })
}

pub(super) fn take_ack(input: &mut Bytes) -> Option<SnapshotAck> {
    Some(SnapshotAck {
        transfer: input.try_get_u64_le().ok()?,
        next_offset: input.try_get_u64_le().ok()?,
        complete: take_bool(input)?,
    })
}
