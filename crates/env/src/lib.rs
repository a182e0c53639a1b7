//! The world that Flotilla runs in, as four traits: [`Disk`], [`Clock`], [`Net`] and [`Entropy`].
//!
//! Everything below the sockets of the API reaches the world through these. [`os`] is the real
//! one; [`mem`] is one with virtual time that lives in memory, loses what was not synced when a
//! machine crashes, and does the same thing twice when it is given the same seed.

mod clock;
mod disk;
mod entropy;
pub mod mem;
mod net;
pub mod os;

pub use clock::{Clock, Moment};
pub use disk::{Disk, DiskLock, File, OpenMode};
pub use entropy::{Entropy, SplitMix};
pub use net::Net;
