//! Free ports.

use std::net::{Ipv4Addr, TcpListener};

use env::Entropy;
use env::os::OsEntropy;

/// Below the range from which the system gives ports to outgoing connections: a port of a process
/// that is dead for a moment must not become the near end of somebody's connection.
const FIRST: u16 = 10_240;
const COUNT: u16 = 20_000;

/// Ports that nobody listens on. They stay ours until the value is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    listeners: Vec<TcpListener>,
}

impl Reserved {
    /// Takes `count` ports, looking from a random place on.
    pub(crate) fn take(count: usize) -> Self {
        let start = u16::try_from(OsEntropy.next_u64() % u64::from(COUNT)).unwrap_or(0);
        let candidates = (0..COUNT).map(|step| FIRST + (start + step) % COUNT);
        let listeners: Vec<TcpListener> = candidates
            .filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
            .take(count)
            .collect();
        assert_eq!(listeners.len(), count, "this machine has not {count} free ports");
        Self { listeners }
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        let address = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        self.listeners
            .iter()
            .map(|listener| address(listener).expect("a listener that is bound has an address"))
            .collect()
    }
}

/// The first of `count` neighbouring ports that nobody listens on. They are let go before they are
/// used, so somebody may take one meanwhile.
///
/// # Panics
/// There are none.
#[must_use]
pub fn free_ports_in_a_row(count: u16) -> u16 {
    let start = u16::try_from(OsEntropy.next_u64() % u64::from(COUNT)).unwrap_or(0);
    let firsts = (0..COUNT).map(|step| FIRST + (start + step) % COUNT);
    let mut free = firsts.filter(|&first| {
        (first..first + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
    });
    free.next().expect("a machine has some free ports in a row")
}
