//! The second phase: the faults end, for a core of the voters or for all, and the cluster must be
//! well within a bounded time.

use std::time::Duration;

use host::{Goal, MemberAttributes};
use raft::{Configuration, NodeId};

use super::{A_CORE, Chaos};
use crate::Failure;

/// A transfer that was cut off may take long to notice, and a request that was held up has seven
/// seconds.
const MENDED_WITHIN_TIMEOUTS: u32 = 20;
/// So long at least is an election timeout for this.
const TIMEOUT_MIN_MS: u64 = 1000;

impl Chaos {
    /// Lets the time of all leases pass, and sees that they are gone. Returns the turn.
    pub(super) fn outlive_leases(&mut self, mut turn: u64, time: Duration) -> Result<u64, Failure> {
        let end = self.cluster.world.now().after(time);
        while self.cluster.world.now() < end {
            turn += 1;
            self.turn(turn)?;
        }
        let (nodes, cluster) = (self.cluster.world.nodes(), &self.cluster);
        self.leases.check_end(&nodes, |node, group| cluster.store_of(node, group))?;
        Ok(turn)
    }

    /// The voters of all groups, if they are the same for every node that has ever run, have their
    /// disks, and will stay: a learner that is to vote, or to take a voter's place, does so as soon
    /// as it can, whoever waits for a majority of those before.
    pub(super) fn settled_voters(&self) -> Option<Vec<NodeId>> {
        let world = &self.cluster.world;
        let nodes = world.nodes();
        let is_settled = self.spoiled.is_none() && self.operator.is_done_with(world.now());
        let known = || {
            let of = |node: &NodeId| {
                let groups = self.groups.iter();
                groups.filter_map(|group| world.configuration(*node, *group)).collect::<Vec<_>>()
            };
            // Who has just joined knows nobody.
            nodes.iter().flat_map(of).filter(|known| !known.voters.is_empty())
        };
        let voters = known().next()?.voters;
        let are_there = voters.iter().all(|voter| nodes.contains(voter));
        let only_learn = |known: &Configuration| {
            let goal = |id: &NodeId| MemberAttributes::of(known, *id).goal;
            known.learners.iter().all(|id| goal(id) == Goal::Learn)
        };
        let will_stay = |known: &Configuration| !known.is_joint() && only_learn(known);
        let agree = known().all(|known| known.voters == voters && will_stay(&known));
        (is_settled && are_there && agree).then(|| voters.into_iter().collect())
    }

    /// Mends what concerns these nodes, or all, and waits until they are well. Returns the turn.
    pub(super) fn get_well(
        &mut self,
        mut turn: u64,
        core: Option<Vec<NodeId>>,
    ) -> Result<u64, Failure> {
        self.core = core;
        self.goals.clear();
        self.mend_all();
        self.operator.be_patient(self.cluster.world.now());
        let timeout_ms = self.plan.options.election_timeout_ms.max(TIMEOUT_MIN_MS);
        let within = Duration::from_millis(timeout_ms) * MENDED_WITHIN_TIMEOUTS;
        let end = self.cluster.world.now().after(within);
        while !self.is_well()? {
            turn += 1;
            self.turn(turn)?;
            let now = self.cluster.world.now();
            Failure::unless(now < end, "a cluster that is mended gets well", || self.picture())?;
        }
        Ok(turn)
    }

    /// A random majority; the others stay off until it is well.
    pub(super) fn choose_core(&mut self, voters: &[NodeId]) -> Vec<NodeId> {
        let mut core = voters.to_vec();
        while core.len() > voters.len() / 2 + 1 {
            let place = self.dice.below(core.len() as u64);
            core.remove(usize::try_from(place).expect("small"));
        }
        for node in self.cluster.world.nodes() {
            if !core.contains(&node) && self.cluster.world.is_on(node) {
                self.cluster.world.crash(node);
            }
        }
        self.census.meet(A_CORE);
        core
    }
}
