//! Members of a group as a host deals with them: lost logs, removal, witnesses.

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod lost_log;
