//! Why a log cannot be opened.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why [`crate::SegmentLog::open`] refused. `E` is what the visitor says.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The disk failed.
    Io(io::Error),
    /// A file is not what was written. Nothing was changed.
    Damage(Damage),
    /// The visitor refused a record.
    Visit(E),
}

/// A file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub kind: DamageKind,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// The segment header has a wrong magic or checksum.
    SegmentHeader,
    /// The segment was written by another version of the program.
    Version {
        /// What the file says.
        found: u32,
    },
    /// The segment is of another log.
    Identity {
        /// What this log's segments say.
        expected: u64,
        /// What the file says.
        found: u64,
    },
    /// The file's name and its header do not agree on its number.
    Number {
        /// The number in the header.
        found: u64,
    },
    /// The file is shorter than its header says.
    Short {
        /// What the header says.
        recorded: u64,
        /// The file's length.
        found: u64,
    },
    /// A file in the middle of the log is missing; the path is where it should be.
    Missing,
    /// A record that had been durable is not readable.
    Record,
    /// A segment that is not the last does not end where, or how, the next one says.
    Seal,
}

impl<E> From<io::Error> for OpenError<E> {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<E> From<Damage> for OpenError<E> {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl<E: fmt::Display> fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Damage(damage) => damage.fmt(f),
            Self::Visit(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for OpenError<E> {}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at byte {}: ", self.path.display(), self.offset)?;
        match self.kind {
            DamageKind::SegmentHeader => f.write_str("the segment header is not readable"),
            DamageKind::Version { found } => {
                write!(f, "it has format version {found}, and this program reads {}", {
                    crate::format::VERSION
                })
            }
            DamageKind::Identity { expected, found } => {
                write!(f, "it belongs to log {found:#018x}, not to {expected:#018x}")
            }
            DamageKind::Number { found } => write!(f, "its header says it is segment {found}"),
            DamageKind::Short { recorded, found } => {
                write!(f, "it has {found} bytes where {recorded} were recorded")
            }
            DamageKind::Missing => f.write_str("the file is missing"),
            DamageKind::Record => f.write_str("a record that was durable is not readable"),
            DamageKind::Seal => f.write_str("it does not end as the next segment says"),
        }
    }
}

impl std::error::Error for Damage {}
