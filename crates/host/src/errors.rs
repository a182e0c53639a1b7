//! What can go wrong, told apart by what the caller may conclude from it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use wal::GroupId;

use crate::{FRAME_VERSION, FRAME_VERSION_OLDEST};

/// Why a proposal has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProposeError {
    /// No leader was known until the request timed out; nothing was sent to anyone.
    NoLeader,
    /// Too much is waiting already. Nothing was appended.
    Overloaded,
    /// The command is larger than an entry may be. Nothing was appended.
    TooLarge,
    /// This node does not lead in the term that the caller named. Nothing was appended.
    NotLeaderInTerm,
    /// The node is shutting down and the command had not been handed to the protocol.
    Stopped,
    /// The command was handed to the protocol, and no result came in time: it may be applied, now
    /// or later, or never.
    OutcomeUnknown,
}

impl ProposeError {
    /// Whether the command certainly is not, and will not be, applied.
    #[must_use]
    pub fn definitely_failed(self) -> bool {
        self != Self::OutcomeUnknown
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeader => "no leader was known in time; nothing was written",
            Self::Overloaded => "too many requests are waiting; nothing was written",
            Self::TooLarge => "the command is too large; nothing was written",
            Self::NotLeaderInTerm => "not the leader in this term; nothing was written",
            Self::Stopped => "the node is shutting down; nothing was written",
            Self::OutcomeUnknown => "no result in time; the command may or may not be applied",
        })
    }
}

impl std::error::Error for ProposeError {}

/// Why a linearizable read cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader was known until the request timed out.
    NoLeader,
    /// A leader was known and did not confirm itself, or this node did not catch up, in time.
    TimedOut,
    /// This node cannot answer it, and asking it again would not help: the write that was named is
    /// lost, the state is older than allowed, or the node is a witness.
    Refused(raft::ReadError),
    /// The node is shutting down.
    Stopped,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeader => "no leader was known in time",
            Self::TimedOut => "the read was not confirmed in time",
            Self::Refused(refusal) => return write!(f, "the read is refused: {refusal}"),
            Self::Stopped => "the node is shutting down",
        })
    }
}

impl std::error::Error for ReadError {}

/// Why a call to another node's server has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The call was for the leader, and none is known.
    NoLeader,
    /// No answer came in time; the call may have been carried out.
    TimedOut,
    /// The node is shutting down.
    Stopped,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeader => "no leader is known",
            Self::TimedOut => "the other node did not answer in time",
            Self::Stopped => "the node is shutting down",
        })
    }
}

impl std::error::Error for CallError {}

/// Why a change of the members has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeError {
    /// No leader was known until the request timed out; nothing was changed.
    NoLeader,
    /// No leader took it in time; nothing was changed.
    TimedOut,
    /// The leader refuses it; nothing was changed.
    Refused(raft::ChangeError),
    /// The node is shutting down, and the change had not begun.
    Stopped,
    /// What hosts tell each other has no words yet for changes in one step and for priorities: ask
    /// for a joint change without them. Nothing was changed.
    NotCarried,
    /// The leader was asked, and no result came in time: it may be made, now or later, or never.
    OutcomeUnknown,
}

impl ChangeError {
    /// Whether the change certainly is not, and will not be, made.
    #[must_use]
    pub fn definitely_failed(self) -> bool {
        self != Self::OutcomeUnknown
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader => f.write_str("no leader was known in time; nothing was changed"),
            Self::TimedOut => f.write_str("no leader took it in time; nothing was changed"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Stopped => f.write_str("the node is shutting down; nothing was changed"),
            Self::NotCarried => f.write_str(
                "hosts carry no changes in one step, and no priorities; nothing was changed",
            ),
            Self::OutcomeUnknown => {
                f.write_str("no result in time; the change may or may not be made")
            }
        }
    }
}

impl std::error::Error for ChangeError {}

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferError {
    /// This node does not lead the group.
    NotLeader,
    /// The target is no voter of the group, or there is none to choose.
    BadTarget,
    /// The target did not take over in time; this node leads on or the group elects.
    TimedOut,
    /// The node is shutting down.
    Stopped,
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLeader => "this node is not the leader",
            Self::BadTarget => "the target is not a voter of the group",
            Self::TimedOut => "the target did not take over in time",
            Self::Stopped => "the node is shutting down",
        })
    }
}

