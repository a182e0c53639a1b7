//! Duels about leases: a leader that is cut off goes on reading, others take over, and nothing else
//! happens, so that every moment of a lease is met: by ticks on entries (`lease_guard.rs`), and on
//! votes (`lease.rs`). What was said before the cut may arrive long after it. Who is cut off never
//! reads what was true before somebody else's commit (`Cluster` checks each read). Leases by clocks
//! have duels of their own in `lease_clocks`.

mod cluster;

use std::collections::BTreeSet;

use cluster::Cluster;
use cluster::dice::{Dice, Seeds};
use raft::*;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lease {
    OnEntries,
    OnVotes,
}

struct Duel {
    cluster: Cluster,
    dice: Dice,
    kind: Lease,
    now: u64,
    /// What these say and are said from now on is lost.
    cut: BTreeSet<u64>,
    /// What is on its way, and when it arrives.
    held: Vec<(u64, Message)>,
    reads: usize,
}

fn terms(dice: &mut Dice) -> LeaseTerms {
    LeaseTerms::monotonic([3, 8, 20, 30][dice.place(4)] * 1000, 0)
}

impl Duel {
    fn new(kind: Lease, seed: u64) -> Self {
        let mut dice = Dice(seed ^ 0xD0E1);
        let nodes = if dice.one_in(2) { 3 } else { 5 };
        let mut configuration = Configuration::of_voters((1..=nodes).map(NodeId));
        configuration.lease = (kind == Lease::OnEntries).then(|| terms(&mut dice));
        let cluster = Cluster::with(nodes, &configuration, |options| {
            options.pre_vote = false;
            options.check_quorum = kind == Lease::OnVotes;
            options.lease_drift_ppm = (kind == Lease::OnVotes).then_some(0);
            // On entries: only who is told to campaigns.
            options.election_timeout_ticks = if kind == Lease::OnVotes { 20 } else { 1_000_000 };
            options.seed = seed;
        });
        let (cut, held) = (BTreeSet::new(), Vec::new());
        let mut duel = Self { cluster, dice, kind, now: 0, cut, held, reads: 0 };
        duel.cluster.input(1, Tick(0), Input::Campaign);
        duel.exchange();
        duel
    }

    /// Messages leave, some of them for a long way, and those that are due arrive.
    fn exchange(&mut self) {
        for _ in 0..6 {
            for message in std::mem::take(&mut self.cluster.network) {
                if self.cut.contains(&message.from.0) || self.cut.contains(&message.to.0) {
                    continue;
                }
                let delay = if self.dice.one_in(6) { self.dice.roll(25) } else { 0 };
                self.held.push((self.now + delay, message));
            }
            let (due, rest) = self.held.drain(..).partition(|(at, _)| *at <= self.now);
            self.held = rest;
            let due: Vec<(u64, Message)> = due;
            due.into_iter().for_each(|(_, message)| self.cluster.deliver(message));
        }
    }

    /// Somebody stands for election, and with whom it reaches it is a quorum.
    fn take_over(&mut self, node: u64) {
        let nodes = self.cluster.ids();
        self.cut.clear();
        while self.cut.len() < nodes.len() / 2 && !self.dice.one_in(6) {
            let other = nodes[self.dice.place(nodes.len())];
            if other != node {
                self.cut.insert(other);
            }
        }
        self.cluster.input(node, Tick(self.now), Input::Campaign);
    }

    fn change_terms(&mut self, node: u64) {
        let lease = LeaseChange::Set(terms(&mut self.dice));
        let change = ConfigurationChange { lease, ..ConfigurationChange::default() };
        let _refused = self.cluster.change(node, &change);
    }

    fn step(&mut self, number: u64) {
        self.now += self.dice.roll(4);
        let nodes = self.cluster.ids();
        let any = nodes[self.dice.place(nodes.len())];
        for node in nodes.iter().copied() {
            self.cluster.member(node).now = Tick(self.now);
            if self.kind == Lease::OnVotes || self.dice.one_in(2) {
                self.cluster.input(node, Tick(self.now), Input::Tick);
            }
        }
        match self.dice.roll(16) {
            0..=1 => self.take_over(any),
            2 => self.cut = [any].into(),
            3..=5 => nodes.iter().for_each(|node| {
                let _refused = self.cluster.propose(*node, &["x"]);
            }),
            6 if self.kind == Lease::OnEntries => {
                nodes.iter().for_each(|node| self.change_terms(*node));
            }
            7 => self.cluster.compact(any),
            8 => self.cut.clear(),
            9 => self.now += self.dice.roll(25),
            10 => {
                self.cluster.crash(any);
                self.cluster.restart(any);
            }
            11 => nodes.iter().for_each(|node| {
                let _refused = self.cluster.transfer(*node, None);
            }),
            _ => {}
        }
        self.exchange();
        for node in nodes {
            drop(self.cluster.carry_snapshot(node));
            if self.cluster.node(node).role() == Role::Leader {
                let checks_limbo = self.dice.one_in(2);
                let mode = match self.kind {
                    Lease::OnEntries => ReadMode::LeaseGuard { checks_limbo },
                    Lease::OnVotes => ReadMode::Lease,
                };
                self.cluster.read(node, number * 8 + node, mode);
            }
        }
        let lines = self.cluster.take_lines();
        let on_a_lease =
            |line: &&String| line.contains("lease read") || line.contains("guarded read");
        self.reads += lines.iter().filter(on_a_lease).count();
    }
}

fn fight(kind: Lease, usually: u64) {
    let seeds = Seeds::usually(usually);
    let reads = seeds.run("lease_duels", |seed| {
        let mut duel = Duel::new(kind, seed);
        (1..150).for_each(|number| duel.step(number));
        duel.reads
    });
    let reads: usize = reads.iter().sum();
    assert!(reads as u64 > seeds.count() * 10 || seeds.is_single, "{reads}");
}

#[test]
fn whoever_takes_over_nothing_stale_is_read_on_an_entry() {
    fight(Lease::OnEntries, 100);
}

#[test]
fn whoever_takes_over_nothing_stale_is_read_on_votes() {
    fight(Lease::OnVotes, 100);
}
