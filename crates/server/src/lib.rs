//! The etcd v3 gRPC services and HTTP endpoints of one member.
//!
//! [`Server::start`] takes [`ServerOptions`], opens the data folder, starts the [`host`] with the
//! [`store`] on it, and serves clients on one port: gRPC over HTTP/2, and `/health`, `/livez`,
//! `/readyz`, `/version` and `/metrics` over HTTP/1 or 2. What it gives back is a
//! [`RunningServer`]. Several may run in one process. [`InProcess`] is the same services without
//! sockets, of a member whose host and store somebody else runs.
//!
//! ```text
//!            connection (hyper) ── dispatch ──┬── KV, Lease, Cluster, Maintenance, Auth
//!                                             ├── Watch ── store::WatchStream
//!                                             └── HTTP (axum)
//!  service ── Member::propose ──► host ──► (log, majority, apply) ──► answer
//!          ── Member::read_barrier ──► host ──► store.range
//! ```
//!
//! A write is one encoded command and one oneshot: the request's key and value go from the buffer
//! of the socket into the command, and nothing else is allocated or traced per request. Refusals
//! have etcd's codes and texts, from one table (`api_error.rs`).
//!
//! What it does not know: how entries are replicated ([`host`]), what they mean ([`store`]), and
//! what the command line looks like (`flotilla`).

mod addresses;
mod api_error;
mod audit;
mod authority;
mod backup;
mod bbolt;
mod budget;
mod compactor;
mod corruption;
mod counted;
mod descriptors;
mod dispatch;
mod downgrade;
mod errors;
mod gate;
mod http;
mod identity;
mod in_process;
mod join;
mod jwt;
mod leadership;
mod lessor_task;
mod listen;
mod member;
mod membership;
mod methods;
mod metrics;
mod options;
mod peer_call;
mod peer_probe;
mod peering;
mod plan;
mod rate;
mod ready;
mod recovery;
mod running;
mod segment_task;
mod server;
mod service;
mod serving;
mod sockets;
mod tls;
mod translate;
mod unary;
mod upkeep;
mod url;
mod version;

pub use backup::{BackupStatus, RestoreError, RestoreOptions, Restored, restore};
pub use compactor::AutoCompaction;
pub use errors::{ExitReason, OptionsError, StartError};
pub use in_process::{InProcess, MemberParts};
pub use join::JoinFault;
pub use leadership::Leadership;
pub use options::{ClusterState, LinearizableReads, QUOTA_BYTES_DEFAULT, ServerOptions};
pub use recovery::{ForcedCluster, ForcedMember, force_new_cluster};
pub use running::{RunningServer, ServerStatus};
pub use server::Server;
pub use tls::{TlsFault, TlsFiles, TlsProtocol, TlsVersion};
pub use url::{HttpUrl, UrlFault};
pub use version::{ETCD_CLUSTER_VERSION, ETCD_VERSION, FLOTILLA_VERSION};
