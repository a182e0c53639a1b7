//! Leases by clocks of declared uncertainty, in a world that has true time: every node's ticks run
//! a little fast or slow, and every node's clock says an interval. As long as true time is in it,
//! no read may miss what was committed before it was asked for (`Cluster` checks each read), and
//! leases and waits must come to something. `lease_intervals` has the single stories.
#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod cluster;

use std::collections::BTreeMap;

use cluster::Cluster;
use cluster::dice::{Dice, Seeds};
use raft::*;

const TICK_US: u64 = 1000;
const UNCERTAINTY_US: u64 = 4 * TICK_US;
const DRIFT_PPM: u32 = 20_000;
/// True time when a world begins: far enough from zero for any error.
const BEGIN_US: u64 = 1_000_000;

fn declared(ticks: u64) -> LeaseTerms {
    LeaseTerms::declared(ticks * TICK_US, DRIFT_PPM, u32::try_from(UNCERTAINTY_US).unwrap())
}

struct World {
    cluster: Cluster,
    dice: Dice,
    true_us: u64,
    /// By how many parts in a million a node's ticks are too fast; below a million too slow.
    rates: BTreeMap<u64, u64>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    reads: usize,
    /// Before the reader had committed anything in its term.
    inherited: usize,
    waits: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let nodes = if dice.one_in(2) { 3 } else { 5 };
        let mut configuration = Configuration::of_voters((1..=nodes).map(NodeId));
        configuration.lease = Some(declared(20));
        let mut cluster = Cluster::with(nodes, &configuration, |options| {
            options.seed = seed;
            options.pre_vote = false;
            options.check_quorum = false;
            options.log_tail_kept = 0;
            options.reorder_bytes_max = if seed.is_multiple_of(2) { 0 } else { 500 };
        });
        let drift = u64::from(DRIFT_PPM);
        let rates = (1..=nodes).map(|node| (node, 1_000_000 - drift + dice.roll(2 * drift)));
        let rates = rates.collect();
        for node in 1..=nodes {
            cluster.member(node).disk_is_instant = dice.one_in(2);
        }
        Self { cluster, dice, true_us: BEGIN_US, rates, counts: Counts::default() }
    }

    /// A node is told what time it is by ticks and, mostly, by its clock.
    fn tell_time(&mut self, node: u64) {
        let passed_us = u128::from(self.true_us - BEGIN_US) * u128::from(self.rates[&node]);
        let now = Tick(u64::try_from(passed_us / 1_000_000).unwrap() / TICK_US);
        let member = self.cluster.member(node);
        member.now = member.now.max(now);
        let now = member.now;
        if self.dice.one_in(4) {
            return;
        }
        let interval = any_interval(&mut self.dice, self.true_us);
        self.cluster.input(node, now, Input::Clock(interval));
    }

    fn step(&mut self, number: u64) {
        self.true_us += self.dice.roll(250);
        let nodes = self.cluster.ids();
        let node = nodes[self.dice.place(nodes.len())];
        if self.cluster.members[&node].node.is_none() {
            if self.dice.one_in(6) {
                let tail = if self.dice.one_in(2) { usize::MAX } else { self.dice.place(3) };
                self.cluster.restart_with_tail(node, tail);
            }
            return;
        }
        self.tell_time(node);
        let now = self.cluster.members[&node].now;
        match self.dice.roll(100) {
            0..=39 => (0..3).for_each(|_| self.deliver()),
            40..=52 => self.cluster.input(node, now, Input::Tick),
            53..=72 => {
                let checks_limbo = self.dice.one_in(2);
                let is_leader = self.cluster.node(node).role() == Role::Leader;
                if is_leader || self.dice.one_in(4) {
                    self.cluster.read(node, number, ReadMode::LeaseGuard { checks_limbo });
                }
            }
            73..=80 => drop(self.cluster.propose(node, &[&number.to_string()])),
            81..=88 => drop(self.cluster.write_one(node)),
            89 => self.cluster.compact(node),
            90 => drop(self.cluster.carry_snapshot(node)),
            91..=92 if self.dice.one_in(2) => self.change_terms(node),
            93 if self.dice.one_in(4) => drop(self.cluster.transfer(node, None)),
            94 if self.dice.one_in(2) => self.cluster.crash(node),
            95 if self.cluster.isolated.is_empty() => drop(self.cluster.isolated.insert(node)),
            96 if self.dice.one_in(3) => self.cluster.isolated.clear(),
            // A node that is elsewhere for a while.
            97 if self.dice.one_in(8) => self.true_us += self.dice.roll(20_000),
            98 if self.dice.one_in(4) => self.cluster.input(node, now, Input::Campaign),
            _ => {}
        }
        self.count();
    }

    fn deliver(&mut self) {
        if self.cluster.network.is_empty() {
            return;
        }
        let place =
            if self.dice.one_in(6) { self.dice.place(self.cluster.network.len()) } else { 0 };
        let message = self.cluster.network.remove(place);
        if self.dice.one_in(30) {
            return; // Lost.
        }
        if self.cluster.members[&message.to.0].node.is_some() {
            self.tell_time(message.to.0);
        }
        self.cluster.deliver(message);
    }

    fn change_terms(&mut self, node: u64) {
        let lease = match self.dice.roll(5) {
            0 => LeaseChange::Set(declared(20)),
            1 => LeaseChange::Set(declared(30)),
            2 => LeaseChange::Set(declared(9)),
            3 => LeaseChange::Set(LeaseTerms::monotonic(25 * TICK_US, 2 * DRIFT_PPM)),
            _ => LeaseChange::End,
        };
        let change = ConfigurationChange { lease, ..ConfigurationChange::default() };
        let _refused = self.cluster.change(node, &change);
    }

    fn count(&mut self) {
        for line in self.cluster.take_lines() {
            self.counts.reads += usize::from(line.contains("guarded read"));
            self.counts.inherited += usize::from(line.contains("limbo="));
            self.counts.waits += usize::from(line.contains("commits later"));
            assert!(!line.contains("clocks disagree"), "honest clocks agree: {line}");
        }
    }
}

