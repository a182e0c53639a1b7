//! The etcd data model as a replicated state machine.
//!
//! [`StoreMachine`] is the machine that applies committed [`Command`]s; [`Store`] is the handle for
//! everybody else, to read and to watch. An MVCC store is a log ordered by revision, so that is how
//! it is kept: values lie in the segments of a [`seglog`], and an ordered index in memory maps a
//! key to its versions. Apply is a pure function of state and entry; when leases expire is decided
//! by the [`Lessor`] of the leader, outside of it.
//!
//! - `request`, `response`, `error`: etcd's messages as plain values; `validate`: what can be
//!   checked without the state.
//! - `execute`: what a command does, as a plan; `view`: what a read sees; `state`: the state, and
//!   what a log record does to it.
//! - `auth`: who may do what.
//! - `machine`: apply; `generation`, `checkpoint`, `snapshot`: the files; `sweep`, `mover`: the
//!   work behind a compaction.
//! - `export`, `import`: all of it as of one moment, for backups, and the way back.
//! - `watch`: who watches what.
//!
//! This crate knows neither Raft nor protobuf nor a runtime.
#![forbid(unsafe_code)]

mod auth;
mod batch;
mod checkpoint;
mod codec;
mod error;
mod execute;
mod export;
mod generation;
mod hash;
mod import;
mod index;
mod key_range;
mod lessor;
mod machine;
mod measures;
mod mover;
mod options;
mod request;
mod response;
mod snapshot;
mod snapshot_check;
mod state;
mod store;
mod sweep;
mod txn_keys;
mod unwritten;
mod validate;
mod view;
mod watch;

pub use auth::{
    Access, AuthCommand, AuthStatus, PasswordHash, Permission, Principal, ROOT, Standing,
};
pub use error::RequestError;
pub use export::{ExportedTables, ExportedUser, ExportedVersion};
pub use lessor::{LeaseRemaining, Lessor};
pub use machine::StoreMachine;
pub use measures::{Measures, Outcomes, SLOW};
pub use options::StoreOptions;
pub use request::*;
pub use response::*;
pub use store::{HashKv, LeaseChange, LeaseChanges, LeaseInfo, Store, StoreStatus};
pub use validate::{
    LEASE_TTL_MAX, TXN_DEPTH_MAX, check_command, check_delete_range, check_lease_grant, check_put,
    check_range, check_txn, is_read_only_txn, is_serializable_txn,
};
pub use watch::{
    EventRef, OnReady, WatchCreateRequest, WatchEvents, WatchMessage, WatchRejection, WatchStream,
};
