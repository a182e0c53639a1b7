//! Backups: `ctl snapshot save`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use api::etcdserverpb::SnapshotRequest;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use clap::Subcommand;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Output;
use crate::table::bytes_short;
use crate::{ClientError, Endpoints};

/// Bytes of the hash behind the file.
const HASH_BYTES: usize = 32;

/// The commands about backups.
#[derive(Clone, Debug, Subcommand)]
pub enum Snapshot {
    /// Write a backup of one endpoint to a file, as `etcdctl snapshot save` does.
    #[command(after_help = "Example: flotilla ctl snapshot save backup.db")]
    Save {
        /// The file; it must not exist.
        file: PathBuf,
    },
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
    let Snapshot::Save { file } = snapshot;
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
    let mut file = BufWriter::new(File::create(path)?);
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
