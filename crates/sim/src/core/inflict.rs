//! What each kind of fault does to a core world.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of many kinds, each function deals with a few"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use env::SplitMix;
use raft::{
    Configuration, ConfigurationChange, Input, LeaseChange, MemberChange, NodeId, Timeouts,
    Transition,
};

use super::chaos::CoreChaos;
use super::succession::{Later, Wires};
use super::swarm::{any_lease, any_priorities, any_rule};
use crate::chaos::{FaultKind, cuts_of, pick};

impl CoreChaos {
    /// Returns whether it could be done.
    pub(super) fn inflict(
        &mut self,
        kind: FaultKind,
        node: NodeId,
        at_ms: u64,
        dice: &mut SplitMix,
    ) -> bool {
        let nodes: Vec<u64> = self.world.nodes().iter().map(|node| node.0).collect();
        let cuts = cuts_of(kind, &nodes, node.0, dice);
        if !cuts.is_empty() {
            let times = if kind == FaultKind::Flap { 6 } else { 1 };
            for half in 0..times {
                let wires = Wires { cut: half % 2 == 0, cuts: cuts.clone() };
                self.later.push((at_ms + half * 500, Later::Wires(wires)));
            }
            return true;
        }
        match kind {
            FaultKind::Transfer | FaultKind::StepDown | FaultKind::Members | FaultKind::Abandon => {
                self.ask_the_leader(kind, dice)
            }
            FaultKind::ClockDrift | FaultKind::ClockJump | FaultKind::ClockStop => {
                self.upset_clock(kind, node, dice);
                true
            }
            FaultKind::FalseClock if self.world.has_declared_clocks() => {
                let error_us = pick(dice, &[-500_000, 200_000, 500_000, 3_000_000]);
                self.world.falsify_clock(node, error_us);
                let timeout = self.plan.options.node_options.election_timeout_ticks;
                self.resume_at.push((at_ms + 50 + dice.below(2 * timeout), node));
                true
            }
            FaultKind::FalseClock => false,
            FaultKind::CrashAll => self.crash_all(),
            FaultKind::Usurp => self.usurp(at_ms, dice),
            FaultKind::OnlyVotes => {
                self.let_only_votes_through(at_ms, dice);
                true
            }
            FaultKind::LeaveAndCrash => self.leave_and_crash(dice),
            FaultKind::Newcomer => self.bring_a_newcomer(at_ms, dice),
            FaultKind::Swizzle => {
                self.swizzle(&nodes, at_ms, dice);
                true
            }
            FaultKind::SlowDisk => {
                let most = Duration::from_millis(pick(dice, &[200, 900]));
                self.world.set_write_time(most / 4, most);
                true
            }
            FaultKind::LoseDisk | FaultKind::SetBackDisk => {
                // It counts when it happens.
                self.spoil_until = Some((at_ms + SPOILT_WITHIN_MS, kind));
                if kind == FaultKind::SetBackDisk {
                    self.world.nodes().into_iter().for_each(|id| self.world.copy_disk(id));
                }
                false
            }
            FaultKind::Crash if self.world.is_on(node) => {
                self.world.crash(node);
                self.tell_the_others(node, dice);
                true
            }
            _ if self.world.is_awake(node) => self.inflict_on(kind, node, at_ms, dice),
            _ => false,
        }
    }

    /// What happens to a node that is awake, or to the network around it.
    fn inflict_on(
        &mut self,
        kind: FaultKind,
        node: NodeId,
        at_ms: u64,
        dice: &mut SplitMix,
    ) -> bool {
        let mend_at = at_ms + dice.below(6000);
        match kind {
            FaultKind::HangLog => self.world.hang_disk(node),
            FaultKind::HangApplier => self.world.hang_stages(node, true, false),
            FaultKind::HangBulk => self.world.hang_stages(node, false, true),
            FaultKind::PauseElections => self.world.hand(node, Input::PauseElections(true)),
            FaultKind::Pause => self.world.put_to_sleep(node),
            FaultKind::Compact => {
                self.world.compact(node);
                return true;
            }
            FaultKind::Campaign => {
                self.world.hand(node, Input::Campaign);
                return true;
            }
            FaultKind::Nonsense => {
                let heard = (0..4).filter(|_| self.world.hear_nonsense(node, dice));
                return heard.count() > 0;
            }
            FaultKind::Timeouts => {
                let election_timeout_ticks = pick(dice, &[100, 300, 1000]);
                let heartbeat_interval_ticks = election_timeout_ticks / 10;
                let timeouts = Timeouts { election_timeout_ticks, heartbeat_interval_ticks };
                return self.world.set_timeouts(node, timeouts).is_ok();
            }
            _ => return self.worsen(kind, node, dice),
        }
        self.resume_at.push((mend_at, node));
        true
    }

