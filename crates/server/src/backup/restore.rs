//! Makes the data folder of a new cluster's member from a backup.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::Disk;
use env::os::OsDisk;
use host::GroupId;
use raft::{EntryId, HardState, LogIndex, MarkWrite, Persist, PersistNumber, SnapshotMark, Term};
use sha2::{Digest, Sha256};
use store::{StoreMachine, StoreOptions};
use wal::{DataFolder, Wal, WalOptions, WalWrite};

use super::read::{Backup, BackupStatus};
use crate::errors::{OptionsError, StartError};
use crate::identity::Identity;
use crate::options::ServerOptions;
use crate::plan::{Cluster, Plan};
use crate::server::GROUP;

/// The new cluster's log begins behind this entry: the backup stands for it.
const FIRST: EntryId = EntryId { term: Term(1), index: LogIndex(1) };

/// What is to be made; named as `etcdutl`'s flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// The backup.
    pub backup: PathBuf,
    /// The member's name.
    pub name: String,
    /// Its folder, which must not be there yet, or be empty.
    pub data_dir: PathBuf,
    /// All members of the new cluster, as name=url,name=url.
    pub initial_cluster: String,
    /// Keeps clusters of the same names apart.
    pub initial_cluster_token: String,
    /// Where the others reach the member; empty for what `initial_cluster` says.
    pub initial_advertise_peer_urls: Vec<String>,
    /// Takes a file without a hash, or with another one.
    pub skip_hash_check: bool,
    /// Revisions that the new cluster leaves out, so that no client meets one twice that it has
    /// seen after the backup was taken.
    pub bump_revision: i64,
    /// Everything up to then counts as compacted, so that watches begin anew.
    pub mark_compacted: bool,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The member.
    pub member_id: u64,
    /// The cluster.
    pub cluster_id: u64,
    /// The revision that it goes on from.
    pub revision: i64,
    /// What was read.
    pub backup: BackupStatus,
}

