//! What a peer can do wrong. Nothing a peer sends may stop this node: a message that breaks the
//! protocol is counted by what is wrong with it, and dropped.

use core::fmt;

/// What was wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PeerFault {
    /// Addressed to another node, or sent in this node's own name.
    Misaddressed,
    /// A term or an index beyond any that elections and appends can reach.
    ImplausibleNumber,
    /// An answer or a request from a node that the configuration does not know.
    UnknownSender,
    /// A second leader in one term: one of the two forgot its vote.
    SecondLeaderInTerm,
    /// The entries are not consecutive, or their terms go back or beyond the sender's.
    MalformedEntries,
    /// A snapshot without voters, of a term beyond the sender's, or with a node in two roles.
    MalformedSnapshot,
    /// Entries or a snapshot that contradict what is committed here.
    ConflictsWithCommitted,
    /// The leader believes that this node holds entries which it does not hold: this node's disk
    /// lost acknowledged entries, or the leader's bookkeeping is wrong.
    CommitBeyondLog,
    /// An acknowledgement of more than was ever sent.
    AcknowledgedUnsent,
    /// Asked to take over leadership, but not by the leader.
    UnexpectedTimeoutNow,
    /// Told this node that it was removed, and does not prove it.
    FalseRemoval,
    /// Votes or acknowledges from another disk than the one on record.
    OtherDisk,
    /// No longer holds what it acknowledged: its disk was set back, or does not keep what it says
    /// it has written.
    ForgotAcknowledged,
}

const KINDS: usize = 13;

/// How often each fault was seen since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerFaults([u64; KINDS]);

impl PeerFaults {
    /// How often `fault` was seen.
    #[must_use]
    pub fn count(&self, fault: PeerFault) -> u64 {
        self.0[fault as usize]
    }

    /// All faults together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn add(&mut self, fault: PeerFault) {
        self.0[fault as usize] += 1;
    }
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Misaddressed => "misaddressed",
            Self::ImplausibleNumber => "implausible number",
            Self::UnknownSender => "unknown sender",
            Self::SecondLeaderInTerm => "second leader in term",
            Self::MalformedEntries => "malformed entries",
            Self::MalformedSnapshot => "malformed snapshot",
            Self::ConflictsWithCommitted => "conflicts with committed",
            Self::CommitBeyondLog => "commit beyond log",
            Self::AcknowledgedUnsent => "acknowledged unsent",
            Self::UnexpectedTimeoutNow => "unexpected timeout-now",
            Self::FalseRemoval => "false removal",
            Self::OtherDisk => "other disk",
            Self::ForgotAcknowledged => "forgot what it acknowledged",
        })
    }
}
