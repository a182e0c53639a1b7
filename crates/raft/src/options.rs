//! Every setting and every limit of a [`Node`](crate::Node), and what must hold between them.

use core::fmt;

use crate::{Incarnation, NodeId};

/// The settings of one node. Times are in ticks; the host decides how long a tick is. The defaults
/// of [`Options::new`] suit a tick of one millisecond and a network within one region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// This node.
    pub id: NodeId,
    /// This node's disk: a random number that was drawn when the data folder was made and is kept
    /// in it, so that a disk that was lost is told from one that is only late. Unknown by default.
    pub incarnation: Incarnation,
    /// This node holds no commands and has no state machine: it is, or will be added as, a witness.
    /// The host says so from the beginning, since it takes part before it knows any configuration.
    pub is_witness: bool,
    /// Chooses the random part of election timeouts and the names of forwarded reads. Must differ
    /// between the nodes of a group and between two lives of a node.
    pub seed: u64,
    /// How long a tick is, in microseconds. Only leases in the log rest on it, whose terms are of
    /// the whole group ([`Configuration::lease`](crate::Configuration::lease)).
    pub tick_us: u64,
    /// A follower that hears nothing campaigns after this long, up to twice as long
    /// (Raft §5.2). Also the time in which a leader must hear from a quorum, and a transfer of
    /// leadership must succeed.
    pub election_timeout_ticks: u64,
    /// The leader's heartbeat. Well below the election timeout.
    pub heartbeat_interval_ticks: u64,
    /// This node waits so much longer before it campaigns, so that others are elected where they
    /// can be: a low priority that it alone knows of. Halved after each campaign that led to
    /// nothing. Priorities that all know, and by which leaders hand over, are the group's
    /// ([`Configuration::priorities`](crate::Configuration::priorities)).
    pub campaign_delay_ticks: u64,
    /// The first timeout of a life, from `.0` to `.1` ticks, in place of the ordinary one: short
    /// for a new group that has nobody to wait for, long for nodes that all begin together.
    pub first_election_ticks: Option<(u64, u64)>,
    /// A leader that loses its leadership waits so much longer before it campaigns again: what made
    /// the others lose it may not be over.
    pub reelection_wait_ticks: u64,
    /// A follower that lacks what was committed a heartbeat before, for so long, is slow, and the
    /// host is told ([`Output::slow_followers`](crate::Output::slow_followers)); half as long
    /// without a lag, and it is not. With check-quorum, a change of members that waits for a voter
    /// which answers and has not taken a step for so long is given up.
    pub slow_follower_ticks: u64,
    /// Each election that nobody wins doubles the random part of the next timeout, up to this many
    /// times: under contention nodes try further and further apart.
    pub election_backoff_doublings_max: u32,
    /// A leader that has had something to write for so long, and nothing has become durable, steps
    /// down and does not campaign until something does. [`u64::MAX`] to wait for ever.
    pub write_stall_ticks_max: u64,
    /// Ask "would you vote for me?" before a campaign (thesis §9.6).
    pub pre_vote: bool,
    /// A leader that does not hear from a quorum steps down, and a follower that hears from a
    /// leader does not vote (thesis §6.2, §4.2.3).
    pub check_quorum: bool,
    /// Allow reads on a lease: of any two clocks in the group one runs at most this many parts in a
    /// million faster than the other. Must be set in the whole group or nowhere, with the same
    /// election timeout, and takes check-quorum. The host must read the clock after a message has
    /// come, not before.
    pub lease_drift_ppm: Option<u32>,
    /// A leader that was asked for nothing for so long lets the group rest; `None` never. The host
    /// must then watch the other nodes itself, and hand in
    /// [`Input::PeerLost`](crate::Input::PeerLost) when one is not heard for an election timeout.
    pub quiesce_after_ticks: Option<u64>,
    /// Bytes of entries in one AppendEntries; a larger single entry travels alone.
    pub append_batch_bytes_max: usize,
    /// AppendEntries on their way to one follower, unanswered.
    pub window_messages_max: usize,
    /// Bytes of entries on their way to one follower, unanswered.
    pub window_bytes_max: usize,
    /// Bytes of entries that arrived before what they follow, kept for a heartbeat's time, so that
    /// messages that overtake each other are not taken for lost ones. 0, to refuse them at once,
    /// where all messages come over one ordered connection.
    pub reorder_bytes_max: usize,
    /// Bytes that a leader accepts and has not committed; then proposals are
    /// [`Overloaded`](crate::ProposeError::Overloaded).
    pub uncommitted_bytes_max: usize,
    /// Reads that wait in this node, for a round, an answer or a write; then they are refused.
    pub pending_reads_max: usize,
    /// Bytes of committed entries that are handed out and not yet applied.
    pub apply_window_bytes_max: usize,
    /// Bytes of recent entries kept in memory for followers; older ones are fetched from the log.
    pub cache_bytes_max: usize,
    /// Entries before the host's snapshot that a compaction leaves in the log, so that a slow
    /// follower needs no snapshot.
    pub log_tail_kept: u64,
    /// A leader's compaction leaves in the log what its slowest member lacks as well, up to so many
    /// entries before the host's snapshot; 0 for no more than the tail. Members that were silent
    /// for [`slow_follower_ticks`](Self::slow_follower_ticks) are not waited for, nor are
    /// witnesses, which take the log's mark for a snapshot. Followers know nothing of each other,
    /// and keep the tail: whoever leads next may lack what the last leader had kept.
    pub log_kept_for_slowest_max: u64,
    /// A learner that lacks no more than this of the log may be promoted, and a voter counts as one
    /// that holds the log. Lag is measured in memory: what is not in the cache is too far back.
    pub promotion_lag_bytes_max: usize,
    /// Fill [`Output::events`](crate::Output::events).
    pub record_events: bool,
}

