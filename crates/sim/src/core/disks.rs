//! Disks that are lost or set back, at moments when the group can bear it.
//!
//! A disk that is gone takes a vote and acknowledgements with it, and one of them may be all that
//! keeps an entry in the group (`docs/adr/0008-who-is-a-member.md`). So a disk is lost only when
//! its loss can be noticed and the others have everything; and the next one when the operator has
//! mended the first.

use raft::{Configuration, ConfigurationChange, MemberChange, NodeId, Status};

use super::CoreWorld;
use super::happening::Happening;
use super::sometimes::{DISK_IS_NAMED, LEADER_LOSES_DISK};
use super::tallies::{is_held_back, may_elect};
use crate::chaos::{FaultKind, pick};
use env::SplitMix;

impl CoreWorld {
    /// Loses the disk of a member, or sets a follower's back, if the group can bear that now.
    pub fn spoil_disk(&mut self, kind: FaultKind, dice: &mut SplitMix) -> bool {
        let is_lost = kind == FaultKind::LoseDisk;
        let is_guarded = is_lost && self.options.disks_are_known;
        let Some(status) = (if is_guarded { self.guarded() } else { self.settled() }) else {
            return false;
        };
        let configuration = &status.configuration;
        let has_copy = |node: &NodeId| {
            let copy = self.members[node].copy.as_ref();
            copy.is_some_and(|copy| is_held_back(*node, copy.configuration(), configuration))
        };
        let others = configuration.members().filter(|node| *node != status.id);
        // The operator can mend it only with a leader.
        let can_do_without = |node: &NodeId| {
            let others = configuration.members().filter(|other| other != node);
            may_elect(configuration, &others.collect())
        };
        // Where disks have no names, that one is another is told by the name which it has.
        let is_told = |node: &NodeId| is_guarded || self.incarnation_of(*node) == 0;
        let may_be = |node: &NodeId| {
            let is_possible = if is_lost { is_told(node) } else { has_copy(node) };
            is_possible && self.strangers_are_held_back(*node, configuration)
        };
        // Of what a leader holds the others must have all, where somebody is left to lead.
        let may_go = |_: &NodeId| {
            is_guarded && configuration.witnesses.is_empty() && self.settled().is_some()
        };
        let others = others.chain(Some(status.id).filter(may_go));
        let others: Vec<NodeId> = others.filter(may_be).filter(can_do_without).collect();
        if others.is_empty() {
            return false;
        }
        let learners = others.iter().filter(|other| configuration.learners.contains(other));
        let learners: Vec<NodeId> = learners.copied().collect();
        let prefers = !is_lost && !learners.is_empty() && dice.below(2) == 0;
        let node = pick(dice, if prefers { &learners } else { &others });
        if node == status.id {
            self.census.meet(LEADER_LOSES_DISK);
        }
        self.crash(node);
        self.forgetful.insert(node);
        let member = self.member(node);
        if is_lost {
            member.lose_disk();
            if !is_guarded {
                self.census.meet(DISK_IS_NAMED);
            }
        } else {
            member.was_set_back = true;
            member.disk = member.copy.take().expect("it has one");
        }
        self.tell(node, kind.name());
        self.start(node);
        if !is_lost && configuration.learners.contains(&node) {
            self.promote_who_forgot(status.id, node);
        }
        true
    }

    /// Somebody copies the disk of a node.
    pub fn copy_disk(&mut self, id: NodeId) {
        let member = self.member(id);
        member.copy = Some(member.disk.clone());
    }

    /// Whether those who have left, and may not know it, can decide nothing with this node once it
    /// has forgotten what it held.
    fn strangers_are_held_back(&self, node: NodeId, now: &Configuration) -> bool {
        let strangers = self.members.iter().filter(|(id, _)| !now.contains(**id));
        let mut known = strangers.flat_map(|(_, stranger)| stranger.may_wake_with());
        known.all(|known| is_held_back(node, known, now))
    }

    /// The leader's status, if every member runs, from the disk on record, and the loss of any of
    /// them would be noticed.
    fn guarded(&self) -> Option<Status> {
        let leader = self.leader()?;
        let status = self.node(leader)?.status();
        let configuration = &status.configuration;
        let newest = self.members.values().filter_map(|member| member.node.as_ref());
        // Only whoever leads the newest term knows what is on record.
        let is_newest = newest.map(raft::Node::term).max() == Some(status.hard_state.current_term);
        let is_settled = status.configuration_index <= status.commit_index;
        let all_are_on = configuration.members().all(|member| self.is_on(member));
        let all_are_recorded = configuration.incarnations.len() == configuration.members().count();
        let is_guarded = all_are_on
            && all_are_recorded
            && self.disks_are_on_record(leader)
            && status.unguarded.is_empty();
        (is_newest && is_settled && is_guarded && configuration.voters.len() >= 3).then_some(status)
    }

