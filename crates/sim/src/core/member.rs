//! A node of a core world with its disk, its state machine and its clock.

use std::collections::VecDeque;

use env::mem::NodeClock;
use env::{Clock, Moment};
use raft::invariants::Durable;
use raft::{
    Configuration, Entry, EntryId, HardState, LogIndex, MarkWrite, Node, NodeId, Options, Payload,
    Persist, Restored, SnapshotMark, Term, Tick,
};

use super::clocks::lease_of;
use super::happening::Happening;
use super::machine::Cells;
use super::seen::Seen;
use super::tallies::may_elect;

/// Nanoseconds of a tick.
const TICK_NANOS: u64 = 1_000_000;

/// What survives a crash: the log as written, and how far the state machine's state is durable.
#[derive(Clone, Debug, Default)]
pub(super) struct CoreDisk {
    pub(super) hard_state: HardState,
    pub(super) mark: SnapshotMark,
    pub(super) entries: Vec<Entry>,
    pub(super) applied: LogIndex,
}

impl CoreDisk {
    /// One write, atomic and in the order that [`Persist`] asks for.
    pub(super) fn write(&mut self, persist: Persist) {
        if let Some(MarkWrite { mark, reset }) = persist.mark {
            self.entries.retain(|entry| !reset && entry.id.index > mark.last.index);
            self.mark = *mark;
        }
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(first) = persist.entries.first() {
            let keep = self.entries.partition_point(|entry| entry.id.index < first.id.index);
            self.entries.truncate(keep);
            assert_eq!(self.last().index.next(), first.id.index, "the disk gets no hole");
        }
        self.entries.extend(persist.entries);
    }

    pub(super) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.mark.last, |entry| entry.id)
    }

    /// In force for a node that begins from here (Raft §6): the newest, committed or not.
    pub(super) fn configuration(&self) -> &Configuration {
        let payloads = self.entries.iter().rev().map(|entry| &entry.payload);
        let mut configurations = payloads.filter_map(|payload| {
            let Payload::Configuration(configuration) = payload else { return None };
            Some(configuration.as_ref())
        });
        configurations.next().unwrap_or(&self.mark.configuration)
    }

    /// What a recovery hands to the node; only the last `tail` entries in full.
    pub(super) fn restored(&self, tail: usize) -> Restored {
        let mut term_runs: Vec<(LogIndex, Term)> = Vec::new();
        let mut configurations: Vec<(LogIndex, Configuration)> = Vec::new();
        for entry in &self.entries {
            if term_runs.last().is_none_or(|(_, term)| *term < entry.id.term) {
                term_runs.push((entry.id.index, entry.id.term));
            }
            if let Payload::Configuration(configuration) = &entry.payload {
                configurations.push((entry.id.index, configuration.as_ref().clone()));
            }
        }
        let skip = self.entries.len().saturating_sub(tail);
        Restored {
            hard_state: self.hard_state,
            mark: self.mark.clone(),
            entries: self.entries[skip..].to_vec(),
            term_runs,
            last: self.last(),
            applied: self.applied,
            configurations,
        }
    }

    pub(super) fn durable(&self) -> Durable<'_> {
        Durable { hard_state: self.hard_state, mark: self.mark.last, entries: &self.entries }
    }
}

/// One node and all that is its own.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) options: Options,
    /// `None` while it is off.
    pub(super) node: Option<Node>,
    pub(super) disk: CoreDisk,
    /// What it began with, before it had any disk.
    birth: SnapshotMark,
    /// A copy of the disk that somebody made once.
    pub(super) copy: Option<CoreDisk>,
    /// A disk that was lost held the log up to here, and may have been counted for it.
    pub(super) lost_upto: LogIndex,
    /// The disk is what it was once.
    pub(super) was_set_back: bool,
    pub(super) seen: Seen,
    /// The process is stopped: what happens to it waits, in order.
    pub(super) sleeps: bool,
    pub(super) waiting: Vec<Happening>,
    /// The applier, or whoever reads old entries and carries snapshots, stands still.
    pub(super) applier_hangs: bool,
    pub(super) bulk_hangs: bool,
    /// Which leader it heard last, in which term, and when in truth; a crash does not change that.
    pub(super) heard_truly: Option<(NodeId, Term, Moment)>,
    /// It crashes when it has written the configuration in which it is no member.
    pub(super) is_doomed: bool,
    /// The next write takes longer than others.
    pub(super) lingers: bool,
    /// Every write takes its time until then, and is written alone.
    pub(super) crawls_until: Moment,
    /// Its host does not look at the clock before then.
    pub(super) looks_at: Moment,
    /// What the clock of its host is wrong by, beyond what it says.
    pub(super) clock_error_us: i64,
    /// The speed of its clock while nothing is wrong with it.
    pub(super) rate_ppm: u64,
    pub(super) clock: NodeClock,
    pub(super) life: u64,
    /// Written, and not yet on disk.
    pub(super) in_flight: VecDeque<Persist>,
    /// How many of those the sync under way covers; 0 if none is.
    pub(super) syncing: usize,
    /// The disk does not answer.
    pub(super) hangs: bool,
    /// Handed out and not yet applied.
    pub(super) to_apply: Vec<Entry>,
    pub(super) applies: bool,
    /// The state machine: how far it is, and its state.
    pub(super) applied: LogIndex,
    pub(super) state: Cells,
    /// When it was woken last, and how often at that moment.
    pub(super) woken: (Moment, u32),
    /// When the node wants to be woken, in the world's time.
    pub(super) wake_at: Option<Moment>,
}

