//! The door for reads: one request, and with each the choice of what it may rest on.
//!
//! - [`ReadIndex`](ReadMode::ReadIndex) sees every write that was acknowledged anywhere before
//!   it. Any node answers it, by a round of the leader, and it rests on messages alone.
//! - [`Lease`](ReadMode::Lease) sees the same. A leader answers at once; it rests on the promises
//!   of voters and on clocks that run alike.
//! - [`LeaseGuard`](ReadMode::LeaseGuard) sees the same. A leader answers at once; it rests on the
//!   log, which says how long others wait, and on clocks that run alike.
//! - [`Replied`](ReadMode::Replied) sees the same, but maybe not what another such read saw. It
//!   takes a round, and rests on the host's word about what clients were answered.
//! - [`AfterWrite`](ReadMode::AfterWrite) sees a write that the caller names. Any node answers it
//!   once that is committed there.
//! - [`Stale`](ReadMode::Stale) sees what this node has, at once, within bounds or not at all.
//!
//! A read that cannot be answered ends in a [`ReadError`], which says what to do. None of them says
//! anything about the data.
//!
//! Scripts: `testdata/read/`, `testdata/lease/`.

use core::fmt;

use crate::read_index::Reader;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{EntryId, Event, Limbo, LogIndex, Node, ReadOutcome, Term};

/// A read that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadRequest {
    /// The caller's name for the request; unique in the life of the node.
    pub context: u64,
    /// What the answer may rest on.
    pub mode: ReadMode,
}

impl ReadRequest {
    /// A linearizable read that rests on no clock.
    #[must_use]
    pub fn read_index(context: u64) -> Self {
        Self { context, mode: ReadMode::ReadIndex }
    }
}

/// What the answer to a read may rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadMode {
    /// Linearizable: the leader makes sure that it still leads (thesis §6.4).
    ReadIndex,
    /// Linearizable as far as clocks run alike: a leader whose lease runs answers at once
    /// ([`lease_drift_ppm`](crate::Options::lease_drift_ppm)); else as `ReadIndex`.
    Lease,
    /// As `ReadIndex`, but at the index up to which clients were answered
    /// ([`Input::Replied`](crate::Input::Replied)), so that nobody waits for what no client knows
    /// of yet. Not linearizable between readers: one may see a write that is not acknowledged yet,
    /// and the next, on another node, not.
    Replied,
    /// The state after a write, for a client that reads what it wrote, on whichever node.
    AfterWrite {
        /// Where the write was placed.
        index: LogIndex,
        /// In which term. If given, the answer is an error if the write was lost; if not, it only
        /// says that the index was reached.
        term: Option<Term>,
    },
    /// Linearizable as far as clocks run alike: a leader with a lease in the log answers at once
    /// ([`Configuration::lease`](crate::Configuration::lease)); else as `ReadIndex`, and the leader
    /// renews its lease.
    LeaseGuard {
        /// The caller looks at [`ReadPoint::limbo`], so that a new leader may answer before it
        /// commits. If not, there is none in the answer.
        checks_limbo: bool,
    },
    /// What this node has applied, if it is good enough; refused at once if it is not. Never
    /// linearizable.
    Stale(Staleness),
}

/// How old a stale read may be. The default allows anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Staleness {
    /// This index must be applied.
    pub at_least: LogIndex,
    /// No more entries than this may be known to be committed and not applied here. Known is what
    /// the leader has said; what has not reached this node does not count.
    pub lag_entries_max: Option<u64>,
    /// The leader must have been heard within so many ticks, or a quorum if this node leads. A
    /// leader that is deposed and does not know it counts as one for up to two election timeouts.
    pub silence_ticks_max: Option<u64>,
}

/// Where a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadPoint {
    /// The state must have applied all up to here; more does no harm.
    pub index: LogIndex,
    /// Entries behind the index that may be committed. The read is linearizable only if none of
    /// them could change what it returns; else ask again in another mode.
    pub limbo: Option<Limbo>,
}

impl ReadPoint {
    pub(crate) fn at(index: LogIndex) -> Self {
        Self { index, limbo: None }
    }
}

