//! Disks that were lost or set back: whose word counts (M-rows of amnesia, L9, D2).
//!
//! Raft rests on promises that a node keeps on its disk: its vote in a term, and the entries that
//! it acknowledged. A node that comes back with another disk, or with an old copy of its own, has
//! forgotten them, and nothing in the paper notices. Two things are done about it. The whole
//! argument, with what cannot be closed and why, is in `docs/adr/0008-who-is-a-member.md`.
//!
//! # Another disk: incarnations
//!
//! Each disk has a random number, and every message carries it. The leader puts the number of each
//! member on record in the configuration, as soon as it has heard it. From then on a vote or an
//! acknowledgement of that member from any other disk counts for nothing.
//!
//! ```text
//!   n1  1 2 3 R      led; R records the disks of n1, n2 and n3; 3 and R are committed
//!   n2  1 2 3 R      loses its disk, and begins again with nothing
//!   n3  1 2          was cut off
//! ```
//!
//! n2, without its memory, would vote for n3, and 3 would be lost. But who could be elected by n2
//! and another voter that has R must have R itself, and then knows better than to count n2. So a
//! voter is *guarded* once no quorum can be made of it and voters without R: the record then meets
//! every candidate that could win with it. Above, n3 has no R: `{n2, n3}` is a quorum, and n2 is
//! not guarded until n3 has R. [`Status::unguarded`](crate::Status::unguarded) names who is not;
//! in a group whose members are all up that lasts for two round trips.
//!
//! The candidate alone judges. A voter that finds another disk on record in its own log votes all
//! the same, since that log may tell of a time before it was demoted and came back:
//!
//! ```text
//!   n1  … D P        D made a learner of n3, which had lost its disk, and records the new one;
//!   n2  … D P        P promotes it.  n2 is down
//!   n3  …            needs not know of D: n1 does, and can only be elected by n3
//! ```
//!
//! Nothing rests on what such a voter knows: the argument above speaks of what c has. But it does
//! not stand itself, since it would not count its own vote.
//!
//! A host of an earlier version names no disk. Its word counts as long as it has none on record;
//! when it begins to name one, that disk is put on record once it holds all that the unnamed one
//! was counted for.
//!
//! The leader records only what it can put into the log as a change of its own, so never during
//! another change. Who is promoted was recorded as a learner, when no quorum had it: it is guarded
//! from its first vote on.
//!
//! # An old copy: frontiers
//!
//! An old copy has the right number. It is found out by what others remember of it:
//!
//! - **The leader's book.** A member that no longer holds what it acknowledged in this leadership
//!   is asked, under a new session, so that no answer from before can be taken for the reply. If it
//!   refuses what it once held, its book begins anew, and it counts for nothing until it holds
//!   again what it was counted for. Everything that it ever acknowledged and that was committed is
//!   then in its log: this leader has all of it (Leader Completeness).
//! - **The commit index.** A node that has heard of a commit index beyond its own log neither
//!   stands for election nor votes for a log that is shorter. Were all disks well it could not be
//!   elected anyway, so no election is lost by it. If the index comes in a heartbeat, which never
//!   speaks beyond what this node is known to hold, it is this node that has forgotten (L9).
//!
//! What nobody else remembers cannot be found out:
//!
//! ```text
//!   n1  1 2 3        led, committed 3 with n2, died
//!   n2  1 2 3  →  1 2     an old copy of its disk
//!   n3  1 2
//! ```
//!
//! What n2 and n3 have and know is the same, bit by bit, as if 3 had never been acknowledged; so no
//! rule that lets them elect a leader in the one case can keep them from it in the other.
//!
//! Scripts: `testdata/incarnation/`.

use alloc::vec::Vec;

use crate::quorum::{Ballots, ElectionResult};
use crate::recovery::recoveries;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Body, EntryId, Event, Incarnation, LogIndex, Node, NodeId, PeerFault};

impl Node {
    /// Whether the configuration in force lets `node` vouch by this disk.
    fn is_on_record(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let recorded = self.configurations.current().incarnations.get(&node);
        recorded.is_none_or(|recorded| *recorded == incarnation)
    }

