//! The second phase of a core world: the faults stop, and the group must come to rest.

use std::time::Duration;

use raft::{Configuration, NodeId, Role};

use super::chaos::CoreChaos;
use crate::Failure;

/// Forty election timeouts: elections that nobody wins make timeouts up to eight times longer.
const MENDED_WITHIN_MS: u64 = 40_000;
/// How long the group must then stay as it is.
const REST_MS: u64 = 3_000;

impl CoreChaos {
    /// The faults stop: the group elects, commits, leaves what it was changing, and everybody
    /// catches up; and then it stays so.
    pub(super) fn come_to_rest(&mut self) -> Result<(), Failure> {
        self.mend_net();
        for node in self.world.nodes() {
            self.mend_node(node);
            if !self.world.is_on(node) {
                self.world.start(node);
            }
        }
        self.world.net().delay = (Duration::from_micros(200), Duration::from_millis(2));
        self.world.set_write_time(Duration::from_micros(200), Duration::from_millis(2));
        let mut waited_ms = 0;
        while let Err(why) = self.is_at_rest() {
            self.world.replace_removed();
            self.world.run_ms(100);
            waited_ms += 100;
            self.nudge(waited_ms);
            let is_late = waited_ms > MENDED_WITHIN_MS;
            Failure::unless(!is_late, "a group that is mended comes to rest", || {
                format!("{why}\n{}", self.lines())
            })?;
        }
        self.end_the_removed();
        self.world.run_ms(REST_MS);
        self.is_at_rest().map_err(|why| {
            Failure::new("a group at rest stays at rest", format!("{why}\n{}", self.lines()))
        })?;
        self.check_faults()
    }

    /// Clients go on.
    fn nudge(&mut self, waited_ms: u64) {
        if waited_ms.is_multiple_of(1000)
            && let Some(leader) = self.world.leader()
        {
            let _refused = self.world.propose(leader, "one more");
        }
        if waited_ms == 10_000 {
            self.end_the_removed();
        }
    }

    /// Who was removed and does not know it is ended by its host after a while, where neither
    /// pre-vote nor check-quorum protects the others from it.
    fn end_the_removed(&mut self) {
        let options = &self.plan.options.node_options;
        if !(options.pre_vote || options.check_quorum) {
            let newest = self.newest_configuration();
            for node in self.world.nodes() {
                if !newest.contains(node) && self.world.is_on(node) {
                    self.world.crash(node);
                }
            }
        }
    }

    fn newest_configuration(&self) -> Configuration {
        let nodes = self.world.nodes();
        let on = nodes.iter().filter_map(|id| self.world.node(*id));
        let newest = on.max_by_key(|node| node.last());
        newest.map(|node| node.configuration().clone()).unwrap_or_default()
    }

    /// What is still missing.
    fn is_at_rest(&self) -> Result<(), String> {
        let nodes = self.world.nodes();
        let on = || nodes.iter().filter_map(|id| self.world.node(*id));
        let configuration = self.newest_configuration();
        let leaders: Vec<_> = on()
            .filter(|node| node.role() == Role::Leader && configuration.is_voter(node.id()))
            .collect();
        let [leader] = leaders.as_slice() else {
            return Err(format!("{} nodes lead", leaders.len()));
        };
        if configuration.is_joint() {
            return Err(format!("{configuration} is not left"));
        }
        let last = leader.last();
        for node in on().filter(|node| configuration.contains(node.id())) {
            let (its, applied) = (node.last(), self.world.applied(node.id()));
            if (its, node.commit_index(), applied) != (last, last.index, last.index) {
                return Err(format!("n{} is at {its}, applied {applied}, not {last}", node.id()));
            }
        }
        if last.index.0 == 0 { Err("nothing was committed".to_owned()) } else { Ok(()) }
    }

    /// Honest peers make no faults.
    fn check_faults(&self) -> Result<(), Failure> {
        for node in self.world.nodes() {
            let Some(raft) = self.world.node(node) else { continue };
            let faults = raft.status().peer_faults;
            Failure::unless(faults.total() == 0, "honest peers make no faults", || {
                format!("n{node} counts {faults:?}")
            })?;
        }
        Ok(())
    }

    fn lines(&self) -> String {
        let status = |id: &NodeId| match self.world.node(*id) {
            None => format!("n{id} off"),
            Some(node) => {
                let status = node.status();
                format!(
                    "n{id}@{} {:?} last={} commit={} of {}",
                    status.hard_state.current_term,
                    status.role,
                    status.last,
                    status.commit_index,
                    status.configuration
                )
            }
        };
        let lines: Vec<String> = self.world.nodes().iter().map(status).collect();
        lines.join("\n")
    }
}