    /// The leader's status, if every member runs, holds the whole log, and all of it is committed.
    fn settled(&self) -> Option<Status> {
        let leader = self.leader()?;
        let node = self.node(leader)?;
        let (term, last) = (node.term(), node.last());
        let configuration = node.configuration();
        let is_quiet = node.commit_index() == last.index && !configuration.is_joint();
        // Where one voter can decide with few others, its memory is worth more than theirs.
        let is_common = matches!(
            configuration.rule,
            raft::QuorumRule::Majority
                | raft::QuorumRule::EvenSet { .. }
                | raft::QuorumRule::Flexible { .. }
        );
        let is_whole = |id: NodeId| {
            let Some(member) = self.members.get(&id) else { return false };
            let is_well = !member.sleeps && !member.hangs && member.in_flight.is_empty();
            let is_known = |recorded: &raft::Incarnation| *recorded == member.options.incarnation;
            let recorded = configuration.incarnations.get(&id);
            is_well
                && recorded.is_none_or(is_known)
                && member.node.as_ref().is_some_and(|node| node.term() == term)
                && member.disk.hard_state.current_term == term
                && member.disk.last() == last
        };
        let all_are_whole = configuration.members().all(is_whole);
        // What is under way was said by a disk that will not be there any more.
        let says = |happening: &Happening| matches!(happening, Happening::Arrival { .. });
        let is_silent = !self.queue.values().any(says) || configuration.lease.is_none();
        let is_settled = is_quiet && is_common && all_are_whole && is_silent;
        (is_settled && configuration.voters.len() >= 3).then(|| node.status())
    }

    /// Whether somebody has said, or may have, what an honest peer would not.
    #[must_use]
    pub fn has_bad_peers(&self) -> bool {
        self.nonsense_count > 0 || !self.forgetful.is_empty()
    }

    /// The number of the disk that a node has.
    #[must_use]
    pub fn incarnation_of(&self, id: NodeId) -> u64 {
        self.members[&id].options.incarnation.0
    }

    /// Whether something is on its way to the disk of a node.
    #[must_use]
    pub fn writes(&self, id: NodeId) -> bool {
        self.members.get(&id).is_some_and(|member| !member.in_flight.is_empty())
    }

    /// Whether every member speaks from the disk that this node has on record for it.
    #[must_use]
    pub fn disks_are_on_record(&self, id: NodeId) -> bool {
        let Some(node) = self.node(id) else { return false };
        node.configuration().incarnations.iter().all(|(member, recorded)| {
            let its = self.members.get(member);
            its.is_none_or(|its| its.options.incarnation == *recorded)
        })
    }

    /// Whether the group waits for good, for a disk of C_new that is gone: what is committed must
    /// be on more disks than are there, and the change was begun by an earlier leader, so that
    /// nobody may give it up (M18). The way out is to force the survivors, which no group does by
    /// itself.
    #[must_use]
    pub fn waits_for_a_lost_disk(&self) -> bool {
        let Some(node) = self.leader().and_then(|leader| self.node(leader)) else { return false };
        let (index, configuration) = (node.configuration_index(), node.configuration());
        let is_open = configuration.is_joint() && index > node.commit_index();
        let is_of_another = node.id_at(index).is_some_and(|began| began.term < node.term());
        let is_lost = |voter: &&NodeId| {
            let recorded = configuration.incarnations.get(voter);
            let its = self.members.get(voter).map(|its| &its.options.incarnation);
            recorded.is_some() && its.is_some() && recorded != its
        };
        let full = || configuration.voters.difference(&configuration.witnesses);
        let (all, lost) = (full().count(), full().filter(is_lost).count());
        let has_witnesses = !configuration.witnesses.is_empty();
        is_open && is_of_another && has_witnesses && (all - lost) * 2 <= all
    }

