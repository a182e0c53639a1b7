//! The first bytes of a connection between peers.
//!
//! ```text
//! greeting: magic 8 │ version u8 │ cluster u64 │ from u64 │ to u64 │ checksum u32
//!           length u16 │ addresses, a line each │ checksum u32
//! answer:   magic 8 │ verdict u8 │ detail u64 │ checksum u32                   little-endian
//! ```
//!
//! The first line of the greeting and the answer are the same in every version, so that each side
//! can tell the other what it speaks: who does not speak the version of a greeting answers with the
//! newest that it speaks, and whoever called calls again in that one, if it speaks it. So the older
//! of both ends' newest versions is spoken. The second line is the same in versions 2 and 3. The
//! addresses are where the caller is reached: who is called
//! may not know that it is a member, and has to answer it (see [`Peers::meet`]).
//!
//! From node 0 of cluster 0 it is an inquiry: who are the members of the group `to`? The answer has
//! the cluster as its detail and is followed by what `inquiry.rs` says.

use std::fmt;
use std::io::{self, Read, Write};
use std::ops::RangeInclusive;

use raft::NodeId;
use wal::GroupId;

use super::inquiry;
use crate::frame::versions_up_to;
use crate::peers::Peers;
use crate::{FRAME_VERSION, FRAME_VERSION_OLDEST};

const MAGIC: [u8; 8] = *b"flotilla";
const GREETING_BYTES: usize = 8 + 1 + 3 * 8 + 4;
const ANSWER_BYTES: usize = 8 + 1 + 8 + 4;

/// More than the addresses of any member take.
const ADDRESSES_BYTES_MAX: usize = 4 << 10;

/// Who calls whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// What it wants to speak.
    pub(crate) version: u8,
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
    /// The newest version of the peer protocol that it speaks is this one.
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
    /// The caller was told to speak an older version, which it may do when it calls again.
    OtherVersion(u8),
    /// The caller was refused.
    Refused,
}

const WELCOME: u8 = 0;
const OTHER_VERSION: u8 = 1;
const OTHER_CLUSTER: u8 = 2;
const OTHER_NODE: u8 = 3;
const REMOVED: u8 = 4;
pub(super) const MEMBERS_FOLLOW: u8 = 5;
const NOT_ADMITTED: u8 = 6;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "it speaks version {version} of the peer protocol and this program versions \
                 {FRAME_VERSION_OLDEST} to {FRAME_VERSION}: a release between the two may speak \
                 both; upgrade through that one, or run one release on both"
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

/// What the next greeting has to say after this refusal, if it can be heeded: the newest version
/// that the other end speaks, which is older than the one that was `tried`.
pub(super) fn version_after(refusal: Refusal, tried: u8) -> Option<u8> {
    match refusal {
        Refusal::Version(theirs) => older_than(tried).contains(&theirs).then_some(theirs),
        Refusal::Cluster(_) | Refusal::Node(_) | Refusal::Removed | Refusal::Certificate => None,
    }
}

fn older_than(tried: u8) -> RangeInclusive<u8> {
    versions_up_to(tried.saturating_sub(1))
}

/// Sends a greeting and hears the answer.
pub(crate) fn greet(
    stream: &mut (impl Read + Write),
    greeting: &Greeting,
) -> io::Result<Result<(), Refusal>> {
    let (verdict, detail) = call(stream, greeting)?;
    match refusal(verdict, detail) {
        Some(refusal) => Ok(Err(refusal)),
        None if verdict == WELCOME => Ok(Ok(())),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "an unknown verdict")),
    }
}

/// What a verdict and its detail say, if it is a refusal.
pub(super) fn refusal(verdict: u8, detail: u64) -> Option<Refusal> {
    Some(match verdict {
        OTHER_VERSION => Refusal::Version(u8::try_from(detail).unwrap_or(u8::MAX)),
        OTHER_CLUSTER => Refusal::Cluster(detail),
        OTHER_NODE => Refusal::Node(NodeId(detail)),
        REMOVED => Refusal::Removed,
        NOT_ADMITTED => Refusal::Certificate,
        _ => return None,
    })
}

