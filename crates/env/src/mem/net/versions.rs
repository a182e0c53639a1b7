//! Which version of frames each takes of each, as far as the sender was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::{MemNet, Route};

/// By sender and receiver, and by which of the sender's ways.
#[derive(Debug, Default)]
pub(super) struct Versions(BTreeMap<Route, Arc<AtomicU8>>);

impl Versions {
    /// A process that begins was told nothing.
    pub(super) fn forget(&mut self, node: u64) {
        self.0.retain(|(from, ..), _| *from != node);
    }

    pub(super) fn of(&mut self, route: Route) -> &Arc<AtomicU8> {
        self.0.entry(route).or_insert_with(|| Arc::new(AtomicU8::new(u8::MAX)))
    }
}

impl MemNet {
    /// `from` learns that `to` takes frames of this version at most, by its first way or its second
    /// ([`MemEndpoint::second`](super::MemEndpoint::second)).
    pub fn set_version(&self, from: u64, to: u64, is_second: bool, version: u8) {
        self.state.lock().versions.of((from, to, is_second)).store(version, Ordering::Relaxed);
    }
}
