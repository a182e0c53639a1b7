//! Whole members in this process, seen through the generated clients.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod auth;
mod certificates;
mod cluster;
mod common;
mod corruption;
mod gateway;
mod http2;
mod jwt;
mod metrics;
mod operators;
mod peer_tls;
mod recipes;
mod single;
mod tls;
mod upkeep;
mod users;
mod watchers;
