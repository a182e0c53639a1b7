//! What records are made of: numbers, counts and byte strings. A `take_` function checks a length
//! against what is there before anything is allocated for it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::{EntryId, Incarnation, LogIndex, Term};

pub(super) fn put_length(out: &mut BytesMut, length: usize) {
    out.put_u32_le(u32::try_from(length).expect("what one frame carries is far below 4 GiB"));
}

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.put_slice(bytes);
}

pub(super) fn put_entry_id(out: &mut BytesMut, id: EntryId) {
    out.put_u64_le(id.term.0);
    out.put_u64_le(id.index.0);
}

/// A count of things that take at least `each_bytes_min`: never more than what is there can hold.
pub(super) fn take_count(input: &mut Bytes, each_bytes_min: usize) -> Option<usize> {
    let count = input.try_get_u32_le().ok()? as usize;
    (count <= input.len() / each_bytes_min).then_some(count)
}

pub(super) fn take_bytes(input: &mut Bytes) -> Option<Bytes> {
    let length = input.try_get_u32_le().ok()? as usize;
    (length <= input.len()).then(|| input.split_to(length))
}

pub(super) fn take_bool(input: &mut Bytes) -> Option<bool> {
    match input.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

pub(super) fn take_incarnation(input: &mut Bytes) -> Option<Incarnation> {
    input.try_get_u64_le().ok().map(Incarnation)
}

pub(super) fn take_index(input: &mut Bytes) -> Option<LogIndex> {
    input.try_get_u64_le().ok().map(LogIndex)
}

pub(super) fn take_entry_id(input: &mut Bytes) -> Option<EntryId> {
    Some(EntryId { term: Term(input.try_get_u64_le().ok()?), index: take_index(input)? })
}
