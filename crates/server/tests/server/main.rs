//! Whole members in this process, seen through the generated clients.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod auth;
mod cluster;
mod common;
mod gateway;
mod recipes;
mod single;
mod tls;
