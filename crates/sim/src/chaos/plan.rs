//! What a seed has in mind: the shape of the cluster, and every fault with its time.
//!
//! The whole list is drawn before anything runs, and each event has dice of its own. So an event
//! can be left out and the others stay what they were: that is how a failing list is made short.

use std::collections::BTreeMap;
use std::time::Duration;

use env::SplitMix;
use env::mem::Latency;
use raft::ReadMode;

use super::fault::{FaultKind, HOST_FAULTS};
use crate::WorldOptions;
use crate::core::{any_long_ways, any_shape};

/// Phase one, in turns of about 10 ms between two looks at everything.
pub const TURNS: u64 = 600;

/// One thing that will be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the plan, by which it is named on the command line.
    pub number: usize,
    /// Before which turn.
    pub turn: u64,
    /// What.
    pub deed: Deed,
    /// Decides the rest: which node, how long.
    pub dice: u64,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Something breaks.
    Fault(FaultKind),
    /// Something is mended: a node starts, or the network is whole again.
    Mend,
}

impl Deed {
    /// As a list of events names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fault(kind) => kind.name(),
            Self::Mend => "mend",
        }
    }
}

/// The plan of a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How the world is made.
    pub options: WorldOptions,
    /// Groups on each node.
    pub group_count: u64,
    /// An idle client asks for something once in so many turns, on average.
    pub turns_per_request: u64,
    /// Whether the last node comes later, with an empty disk.
    pub one_is_late: bool,
    /// Whether somebody changes the members, and replaces one whose disk is lost.
    pub has_operator: bool,
    /// Whether clients keep leases alive, and let them expire.
    pub has_leases: bool,
    /// Whether the nodes begin with a program of the version before, and are upgraded one by one.
    pub has_upgrades: bool,
    /// How long a frame takes while nothing is wrong.
    pub latency: Latency,
    /// Wires that take longer than the others, as `(from, to)`.
    pub long_ways: BTreeMap<(u64, u64), Latency>,
    /// In order of time.
    pub events: Vec<Event>,
}

/// One of these.
///
/// # Panics
/// If there are none.
pub fn pick<T: Copy>(dice: &mut SplitMix, from: &[T]) -> T {
    from[usize::try_from(dice.below(from.len() as u64)).expect("small")]
}

/// How long frames take: half of all clusters are in one room, and others are not.
fn ways(dice: &mut SplitMix, node_count: u64) -> (Latency, BTreeMap<(u64, u64), Latency>) {
    let most = Duration::from_millis(pick(dice, &[1, 1, 1, 5, 20, 60]));
    let latency =
        Latency { shape: any_shape(dice), ..Latency::uniform(Duration::from_micros(100), most) };
    let nodes: Vec<u64> = (1..=node_count).collect();
    let times = (Duration::from_millis(20), Duration::from_millis(120));
    let has_long_ways = dice.below(4) == 0;
    let long_ways =
        if has_long_ways { any_long_ways(dice, &nodes, times) } else { BTreeMap::new() };
    (latency, long_ways)
}