    fn crash_all(&mut self) -> bool {
        let on: Vec<NodeId> =
            self.world.nodes().into_iter().filter(|id| self.world.is_on(*id)).collect();
        on.iter().for_each(|node| self.world.crash(*node));
        !on.is_empty()
    }

    /// What makes the network worse without a shape.
    fn worsen(&mut self, kind: FaultKind, node: NodeId, dice: &mut SplitMix) -> bool {
        let permille = 1 + dice.below(300);
        let now = self.world.now();
        let nodes = self.world.nodes();
        let net = self.world.net();
        if kind == FaultKind::Loss {
            net.loss_permille = permille;
        } else if kind == FaultKind::Duplicate {
            net.duplicate_permille = permille;
        } else if kind == FaultKind::Reorder {
            net.reorder_permille = permille;
        } else if kind == FaultKind::Replay {
            net.replay_permille = permille;
        } else if kind == FaultKind::Shorten {
            net.shorten_permille = permille;
        } else if kind == FaultKind::Delay {
            let most = Duration::from_millis(pick(dice, &[5, 100, 700]));
            net.delay = (Duration::from_micros(200), most);
        } else if kind == FaultKind::Clog {
            let until = now.after(Duration::from_millis(dice.below(3000)));
            let other = pick(dice, &nodes);
            net.clog(node.0, other.0, until);
            return other != node;
        } else {
            return false;
        }
        true
    }

    fn upset_clock(&mut self, kind: FaultKind, node: NodeId, dice: &mut SplitMix) {
        if self.plan.clocks_agree() {
            return self.world.drift_within_bounds(node, dice.next_u64());
        }
        let clock = self.world.clock_of(node);
        if kind == FaultKind::ClockDrift {
            clock.set_rate_ppm(pick(dice, &[200_000, 900_000, 1_100_000, 5_000_000]));
        } else if kind == FaultKind::ClockStop {
            clock.set_rate_ppm(0);
        } else {
            clock.jump_ms(pick(dice, &[20, 700, 3_000]));
        }
        self.world.clock_was_set(node);
    }

    /// Some hosts notice that a node is gone.
    fn tell_the_others(&mut self, lost: NodeId, dice: &mut SplitMix) {
        for other in self.world.nodes() {
            if self.world.is_awake(other) && dice.below(2) == 0 {
                self.world.hand(other, Input::PeerLost(lost));
            }
        }
    }

    fn ask_the_leader(&mut self, kind: FaultKind, dice: &mut SplitMix) -> bool {
        let leader = self.world.leader().filter(|leader| self.world.is_awake(*leader));
        let Some(leader) = leader else { return false };
        let nodes = self.world.nodes();
        match kind {
            FaultKind::StepDown => {
                let comes_back = dice.below(2) == 0;
                if comes_back {
                    // With something on its way to the disk.
                    let _refused = self.world.propose(leader, "before it gives up");
                }
                self.world.hand(leader, Input::StepDown);
                if comes_back {
                    self.world.hand(leader, Input::Campaign);
                }
                true
            }
            FaultKind::Transfer => {
                let to = (dice.below(2) == 0).then(|| pick(dice, &nodes));
                self.world.transfer(leader, to).is_ok()
            }
            FaultKind::Abandon => self.world.abandon(leader).is_ok(),
            _ => self.change_members(leader, dice),
        }
    }