impl Options {
    /// Good settings for ticks of one millisecond.
    #[must_use]
    pub fn new(id: NodeId, seed: u64) -> Self {
        Self {
            id,
            incarnation: Incarnation::default(),
            is_witness: false,
            seed,
            tick_us: 1000,
            election_timeout_ticks: 1000,
            heartbeat_interval_ticks: 100,
            campaign_delay_ticks: 0,
            first_election_ticks: None,
            reelection_wait_ticks: 0,
            slow_follower_ticks: 10_000,
            election_backoff_doublings_max: 3,
            write_stall_ticks_max: 10_000,
            pre_vote: true,
            check_quorum: true,
            lease_drift_ppm: None,
            quiesce_after_ticks: None,
            append_batch_bytes_max: 512 << 10,
            window_messages_max: 128,
            window_bytes_max: 16 << 20,
            reorder_bytes_max: 0,
            uncommitted_bytes_max: 64 << 20,
            pending_reads_max: 1 << 16,
            apply_window_bytes_max: 32 << 20,
            cache_bytes_max: 4 << 20,
            log_tail_kept: 10_000,
            log_kept_for_slowest_max: 0,
            promotion_lag_bytes_max: 1 << 20,
            record_events: false,
        }
    }

    /// Checks the limits and the relations between them.
    ///
    /// # Errors
    /// The first relation that does not hold.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let positive = [
            ("tick_us", self.tick_us > 0),
            ("heartbeat_interval_ticks", self.heartbeat_interval_ticks > 0),
            ("write_stall_ticks_max", self.write_stall_ticks_max > 0),
            ("append_batch_bytes_max", self.append_batch_bytes_max > 0),
            ("window_messages_max", self.window_messages_max > 0),
            ("window_bytes_max", self.window_bytes_max > 0),
            ("uncommitted_bytes_max", self.uncommitted_bytes_max > 0),
            ("pending_reads_max", self.pending_reads_max > 0),
            ("apply_window_bytes_max", self.apply_window_bytes_max > 0),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, is_positive)| !is_positive) {
            return Err(OptionsError::Zero { name });
        }
        // One lost heartbeat must not start an election.
        if self.election_timeout_ticks < self.heartbeat_interval_ticks.saturating_mul(2) {
            return Err(OptionsError::ElectionTimeoutTooShort {
                election_timeout_ticks: self.election_timeout_ticks,
                heartbeat_interval_ticks: self.heartbeat_interval_ticks,
            });
        }
        if let Some((min, max)) = self.first_election_ticks
            && (min > max || max > u64::MAX / 4)
        {
            return Err(OptionsError::FirstElection { min, max });
        }
        // Tick arithmetic saturates; a timeout near the end of time would never fire.
        if self.election_timeout_ticks > u64::MAX / 4 {
            return Err(OptionsError::ElectionTimeoutTooLong {
                election_timeout_ticks: self.election_timeout_ticks,
            });
        }
        if self.lease_drift_ppm.is_some() {
            if !self.check_quorum {
                return Err(OptionsError::LeaseWithoutCheckQuorum);
            }
            if self.lease_ticks().is_none_or(|ticks| ticks <= self.heartbeat_interval_ticks) {
                return Err(OptionsError::LeaseTooShort {
                    election_timeout_ticks: self.election_timeout_ticks,
                });
            }
        }
        Ok(())
    }
}

