//! The Raft protocol of one group: no IO, no clock, values in and values out.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
