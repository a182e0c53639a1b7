//! Why a server does not start, or ends: each with what to do about it and an exit code that
//! `docs/exit-codes.md` explains.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::join::{DATA_LOST_EXIT_CODE, JoinFault, write_data_lost};
use crate::tls::TlsFault;
use crate::url::UrlFault;

/// An option that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionsError {
    /// A number out of its bounds.
    OutOfBounds {
        /// The flag.
        option: &'static str,
        /// What it says.
        value: u64,
        /// The least it may say.
        min: u64,
        /// The most it may say.
        max: u64,
    },
    /// A text that is no address.
    Url {
        /// The flag.
        option: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with it.
        fault: UrlFault,
    },
    /// A list that must not be empty.
    Empty {
        /// The flag.
        option: &'static str,
    },
    /// A member's name with letters that no file or log line should have.
    Name {
        /// The name.
        name: String,
    },
    /// A part of `initial-cluster` that is not `name=url`.
    ClusterEntry {
        /// The part.
        entry: String,
    },
    /// An address that `initial-cluster` gives to two members.
    SharedPeerUrl {
        /// The address.
        url: String,
    },
    /// `initial-cluster` does not have this member.
    NotInCluster {
        /// The member's name.
        name: String,
        /// The names it has.
        cluster: Vec<String>,
    },
    /// `initial-cluster` and `initial-advertise-peer-urls` disagree about this member.
    PeerUrlsDiffer {
        /// The member's name.
        name: String,
        /// What `initial-cluster` says.
        in_cluster: Vec<String>,
        /// What `initial-advertise-peer-urls` says.
        advertised: Vec<String>,
    },
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds { option, value, min, max } => {
                write!(f, "--{option}={value} is out of bounds: choose from {min} to {max}")
            }
            Self::Url { option, value, fault } => write!(f, "--{option}: '{value}': {fault}"),
            Self::Empty { option } => write!(f, "--{option} is empty: give at least one value"),
            Self::Name { name } => write!(
                f,
                "--name={name:?} has control characters: choose letters, digits, '-' and '_'"
            ),
            Self::ClusterEntry { entry } => write!(
                f,
                "--initial-cluster: '{entry}' is no member: write name=http://host:port,…"
            ),
            Self::SharedPeerUrl { url } => write!(
                f,
                "--initial-cluster gives {url} to two members: each needs an address of its own"
            ),
            Self::NotInCluster { name, cluster } => write!(
                f,
                "--name={name} is not in --initial-cluster, which has {}: start with one of these \
                 names, or add {name}=http://host:port",
                cluster.join(", ")
            ),
            Self::PeerUrlsDiffer { name, in_cluster, advertised } => write!(
                f,
                "--initial-cluster says that {name} is at {}, --initial-advertise-peer-urls says \
                 {}: make them equal",
                in_cluster.join(","),
                advertised.join(",")
            ),
        }
    }
}

impl std::error::Error for OptionsError {}

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
    /// Another process has the data folder.
    DataDirInUse {
        /// The folder.
        dir: PathBuf,
    },
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
            Self::Options(_) | Self::ExistingWithoutCluster => 10,
            Self::DataOfAnotherMember { .. } | Self::DataOfAnotherCluster { .. } => 11,
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

fn is_full(kind: io::ErrorKind) -> bool {
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
            Self::DataDirInUse { dir } => write!(
                f,
                "{} is in use by another process: stop it, or choose another --data-dir",
                dir.display()
            ),
            Self::Tls(fault) => write!(f, "TLS for clients: {fault}"),
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

/// Why a server that ran has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was asked to.
    Shutdown,
    /// The member was removed from the cluster.
    Removed,
    /// The cluster knows this member by a data folder that it has no more.
    DataLost {
        /// The member's name.
        name: String,
        /// The member.
        member_id: u64,
    },
    /// The machine failed in a way after which nothing may be acknowledged.
    Fatal(host::Fatal),
}

impl ExitReason {
    /// The code that the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Shutdown => 0,
            Self::Removed => 22,
            Self::DataLost { .. } => DATA_LOST_EXIT_CODE,
            Self::Fatal(host::Fatal::LogWrite { .. }) => 20,
            Self::Fatal(_) => 21,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("shut down"),
            Self::Removed => f.write_str(
                "this member was removed from the cluster: delete its data folder; to have it back, \
                 add it again as a new member",
            ),
            Self::DataLost { name, member_id } => write_data_lost(f, name, *member_id),
            Self::Fatal(fatal) => {
                let what_to_do = if is_full(fatal.kind()) {
                    "free space on this disk"
                } else {
                    "look at the disk and the kernel's log"
                };
                write!(
                    f,
                    "{fatal}: this member stops, since it can no longer promise what it \
                     acknowledges; {what_to_do} and start it again: it reads what is really there \
                     and fetches the rest from the other members"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_end_has_its_code() {
        let io = |kind| io::Error::from(kind);
        let dir = PathBuf::from("/data");
        let disk = |kind| StartError::Disk { doing: "making", path: dir.clone(), error: io(kind) };
        let starts = [
            (StartError::Options(OptionsError::Empty { option: "name" }), 10),
            (StartError::ExistingWithoutCluster, 10),
            (StartError::DataOfAnotherCluster { dir: dir.clone(), found: 1, wanted: 2 }, 11),
            (StartError::DataDirInUse { dir: dir.clone() }, 12),
            (
                StartError::Listen {
                    what: "client",
                    address: "127.0.0.1:2379".to_owned(),
                    error: io(io::ErrorKind::AddrInUse),
                },
                13,
            ),
            (StartError::IdentityDamaged { file: dir.clone(), reason: "empty".to_owned() }, 14),
            (disk(io::ErrorKind::PermissionDenied), 15),
            (disk(io::ErrorKind::StorageFull), 16),
            (StartError::Host(host::StartError::Io(io(io::ErrorKind::StorageFull))), 16),
        ];
        for (error, code) in starts {
            assert_eq!(error.exit_code(), code, "{error}");
        }
        assert_eq!(ExitReason::Shutdown.exit_code(), 0);
        assert_eq!(ExitReason::Removed.exit_code(), 22);
        let lost = ExitReason::DataLost { name: "n2".to_owned(), member_id: 0x2b };
        assert_eq!(lost.exit_code(), 19);
        assert!(lost.to_string().contains("member replace 2b"), "{lost}");
        let fatal =
            host::Fatal::LogWrite { kind: io::ErrorKind::StorageFull, text: "full".to_owned() };
        assert_eq!(ExitReason::Fatal(fatal.clone()).exit_code(), 20);
        assert!(ExitReason::Fatal(fatal).to_string().contains("free space"));
    }

    #[test]
    fn messages_name_the_value_and_the_remedy() {
        let text = StartError::DataOfAnotherMember {
            dir: PathBuf::from("/data"),
            found: "a".to_owned(),
            wanted: "b".to_owned(),
        }
        .to_string();
        assert!(text.contains("/data") && text.contains("--name=a"), "{text}");
    }
}