impl Member {
    pub(super) fn new(options: Options, mark: SnapshotMark, clock: NodeClock) -> Self {
        Self {
            options,
            node: None,
            disk: CoreDisk { mark: mark.clone(), ..CoreDisk::default() },
            birth: mark,
            copy: None,
            lost_upto: LogIndex(0),
            was_set_back: false,
            seen: Seen::default(),
            sleeps: false,
            waiting: Vec::new(),
            applier_hangs: false,
            bulk_hangs: false,
            heard_truly: None,
            is_doomed: false,
            lingers: false,
            crawls_until: Moment(0),
            looks_at: Moment(0),
            clock_error_us: 0,
            rate_ppm: 1_000_000,
            clock,
            life: 0,
            in_flight: VecDeque::new(),
            syncing: 0,
            hangs: false,
            to_apply: Vec::new(),
            applies: false,
            applied: LogIndex(0),
            state: Cells::default(),
            woken: (Moment(0), 0),
            wake_at: None,
        }
    }

    pub(super) fn id(&self) -> NodeId {
        self.options.id
    }

    /// What the node's own clock says.
    pub(super) fn tick(&self) -> Tick {
        Tick(self.clock.now().0 / TICK_NANOS)
    }

    /// Asks the node when it wants to be woken.
    pub(super) fn set_alarm(&mut self) {
        let deadline = self.node.as_ref().and_then(Node::next_deadline);
        self.wake_at = deadline
            .and_then(|tick| self.clock.world_time_of(Moment(tick.0.saturating_mul(TICK_NANOS))));
    }

    /// Milliseconds of its own clock until it wants to be woken.
    pub(super) fn ms_to_deadline(&self) -> Option<u64> {
        let deadline = self.node.as_ref()?.next_deadline()?;
        Some(
            (deadline.0.saturating_mul(TICK_NANOS).saturating_sub(self.clock.now().0))
                .div_ceil(TICK_NANOS),
        )
    }

    /// A node from what the disk holds.
    pub(super) fn restart(&mut self, tail: usize) -> Node {
        self.life += 1;
        let seed = self.options.seed.wrapping_add(self.life << 16);
        let options = Options { seed, ..self.options.clone() };
        if options.is_witness {
            // It has no state that could be behind.
            self.disk.applied = self.disk.mark.last.index;
        }
        let now = self.tick();
        let HardState { current_term, voted_for } = self.disk.hard_state;
        self.seen = Seen {
            leases: self.disk.entries.iter().filter_map(lease_of).collect(),
            calm_since: now,
            began_at: now,
            voted: voted_for.map(|candidate| (current_term, candidate)),
            election_timeout_ticks: options.election_timeout_ticks,
            heartbeat_interval_ticks: options.heartbeat_interval_ticks,
            installs: self.disk.applied < self.disk.mark.last.index,
            ..Seen::default()
        };
        Node::new(options, self.disk.restored(tail)).expect("the disk holds what was persisted")
    }

    /// Everything that is not on disk is gone, but for the first `survive` writes.
    pub(super) fn crash(&mut self, survive: usize) {
        self.node = None;
        for persist in self.in_flight.drain(..).take(survive) {
            self.disk.write(persist);
        }
        (self.syncing, self.hangs, self.applies) = (0, false, false);
        (self.sleeps, self.applier_hangs, self.bulk_hangs) = (false, false, false);
        self.waiting.clear();
        self.to_apply.clear();
        self.wake_at = None;
    }

    /// The disk is gone, and there is another one. Alone the node would begin another group; such a
    /// one waits to be added.
    pub(super) fn lose_disk(&mut self) {
        self.lost_upto = self.lost_upto.max(self.disk.last().index);
        let is_alone = may_elect(&self.birth.configuration, &[self.id()].into());
        let mark = if is_alone { SnapshotMark::default() } else { self.birth.clone() };
        self.disk = CoreDisk { mark, ..CoreDisk::default() };
        self.copy = None;
        // Also where the one before had no name: the host is a newer one by now.
        self.options.incarnation.0 += 1000;
    }

    /// All configurations that may be in force for it, now or if it crashed now and began again:
    /// some of what it has written may not be on its disk by then.
    pub(super) fn may_wake_with(&self) -> Vec<&Configuration> {
        let known = self.node.as_ref().map(Node::configuration);
        let written = self.in_flight.iter().flat_map(|persist| {
            let mark = persist.mark.as_ref().map(|write| &write.mark.configuration);
            let entries = persist.entries.iter().filter_map(configuration_of);
            mark.into_iter().chain(entries.map(|(_, configuration)| configuration))
        });
        written.chain(known).chain([self.disk.configuration()]).collect()
    }

    /// The configurations of its log, from the one at the mark on, with their places.
    pub(super) fn configurations(&self) -> Vec<(LogIndex, &Configuration)> {
        let mut all = vec![(self.disk.mark.last.index, &self.disk.mark.configuration)];
        all.extend(self.disk.entries.iter().filter_map(configuration_of));
        for persist in &self.in_flight {
            if let Some(MarkWrite { mark, reset }) = &persist.mark {
                all.retain(|(at, _)| !reset && *at > mark.last.index);
                all.insert(0, (mark.last.index, &mark.configuration));
            }
            if let Some(first) = persist.entries.first() {
                all.retain(|(at, _)| *at < first.id.index);
                all.extend(persist.entries.iter().filter_map(configuration_of));
            }
        }
        all
    }
}

fn configuration_of(entry: &Entry) -> Option<(LogIndex, &Configuration)> {
    match &entry.payload {
        Payload::Configuration(configuration) => Some((entry.id.index, configuration.as_ref())),
        Payload::Noop
        | Payload::Lease(_)
        | Payload::Keyed(_)
        | Payload::Command(_)
        | Payload::Withheld => None,
    }
}
