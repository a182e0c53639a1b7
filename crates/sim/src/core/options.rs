//! How a core world is made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use env::mem::{Latency, Shape};
use raft::{Configuration, NodeId, Options};

fn exactly_ms(ms: u64) -> (Duration, Duration) {
    (Duration::from_millis(ms), Duration::from_millis(ms))
}

/// Its nodes, and how long everything takes.
#[derive(Clone, Debug)]
pub struct CoreOptions {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Nodes, named from 1.
    pub node_count: u64,
    /// The first members; the other nodes wait to be added.
    pub members: Configuration,
    /// What every node is made with; its id and seed are set by the world.
    pub node_options: Options,
    /// How long a message takes.
    pub delay: (Duration, Duration),
    /// How the times between are spread.
    pub shape: Shape,
    /// Wires that take longer than the others, as `(from, to)`, until the faults end.
    pub long_ways: BTreeMap<(u64, u64), Latency>,
    /// How long a write takes.
    pub write_time: (Duration, Duration),
    /// How long it takes to apply what is committed, or to read an old entry.
    pub apply_time: (Duration, Duration),
    /// How long it takes to move a snapshot.
    pub carry_time: (Duration, Duration),
    /// How long it takes to put it in place.
    pub install_time: (Duration, Duration),
    /// Nodes that are, or will be added as, witnesses.
    pub witnesses: BTreeSet<NodeId>,
    /// Whether disks have numbers, by which one that was lost is told from one that is late.
    pub disks_are_known: bool,
    /// A node that waits so many ticks longer before it campaigns.
    pub modest: Option<(NodeId, u64)>,
    /// Of any two clocks one runs at most so much faster, unless a fault says otherwise.
    pub clock_spread_ppm: u32,
    /// Hosts have clocks that say an interval, of at most this width; none if they have not.
    pub clock_uncertainty_us: Option<u32>,
    /// Behind how many of a thousand batches the state is made durable, and the log cut, at once.
    pub compact_permille: u64,
    /// Of a thousand reports of a host, how many come once more, later.
    pub late_reports_permille: u64,
    /// Of a thousand snapshots, how many are not delivered.
    pub lost_snapshots_permille: u64,
    /// Changes of members meet what a world arranges: reads, regrets, disks that hang or crawl.
    pub hinders_changes: bool,
    /// Lines of the trace that are kept as text.
    pub trace_lines_max: usize,
}

impl CoreOptions {
    /// Voters with the times of the paper (§9.3): elections after 150 to 300 ms.
    #[must_use]
    pub fn new(seed: u64, node_count: u64) -> Self {
        let node_options = Options {
            election_timeout_ticks: 150,
            heartbeat_interval_ticks: 50,
            log_tail_kept: 0,
            record_events: true,
            ..Options::new(NodeId(1), seed)
        };
        Self {
            seed,
            node_count,
            members: Configuration::of_voters((1..=node_count).map(NodeId)),
            node_options,
            delay: (Duration::from_millis(8), Duration::from_millis(12)),
            shape: Shape::Uniform,
            long_ways: BTreeMap::new(),
            write_time: (Duration::from_millis(2), Duration::from_millis(3)),
            apply_time: exactly_ms(1),
            carry_time: exactly_ms(20),
            install_time: exactly_ms(10),
            witnesses: BTreeSet::new(),
            disks_are_known: false,
            modest: None,
            clock_spread_ppm: 0,
            clock_uncertainty_us: None,
            compact_permille: 0,
            late_reports_permille: 0,
            lost_snapshots_permille: 0,
            hinders_changes: false,
            trace_lines_max: 60,
        }
    }
}