impl std::error::Error for TransferError {}

/// What the machine did that ends this node's right to acknowledge anything. The process must end;
/// a restart reads the disk again and finds out what is really on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fatal {
    /// A write or fsync of the Raft log failed.
    LogWrite {
        /// What the system said.
        kind: io::ErrorKind,
        /// The same, in words.
        text: String,
    },
    /// The Raft log cannot be read: it is damaged, or the disk is ill.
    LogRead {
        /// What the system said.
        kind: io::ErrorKind,
        /// The same, in words.
        text: String,
    },
    /// The state machine's disk failed.
    StateMachine {
        /// The group.
        group: GroupId,
        /// What the system said.
        kind: io::ErrorKind,
        /// The same, in words.
        text: String,
    },
    /// A stage met a bug of this program.
    Panic {
        /// The stage.
        stage: &'static str,
    },
}

impl Fatal {
    /// What the system said.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::LogWrite { kind, .. }
            | Self::LogRead { kind, .. }
            | Self::StateMachine { kind, .. } => *kind,
            Self::Panic { .. } => io::ErrorKind::Other,
        }
    }

    pub(crate) fn log_write(error: &io::Error) -> Self {
        Self::LogWrite { kind: error.kind(), text: error.to_string() }
    }

    pub(crate) fn log_read(error: &io::Error) -> Self {
        Self::LogRead { kind: error.kind(), text: error.to_string() }
    }

    pub(crate) fn state_machine(group: GroupId, error: &io::Error) -> Self {
        Self::StateMachine { group, kind: error.kind(), text: error.to_string() }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LogWrite { text, .. } => write!(f, "writing the Raft log failed: {text}"),
            Self::LogRead { text, .. } => write!(f, "reading the Raft log failed: {text}"),
            Self::StateMachine { group, text, .. } => {
                write!(f, "the state machine of group {} failed: {text}", group.0)
            }
            Self::Panic { stage } => write!(f, "a bug ended the stage {stage}"),
        }
    }
}

impl std::error::Error for Fatal {}

/// Why a host did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The state machine includes entries that the log has never seen: files of two different
    /// pasts lie in one folder.
    StateAheadOfLog {
        /// The group.
        group: GroupId,
        /// What the state machine includes.
        applied: raft::EntryId,
        /// Where the log ends.
        last: raft::EntryId,
    },
    /// The log says that a snapshot was being installed, and its file is gone.
    StagedSnapshotMissing {
        /// The group.
        group: GroupId,
        /// The snapshot's last entry.
        last: raft::EntryId,
    },
    /// The file that says which log this is has other bytes than were written, or is gone.
    IncarnationDamaged {
        /// The file.
        path: PathBuf,
    },
    /// A version of the peer protocol that this program does not speak.
    PeerProtocol {
        /// The version.
        version: u8,
    },
    /// The protocol's options contradict each other.
    Options(raft::OptionsError),
    /// The disk.
    Io(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StateAheadOfLog { group, applied, last } => write!(
                f,
                "the state of group {} includes entry {applied} and its log ends at {last}: the \
                 folder mixes two pasts; restore it as a whole, or see 'a member that lost its \
                 disk' in docs/exit-codes.md",
                group.0
            ),
            Self::StagedSnapshotMissing { group, last } => write!(
                f,
                "group {} was installing the snapshot of {last} and its file is missing; see \
                 'a member that lost its disk' in docs/exit-codes.md",
                group.0
            ),
            Self::IncarnationDamaged { path } => write!(
                f,
                "{} is missing or damaged: put it back from a copy, or see 'a member that lost its disk' in \
                 docs/exit-codes.md",
                path.display()
            ),
            Self::PeerProtocol { version } => write!(
                f,
                "version {version} of the peer protocol is not spoken: choose one from \
                 {FRAME_VERSION_OLDEST} to {FRAME_VERSION}"
            ),
            Self::Options(error) => write!(f, "protocol options: {error}"),
            Self::Io(error) => write!(f, "disk: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
