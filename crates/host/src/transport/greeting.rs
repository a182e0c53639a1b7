//! The first bytes of a connection between peers.
//!
//! ```text
//! greeting: magic 8 │ version u8 │ cluster u64 │ from u64 │ to u64 │ checksum u32
//!           length u16 │ addresses, a line each │ checksum u32
//! answer:   magic 8 │ verdict u8 │ detail u64 │ checksum u32                   little-endian
//! ```
//!
//! The first line of the greeting and the answer are the same in every version, so that each side
//! can tell the other what it speaks. The addresses are where the caller is reached: who is called
//! may not know that it is a member, and has to answer it (see [`Peers::meet`]).
//!
//! From node 0 of cluster 0 it is an inquiry: who are the members of the group `to`? The answer has
//! the cluster as its detail and is followed by what `inquiry.rs` says.

use std::fmt;
use std::io::{self, Read, Write};

use raft::NodeId;
use wal::GroupId;

use super::inquiry;
use crate::FRAME_VERSION;
use crate::peers::Peers;

const MAGIC: [u8; 8] = *b"flotilla";
const GREETING_BYTES: usize = 8 + 1 + 3 * 8 + 4;
const ANSWER_BYTES: usize = 8 + 1 + 8 + 4;

/// More than the addresses of any member take.
const ADDRESSES_BYTES_MAX: usize = 4 << 10;

/// Who calls whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) cluster_id: u64,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// Where the caller is reached.
    pub(crate) addresses: Vec<String>,
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
    /// It says that this node was removed.
    Removed,
    /// It does not take this node's certificate.
    Certificate,
}

/// What came of a greeting that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Welcome {
    /// This peer will send frames, and says that it is reached at these addresses.
    Peer(NodeId, Vec<String>),
    /// Somebody asked who the members are, and was told.
    Inquirer,
    /// The caller was refused.
    Refused,
}

const WELCOME: u8 = 0;
const OTHER_VERSION: u8 = 1;
const OTHER_CLUSTER: u8 = 2;
const OTHER_NODE: u8 = 3;
const REMOVED: u8 = 4;
pub(super) const MEMBERS_FOLLOW: u8 = 5;
pub(super) const NOT_ADMITTED: u8 = 6;

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
            Self::Removed => f.write_str("it says that this member was removed from the cluster"),
            Self::Certificate => f.write_str(
                "it does not take this member's certificate, which must name the host of one of \
                 its peer URLs, or one that --peer-cert-allowed-cn or -hostname names there",
            ),
        }
    }
}

/// Sends a greeting and hears the answer.
pub(crate) fn greet(
    stream: &mut (impl Read + Write),
    greeting: &Greeting,
) -> io::Result<Result<(), Refusal>> {
    let (verdict, detail) = call(stream, greeting)?;
    Ok(match verdict {
        WELCOME => Ok(()),
        OTHER_VERSION => Err(Refusal::Version(u8::try_from(detail).unwrap_or(u8::MAX))),
        OTHER_CLUSTER => Err(Refusal::Cluster(detail)),
        OTHER_NODE => Err(Refusal::Node(NodeId(detail))),
        REMOVED => Err(Refusal::Removed),
        NOT_ADMITTED => Err(Refusal::Certificate),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "an unknown verdict")),
    })
}

/// Sends a greeting and hears verdict and detail.
pub(super) fn call(stream: &mut (impl Read + Write), greeting: &Greeting) -> io::Result<(u8, u64)> {
    let mut bytes = Vec::with_capacity(GREETING_BYTES);
    bytes.extend(MAGIC);
    bytes.push(FRAME_VERSION);
    bytes.extend(greeting.cluster_id.to_le_bytes());
    bytes.extend(greeting.from.0.to_le_bytes());
    bytes.extend(greeting.to.0.to_le_bytes());
    seal(&mut bytes);
    put_addresses(&mut bytes, &greeting.addresses);
    stream.write_all(&bytes)?;
    let mut answer = [0; ANSWER_BYTES];
    stream.read_exact(&mut answer)?;
    if !is_sealed(&answer) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is no peer's"));
    }
    Ok((answer[8], number_at(&answer, 9)))
}

