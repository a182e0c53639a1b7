//! What may happen to a group, and how often.

use raft::*;

use crate::begin::Begin;
use crate::peer::Writes;
use crate::state::Budget;

/// Ticks of the two timers where time is forgotten; their sizes mean nothing, only which of them is
/// due.
pub(crate) const HEARTBEAT: Tick = Tick(10);
pub(crate) const ELECTION: Tick = Tick(100);
/// Ticks of the two timers where time is kept: the shortest for which there are leases, of two
/// ticks each.
const SHORT_HEARTBEAT_TICKS: u64 = 1;
const SHORT_ELECTION_TICKS: u64 = 4;
/// An entry is a lease for one tick, and who is elected waits for two.
const LEASE: LeaseTerms = LeaseTerms::monotonic(1000, 0);

/// What may happen, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) name: &'static str,
    pub(crate) nodes: u64,
    /// The first members are these; the other nodes wait to be added.
    pub(crate) voters: u64,
    /// So many of the nodes have election timers; the others only vote.
    pub(crate) candidates: u8,
    pub(crate) term_max: u64,
    pub(crate) entries_max: u64,
    pub(crate) proposals: u8,
    pub(crate) crashes: u8,
    pub(crate) transfers: u8,
    pub(crate) beats: u8,
    /// Changes of members, in this order, each asked of whoever leads.
    pub(crate) changes: &'static [&'static [MemberChange]],
    pub(crate) transition: Transition,
    pub(crate) pre_vote: bool,
    pub(crate) slow_disks: bool,
    /// Logs that are cut, each up to what is applied.
    pub(crate) compactions: u8,
    /// Reads, asked of whoever leads.
    pub(crate) reads: u8,
    pub(crate) read_mode: ReadMode,
    /// The last voter is a witness.
    pub(crate) has_witness: bool,
    /// The group may rest.
    pub(crate) may_rest: bool,
    /// Times that ticks may pass; 0 where time is forgotten.
    pub(crate) passes: u64,
    pub(crate) begin: Begin,
}

impl Bounds {
    pub(crate) fn options(&self, node: u8) -> Options {
        let is_timed = self.passes > 0;
        let has_leases = self.read_mode == ReadMode::Lease;
        let timers = (SHORT_ELECTION_TICKS, SHORT_HEARTBEAT_TICKS);
        let (election, heartbeat) = if is_timed { timers } else { (ELECTION.0, HEARTBEAT.0) };
        Options {
            election_timeout_ticks: election,
            heartbeat_interval_ticks: heartbeat,
            write_stall_ticks_max: u64::MAX,
            pre_vote: self.pre_vote,
            check_quorum: self.pre_vote || has_leases,
            lease_drift_ppm: has_leases.then_some(0),
            quiesce_after_ticks: self.may_rest.then_some(1),
            is_witness: self.has_witness && u64::from(node) + 1 == self.voters,
            log_tail_kept: 0,
            ..Options::new(NodeId(u64::from(node) + 1), 0)
        }
    }

    pub(crate) fn configuration(&self) -> Configuration {
        let witnesses = self.has_witness.then_some(NodeId(self.voters));
        let has_lease = matches!(self.read_mode, ReadMode::LeaseGuard { .. });
        Configuration {
            witnesses: witnesses.into_iter().collect(),
            lease: has_lease.then_some(LEASE),
            ..Configuration::of_voters((1..=self.voters).map(NodeId))
        }
    }

    /// When the world begins: the nodes have promised nothing that is not over.
    pub(crate) fn begins_at(&self) -> Tick {
        Tick(if self.read_mode == ReadMode::Lease { SHORT_ELECTION_TICKS } else { 0 })
    }

    /// The time after `now`, if it may come: one at which something ends that rests on clocks.
    pub(crate) fn time_after(&self, now: Tick) -> Option<Tick> {
        // A lease is half of the election timeout.
        let has_leases = self.read_mode == ReadMode::Lease;
        let ticks = if has_leases { SHORT_ELECTION_TICKS / 2 } else { 1 };
        let end = self.begins_at().after(ticks * self.passes);
        Some(now.after(ticks)).filter(|next| *next <= end)
    }

    /// Whether a message is let into the network.
    pub(crate) fn carries(&self, message: &Message) -> bool {
        let is_counted = self.beats > 0;
        match message.body {
            // One that tells nothing changes only the time at which somebody was heard.
            Body::Heartbeat { commit_index, round } => {
                round > 0 || is_counted && commit_index.0 > 0
            }
            Body::HeartbeatResponse { round, .. } => round > 0 || is_counted,
            Body::PreVote { .. }
            | Body::PreVoteResponse { .. }
            | Body::RequestVote { .. }
            | Body::RequestVoteResponse { .. }
            | Body::AppendEntries { .. }
            | Body::CommitIndex { .. }
            | Body::AppendEntriesResponse(_)
            | Body::InstallSnapshot { .. }
            | Body::InstallSnapshotResponse { .. }
            | Body::Quiesce { .. }
            | Body::TimeoutNow { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexResponse { .. }
            | Body::Pull { .. }
            | Body::PullResponse { .. }
            | Body::Removed { .. } => true,
        }
    }

    pub(crate) fn budget(&self) -> Budget {
        Budget {
            proposals: self.proposals,
            crashes: self.crashes,
            transfers: self.transfers,
            beats: self.beats,
            changes: u8::try_from(self.changes.len()).unwrap_or(u8::MAX),
            compactions: self.compactions,
            reads: self.reads,
        }
    }

    /// The ways in which the disk may behave in a step that writes.
    pub(crate) fn writes(&self, budget: Budget) -> &'static [Writes] {
        match (self.slow_disks, budget.crashes) {
            (true, _) => &[Writes::Wait],
            (false, 0) => &[Writes::Land],
            (false, _) => &[Writes::Land, Writes::CrashBefore],
        }
    }
}
