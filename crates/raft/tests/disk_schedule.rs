//! Groups under the same dice as in `random_schedule`, in which disks are lost and set back, and
//! changes that are stuck are given up. What is promised (`docs/adr/0008-who-is-a-member.md`), and
//! so what the schedule keeps to:
//!
//! - **A lost disk**: the voter is guarded, and no other is broken. Then anything may happen to the
//!   others meanwhile, and to the node on its new disk.
//! - **An old copy of the same term and vote**, such that all that it forgets is on enough other
//!   disks: who lacks it, the node included, can elect nobody, whichever configuration they know.
//!   Then anything may happen meanwhile.
//! - **An old copy of the same term and vote** that forgets what perhaps the leader alone still
//!   has: then as long as that leader is up and nobody else stands for election, all else may
//!   happen; and when the node has been heard a few times, it holds again what it was counted for.
//! - **A change that is stuck** may be given up by the leader that began it, at any moment.
//!
//! What must hold: every invariant after every step; that who lacks a committed entry can never
//! elect a leader; no stale read; and at the end, rest with equal logs. A copy of an earlier term
//! or vote is not promised anything: the second vote that it can give is known to nobody.
#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod cluster;
mod schedule;

use cluster::Cluster;
use cluster::dice::{Dice, Seeds};
use raft::*;
use schedule::changes::{leader, lose_disk, repair};
use schedule::rest::come_to_rest;

/// What was done, and what was found out: a schedule in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    set_back: usize,
    set_back_beside_the_leader: usize,
    abandoned: usize,
    forgot: usize,
    strangers: usize,
}

