//! What happened, as typed events. Scripts, logs and metrics read these; the core itself never
//! logs. The [`Display`](fmt::Display) form is a line of a golden script: change it on purpose.

use core::fmt;

use crate::{EntryId, Limbo, LogIndex, NodeId, PeerFault, PersistNumber, SlowFollower, Term};

/// One thing that happened inside a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the protocol's words, said once in their types")]
pub enum Event {
    /// Follows from now on; `leader_id` as far as known.
    BecameFollower { term: Term, leader_id: Option<NodeId> },
    /// Asks whether an election in the next term could be won; `term` is still the old one.
    BecamePreCandidate { term: Term },
    /// Campaigns in `term`.
    BecameCandidate { term: Term },
    /// Leads in `term`.
    BecameLeader { term: Term },
    /// Learned who leads the term.
    LeaderLearned { term: Term, leader_id: NodeId },
    /// Gave its vote.
    Voted { term: Term, candidate: NodeId },
    /// Refused a vote or a pre-vote.
    VoteRefused { term: Term, candidate: NodeId, because: VoteRefusal },
    /// Entries joined the log.
    Appended { first: EntryId, last: EntryId },
    /// Entries came before the one that they follow, and wait for it.
    KeptForLater { prev: EntryId },
    /// A suffix that conflicts with the leader's log was dropped.
    Truncated { from: LogIndex },
    /// A persist and all before it are durable.
    BecameDurable { number: PersistNumber },
    /// The commit index moved.
    Committed { last: EntryId },
    /// Another configuration is in force.
    ConfigurationInForce { index: LogIndex },
    /// A leader heard from no quorum for an election timeout.
    QuorumLost { term: Term },
    /// A leader that is no voter any more has committed its own removal.
    Removed { term: Term },
    /// A committed configuration says that this node was removed from the group.
    RemovedFromGroup { by: EntryId },
    /// A member says that this node was removed; one alone is not believed.
    RemovalClaimed { from: NodeId, by: EntryId },
    /// A request came from a node that was removed, and was told so.
    RemovalTold { to: NodeId },
    /// A member speaks from another disk than before, or than the one on record.
    DiskChanged { of: NodeId },
    /// The disks of members are put on record.
    DisksRecorded { index: LogIndex },
    /// A member was counted for holding `held`, and holds only `holds`.
    Forgot { of: NodeId, held: LogIndex, holds: LogIndex },
    /// Does not stand for election: the group has committed more than this node holds.
    LacksCommitted { index: LogIndex },
    /// A change is given up; the members are to be what they were.
    ChangeAbandoned { index: LogIndex },
    /// A learner is to vote once it holds the log.
    PromotionStaged { learner: NodeId },
    /// The learner did not come to hold the log in time.
    PromotionGivenUp { learner: NodeId },
    /// Campaigns on request.
    CampaignCalled,
    /// Other timeouts are in force.
    TimeoutsChanged { election_timeout_ticks: u64, heartbeat_interval_ticks: u64 },
    /// A follower has become slow, or keeps up again.
    FollowerNoticed(SlowFollower),
    /// A leader gave up on request.
    SteppedDown { term: Term },
    /// A leader gave up since its disk has stopped.
    WriteStalled { term: Term },
    /// A ReadIndex round began for reads at `index`.
    ReadRoundBegan { round: u64, index: LogIndex },
    /// A quorum confirmed the round: reads at `index` may go.
    ReadRoundConfirmed { round: u64, index: LogIndex },
    /// Stops ticking until something happens.
    Rests,
    /// Ticks again.
    Woke,
    /// A read was answered on the lease.
    LeaseRead { index: LogIndex },
    /// A new leader commits nothing for so long: an earlier one may be reading on its lease.
    CommitsLater { ticks: u64 },
    /// No earlier lease runs any more.
    CommitsAgain,
    /// A lease was appended later than this node's clock says it is now: one of two clocks has
    /// broken its word, and nobody should read on leases before it is set right.
    ClocksDisagree { index: LogIndex },
    /// A read was answered on an entry of the log.
    GuardedRead { index: LogIndex, limbo: Option<Limbo> },
    /// A voter of a higher priority could lead as well.
    HandsOver { to: NodeId },
    /// Leadership is being handed over.
    TransferBegan { to: NodeId },
    /// The target has all entries and was told to campaign.
    TransferRequested { to: NodeId },
    /// The target did not take over in time, or the host wants it no more: proposals go on.
    TransferAborted { to: NodeId },
    /// A follower needs entries that the log no longer has.
    SnapshotNeeded { to: NodeId, at_least: LogIndex },
    /// Holds what is committed up to `upto`, from its feeder.
    Pulled { from: NodeId, upto: LogIndex },
    /// A snapshot replaces the log.
    SnapshotAccepted { last: EntryId },
    /// A snapshot was no news, or came while another is being installed.
    SnapshotIgnored { last: EntryId },
    /// The state machine is the snapshot's.
    SnapshotInstalled { last: EntryId },
    /// The log now begins behind `mark`.
    Compacted { mark: EntryId },
    /// A message of an earlier term, or one that answers nothing that is waited for.
    StaleMessage { from: NodeId, term: Term },
    /// A peer broke the protocol; the message was dropped.
    PeerFault { from: NodeId, fault: PeerFault },
}

