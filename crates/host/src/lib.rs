//! Many Raft groups on few threads.
//!
//! A [`Host`] owns the groups of one node and everything between the protocol and the machine:
//!
//! ```text
//!  clients ──► handle ──► worker ──► wal writer ──► (durable) ──► worker ──► applier ──► replies
//!                          │  ▲                                     │
//!                          ▼  └── frames from peers                 └──► frames to peers
//!                        bulk: old entries, snapshots out and in
//! ```
//!
//! Each stage is a value with a `step` that takes all that waits for it, does it, and hands on: so
//! a loaded node works in large batches and a quiet one adds no delay. In a process every stage has
//! a thread ([`Host::start`]); in the simulator one thread calls `step` in an order that comes from
//! a seed ([`Stages`]). No stage holds a lock while it waits for a disk or a network.
//!
//! A replicated service implements [`StateMachine`]; its clients use a [`GroupHandle`].

mod applier;
mod beginning;
mod bulk;
#[cfg(test)]
mod bulk_tests;
mod caller;
mod calls;
mod envelope;
mod errands;
mod errors;
mod frame;
mod group;
mod handle;
mod histogram;
mod incarnation;
mod incoming;
mod inspect;
mod liveness;
mod mailbox;
mod members;
mod membership;
mod messages;
mod options;
mod outbox;
mod outgoing;
mod peer_traffic;
mod peers;
mod proposals;
mod reads;
mod receiver;
mod records;
mod recovery;
mod stages;
mod staging;
mod state_machine;
mod status;
mod threads;
#[cfg(test)]
mod transfer_tests;
pub mod transport;
mod undated;
mod waiters;
mod wal_writer;
mod worker;

pub use caller::Caller;
pub use errands::{GroupReport, MemberReport};
pub use errors::{
    CallError, ChangeError, Fatal, ProposeError, ReadError, StartError, TransferError,
};
pub use frame::{FRAME_VERSION, FRAME_VERSION_OLDEST, FrameFault, frame_version};
pub use handle::{CallTarget, GroupHandle};
pub use histogram::{
    BOUNDS_MAX, DISK_BOUNDS_US, Histogram, HistogramView, REQUEST_BOUNDS_US, doubled,
};
pub use inspect::{Inspected, inspect};
pub use members::{Goal, MemberAttributes};
pub use options::{
    CallContext, CallHandler, CallReply, HostOptions, Observer, PeerAddresses, World,
};
pub use peer_traffic::{PeerTraffic, PeerView};
pub use peers::GroupConfiguration;
pub use raft::{ReadMode, Staleness};
pub use receiver::Receiver;
pub use recovery::{ForceError, ForcedSurvivors, force_survivors};
pub use stages::{GroupSetup, Stage, Stages};
pub use state_machine::{CommittedEntry, SnapshotSource, StateMachine};
pub use status::{Counters, CountersView, GroupStatus, Role};
pub use threads::Host;
pub use wal::GroupId;
