//! The first bytes of a connection between peers.
//!
//! ```text
//! greeting: magic 8 │ version u8 │ cluster u64 │ from u64 │ to u64 │ checksum u32
//! answer:   magic 8 │ verdict u8 │ detail u64 │ checksum u32                   little-endian
//! ```

use std::fmt;
use std::io::{self, Read, Write};

use raft::NodeId;

use crate::FRAME_VERSION;

const MAGIC: [u8; 8] = *b"flotilla";
const GREETING_BYTES: usize = 8 + 1 + 3 * 8 + 4;
const ANSWER_BYTES: usize = 8 + 1 + 8 + 4;

/// Who calls whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) cluster_id: u64,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
}

/// Why a peer will not talk to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It speaks this version of the peer protocol.
    Version(u8),
    /// It belongs to the cluster of this id.
    Cluster(u64),
    /// It is this node, not the one that was called.
    Node(NodeId),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "it speaks version {version} of the peer protocol and this program \
                 {FRAME_VERSION}: run one release on both"
            ),
            Self::Cluster(id) => write!(
                f,
                "it belongs to cluster {id:x}: check --initial-cluster and \
                 --initial-cluster-token on both"
            ),
            Self::Node(id) => {
                write!(f, "the member at that address is {:x}: check the peer URLs of both", id.0)
            }
        }
    }
}

/// Sends a greeting and hears the answer.
pub(crate) fn greet(
    stream: &mut (impl Read + Write),
    greeting: Greeting,
) -> io::Result<Result<(), Refusal>> {
    let mut bytes = Vec::with_capacity(GREETING_BYTES);
    bytes.extend(MAGIC);
    bytes.push(FRAME_VERSION);
    bytes.extend(greeting.cluster_id.to_le_bytes());
    bytes.extend(greeting.from.0.to_le_bytes());
    bytes.extend(greeting.to.0.to_le_bytes());
    seal(&mut bytes);
    stream.write_all(&bytes)?;
    let mut answer = [0; ANSWER_BYTES];
    stream.read_exact(&mut answer)?;
    if !is_sealed(&answer) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is no peer's"));
    }
    let detail = number_at(&answer, 9);
    Ok(match answer[8] {
        0 => Ok(()),
        1 => Err(Refusal::Version(u8::try_from(detail).unwrap_or(u8::MAX))),
        2 => Err(Refusal::Cluster(detail)),
        3 => Err(Refusal::Node(NodeId(detail))),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "an unknown verdict")),
    })
}

/// Hears a greeting and answers it. `Ok(None)` if the caller was refused.
pub(crate) fn welcome(
    stream: &mut (impl Read + Write),
    cluster_id: u64,
    node_id: NodeId,
) -> io::Result<Option<NodeId>> {
    let mut bytes = [0; GREETING_BYTES];
    stream.read_exact(&mut bytes)?;
    if !is_sealed(&bytes) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the greeting is no peer's"));
    }
    let theirs = Greeting {
        cluster_id: number_at(&bytes, 9),
        from: NodeId(number_at(&bytes, 17)),
        to: NodeId(number_at(&bytes, 25)),
    };
    let (verdict, detail) = if bytes[8] != FRAME_VERSION {
        (1, u64::from(FRAME_VERSION))
    } else if theirs.cluster_id != cluster_id {
        (2, cluster_id)
    } else if theirs.to != node_id {
        (3, node_id.0)
    } else {
        (0, 0)
    };
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    answer.extend(MAGIC);
    answer.push(verdict);
    answer.extend(detail.to_le_bytes());
    seal(&mut answer);
    stream.write_all(&answer)?;
    Ok((verdict == 0).then_some(theirs.from))
}

fn seal(bytes: &mut Vec<u8>) {
    let checksum = crc32c::crc32c(bytes);
    bytes.extend(checksum.to_le_bytes());
}

fn is_sealed(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<4>().is_some_and(|(body, checksum)| {
        body.starts_with(&MAGIC) && crc32c::crc32c(body) == u32::from_le_bytes(*checksum)
    })
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// One end of a connection: reads what is given, keeps what is written.
    struct End {
        input: Cursor<Vec<u8>>,
        output: Vec<u8>,
    }

    impl Read for End {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.input.read(buffer)
        }
    }

    impl Write for End {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.output.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn end(input: Vec<u8>) -> End {
        End { input: Cursor::new(input), output: Vec::new() }
    }

    fn greeting_bytes() -> Vec<u8> {
        let greeting = Greeting { cluster_id: 7, from: NodeId(1), to: NodeId(2) };
        let mut caller = end(Vec::new());
        assert!(greet(&mut caller, greeting).is_err(), "nobody answers");
        caller.output
    }

    fn exchange(cluster_id: u64, node_id: NodeId) -> (Option<NodeId>, Result<(), Refusal>) {
        let mut listener = end(greeting_bytes());
        let welcomed = welcome(&mut listener, cluster_id, node_id).expect("a good greeting");
        let mut caller = end(listener.output);
        let greeting = Greeting { cluster_id: 7, from: NodeId(1), to: NodeId(2) };
        (welcomed, greet(&mut caller, greeting).expect("a good answer"))
    }

    #[test]
    fn a_member_is_welcome() {
        assert_eq!(exchange(7, NodeId(2)), (Some(NodeId(1)), Ok(())));
    }

    #[test]
    fn another_cluster_and_another_node_are_refused_by_name() {
        assert_eq!(exchange(8, NodeId(2)), (None, Err(Refusal::Cluster(8))));
        assert_eq!(exchange(7, NodeId(3)), (None, Err(Refusal::Node(NodeId(3)))));
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut bytes = greeting_bytes();
        bytes.truncate(GREETING_BYTES - 4);
        bytes[8] = FRAME_VERSION + 1;
        seal(&mut bytes);
        let mut listener = end(bytes);
        assert_eq!(welcome(&mut listener, 7, NodeId(2)).expect("well formed"), None);
        let greeting = Greeting { cluster_id: 7, from: NodeId(1), to: NodeId(2) };
        let answer = greet(&mut end(listener.output), greeting).expect("well formed");
        assert_eq!(answer, Err(Refusal::Version(FRAME_VERSION)));
    }

    #[test]
    fn no_flipped_bit_of_a_greeting_passes() {
        for at in 0..GREETING_BYTES {
            let mut bytes = greeting_bytes();
            bytes[at] ^= 0x10;
            assert!(welcome(&mut end(bytes), 7, NodeId(2)).is_err(), "byte {at}");
        }
    }
}
