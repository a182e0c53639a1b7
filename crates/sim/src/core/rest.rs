//! The second phase of a core world: the faults stop, and the group must come to rest.

use std::time::Duration;

use raft::{Configuration, EntryId, LogIndex, NodeId, QuorumRule, ReadMode, Role, Term, Timeouts};

use super::chaos::CoreChaos;
use super::sometimes::WAITS_FOR_GOOD;
use crate::Failure;

/// How long the group must then stay as it is.
const REST_MS: u64 = 3_000;
/// At the end of that time no client asks for anything, and so nothing happens at all.
const SILENCE_MS: u64 = 1_000;

impl CoreChaos {
    /// The faults stop: the group elects, commits, leaves what it was changing, and everybody
    /// catches up; then it stays so, answers, and manages without a minority.
    pub(super) fn come_to_rest(&mut self) -> Result<(), Failure> {
        self.spoil_until = None;
        self.world.call_off_dooms();
        self.mend_net();
        for node in self.world.nodes() {
            self.mend_node(node);
            if !self.world.is_on(node) {
                self.world.start(node);
            }
            let options = &self.plan.options.node_options;
            let timeouts = Timeouts {
                election_timeout_ticks: options.election_timeout_ticks,
                heartbeat_interval_ticks: options.heartbeat_interval_ticks,
            };
            if self.world.is_on(node) {
                // The same for all: one that beats slowly for others is no fault of theirs.
                let _same = self.world.set_timeouts(node, timeouts);
            }
        }
        self.world.net().take_short_ways((Duration::from_micros(200), Duration::from_millis(2)));
        self.world.set_write_time(Duration::from_micros(200), Duration::from_millis(2));
        self.over_at = self.world.under_way_until();
        if let Err(failure) = self.wait_for_rest("a group that is mended comes to rest") {
            if !self.world.waits_for_a_lost_disk() {
                return Err(failure);
            }
            self.world.meet(WAITS_FOR_GOOD);
            return self.check_faults();
        }
        self.end_the_removed();
        self.stay_at_rest()?;
        self.answer_all()?;
        self.manage_without_some()?;
        self.begin_together()?;
        self.let_somebody_leave()?;
        self.prefer_who_was_slow()?;
        self.wait_beside_a_promotion()?;
        self.check_faults()?;
        self.force_survivors()
    }

    /// What was under way ends, and then the same node leads in the same term, and its log ends
    /// where it did. No read is older than the rest.
    fn stay_at_rest(&mut self) -> Result<(), Failure> {
        const PROPERTY: &str = "a group at rest stays at rest";
        let open = self.world.open_reads.clone();
        self.world.run_ms(REST_MS - SILENCE_MS);
        let before = self.leadership();
        self.world.let_clients_rest(true);
        self.world.run_ms(SILENCE_MS);
        self.world.let_clients_rest(false);
        if self.newest_configuration().feeders.is_empty() {
            self.is_at_rest().map_err(|why| self.failure(PROPERTY, &why))?;
        } else {
            // What was written meanwhile may come to a learner as late as an election timeout.
            self.wait_for_rest(PROPERTY)?;
        }
        let after = self.leadership();
        if before != after {
            return Err(self.failure(PROPERTY, &format!("{before:?} has become {after:?}")));
        }
        // Who was removed, and leads nobody without knowing it, waits for them.
        let members = self.newest_configuration();
        let mut late = open.intersection(&self.world.open_reads);
        if let Some((node, name)) = late.find(|(node, _)| members.contains(*node)) {
            let read = self.world.answer_of(*node, *name);
            let why = format!("n{node} has still not decided {name}, {read:?}");
            return Err(self.failure("a group at rest answers", &why));
        }
        Ok(())
    }

    /// Who leads, in which term, and where its log ends.
    fn leadership(&self) -> Option<(NodeId, Term, EntryId)> {
        let leader = self.world.node(self.world.leader()?)?;
        Some((leader.id(), leader.term(), leader.last()))
    }

    pub(super) fn turn(&mut self, ms: u64) {
        self.world.replace_removed();
        self.world.run_ms(ms);
        self.world.look_at_leaders();
    }

    pub(super) fn failure(&self, property: &str, why: &str) -> Failure {
        Failure::new(property, format!("{why}\n{}", self.lines()))
    }

    pub(super) fn leader_at_rest(&self) -> Result<NodeId, Failure> {
        let leader = self.world.leader();
        leader.ok_or_else(|| self.failure("a group at rest has a leader", ""))
    }

    /// Everybody that holds data answers, woken from its rest or not.
    fn answer_all(&mut self) -> Result<(), Failure> {
        let configuration = self.newest_configuration();
        let last = self.world.applied(self.leader_at_rest()?);
        let modes = [
            ReadMode::ReadIndex,
            ReadMode::AfterWrite { index: last, term: None },
            ReadMode::LeaseGuard { checks_limbo: false },
        ];
        for node in configuration.members() {
            let modes = if self.world.is_witness(node) { &[][..] } else { &modes };
            for mode in modes {
                let name = self.next_name();
                self.world.ask(node, name, *mode);
                self.turn(100);
                let answer = self.world.answer_of(node, name).and_then(|read| read.answer);
                if answer.flatten().is_none_or(|index: LogIndex| index < last) {
                    let said = self.world.trace().newest().join("\n");
                    let why = format!("n{node} answers {answer:?} to {mode:?}\n{said}");
                    return Err(self.failure("a group at rest answers", &why));
                }
            }
        }
        Ok(())
    }

