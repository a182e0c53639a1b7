//! Meetings that a world arranges. Nothing here is more than the network, a client or a host may do
//! at any time; but chance would seldom do it in the moment in which it matters.

use std::time::Duration;

use raft::quorum::{Decision, Quorum};
use raft::{
    Body, ConfigurationChange, Entry, Event, FollowerStatus, Input, LeaseClock, MemberChange,
    Message, NodeId, ReadMode, Role,
};

use super::CoreWorld;
use super::clocks::{lease_of, true_us};
use super::happening::Happening;
use super::sometimes::{
    PROMOTED_MEANWHILE, REPLACES_THE_SLOW, SET_BACK_IS_PROMOTED, SLOW_BESIDE_WITNESSES,
    VOTER_CRAWLS, VOTER_HANGS,
};

/// More questions than a node may keep answers for while its disk stands still.
const FLOOD: u64 = 1100;
/// So long clients go silent for a snapshot.
const QUIET: Duration = Duration::from_millis(240);

impl CoreWorld {
    /// Something happened in a node, and something else is to meet it.
    pub(super) fn arrange(&mut self, id: NodeId, event: &Event) {
        let life = self.members[&id].life;
        let is_commit = matches!(event, Event::Committed { .. });
        if let Event::BecameLeader { .. } = event {
            self.ask_for_lost_writes(id);
            self.repeat_lost_calls(id);
            // M18: somebody else began this change.
            let is_joint = self.node(id).is_some_and(|node| node.configuration().is_joint());
            if is_joint && self.dice.below(2) == 0 {
                let after = Duration::from_micros(self.dice.below(20_000));
                self.later(after, Happening::GiveUp { node: id, life });
            }
        } else if let Event::BecameFollower { .. } = event {
            if self.members[&id].hangs && self.dice.below(4) == 0 {
                self.later(Duration::from_millis(1), Happening::Flood { node: id, life });
            }
        } else if let Event::TransferRequested { .. } = event {
            let after = Duration::from_millis(self.dice.below(60));
            self.later(after, Happening::Ask { node: id, life, mode: None });
        } else if let Event::ConfigurationInForce { .. } = event {
            self.carry_out_doom(id);
            self.ask_on_new_terms(id);
            self.hinder_change(id);
        } else if is_commit && self.role_of(id) == Some(Role::Leader) {
            self.ask_the_deposed(id);
            self.promote_too_early(id);
            self.hang_all_beside_witnesses(id);
        } else if let Event::SnapshotAccepted { .. } = event {
            // Its mark is written behind whatever is being written now.
            self.member(id).lingers = true;
        } else if let Event::SnapshotInstalled { .. } = event {
            self.newly_installed = Some(id);
        }
    }

    /// A change has begun: its leader's own disk is the last to have it where witnesses have it too
    /// (M16), or an operator thinks better of it (M18).
    fn hinder_change(&mut self, id: NodeId) {
        let Some(node) = self.node(id).filter(|node| node.role() == Role::Leader) else { return };
        if !self.looks_away || !self.options.hinders_changes {
            return; // The faults are over, or it is a story.
        }
        let has_witnesses = !node.configuration().witnesses.is_empty();
        if has_witnesses && self.dice.below(2) == 0 {
            self.census.meet(SLOW_BESIDE_WITNESSES);
            self.member(id).lingers = true;
        }
        let regrets = if self.removes_in_one_step(id) { 2 } else { 6 };
        if self.dice.below(regrets) == 0 {
            let life = self.members[&id].life;
            let after_us = if self.dice.below(2) == 0 { 0 } else { self.dice.below(20_000) };
            let after = Duration::from_micros(after_us);
            self.later(after, Happening::GiveUp { node: id, life });
        } else {
            self.hinder_voters(id);
        }
    }