/// Why a read was not answered. It may be asked again, as another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadError {
    /// This node is a witness: it has no state to read.
    Witness,
    /// No leader is known, or the node that was taken for it does not lead.
    NoLeader,
    /// Leadership changed while the read was on its way.
    LeaderChanged,
    /// Nothing was heard for an election timeout: a message was lost, or the write does not come.
    TimedOut,
    /// Too many reads wait ([`pending_reads_max`](crate::Options::pending_reads_max)).
    Overloaded {
        /// How many.
        pending: usize,
    },
    /// The write was lost: another entry is, or will be, in its place.
    WriteLost {
        /// The newest entry that shows it.
        by: EntryId,
    },
    /// The log no longer tells the entry at this index from others: it was cut up to the mark.
    WriteForgotten {
        /// Where the log begins.
        mark: EntryId,
    },
    /// The state is older than the request allows.
    TooOld {
        /// This is applied.
        applied_index: LogIndex,
    },
    /// More is committed and not applied than the request allows.
    LagsBehind {
        /// So many entries.
        lag_entries: u64,
    },
    /// The leader, or a quorum, was not heard for longer than the request allows.
    Silence,
    /// A snapshot is about to replace the state.
    Installing,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Witness => f.write_str("a witness has nothing to read"),
            Self::NoLeader => f.write_str("no leader"),
            Self::LeaderChanged => f.write_str("leadership changed"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Overloaded { pending } => write!(f, "{pending} reads wait"),
            Self::WriteLost { by } => write!(f, "the write was lost to {by}"),
            Self::WriteForgotten { mark } => write!(f, "the log was cut up to {mark}"),
            Self::TooOld { applied_index } => write!(f, "only {applied_index} is applied"),
            Self::LagsBehind { lag_entries } => write!(f, "{lag_entries} entries behind"),
            Self::Silence => f.write_str("the leader is not heard"),
            Self::Installing => f.write_str("a snapshot is being installed"),
        }
    }
}

impl core::error::Error for ReadError {}

impl Node {
    pub(crate) fn queue_read(&mut self, request: ReadRequest) {
        let ReadRequest { context, mode } = request;
        if self.is_witness() {
            return self.decide_read(context, Err(ReadError::Witness));
        }
        let pending = self.pending_reads();
        if pending >= self.options.pending_reads_max {
            return self.decide_read(context, Err(ReadError::Overloaded { pending }));
        }
        match mode {
            ReadMode::Stale(bounds) => self.read_stale(context, bounds),
            ReadMode::AfterWrite { index, term } => self.read_after_write(context, index, term),
            ReadMode::Lease => match self.lease_index() {
                Some(index) => self.answer_on_lease(context, index),
                None => self.queue_round(context, false),
            },
            ReadMode::LeaseGuard { checks_limbo } => self.read_guarded(context, checks_limbo),
            ReadMode::ReadIndex => self.queue_round(context, false),
            ReadMode::Replied => self.queue_round(context, true),
        }
    }

    fn read_guarded(&mut self, context: u64, checks_limbo: bool) {
        let point = self.guarded_point();
        self.renew_guard();
        let is_whole =
            |point: &ReadPoint| checks_limbo || point.limbo.is_none() || bug(Bug::LimboIsNotTold);
        let Some(point) = point.filter(is_whole) else { return self.queue_round(context, false) };
        let ReadPoint { index, limbo } = point;
        self.record(|| Event::GuardedRead { index, limbo });
        self.output.reads.push(ReadOutcome { context, result: Ok(point) });
    }

    /// The next round of this leader, or the next question to it, is for this read as well.
    fn queue_round(&mut self, context: u64, replied: bool) {
        if !bug(Bug::SleepsThroughReads) {
            self.touch();
        }
        if let RoleState::Leader(leader) = &mut self.role {
            leader.reads.add(Reader::local(context, replied));
        } else if self.leader_id().is_some() {
            self.forwarded.add(context, replied);
        } else {
            self.decide_read(context, Err(ReadError::NoLeader));
        }
    }

    pub(crate) fn decide_read(&mut self, context: u64, result: Result<LogIndex, ReadError>) {
        let result = result.map(ReadPoint::at);
        self.output.reads.push(ReadOutcome { context, result });
    }

    pub(crate) fn pending_reads(&self) -> usize {
        let rounds = match &self.role {
            RoleState::Leader(leader) => leader.reads.count(),
            RoleState::Follower { .. }
            | RoleState::PreCandidate(_)
            | RoleState::Candidate { .. } => 0,
        };
        rounds + self.forwarded.count() + self.awaited.len()
    }
}