#[test]
fn reads_are_never_stale_while_true_time_is_in_the_interval() {
    let seeds = Seeds::usually(100);
    let mut counts = Counts::default();
    for seen in seeds.run("lease_clocks", |seed| {
        let mut world = World::new(seed);
        (0..2000).for_each(|number| world.step(number));
        world.counts
    }) {
        counts.reads += seen.reads;
        counts.inherited += seen.inherited;
        counts.waits += seen.waits;
    }
    // Where nobody reads on a lease, nothing was shown.
    if !seeds.is_single {
        let Counts { reads, inherited, waits } = counts;
        println!("{reads} reads on leases, {inherited} with a limbo, {waits} waits");
        assert!(reads > 1000 && inherited > 50 && waits > 50, "{reads} {inherited} {waits}");
    }
}

/// Some clocks know well and some do not, and true time may be anywhere in what they say.
fn any_interval(dice: &mut Dice, true_us: u64) -> ClockInterval {
    let width = if dice.one_in(2) { dice.roll(UNCERTAINTY_US >> 4) } else { UNCERTAINTY_US };
    let before = if dice.one_in(2) { dice.roll(width + 1) } else { dice.roll(2) * width };
    let earliest_us = true_us - before;
    ClockInterval { earliest_us, latest_us: earliest_us + width }
}

/// Leaders who are cut off and go on reading, and others who take over, one after another: nothing
/// but what leases are about, so that every moment of a lease and of a wait is met.
struct Duel {
    cluster: Cluster,
    dice: Dice,
    true_us: u64,
    reads: usize,
}

