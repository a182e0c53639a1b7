//! What a seed has in mind for a core world: the group, its settings, and every fault with its
//! time.

use std::collections::BTreeSet;
use std::time::Duration;

use env::SplitMix;
use raft::{Configuration, NodeId, Options};

use super::CoreOptions;
use crate::chaos::{CORE_FAULTS, FaultKind, pick};

/// The first phase, in milliseconds.
pub const CHAOS_MS: u64 = 30_000;

/// One thing that will be done; `None` mends something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreEvent {
    /// Its place in the plan.
    pub number: usize,
    /// When, in milliseconds.
    pub at_ms: u64,
    /// What.
    pub kind: Option<FaultKind>,
    /// Decides the rest.
    pub dice: u64,
}

impl CoreEvent {
    /// As a list of events names it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind.map_or("mend", FaultKind::name)
    }
}

/// The plan of a seed.
#[derive(Clone, Debug)]
pub struct CorePlan {
    /// How the world is made.
    pub options: CoreOptions,
    /// Milliseconds between two commands, on average.
    pub propose_ms: u64,
    /// Milliseconds between two reads.
    pub read_ms: u64,
    /// Entries between two cuts of a log.
    pub compact_every: u64,
    /// In order of time.
    pub events: Vec<CoreEvent>,
}

fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// Nodes, and who of them are members at first.
fn group(dice: &mut SplitMix) -> (u64, Configuration) {
    let simple = |voters: &[u64], learners: &[u64]| Configuration {
        voters: ids(voters),
        learners: ids(learners),
        ..Configuration::default()
    };
    match dice.below(9) {
        0 => (1, simple(&[1], &[])),
        1 => (2, simple(&[1, 2], &[])),
        2 | 3 => (3, simple(&[1, 2, 3], &[])),
        4 => (5, Configuration { outgoing: ids(&[3, 4, 5]), ..simple(&[1, 2, 3], &[]) }),
        5 => (5, simple(&[1, 2, 3, 4, 5], &[])),
        // With nodes that wait to be added.
        6 => (4, simple(&[1], &[])),
        7 => (5, simple(&[1, 2, 3], &[4])),
        _ => (7, simple(&[1, 2, 3], &[])),
    }
}

fn node_options(dice: &mut SplitMix, seed: u64) -> Options {
    let is_small = dice.below(2) == 0;
    let check_quorum = dice.below(4) > 0;
    // Short timeouts mean many elections.
    let election_timeout_ticks = pick(dice, &[100, 300, 1000]);
    let plain = Options {
        election_timeout_ticks,
        heartbeat_interval_ticks: election_timeout_ticks / 10,
        pre_vote: dice.below(4) > 0,
        check_quorum,
        quiesce_after_ticks: (dice.below(3) == 0).then_some(500),
        lease_drift_ppm: (check_quorum && dice.below(2) == 0).then_some(0),
        log_tail_kept: dice.below(6),
        record_events: true,
        cache_bytes_max: 4000,
        ..Options::new(NodeId(1), seed)
    };
    if !is_small {
        return plain;
    }
    Options {
        write_stall_ticks_max: 2500,
        append_batch_bytes_max: 100,
        window_messages_max: 3,
        cache_bytes_max: 200,
        apply_window_bytes_max: 150,
        uncommitted_bytes_max: 600,
        ..plain
    }
}

impl CorePlan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = SplitMix::new(seed ^ 0xc0de_0001);
        let (node_count, members) = group(&mut dice);
        let node_options = node_options(&mut dice, seed);
        let leases = node_options.lease_drift_ppm.is_some();
        // A round takes no longer than a good part of an election timeout.
        let slowest = pick(&mut dice, &[2, 20, 80]).min(node_options.election_timeout_ticks / 8);
        let options = CoreOptions {
            members,
            node_options,
            delay: (Duration::from_micros(200), Duration::from_millis(slowest)),
            write_time: (Duration::from_micros(200), Duration::from_millis(slowest)),
            ..CoreOptions::new(seed, node_count)
        };
        let mut kinds = Vec::new();
        for kind in CORE_FAULTS {
            // Leases are as good as the clocks are.
            let is_clock = matches!(kind, FaultKind::ClockDrift | FaultKind::ClockStop);
            let weight = pick(&mut dice, &[0, 0, 1, 1, 2, 6]);
            if !(leases && (is_clock || *kind == FaultKind::ClockJump)) {
                kinds.extend(std::iter::repeat_n(*kind, weight));
            }
        }
        let ms_per_fault = pick(&mut dice, &[150, 400, 900, 1800]);
        let mut events = Vec::new();
        let mut at_ms = 0;
        while !kinds.is_empty() {
            at_ms += 1 + dice.below(ms_per_fault);
            if at_ms >= CHAOS_MS {
                break;
            }
            let kind = (dice.below(5) < 3).then(|| pick(&mut dice, &kinds));
            let number = events.len();
            events.push(CoreEvent { number, at_ms, kind, dice: dice.next_u64() });
        }
        Self {
            options,
            propose_ms: pick(&mut dice, &[40, 100, 400]),
            read_ms: pick(&mut dice, &[80, 400]),
            compact_every: pick(&mut dice, &[8, 30, 100]),
            events,
        }
    }

    /// Keeps only the events of these numbers.
    #[must_use]
    pub fn with_events(mut self, numbers: &[usize]) -> Self {
        self.events.retain(|event| numbers.contains(&event.number));
        self
    }
}