/// Sends a greeting and hears verdict and detail.
pub(super) fn call(stream: &mut (impl Read + Write), greeting: &Greeting) -> io::Result<(u8, u64)> {
    let mut bytes = Vec::with_capacity(GREETING_BYTES);
    bytes.extend(MAGIC);
    bytes.push(greeting.version);
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
    let (version, newest) = (bytes[8], peers.version_max());
    let is_spoken = versions_up_to(newest).contains(&version);
    let theirs = Greeting {
        version,
        cluster_id: number_at(&bytes, 9),
        from: NodeId(number_at(&bytes, 17)),
        to: NodeId(number_at(&bytes, 25)),
        addresses: if is_spoken { take_addresses(stream)? } else { Vec::new() },
    };
    let is_inquiry = (theirs.cluster_id, theirs.from) == (0, NodeId(0));
    let (verdict, detail) = if !is_spoken {
        (OTHER_VERSION, u64::from(newest))
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
        OTHER_VERSION if version > newest => Welcome::OtherVersion(version),
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
        let version = FRAME_VERSION;
        Greeting { version, cluster_id: 7, from: NodeId(1), to: NodeId(2), addresses }
    }

    fn one_is_welcome() -> Welcome {
        Welcome::Peer(NodeId(1), a_greeting().addresses)
    }

    fn greeting_bytes_of(version: u8) -> Vec<u8> {
        let mut caller = end(Vec::new());
        let greeting = Greeting { version, ..a_greeting() };
        assert!(greet(&mut caller, &greeting).is_err(), "nobody answers");
        caller.output
    }

    fn greeting_bytes() -> Vec<u8> {
        greeting_bytes_of(FRAME_VERSION)
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

    /// A greeting of `version` at a node whose newest version is `newest`: what both make of it.
    fn meet(version: u8, newest: u8) -> (Welcome, Result<(), Refusal>, Option<u8>) {
        let mut peers = peers_of(NodeId(2));
        peers.speak_up_to(newest);
        // What else a greeting of another version has to say, nobody can read.
        let mut bytes = greeting_bytes_of(version);
        if !(2..=3).contains(&version) {
            bytes.truncate(GREETING_BYTES);
        }
        let mut listener = end(bytes);
        let welcomed = welcome(&mut listener, 7, &peers, |_| true).expect("well formed");
        let answer = greet(&mut end(listener.output), &a_greeting()).expect("well formed");
        let again = answer.err().and_then(|refusal| version_after(refusal, version));
        (welcomed, answer, again)
    }

    #[test]
    fn every_version_that_is_spoken_is_welcome() {
        for (version, newest) in [(2, 2), (2, 3), (3, 3)] {
            assert_eq!(meet(version, newest), (one_is_welcome(), Ok(()), None));
        }
    }

    #[test]
    fn a_newer_caller_is_told_what_is_spoken_and_calls_again() {
        let told = Err(Refusal::Version(2));
        assert_eq!(meet(3, 2), (Welcome::OtherVersion(3), told, Some(2)));
        assert_eq!(meet(2, 2), (one_is_welcome(), Ok(()), None));
    }

    #[test]
    fn a_version_that_nobody_speaks_is_refused_by_name() {
        let told = Err(Refusal::Version(3));
        assert_eq!(meet(4, 3), (Welcome::OtherVersion(4), told, Some(3)), "a program to come");
        assert_eq!(meet(1, 3), (Welcome::Refused, told, None), "one that is too old");
        for theirs in [1, 3, 4, 255] {
            assert_eq!(version_after(Refusal::Version(theirs), 3), None);
        }
        assert_eq!(version_after(Refusal::Node(NodeId(2)), 3), None);
        let words = Refusal::Version(1).to_string();
        assert!(words.contains("version 1") && words.contains("2 to 3"), "{words}");
    }

    /// Who was built before sees what it always saw, and the other way round.
    #[test]
    fn golden_bytes_of_a_greeting() {
        for version in [2, 3] {
            let bytes = greeting_bytes_of(version);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let numbers = "070000000000000001000000000000000200000000000000";
            let line = format!("666c6f74696c6c610{version}{numbers}");
            assert_eq!(hex[..66], line);
            assert_eq!(hex[74..], *"1000613a310a68747470733a2f2f623a320ac32ec93a");
            let mut answer = end(bytes);
            welcome(&mut answer, 7, &peers_of(NodeId(2)), |_| true).expect("well formed");
            let hex: String = answer.output.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex[..34], *"666c6f74696c6c61000000000000000000");
        }
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