    /// Whoever is to vote from now on, or now and then somebody else, answers, and does not write,
    /// or so slowly that it lacks the change for long: until its leader should have noticed (T175).
    fn hinder_voters(&mut self, id: NodeId) {
        let Some(node) = self.node(id) else { return };
        let now = node.configuration();
        let is_new = |voter: &NodeId| now.is_joint() && !now.outgoing.contains(voter);
        // A witness lacks nothing that it is not told yet.
        let full = now.voters.difference(&now.witnesses).copied();
        let others = full.filter(|voter| *voter != id);
        let (new, old): (Vec<_>, Vec<_>) =
            others.filter(|voter| self.is_awake(*voter)).partition(is_new);
        // Where the others can do without them, little comes of it.
        let is_needed = !now.is_quorum(Decision::Commit, &|voter| !new.contains(&voter));
        let hindered = if self.dice.below(6) < if is_needed { 5 } else { 1 } {
            new
        } else if self.dice.below(8) == 0 {
            old.into_iter().take(1).collect()
        } else {
            return;
        };
        let crawl = self.dice.below(2) == 0;
        let options = &self.members[&id].options;
        let ticks = options.slow_follower_ticks + 10 * options.election_timeout_ticks;
        let after = Duration::from_millis(ticks);
        for voter in hindered {
            self.census.meet(if crawl { VOTER_CRAWLS } else { VOTER_HANGS });
            if crawl {
                self.member(voter).crawls_until = self.now().after(after);
                continue;
            }
            self.hang_disk(voter);
            let life = self.members[&voter].life;
            self.later(after, Happening::MendDisk { node: voter, life });
        }
    }

    /// A learner has forgotten a part of its log, and writes it again step by step; it is to vote
    /// as soon as its leader has noticed (T150).
    pub(super) fn promote_who_forgot(&mut self, leader: NodeId, learner: NodeId) {
        let Some(member) = self.members.get(&leader).filter(|its| its.node.is_some()) else {
            return;
        };
        let options = &member.options;
        let after = Duration::from_millis(2 * options.heartbeat_interval_ticks + 200);
        let ticks = options.slow_follower_ticks + 10 * options.election_timeout_ticks;
        let life = member.life;
        self.census.meet(SET_BACK_IS_PROMOTED);
        self.member(learner).crawls_until = self.now().after(Duration::from_millis(ticks));
        self.later(after, Happening::Promote { node: leader, life, learner });
    }

    /// A leader is asked for more reads than it may keep, in the moment before it changes members.
    pub(super) fn ask_before_change(&mut self, id: NodeId) {
        for _ in 0..6 {
            self.ask_by_itself(id, ReadMode::ReadIndex);
        }
    }

    /// Whether a leader is in the middle of a change that removes a voter in one step.
    pub(super) fn removes_in_one_step(&self, id: NodeId) -> bool {
        let Some(node) = self.node(id).filter(|node| node.role() == Role::Leader) else {
            return false;
        };
        let (index, now) = (node.configuration_index(), node.configuration());
        let all = self.members[&id].configurations();
        let before = all.iter().rfind(|(at, _)| *at < index);
        let is_gone = |voter: &NodeId| !now.contains(*voter);
        index > node.commit_index()
            && !now.is_joint()
            && before
                .is_some_and(|(_, before)| !before.is_joint() && before.voters.iter().any(is_gone))
    }

    /// Where leases are in the log, clients go silent for the sake of a snapshot, now and then: so
    /// it has all that there is, and whoever gets it may be elected at once. Returns how much later
    /// it goes.
    pub(super) fn quiet_before_snapshot(&mut self) -> Duration {
        if !self.looks_away || self.options.members.lease.is_none() || self.dice.below(2) == 0 {
            return Duration::ZERO;
        }
        self.quiet_until = self.now().after(QUIET);
        QUIET / 3
    }

    /// Whether clients are silent.
    pub(super) fn is_quiet(&self) -> bool {
        self.now() < self.quiet_until
    }

    /// Whether clients rest from now on, in the meetings of this world too. What one has written at
    /// the last moment would be found half done by whoever looks whether the group rests.
    pub(super) fn let_clients_rest(&mut self, they_do: bool) {
        self.clients_rest = they_do;
    }