/// Why a vote was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VoteRefusal {
    /// The request's term is not above, or is below, this node's.
    OldTerm,
    /// The vote of this term is given.
    AlreadyVoted,
    /// The candidate's log is less up-to-date (Raft §5.4.1).
    LogBehind,
    /// A leader was heard from within the election timeout (thesis §4.2.3).
    LeaderAlive,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BecameFollower { term, leader_id: Some(leader) } => {
                write!(f, "follower term={term} leader=n{leader}")
            }
            Self::BecameFollower { term, leader_id: None } => write!(f, "follower term={term}"),
            Self::BecamePreCandidate { term } => write!(f, "pre-candidate term={term}"),
            Self::BecameCandidate { term } => write!(f, "candidate term={term}"),
            Self::BecameLeader { term } => write!(f, "leader term={term}"),
            Self::LeaderLearned { term, leader_id } => {
                write!(f, "learned leader=n{leader_id} term={term}")
            }
            Self::Voted { term, candidate } => write!(f, "voted for=n{candidate} term={term}"),
            Self::VoteRefused { term, candidate, because } => {
                write!(f, "vote refused to=n{candidate} term={term}: {because}")
            }
            Self::Appended { first, last } if first == last => write!(f, "appended {first}"),
            Self::Appended { first, last } => write!(f, "appended {first}..{last}"),
            Self::KeptForLater { prev } => write!(f, "kept for later prev={prev}"),
            Self::Truncated { from } => write!(f, "truncated from={from}"),
            Self::BecameDurable { number } => write!(f, "durable #{}", number.0),
            Self::Committed { last } => write!(f, "commit {last}"),
            Self::ConfigurationInForce { index } => write!(f, "configuration of={index}"),
            Self::QuorumLost { term } => write!(f, "quorum lost term={term}"),
            Self::Removed { term } => write!(f, "removed term={term}"),
            Self::RemovedFromGroup { by } => write!(f, "removed from the group by={by}"),
            Self::RemovalClaimed { from, by } => write!(f, "removal claimed by=n{from} at={by}"),
            Self::RemovalTold { to } => write!(f, "removal told to=n{to}"),
            Self::DiskChanged { of } => write!(f, "disk changed of=n{of}"),
            Self::DisksRecorded { index } => write!(f, "disks recorded at={index}"),
            Self::Forgot { of, held, holds } => write_forgot(f, *of, *held, *holds),
            Self::LacksCommitted { index } => write!(f, "lacks committed up to={index}"),
            Self::PromotionStaged { learner } => write!(f, "promotion staged of=n{learner}"),
            Self::PromotionGivenUp { learner } => write!(f, "promotion given up of=n{learner}"),
            Self::ChangeAbandoned { index } => write!(f, "change abandoned of={index}"),
            Self::CampaignCalled => f.write_str("campaign called"),
            Self::TimeoutsChanged {
                election_timeout_ticks: one,
                heartbeat_interval_ticks: other,
            } => {
                write!(f, "timeouts election={one} heartbeat={other}")
            }
            Self::FollowerNoticed(notice) => notice.fmt(f),
            Self::SteppedDown { term } => write!(f, "stepped down term={term}"),
            Self::WriteStalled { term } => write!(f, "write stalled term={term}"),
            Self::ReadRoundBegan { round, index } => {
                write!(f, "read round={round} index={index}")
            }
            Self::ReadRoundConfirmed { round, index } => {
                write!(f, "read confirmed round={round} index={index}")
            }
            Self::Rests => f.write_str("rests"),
            Self::Woke => f.write_str("woke"),
            Self::LeaseRead { index } => write!(f, "lease read index={index}"),
            Self::CommitsLater { ticks } => write!(f, "commits later ticks={ticks}"),
            Self::CommitsAgain => f.write_str("commits again"),
            Self::ClocksDisagree { index } => write!(f, "clocks disagree about lease={index}"),
            Self::GuardedRead { index, limbo } => write_guarded_read(f, *index, *limbo),
            Self::HandsOver { to } => write!(f, "hands over to=n{to}"),
            Self::TransferBegan { to } => write!(f, "transfer to=n{to}"),
            Self::TransferRequested { to } => write!(f, "transfer requested to=n{to}"),
            Self::TransferAborted { to } => write!(f, "transfer aborted to=n{to}"),
            Self::Pulled { from, upto } => write!(f, "pulled from=n{from} upto={upto}"),
            Self::SnapshotNeeded { to, at_least } => write_needed(f, *to, *at_least),
            Self::SnapshotAccepted { last } => write!(f, "snapshot accepted {last}"),
            Self::SnapshotIgnored { last } => write!(f, "snapshot ignored {last}"),
            Self::SnapshotInstalled { last } => write!(f, "snapshot installed {last}"),
            Self::Compacted { mark } => write!(f, "compacted mark={mark}"),
            Self::StaleMessage { from, term } => write!(f, "stale from=n{from} term={term}"),
            Self::PeerFault { from, fault } => write!(f, "fault from=n{from}: {fault}"),
        }
    }
}

fn write_forgot(
    f: &mut fmt::Formatter<'_>,
    of: NodeId,
    held: LogIndex,
    holds: LogIndex,
) -> fmt::Result {
    write!(f, "forgetful n{of} held={held} holds={holds}")
}

fn write_needed(f: &mut fmt::Formatter<'_>, to: NodeId, at_least: LogIndex) -> fmt::Result {
    write!(f, "snapshot needed to=n{to} at_least={at_least}")
}

fn write_guarded_read(
    f: &mut fmt::Formatter<'_>,
    index: LogIndex,
    limbo: Option<Limbo>,
) -> fmt::Result {
    write!(f, "guarded read index={index}")?;
    limbo.map_or(Ok(()), |Limbo { first, last }| write!(f, " limbo={first}..{last}"))
}

impl fmt::Display for VoteRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OldTerm => "old term",
            Self::AlreadyVoted => "already voted",
            Self::LogBehind => "log behind",
            Self::LeaderAlive => "leader alive",
        })
    }
}