struct World {
    cluster: Cluster,
    dice: Dice,
    counts: Counts,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed ^ 0xD15C);
        let mut cluster = schedule::new_cluster(&mut dice, seed);
        cluster.promises_hold = true;
        Self { cluster, dice, counts: Counts::default() }
    }

    fn step(&mut self, number: u64) {
        let seen = self.cluster.lines.len();
        if self.dice.one_in(12) {
            self.disk_step(number);
        } else {
            schedule::step(&mut self.cluster, &mut self.dice, number);
        }
        self.count(seen);
    }

    fn count(&mut self, seen: usize) {
        for line in &self.cluster.lines[seen..] {
            self.counts.forgot += usize::from(line.contains("forgetful"));
            self.counts.strangers += usize::from(line.contains("disk changed"));
            self.counts.abandoned += usize::from(line.contains("abandoned"));
        }
        let excess = self.cluster.lines.len().saturating_sub(400);
        self.cluster.lines.drain(..excess);
    }

    fn disk_step(&mut self, number: u64) {
        schedule::replace_removed(&mut self.cluster);
        let nodes = self.cluster.ids();
        let node = nodes[self.dice.place(nodes.len())];
        match self.dice.roll(12) {
            0..=3 => {
                let member = self.cluster.member(node);
                member.copy = Some(member.disk.clone());
            }
            4..=6 => {
                if self.forgets_nothing_that_matters(node) {
                    self.cluster.set_disk_back(node);
                    self.counts.set_back += 1;
                }
            }
            7 => self.set_back_beside_the_leader(node, number),
            8 => lose_disk(&mut self.cluster, &mut self.dice, &nodes),
            9 => repair(&mut self.cluster, &nodes),
            _ => {
                if let Some(leader) = leader(&self.cluster, &nodes) {
                    let now = self.cluster.members[&leader].now;
                    // A refusal is an answer like any other here.
                    let _refused = self.cluster.act(leader, |raft| raft.abandon_change(now));
                }
            }
        }
    }

    /// The copy is of this term and vote.
    fn has_a_copy_of_its_term(&self, node: u64) -> bool {
        let member = &self.cluster.members[&node];
        member.copy.as_ref().is_some_and(|copy| copy.hard_state == member.disk.hard_state)
    }

    fn forgets_nothing_that_matters(&mut self, node: u64) -> bool {
        if !self.has_a_copy_of_its_term(node) {
            return false;
        }
        let last = self.cluster.members[&node].disk.last();
        let configurations = self.known_configurations();
        let copy = self.cluster.members[&node].copy.clone().unwrap();
        let disk = std::mem::replace(&mut self.cluster.member(node).disk, copy);
        let is_safe =
            configurations.iter().all(|known| !self.cluster.may_be_elected_without(known, last));
        self.cluster.member(node).disk = disk;
        is_safe
    }

    /// Every configuration that any disk knows: whoever has an old one may still stand by it.
    fn known_configurations(&self) -> Vec<Configuration> {
        let mut known = Vec::new();
        for member in self.cluster.members.values() {
            let restored = member.disk.restored(0).configurations;
            let entries = restored.iter().map(|(_, configuration)| configuration);
            for configuration in entries.chain([&member.disk.mark.configuration]) {
                if !configuration.voters.is_empty() && !known.contains(configuration) {
                    known.push(configuration.clone());
                }
            }
        }
        known
    }

    /// The leader stays, and nobody else stands for election, until the node is whole again.
    fn set_back_beside_the_leader(&mut self, node: u64, number: u64) {
        let nodes = self.cluster.ids();
        let Some(leader) = leader(&self.cluster, &nodes) else { return };
        let status = self.cluster.status(leader);
        // A campaign that is under way would end the leadership.
        let term = status.hard_state.current_term;
        let is_newest = self.cluster.members.values().all(|member| {
            let said = member.node.as_ref().map(Node::term);
            said.max(Some(member.disk.hard_state.current_term)) <= Some(term)
        });
        let is_settled = status.configuration_index <= status.commit_index
            && !status.configuration.is_joint()
            && status.configuration.is_voter(NodeId(node));
        if !is_newest || !is_settled || node == leader || !self.has_a_copy_of_its_term(node) {
            return;
        }
        self.counts.set_back_beside_the_leader += 1;
        // Until it holds it again, what is committed may be on fewer disks than it must.
        self.cluster.promises_hold = false;
        self.cluster.set_disk_back(node);
        self.cluster.isolated.clear();
        for step in 0..self.dice.roll(60) {
            self.nobody_else_stands(leader);
            self.step_beside_the_leader(leader, number * 100 + step);
        }
        self.find_out(leader, node);
        self.cluster.promises_hold = true;
        for node in self.cluster.ids() {
            self.cluster.input(node, self.cluster.members[&node].now, Input::PauseElections(false));
        }
    }

    /// Elections are paused for all but one, and what was said in others is lost.
    fn nobody_else_stands(&mut self, leader: u64) {
        let is_of_another = |message: &Message| match message.body {
            Body::RequestVote { .. } | Body::PreVote { .. } => message.from.0 != leader,
            Body::RequestVoteResponse { .. } | Body::PreVoteResponse { .. } => {
                message.to.0 != leader
            }
            Body::TimeoutNow { .. } => true,
            Body::AppendEntries { .. }
            | Body::CommitIndex { .. }
            | Body::AppendEntriesResponse(_)
            | Body::Pull { .. }
            | Body::PullResponse { .. }
            | Body::Heartbeat { .. }
            | Body::HeartbeatResponse { .. }
            | Body::Quiesce { .. }
            | Body::InstallSnapshot { .. }
            | Body::InstallSnapshotResponse { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexResponse { .. }
            | Body::Removed { .. } => false,
        };
        self.cluster.network.retain(|message| !is_of_another(message));
        for node in self.cluster.ids() {
            if self.cluster.members[&node].node.is_some() {
                let now = self.cluster.members[&node].now;
                self.cluster.input(node, now, Input::PauseElections(node != leader));
            }
        }
    }

    fn step_beside_the_leader(&mut self, leader: u64, number: u64) {
        let nodes = self.cluster.ids();
        let any = nodes[self.dice.place(nodes.len())];
        let is_up = self.cluster.members[&any].node.is_some();
        match self.dice.roll(20) {
            0..=8 => schedule::deliver(&mut self.cluster, &mut self.dice),
            9..=10 if is_up => self.cluster.tick(any, 1),
            11..=13 if is_up => drop(self.cluster.write_one(any)),
            14 if is_up => drop(self.cluster.fetch_one(any)),
            15 if is_up => drop(self.cluster.report_applied(any)),
            16..=17 => {
                let _refused = self.cluster.propose(leader, &[&number.to_string()]);
            }
            18 => self.cluster.read(leader, number, ReadMode::ReadIndex),
            19 if any != leader && is_up => schedule::crash(&mut self.cluster, &mut self.dice, any),
            _ if !is_up => self.cluster.restart(any),
            _ => {}
        }
    }

    /// The leader hears the node a few times.
    fn find_out(&mut self, leader: u64, node: u64) {
        for round in 0..400 {
            for other in self.cluster.ids() {
                if self.cluster.members[&other].node.is_none() {
                    self.cluster.restart(other);
                }
            }
            self.nobody_else_stands(leader);
            if self.is_whole(leader, node) {
                return;
            }
            // It may rest, and then nobody hears anybody.
            if round % 100 == 50 {
                let _refused = self.cluster.propose(leader, &["wake"]);
            }
            for other in self.cluster.ids() {
                self.cluster.tick(other, 1);
                while self.cluster.write_one(other)
                    || self.cluster.fetch_one(other)
                    || self.cluster.report_applied(other)
                {}
                self.cluster.carry_snapshot(other);
            }
            let network = std::mem::take(&mut self.cluster.network);
            network.into_iter().for_each(|message| self.cluster.deliver(message));
        }
        panic!(
            "node {node} is not whole, and its leader {leader} does not see it:\n{}\n{}",
            schedule::rest::lines(&self.cluster),
            self.cluster.lines.join("\n")
        );
    }

    /// Whatever the leader has committed, or counts the node for, or will when it hears what the
    /// node said before, is there.
    fn is_whole(&self, leader: u64, node: u64) -> bool {
        let status = self.cluster.status(leader);
        if status.role != Role::Leader {
            return false;
        }
        let raft = self.cluster.node(leader);
        let disk = self.cluster.members[&node].disk.durable();
        let book = status.followers.iter().find(|follower| follower.id == NodeId(node));
        let counted = book.map_or(LogIndex(0), |book| book.match_index.max(book.frontier));
        let holds = |index: LogIndex| raft.id_at(index).is_none_or(|entry| disk.holds(entry));
        let said = self.cluster.network.iter().filter(|message| message.from.0 == node);
        let said = said.filter_map(|message| {
            if let Body::AppendEntriesResponse(AppendOutcome::Accepted { match_index, .. })
            | Body::InstallSnapshotResponse { match_index } = message.body
            {
                Some(match_index)
            } else {
                None
            }
        });
        holds(counted) && holds(status.commit_index) && said.max().is_none_or(holds)
    }
}

