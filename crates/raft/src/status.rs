//! What a [`Node`] looks like from outside. Nothing in here decides anything.

use alloc::vec::Vec;

use crate::progress::ProgressState;
use crate::role::{Leader, RoleState};
use crate::{
    Configuration, EntryId, HardState, Incarnation, LogIndex, Node, NodeId, PeerFaults, Role, Tick,
};

/// What a node looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Term and vote, durable or about to be.
    pub hard_state: HardState,
    /// The leader of the term, as far as known.
    pub leader_id: Option<NodeId>,
    /// Where the log begins.
    pub mark: EntryId,
    /// The last entry.
    pub last: EntryId,
    /// The log is on disk up to here.
    pub durable_index: LogIndex,
    /// Known to be committed up to here.
    pub commit_index: LogIndex,
    /// Applied up to here.
    pub applied_index: LogIndex,
    /// The configuration in force.
    pub configuration: Configuration,
    /// Where it stands in the log; not committed if above `commit_index`.
    pub configuration_index: LogIndex,
    /// The committed configuration, by its place, that says that this node was removed.
    pub removed_by: Option<EntryId>,
    /// Some leader has said that the group has committed up to here, in the life of this node.
    /// Above `commit_index` on a node that has to catch up; it does not stand for election before.
    pub group_commit_index: LogIndex,
    /// The configuration in force here records another disk for this node. It does not campaign,
    /// and its word counts for nothing with everybody who has that configuration or a later one
    /// like it. The node itself may have an old one. See [`FollowerStatus::counts`].
    pub is_stranger: bool,
    /// On a leader: voters whose disk could be lost without anybody noticing before their vote
    /// counts. A voter is among them from the beginning of the group, or of this version, until
    /// its disk is on record where every quorum with it finds the record; in a group of one for
    /// ever. Empty on others.
    pub unguarded: Vec<NodeId>,
    /// Which voters of each half a leader hears, and whether they can decide; `None` on others.
    pub quorum: Option<QuorumStatus>,
    /// Whether the group rests, as far as this node is concerned.
    pub is_resting: bool,
    /// Whether campaigns of this node are paused.
    pub elections_are_paused: bool,
    /// Whether the disk has taken too long; such a node neither leads nor campaigns.
    pub is_write_stalled: bool,
    /// Whether this node leads and does not commit yet: an earlier leader may be reading.
    pub commits_later: bool,
    /// The peer to which leadership is being handed over.
    pub transfer_to: Option<NodeId>,
    /// Learners that vote once they hold the log
    /// ([`promote_when_ready`](Node::promote_when_ready)); nobody unless this node leads.
    pub staged: Vec<NodeId>,
    /// What the leader knows of each follower; empty on others.
    pub followers: Vec<FollowerStatus>,
    /// What peers did wrong.
    pub peer_faults: PeerFaults,
}

/// Which voters of each half of the configuration a leader has heard from within an election
/// timeout, itself included. A half that does not decide is what keeps a change from ending (M18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuorumStatus {
    /// C_new, or all there is.
    pub incoming: HalfStatus,
    /// C_old; nobody, who agrees to everything, unless the configuration is joint.
    pub outgoing: HalfStatus,
}

/// One half of a configuration, as its leader hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HalfStatus {
    /// So many of its voters are alive.
    pub alive: usize,
    /// Of so many.
    pub voters: usize,
    /// Those that are alive, and whose word counts, can commit by the half's own rule. Heads say
    /// nothing of that where the rule is not a majority.
    pub decides: bool,
}

