//! How long a group may take to come to rest once the faults are over, and who helps it.
//!
//! All in election timeouts of its world: a bound of so many seconds is four hundred of them where
//! they are short, and would let pass whoever finds a leader by the tenth attempt.

use raft::{Node, NodeId, Term};

use super::chaos::CoreChaos;
use super::hand_overs::above;
use crate::Failure;

/// Election timeouts in which a group that is mended comes to rest. Elections that nobody wins make
/// timeouts up to eight times longer, a snapshot takes up to seven, and disks that are others are
/// put on record one after the other.
const MENDED_WITHIN_TIMEOUTS: u64 = 40;
/// In how many a leader hands over to a voter above it, when nothing else is left to do: it leads
/// for one first, and for another one when somebody has woken it. Whoever was slow is called so for
/// a while longer.
const HANDS_OVER_WITHIN_TIMEOUTS: u64 = 8;
/// Between two looks at everything.
const TURN_MS: u64 = 100;

/// A leader that is to hand over, in one leadership of one life.
type Debtor = (NodeId, Term, u64);

impl CoreChaos {
    pub(super) fn timeout_ms(&self) -> u64 {
        self.plan.options.node_options.election_timeout_ticks
    }

    pub(super) fn mended_within_ms(&self) -> u64 {
        MENDED_WITHIN_TIMEOUTS * self.timeout_ms()
    }

    pub(super) fn wait_for_rest(&mut self, property: &'static str) -> Result<(), Failure> {
        let within_ms = self.mended_within_ms() + self.backlog_ms();
        let (mut waited_ms, mut owed): (u64, Option<(Debtor, u64)>) = (0, None);
        while let Err(why) = self.is_at_rest().and_then(|()| self.nothing_is_left()) {
            self.turn(TURN_MS);
            // What began before does not count: it is the faults' own time.
            if self.world.now() < self.over_at {
                continue;
            }
            waited_ms += TURN_MS;
            self.nudge(waited_ms);
            if waited_ms > within_ms {
                return Err(self.failure(property, &why));
            }
            // What clients write meanwhile makes no new beginning.
            if let Some(debtor) = self.debtor() {
                let so_far = owed.filter(|(before, _)| *before == debtor);
                owed = Some((debtor, so_far.map_or(0, |(_, ms)| ms) + TURN_MS));
            }
            let slow_ms = self.plan.options.node_options.slow_follower_ticks / 2;
            let most = HANDS_OVER_WITHIN_TIMEOUTS * self.timeout_ms() + slow_ms + TURN_MS;
            if owed.is_some_and(|(_, owed_ms)| owed_ms > most) {
                return Err(self.failure("a leader hands over to a voter above it", &why));
            }
        }
        Ok(())
    }

    /// The leader below another voter that has not tried to hand over in this life, although
    /// nothing else is left to do. One that has tried in vain tries again, and waits longer for it.
    fn debtor(&self) -> Option<Debtor> {
        let leader = self.is_even().ok()?;
        let node = self.world.node(leader)?;
        let owes = self.above(node).is_some() && !self.world.has_handed_over(leader);
        owes.then(|| (leader, node.term(), self.world.life_of(leader)))
    }

    /// How long a member's state machine may take for what is in the log already: it does not get
    /// faster when the faults stop, and one that hung beside a quick disk has much to do. So has a
    /// witness that lacks much of the log, which its leader reads as slowly for it.
    fn backlog_ms(&self) -> u64 {
        let configuration = self.newest_configuration();
        let on = || configuration.members().filter_map(|id| self.world.node(id));
        let done = |node: &Node| {
            let is_witness = self.world.is_witness(node.id());
            if is_witness { node.last().index } else { self.world.applied(node.id()) }
        };
        let last = on().map(|node| node.last().index).max().unwrap_or_default();
        let done = on().map(done).min().unwrap_or_default();
        let behind = last.0.saturating_sub(done.0);
        let slowest = self.plan.options.apply_time.1.as_millis();
        behind.saturating_mul(u64::try_from(slowest).unwrap_or(u64::MAX))
    }

    /// Clients and operators go on.
    fn nudge(&mut self, waited_ms: u64) {
        // Not at every look, or something is always under way.
        let timeout = self.timeout_ms();
        let period_ms = (2 * timeout).max(4 * TURN_MS);
        if waited_ms.is_multiple_of(period_ms)
            && let Some(leader) = self.world.leader()
        {
            let _refused = self.world.propose(leader, "one more");
        }
        if waited_ms % period_ms / TURN_MS == period_ms / TURN_MS / 2 {
            self.world.repair();
        }
        // What a leader has tried in vain it tries again much later.
        let leader = self.world.leader().and_then(|leader| self.world.node(leader));
        let leader = leader.filter(|leader| self.world.has_handed_over(leader.id()));
        if waited_ms.is_multiple_of(5 * timeout)
            && let Some(leader) = leader
            && let Some(above) = self.above(leader)
        {
            let _refused = self.world.transfer(leader.id(), Some(above));
        }
        if waited_ms == 10 * timeout {
            self.end_the_removed();
        }
    }

    /// The voter to which a leader will hand over, sooner or later.
    pub(super) fn above(&self, leader: &Node) -> Option<NodeId> {
        let configuration = leader.configuration();
        let at = |node: &NodeId| configuration.priorities.get(node).copied().unwrap_or(0);
        let above = above(configuration, leader.id()).into_iter();
        above.filter(|voter| self.world.is_on(*voter)).max_by_key(|voter| at(voter))
    }

    /// What began before the faults ended may take seconds yet: a write on a slow disk, whose
    /// leader rightly gives up, and a message on a clogged wire, which may call another to lead.
    pub(super) fn nothing_is_left(&self) -> Result<(), String> {
        if self.world.now() < self.over_at {
            return Err("a message from before the end of the faults is under way".to_owned());
        }
        let configuration = self.newest_configuration();
        let mut members = configuration.members();
        let writes = members.find(|member| self.world.writes(*member));
        writes.map_or(Ok(()), |node| Err(format!("n{node} still writes")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::core::{CoreOptions, CorePlan};

    /// A group whose preferred voter is the last to campaign.
    fn group() -> CoreChaos {
        let mut options = CoreOptions::new(7, 3);
        options.members.priorities = BTreeMap::from([(NodeId(3), 2)]);
        options.modest = Some((NodeId(3), 3000));
        let plan = CorePlan::of(7).with_events(&[]);
        CoreChaos::new(CorePlan { options, ..plan })
    }

    #[test]
    fn a_leader_below_another_voter_owes_a_hand_over_and_pays_by_itself() {
        let mut chaos = group();
        chaos.world().start_all();
        let mut owed = 0;
        while chaos.world().leader() != Some(NodeId(3)) {
            owed += u64::from(chaos.debtor().is_some());
            chaos.turn(20);
            assert!(owed * 20 < HANDS_OVER_WITHIN_TIMEOUTS * chaos.timeout_ms(), "it never pays");
        }
        assert!(owed > 1);
        chaos.turn(200);
        assert_eq!(chaos.debtor(), None);
    }

    /// Nothing in the world does it in a leader's place.
    #[test]
    fn a_group_with_a_preferred_voter_comes_to_rest() {
        let mut chaos = group();
        assert_eq!(chaos.run(), Ok(()));
        assert_eq!(chaos.mended_within_ms(), 40 * 150);
    }
}
