//! Bulk data beside the log (`docs/adr/0012-who-sends-to-whom.md`): an entry names data that came
//! by another way, and the host of a node that lacks the data does not report the entry as durable.
//! The core knows nothing of it. What it promises of entries must then hold of the data as well:
//! what is committed is with a quorum, who leads has it, and nobody applies a name without what it
//! names.
#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod cluster;

use std::collections::BTreeSet;

use cluster::Cluster;
use cluster::dice::{Dice, Seeds};
use raft::*;

/// A group, and who holds which data. What is held is durable before the name is looked at.
struct Group {
    cluster: Cluster,
    /// By node.
    held: BTreeSet<(u64, String)>,
}

/// The data that an entry names.
fn named(entry: &Entry) -> Option<String> {
    let Payload::Command(command) = &entry.payload else { return None };
    Some(String::from_utf8(command.to_vec()).unwrap())
}

impl Group {
    fn new(nodes: u64) -> Self {
        let mut cluster = Cluster::new(nodes);
        cluster.ids().into_iter().for_each(|node| cluster.member(node).disk_is_instant = false);
        Self { cluster, held: BTreeSet::new() }
    }

    fn holds(&self, node: u64, entry: &Entry) -> bool {
        named(entry).is_none_or(|data| self.held.contains(&(node, data)))
    }

    /// Data has come to a node whole, and is on its disk.
    fn bring(&mut self, node: u64, data: &str) {
        self.held.insert((node, data.to_owned()));
    }

    /// The rule: the oldest write lands once all that it names is there. Whether it did.
    fn land(&mut self, node: u64) -> bool {
        let Some(persist) = self.cluster.members[&node].in_flight.front() else { return false };
        let is_whole = persist.entries.iter().all(|entry| self.holds(node, entry));
        is_whole && self.cluster.write_one(node)
    }

    /// All that may land, and all that is said then.
    fn settle(&mut self) {
        loop {
            self.cluster.stabilize();
            let running = self.running();
            let landed = running.into_iter().filter(|node| self.land(*node)).count();
            if landed == 0 && self.cluster.network.is_empty() {
                return;
            }
        }
    }

    fn running(&self) -> Vec<u64> {
        let is_on = |node: &u64| self.cluster.members[node].node.is_some();
        self.cluster.ids().into_iter().filter(is_on).collect()
    }

    fn elect(&mut self, node: u64) {
        for other in self.running() {
            let member = self.cluster.member(other);
            member.now = member.now.after(member.options.election_timeout_ticks);
        }
        self.cluster.timeout(node);
        self.settle();
    }

    fn commit_index(&self, node: u64) -> u64 {
        self.cluster.node(node).commit_index().0
    }

    /// What the log promises of entries holds of what they name.
    fn check(&self) {
        for (node, member) in &self.cluster.members {
            for entry in &member.applied {
                assert!(self.holds(*node, entry), "n{node} applies {entry:?} without its data");
            }
            let Some(raft) = &member.node else { continue };
            let committed = member.disk.entries.iter();
            let committed = committed.filter(|entry| entry.id.index <= raft.commit_index());
            for entry in committed.filter(|_| raft.role() == Role::Leader) {
                let holders =
                    self.cluster.ids().into_iter().filter(|other| self.holds(*other, entry));
                let (holders, all) = (holders.count(), self.cluster.members.len());
                assert!(holders * 2 > all, "{holders} of {all} hold what {entry:?} names");
                assert!(self.holds(*node, entry), "n{node} leads without the data of {entry:?}");
            }
        }
    }
}