/// Hears a greeting and answers it. `admits` says whether the caller is who it says it is; who only
/// inquires says nothing of that.
pub(crate) fn welcome(
    stream: &mut (impl Read + Write),
    cluster_id: u64,
    peers: &Peers,
    admits: impl FnOnce(Option<NodeId>) -> bool,
) -> io::Result<Welcome> {
    let mut bytes = [0; GREETING_BYTES];
    stream.read_exact(&mut bytes)?;
    if !is_sealed(&bytes) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the greeting is no peer's"));
    }
    let theirs = Greeting {
        cluster_id: number_at(&bytes, 9),
        from: NodeId(number_at(&bytes, 17)),
        to: NodeId(number_at(&bytes, 25)),
        addresses: if bytes[8] == FRAME_VERSION { take_addresses(stream)? } else { Vec::new() },
    };
    let is_inquiry = (theirs.cluster_id, theirs.from) == (0, NodeId(0));
    let (verdict, detail) = if bytes[8] != FRAME_VERSION {
        (OTHER_VERSION, u64::from(FRAME_VERSION))
    } else if is_inquiry {
        if admits(None) { (MEMBERS_FOLLOW, cluster_id) } else { (NOT_ADMITTED, 0) }
    } else if theirs.cluster_id != cluster_id {
        (OTHER_CLUSTER, cluster_id)
    } else if theirs.to != peers.node_id() {
        (OTHER_NODE, peers.node_id().0)
    } else if peers.has_departed(theirs.from) {
        (REMOVED, 0)
    } else if admits(Some(theirs.from)) {
        (WELCOME, 0)
    } else {
        (NOT_ADMITTED, 0)
    };
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    answer.extend(MAGIC);
    answer.push(verdict);
    answer.extend(detail.to_le_bytes());
    seal(&mut answer);
    stream.write_all(&answer)?;
    Ok(match verdict {
        WELCOME => Welcome::Peer(theirs.from, theirs.addresses),
        MEMBERS_FOLLOW => {
            inquiry::answer(stream, GroupId(theirs.to.0), peers)?;
            Welcome::Inquirer
        }
        _ => Welcome::Refused,
    })
}

/// Those that fit; a caller with more is reached at the first ones.
fn put_addresses(bytes: &mut Vec<u8>, addresses: &[String]) {
    let mut text = String::new();
    for address in addresses {
        if text.len() + address.len() >= ADDRESSES_BYTES_MAX {
            break;
        }
        text.push_str(address);
        text.push('\n');
    }
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes();
    bytes.extend(length);
    bytes.extend(text.as_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), text.as_bytes());
    bytes.extend(checksum.to_le_bytes());
}