fn run(seed: u64) -> Counts {
    let mut world = World::new(seed);
    (0..1500).for_each(|number| world.step(number));
    come_to_rest(&mut world.cluster);
    world.counts
}

#[test]
fn disks_that_are_lost_or_set_back_lose_nothing_that_is_promised() {
    let seeds = Seeds::usually(300);
    let mut all = Counts::default();
    for counts in seeds.run("disk_schedule", run) {
        all.set_back += counts.set_back;
        all.set_back_beside_the_leader += counts.set_back_beside_the_leader;
        all.abandoned += counts.abandoned;
        all.forgot += counts.forgot;
        all.strangers += counts.strangers;
    }
    let done = [all.set_back, all.set_back_beside_the_leader, all.abandoned];
    let found_out = [all.forgot, all.strangers];
    let was_busy = done.into_iter().chain(found_out).all(|count| count > 0);
    assert!(was_busy || seeds.is_single, "{all:?}");
}

/// What is not promised, and why the operator must end who was removed. Node 3 was cut off since
/// the beginning and replaced; it knows of nothing. Node 1 loses its disk. They were two of three
/// once, and what they know is the same, bit by bit, as on the first day of the group.
#[test]
fn who_was_removed_unawares_can_be_elected_by_a_lost_disk() {
    let voters = Configuration::of_voters([1, 2, 3].map(NodeId));
    let mut cluster = Cluster::with(5, &voters, |options| {
        options.incarnation = Incarnation(options.id.0);
    });
    let rounds = |cluster: &mut Cluster| {
        for _ in 0..8 {
            cluster.tick(1, 2);
            cluster.stabilize();
        }
    };
    cluster.isolated.insert(3);
    cluster.elect(1);
    rounds(&mut cluster);
    let change = ConfigurationChange::of([
        MemberChange::AddVoter(NodeId(4)),
        MemberChange::AddVoter(NodeId(5)),
        MemberChange::Remove(NodeId(2)),
        MemberChange::Remove(NodeId(3)),
    ]);
    cluster.change(1, &ConfigurationChange { allow_stall: true, ..change }).unwrap();
    rounds(&mut cluster);
    let status = cluster.status(1);
    let configuration = Configuration::of_voters([1, 4, 5].map(NodeId));
    assert_eq!((status.configuration.voters, status.unguarded), (configuration.voters, vec![]));
    // Were node 4 heard first, node 1 would know better.
    cluster.isolated = [2, 4, 5].into();
    cluster.lose_disk(1);
    let elected = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cluster.timeout(3);
        cluster.stabilize();
    }));
    let said = elected.expect_err("the checker must see it").downcast::<String>().unwrap();
    assert!(said.contains("Election Safety"), "node 1 led term 1 before: {said}");
}