/// What a leader knows of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FollowerStatus {
    /// The follower.
    pub id: NodeId,
    /// Its log is durably the leader's up to here.
    pub match_index: LogIndex,
    /// The next entry to send.
    pub next_index: LogIndex,
    /// Heard from since the last quorum check.
    pub is_active: bool,
    /// When it was last heard from, in this leadership.
    pub heard_at: Option<Tick>,
    /// Waits for a snapshot.
    pub needs_snapshot: bool,
    /// Has lacked what was committed for long
    /// ([`slow_follower_ticks`](crate::Options::slow_follower_ticks)).
    pub is_slow: bool,
    /// So long ago it was last heard, or could first have been. Says nothing while the group rests
    /// ([`Status::is_resting`]). A host that cleans up after dead members waits for a good while
    /// of this, and looks at [`Status::quorum`] before.
    pub silent_ticks: u64,
    /// The disk that it speaks from; unknown until it has.
    pub incarnation: Incarnation,
    /// Whether its votes and acknowledgements count. Not so if it speaks from another disk than the
    /// one on record ([`Configuration::incarnations`]), or holds less than it was counted for
    /// (`frontier`). The second heals by itself; the first takes a
    /// [`Demote`](crate::MemberChange::Demote), after which the new disk is put on record, and a
    /// [`Promote`](crate::MemberChange::Promote) when it holds the log.
    pub counts: bool,
    /// It was counted for holding the log up to here, in this leadership and before it forgot;
    /// zero if it did not.
    pub frontier: LogIndex,
    /// Who feeds it, while its leader sends it nothing with entries
    /// ([`Configuration::feeders`](crate::Configuration::feeders)).
    pub fed_by: Option<NodeId>,
}

impl Node {
    /// Applied up to here, as far as the host has said.
    #[must_use]
    pub fn applied_index(&self) -> LogIndex {
        self.apply.applied()
    }

    /// Whether the group rests, as far as this node is concerned.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.is_resting
    }

    /// What peers did that no honest one does.
    #[must_use]
    pub fn peer_faults(&self) -> PeerFaults {
        self.faults
    }

    /// What a node looks like from outside.
    #[must_use]
    pub fn status(&self) -> Status {
        let (transfer_to, staged, followers) = match &self.role {
            RoleState::Leader(leader) => (
                leader.transfer.map(|transfer| transfer.to),
                leader.staged.iter().map(|staged| staged.learner).collect(),
                leader.follower_status(self.id(), self.now),
            ),
            RoleState::Follower { .. }
            | RoleState::PreCandidate(_)
            | RoleState::Candidate { .. } => (None, Vec::new(), Vec::new()),
        };
        Status {
            id: self.id(),
            role: self.role(),
            hard_state: self.hard_state,
            leader_id: self.leader_id(),
            mark: self.log.mark(),
            last: self.log.last(),
            durable_index: self.persister.durable_index(),
            commit_index: self.commit_index,
            applied_index: self.apply.applied(),
            configuration: self.configurations.current().clone(),
            configuration_index: self.configurations.index(),
            removed_by: self.removal.by(),
            group_commit_index: self.group_commit.index.max(self.commit_index),
            is_stranger: self.is_stranger(),
            unguarded: self.unguarded(),
            quorum: self.quorum_status(),
            is_resting: self.is_resting,
            elections_are_paused: self.elections_are_paused,
            is_write_stalled: self.is_write_stalled(),
            commits_later: self.is_deferring(),
            transfer_to,
            staged,
            followers,
            peer_faults: self.faults,
        }
    }
}

impl Leader {
    pub(crate) fn follower_status(&self, own: NodeId, now: Tick) -> Vec<FollowerStatus> {
        let others = self.members.iter().filter(|member| member.id != own);
        others
            .map(|member| FollowerStatus {
                id: member.id,
                match_index: member.match_index,
                next_index: member.next_index,
                is_active: member.is_active,
                needs_snapshot: matches!(member.state, ProgressState::Snapshot { .. }),
                is_slow: member.slowness.is_slow(),
                heard_at: member.heard_at,
                silent_ticks: now.0.saturating_sub(member.silent_since.0),
                incarnation: member.incarnation,
                counts: member.counts(),
                frontier: member.frontier,
                fed_by: member.fed.feeder.filter(|_| member.fed.is_left_alone),
            })
            .collect()
    }
}
