//! What a node knows of itself, for anyone who asks, without disturbing the worker.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use raft::{LogIndex, NodeId, Term};

use crate::histogram::{DISK_BOUNDS_US, Histogram, HistogramView};
use crate::peer_traffic::PeerTraffic;

/// A node's part in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows, or looks for, a leader.
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// One group on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// This node.
    pub node_id: NodeId,
    /// Its part.
    pub role: Role,
    /// Its current term.
    pub term: Term,
    /// The leader that it knows of.
    pub leader_id: Option<NodeId>,
    /// What it knows to be committed.
    pub commit_index: LogIndex,
    /// What its state machine includes.
    pub applied_index: LogIndex,
    /// Where its log ends.
    pub last_index: LogIndex,
    /// Where its log begins: the last entry that only a snapshot has.
    pub snapshot_index: LogIndex,
    /// Whether it is a member that does not vote.
    pub is_learner: bool,
    /// How often the leader that this node knows of has changed since it started.
    pub leader_changes: u64,
    /// On a leader: voters whose lost log nobody might notice yet ([`raft::Status::unguarded`]); 0
    /// in a group of one, which has nobody to notice it.
    pub unguarded_voters: usize,
}

/// The status, shared between the worker that writes it and all who read it.
#[derive(Debug)]
pub(crate) struct SharedStatus {
    status: Mutex<GroupStatus>,
    /// Apart from the rest, since the applier moves it and reads poll it.
    applied_index: AtomicU64,
    /// Reads wait for the applier: it should wake the worker.
    reads_wait: AtomicBool,
}

impl SharedStatus {
    pub(crate) fn new(node_id: NodeId, applied: LogIndex) -> Self {
        let status = GroupStatus {
            node_id,
            role: Role::Follower,
            term: Term(0),
            leader_id: None,
            commit_index: LogIndex(0),
            applied_index: applied,
            last_index: LogIndex(0),
            snapshot_index: LogIndex(0),
            is_learner: false,
            leader_changes: 0,
            unguarded_voters: 0,
        };
        Self {
            status: Mutex::new(status),
            applied_index: AtomicU64::new(applied.0),
            reads_wait: AtomicBool::new(false),
        }
    }

    pub(crate) fn read(&self) -> GroupStatus {
        let mut status = *self.status.lock();
        status.applied_index = self.applied();
        status
    }

    pub(crate) fn write(&self, status: GroupStatus) {
        *self.status.lock() = status;
    }

    // The applier writes the index and then looks for reads; the worker notes a read and then looks
    // at the index. In the one order of `SeqCst` at least one of them sees the other, so no read is
    // forgotten.

    pub(crate) fn applied(&self) -> LogIndex {
        LogIndex(self.applied_index.load(Ordering::SeqCst))
    }

    pub(crate) fn set_applied(&self, index: LogIndex) {
        self.applied_index.store(index.0, Ordering::SeqCst);
    }

    pub(crate) fn note_waiting_reads(&self) {
        self.reads_wait.store(true, Ordering::SeqCst);
    }

    pub(crate) fn take_waiting_reads(&self) -> bool {
        self.reads_wait.swap(false, Ordering::SeqCst)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the start of the host.
        #[derive(Debug)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
            /// How long the batches of the log took, each with one fdatasync.
            pub log_sync_times: Histogram,
            /// Bytes to and from each peer.
            pub peers: PeerTraffic,
        }

        impl Default for Counters {
            fn default() -> Self {
                Self {
                    $($name: AtomicU64::new(0),)*
                    log_sync_times: Histogram::new(&DISK_BOUNDS_US),
                    peers: PeerTraffic::default(),
                }
            }
        }

        /// [`Counters`] at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CountersView {
            $($(#[$doc])* pub $name: u64,)*
            /// How long the batches of the log took, each with one fdatasync.
            pub log_sync_times: HistogramView,
        }

        impl Counters {
            /// All counts, each read once.
            #[must_use]
            pub fn view(&self) -> CountersView {
                CountersView {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    log_sync_times: self.log_sync_times.view(),
                }
            }
        }
    };
}
counters! {
    /// Frames that came and were taken.
    frames_received,
    /// Bytes of those.
    frame_bytes_received,
    /// Frames that were handed to the network.
    frames_sent,
    /// Bytes of those.
    frame_bytes_sent,
    /// Frames that the network would not take: the peer is slow or away.
    frames_dropped,
    /// Frames that were refused: damaged, of another cluster, replayed, of another version.
    frames_refused,
    /// Messages to groups that this node does not have.
    messages_for_unknown_groups,
    /// Batches that the log wrote, each with one fdatasync.
    log_syncs,
    /// Bytes of the records in them.
    log_bytes,
    /// Writes of groups in those batches.
    log_writes,
    /// Commands that clients of this node proposed.
    proposals,
    /// Proposals that failed or timed out.
    proposals_failed,
    /// Entries that were applied.
    entries_applied,
    /// Batches that were applied.
    apply_batches,
    /// Linearizable reads that were confirmed.
    reads_confirmed,
    /// Linearizable reads that failed.
    reads_failed,
    /// Rounds of linearizable reads that had to be made again, and reads that timed out.
    reads_slow,
    /// Times that a follower of a group led here did not keep up.
    slow_follower_notices,
    /// Snapshots that were sent whole.
    snapshots_sent,
    /// Snapshots that were installed.
    snapshots_installed,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}
