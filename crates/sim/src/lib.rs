//! The deterministic world: whole hosts, with their logs and stores, on virtual time, in one
//! thread.
//!
//! A [`World`] owns a clock that stands still, disks and a network in memory, and the stages of
//! every node ([`host::Stages`]). A seed decides which stage runs next, how long each frame takes,
//! and what a crash leaves on a disk. So a run is a function of its seed: the same seed gives the
//! same [`Trace`], to the last event, and a failure is found again by naming it.

pub mod history;
mod trace;
mod world;

pub use trace::Trace;
pub use world::{Machines, World, WorldOptions};
