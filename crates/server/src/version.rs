//! What this server says it is.

/// The version of etcd whose protocol is served. Kubernetes reads it as a semantic version and uses
/// progress requests of a watch only from 3.4.31 on, without 3.5.0 to 3.5.12.
pub const ETCD_VERSION: &str = "3.6.5";
/// The same without the last part, as etcd gives the versions of cluster and storage.
pub const ETCD_CLUSTER_VERSION: &str = "3.6.0";
/// The version of this program.
pub const FLOTILLA_VERSION: &str = env!("CARGO_PKG_VERSION");
