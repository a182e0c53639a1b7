//! What a seed has in mind for a core world: the group, its settings, and every fault with its
//! time.

use env::SplitMix;

use super::{CoreOptions, swarm};
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
    /// Clients say what their commands touch.
    pub says_what_it_touches: bool,
    /// Entries between two cuts of a log.
    pub compact_every: u64,
    /// In order of time.
    pub events: Vec<CoreEvent>,
}

impl CorePlan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = SplitMix::new(seed ^ 0xc0de_0001);
        let options = swarm::options(&mut dice, seed);
        let mut kinds = Vec::new();
        for kind in CORE_FAULTS.iter() {
            let weight = pick(&mut dice, &[0, 0, 1, 1, 2, 6]);
            kinds.extend(std::iter::repeat_n(*kind, weight));
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
            says_what_it_touches: dice.below(3) == 0,
            read_ms: pick(&mut dice, &[80, 400]),
            compact_every: pick(&mut dice, &[8, 30, 100, 2000]),
            events,
        }
    }

    /// Reads rest on clocks that run alike.
    #[must_use]
    pub fn clocks_agree(&self) -> bool {
        let options = &self.options;
        options.node_options.lease_drift_ppm.is_some() || options.members.lease.is_some()
    }

    /// Keeps only the events of these numbers.
    #[must_use]
    pub fn with_events(mut self, numbers: &[usize]) -> Self {
        self.events.retain(|event| numbers.contains(&event.number));
        self
    }
}
