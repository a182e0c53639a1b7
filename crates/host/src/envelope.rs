//! What the host puts before a command in the log: where it came from.
//!
//! Any node may take a client's command, and only the leader may append it. The name of the origin
//! travels in the entry, so that the node that the client speaks to answers it, once it has applied
//! the entry itself, whoever led at the time.
//!
//! ```text
//! version u8 = 1 │ origin u64 │ request u64 │ command …        little-endian
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use raft::NodeId;

const VERSION: u8 = 1;
pub(crate) const HEADER_BYTES: usize = 1 + 8 + 8;

/// The name of a proposal: the node that took it and that node's number for it. Numbers begin at a
/// random place in each life of a node, so that an answer never goes to an earlier life's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestId {
    pub(crate) origin: NodeId,
    pub(crate) number: u64,
}

/// Puts the name before the command.
pub(crate) fn seal(id: RequestId, command: &[u8]) -> Bytes {
    let mut buffer = BytesMut::with_capacity(HEADER_BYTES + command.len());
    buffer.put_u8(VERSION);
    buffer.put_u64_le(id.origin.0);
    buffer.put_u64_le(id.number);
    buffer.put_slice(command);
    buffer.freeze()
}

/// Takes name and command apart; `None` for bytes that [`seal`] did not make.
pub(crate) fn open(entry: &Bytes) -> Option<(RequestId, Bytes)> {
    if entry.len() < HEADER_BYTES || entry[0] != VERSION {
        return None;
    }
    let number_at = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&entry[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let id = RequestId { origin: NodeId(number_at(1)), number: number_at(9) };
    Some((id, entry.slice(HEADER_BYTES..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_version_1() {
        let id = RequestId { origin: NodeId(0x0102), number: 3 };
        let sealed = seal(id, b"put");
        assert_eq!(&sealed[..], b"\x01\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0put");
        assert_eq!(open(&sealed), Some((id, Bytes::from_static(b"put"))));
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert_eq!(open(&Bytes::from_static(b"")), None);
        assert_eq!(open(&Bytes::from_static(b"\x01short")), None);
        assert_eq!(open(&Bytes::from_static(&[9; 40])), None);
    }
}
