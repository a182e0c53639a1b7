//! Leaders that follow each other faster than they should: deposed without hearing of it, elected
//! without being able to say so, gone when nobody but their disk knows what they did last.
//!
//! Whatever a deposed leader still does on somebody's word rests on time alone. So these are the
//! worlds in which leases are tried.

use env::SplitMix;
use raft::{ConfigurationChange, Input, LeaseChange, LeaseTerms, MemberChange, NodeId};

use super::chaos::CoreChaos;
use crate::chaos::{Cuts, FaultKind, cuts_of, pick};

/// Wires that are cut, or mended.
#[derive(Debug)]
pub(super) struct Wires {
    pub(super) cut: bool,
    pub(super) cuts: Cuts,
}

/// What will be done at its time.
#[derive(Debug)]
pub(super) enum Later {
    Wires(Wires),
    /// Everything gets through again, and not votes alone.
    Heal,
    /// Leadership is to go to anybody.
    Transfer(NodeId),
    /// A leader is to make a voter of a learner.
    Promote(NodeId, NodeId),
    /// The same, as soon as it holds the log.
    Stage(NodeId, NodeId),
    /// Leases become shorter, or end, or go by other clocks.
    ShortenLease(NodeId),
}

/// Who may take over, and from when to when; and who led before.
#[derive(Debug, Default)]
pub(super) struct Succession {
    heirs: Vec<NodeId>,
    from_ms: u64,
    until_ms: u64,
    deposed: Option<NodeId>,
}

