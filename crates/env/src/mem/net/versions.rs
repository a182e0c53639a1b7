//! Which version of frames each takes of each, as far as the sender was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::MemNet;

/// By sender and receiver.
#[derive(Debug, Default)]
pub(super) struct Versions(BTreeMap<(u64, u64), Arc<AtomicU8>>);

impl Versions {
    /// A process that begins was told nothing.
    pub(super) fn forget(&mut self, node: u64) {
        self.0.retain(|(from, _), _| *from != node);
    }

    pub(super) fn of(&mut self, from: u64, to: u64) -> &Arc<AtomicU8> {
        self.0.entry((from, to)).or_insert_with(|| Arc::new(AtomicU8::new(u8::MAX)))
    }
}

impl MemNet {
    /// `from` learns that `to` takes frames of this version at most.
    pub fn set_version(&self, from: u64, to: u64, version: u8) {
        self.state.lock().versions.of(from, to).store(version, Ordering::Relaxed);
    }
}
