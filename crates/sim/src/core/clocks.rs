//! Clocks of declared uncertainty: what a host tells its node of true time, and whether the node
//! reads on it as it may.
//!
//! A world has true time. What a clock says is an interval around it, of any width up to the
//! declared one, and true time is anywhere inside: some clocks know well and some do not, and each
//! is looked at now and then only. A fault makes one of them lie. Then nothing that is read on a
//! lease is judged by what was committed; it still must rest on a lease that is none of the future.

use env::{Moment, SplitMix};
use raft::{
    ClockInterval, Entry, EntryId, Event, LeaseClock, LogIndex, Node, NodeId, Payload, ReadMode,
    Role,
};

use super::CoreWorld;
use crate::Failure;

/// True time when a world begins: far enough from zero for any error.
const BEGIN_US: u64 = 600_000_000;
/// What a reader may add to what it was told: a tick, by a clock that runs a little fast.
const ROUNDING_US: u64 = 1_100;

impl CoreWorld {
    /// What the clock of this node's host says, if the host looks at it now.
    pub(super) fn look_at_clock(&mut self, id: NodeId) -> Option<ClockInterval> {
        let width_max = u64::from(self.options.clock_uncertainty_us?);
        let member = &self.members[&id];
        let is_wanted = member.node.as_ref().is_some_and(Node::goes_by_clock);
        // A clock may end a wait, which would be taken for the doing of the nonsense.
        let is_blind = self.hears_nonsense || self.looks_away && self.now() < member.looks_at;
        if !is_wanted || is_blind || self.dice.below(4) == 0 {
            return None;
        }
        if self.looks_away && self.dice.below(256) == 0 {
            let ticks = 2 * self.members[&id].seen.election_timeout_ticks;
            let away = std::time::Duration::from_millis(self.dice.below(ticks));
            self.member(id).looks_at = self.now().after(away);
        }
        let member = &self.members[&id];
        let said_us = true_us(self.now()).saturating_add_signed(member.clock_error_us);
        let interval = interval_around(&mut self.dice, said_us, width_max);
        let member = self.member(id);
        (member.seen.clock_said, member.seen.clock_said_at) = (Some(interval), member.tick());
        Some(interval)
    }

    /// The clock of this node lies from now on, by so much, and does not know it.
    pub fn falsify_clock(&mut self, id: NodeId, error_us: i64) {
        self.clocks_have_lied |= error_us != 0;
        self.member(id).clock_error_us = error_us;
    }

    /// Whether leases in the log may go by clocks of declared uncertainty.
    #[must_use]
    pub fn has_declared_clocks(&self) -> bool {
        self.options.clock_uncertainty_us.is_some()
    }

    /// A leader commits: whoever still takes itself for one is asked now, when what it would read
    /// on its lease has just become old. Clients cannot do better, and by chance they do it seldom.
    pub(super) fn ask_the_deposed(&mut self, by: NodeId) {
        let has_leases = self.options.node_options.lease_drift_ppm.is_some();
        let has_guards = self.options.members.lease.is_some();
        if !has_leases && !has_guards {
            return;
        }
        let leads = |id: &NodeId| {
            let is_leader = self.node(*id).is_some_and(|node| node.role() == Role::Leader);
            is_leader && self.is_awake(*id)
        };
        let deposed: Vec<NodeId> =
            self.nodes().into_iter().filter(|id| *id != by && leads(id)).collect();
        for id in deposed {
            let after_us = [0, self.dice.below(1000), self.dice.below(10_000)];
            let life = self.members[&id].life;
            for after_us in after_us {
                let after = std::time::Duration::from_micros(after_us);
                self.later(after, super::happening::Happening::Ask { node: id, life, mode: None });
            }
        }
    }

    /// Clients of earlier leaders ask whoever is elected what became of their writes.
    pub(super) fn ask_for_lost_writes(&mut self, id: NodeId) {
        let writes: Vec<EntryId> = self.proposed.iter().map(|(_, entry)| *entry).collect();
        let newest = writes.into_iter().max_by_key(|entry| (entry.index, entry.term));
        if let Some(EntryId { term, index }) = newest {
            let after = std::time::Duration::from_micros(self.dice.below(3000));
            let life = self.members[&id].life;
            let mode = ReadMode::AfterWrite { index, term: Some(term) };
            self.later(
                after,
                super::happening::Happening::Ask { node: id, life, mode: Some(mode) },
            );
        }
    }

