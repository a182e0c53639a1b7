//! Entries, by what they say: the first lines of the table in [`codec`](super).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::{ClockInterval, ConflictKeys, Entry, KeyedCommand, Payload};

use super::{
    configuration_bytes, put_configuration, put_length, take_configuration, take_entry_id,
};

/// Bytes of an entry without its payload.
pub const ENTRY_BYTES_MIN: usize = 21;

const NOOP: u8 = 0;
const COMMAND: u8 = 1;
const CONFIGURATION: u8 = 2;
const WITHHELD: u8 = 3;
/// Only in groups whose leases go by clocks, as their configuration says: a version that does not
/// know the kind does not know such a configuration either.
const LEASE_ENTRY: u8 = 4;
const LEASE_ENTRY_BYTES: usize = 16;
/// Only where a proposer says what its commands touch, which takes a version that knows the kind.
const KEYED: u8 = 5;

/// Bytes that [`put_entry`] writes.
#[must_use]
pub fn entry_bytes(entry: &Entry) -> usize {
    ENTRY_BYTES_MIN
        + match &entry.payload {
            Payload::Noop | Payload::Withheld => 0,
            Payload::Lease(_) => LEASE_ENTRY_BYTES,
            Payload::Keyed(keyed) => keyed_bytes(keyed),
            Payload::Command(command) => command.len(),
            Payload::Configuration(configuration) => configuration_bytes(configuration),
        }
}

/// Writes an entry.
pub fn put_entry(out: &mut BytesMut, entry: &Entry) {
    out.put_u64_le(entry.id.term.0);
    out.put_u64_le(entry.id.index.0);
    match &entry.payload {
        Payload::Noop => {
            out.put_u8(NOOP);
            put_length(out, 0);
        }
        Payload::Withheld => {
            out.put_u8(WITHHELD);
            put_length(out, 0);
        }
        Payload::Lease(ClockInterval { earliest_us, latest_us }) => {
            out.put_u8(LEASE_ENTRY);
            put_length(out, LEASE_ENTRY_BYTES);
            out.put_u64_le(*earliest_us);
            out.put_u64_le(*latest_us);
        }
        Payload::Keyed(keyed) => {
            out.put_u8(KEYED);
            put_length(out, keyed_bytes(keyed));
            put_length(out, keyed.keys.as_slice().len());
            keyed.keys.as_slice().iter().for_each(|key| out.put_u64_le(*key));
            out.put_slice(&keyed.command);
        }
        Payload::Command(command) => {
            out.put_u8(COMMAND);
            put_length(out, command.len());
            out.put_slice(command);
        }
        Payload::Configuration(configuration) => {
            out.put_u8(CONFIGURATION);
            put_length(out, configuration_bytes(configuration));
            put_configuration(out, configuration);
        }
    }
}

/// Takes an entry off the front. A command shares the buffer it came in.
pub fn take_entry(input: &mut Bytes) -> Option<Entry> {
    let id = take_entry_id(input)?;
    let kind = input.try_get_u8().ok()?;
    let length = input.try_get_u32_le().ok()? as usize;
    if length > input.len() {
        return None;
    }
    let mut bytes = input.split_to(length);
    let payload = match kind {
        NOOP => bytes.is_empty().then_some(Payload::Noop)?,
        WITHHELD => bytes.is_empty().then_some(Payload::Withheld)?,
        LEASE_ENTRY => {
            let earliest_us = bytes.try_get_u64_le().ok()?;
            let latest_us = bytes.try_get_u64_le().ok()?;
            let is_sound = earliest_us <= latest_us && bytes.is_empty();
            is_sound.then_some(Payload::Lease(ClockInterval { earliest_us, latest_us }))?
        }
        KEYED => Payload::Keyed(take_keyed(bytes)?.into()),
        COMMAND => Payload::Command(bytes),
        CONFIGURATION => {
            let configuration = take_configuration(&mut bytes)?;
            bytes.is_empty().then_some(Payload::Configuration(configuration.into()))?
        }
        _ => return None,
    };
    Some(Entry { id, payload })
}

fn keyed_bytes(keyed: &KeyedCommand) -> usize {
    4 + 8 * keyed.keys.as_slice().len() + keyed.command.len()
}

/// The command shares the buffer it came in.
fn take_keyed(mut bytes: Bytes) -> Option<KeyedCommand> {
    let count = bytes.try_get_u32_le().ok()? as usize;
    if count > ConflictKeys::MAX {
        return None;
    }
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        keys.push(bytes.try_get_u64_le().ok()?);
    }
    let is_ascending = keys.windows(2).all(|pair| pair[0] < pair[1]);
    let keys = ConflictKeys::of(keys).filter(|_| is_ascending)?;
    Some(KeyedCommand { keys, command: bytes })
}
