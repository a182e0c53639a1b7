//! Asking a cluster who its members are, before one is a member: so a node that joins learns its
//! id, the cluster's, and where its peers are.
//!
//! Behind the answer of the greeting, see `greeting.rs`:
//!
//! ```text
//! node u64 │ length u32 │ group configuration │ checksum u32                    little-endian
//! ```

use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use env::os::OsClock;
use raft::NodeId;
use wal::GroupId;

use super::calling;
use super::greeting::{self, Greeting, Refusal};
use super::hurried::Hurried;
use super::tls::{self, PeerTls};
use crate::peers::Peers;
use crate::records::errand::{put_group_configuration, take_group_configuration};
use crate::{FRAME_VERSION, GroupConfiguration};

/// More than any configuration has; a longer one is none.
const CONFIGURATION_BYTES_MAX: usize = 1 << 20;
const HEAD_BYTES: usize = 8 + 4;

/// A cluster, as one of its nodes describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCluster {
    /// The cluster.
    pub cluster_id: u64,
    /// The node that answered.
    pub node_id: NodeId,
    /// The members of the group that was asked about, as far as that node knows.
    pub configuration: GroupConfiguration,
}

/// Asks the node at `address`, as `host:port` or `https://host:port`, who the members of a group
/// are. Blocks.
///
/// # Errors
/// Nobody answers, or nobody of this program, or nobody that this node trusts.
pub fn ask_members(
    address: &str,
    group: GroupId,
    timeout: Duration,
    tls: Option<&PeerTls>,
) -> io::Result<KnownCluster> {
    let (place, is_secure) = tls::place_of(address);
    let clock = OsClock::new();
    let ask_in = |version: u8| {
        let socket = calling::connect(place)?;
        socket.set_write_timeout(Some(timeout))?;
        let mut socket = Hurried::new(&socket, &clock, timeout);
        if !is_secure {
            return ask(&mut socket, group, version);
        }
        let tls = tls.ok_or_else(calling::no_certificates)?;
        ask(&mut tls.connect(tls::host_of(place), socket)?, group, version)
    };
    let mut version = FRAME_VERSION;
    loop {
        match ask_in(version)? {
            Ok(known) => return Ok(known),
            Err(refusal) => match greeting::version_after(refusal, version) {
                Some(told) => version = told,
                None => return Err(denied(refusal)),
            },
        }
    }
}

/// The answer is the same in versions 2 and 3.
fn ask(
    stream: &mut (impl Read + Write),
    group: GroupId,
    version: u8,
) -> io::Result<Result<KnownCluster, Refusal>> {
    let (to, addresses) = (NodeId(group.0), Vec::new());
    let greeting = Greeting { version, cluster_id: 0, from: NodeId(0), to, addresses };
    let (verdict, cluster_id) = greeting::call(stream, &greeting)?;
    if let Some(refusal) = greeting::refusal(verdict, cluster_id) {
        return Ok(Err(refusal));
    }
    if verdict != greeting::MEMBERS_FOLLOW {
        return Err(invalid("it does not tell who its members are"));
    }
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head)?;
    let (node, length) = head.split_at(8);
    let node_id = NodeId(u64::from_le_bytes(node.try_into().unwrap_or_default()));
    let length = u32::from_le_bytes(length.try_into().unwrap_or_default()) as usize;
    if length > CONFIGURATION_BYTES_MAX {
        return Err(invalid("its list of members is too long"));
    }
    let mut rest = vec![0; length + 4];
    stream.read_exact(&mut rest)?;
    let (body, checksum) = rest.split_at(length);
    let expected = crc32c::crc32c_append(crc32c::crc32c(&head), body);
    if checksum != expected.to_le_bytes() {
        return Err(invalid("its list of members is damaged"));
    }
    let mut body = Bytes::copy_from_slice(body);
    let configuration = take_group_configuration(&mut body).filter(|_| body.is_empty());
    let configuration =
        configuration.ok_or_else(|| invalid("its list of members is of another version"))?;
    Ok(Ok(KnownCluster { cluster_id, node_id, configuration }))
}

/// Tells the members of a group, as far as this node knows.
pub(super) fn answer(stream: &mut impl Write, group: GroupId, peers: &Peers) -> io::Result<()> {
    let mut body = BytesMut::new();
    put_group_configuration(&mut body, &peers.configuration(group));
    let mut bytes = BytesMut::new();
    bytes.put_u64_le(peers.node_id().0);
    let length = u32::try_from(body.len()).expect("a configuration is far below 4 GiB");
    bytes.put_u32_le(length);
    bytes.put_slice(&body);
    let checksum = crc32c::crc32c(&bytes);
    bytes.put_u32_le(checksum);
    stream.write_all(&bytes)
}

fn denied(refusal: Refusal) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, refusal.to_string())
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use raft::{Configuration, LogIndex};

    use super::*;
    use crate::PeerAddresses;
    use crate::transport::test_end::end;

    fn answered(peers: &Peers, version: u8) -> Vec<u8> {
        let mut caller = end(Vec::new());
        assert!(ask(&mut caller, GroupId(1), version).is_err(), "nobody answers");
        let mut listener = end(caller.output);
        let welcomed =
            greeting::welcome(&mut listener, 7, peers, |_| true).expect("a good greeting");
        assert_eq!(welcomed, greeting::Welcome::Inquirer);
        listener.output
    }

    #[test]
    fn who_asks_is_told_the_members_and_no_damaged_list() {
        let peers = Peers::new(NodeId(2), Vec::new(), PeerAddresses::new());
        let configuration = Configuration::of_voters([NodeId(2), NodeId(3)]);
        let configuration =
            GroupConfiguration { index: LogIndex(5), is_committed: true, configuration };
        peers.follow(GroupId(1), configuration.clone(), configuration.clone());
        let bytes = answered(&peers, FRAME_VERSION);
        assert_eq!(bytes, answered(&peers, 2), "it is the same in every version");
        let hear = |bytes: Vec<u8>| ask(&mut end(bytes), GroupId(1), FRAME_VERSION);
        let known = KnownCluster { cluster_id: 7, node_id: NodeId(2), configuration };
        assert_eq!(hear(bytes.clone()).expect("a good answer"), Ok(known));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(hear(damaged).is_err(), "byte {at}");
        }
    }
}
