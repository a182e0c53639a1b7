//! What a host is told at its start.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use env::{Clock, Disk, Entropy, Net};
use raft::{NodeId, ReadMode};
use wal::GroupId;

use crate::{Fatal, GroupStatus};

/// The world that a host runs in.
#[derive(Clone, Debug)]
pub struct World {
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Frames of the protocol. Their path carries nothing else, so that neither clients nor
    /// snapshots can hold up a heartbeat.
    pub net: Arc<dyn Net>,
    /// Frames with pieces of snapshots.
    pub bulk_net: Arc<dyn Net>,
    /// Dice.
    pub entropy: Arc<dyn Entropy>,
}

/// How a host behaves.
#[derive(Clone)]
pub struct HostOptions {
    /// This node.
    pub node_id: NodeId,
    /// The cluster; frames of another one are refused.
    pub cluster_id: u64,
    /// Where staged snapshots lie.
    pub data_dir: PathBuf,
    /// Threads that own groups; at least 1.
    pub worker_count: usize,
    /// Milliseconds between two heartbeats of a leader.
    pub heartbeat_interval_ms: u64,
    /// The shortest time without a leader after which a follower campaigns.
    pub election_timeout_ms: u64,
    /// A proposal or read that has no result by then fails.
    pub request_timeout_ms: u64,
    /// Entries after which the state machine is flushed and the log cut.
    pub snapshot_entry_count: u64,
    /// Bytes of entries after which the state machine is flushed and the log cut.
    pub snapshot_bytes: u64,
    /// Bytes of a snapshot in one frame: small beside a frame's limit, large beside its header.
    pub snapshot_chunk_bytes: u32,
    /// Entries that stay in the log behind a cut, so that a follower that was away for a moment
    /// needs no snapshot.
    pub log_tail_entry_count: u64,
    /// Bytes of each group's newest entries that stay in memory for slow followers.
    pub log_cache_bytes_max: usize,
    /// Committed entries that may wait for the applier before proposals are refused.
    pub apply_backlog_entries_max: u64,
    /// Largest command in bytes.
    pub command_bytes_max: usize,
    /// What [`GroupHandle::read_index`](crate::GroupHandle::read_index) may rest on. By default on
    /// messages alone ([`ReadMode::ReadIndex`]); a read may say otherwise for itself.
    pub linearizable_reads: ReadMode,
    /// Allows [`ReadMode::Lease`] ([`raft::Options::lease_drift_ppm`]): no round of messages for a
    /// read, as good as the clocks of the group's nodes are. In all nodes of a group or in none,
    /// with the same election timeout. [`ReadMode::LeaseGuard`] needs nothing here: its terms are
    /// in the group's configuration ([`raft::Configuration::lease`]).
    pub lease_drift_ppm: Option<u32>,
    /// A group that was asked for nothing for so long rests: it sends no heartbeats. The nodes then
    /// watch each other, with one small frame in each direction in a heartbeat's time however many
    /// groups there are; a node that is silent for an election timeout wakes the groups that it
    /// led. Worth it on nodes with many groups. `None`: groups never rest. Nodes that have it and
    /// nodes that have it not do not go together: a node that sends no such frames is taken for
    /// silent, and wakes groups for nothing.
    pub quiesce_after_ms: Option<u64>,
    /// The newest version of the peer protocol that is spoken, from
    /// [`FRAME_VERSION_OLDEST`](crate::FRAME_VERSION_OLDEST) to
    /// [`FRAME_VERSION`](crate::FRAME_VERSION), which is the default. With each peer the newest one
    /// is spoken that both speak, so this only matters where somebody wants to see a version before
    /// at work, or to keep a cluster fit for going back to it.
    pub peer_protocol_max: u8,
    /// Where members are reached of whom the configuration does not say it: those that this node
    /// was started with.
    pub seeds: PeerAddresses,
    /// Answers calls of other nodes' servers.
    pub call_handler: CallHandler,
    /// Hears of each change of role, term, leader or vote.
    pub observer: Observer,
    /// Hears that this node was removed from a group: it has no part in it any more.
    pub on_removed: Arc<dyn Fn(GroupId) + Send + Sync>,
    /// Hears that a group knows this node, a voter of it, by another log than the one it has: what
    /// it vouched for is lost, its word counts for nothing, and the process should end. Said again
    /// and again while it goes on.
    pub on_log_lost: Arc<dyn Fn(GroupId) + Send + Sync>,
    /// Hears of the fault that ended this host; the process should end.
    pub on_fatal: Arc<dyn Fn(Fatal) + Send + Sync>,
}

/// What a call comes with.
#[derive(Clone, Copy, Debug)]
pub struct CallContext {
    /// The node that asks.
    pub from: NodeId,
    /// The group that the call is about.
    pub group: GroupId,
}

/// Takes the answer to a call.
pub type CallReply = Box<dyn FnOnce(Bytes) + Send>;
/// Answers calls; may answer later, from any thread. Must not block.
pub type CallHandler = Arc<dyn Fn(CallContext, Bytes, CallReply) + Send + Sync>;
/// Hears of each change of role, term, leader or vote, from a worker's thread. Must not block.
pub type Observer = Arc<dyn Fn(GroupId, &GroupStatus) + Send + Sync>;

impl HostOptions {
    /// Options with etcd's times and defaults for everything else.
    #[must_use]
    pub fn new(node_id: NodeId, cluster_id: u64, data_dir: PathBuf) -> Self {
        Self {
            node_id,
            cluster_id,
            data_dir,
            worker_count: 1,
            heartbeat_interval_ms: 100,
            election_timeout_ms: 1000,
            request_timeout_ms: 7000,
            snapshot_entry_count: 10_000,
            snapshot_bytes: 64 << 20,
            snapshot_chunk_bytes: 256 << 10,
            log_tail_entry_count: 5_000,
            log_cache_bytes_max: 4 << 20,
            apply_backlog_entries_max: 5_000,
            command_bytes_max: 2 << 20,
            linearizable_reads: ReadMode::ReadIndex,
            lease_drift_ppm: None,
            quiesce_after_ms: None,
            peer_protocol_max: crate::FRAME_VERSION,
            seeds: PeerAddresses::new(),
            call_handler: Arc::new(|_, _, _| {}),
            observer: Arc::new(|_, _| {}),
            on_removed: Arc::new(|_| {}),
            on_log_lost: Arc::new(|_| {}),
            on_fatal: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for HostOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostOptions")
            .field("node_id", &self.node_id)
            .field("cluster_id", &self.cluster_id)
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// Where each peer is reached, as host:port, for the transport: any of these may answer.
pub type PeerAddresses = BTreeMap<NodeId, Vec<String>>;