    /// Whether this node has another disk than the one on record, as the configuration in force has
    /// it, which may be an old one: [`Status::is_stranger`](crate::Status::is_stranger).
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        !self.is_on_record(self.options.id, self.options.incarnation)
    }

    /// A vote counts by the disk on record. Acknowledgements are looked at when they are counted,
    /// so that a member with a new disk is fed meanwhile.
    pub(crate) fn may_count(&self, from: NodeId, incarnation: Incarnation, body: &Body) -> bool {
        let is_vote =
            matches!(body, Body::PreVoteResponse { .. } | Body::RequestVoteResponse { .. });
        !is_vote || self.is_on_record(from, incarnation) || bug(Bug::AnyDiskCounts)
    }

    /// A member answers its leader: by which disk?
    pub(crate) fn look_at_disk(&mut self, from: NodeId, incarnation: Incarnation, body: &Body) {
        let answers = matches!(
            body,
            Body::AppendEntriesResponse(_)
                | Body::HeartbeatResponse { .. }
                | Body::InstallSnapshotResponse { .. }
        );
        let last_index = self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let newest_round = leader.reads.newest_round();
        let Some(member) = leader.member(from) else { return };
        // Nobody can tell whether an unnamed disk is the one that is named now: an older host that
        // was upgraded names the disk it had, another in its place one that is new. Its book begins
        // anew either way, as a question; who held all of it counts again after one round trip.
        let was_unnamed = !member.incarnation.is_known();
        if !answers || member.incarnation == incarnation && member.heard_at.is_some() {
            return;
        }
        let had_a_book = member.heard_at.is_some() && !bug(Bug::UnnamedDisksVouchForNamed);
        let has_changed = member.incarnation != incarnation && (!was_unnamed || had_a_book);
        member.heard_at = Some(self.now);
        member.incarnation = incarnation;
        member.look_up(self.configurations.current());
        let is_stranger = member.is_stranger;
        leader.has_unrecorded = true;
        if has_changed {
            let session = leader.next_session();
            if let Some(member) = leader.member(from) {
                member.begin_anew(session, newest_round, last_index);
            }
        }
        if has_changed && !was_unnamed || is_stranger {
            self.record(|| Event::DiskChanged { of: from });
            self.fault(from, PeerFault::OtherDisk);
        }
    }

    /// Puts the disks that were heard on record, unless another change is under way. A voter's
    /// record stays; a learner vouches for nothing, so that it may come with a new disk. `may_wait`
    /// as for the change of members that is to follow.
    pub(crate) fn record_disks(&mut self, may_wait: bool) {
        let RoleState::Leader(leader) = &self.role else { return };
        if !leader.has_unrecorded || self.may_begin_change(may_wait).is_err() {
            return;
        }
        let current = self.configurations.current();
        let mut next = current.clone();
        for member in &leader.members {
            let is_recorded = current.incarnations.contains_key(&member.id);
            let may_change =
                !is_recorded || !current.is_voter(member.id) || bug(Bug::VotersAreRecordedAnew);
            let is_whole = member.match_index >= member.frontier;
            if member.incarnation.is_known() && may_change && is_whole {
                next.incarnations.insert(member.id, member.incarnation);
            }
        }
        let has_news = next != *current;
        if let RoleState::Leader(leader) = &mut self.role {
            // Who is not whole yet is looked at again when it is.
            leader.has_unrecorded =
                leader.members.iter().any(|member| member.match_index < member.frontier);
        }
        if has_news {
            let id = self.append_configuration(next);
            self.record(|| Event::DisksRecorded { index: id.index });
        }
    }

    /// A sign that a member holds less than it was counted for. It may be an old message: what it
    /// says under a new session is no old one. A session that began with the very question will do
    /// again, so that late messages, however often they come, name no sessions without end.
    pub(crate) fn ask_what_it_holds(&mut self, from: NodeId) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(member) = leader.member(from).filter(|member| !member.is_asked) else { return };
        let held = member.match_index;
        let is_new = member.session_asks != Some(held) || bug(Bug::SessionsHaveNoEnd);
        let session = if is_new { Some(leader.next_session()) } else { None };
        let Some(member) = leader.member(from) else { return };
        member.session = session.unwrap_or(member.session);
        member.session_asks = Some(held);
        member.is_asked = true;
        member.probe_from(held.next(), false);
    }

    /// The member refuses what it once held.
    pub(crate) fn begin_book_anew(&mut self, from: NodeId, holds: LogIndex) {
        let last_index = self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let session = leader.next_session();
        let newest_round = leader.reads.newest_round();
        let Some(member) = leader.member(from) else { return };
        let held = member.match_index;
        member.begin_anew(session, newest_round, last_index);
        member.probe_from(holds.next(), false);
        self.record(|| Event::Forgot { of: from, held, holds });
        self.fault(from, PeerFault::ForgotAcknowledged);
    }

    /// The leader of this term says that the group has committed up to `index`.
    /// Whether this log can follow or not: a stale read counts that as well.
    pub(crate) fn learn_group_commit(&mut self, index: LogIndex) {
        self.claimed_commit_index = self.claimed_commit_index.max(index);
        if index > self.group_commit.index {
            self.group_commit = EntryId { term: self.current_term(), index };
        }
    }

    /// Whether a log that ends in `last` can hold all that is known to be committed.
    pub(crate) fn reaches_group_commit(&self, last: EntryId) -> bool {
        // Survivors that were forced have given up what the others may have committed.
        let is_of_survivors = recoveries(last.term) > recoveries(self.group_commit.term);
        last.index >= self.group_commit.index || is_of_survivors || bug(Bug::ForgetsTheGroupsCommit)
    }

    /// Voters whose lost disk would not be noticed: one that makes a quorum with voters that lack
    /// its record, by the configuration in force or by an older one that those may still go by.
    /// Empty on nodes that do not lead.
    ///
    /// ```text
    ///   n1 n2 n4  C R C+4      R has the disks; of the four voters of C+4 three are a quorum
    ///   n3        C            was cut off; by C it is one with n2, should that one have forgotten
    /// ```
    ///
    /// Where this log was cut behind C, who lacks the record may go by anything.
    #[must_use]
    pub fn unguarded(&self) -> Vec<NodeId> {
        let RoleState::Leader(leader) = &self.role else { return Vec::new() };
        let configuration = self.configurations.current();
        let newest = self.configurations.index();
        let is_unguarded = |voter: &NodeId| {
            let Some(recorded_at) = self.configurations.recorded_at(*voter) else { return true };
            let mut without = Ballots::default();
            let mut known_from = newest;
            for member in &leader.members {
                let lacks_it = member.match_index < recorded_at || !member.counts();
                without.record(member.id, lacks_it || member.id == *voter);
                if lacks_it && !bug(Bug::GuardsByTheNewestAlone) {
                    known_from = known_from.min(member.match_index);
                }
            }
            // What was in force before the log begins nobody here can say any more.
            let is_forgotten = known_from < self.log.mark().index;
            let is_won = |known| matches!(without.tally(known), ElectionResult::Won(_));
            is_forgotten || self.configurations.since(known_from).any(is_won)
        };
        let voters = configuration.members().filter(|member| configuration.is_voter(*member));
        voters.filter(is_unguarded).collect()
    }
}
