//! Meetings that a long run of core worlds must have had, found in the typed events of the nodes.

use raft::{Body, Event, Message, NodeId, Role, VoteRefusal};

use super::CoreWorld;
use crate::census::{CUT, DOUBLED, HANDED_OVER, HELD_BACK, LOST, OVERTAKEN, REPLAYED};

/// All of them, beside every kind of fault.
pub const CORE_SOMETIMES: &[&str] = &[
    SPLIT_VOTE,
    JOINT_CRASH,
    SECOND_SNAPSHOT,
    DISK_IS_NAMED,
    "sometimes: a learner is fed by its feeder",
    "sometimes: a write that a successor cuts off is still under way",
    "sometimes: a learner that lacks the log is to be promoted",
    "sometimes: a learner is to vote when it holds the log",
    "sometimes: a member that joins cuts its log",
    "sometimes: whoever got a snapshot is to lead at once",
    "sometimes: a late call reaches who has voted",
    "sometimes: a follower whose disk hangs is asked and asked",
    "sometimes: an election is lost and won by another",
    "sometimes: a conflicting suffix is dropped",
    "sometimes: a leader loses its quorum",
    "sometimes: a leader's disk has stopped for too long",
    "sometimes: a leader removes itself",
    STEP,
    "sometimes: a snapshot is installed",
    "sometimes: a log is cut",
    "sometimes: a transfer is aborted",
    HANDS_OVER,
    "sometimes: a transfer is asked for",
    "sometimes: a read round is confirmed",
    "sometimes: a read is answered on the lease",
    "sometimes: a clock is found out",
    "sometimes: a read is answered on a lease in the log",
    "sometimes: a read is told of a limbo",
    "sometimes: a new leader commits later",
    "sometimes: commands are executed out of order",
    "sometimes: a message waits for what it follows",
    "sometimes: a group rests",
    "sometimes: a group wakes",
    "sometimes: a message is stale",
    "sometimes: a vote is refused to an old term",
    "sometimes: a vote is refused since it was given",
    "sometimes: a vote is refused to a log that is behind",
    "sometimes: a vote is refused since the leader is alive",
    "sometimes: an answer to an earlier life comes late",
    "sometimes: a leader that leaves crashes before it can say so",
    "sometimes: a report of a host comes late once more",
    "sometimes: a snapshot is not delivered",
    "sometimes: entries that would replace others are lost",
    LEADER_LOSES_DISK,
    SLOW_BESIDE_WITNESSES,
    STEP_IS_REGRETTED,
    JOINS_BEHIND_READS,
    VOTER_HANGS,
    VOTER_CRAWLS,
    GIVES_UP_BY_ITSELF,
    SET_BACK_IS_PROMOTED,
    PROMOTED_MEANWHILE,
    REPLACES_THE_SLOW,
    CANNOT_BE_PROMOTED,
    WAS_SLOW,
    LEAVES_AND_HEARS,
    LEAVES_UNHEARD,
    SURVIVORS_ARE_FORCED,
];

/// Why a world may end before all that is asked of it.
pub const CORE_EXCUSES: &[&str] = &[WAITS_FOR_GOOD];

/// What faults did, beside that they were done.
pub const CORE_EFFECTS: &[&str] =
    &[LOST, CUT, DOUBLED, REPLAYED, OVERTAKEN, HELD_BACK, SHORTENED, HANDED_OVER, SLOW_WRITE];

pub(super) const SHORTENED: &str = "effect: a message comes with fewer entries";
/// Slower than any well disk of its world.
pub(super) const SLOW_WRITE: &str = "effect: a slow disk takes its time";
/// At the end of its world.
pub(super) const WAITS_FOR_GOOD: &str = "excused: a group waits for a lost disk for good";
pub(super) const DISK_IS_NAMED: &str = "sometimes: a named disk stands in for one without a name";
pub(super) const LEADER_LOSES_DISK: &str = "sometimes: a leader loses its disk";
pub(super) const SLOW_BESIDE_WITNESSES: &str =
    "sometimes: a leader beside witnesses takes its time to write a change";
pub(super) const STEP_IS_REGRETTED: &str = "sometimes: a removal in one step is to be given up";
pub(super) const JOINS_BEHIND_READS: &str =
    "sometimes: a voter is added when its leader has just been asked for reads";
pub(super) const VOTER_HANGS: &str = "sometimes: a voter's disk hangs in a change";
pub(super) const VOTER_CRAWLS: &str = "sometimes: a voter's disk crawls in a change";
pub(super) const GIVES_UP_BY_ITSELF: &str = "sometimes: a leader gives a change up by itself";
pub(super) const LEAVES_AND_HEARS: &str =
    "sometimes: who leaves a group at rest hears of it from its leader";
pub(super) const LEAVES_UNHEARD: &str = "sometimes: who is gone is removed from a group at rest";
pub(super) const SURVIVORS_ARE_FORCED: &str =
    "sometimes: survivors are forced to go on, and one of the lost lives";
pub(super) const SET_BACK_IS_PROMOTED: &str =
    "sometimes: a learner whose disk was set back is to vote before it holds the log again";
pub(super) const PROMOTED_MEANWHILE: &str =
    "sometimes: a learner is to vote before its coming is committed";
pub(super) const REPLACES_THE_SLOW: &str =
    "sometimes: a learner comes beside witnesses while nothing is committed";