#[test]
fn an_entry_is_committed_when_a_majority_has_what_it_names() {
    let mut group = Group::new(3);
    group.elect(1);
    group.bring(1, "a");
    let entry = group.cluster.propose(1, &["a"]).unwrap();
    group.settle();
    assert_eq!(group.cluster.node(2).last(), entry, "the name has come");
    assert!(group.commit_index(1) < entry.index.0, "and is not counted without the data");
    group.bring(3, "a");
    group.settle();
    assert_eq!(group.commit_index(1), entry.index.0);
    group.check();
    // The second applies it when it has it, and goes on by itself.
    assert!(group.cluster.members[&2].applied.iter().all(|entry| named(entry).is_none()));
    group.bring(2, "a");
    group.settle();
    assert_eq!(group.cluster.members[&2].applied.last().unwrap().id, entry);
}

/// Its own vote is behind the entry in the order of the disk, and so it wins when it has the data.
#[test]
fn who_lacks_the_data_of_its_newest_entry_does_not_lead() {
    let mut group = Group::new(3);
    group.elect(1);
    group.bring(1, "a");
    group.bring(2, "a");
    let entry = group.cluster.propose(1, &["a"]).unwrap();
    group.settle();
    assert_eq!((group.commit_index(1), group.cluster.node(3).last()), (entry.index.0, entry));
    group.cluster.crash(1);
    group.elect(3);
    assert_ne!(group.cluster.node(3).role(), Role::Leader, "n2 votes for it, and it cannot itself");
    group.bring(3, "a");
    group.settle();
    assert_eq!(group.cluster.node(3).role(), Role::Leader);
    assert!(group.commit_index(3) > entry.index.0);
    group.check();
}

fn step(group: &mut Group, dice: &mut Dice, number: u64) {
    let nodes = group.cluster.ids();
    let node = dice.any(&nodes).unwrap();
    let is_on = group.cluster.members[&node].node.is_some();
    match dice.roll(16) {
        0 if is_on => group.cluster.timeout(node),
        1 if is_on && dice.one_in(3) => group.cluster.crash(node),
        0..2 if !is_on => group.cluster.restart(node),
        2..4 if is_on => {
            // A client brings the data to the leader first, and then the name.
            let data = format!("data-{number}");
            group.bring(node, &data);
            let _refused = group.cluster.propose(node, &[&data]);
        }
        4..7 => {
            // From one who has it to one who has not; a node that is off has its disk all the same.
            let held: Vec<&(u64, String)> = group.held.iter().collect();
            if !held.is_empty() {
                let data = held[dice.place(held.len())].1.clone();
                group.bring(node, &data);
            }
        }
        7..10 if is_on => drop(group.land(node)),
        _ if !group.cluster.network.is_empty() => {
            let place = dice.place(group.cluster.network.len());
            let message = group.cluster.network.remove(place);
            if !dice.one_in(8) {
                group.cluster.deliver(message);
            }
        }
        _ => {}
    }
    group.check();
}

fn run(seed: u64) -> u64 {
    let mut dice = Dice(seed);
    let mut group = Group::new(3 + 2 * dice.roll(2));
    for number in 0..1200 {
        step(&mut group, &mut dice, number);
        let excess = group.cluster.lines.len().saturating_sub(400);
        group.cluster.lines.drain(..excess);
    }
    // Whatever the dice did, with all the data everywhere everything is applied everywhere.
    let all: Vec<String> = group.held.iter().map(|(_, data)| data.clone()).collect();
    for node in group.cluster.ids() {
        all.iter().for_each(|data| group.bring(node, data));
        if group.cluster.members[&node].node.is_none() {
            group.cluster.restart(node);
        }
    }
    for _ in 0..60 {
        for node in group.cluster.ids() {
            group.cluster.tick(node, 2);
            group.settle();
        }
    }
    group.check();
    let ends: BTreeSet<EntryId> =
        group.running().into_iter().map(|node| group.cluster.node(node).last()).collect();
    assert_eq!(ends.len(), 1, "{ends:?}\n{}", group.cluster.lines.join("\n"));
    group.commit_index(1)
}

#[test]
fn random_schedules_lose_no_data_that_is_named() {
    let committed: u64 = Seeds::usually(150).run("bulk_data", run).iter().sum();
    assert!(committed > 500, "{committed} entries prove little");
}