impl CoreChaos {
    pub(super) fn do_what_is_due(&mut self, now_ms: u64) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now_ms);
        self.later = later;
        for (_, later) in due {
            match later {
                Later::Wires(Wires { cut: true, cuts }) => {
                    cuts.into_iter().for_each(|(from, to)| self.world.net().cut(from, to));
                }
                Later::Wires(Wires { cut: false, cuts }) => {
                    cuts.into_iter().for_each(|(from, to)| self.world.net().heal(from, to));
                }
                Later::Heal => self.world.net().only_votes = false,
                Later::Transfer(leader) if self.world.is_awake(leader) => {
                    let _refused = self.world.transfer(leader, None);
                }
                Later::ShortenLease(leader) if self.world.is_awake(leader) => {
                    self.shorten_lease(leader);
                }
                Later::Promote(leader, learner) if self.world.is_awake(leader) => {
                    self.world.promote(leader, learner);
                }
                Later::Stage(leader, learner) if self.world.is_awake(leader) => {
                    self.world.stage(leader, learner);
                }
                Later::Transfer(_)
                | Later::ShortenLease(_)
                | Later::Promote(..)
                | Later::Stage(..) => {}
            }
        }
    }

    /// One node after the other is cut off; they come back in another order.
    pub(super) fn swizzle(&mut self, nodes: &[u64], at_ms: u64, dice: &mut SplitMix) {
        for node in nodes {
            if dice.below(3) == 0 {
                continue;
            }
            let cuts = cuts_of(FaultKind::Isolate, nodes, *node, dice);
            let cut_at = at_ms + dice.below(500);
            let heal_at = cut_at + 500 + dice.below(1000);
            self.wire(cut_at, true, cuts.clone());
            self.wire(heal_at, false, cuts);
        }
    }

    fn wire(&mut self, at_ms: u64, cut: bool, cuts: Cuts) {
        self.later.push((at_ms, Later::Wires(Wires { cut, cuts })));
    }

    /// A leader with a fresh lease is deposed as fast as can be, and does not hear of it. It hands
    /// over before, or shortens its lease; its followers forget, or their answers come late.
    pub(super) fn usurp(&mut self, at_ms: u64, dice: &mut SplitMix) -> bool {
        let leader = self.world.leader().filter(|leader| self.world.is_awake(*leader));
        let Some(leader) = leader else { return false };
        let nodes = self.world.nodes();
        let others: Vec<NodeId> = nodes.iter().copied().filter(|node| *node != leader).collect();
        let options = &self.plan.options.node_options;
        let (timeout, beat) = (options.election_timeout_ticks, options.heartbeat_interval_ticks);
        let slowest = u64::try_from(self.plan.options.delay.1.as_millis()).unwrap_or(0);
        self.world.ask_on_lease(leader);
        let has_guards = self.plan.options.members.lease.is_some();
        let way = if has_guards { pick(dice, &[0, 1, 2, 2, 2, 3, 4, 5]) } else { dice.below(6) };
        let round_ms = 4 * slowest + 20;
        let mut cut_at = at_ms + pick(dice, &[0, round_ms]);
        if way == 1 {
            self.later.push((cut_at, Later::Transfer(leader)));
        } else if way == 2 && self.plan.clocks_agree() {
            self.later.push((cut_at, Later::ShortenLease(leader)));
            // That it is committed is told with what comes next.
            cut_at += pick(dice, &[0, round_ms + beat]);
        }
        let to_it: Cuts = others.iter().map(|node| (node.0, leader.0)).collect();
        let from_it: Cuts = others.iter().map(|node| (leader.0, node.0)).collect();
        let goes_on = if way < 3 { 3 * slowest } else { 0 };
        let mut deaf_at = cut_at;
        if way == 4 {
            // What was answered before comes when it is old.
            deaf_at += timeout * (5 + dice.below(8)) / 10;
            let held = std::time::Duration::from_millis(deaf_at.saturating_sub(at_ms));
            let until = self.world.now().after(held);
            to_it.iter().for_each(|(from, to)| self.world.net().clog(*from, *to, until));
            deaf_at += 20;
        }
        self.wire(deaf_at, true, to_it.clone());
        self.wire(cut_at + goes_on, true, from_it.clone());
        let heal_at = deaf_at + timeout + dice.below(3 * timeout);
        self.wire(heal_at, false, to_it.into_iter().chain(from_it).collect());
        if way == 3 {
            for node in &others {
                if self.world.is_on(*node) {
                    self.world.crash(*node);
                    self.world.start(*node);
                }
            }
        }
        let (from_ms, until_ms) = (cut_at + goes_on, heal_at);
        self.succession = Succession { heirs: others, from_ms, until_ms, deposed: Some(leader) };
        true
    }

    fn shorten_lease(&mut self, leader: NodeId) {
        let drift_ppm = self.plan.options.clock_spread_ppm;
        let lease = match (self.plan.options.clock_uncertainty_us, self.dice.below(4)) {
            (None, 0) => LeaseChange::End,
            // By other clocks, and longer.
            (Some(_), 0 | 3) => {
                let timeout = self.plan.options.node_options.election_timeout_ticks;
                LeaseChange::Set(LeaseTerms::monotonic(2500 * timeout, drift_ppm))
            }
            (Some(most), 1 | 2) => {
                LeaseChange::Set(LeaseTerms::declared(u64::from(most) * 2 + 1000, drift_ppm, most))
            }
            // Less than a tick, so that nobody can read on it.
            (_, dice) => LeaseChange::Set(LeaseTerms::monotonic(300 * dice, drift_ppm)),
        };
        let change = ConfigurationChange { lease, ..ConfigurationChange::default() };
        let _refused = self.world.change(leader, &change);
    }

    /// Whoever has just put a snapshot in place knows nothing of the log before it. It is elected
    /// while leases of that log run, since the leader stands still.
    pub(super) fn elect_the_installed(&mut self, now_ms: u64) {
        let Some(node) = self.world.take_installed() else { return };
        let leader = self.world.leader().filter(|leader| self.world.is_awake(*leader));
        let Some(leader) = leader.filter(|leader| *leader != node) else { return };
        if self.plan.options.members.lease.is_none() || !self.world.is_quiet() {
            return;
        }
        self.world.meet("sometimes: whoever got a snapshot is to lead at once");
        let timeout = self.plan.options.node_options.election_timeout_ticks;
        let until_ms = now_ms + 2 * timeout + self.dice.below(timeout);
        self.world.put_to_sleep(leader);
        self.resume_at.push((until_ms, leader));
        let heirs = vec![node];
        self.succession = Succession { heirs, from_ms: now_ms, until_ms, deposed: None };
    }

    /// Those who are left campaign, one after the other, and one that wins may hand over at once.
    /// Clients of whoever led before have not heard of it either.
    pub(super) fn succeed(&mut self, now_ms: u64) {
        let Succession { heirs, from_ms, until_ms, deposed } = &self.succession;
        if heirs.is_empty() || now_ms < *from_ms {
            return;
        }
        if now_ms > *until_ms {
            self.succession = Succession::default();
            return;
        }
        let deposed = deposed.filter(|deposed| self.world.is_awake(*deposed));
        let node = pick(&mut self.dice, heirs);
        if let Some(deposed) = deposed {
            self.world.ask_on_lease(deposed);
        }
        if !self.world.nodes().contains(&node) || !self.world.is_awake(node) {
            return;
        }
        match self.dice.below(4) {
            0 => self.world.hand(node, Input::Campaign),
            1 => drop(self.world.transfer(node, None)),
            _ => {}
        }
    }

    /// For a few election timeouts nothing but votes gets through. Before that a leader may have
    /// begun to change its leases.
    pub(super) fn let_only_votes_through(&mut self, at_ms: u64, dice: &mut SplitMix) {
        let leader = self.world.leader().filter(|leader| self.world.is_awake(*leader));
        if let Some(leader) = leader {
            self.world.ask_on_lease(leader);
        }
        self.world.net().only_votes = true;
        if let Some(leader) = leader.filter(|_| self.plan.clocks_agree() && dice.below(3) == 0) {
            self.shorten_lease(leader);
        }
        let timeout = self.plan.options.node_options.election_timeout_ticks;
        let until_ms = at_ms + timeout / 2 + dice.below(3 * timeout);
        self.later.push((until_ms, Later::Heal));
        let heirs = self.world.nodes();
        self.succession = Succession { heirs, from_ms: at_ms, until_ms, deposed: leader };
    }

    /// A voter is cut off while a member comes. When it is back the leader is gone, and the
    /// newcomer, of whom it has not heard, asks for its vote (M6).
    pub(super) fn bring_a_newcomer(&mut self, at_ms: u64, dice: &mut SplitMix) -> bool {
        let leader = self.world.leader().filter(|leader| self.world.is_awake(*leader));
        let leader = leader.filter(|leader| self.world.disks_are_on_record(*leader));
        let Some(leader) = leader else { return false };
        let Some(node) = self.world.node(leader) else { return false };
        let configuration = node.configuration().clone();
        let nodes = self.world.nodes();
        let is_new = |node: &NodeId| {
            !configuration.contains(*node)
                && !configuration.removed.contains(node)
                && !self.world.is_witness(*node)
                && self.world.is_awake(*node)
        };
        let newcomers: Vec<NodeId> = nodes.iter().copied().filter(is_new).collect();
        let voters = configuration.voters.iter().copied();
        let others: Vec<NodeId> = voters.filter(|voter| *voter != leader).collect();
        if newcomers.is_empty() || others.is_empty() {
            return false;
        }
        let (newcomer, voter) = (pick(dice, &newcomers), pick(dice, &others));
        let change = ConfigurationChange {
            allow_stall: true,
            ..ConfigurationChange::of([MemberChange::AddVoter(newcomer)])
        };
        if self.world.change(leader, &change).is_err() {
            return false;
        }
        let wires_of = |node: NodeId| -> Cuts {
            let others = nodes.iter().filter(|other| **other != node);
            others.flat_map(|other| [(node.0, other.0), (other.0, node.0)]).collect()
        };
        let timeout = self.plan.options.node_options.election_timeout_ticks;
        let slowest = u64::try_from(self.plan.options.delay.1.as_millis()).unwrap_or(0);
        let changed_at = at_ms + 10 * slowest + dice.below(timeout);
        let until_ms = changed_at + 2 * timeout + dice.below(2 * timeout);
        self.wire(at_ms, true, wires_of(voter));
        self.wire(changed_at, false, wires_of(voter));
        self.wire(changed_at, true, wires_of(leader));
        self.wire(until_ms, false, wires_of(leader));
        let heirs = vec![newcomer];
        self.succession = Succession { heirs, from_ms: changed_at, until_ms, deposed: None };
        true
    }

    /// A leader takes itself out, and is gone when the last step is on its own disk alone.
    pub(super) fn leave_and_crash(&mut self, dice: &mut SplitMix) -> bool {
        let leader = self.world.leader().filter(|leader| self.world.is_awake(*leader));
        // Disks first, members later.
        let leader = leader.filter(|leader| self.world.disks_are_on_record(*leader));
        let Some(leader) = leader else { return false };
        if dice.below(4) > 0 {
            self.world.doom(leader);
        }
        let change = ConfigurationChange::of([MemberChange::Remove(leader)]);
        self.world.change(leader, &change).is_ok()
    }
}
