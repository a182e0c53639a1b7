//! The harness of the conformance tests: clusters of real processes on free ports, real clients.
//!
//! A [`Cluster`] is three `serve` processes of the binary that cargo built, or, with
//! `CONFORMANCE_TARGET=etcd`, of the `etcd` of this machine: the same tests against both tell
//! whether a failure is the server's or the test's. Nothing here waits a fixed time: everything is
//! asked for again until it is so, or until a deadline that names what did not happen.

pub mod audit;
mod clients;
mod cluster;
pub mod load;
mod ports;
mod secured;
pub mod storm;
mod target;
mod tools;

pub use clients::{ForeignClient, record};
pub use cluster::{Cluster, ClusterPlan};
pub use ports::free_ports_in_a_row;
pub use secured::{ROOT, ROOT_PASSWORD};
pub use target::Target;
pub use tools::{Etcdctl, python, skip};

use std::time::Duration;

use env::Clock;
use env::os::OsClock;

/// Whether the minute-long forms are wanted.
#[must_use]
pub fn long_form() -> bool {
    std::env::var_os("CONFORMANCE_LONG").is_some()
}

/// Whether a missing tool is a failure.
#[must_use]
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Asks again and again until the answer is there.
///
/// # Panics
/// It is not there in time; the message says what was waited for.
pub fn eventually<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let clock = OsClock::new();
    let deadline = clock.now().after(within);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock.now() < deadline, "{what}: not within {} s", within.as_secs());
        pause(Duration::from_millis(50));
    }
}

/// Lets time pass between two questions, or between two kills. Proves nothing by itself.
pub fn pause(duration: Duration) {
    let clock = OsClock::new();
    let until = clock.now().after(duration);
    while clock.now() < until {
        std::thread::park_timeout(until.since(clock.now()));
    }
}
