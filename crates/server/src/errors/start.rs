//! Why a server does not start.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::OptionsError;
use crate::join::JoinFault;
use crate::tls::TlsFault;

/// Why a server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// An option makes no sense.
    Options(OptionsError),
    /// The data folder is another member's.
    DataOfAnotherMember {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who was to start.
        wanted: String,
    },
    /// The data folder is another cluster's.
    DataOfAnotherCluster {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        found: u64,
        /// The cluster that the options describe.
        wanted: u64,
    },
    /// A file that says whose the folder is cannot be read.
    IdentityDamaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The member is to join a cluster that exists, and nothing says which.
    ExistingWithoutCluster,
    /// The cluster does not take a member that starts without data.
    Join(JoinFault),
    /// A cluster cannot be forced from this folder.
    NothingToRecover {
        /// The folder.
        dir: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Another process has the data folder.
    DataDirInUse {
        /// The folder.
        dir: PathBuf,
    },
    /// Tokens cannot be made as `--auth-token` says.
    AuthToken(String),
    /// A certificate, a key or a list of them cannot be used.
    Tls(TlsFault),
    /// An address cannot be listened on.
    Listen {
        /// `client` or `peer`.
        what: &'static str,
        /// The address.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// Plaintext was to be spoken where everybody may listen in.
    PlaintextInPublic {
        /// `client` or `peer`.
        what: &'static str,
        /// The address.
        address: String,
    },
    /// The Raft log cannot be opened.
    Log {
        /// Its folder.
        dir: PathBuf,
        /// What is wrong with it.
        error: wal::WalOpenError,
    },
    /// The store cannot be opened.
    Store {
        /// Its folder.
        dir: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
    /// The log and the store do not fit together, or the protocol does not start.
    Host(host::StartError),
    /// The disk.
    Disk {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl StartError {
    /// The code that the process ends with; `docs/exit-codes.md` has the table.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Options(_)
            | Self::ExistingWithoutCluster
            | Self::AuthToken(_)
            | Self::PlaintextInPublic { .. } => 10,
            Self::DataOfAnotherMember { .. } | Self::DataOfAnotherCluster { .. } => 11,
            Self::NothingToRecover { .. } => 10,
            Self::DataDirInUse { .. } => 12,
            Self::Tls(_) => 17,
            Self::Listen { .. } => 13,
            Self::IdentityDamaged { .. } => 14,
            Self::Join(fault) => fault.exit_code(),
            Self::Log { error, .. } => log_exit_code(error),
            Self::Store { error, .. } => disk_exit_code(error.kind()),
            Self::Host(host::StartError::Io(error)) => disk_exit_code(error.kind()),
            Self::Host(_) => 14,
            Self::Disk { error, .. } => disk_exit_code(error.kind()),
        }
    }
}

/// A full disk is told apart from one that fails, and both from files that make no sense.
fn disk_exit_code(kind: io::ErrorKind) -> u8 {
    if is_full(kind) {
        16
    } else if kind == io::ErrorKind::InvalidData {
        14
    } else {
        15
    }
}

fn log_exit_code(error: &wal::WalOpenError) -> u8 {
    match error {
        wal::WalOpenError::Locked => 12,
        wal::WalOpenError::Io(error) => disk_exit_code(error.kind()),
        wal::WalOpenError::Damage(_)
        | wal::WalOpenError::Record { .. }
        | wal::WalOpenError::Gap { .. }
        | _ => 14,
    }
}

pub(super) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(error) => error.fmt(f),
            Self::DataOfAnotherMember { dir, found, wanted } => write!(
                f,
                "{} is the data folder of member '{found}', not of '{wanted}': start with \
                 --name={found}, or give '{wanted}' a --data-dir of its own",
                dir.display()
            ),
            Self::DataOfAnotherCluster { dir, found, wanted } => write!(
                f,
                "{} belongs to cluster {found:x}, and --initial-cluster with \
                 --initial-cluster-token describe cluster {wanted:x}: leave both options out to \
                 start the member with its data, or give it an empty --data-dir",
                dir.display()
            ),
            Self::IdentityDamaged { file, reason } => write!(
                f,
                "{}: {reason}: put the file back from a copy, or see 'a member that lost its disk' in \
                 docs/exit-codes.md",
                file.display()
            ),
            Self::ExistingWithoutCluster => f.write_str(
                "--initial-cluster-state=existing needs --initial-cluster with all members, this \
                 one too, unless the data folder has a member's data",
            ),
            Self::Join(fault) => fault.fmt(f),
            Self::NothingToRecover { dir, reason } => write!(
                f,
                "{}: {reason}: nothing was changed; see 'A majority is lost' in \
                 docs/operating/members.md",
                dir.display()
            ),
            Self::DataDirInUse { dir } => write!(
                f,
                "{} is in use by another process: stop it, or choose another --data-dir",
                dir.display()
            ),
            Self::AuthToken(reason) => write!(f, "--auth-token: {reason}"),
            Self::Tls(fault) => write!(f, "TLS: {fault}"),
            Self::PlaintextInPublic { what, address } => write_plaintext(f, what, address),
            Self::Listen { what, address, error } => write!(
                f,
                "cannot listen for {what}s on {address}: {error}: stop what listens there, or \
                 choose another address with --listen-{what}-urls"
            ),
            Self::Log { dir, error } => {
                write!(f, "the Raft log in {}: {error}", dir.display())?;
                if let wal::WalOpenError::Io(error) = error {
                    f.write_str(remedy(error.kind()))?;
                }
                Ok(())
            }
            Self::Store { dir, error } => {
                write!(f, "the store in {}: {error}{}", dir.display(), remedy(error.kind()))
            }
            Self::Host(host::StartError::Io(error)) => {
                write!(f, "the log or a snapshot: {error}{}", remedy(error.kind()))
            }
            Self::Host(error) => error.fmt(f),
            Self::Disk { doing, path, error } => {
                write!(f, "{doing} {}: {error}{}", path.display(), remedy(error.kind()))
            }
        }
    }
}

fn write_plaintext(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    address: &impl fmt::Display,
) -> fmt::Result {
    let (prefix, whom) = if what == "peer" { ("peer-", "members") } else { ("", "clients") };
    write!(
        f,
        "{address} may be reached by everybody, and {whom} would speak plaintext there: listen on \
         https with --{prefix}cert-file and --{prefix}key-file, or on a private address, or accept \
         it with --allow-plaintext"
    )
}

/// What to do about what the system said.
fn remedy(kind: io::ErrorKind) -> &'static str {
    if is_full(kind) {
        ": free space on this disk and start again; nothing was lost"
    } else if kind == io::ErrorKind::PermissionDenied {
        ": give the user that runs the server this folder and all in it"
    } else {
        ""
    }
}

impl std::error::Error for StartError {}

impl From<JoinFault> for StartError {
    fn from(fault: JoinFault) -> Self {
        Self::Join(fault)
    }
}

impl From<OptionsError> for StartError {
    fn from(error: OptionsError) -> Self {
        Self::Options(error)
    }
}