    /// Somebody reads on a lease of this node.
    pub(super) fn ask_on_lease(&mut self, id: NodeId) {
        if self.node(id).is_none_or(|node| node.role() != Role::Leader) {
            return;
        }
        let guarded = ReadMode::LeaseGuard { checks_limbo: self.dice.below(2) == 0 };
        let leases = self.options.node_options.lease_drift_ppm.map(|_| ReadMode::Lease);
        let guards = self.options.members.lease.map(|_| guarded);
        for mode in leases.into_iter().chain(guards) {
            self.ask_by_itself(id, mode);
        }
    }

    /// A read that no plan asks for.
    pub(super) fn ask_by_itself(&mut self, id: NodeId, mode: ReadMode) {
        self.asked += 1;
        self.ask(id, ASKED_BY_THE_WORLD + self.asked, mode);
    }

    /// A lease was read on, or a clock was found out.
    pub(super) fn check_clocks(&mut self, id: NodeId, event: &Event) {
        if let Event::ClocksDisagree { index } = event
            && !self.clocks_have_lied
        {
            let detail = format!("node {id} does not believe the lease at {index}");
            self.fail(id, Failure::new("honest clocks agree", detail));
        }
        if matches!(event, Event::GuardedRead { .. })
            && let Some(why) = self.lacks_lease(id)
        {
            let detail = format!("node {id} reads, and {why}");
            self.fail(id, Failure::new("a read on a lease rests on one", detail));
        }
    }

    /// Why no entry that this node may read on is a lease now, by its own clock.
    fn lacks_lease(&self, id: NodeId) -> Option<String> {
        let member = &self.members[&id];
        let node = member.node.as_ref()?;
        let clock = node.configuration().lease?.clock;
        let LeaseClock::Declared { .. } = clock else { return None };
        let Some(said) = member.seen.clock_said else {
            return Some("its clock was not looked at".to_owned());
        };
        // Time has gone on since an earlier tick, nobody knows how far.
        let (now, said_at) = (member.tick(), member.seen.clock_said_at);
        if said_at != now {
            return Some(format!("its clock was looked at in tick {said_at}, and it is {now}"));
        }
        let latest_us = said.latest_us + ROUNDING_US;
        // The newest that is committed, or one behind it that a quorum may hold.
        let leases = &member.seen.leases;
        let committed = leases.range(..=node.commit_index()).next_back();
        let behind = leases.range(node.commit_index().next()..);
        let is_good = |(index, at): (&LogIndex, &ClockInterval)| {
            let end_us = at.earliest_us + self.least_us(id, *index, clock);
            at.earliest_us <= latest_us && said.latest_us < end_us
        };
        let found = committed.into_iter().chain(behind).any(is_good);
        (!found).then(|| format!("its clock says {said:?}, and the leases are {leases:?}"))
    }
}

/// True time, as clocks of declared uncertainty count it.
pub(super) fn true_us(now: Moment) -> u64 {
    BEGIN_US + now.0 / 1000
}

/// Names of reads that the world itself asks for are above this one.
const ASKED_BY_THE_WORLD: u64 = 1 << 40;

/// True time is anywhere in it.
fn interval_around(dice: &mut SplitMix, true_us: u64, width_max: u64) -> ClockInterval {
    let width = match dice.below(12) {
        0..6 => dice.below((width_max >> 4) + 1),
        6..11 => width_max,
        // So uncertain that it is of no use.
        _ => width_max * 4,
    };
    let before = if dice.below(2) == 0 { dice.below(width + 1) } else { dice.below(2) * width };
    let earliest_us = true_us - before;
    ClockInterval { earliest_us, latest_us: earliest_us + width }
}

/// The place of an entry, and when it says that it was appended, if it is a lease.
pub(super) fn lease_of(entry: &Entry) -> Option<(LogIndex, ClockInterval)> {
    if let Payload::Lease(at) = entry.payload { Some((entry.id.index, at)) } else { None }
}
