//! The threads that serve clients.

use std::io;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

/// A runtime with half the machine's cores, and at least one. The other half is for the log, for
/// apply and for peers, whose threads have work whenever these have: with a thread per core here,
/// they would take turns on the same cores and pay for each turn.
///
/// A single thread takes its tasks in the order in which they were woken, so that all answers of a
/// batch are written before the connection is flushed; several threads run what was woken last
/// first.
pub(crate) fn build() -> io::Result<Runtime> {
    let cores = available_parallelism().map_or(2, usize::from);
    let mut builder = match cores / 2 {
        0 | 1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads((cores / 2).max(1)).enable_all().build()
}