impl Duel {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed ^ 0xD0E1);
        let nodes = if dice.one_in(2) { 3 } else { 5 };
        let mut configuration = Configuration::of_voters((1..=nodes).map(NodeId));
        configuration.lease = Some(declared(20));
        let cluster = Cluster::with(nodes, &configuration, |options| {
            options.pre_vote = false;
            options.check_quorum = false;
            // Only who is told to campaigns.
            options.election_timeout_ticks = 1_000_000;
        });
        let mut duel = Self { cluster, dice, true_us: BEGIN_US, reads: 0 };
        duel.tell_time(1);
        duel.take_over(1);
        duel.cluster.stabilize();
        duel
    }

    fn tell_time(&mut self, node: u64) {
        let now = Tick((self.true_us - BEGIN_US) / TICK_US);
        self.cluster.member(node).now = now;
        let interval = any_interval(&mut self.dice, self.true_us);
        self.cluster.input(node, now, Input::Clock(interval));
    }

    /// A node is elected by all that it reaches; what it appends may reach nobody.
    fn take_over(&mut self, node: u64) {
        let now = self.cluster.members[&node].now;
        self.cluster.input(node, now, Input::Campaign);
        if self.dice.one_in(2) {
            return self.cluster.stabilize();
        }
        for _ in 0..2 {
            let votes = std::mem::take(&mut self.cluster.network).into_iter().filter(|message| {
                let body = &message.body;
                matches!(body, Body::RequestVote { .. } | Body::RequestVoteResponse { .. })
            });
            votes.for_each(|vote| self.cluster.deliver(vote));
        }
        self.cluster.network.clear();
    }

    fn step(&mut self, number: u64) {
        self.true_us += self.dice.roll(1500);
        for node in self.cluster.ids() {
            self.tell_time(node);
        }
        let nodes = self.cluster.ids();
        let any = nodes[self.dice.place(nodes.len())];
        match self.dice.roll(16) {
            0..=1 => {
                // Whoever it is, the others that are reached are a quorum with it.
                self.cluster.isolated.clear();
                while self.cluster.isolated.len() < nodes.len() / 2 && !self.dice.one_in(6) {
                    let other = nodes[self.dice.place(nodes.len())];
                    if other != any {
                        self.cluster.isolated.insert(other);
                    }
                }
                self.take_over(any);
            }
            2 => {
                for node in nodes.iter().copied() {
                    let now = self.cluster.members[&node].now;
                    self.cluster.input(node, now, Input::Tick);
                }
            }
            3..=6 => self.cluster.stabilize(),
            7..=9 => drop(self.cluster.propose(any, &["x"])),
            10 => {
                let ticks = [5, 12, 20, 30][self.dice.place(4)];
                let terms = if ticks == 5 {
                    LeaseTerms::declared(10 * TICK_US, DRIFT_PPM, 4000)
                } else {
                    declared(ticks)
                };
                let lease = LeaseChange::Set(terms);
                let change = ConfigurationChange { lease, ..ConfigurationChange::default() };
                let _refused = self.cluster.change(any, &change);
            }
            _ => {}
        }
        for node in nodes {
            if self.cluster.node(node).role() == Role::Leader {
                let checks_limbo = self.dice.one_in(2);
                let context = number * 8 + node;
                self.cluster.read(node, context, ReadMode::LeaseGuard { checks_limbo });
            }
        }
        let lines = self.cluster.take_lines();
        self.reads += lines.iter().filter(|line| line.contains("guarded read")).count();
    }
}

#[test]
fn whoever_is_cut_off_and_whoever_takes_over_nothing_stale_is_read() {
    let seeds = Seeds::usually(600);
    let reads = seeds.run("lease_clocks", |seed| {
        let mut duel = Duel::new(seed);
        (1..120).for_each(|number| duel.step(number));
        duel.reads
    });
    let (reads, least) = (reads.iter().sum::<usize>(), seeds.count() * 10);
    println!("{reads} reads on leases");
    assert!(reads as u64 > least, "{reads}");
}
