//! The gRPC services. Each is a view of one [`Member`](crate::member::Member) and holds no state of
//! its own.

pub(crate) mod auth;
pub(crate) mod cluster;
pub(crate) mod election;
pub(crate) mod health;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod lock;
pub(crate) mod maintenance;
mod range_stream;
mod recipe;
pub(crate) mod watch;