    /// The operator: whoever speaks from another disk than the one on record is made a learner,
    /// and a voter again when it has the log. If it was to become a voter just now, that is given
    /// up first.
    pub fn repair(&mut self) {
        let Some(leader) = self.leader().filter(|leader| self.is_awake(*leader)) else { return };
        let Some(node) = self.node(leader) else { return };
        let status = node.status();
        let Configuration { incarnations, witnesses, learners, .. } = &status.configuration;
        let stranger = status.followers.iter().find(|follower| {
            let is_other = |at: &raft::Incarnation| *at != follower.incarnation;
            let is_stranger = incarnations.get(&follower.id).is_some_and(is_other);
            follower.incarnation.is_known() && is_stranger && !learners.contains(&follower.id)
        });
        let is_promoted = stranger.is_some_and(|stranger| {
            status.configuration.is_joint() && !status.configuration.outgoing.contains(&stranger.id)
        });
        if is_promoted {
            let _refused = self.abandon(leader);
            return;
        }
        let wanted = match stranger.map(|follower| follower.id) {
            Some(id) if witnesses.contains(&id) => Some(MemberChange::Remove(id)),
            Some(id) => Some(MemberChange::Demote(id)),
            None => {
                let back = learners.iter().find(|learner| self.forgetful.contains(learner));
                back.map(|id| MemberChange::Promote(*id))
            }
        };
        if let Some(wanted) = wanted {
            let change = ConfigurationChange::of([wanted]);
            // A rule may name the voter that goes.
            let rule = Some(raft::QuorumRule::Majority);
            // A refusal is an answer like any other here.
            let _refused =
                self.change(leader, &ConfigurationChange { allow_stall: true, rule, ..change });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use env::mem::{NodeClock, VirtualClock};
    use raft::{Entry, EntryId, LogIndex, Payload, Persist, PersistNumber, SnapshotMark, Term};

    use super::super::member::Member;
    use super::*;
    use crate::core::CoreOptions;

    const SOON: Duration = Duration::from_secs(5);
    const N1: NodeId = NodeId(1);
    const N2: NodeId = NodeId(2);

    /// T150: n2 loses its disk in the moment in which it is promoted beside two witnesses, with a
    /// command before the change that n1 alone has; and nobody looks for quorums.
    fn promoted_without_its_disk() -> CoreWorld {
        let mut options = CoreOptions::new(1, 4);
        options.members = Configuration {
            witnesses: [3, 4].map(NodeId).into(),
            learners: [N2].into(),
            ..Configuration::of_voters([1, 3, 4].map(NodeId))
        };
        options.witnesses.clone_from(&options.members.witnesses);
        options.disks_are_known = true;
        options.node_options.check_quorum = false;
        let mut world = CoreWorld::new(&options);
        world.start_all();
        assert!(world.run_until(SOON, |world| world.guarded().is_some()));
        world.crash(N2);
        world.forgetful.insert(N2);
        world.member(N2).lose_disk();
        world.propose(N1, "on one disk").expect("it leads");
        world.promote(N1, N2);
        world.start(N2);
        world.run_ms(1000);
        assert!(world.node(N1).expect("it is on").configuration().is_joint());
        world
    }

    fn is_member_again(world: &CoreWorld) -> bool {
        let node = world.node(N1).expect("it is on");
        let configuration = node.configuration();
        node.commit_index() == node.last().index
            && !configuration.is_joint()
            && configuration.voters.contains(&N2)
            && world.disks_are_on_record(N1)
    }

    #[test]
    fn a_change_that_waits_for_a_lost_disk_is_given_up_by_whoever_began_it() {
        let mut world = promoted_without_its_disk();
        assert!(!world.waits_for_a_lost_disk(), "the operator can mend it");
        for _ in 0..10 {
            world.repair();
            world.run_ms(200);
        }
        assert!(is_member_again(&world));
    }

    #[test]
    fn nothing_is_promised_once_the_leader_that_began_it_is_gone() {
        let mut world = promoted_without_its_disk();
        world.crash(N1);
        world.start(N1);
        assert!(world.run_until(SOON, |world| world.leader() == Some(N1)));
        assert!(world.waits_for_a_lost_disk());
        for _ in 0..10 {
            world.repair();
            world.run_ms(200);
        }
        assert!(world.waits_for_a_lost_disk() && !is_member_again(&world));
    }

    /// {1, 2, 3} on its disk, {1, 2, 4} in its memory: if it crashed now, it would know the first.
    #[test]
    fn a_node_may_wake_with_what_its_disk_still_holds_and_with_what_is_being_written() {
        let of = |voters: [u64; 3]| Configuration::of_voters(voters.map(NodeId));
        let mark = SnapshotMark { configuration: of([1, 2, 3]), ..SnapshotMark::default() };
        let clock = NodeClock::new(VirtualClock::new());
        let mut member = Member::new(raft::Options::new(NodeId(3), 7), mark, clock);
        let payload = Payload::Configuration(Box::new(of([1, 2, 4])));
        let id = EntryId { term: Term(1), index: LogIndex(1) };
        member.in_flight.push_back(Persist {
            number: PersistNumber(1),
            mark: None,
            hard_state: None,
            entries: Entry { id, payload }.into(),
        });
        let known: Vec<Configuration> = member.may_wake_with().into_iter().cloned().collect();
        assert!(known.contains(&of([1, 2, 3])) && known.contains(&of([1, 2, 4])), "{known:?}");
    }
}
