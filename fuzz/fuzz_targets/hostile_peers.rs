//! Any sequence of inputs from hostile peers. The body is a module of the tests of crate `raft`.
#![no_main]

#[path = "../../crates/raft/tests/cluster/mod.rs"]
mod cluster;
#[path = "../../crates/raft/tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::run(data));
