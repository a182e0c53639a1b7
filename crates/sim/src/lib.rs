//! The deterministic world: whole clusters on virtual time, in one thread, from one seed.
//!
//! Two kinds of worlds. A [`World`] runs whole hosts, with their logs and stores, as they ship: it
//! owns a clock that stands still, disks and a network in memory, and the stages of every node
//! ([`host::Stages`]). The handlers of the etcd API are called in it without sockets
//! ([`server::InProcess`]). A [`core::CoreWorld`] runs the protocol alone, a thousand times faster
//! than time. In both a seed decides everything that is left to chance, so a run is a function of
//! its seed: the same seed gives the same [`Trace`], to the last event, and a failure is found
//! again by naming it.
//!
//! - [`chaos`]: faults of every kind, clients, watchers, and what is checked; `core` has its own.
//! - [`history`]: is what clients saw explained by one order?
//! - [`runner`]: seeds, one after the other; a failing one is made short.
//! - [`picture`], [`stories`]: what happened, as a page; classic stories by name.
//! - [`command`]: `flotilla sim`.

mod census;
pub mod chaos;
mod clients;
pub mod command;
pub mod core;
mod doors;
mod failure;
pub mod history;
mod leases;
pub mod picture;
pub mod runner;
pub mod stores;
pub mod stories;
mod trace;
mod watchers;
mod world;

pub use census::Census;
pub use failure::{Failure, Place, caught};
pub use trace::Trace;
pub use world::{Ending, Machines, NoStart, Observers, World, WorldOptions, address_of};
