//! A member leaves a group that is at rest: one that is there hears of it from its leader, and one
//! that is gone keeps nobody awake.
//!
//! Nobody has to hear it in worlds with faults, where the last word of a leader may be lost: then
//! who left asks, sooner or later, and is told.

use raft::{ConfigurationChange, LogIndex, MemberChange, NodeId, Role, Term, Transition};

use super::CoreWorld;
use super::chaos::CoreChaos;
use super::sometimes::{LEAVES_AND_HEARS, LEAVES_UNHEARD};
use super::tallies::may_elect;
use crate::Failure;
use crate::chaos::pick;

/// More messages than some windows of a world have room for, and more than some caches.
const COMMANDS: [u64; 2] = [5, 40];

impl CoreWorld {
    /// From where a leader will tell a member of whom it knows that it keeps up: it has heard so,
    /// or somebody else feeds it. Whoever has begun a moment ago has everything, and nobody knows
    /// it yet.
    fn next_of(&self, leader: NodeId, member: NodeId) -> Option<LogIndex> {
        let node = self.node(leader)?;
        let all = node.status().followers;
        let its = all.iter().find(|its| its.id == member && !its.needs_snapshot)?;
        let keeps_up = its.match_index == node.last().index || its.fed_by.is_some();
        keeps_up.then_some(its.next_index)
    }
}

impl CoreChaos {
    /// One member leaves. Another may come in its place, whose disk is put on record at once.
    pub(super) fn let_somebody_leave(&mut self) -> Result<(), Failure> {
        let leader = self.leader_at_rest()?;
        let configuration = self.newest_configuration();
        let is_on = |node: &NodeId| self.world.is_on(*node);
        let others = || configuration.members().filter(|node| *node != leader);
        let candidates: Vec<NodeId> = others().filter(is_on).collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let leaver = pick(&mut self.dice, &candidates);
        let stay = configuration.members().filter(|node| *node != leaver).collect();
        let is_gone = self.dice.below(2) == 0 && may_elect(&configuration, &stay);
        if is_gone {
            // Its window is full, and nothing will ever empty it.
            self.world.crash(leaver);
            for _ in 0..pick(&mut self.dice, &COMMANDS) {
                let _refused = self.world.propose(leader, "to who is gone");
                self.world.run_ms(5);
            }
            self.turn(20);
        }
        let next = self.world.next_of(leader, leaver);
        if !self.begin_to_leave(leader, leaver) {
            self.world.start_all();
            return self.wait_for_rest("who was away catches up");
        }
        if is_gone {
            self.leave_unheard(leaver)
        } else if let Some(next) = next {
            self.leave_and_hear(leader, leaver, next)
        } else {
            self.wait_until_it_left(leaver)?;
            self.wait_for_rest(LEFT)
        }
    }

    fn begin_to_leave(&mut self, leader: NodeId, leaver: NodeId) -> bool {
        let configuration = self.newest_configuration();
        let is_new = |node: &NodeId| {
            let known = configuration.contains(*node) || configuration.removed.contains(node);
            !known && !self.world.is_witness(*node) && self.world.is_on(*node)
        };
        let newcomer = self.world.nodes().into_iter().find(is_new);
        let newcomer = newcomer.filter(|_| self.dice.below(4) > 0).map(MemberChange::AddLearner);
        let is_voter = configuration.is_voter(leaver);
        let by_step = is_voter && self.dice.below(2) == 0;
        let members = newcomer.into_iter().chain([MemberChange::Remove(leaver)]);
        let change = ConfigurationChange {
            allow_stall: true,
            transition: if by_step { Transition::OneStep } else { Transition::Joint },
            ..ConfigurationChange::of(members)
        };
        self.world.change(leader, &change).is_ok()
    }

    /// Its leader tells it, before it would ask, unless the log is cut behind what it is known to
    /// hold.
    fn leave_and_hear(
        &mut self,
        leader: NodeId,
        leaver: NodeId,
        next: LogIndex,
    ) -> Result<(), Failure> {
        let term = self.term_of(leader);
        self.wait_until_it_left(leaver)?;
        let mut waited_ms = 0;
        while !self.world.has_heard_of_removal(leaver) {
            let is_cut = self.world.node(leader).is_some_and(|node| node.mark().index >= next);
            if is_cut || self.world.leader() != Some(leader) || self.term_of(leader) != term {
                return self.wait_for_rest(LEFT);
            }
            if waited_ms > self.timeout_ms() / 2 {
                let why = format!("n{leaver} has left n{leader}");
                return Err(self.failure("who leaves hears of it", &why));
            }
            self.world.run_ms(10);
            waited_ms += 10;
        }
        self.world.meet(LEAVES_AND_HEARS);
        self.turn(20);
        self.wait_for_rest(LEFT)
    }

    /// The group goes on without it, and rests, where it may.
    fn leave_unheard(&mut self, leaver: NodeId) -> Result<(), Failure> {
        self.wait_until_it_left(leaver)?;
        self.wait_for_rest(LEFT)?;
        self.world.meet(LEAVES_UNHEARD);
        let Some(ticks) = self.plan.options.node_options.quiesce_after_ticks else {
            return Ok(());
        };
        let configuration = self.newest_configuration();
        let nodes = self.world.nodes();
        // Who was removed and does not know it asks, and wakes the others.
        let mut strangers = nodes.iter().filter(|node| !configuration.contains(**node));
        let is_silent = |node: &NodeId| {
            let known = self.world.node(*node).map(|node| node.configuration());
            known.is_none_or(|known| known.voters.is_empty())
        };
        if !strangers.all(is_silent) || configuration.members().any(|node| !self.world.is_on(node))
        {
            return Ok(());
        }
        self.world.let_clients_rest(true);
        let slow_ticks = self.plan.options.node_options.slow_follower_ticks;
        let patience_ms = ticks + slow_ticks + 4 * self.timeout_ms();
        let mut waited_ms = 0;
        while self
            .world
            .leader()
            .and_then(|id| self.world.node(id))
            .is_none_or(|node| !node.is_resting())
        {
            if waited_ms > patience_ms {
                let why = format!("n{leaver} has left, and its leader does not rest");
                return Err(self.failure("who is gone keeps nobody awake", &why));
            }
            self.world.run_ms(100);
            waited_ms += 100;
        }
        self.world.let_clients_rest(false);
        Ok(())
    }

    fn term_of(&self, id: NodeId) -> Option<Term> {
        self.world.node(id).filter(|node| node.role() == Role::Leader).map(raft::Node::term)
    }

    fn wait_until_it_left(&mut self, leaver: NodeId) -> Result<(), Failure> {
        let mut waited_ms = 0;
        loop {
            let leader = self.world.leader().and_then(|id| self.world.node(id));
            let has_left = leader.is_some_and(|leader| {
                let configuration = leader.committed_configuration();
                !configuration.contains(leaver) && !configuration.is_joint()
            });
            if has_left {
                return Ok(());
            }
            if waited_ms > self.mended_within_ms() {
                let why = format!("n{leaver} is still there");
                return Err(self.failure("who is removed leaves", &why));
            }
            self.world.run_ms(5);
            waited_ms += 5;
        }
    }
}

const LEFT: &str = "a group that somebody has left comes to rest";