impl Plan {
    /// The plan of a seed for whole hosts.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = SplitMix::new(seed ^ 0xc4a0_5000);
        let node_count = pick(&mut dice, &[1, 3, 3, 3, 3, 3, 5, 5]);
        // Where members change, a host has one group, as a server has.
        let has_operator = dice.below(2) > 0;
        let group_count = if has_operator { 1 } else { 1 + dice.below(3) };
        let options = WorldOptions {
            node_count,
            segment_bytes: pick(&mut dice, &[16 << 10, 64 << 10]),
            snapshot_entry_count: 10 + dice.below(60),
            log_tail_entry_count: dice.below(30),
            log_cache_bytes_max: pick(&mut dice, &[1000, 10_000, 1 << 20]),
            snapshot_chunk_bytes: pick(&mut dice, &[300, 2000, 8000]),
            worker_count: pick(&mut dice, &[1, 2]),
            trace_lines_max: 120,
            ..WorldOptions::new(seed)
        };
        // Not all kinds at once, or rare meetings of a few drown (swarm testing: Groce et al.,
        // ISSTA 2012); and not all as often.
        let share = pick(&mut dice, &[3, 2, 2, 4]);
        let mut kinds = Vec::new();
        let has_upgrades = dice.below(2) > 0;
        let known = HOST_FAULTS.iter().filter(|kind| {
            (has_operator || !kind.needs_operator()) && (has_upgrades || !kind.needs_two_versions())
        });
        for kind in known.filter(|_| dice.below(share) == 0).collect::<Vec<_>>() {
            let weight = pick(&mut dice, &[1, 1, 2, 6]);
            kinds.extend(std::iter::repeat_n(*kind, weight));
        }
        let turns_per_fault = pick(&mut dice, &[6, 15, 40, 90]);
        let turns_per_mend = turns_per_fault * pick(&mut dice, &[1, 1, 1, 2, 3]);
        let mut events = Vec::new();
        for turn in 0..TURNS {
            let fault = (!kinds.is_empty() && dice.below(turns_per_fault) == 0)
                .then(|| Deed::Fault(pick(&mut dice, &kinds)));
            let mend = (dice.below(turns_per_mend) == 0).then_some(Deed::Mend);
            for deed in fault.into_iter().chain(mend) {
                let number = events.len();
                events.push(Event { number, turn, deed, dice: dice.next_u64() });
            }
        }
        let turns_per_request = pick(&mut dice, &[2, 3, 8, 25]);
        let one_is_late = dice.below(2) > 0;
        let has_leases = dice.below(2) > 0;
        let (latency, long_ways) = ways(&mut dice, node_count);
        let plan = Self {
            seed,
            options,
            group_count,
            turns_per_request,
            one_is_late,
            has_operator,
            has_leases,
            has_upgrades,
            latency,
            long_ways,
            events,
        };
        let plan = plan.with_pieces_for_its_ways();
        if dice.below(2) == 0 { plan } else { plan.with_other_protocol(&mut dice) }
    }

    /// A snapshot in small pieces would take longer over long ways than the second phase lasts:
    /// each piece is answered before the next but few.
    fn with_pieces_for_its_ways(mut self) -> Self {
        let longest = self.long_ways.values().chain([&self.latency]).map(|way| way.max).max();
        if longest > Some(Duration::from_millis(5)) {
            self.options.snapshot_chunk_bytes = 8000;
        }
        self
    }

    /// Other times than a server has by default, groups that rest, and reads on leases where clocks
    /// can be trusted. A round of messages takes a small part of an election timeout.
    fn with_other_protocol(mut self, dice: &mut SplitMix) -> Self {
        let timeout_ms = pick(dice, &[300, 500, 1000, 1500]);
        let is_short = |latency: &Latency| latency.max.as_millis() * 12 <= u128::from(timeout_ms);
        if is_short(&self.latency) && self.long_ways.values().all(is_short) {
            self.options.election_timeout_ms = timeout_ms;
        }
        self.options.quiesce_after_ms = (dice.below(2) == 0).then_some(500);
        if self.clocks_are_true() {
            let guarded = ReadMode::LeaseGuard { checks_limbo: false };
            self.options.reads = pick(dice, &[ReadMode::ReadIndex, ReadMode::Lease, guarded]);
        }
        self
    }

    /// Whether no clock of this world is ever wrong.
    #[must_use]
    pub fn clocks_are_true(&self) -> bool {
        let upsets = |event: &Event| match event.deed {
            Deed::Fault(kind) => kind.upsets_clocks(),
            Deed::Mend => false,
        };
        !self.events.iter().any(upsets)
    }

    /// Keeps only the events of these numbers.
    #[must_use]
    pub fn with_events(mut self, numbers: &[usize]) -> Self {
        self.events.retain(|event| numbers.contains(&event.number));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_function_of_its_seed_and_an_event_can_be_left_out_of_it() {
        let plan = Plan::of(7);
        assert_eq!(plan.events, Plan::of(7).events);
        assert_ne!(plan.events, Plan::of(8).events);
        let kept = plan.clone().with_events(&[0, 2]).events;
        assert_eq!(kept, [plan.events[0], plan.events[2]]);
    }

    #[test]
    fn every_kind_is_in_some_plan_and_no_plan_has_them_all() {
        let mut met = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let plan = Plan::of(seed);
            let kinds: std::collections::BTreeSet<_> =
                plan.events.iter().map(|event| event.deed.name()).collect();
            assert!(kinds.len() < HOST_FAULTS.len(), "seed {seed} has everything");
            met.extend(kinds);
        }
        assert_eq!(met.len(), HOST_FAULTS.len() + 1, "{met:?}");
    }
}