    /// Whoever lacks the log is to vote.
    fn promote_too_early(&mut self, id: NodeId) {
        let Some(node) = self.node(id) else { return };
        let is_open = node.configuration_index() > node.commit_index();
        let learners = &node.configuration().learners;
        let lacks = |learner: &&NodeId| self.lacks_log(id, **learner);
        let Some(learner) = learners.iter().find(lacks).copied().filter(|_| !is_open) else {
            return;
        };
        if self.dice.below(4) == 0 {
            self.census.meet("sometimes: a learner that lacks the log is to be promoted");
            let life = self.members[&id].life;
            self.later(Duration::ZERO, Happening::Promote { node: id, life, learner });
        }
    }

    /// Beside witnesses all others that hold data write no more for a while: nothing is committed,
    /// and an operator brings a learner, to take the place of one of them.
    fn hang_all_beside_witnesses(&mut self, id: NodeId) {
        let Some(node) = self.node(id) else { return };
        let now = node.configuration();
        if now.witnesses.is_empty() || now.is_joint() || !self.options.disks_are_known {
            return;
        }
        if !self.looks_away || !self.options.hinders_changes || self.clients_rest {
            return;
        }
        let is_free = |node: &NodeId| {
            !now.contains(*node)
                && !now.removed.contains(node)
                && !self.is_witness(*node)
                && self.is_awake(*node)
        };
        let Some(newcomer) = self.nodes().into_iter().find(is_free) else { return };
        let full = now.voters.difference(&now.witnesses).copied();
        let others: Vec<NodeId> = full.filter(|voter| *voter != id).collect();
        if others.is_empty() || self.dice.below(30) > 0 {
            return;
        }
        let options = &self.members[&id].options;
        let after = Duration::from_millis(4 * options.election_timeout_ticks);
        for voter in others {
            self.hang_disk(voter);
            let life = self.members[&voter].life;
            self.later(after, Happening::MendDisk { node: voter, life });
        }
        let life = self.members[&id].life;
        self.later(Duration::ZERO, Happening::Bring { node: id, life, newcomer });
    }

    /// An operator brings a learner, behind a command that is not committed.
    pub(super) fn bring_a_learner(&mut self, leader: NodeId, newcomer: NodeId) {
        let _refused = self.propose(leader, "behind those that hang");
        let change = ConfigurationChange::of([MemberChange::AddLearner(newcomer)]);
        if self.change(leader, &change).is_ok() {
            self.census.meet(REPLACES_THE_SLOW);
        }
    }

    /// A learner has everything before its coming is committed, beside witnesses: it may vote at
    /// once, and its disk may not be on record yet (T74).
    pub(super) fn promote_meanwhile(&mut self, id: NodeId, learner: NodeId) {
        let Some(node) = self.node(id).filter(|node| node.role() == Role::Leader) else { return };
        let configuration = node.configuration();
        if configuration.witnesses.is_empty()
            || !configuration.learners.contains(&learner)
            || configuration.incarnations.contains_key(&learner)
            || node.configuration_index() <= node.commit_index()
            || !self.looks_away
            || !self.options.hinders_changes
        {
            return;
        }
        let last = node.last().index;
        let has_all = |its: &FollowerStatus| its.id == learner && its.match_index == last;
        let coming = Some((learner, node.configuration_index()));
        // Once for each coming: a change asks reads, and their answers would call for more of them.
        let is_new = self.members[&id].seen.promoted_meanwhile != coming;
        if is_new && node.status().followers.iter().any(has_all) {
            self.member(id).seen.promoted_meanwhile = coming;
            self.census.meet(PROMOTED_MEANWHILE);
            let life = self.members[&id].life;
            self.later(Duration::ZERO, Happening::Promote { node: id, life, learner });
        }
    }