/// Why a node cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OptionsError {
    /// A limit is zero, so that nothing could ever move.
    Zero {
        /// The field of [`Options`].
        name: &'static str,
    },
    /// The election timeout is less than two heartbeats.
    ElectionTimeoutTooShort {
        /// As given.
        election_timeout_ticks: u64,
        /// As given.
        heartbeat_interval_ticks: u64,
    },
    /// The election timeout is beyond any clock.
    ElectionTimeoutTooLong {
        /// As given.
        election_timeout_ticks: u64,
    },
    /// The first election timeout is from more to less, or beyond any clock.
    FirstElection {
        /// As given.
        min: u64,
        /// As given.
        max: u64,
    },
    /// The election timeout is to change, and others read on leases that rest on it
    /// ([`Options::lease_drift_ppm`]).
    LeaseRestsOnTimeout,
    /// Leases rest on followers that hold on to their leader.
    LeaseWithoutCheckQuorum,
    /// A lease would be over before the next heartbeat extends it.
    LeaseTooShort {
        /// As given.
        election_timeout_ticks: u64,
    },
    /// What the log gave back contradicts itself: the disk lost something, or the host mixed
    /// groups. Nothing may be acknowledged from such a state.
    Restored(RestoredFault),
}

/// How a [`Restored`](crate::Restored) contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RestoredFault {
    /// The last entry is before the mark.
    LastBeforeMark,
    /// The current term is below the term of the last entry.
    TermBelowLog,
    /// The term runs are not in order, or do not end in the term of the last entry.
    TermRuns,
    /// The entries are not consecutive, do not end at the last entry, or contradict the term runs.
    Entries,
    /// A configuration is out of order, outside the log, or has a node both as voter and learner.
    Configurations,
    /// More was applied than the log holds: the log lost what a quorum may have counted.
    AppliedBeyondLog,
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { name } => write!(f, "option {name} must not be zero"),
            Self::ElectionTimeoutTooShort { election_timeout_ticks, heartbeat_interval_ticks } => {
                write!(
                    f,
                    "election timeout of {election_timeout_ticks} ticks is less than two heartbeats \
                     of {heartbeat_interval_ticks} ticks"
                )
            }
            Self::ElectionTimeoutTooLong { election_timeout_ticks } => {
                write!(f, "election timeout of {election_timeout_ticks} ticks never ends")
            }
            Self::FirstElection { min, max } => {
                write!(f, "a first election timeout of {min} to {max} ticks is none")
            }
            Self::LeaseRestsOnTimeout => {
                f.write_str("leases of the whole group rest on the election timeout")
            }
            Self::LeaseWithoutCheckQuorum => f.write_str("lease reads take check-quorum"),
            Self::LeaseTooShort { election_timeout_ticks } => {
                write!(
                    f,
                    "with an election timeout of {election_timeout_ticks} ticks a lease would be \
                     over before the next heartbeat"
                )
            }
            Self::Restored(fault) => write!(f, "restored state contradicts itself: {fault}"),
        }
    }
}

impl fmt::Display for RestoredFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LastBeforeMark => "the last entry is before the snapshot mark",
            Self::TermBelowLog => "the current term is below the term of the last entry",
            Self::TermRuns => "the term runs do not describe the log",
            Self::Entries => "the entries are not the tail of the log",
            Self::Configurations => "the configurations do not fit the log",
            Self::AppliedBeyondLog => "more is applied than the log holds",
        })
    }
}

impl core::error::Error for OptionsError {}
