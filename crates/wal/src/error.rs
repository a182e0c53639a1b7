//! What goes wrong with a log.

use std::fmt;
use std::io;

use raft::LogIndex;
use seglog::{Damage, OpenError, Position};

use crate::GroupId;

/// A write or a sync has failed, and the log is closed for good. It is the inner error of the
/// [`io::Error`] that [`crate::Wal::append`], [`crate::Wal::sync`] and all later calls return.
///
/// The node must stop acknowledging for all its groups. What the operating system has done with the
/// pages is unknown after a failed fsync, so trying again would prove nothing; after a restart
/// the log is read back and made durable anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalFailed {
    /// What the disk said.
    pub kind: io::ErrorKind,
}

impl fmt::Display for WalFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the log could not be written ({}); nothing more will be acknowledged before a restart",
            self.kind
        )
    }
}

impl std::error::Error for WalFailed {}

impl From<WalFailed> for io::Error {
    fn from(failed: WalFailed) -> Self {
        Self::new(failed.kind, failed)
    }
}

/// Why a log could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum WalOpenError {
    /// Another process has the log open.
    Locked,
    /// The disk failed.
    Io(io::Error),
    /// A file is not what was written. Nothing was changed.
    Damage(Damage),
    /// A record has a good checksum and makes no sense: another version of the program wrote it.
    Record {
        /// Where it is.
        position: Position,
    },
    /// An entry is missing in the middle of a group's log.
    Gap {
        /// The group.
        group: GroupId,
        /// The first missing entry.
        index: LogIndex,
    },
}

impl From<io::Error> for WalOpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<OpenError<Self>> for WalOpenError {
    fn from(error: OpenError<Self>) -> Self {
        match error {
            OpenError::Io(error) => Self::Io(error),
            OpenError::Damage(damage) => Self::Damage(damage),
            OpenError::Visit(error) => error,
            other => Self::Io(io::Error::other(other.to_string())),
        }
    }
}

impl fmt::Display for WalOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("another process has the log open"),
            Self::Io(error) => error.fmt(f),
            Self::Damage(damage) => damage.fmt(f),
            Self::Record { position } => write!(
                f,
                "the record at byte {} of log segment {} is of an unknown format",
                position.offset, position.segment
            ),
            Self::Gap { group, index } => {
                write!(f, "entry {index} of group {} is missing from the log", group.0)
            }
        }
    }
}

impl std::error::Error for WalOpenError {}
