//! Values that many states share, and the 64 bits by which they are told apart.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Arc;

use raft::invariants::Cluster as History;
use raft::invariants::timeless;

use crate::peer::Peer;

/// What can be told apart: by words, so that nothing is forgotten that is in there.
pub(crate) trait Told {
    fn tell(&self, out: &mut String) -> std::fmt::Result;
}

impl Told for Peer {
    fn tell(&self, out: &mut String) -> std::fmt::Result {
        timeless::tell(&self.node, out)?;
        write!(out, "{:?}{:?}{:?}", self.disk, self.in_flight, self.sending)
    }
}

impl Told for History {
    fn tell(&self, out: &mut String) -> std::fmt::Result {
        write!(out, "{self:?}")
    }
}

impl Told for raft::Message {
    fn tell(&self, out: &mut String) -> std::fmt::Result {
        write!(out, "{self:?}")
    }
}

/// The 64 bits by which two values are told apart.
pub(crate) fn fingerprint(value: &impl Told) -> u64 {
    thread_local! {
        static WORDS: RefCell<String> = const { RefCell::new(String::new()) };
    }
    WORDS.with_borrow_mut(|words| {
        words.clear();
        value.tell(words).expect("a string takes everything");
        hash(words.as_bytes())
    })
}

/// Most of the time of an exploration is spent here, so it is no hash against malice: each eight
/// bytes are multiplied in, and both halves of the product are kept.
fn hash(bytes: &[u8]) -> u64 {
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(0x9E37_79B9_7F4A_7C15_u64);
        let bytes = product.to_le_bytes();
        let (halves, _) = bytes.as_chunks::<8>();
        u64::from_le_bytes(halves[0]) ^ u64::from_le_bytes(halves[1])
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let begin = mix(0x6A09_E667_F3BC_C908, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    let state = words.iter().fold(begin, |state, word| mix(state, u64::from_le_bytes(*word)));
    mix(mix(state, u64::from_le_bytes(last)), 0)
}

/// A value that is shared between states, with its fingerprint.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    value: Arc<T>,
    fingerprint: u64,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), fingerprint: self.fingerprint }
    }
}

impl<T: Told> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        let fingerprint = fingerprint(&value);
        Self { value: Arc::new(value), fingerprint }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

impl<T> std::ops::Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