    /// Some are off; to one of them leadership was to go. The others elect, and commit.
    fn manage_without_some(&mut self) -> Result<(), Failure> {
        let configuration = self.newest_configuration();
        let full = configuration.voters.difference(&configuration.witnesses).count();
        let is_plain = configuration.rule == QuorumRule::Majority && full > 2;
        if !is_plain || !configuration.witnesses.is_empty() {
            return Ok(());
        }
        let leader = self.leader_at_rest()?;
        let voters: Vec<NodeId> = configuration.voters.iter().copied().collect();
        let spare = (voters.len() - 1) / 2;
        let place = usize::try_from(self.dice.below(voters.len() as u64)).expect("small");
        let gone: Vec<NodeId> = voters.iter().cycle().skip(place).take(spare).copied().collect();
        let heir = gone.iter().copied().find(|node| *node != leader);
        if let Some(heir) = heir {
            self.world.crash(heir);
            let _refused = self.world.transfer(leader, Some(heir));
            self.turn(20);
        }
        for node in gone.iter().copied() {
            if self.world.is_on(node) {
                self.world.crash(node);
            }
        }
        let before = self.world.answered();
        let mut waited_ms = 0;
        while self.world.answered() == before {
            self.turn(100);
            waited_ms += 100;
            if let Some(leader) = self.world.leader() {
                let _refused = self.world.propose(leader, "without some");
            }
            if waited_ms > self.mended_within_ms() {
                let why = format!("without {gone:?}");
                return Err(self.failure("a majority manages without the others", &why));
            }
        }
        self.world.start_all();
        self.wait_for_rest("who was away catches up")
    }

    /// All begin at the same moment, and every message takes as long: only chance parts them.
    fn begin_together(&mut self) -> Result<(), Failure> {
        if self.dice.below(3) > 0 {
            return Ok(());
        }
        for node in self.world.nodes() {
            if self.world.is_on(node) {
                self.world.crash(node);
            }
        }
        let same = Duration::from_millis(1);
        self.world.net().take_short_ways((same, same));
        self.world.set_write_time(same, same);
        self.world.start_all();
        self.wait_for_rest("nodes that begin together elect a leader")
    }

    /// Who was removed and does not know it is ended by its host after a while, where neither
    /// pre-vote nor check-quorum protects the others from it.
    pub(super) fn end_the_removed(&mut self) {
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

    pub(super) fn newest_configuration(&self) -> Configuration {
        let nodes = self.world.nodes();
        let on = nodes.iter().filter_map(|id| self.world.node(*id));
        let newest = on.max_by_key(|node| node.last());
        newest.map(|node| node.configuration().clone()).unwrap_or_default()
    }

    /// What is still missing.
    pub(super) fn is_at_rest(&self) -> Result<(), String> {
        let leader = self.is_even()?;
        match self.world.node(leader).and_then(|leader| self.above(leader)) {
            Some(above) => Err(format!("n{above} is preferred and does not lead")),
            None => Ok(()),
        }
    }

    /// The leader, if nothing is missing but that another one should lead.
    pub(super) fn is_even(&self) -> Result<NodeId, String> {
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
        if !self.world.disks_are_on_record(leader.id()) {
            return Err("a disk is not on record".to_owned());
        }
        if let Some(staged) = leader.status().staged.first() {
            return Err(format!("{staged} is still to vote when it holds the log"));
        }
        let last = leader.last();
        for node in on().filter(|node| configuration.contains(node.id())) {
            let (its, applied) = (node.last(), self.world.applied(node.id()));
            let applied = if self.world.is_witness(node.id()) { last.index } else { applied };
            if (its, node.commit_index(), applied) != (last, last.index, last.index) {
                return Err(format!("n{} is at {its}, applied {applied}, not {last}", node.id()));
            }
        }
        let is_empty = last.index.0 == 0;
        if is_empty { Err("nothing was committed".to_owned()) } else { Ok(leader.id()) }
    }

    /// Honest peers make no faults.
    fn check_faults(&self) -> Result<(), Failure> {
        if self.world.has_bad_peers() {
            return Ok(());
        }
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
                    "n{id}@{} {:?} disk={} last={} commit={} of {} {:?}",
                    status.hard_state.current_term,
                    status.role,
                    self.world.incarnation_of(*id),
                    status.last,
                    status.commit_index,
                    status.configuration,
                    status.configuration.incarnations,
                )
            }
        };
        let lines: Vec<String> = self.world.nodes().iter().map(status).collect();
        lines.join("\n")
    }
}
