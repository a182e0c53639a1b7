//! Why a request of the host's was refused. Nothing was changed by a request that was refused.

use core::fmt;

use crate::quorum::rule::RuleFault;
use crate::{LogIndex, MemberChange, NodeId, OneStepFault};

/// Why commands were not proposed. They are in no log and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// The target is a witness, and cannot lead.
    Witness {
        /// The target.
        to: NodeId,
    },
    /// No transfer is under way.
    NothingToAbort,
    /// The target is no voter, or there is no other voter.
    NoVoter {
        /// The target, if one was named.
        to: Option<NodeId>,
    },
}

/// Why a node that was asked to campaign does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CampaignError {
    /// It leads.
    Leads,
    /// Its campaigns are paused.
    Paused,
    /// It has no vote, its disk takes too long, or its state is being replaced.
    Unfit,
    /// A leader may be reading on this node's word; over after an election timeout.
    Promised,
}

/// Why a change of configuration did not begin. It is in no log and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeError {
    /// Another node leads, or none.
    NotLeader {
        /// The leader, as far as known.
        leader_id: Option<NodeId>,
    },
    /// Leadership is being handed over; the new leader takes changes.
    TransferInProgress {
        /// The new leader.
        to: NodeId,
    },
    /// No entry of this leader's term is committed yet, so that a configuration of an earlier
    /// leader may still come or go. Ask again soon.
    TermNotCommitted,
    /// Another change is not over: its configuration is joint, or not committed.
    InProgress {
        /// Where the configuration in force stands.
        index: LogIndex,
    },
    /// The configuration in force is not the expected one.
    Unexpected {
        /// Where the configuration in force stands.
        index: LogIndex,
    },
    /// No change is under way that this leader began and that is not committed, or it removes a
    /// voter in one step: it will be gone through with.
    NothingToAbandon,
    /// Nothing is to change.
    Empty,
    /// A node is named more than once.
    NamedTwice {
        /// The node.
        node: NodeId,
    },
    /// The node is a member already, or none, or not in the role that the change begins from.
    DoesNotFit {
        /// The change.
        change: MemberChange,
    },
    /// Attributes or a priority are given to a node that would be no member.
    NoMember {
        /// The node.
        node: NodeId,
    },
    /// The node was a member once and was removed. Ids are not used twice: give the node another,
    /// and an empty disk.
    WasRemoved {
        /// The node.
        node: NodeId,
    },
    /// Nobody would vote.
    NoVoters,
    /// A lease of no time, or of so long that nobody would commit for a minute.
    LeaseOutOfBounds {
        /// As given.
        duration_us: u64,
    },
    /// Nobody could lead.
    OnlyWitnesses,
    /// The voters could not decide by the rule.
    Rule {
        /// What is wrong with it.
        fault: RuleFault,
    },
    /// The learner is too far behind to vote, or silent.
    LearnerLags {
        /// The learner.
        learner: NodeId,
        /// It holds the log up to here.
        match_index: LogIndex,
    },
    /// It is no learner, or the other is no other member with the data.
    CannotFeed {
        /// Who was to be fed.
        learner: NodeId,
        /// By whom.
        feeder: NodeId,
    },
    /// Fewer than a majority of the new voters are alive and hold the log: nothing would be
    /// committed for as long as it takes to bring more of them up.
    WouldStall {
        /// New voters that hold the log.
        holding: usize,
        /// All new voters.
        voters: usize,
    },
    /// It was to go in one step and cannot. Ask for it with
    /// [`Transition::Joint`](crate::Transition::Joint), or for one voter at a time.
    NotInOneStep {
        /// Why.
        fault: OneStepFault,
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
            Self::Witness { to } => write!(f, "node {to} is a witness, and cannot lead"),
            Self::NothingToAbort => f.write_str("leadership is not being handed over"),
            Self::NoVoter { to: Some(to) } => write!(f, "node {to} is no other voter"),
            Self::NoVoter { to: None } => f.write_str("there is no other voter"),
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader_id } => not_leader(f, *leader_id),
            Self::TransferInProgress { to } => {
                write!(f, "leadership is being handed over to node {to}")
            }
            Self::TermNotCommitted => f.write_str("no entry of the current term is committed"),
            Self::InProgress { index } => {
                write!(f, "the change of configuration at {index} is not over")
            }
            Self::Unexpected { index } => {
                write!(f, "the configuration at {index} is not the expected one")
            }
            Self::NothingToAbandon => f.write_str("no change under way can be abandoned"),
            Self::Empty => f.write_str("nothing to change"),
            Self::NamedTwice { node } => write!(f, "node {node} is named twice"),
            Self::DoesNotFit { change } => write!(f, "{change} does not fit the configuration"),
            Self::NoMember { node } => write!(f, "node {node} is no member"),
            Self::WasRemoved { node } => {
                write!(f, "node {node} was removed and does not come back")
            }
            Self::OnlyWitnesses => f.write_str("only witnesses would be left, and none can lead"),
            Self::NoVoters => f.write_str("no voters would be left"),
            Self::LeaseOutOfBounds { duration_us } => {
                write!(f, "a lease cannot last {duration_us} us")
            }
            Self::Rule { fault } => fault.fmt(f),
            Self::CannotFeed { learner, feeder } => {
                write!(f, "node {feeder} cannot feed node {learner}")
            }
            Self::LearnerLags { learner, match_index } => {
                write!(f, "learner {learner} holds the log only up to {match_index}")
            }
            Self::NotInOneStep { fault } => fault.fmt(f),
            Self::WouldStall { holding, voters } => {
                write!(f, "only {holding} of {voters} new voters are alive and hold the log")
            }
        }
    }
}

impl fmt::Display for MemberChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddVoter(node) => write!(f, "add voter {node}"),
            Self::AddLearner(node) => write!(f, "add learner {node}"),
            Self::AddWitness(node) => write!(f, "add witness {node}"),
            Self::Promote(node) => write!(f, "promote {node}"),
            Self::Demote(node) => write!(f, "demote {node}"),
            Self::Remove(node) => write!(f, "remove {node}"),
        }
    }
}

impl fmt::Display for CampaignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leads => "the node leads",
            Self::Paused => "campaigns of the node are paused",
            Self::Unfit => "the node has no vote, or is not fit to lead",
            Self::Promised => "a leader may be reading on the word of the node",
        })
    }
}

impl core::error::Error for CampaignError {}
impl core::error::Error for ChangeError {}
impl core::error::Error for ProposeError {}
impl core::error::Error for TransferError {}