    /// Leases in the log have other terms from now on: clients ask when the last one under these
    /// is over, and one under those before may seem to run.
    fn ask_on_new_terms(&mut self, id: NodeId) {
        let Some(node) = self.node(id).filter(|node| node.role() == Role::Leader) else { return };
        let Some(terms) = node.configuration().lease else { return };
        let life = self.members[&id].life;
        for _ in 0..2 {
            let after_us = terms.duration_us + 3000 + self.dice.below(20_000);
            let mode = Some(ReadMode::LeaseGuard { checks_limbo: true });
            let after = Duration::from_micros(after_us);
            self.later(after, Happening::Ask { node: id, life, mode });
        }
    }

    /// Requests of those who lost an election come late, to whoever has voted already.
    fn repeat_lost_calls(&mut self, id: NodeId) {
        let Some(term) = self.node(id).map(raft::Node::term) else { return };
        let is_lost = |call: &&Message| call.term == term && call.from != id;
        let calls: Vec<Message> = self.vote_requests.iter().filter(is_lost).cloned().collect();
        for message in calls {
            self.census.meet("sometimes: a late call reaches who has voted");
            let after = Duration::from_micros(self.dice.below(30_000));
            self.later(after, Happening::Arrival { number: 0, message, asked_at: None });
        }
    }

    /// A client writes where somebody leads who is about to hear that it does not, and the disk
    /// takes its time: what was not committed is cut off while it is being written.
    pub(super) fn write_too_late(&mut self, message: &Message) {
        let id = message.to;
        let is_old = |node: &raft::Node| node.role() == Role::Leader && node.term() < message.term;
        // Somebody who was removed, and has not heard of it, may call at any time.
        if self.clients_rest || self.node(id).is_none_or(|node| !is_old(node)) {
            return;
        }
        if self.dice.below(3) > 0 {
            return;
        }
        self.census.meet("sometimes: a write that a successor cuts off is still under way");
        self.member(id).lingers = true;
        let _refused = self.propose(id, "too late");
    }

    /// A follower whose disk does not answer is asked and asked where it may read. Its answers wait
    /// for the disk if it has begun a term since.
    pub(super) fn ask_and_ask(&mut self, id: NodeId) {
        let Some(node) = self.node(id).filter(|node| node.role() == Role::Follower) else { return };
        let (term, leader) = (node.term(), node.leader());
        let mut voters = node.configuration().voters.iter().copied();
        let asks = voters.find(|voter| *voter != id && Some(*voter) != leader);
        let member = &self.members[&id];
        let waits = member.hangs && member.disk.hard_state.current_term < term;
        let Some(from) = asks.filter(|_| waits) else { return };
        self.census.meet("sometimes: a follower whose disk hangs is asked and asked");
        for _ in 0..FLOOD {
            let body = Body::ReadIndex { context: 1, replied: false };
            self.input(id, Input::Message(Message::new(from, id, term, body)));
        }
    }

    /// Clients ask when a lease that a leader has just written is over, or all but over.
    pub(super) fn ask_when_leases_end(&mut self, id: NodeId, entries: &[Entry]) {
        let Some(width_us) = self.options.clock_uncertainty_us.map(u64::from) else { return };
        // Who asks too late makes a leader write the next lease: of this there must be an end.
        if !self.looks_away || self.dice.below(3) > 0 {
            return;
        }
        let Some(terms) = self.node(id).and_then(|node| node.configuration().lease) else { return };
        if terms.clock == LeaseClock::Monotonic {
            return;
        }
        let life = self.members[&id].life;
        let now_us = true_us(self.now());
        for (_, at) in entries.iter().filter_map(lease_of) {
            for _ in 0..2 {
                let some_us = self.dice.below(width_us + 3000);
                let end_us = at.earliest_us + terms.duration_us + some_us;
                let after = Duration::from_micros(end_us.saturating_sub(now_us));
                let mode = Some(ReadMode::LeaseGuard { checks_limbo: true });
                self.later(after, Happening::Ask { node: id, life, mode });
            }
        }
    }
}