pub(super) const CANNOT_BE_PROMOTED: &str =
    "sometimes: a learner is to vote in a group whose rule has no place for it";
pub(super) const WAS_SLOW: &str = "sometimes: a voter that was slow is preferred to all others";
pub(super) const STEP: &str = "sometimes: a voter comes or goes in one step";
const HANDS_OVER: &str = "sometimes: a leader hands over to a voter of higher priority";
const SPLIT_VOTE: &str = "sometimes: two candidates in one term";
const JOINT_CRASH: &str = "sometimes: a leader crashes in a joint configuration";
const SECOND_SNAPSHOT: &str = "sometimes: a second snapshot comes while one installs";

impl CoreWorld {
    /// Something was met.
    pub fn meet(&mut self, name: &'static str) {
        self.census.meet(name);
    }

    pub(super) fn count_crash(&mut self, id: NodeId) {
        let is_joint_leader = self
            .node(id)
            .is_some_and(|node| node.role() == Role::Leader && node.configuration().is_joint());
        if is_joint_leader {
            self.census.meet(JOINT_CRASH);
        }
    }

    pub(super) fn count_event(&mut self, id: NodeId, event: &Event) {
        if let Event::BecameCandidate { term } = event {
            let rival = self.candidates.insert(*term, id);
            if rival.is_some_and(|rival| rival != id) {
                self.census.meet(SPLIT_VOTE);
            }
        }
        if let Event::BecameLeader { term } = event
            && self.candidates.get(term).is_some_and(|candidate| *candidate != id)
        {
            self.census.meet("sometimes: an election is lost and won by another");
        }
        let was_called = |call: &Message| {
            let body = &call.body;
            matches!(body, Body::RequestVote { leadership_transfer: true, .. }) && call.from == id
        };
        if let Event::BecameLeader { term } = event
            && self.vote_requests.iter().any(|call| call.term == *term && was_called(call))
        {
            self.census.meet(HANDED_OVER);
        }
        if let Event::HandsOver { .. } = event {
            self.member(id).seen.has_handed_over = true;
        }
        if let Some(name) = name_of(event) {
            self.census.meet(name);
        }
    }

    /// Whether a node has tried, in this life, to hand over to a voter that is preferred.
    pub(super) fn has_handed_over(&self, id: NodeId) -> bool {
        self.members[&id].seen.has_handed_over
    }

    /// How often it was turned on.
    pub(super) fn life_of(&self, id: NodeId) -> u64 {
        self.members[&id].life
    }

    /// What faults did, once the world is at its end.
    pub fn count_effects(&mut self) {
        self.census.add_net(self.net.counts);
    }
}

fn name_of(event: &Event) -> Option<&'static str> {
    if let Event::VoteRefused { because, .. } = event {
        let names = [
            (VoteRefusal::OldTerm, "sometimes: a vote is refused to an old term"),
            (VoteRefusal::AlreadyVoted, "sometimes: a vote is refused since it was given"),
            (VoteRefusal::LogBehind, "sometimes: a vote is refused to a log that is behind"),
            (VoteRefusal::LeaderAlive, "sometimes: a vote is refused since the leader is alive"),
        ];
        return names.into_iter().find(|(refusal, _)| refusal == because).map(|(_, name)| name);
    }
    if let Event::GuardedRead { limbo: Some(_), .. } = event {
        return Some("sometimes: a read is told of a limbo");
    }
    let names = [
        (matches!(event, Event::ClocksDisagree { .. }), "sometimes: a clock is found out"),
        (
            matches!(event, Event::GuardedRead { .. }),
            "sometimes: a read is answered on a lease in the log",
        ),
        (matches!(event, Event::CommitsLater { .. }), "sometimes: a new leader commits later"),
        (
            matches!(event, Event::KeptForLater { .. }),
            "sometimes: a message waits for what it follows",
        ),
        (matches!(event, Event::Truncated { .. }), "sometimes: a conflicting suffix is dropped"),
        (matches!(event, Event::QuorumLost { .. }), "sometimes: a leader loses its quorum"),
        (
            matches!(event, Event::WriteStalled { .. }),
            "sometimes: a leader's disk has stopped for too long",
        ),
        (matches!(event, Event::Removed { .. }), "sometimes: a leader removes itself"),
        (matches!(event, Event::SnapshotInstalled { .. }), "sometimes: a snapshot is installed"),
        (matches!(event, Event::SnapshotIgnored { .. }), SECOND_SNAPSHOT),
        (matches!(event, Event::Compacted { .. }), "sometimes: a log is cut"),
        (matches!(event, Event::TransferAborted { .. }), "sometimes: a transfer is aborted"),
        (matches!(event, Event::HandsOver { .. }), HANDS_OVER),
        (matches!(event, Event::TransferRequested { .. }), "sometimes: a transfer is asked for"),
        (matches!(event, Event::ReadRoundConfirmed { .. }), "sometimes: a read round is confirmed"),
        (matches!(event, Event::LeaseRead { .. }), "sometimes: a read is answered on the lease"),
        (matches!(event, Event::Pulled { .. }), "sometimes: a learner is fed by its feeder"),
        (matches!(event, Event::Rests), "sometimes: a group rests"),
        (matches!(event, Event::Woke), "sometimes: a group wakes"),
        (matches!(event, Event::StaleMessage { .. }), "sometimes: a message is stale"),
    ];
    names.into_iter().find(|(is_it, _)| *is_it).map(|(_, name)| name)
}
