//! What a group that seems to have nothing to do owes yet: it does not rest before that is done.
//!
//! Chance would seldom leave a group alone for long enough just then.

use std::collections::BTreeMap;

use raft::{ConfigurationChange, NodeId, QuorumRule};

use super::chaos::CoreChaos;
use super::sometimes::{CANNOT_BE_PROMOTED, WAS_SLOW};
use crate::Failure;
use crate::chaos::pick;

/// Between two commands of a client.
const TURN_MS: u64 = 100;

impl CoreChaos {
    /// A learner is to vote, and the rule of the group has no place for it: nobody may rest before
    /// that is given up, since no time runs out at rest (T203).
    pub(super) fn wait_beside_a_promotion(&mut self) -> Result<(), Failure> {
        let configuration = self.newest_configuration();
        let is_on = |learner: &&NodeId| self.world.is_on(**learner);
        let learner = configuration.learners.iter().find(is_on).copied();
        let Some(learner) = learner.filter(|_| configuration.rule != QuorumRule::Majority) else {
            return Ok(());
        };
        if self.plan.options.node_options.quiesce_after_ticks.is_none() {
            return Ok(());
        }
        let leader = self.leader_at_rest()?;
        self.world.stage(leader, learner);
        self.world.meet(CANNOT_BE_PROMOTED);
        self.stay_silent();
        self.wait_for_rest("a group whose learner was to vote comes to rest")
    }

    /// A voter that was slow is preferred to all others, and has everything a moment later: it is
    /// handed to before anybody rests (T174).
    pub(super) fn prefer_who_was_slow(&mut self) -> Result<(), Failure> {
        let configuration = self.newest_configuration();
        let options = &self.plan.options.node_options;
        let (timeout, slow_ticks) = (options.election_timeout_ticks, options.slow_follower_ticks);
        let is_plain = configuration.rule == QuorumRule::Majority
            && configuration.witnesses.is_empty()
            && configuration.priorities.is_empty()
            && configuration.voters.len() > 2;
        // Who is slow for a shorter time is well again before anybody would rest.
        let rests = options.quiesce_after_ticks.is_some_and(|ticks| slow_ticks / 2 > ticks);
        if !is_plain || !rests {
            return Ok(());
        }
        let leader = self.leader_at_rest()?;
        let others = configuration.voters.iter().copied().filter(|voter| *voter != leader);
        let slow = pick(&mut self.dice, &others.collect::<Vec<_>>());
        self.world.hang_disk(slow);
        for _ in 0..(slow_ticks + 2 * timeout) / TURN_MS {
            let _refused = self.world.propose(leader, "while one is slow");
            self.turn(TURN_MS);
        }
        let priorities = BTreeMap::from([(slow, 9)]);
        let change = ConfigurationChange { priorities, ..ConfigurationChange::default() };
        let has_begun = self.world.change(leader, &change).is_ok();
        self.turn(TURN_MS);
        self.world.mend_disk(slow);
        if has_begun {
            self.world.meet(WAS_SLOW);
            self.stay_silent();
        }
        self.wait_for_rest("a group with a preferred voter that was slow comes to rest")
    }

    /// For as long as it takes until a group rests, and a little longer.
    fn stay_silent(&mut self) {
        let options = &self.plan.options.node_options;
        let ticks = options.quiesce_after_ticks.unwrap_or(0) + 2 * options.heartbeat_interval_ticks;
        self.world.let_clients_rest(true);
        self.world.run_ms(ticks);
        self.world.let_clients_rest(false);
    }
}