    /// Whoever this node leads become others.
    pub(super) fn change_members(&mut self, leader: NodeId, dice: &mut SplitMix) -> bool {
        // Disks first, members later.
        if !self.world.disks_are_on_record(leader) {
            return false;
        }
        let nodes = self.world.nodes();
        let Some(node) = self.world.node(leader) else { return false };
        let configuration = node.configuration().clone();
        let change = self.any_change(&configuration, &nodes, dice);
        let began = self.world.change(leader, &change).is_ok();
        let learner = change.members.iter().find_map(|change| match change {
            MemberChange::AddLearner(node) => Some(*node),
            _ => None,
        });
        if let Some(learner) = learner.filter(|_| began) {
            // Somebody is impatient, or would rather not ask again and again.
            let now_ms = self.world.now().0 / 1_000_000;
            let at_ms = now_ms + 20 + dice.below(200);
            let is_patient = dice.below(2) == 0;
            let what = if is_patient { Later::Stage } else { Later::Promote };
            self.later.push((at_ms, what(leader, learner)));
        }
        began
    }

    /// Any change, sensible or not.
    fn any_change(
        &self,
        configuration: &Configuration,
        nodes: &[NodeId],
        dice: &mut SplitMix,
    ) -> ConfigurationChange {
        let mut members = Vec::new();
        for node in nodes.iter().copied() {
            if dice.below(2) == 0 {
                continue;
            }
            let is_voter = configuration.voters.contains(&node);
            let is_learner = configuration.learners.contains(&node);
            members.push(match (is_voter, is_learner, dice.below(3)) {
                (true, _, 0) => MemberChange::Demote(node),
                (false, true, 0 | 1) => MemberChange::Promote(node),
                (true, ..) | (_, true, _) => MemberChange::Remove(node),
                (false, false, _) if self.world.is_witness(node) => MemberChange::AddWitness(node),
                (false, false, 0) => MemberChange::AddLearner(node),
                (false, false, _) => MemberChange::AddVoter(node),
            });
        }
        // Somebody has an old list (M14).
        if let Some(gone) = configuration.removed.last().filter(|_| dice.below(6) == 0) {
            members = vec![MemberChange::AddLearner(*gone)];
        }
        let feeders = any_feeders(configuration, &members, nodes, dice);
        let allow_stall = dice.below(2) == 0;
        let rule = (dice.below(3) == 0).then(|| any_rule(dice, &configuration.voters));
        if rule.is_some() && dice.below(2) == 0 {
            // A rule that names voters fits only those that are there.
            members.clear();
        }
        let lease = match dice.below(5) {
            0 if self.plan.clocks_agree() => LeaseChange::Set(any_lease(dice, &self.plan.options)),
            1 => LeaseChange::End,
            _ => LeaseChange::Keep,
        };
        let is_preferred = dice.below(4) == 0;
        let voters = &configuration.voters;
        let priorities = if is_preferred { any_priorities(dice, voters) } else { BTreeMap::new() };
        let change = ConfigurationChange {
            allow_stall,
            priorities,
            rule,
            lease,
            feeders,
            ..ConfigurationChange::of(members)
        };
        if dice.below(2) == 0 { in_one_step(change, dice) } else { change }
    }
}

/// One voter comes or goes, most likely.
fn in_one_step(mut change: ConfigurationChange, dice: &mut SplitMix) -> ConfigurationChange {
    change.transition = Transition::OneStep;
    if dice.below(3) > 0 {
        change.members.truncate(1);
        change.feeders.clear();
        change.rule = None;
    }
    change
}

/// By whom learners are to be fed: by anybody, sensible or not, or by the leader again.
fn any_feeders(
    configuration: &Configuration,
    members: &[MemberChange],
    nodes: &[NodeId],
    dice: &mut SplitMix,
) -> BTreeMap<NodeId, Option<NodeId>> {
    let mut feeders = BTreeMap::new();
    let stay = configuration.learners.iter().copied();
    let are_named = |learner: &NodeId| members.iter().any(|change| change.node() == *learner);
    let come = members.iter().filter(|change| matches!(change, MemberChange::AddLearner(_)));
    let come = come.map(|change| change.node());
    for learner in stay.filter(|learner| !are_named(learner)).chain(come) {
        match dice.below(4) {
            0 => drop(feeders.insert(learner, None)),
            1 | 2 => drop(feeders.insert(learner, Some(pick(dice, nodes)))),
            _ => {}
        }
    }
    feeders
}

/// A disk that is to be lost is lost when the group can bear it, and not after so long.
const SPOILT_WITHIN_MS: u64 = 4000;