/// Why nothing was made.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// An option makes no sense.
    Options(OptionsError),
    /// Two options do not go together.
    Misuse(&'static str),
    /// There is something in the folder.
    NotEmpty(PathBuf),
    /// The backup cannot be read, or is none.
    Backup {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
    /// The folder cannot be written.
    Start(StartError),
}

impl RestoreError {
    /// The code that the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Options(_) | Self::Misuse(_) | Self::NotEmpty(_) => 2,
            Self::Backup { .. } => 1,
            Self::Start(error) => error.exit_code(),
        }
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(error) => error.fmt(f),
            Self::Misuse(what) => f.write_str(what),
            Self::NotEmpty(dir) => {
                write!(f, "{} is not empty: choose another --data-dir", dir.display())
            }
            Self::Backup { file, error } => write!(f, "{}: {error}", file.display()),
            Self::Start(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RestoreError {}

impl From<OptionsError> for RestoreError {
    fn from(error: OptionsError) -> Self {
        Self::Options(error)
    }
}

impl BackupStatus {
    /// Reads all of a backup.
    ///
    /// # Errors
    /// It cannot be read, or is none, or is not what its hash says.
    pub fn of(file: &Path) -> Result<Self, RestoreError> {
        let bad = |error| RestoreError::Backup { file: file.to_owned(), error };
        // etcd's own databases have no hash, and are looked at as well.
        let backup = Backup::open(&OsDisk, file, false).or_else(|error| {
            let unchecked = Backup::open(&OsDisk, file, true)?;
            if unchecked.has_hash() { Err(error) } else { Ok(unchecked) }
        });
        backup.and_then(|backup| backup.status()).map_err(bad)
    }
}

/// Makes the data folder of one member. Every member of the new cluster is made from the same file:
/// the cluster's id comes from what is in it, so that no member of the old cluster takes part, nor
/// one that was made from another backup.
///
/// # Errors
/// Why not; what was begun is taken away again.
pub fn restore(options: &RestoreOptions) -> Result<Restored, RestoreError> {
    if options.bump_revision < 0 {
        return Err(RestoreError::Misuse("--bump-revision must not be negative"));
    }
    if (options.bump_revision > 0) != options.mark_compacted {
        let what = "--bump-revision and --mark-compacted go together: clients that have seen later \
                    revisions must begin anew";
        return Err(RestoreError::Misuse(what));
    }
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let dir = &options.data_dir;
    let failed = |error| StartError::Disk { doing: "reading", path: dir.clone(), error };
    let was_there = disk.exists(dir).map_err(failed).map_err(RestoreError::Start)?;
    if was_there && disk.list(dir).is_ok_and(|names| !names.is_empty()) {
        return Err(RestoreError::NotEmpty(dir.clone()));
    }
    let plan = Plan::new(&server_options(options))?;
    let file = &options.backup;
    let bad = |error| RestoreError::Backup { file: file.clone(), error };
    let backup = Backup::open(&*disk, file, options.skip_hash_check).map_err(bad)?;
    let made = make(&disk, options, &plan, &backup);
    if made.is_err() {
        // Half a folder helps nobody, and would be taken for a whole one.
        let _ = disk.remove_dir_all(dir);
    }
    made
}

fn server_options(options: &RestoreOptions) -> ServerOptions {
    ServerOptions {
        name: options.name.clone(),
        data_dir: options.data_dir.clone(),
        initial_cluster: options.initial_cluster.clone(),
        initial_cluster_token: options.initial_cluster_token.clone(),
        initial_advertise_peer_urls: options.initial_advertise_peer_urls.clone(),
        ..ServerOptions::default()
    }
}

fn make(
    disk: &Arc<dyn Disk>,
    options: &RestoreOptions,
    plan: &Plan,
    backup: &Backup,
) -> Result<Restored, RestoreError> {
    let bad = |error| RestoreError::Backup { file: options.backup.clone(), error };
    let status = backup.status().map_err(bad)?;
    let mut tables = backup.tables(FIRST).map_err(bad)?;
    tables.revision = tables
        .revision
        .checked_add(options.bump_revision)
        .ok_or(RestoreError::Misuse("--bump-revision is too large"))?;
    if options.mark_compacted {
        tables.compact_revision = tables.revision;
    }
    let described = plan.cluster.clone().expect("initial_cluster was given");
    let cluster = Cluster { id: cluster_id(&described, &backup.digest), ..described };
    let identity = Identity {
        member_id: plan.member_id,
        name: options.name.clone(),
        // What the options of a later start say of a new cluster is of another one.
        joined: true,
        cluster,
    };
    let dir = &options.data_dir;
    let written = |path: PathBuf| {
        move |error| RestoreError::Start(StartError::Disk { doing: "writing", path, error })
    };
    let folder_identity =
        wal::Identity { cluster_id: identity.cluster.id, node_id: identity.member_id.0 };
    let folder = DataFolder::open(&**disk, dir, folder_identity)
        .map_err(|error| written(dir.clone())(io::Error::other(error.to_string())))?;
    let store_dir = dir.join("store");
    let versions = backup.versions().map_err(bad)?;
    let store_options = StoreOptions::default();
    let machine =
        StoreMachine::import(Arc::clone(disk), &store_dir, store_options, &tables, versions);
    drop(machine.map_err(|error| {
        let is_bad = error.kind() == io::ErrorKind::InvalidData;
        if is_bad { bad(error) } else { written(store_dir)(error) }
    })?);
    begin_log(disk, &dir.join("wal"), &identity).map_err(written(dir.join("wal")))?;
    // The last file: without it the folder is nobody's.
    identity.write(&**disk, dir).map_err(RestoreError::Start)?;
    drop(folder);
    Ok(Restored {
        member_id: identity.member_id.0,
        cluster_id: identity.cluster.id,
        revision: tables.revision,
        backup: status,
    })
}

/// The log of a group whose first entries are in the backup.
fn begin_log(disk: &Arc<dyn Disk>, dir: &Path, identity: &Identity) -> io::Result<()> {
    let options = WalOptions { identity: identity.member_id.0, ..WalOptions::default() };
    let (mut wal, _) = Wal::open(Arc::clone(disk), dir, options)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let configuration = identity.cluster.configuration();
    let mark = SnapshotMark { last: FIRST, configuration };
    let group: GroupId = GROUP;
    let persist = Persist {
        number: PersistNumber(0),
        mark: Some(MarkWrite { mark: mark.into(), reset: false }),
        hard_state: Some(HardState { current_term: Term(1), voted_for: None }),
        entries: raft::Entries::new(),
    };
    wal.append(&[WalWrite { group, persist }])?;
    wal.sync()
}

/// From the members and from what is in the backup.
fn cluster_id(described: &Cluster, digest: &[u8; 32]) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(described.id.to_be_bytes());
    hasher.update(digest);
    let hash = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first).max(1)
}
