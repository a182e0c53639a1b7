//! The Raft protocol of one group: no IO, no clock, values in and values out.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod apply;
mod commit;
mod configuration;
mod election;
mod entry;
mod fault;
mod follower;
mod input;
#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
mod jitter;
mod log;
mod message;
mod node;
mod options;
mod outbox;
mod output;
mod persist;
mod progress;
mod queue;
pub mod quorum;
mod read_index;
mod refusal;
mod replication;
mod restore;
mod restored;
mod role;
mod snapshot;
mod step;
mod trace;
mod transfer;
mod types;

pub use entry::{Configuration, Entry, HardState, Payload, SnapshotMark};
pub use fault::{PeerFault, PeerFaults};
pub use input::Input;
pub use message::{AppendOutcome, Body, Message};
pub use node::{FollowerStatus, Node, Status};
pub use options::{Options, OptionsError, RestoredFault};
pub use output::{Fetch, MarkWrite, Output, Persist, PersistNumber, ReadOutcome, SendSnapshot};
pub use refusal::{ProposeError, TransferError};
pub use restored::Restored;
pub use role::Role;
pub use trace::{Event, VoteRefusal};
pub use types::{EntryId, LogIndex, NodeId, Term, Tick};
