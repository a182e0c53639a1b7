//! Disks that are lost, copied and put back.

use std::io;
use std::path::Path;

use env::mem::MemDisk;
use env::{Disk, OpenMode};
use host::StateMachine;
use raft::NodeId;

use super::World;
use super::life::Copy;

/// The file beside the log that has the log's number.
const NUMBER: &str = "/data/incarnation";

/// Writes a file to a disk, and its names.
fn keep(disk: &MemDisk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("a file is in a folder");
    disk.create_dir_all(folder)?;
    let file = disk.open(path, OpenMode::CreateNew)?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()?;
    disk.sync_dir(folder)
}

impl<S: StateMachine> World<S> {
    /// A node that is off loses its disk; all of it, or its log and its state alone, as when these
    /// are on a disk of their own: then its folder still says who it is, and that it had a log.
    pub fn lose_disk(&mut self, id: NodeId, is_all_lost: bool) {
        let node = self.node_mut(id);
        assert!(node.stages.is_none(), "a disk is lost while its node is off");
        let lost = std::mem::take(&mut node.disk);
        node.former = node.former.plus(lost.counts());
        node.lost = std::mem::take(&mut node.left);
        node.forget();
        if is_all_lost {
            node.identity = None;
        } else if let Some(number) = lost.contents(NUMBER.as_ref()) {
            keep(&node.disk, NUMBER.as_ref(), &number).expect("a new disk is well");
        }
        self.tell(id, "has lost its disk");
    }

    /// Somebody copies the disk of a node.
    pub fn copy_disk(&mut self, id: NodeId) {
        let groups = self.nodes[&id].stages.as_ref().map(host::Stages::group_ids);
        let known = |group| {
            let node = self.replica(id, group)?;
            let known = [node.configuration(), node.committed_configuration()];
            Some((group, known.map(Clone::clone)))
        };
        let known = groups.into_iter().flatten().filter_map(known).collect();
        let node = self.node_mut(id);
        node.copy = Some(Copy { disk: node.disk.fork(), identity: node.identity.clone(), known });
    }

    /// Puts the copy in the place of the disk of a node that is off. Whether there is one.
    pub fn set_back_disk(&mut self, id: NodeId) -> bool {
        let node = self.node_mut(id);
        assert!(node.stages.is_none(), "a disk is set back while its node is off");
        let Some(Copy { disk, identity, .. }) = node.copy.take() else { return false };
        node.former = node.former.plus(node.disk.counts());
        (node.disk, node.identity) = (disk, identity);
        node.left.clear();
        node.forget();
        self.tell(id, "has an old disk");
        true
    }

    /// From now on this node is not started if its log lacks what it had vouched for: the promise
    /// does not cover that, so whoever does it to a disk must know (`docs/adr/0008`).
    pub fn suspect_disk(&mut self, id: NodeId) {
        self.node_mut(id).is_suspect = true;
    }

    /// What might have been done to its disk was not.
    pub fn trust_disk(&mut self, id: NodeId) {
        self.node_mut(id).is_suspect = false;
    }
}
