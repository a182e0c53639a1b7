//! Directory entries, and which of them a crash would keep.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::inode::Inode;
use crate::SplitMix;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Dir,
    File(Arc<Mutex<Inode>>),
}

type Tree = BTreeMap<PathBuf, Node>;

/// A change of names that is not durable before the directory is synced.
#[derive(Clone, Debug)]
enum Change {
    Create(PathBuf, Node),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// The names as the process sees them, the names as a crash would leave them, and what lies
/// between the two. File systems journal names in order, so a crash keeps a prefix of the changes.
#[derive(Debug, Default)]
pub(super) struct Names {
    live: Tree,
    durable: Tree,
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn look_up(&self, path: &Path) -> io::Result<&Node> {
        self.live.get(path).ok_or_else(|| not_found(path))
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Inode>>> {
        match self.look_up(path)? {
            Node::File(inode) => Ok(Arc::clone(inode)),
            Node::Dir => Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory")),
        }
    }

    /// Directories are durable when this returns, as they are with the real disk.
    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        for ancestor in path.ancestors() {
            if let Some(Node::File(_)) = self.live.get(ancestor) {
                return Err(io::Error::new(io::ErrorKind::NotADirectory, "is a file"));
            }
        }
        for ancestor in path.ancestors() {
            self.live.insert(ancestor.to_path_buf(), Node::Dir);
            self.durable.insert(ancestor.to_path_buf(), Node::Dir);
        }
        Ok(())
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<Arc<Mutex<Inode>>> {
        if self.live.contains_key(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "file exists"));
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.look_up(parent)?;
        }
        let inode = Arc::new(Mutex::new(Inode::default()));
        self.change(Change::Create(path.to_path_buf(), Node::File(Arc::clone(&inode))));
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.look_up(from)?;
        if let Some(Node::Dir) = self.live.get(to) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "is a directory"));
        }
        self.change(Change::Rename(from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.look_up(path)?;
        self.change(Change::Remove(path.to_path_buf()));
        Ok(())
    }

    fn change(&mut self, change: Change) {
        // What is renamed here is in the tree itself.
        apply(&mut self.live, &Tree::new(), &change);
        self.pending.push(change);
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.look_up(dir)?;
        // Names are in the order of their parts, so all below a folder stand behind it.
        let behind = self.live.range::<Path, _>((Bound::Excluded(dir), Bound::Unbounded));
        Ok(behind
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(dir))
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let in_dir = |path: &Path| path.parent() == Some(dir);
        let pending = std::mem::take(&mut self.pending);
        for change in pending {
            let touched = match &change {
                Change::Create(path, _) | Change::Remove(path) => in_dir(path),
                Change::Rename(from, to) => in_dir(from) || in_dir(to),
            };
            if touched {
                apply(&mut self.durable, &self.live, &change);
            } else {
                self.pending.push(change);
            }
        }
    }

    /// Keeps a prefix of the changes: all `dice` allows, or none without dice.
    pub(super) fn crash(&mut self, dice: Option<&mut SplitMix>) {
        let pending = std::mem::take(&mut self.pending);
        let kept = dice.map_or(0, |dice| dice.below(pending.len() as u64 + 1));
        for change in pending.iter().take(usize::try_from(kept).unwrap_or(usize::MAX)) {
            apply(&mut self.durable, &self.live, change);
        }
        self.live = self.durable.clone();
    }

    /// Every file that a name leads to, now or after a crash; in the order of names.
    pub(super) fn files(&self) -> Vec<(PathBuf, Arc<Mutex<Inode>>)> {
        let mut files: Vec<(PathBuf, Arc<Mutex<Inode>>)> = Vec::new();
        for (path, node) in self.live.iter().chain(&self.durable) {
            if let Node::File(inode) = node
                && !files.iter().any(|(_, other)| Arc::ptr_eq(other, inode))
            {
                files.push((path.clone(), Arc::clone(inode)));
            }
        }
        files
    }

    /// A copy of what is live, with files of its own, all of it durable.
    pub(super) fn fork(&self) -> Self {
        let copy = |node: &Node| match node {
            Node::Dir => Node::Dir,
            Node::File(inode) => Node::File(Arc::new(Mutex::new(inode.lock().fork()))),
        };
        let live: Tree = self.live.iter().map(|(path, node)| (path.clone(), copy(node))).collect();
        Self { durable: live.clone(), live, pending: Vec::new() }
    }

    /// Bytes of all files that have a name now.
    pub(super) fn used_bytes(&self) -> u64 {
        let len = |node: &Node| match node {
            Node::Dir => 0,
            Node::File(inode) => inode.lock().bytes().len() as u64,
        };
        self.live.values().map(len).sum()
    }
}

/// Makes one change. A rename whose source is not in `tree` (its creation is not durable) takes
/// the file from `live`: syncing the directory of the new name makes the name durable.
fn apply(tree: &mut Tree, live: &Tree, change: &Change) {
    match change {
        Change::Create(path, node) => {
            tree.insert(path.clone(), node.clone());
        }
        Change::Remove(path) => tree.retain(|name, _| !name.starts_with(path)),
        Change::Rename(from, to) => {
            let moved: Vec<(PathBuf, Node)> = tree
                .iter()
                .filter(|(name, _)| name.starts_with(from))
                .map(|(name, node)| (name.clone(), node.clone()))
                .collect();
            tree.retain(|name, _| !name.starts_with(from));
            if moved.is_empty()
                && let Some(node) = live.get(to)
            {
                tree.insert(to.clone(), node.clone());
            }
            for (name, node) in moved {
                let rest = name.strip_prefix(from).unwrap_or_else(|_| Path::new(""));
                let target = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                tree.insert(target, node);
            }
        }
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}
