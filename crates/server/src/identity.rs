//! Who the member is. Written into the data folder at the first start, so that later ones need no
//! `--initial-cluster`, and so that a folder which is started under another name says whose it is.
//! ([`wal::DataFolder`] guards the folder by its numbers; this file has the names and addresses.)
//!
//! A text of lines, for people to read; the last line is a checksum over those before it:
//!
//! ```text
//! flotilla member 1
//! cluster 5e1a…
//! member 2b90… a
//! joined                         (only of a member whose cluster was there before: it was added
//!                                to it, or made from a backup)
//! peer 2b90… a http://10.0.0.1:2380,http://10.0.1.1:2380
//! check 77aa…
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use env::{Disk, OpenMode};
use raft::NodeId;
use sha2::{Digest, Sha256};

use crate::errors::StartError;
use crate::plan::{Cluster, Seed, texts};
use crate::url::HttpUrl;

/// The file's name in the data folder.
const FILE: &str = "member";
/// Its first line.
const FIRST_LINE: &str = "flotilla member 1";
/// More than any cluster's file has; a longer one is none of ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) member_id: NodeId,
    pub(crate) name: String,
    /// It was added to a cluster that existed, and learns from the others what was before; or it
    /// was made from a backup.
    pub(crate) joined: bool,
    /// As it was when the folder was made.
    pub(crate) cluster: Cluster,
}

impl Identity {
    /// Reads the folder's file; `None` for a folder that has none yet.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, StartError> {
        let file = dir.join(FILE);
        let failed = |error| StartError::Disk { doing: "reading", path: file.clone(), error };
        if !disk.exists(&file).map_err(failed)? {
            return Ok(None);
        }
        let bytes = read_all(disk, &file).map_err(failed)?;
        match Self::decode(&bytes) {
            Ok(identity) => Ok(Some(identity)),
            Err(reason) => Err(StartError::IdentityDamaged { file, reason: reason.to_owned() }),
        }
    }

    /// Writes the folder's file, whole or not at all.
    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StartError> {
        let (file, new) = (dir.join(FILE), dir.join("member.new"));
        let write = || {
            if disk.exists(&new)? {
                disk.remove_file(&new)?;
            }
            let handle = disk.open(&new, OpenMode::CreateNew)?;
            handle.write_all_at(self.encode().as_bytes(), 0)?;
            handle.sync_data()?;
            drop(handle);
            disk.rename(&new, &file)?;
            disk.sync_dir(dir)
        };
        write().map_err(|error| StartError::Disk { doing: "writing", path: file.clone(), error })
    }

    fn encode(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        let mut line = |line: std::fmt::Arguments<'_>| {
            text.write_fmt(line).expect("writing to a String cannot fail");
        };
        line(format_args!("cluster {:016x}\n", self.cluster.id));
        line(format_args!("member {:016x} {}\n", self.member_id.0, self.name));
        if self.joined {
            line(format_args!("joined\n"));
        }
        for (id, seed) in &self.cluster.members {
            let urls = texts(&seed.peer_urls).join(",");
            line(format_args!("peer {:016x} {} {urls}\n", id.0, seed.name));
        }
        let check = checksum(&text);
        text.push_str(&check);
        text
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
        let check_at = text.rfind("check ").ok_or("its checksum is missing")?;
        let (body, check) = text.split_at(check_at);
        let mut lines = body.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err("it is not of a version that this program knows");
        }
        if check != checksum(body) {
            return Err("its checksum is wrong");
        }
        let cluster_id = lines.next().and_then(|line| line.strip_prefix("cluster "));
        let id = cluster_id.and_then(parse_id).ok_or("it names no cluster")?;
        let member = lines.next().and_then(|line| line.strip_prefix("member "));
        let (member_id, name) = member.and_then(parse_named).ok_or("it names no member")?;
        let mut lines = lines.peekable();
        let joined = lines.next_if_eq(&"joined").is_some();
        let mut members = BTreeMap::new();
        for line in lines {
            let peer = line.strip_prefix("peer ").and_then(parse_named);
            let (id, rest) = peer.ok_or("it has a line of another kind")?;
            let (name, urls) = rest.rsplit_once(' ').ok_or("it has a member without addresses")?;
            let peer_urls: Result<Vec<_>, _> =
                urls.split(',').filter(|url| !url.is_empty()).map(HttpUrl::parse).collect();
            let peer_urls = peer_urls.map_err(|_| "it has an address that is none")?;
            members.insert(NodeId(id), Seed { name: name.to_owned(), peer_urls });
        }
        let member_id = NodeId(member_id);
        if !members.contains_key(&member_id) {
            return Err("the member is not in its own cluster");
        }
        Ok(Self { member_id, name: name.to_owned(), joined, cluster: Cluster { id, members } })
    }
}

fn parse_id(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|id| *id != 0)
}

/// An id, a space, and the rest.
fn parse_named(text: &str) -> Option<(u64, &str)> {
    let (id, rest) = text.split_once(' ')?;
    Some((parse_id(id)?, rest))
}

/// The last line. The first eight bytes of SHA-256 are plenty against a damaged disk.
fn checksum(body: &str) -> String {
    let hash = Sha256::digest(body.as_bytes());
    let mut line = "check ".to_owned();
    for byte in &hash[..8] {
        write!(line, "{byte:02x}").expect("writing to a String cannot fail");
    }
    line.push('\n');
    line
}

fn read_all(disk: &dyn Disk, file: &Path) -> io::Result<Vec<u8>> {
    let handle = disk.open(file, OpenMode::ReadOnly)?;
    let len = handle.len_bytes()?;
    if len > FILE_BYTES_MAX {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    handle.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// What the options and the folder say together: the member that starts.
pub(crate) struct Claim<'a> {
    pub(crate) dir: PathBuf,
    pub(crate) name: &'a str,
    /// The cluster that the options describe, if they describe one.
    pub(crate) described: Option<Cluster>,
    /// Whether the options say that it exists already.
    pub(crate) exists: bool,
    /// What the folder says, if it is not new.
    pub(crate) found: Option<Identity>,
}

impl Claim<'_> {
    /// For a folder that has a member's data: that member, unless the options name another one. The
    /// options' addresses of a cluster with its first members are kept, since all may have moved at
    /// once; a list of later members has nothing to say that the folder does not know.
    pub(crate) fn settle(self) -> Result<Option<Identity>, StartError> {
        let Some(mut identity) = self.found else { return Ok(None) };
        if identity.name != self.name {
            return Err(StartError::DataOfAnotherMember {
                dir: self.dir,
                found: identity.name,
                wanted: self.name.to_owned(),
            });
        }
        if let Some(described) = self.described {
            if self.exists || identity.joined {
                return Ok(Some(identity));
            }
            if described.id != identity.cluster.id {
                return Err(StartError::DataOfAnotherCluster {
                    dir: self.dir,
                    found: identity.cluster.id,
                    wanted: described.id,
                });
            }
            identity.cluster = described;
        }
        Ok(Some(identity))
    }
}

#[cfg(test)]
mod tests;
