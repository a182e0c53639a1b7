//! Backups: `ctl snapshot save`, and the options of `status` and `restore`, which need no server.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use api::etcdserverpb::SnapshotRequest;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use clap::{Args, Subcommand};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Output;
use crate::table::bytes_short;
use crate::{ClientError, Endpoints};

/// Bytes of the hash behind the file.
const HASH_BYTES: usize = 32;
/// The mode of a file that nobody else may read.
const OWNER_ALONE: u32 = 0o600;

/// The commands about backups.
#[derive(Clone, Debug, Subcommand)]
pub enum Snapshot {
    /// Write a backup of one endpoint to a file, as `etcdctl snapshot save` does.
    #[command(after_help = "Example: flotilla ctl snapshot save backup.db")]
    Save {
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// What a backup has in it.
    #[command(after_help = "Example: flotilla ctl snapshot status backup.db --json")]
    Status {
        /// The file.
        file: PathBuf,
    },
    /// Make the data folder of one member of a new cluster from a backup, of Flotilla or of etcd.
    ///
    /// Every member is made from the same file, and with the same --initial-cluster.
    #[command(after_help = RESTORE_EXAMPLE)]
    Restore(RestoreArguments),
}

const RESTORE_EXAMPLE: &str = "\
Example: flotilla ctl snapshot restore backup.db --name n1 --data-dir /var/lib/flotilla \\
           --initial-cluster n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380 \\
           --initial-advertise-peer-urls http://10.0.0.1:2380";

/// What is to be made of a backup; the flags are `etcdutl`'s.
#[derive(Clone, Debug, Args)]
pub struct RestoreArguments {
    /// The backup.
    pub file: PathBuf,
    /// The member's name.
    #[arg(long, default_value = "default")]
    pub name: String,
    /// The member's folder, which must not be there [default: NAME.flotilla].
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// All members of the new cluster, as name=url,name=url
    /// [default: NAME at --initial-advertise-peer-urls].
    #[arg(long)]
    pub initial_cluster: Option<String>,
    /// Keeps clusters of the same names and addresses apart.
    #[arg(long, default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// Where the others reach the member [default: what --initial-cluster says].
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    pub initial_advertise_peer_urls: Vec<String>,
    /// Take a file without a hash, such as the database of an etcd that was stopped.
    #[arg(long)]
    pub skip_hash_check: bool,
    /// Revisions to leave out, so that no client meets one twice that it has seen since.
    #[arg(long, default_value_t = 0, value_name = "REVISIONS", requires = "mark_compacted")]
    pub bump_revision: i64,
    /// Count all revisions up to then as compacted, so that watches begin anew.
    #[arg(long, requires = "bump_revision")]
    pub mark_compacted: bool,
}

#[derive(Debug, Serialize)]
struct Saved {
    file: String,
    bytes: u64,
    version: String,
}

pub(super) async fn run(
    endpoints: &Endpoints,
    snapshot: &Snapshot,
    output: &mut Output<'_>,
) -> Result<(), ClientError> {
    let Snapshot::Save { file } = snapshot else {
        let message = "status and restore are done by the program itself, without a server";
        return Err(ClientError::Argument(message.to_owned()));
    };
    let partial = PathBuf::from(format!("{}.part", file.display()));
    if file.exists() {
        let message = format!("{} exists: choose another file", file.display());
        return Err(ClientError::Argument(message));
    }
    let (bytes, version) = receive(endpoints, &partial).await?;
    std::fs::rename(&partial, file)?;
    let saved = Saved { file: file.display().to_string(), bytes, version };
    if output.json {
        return output.json(&saved);
    }
    output.line(&format!("{}: {}, and its hash is right", saved.file, bytes_short(bytes)))
}

/// Writes what comes, and holds it against the hash that comes behind it.
async fn receive(endpoints: &Endpoints, path: &Path) -> Result<(u64, String), ClientError> {
    let mut client = MaintenanceClient::new(endpoints.connect_any().await?);
    let mut pieces = client.snapshot(SnapshotRequest {}).await?.into_inner();
    let file = File::create(path)?;
    // All keys are in it, and the hashes of passwords.
    file.set_permissions(Permissions::from_mode(OWNER_ALONE))?;
    let mut file = BufWriter::new(file);
    let (mut bytes, mut version) = (0, String::new());
    let mut hasher = Sha256::new();
    // The last bytes that came: they may be the hash.
    let mut tail: Vec<u8> = Vec::new();
    while let Some(piece) = pieces.message().await? {
        file.write_all(&piece.blob)?;
        bytes += piece.blob.len() as u64;
        version = piece.version;
        tail.extend_from_slice(&piece.blob);
        let hashed = tail.len().saturating_sub(HASH_BYTES);
        hasher.update(&tail[..hashed]);
        tail.drain(..hashed);
    }
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    if hasher.finalize()[..] != tail[..] {
        let message = "the backup is not what its hash says: it stays as .part; take it again";
        return Err(ClientError::Refused(tonic::Status::data_loss(message)));
    }
    Ok((bytes, version))
}
