//! `flotilla ctl snapshot status` and `restore`: they read a file and ask no server.

use std::io::Write;
use std::path::PathBuf;

use client::ctl::snapshot::{RestoreArguments, Snapshot};
use client::ctl::{CtlCommand, CtlOptions};
use serde_json::json;
use server::{BackupStatus, RestoreError, RestoreOptions};

use crate::Failure;

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        Self::new(&error, error.exit_code())
    }
}

/// Does it, if it is one of these.
pub(crate) fn run(options: &CtlOptions, out: &mut dyn Write) -> Option<Result<(), Failure>> {
    let CtlCommand::Snapshot(snapshot) = &options.command else { return None };
    match snapshot {
        Snapshot::Save { .. } => None,
        Snapshot::Status { file } => Some(status(file, options.json, out)),
        Snapshot::Restore(arguments) => Some(restore(arguments, options.json, out)),
    }
}

fn status(file: &std::path::Path, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let status = BackupStatus::of(file)?;
    // The keys are those of `etcdutl`.
    if json {
        let value = json!({
            "hash": status.hash,
            "revision": status.revision,
            "totalKey": status.key_count,
            "totalSize": status.size_bytes,
            "version": status.version,
        });
        return Ok(writeln!(out, "{value}")?);
    }
    writeln!(out, "hash          {:x}", status.hash)?;
    writeln!(out, "revision      {}", status.revision)?;
    writeln!(out, "records       {}", status.key_count)?;
    writeln!(out, "bytes         {}", status.size_bytes)?;
    let sha256 = if status.has_hash { "right" } else { "none behind it" };
    Ok(writeln!(out, "SHA-256       {sha256}")?)
}

fn restore(arguments: &RestoreArguments, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let options = options(arguments);
    let restored = server::restore(&options)?;
    let dir = options.data_dir.display();
    if json {
        let value = json!({
            "member_id": format!("{:x}", restored.member_id),
            "cluster_id": format!("{:x}", restored.cluster_id),
            "revision": restored.revision,
            "data_dir": dir.to_string(),
        });
        return Ok(writeln!(out, "{value}")?);
    }
    writeln!(
        out,
        "{dir}: member {} ({:x}) of the new cluster {:x}, at revision {}",
        options.name, restored.member_id, restored.cluster_id, restored.revision
    )?;
    Ok(out.flush()?)
}

fn options(arguments: &RestoreArguments) -> RestoreOptions {
    let urls = &arguments.initial_advertise_peer_urls;
    let name = &arguments.name;
    let alone = || match &urls[..] {
        [] => format!("{name}=http://localhost:2380"),
        urls => urls.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(","),
    };
    let default_dir = || PathBuf::from(format!("{}.flotilla", arguments.name));
    RestoreOptions {
        backup: arguments.file.clone(),
        name: arguments.name.clone(),
        data_dir: arguments.data_dir.clone().unwrap_or_else(default_dir),
        initial_cluster: arguments.initial_cluster.clone().unwrap_or_else(alone),
        initial_cluster_token: arguments.initial_cluster_token.clone(),
        initial_advertise_peer_urls: urls.clone(),
        skip_hash_check: arguments.skip_hash_check,
        bump_revision: arguments.bump_revision,
        mark_compacted: arguments.mark_compacted,
    }
}
