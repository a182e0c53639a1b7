//! Backups in etcd's own format: a bbolt file with the buckets that etcd's tools look into, and its
//! SHA-256 behind it. So every tool that takes one of etcd's backups takes ours, an etcd can be
//! started from one, and a cluster of ours from one of etcd's.

mod read;
mod restore;
mod write;

use prost::Message;

pub use read::BackupStatus;
pub use restore::{RestoreError, RestoreOptions, Restored, restore};
pub(crate) use write::{Backup, write};

/// etcd's record of a lease.
#[derive(Clone, PartialEq, Message)]
struct LeaseRecord {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl: i64,
    #[prost(int64, tag = "3")]
    remaining_ttl: i64,
}
