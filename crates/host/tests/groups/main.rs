//! Groups of hosts in one thread, on virtual time: members, reads, and rest.

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod lost_log;
mod reads;
mod removal;
mod rest;
