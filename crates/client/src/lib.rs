//! What `flotilla ctl` and `flotilla bench` do, over the public etcd v3 API alone: it works with
//! any etcd v3 server, and knows nothing of how Flotilla is built.
//!
//! [`ctl`] looks at a cluster and its keys, [`mod@bench`] measures one. Both write what they have
//! to say to a writer that the caller hands in, as text for people or as JSON for programs.

pub mod bench;
mod connect;
pub mod ctl;
mod errors;
mod table;
mod tls;

pub use connect::{EndpointFault, Endpoints, User};
pub use errors::ClientError;
pub use tls::TlsOptions;
