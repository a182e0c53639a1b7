//! Why a request of the host's was refused. Nothing was changed by a request that was refused.

use core::fmt;

use crate::NodeId;

/// Why commands were not proposed. They are in no log and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProposeError {
    /// Another node leads, or none.
    NotLeader {
        /// The leader, as far as known.
        leader_id: Option<NodeId>,
    },
    /// Leadership is being handed over; the new leader takes proposals.
    TransferInProgress {
        /// The new leader.
        to: NodeId,
    },
    /// Too much is proposed and not committed.
    Overloaded {
        /// Bytes that wait for a quorum.
        uncommitted_bytes: usize,
    },
    /// No commands were given.
    Empty,
}

/// Why a transfer of leadership did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferError {
    /// Another node leads, or none.
    NotLeader {
        /// The leader, as far as known.
        leader_id: Option<NodeId>,
    },
    /// Another transfer is not over.
    InProgress {
        /// Its target.
        to: NodeId,
    },
    /// The target is no voter, or there is no other voter.
    NoVoter {
        /// The target, if one was named.
        to: Option<NodeId>,
    },
}

fn not_leader(f: &mut fmt::Formatter<'_>, leader_id: Option<NodeId>) -> fmt::Result {
    match leader_id {
        Some(leader_id) => write!(f, "not the leader; node {leader_id} is"),
        None => f.write_str("not the leader; none is known"),
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader_id } => not_leader(f, *leader_id),
            Self::TransferInProgress { to } => {
                write!(f, "leadership is being handed over to node {to}")
            }
            Self::Overloaded { uncommitted_bytes } => {
                write!(f, "{uncommitted_bytes} bytes are proposed and not committed")
            }
            Self::Empty => f.write_str("no commands to propose"),
        }
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader_id } => not_leader(f, *leader_id),
            Self::InProgress { to } => write!(f, "leadership is being handed over to node {to}"),
            Self::NoVoter { to: Some(to) } => write!(f, "node {to} is no other voter"),
            Self::NoVoter { to: None } => f.write_str("there is no other voter"),
        }
    }
}

impl core::error::Error for ProposeError {}
impl core::error::Error for TransferError {}
