//! Values that many states share, and the 64 bits by which they are told apart.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The 64 bits by which two values are told apart.
pub(crate) fn fingerprint(value: &impl Hash) -> u64 {
    let mut mixer = Mixer(0x6A09_E667_F3BC_C908);
    value.hash(&mut mixer);
    mixer.finish()
}

/// Each eight bytes are multiplied in, and both halves of the product are kept: no hash against
/// malice. A collision would hide states; among ten million of a few hundred words each the chance
/// of one is below a thousandth.
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(last));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(0x9E37_79B9_7F4A_7C15_u64);
        let bytes = product.to_le_bytes();
        let (halves, _) = bytes.as_chunks::<8>();
        self.0 = u64::from_le_bytes(halves[0]) ^ u64::from_le_bytes(halves[1]);
    }

    fn finish(&self) -> u64 {
        self.0
    }
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

impl<T: Hash> Shared<T> {
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
