//! `force-new-cluster`: a cluster of what one member has, after a majority is gone for good.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::Disk;
use env::os::{OsDisk, OsEntropy};
use host::{ForceError, MemberAttributes};
use raft::{Configuration, NodeId};
use wal::{Wal, WalOptions};

use crate::errors::StartError;
use crate::identity::Identity;
use crate::server::{GROUP, claim_folder};

/// A member in a [`ForcedCluster`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForcedMember {
    /// Its id.
    pub id: u64,
    /// Its name; empty if it has never started.
    pub name: String,
}

/// What a data folder is to become, or has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForcedCluster {
    /// The cluster; its id stays.
    pub cluster_id: u64,
    /// The member whose folder it is.
    pub member: ForcedMember,
    /// The last entry of its log, which is the first that the new cluster builds on.
    pub last_index: u64,
    /// Its term.
    pub last_term: u64,
    /// Who stays.
    pub kept: Vec<ForcedMember>,
    /// Who is a member no more, and can never be one again under that id.
    pub removed: Vec<ForcedMember>,
}

/// Makes the member of a folder, with the other members named in `keep`, all of its cluster. The
/// folder's process must not run. With `accept_data_loss` unset nothing is written, and what would
/// be is returned.
///
/// # Errors
/// Nothing was changed.
pub fn force_new_cluster(
    data_dir: &Path,
    keep: &[String],
    accept_data_loss: bool,
) -> Result<ForcedCluster, StartError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let nothing = || StartError::NothingToRecover {
        dir: data_dir.to_path_buf(),
        reason: "no member's data is there".to_owned(),
    };
    let identity = Identity::read(&*disk, data_dir)?.ok_or_else(nothing)?;
    let own = identity.member_id;
    // From here on nobody else can start with it.
    let _folder = claim_folder(&*disk, data_dir, &identity)?;
    let dir: PathBuf = data_dir.join("wal");
    let options = WalOptions { identity: own.0, ..WalOptions::default() };
    let (mut wal, mut recovered) = Wal::open(Arc::clone(&disk), &dir, options)
        .map_err(|error| StartError::Log { dir: dir.clone(), error })?;
    let group = recovered.groups.remove(&GROUP).ok_or_else(nothing)?;
    let newest = group.configurations.last().map(|(_, configuration)| configuration);
    let members = newest.unwrap_or(&group.mark.configuration).clone();
    let refused = |reason| StartError::NothingToRecover { dir: data_dir.to_path_buf(), reason };
    let mut survivors = BTreeSet::from([own]);
    for name in keep {
        let id = find(&members, &identity, name);
        survivors.insert(id.ok_or_else(|| refused(format!("no member is called {name}")))?);
    }
    let forced = host::force_survivors(
        (&mut wal, GROUP),
        group,
        (own, &survivors),
        &OsEntropy,
        accept_data_loss,
    );
    let forced = forced.map_err(|error| match error {
        ForceError::Io(error) => StartError::Disk { doing: "writing", path: dir, error },
        other @ (ForceError::Refused(_) | _) => refused(other.to_string()),
    })?;
    let named = |id: NodeId| ForcedMember { id: id.0, name: name_of(&members, &identity, id) };
    let is_kept = |id: &NodeId| forced.after.contains(*id);
    Ok(ForcedCluster {
        cluster_id: identity.cluster.id,
        member: named(own),
        last_index: forced.last.index.0,
        last_term: forced.last.term.0,
        kept: forced.before.members().filter(is_kept).map(named).collect(),
        removed: forced.before.members().filter(|id| !is_kept(id)).map(named).collect(),
    })
}

fn name_of(members: &Configuration, identity: &Identity, id: NodeId) -> String {
    let name = MemberAttributes::of(members, id).name;
    match identity.cluster.members.get(&id) {
        Some(seed) if name.is_empty() => seed.name.clone(),
        _ => name,
    }
}

/// By name, or by id as `member list` shows it.
fn find(members: &Configuration, identity: &Identity, wanted: &str) -> Option<NodeId> {
    let is_meant =
        |id: &NodeId| name_of(members, identity, *id) == wanted || format!("{:x}", id.0) == wanted;
    members.members().find(is_meant)
}