fn take_addresses(stream: &mut impl Read) -> io::Result<Vec<String>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the greeting is no peer's");
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let bytes = usize::from(u16::from_le_bytes(length));
    if bytes > ADDRESSES_BYTES_MAX {
        return Err(invalid());
    }
    let mut rest = vec![0; bytes + 4];
    stream.read_exact(&mut rest)?;
    let (text, checksum) = rest.split_at(bytes);
    let expected = crc32c::crc32c_append(crc32c::crc32c(&length), text);
    if checksum != expected.to_le_bytes() {
        return Err(invalid());
    }
    let text = std::str::from_utf8(text).map_err(|_| invalid())?;
    Ok(text.lines().map(str::to_owned).collect())
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
    use super::*;
    use crate::transport::test_end::end;
    use crate::{GroupConfiguration, PeerAddresses};
    use raft::{Configuration, LogIndex};

    fn a_greeting() -> Greeting {
        let addresses = vec!["a:1".to_owned(), "https://b:2".to_owned()];
        Greeting { cluster_id: 7, from: NodeId(1), to: NodeId(2), addresses }
    }

    fn one_is_welcome() -> Welcome {
        Welcome::Peer(NodeId(1), a_greeting().addresses)
    }

    fn greeting_bytes() -> Vec<u8> {
        let mut caller = end(Vec::new());
        assert!(greet(&mut caller, &a_greeting()).is_err(), "nobody answers");
        caller.output
    }

    fn peers_of(node_id: NodeId) -> Peers {
        Peers::new(node_id, Vec::new(), PeerAddresses::new())
    }

    fn exchange(cluster_id: u64, peers: &Peers) -> (Welcome, Result<(), Refusal>) {
        let mut listener = end(greeting_bytes());
        let welcomed =
            welcome(&mut listener, cluster_id, peers, |_| true).expect("a good greeting");
        let mut caller = end(listener.output);
        (welcomed, greet(&mut caller, &a_greeting()).expect("a good answer"))
    }

    #[test]
    fn a_member_is_welcome() {
        let welcomed = exchange(7, &peers_of(NodeId(2)));
        assert_eq!(welcomed, (one_is_welcome(), Ok(())));
    }

    #[test]
    fn as_many_addresses_are_told_as_fit() {
        let addresses: Vec<String> = (0..9_000).map(|port| format!("host:{port}")).collect();
        let mut caller = end(Vec::new());
        assert!(greet(&mut caller, &Greeting { addresses, ..a_greeting() }).is_err());
        let mut listener = end(caller.output);
        let welcomed = welcome(&mut listener, 7, &peers_of(NodeId(2)), |_| true);
        let Ok(Welcome::Peer(_, told)) = welcomed else { panic!("not welcome: {welcomed:?}") };
        assert!(told.len() > 300 && told[0] == "host:0", "{}", told.len());
    }

    #[test]
    fn another_cluster_and_another_node_are_refused_by_name() {
        let refused = |refusal| (Welcome::Refused, Err(refusal));
        assert_eq!(exchange(8, &peers_of(NodeId(2))), refused(Refusal::Cluster(8)));
        let other = exchange(7, &peers_of(NodeId(3)));
        assert_eq!(other, refused(Refusal::Node(NodeId(3))));
    }

    #[test]
    fn a_removed_node_is_told_so() {
        let peers = peers_of(NodeId(2));
        let tell = |index, is_committed, voters: &[u64]| {
            let voters = voters.iter().copied().map(NodeId);
            let mut configuration = Configuration::of_voters(voters);
            if index == 9 {
                configuration.removed.push(NodeId(1));
            }
            let index = LogIndex(index);
            let new = GroupConfiguration { index, is_committed, configuration };
            peers.follow(GroupId(1), new, GroupConfiguration::default());
            exchange(7, &peers)
        };
        let welcome = (one_is_welcome(), Ok(()));
        assert_eq!(tell(0, true, &[2, 3]), welcome, "its addition may not have come here yet");
        assert_eq!(tell(4, true, &[1, 2, 3]), welcome);
        assert_eq!(tell(9, false, &[2, 3]), welcome, "the removal may still be overwritten");
        assert_eq!(tell(9, true, &[2, 3]), (Welcome::Refused, Err(Refusal::Removed)));
    }

    #[test]
    fn one_that_is_not_who_it_says_is_refused_by_name() {
        let mut listener = end(greeting_bytes());
        let mut judged = None;
        let judge = |from| {
            judged = from;
            false
        };
        let welcomed = welcome(&mut listener, 7, &peers_of(NodeId(2)), judge);
        assert_eq!(welcomed.expect("a good greeting"), Welcome::Refused);
        assert_eq!(judged, Some(NodeId(1)));
        let answer = greet(&mut end(listener.output), &a_greeting()).expect("a good answer");
        assert_eq!(answer, Err(Refusal::Certificate));
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut bytes = greeting_bytes();
        bytes.truncate(GREETING_BYTES - 4);
        bytes[8] = FRAME_VERSION + 1;
        seal(&mut bytes);
        let mut listener = end(bytes);
        let welcomed =
            welcome(&mut listener, 7, &peers_of(NodeId(2)), |_| true).expect("well formed");
        assert_eq!(welcomed, Welcome::Refused);
        let answer = greet(&mut end(listener.output), &a_greeting()).expect("well formed");
        assert_eq!(answer, Err(Refusal::Version(FRAME_VERSION)));
    }

    #[test]
    fn no_flipped_bit_of_a_greeting_passes() {
        for at in 0..greeting_bytes().len() {
            let mut bytes = greeting_bytes();
            bytes[at] ^= 0x10;
            let welcomed = welcome(&mut end(bytes), 7, &peers_of(NodeId(2)), |_| true);
            assert!(welcomed.is_err(), "byte {at}");
        }
    }
}
