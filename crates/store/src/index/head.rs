//! Heads: the beginnings of keys, as numbers that are in the order of the keys.

use std::cmp::Ordering;

/// A number of some bytes of a key.
pub(super) trait Head: Copy + Ord {
    /// Of the first bytes, the first one highest; zeros stand for bytes that are not there. So a
    /// key below another has a head below that of the other, or the same.
    fn of(bytes: &[u8]) -> Self;
}

impl Head for u32 {
    fn of(bytes: &[u8]) -> Self {
        Self::from_be_bytes(first_bytes(bytes))
    }
}

impl Head for u128 {
    fn of(bytes: &[u8]) -> Self {
        Self::from_be_bytes(first_bytes(bytes))
    }
}

fn first_bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    match bytes.first_chunk() {
        Some(first) => *first,
        None => {
            let mut first = [0; N];
            first[..bytes.len()].copy_from_slice(bytes);
            first
        }
    }
}

/// The head of `key` behind its first `shared_bytes` bytes.
pub(super) fn head_of<H: Head>(key: &[u8], shared_bytes: usize) -> H {
    H::of(key.get(shared_bytes..).unwrap_or_default())
}

/// How many bytes two keys have in common at their beginning.
pub(super) fn common_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// As a binary search, over `heads` first; where these are equal, `compare` says how the whole key
/// at a place relates to the one that is looked for.
pub(super) fn find_by_head<H: Head>(
    heads: &[H],
    head: H,
    compare: impl Fn(usize) -> Ordering,
) -> Result<usize, usize> {
    let mut low = heads.partition_point(|other| *other < head);
    let mut high = low;
    // Equal heads are few or very many.
    while high < heads.len() && heads[high] == head && high - low < 4 {
        high += 1;
    }
    if high - low == 4 {
        high += heads[high..].partition_point(|other| *other == head);
    }
    while low < high {
        let middle = low.midpoint(high);
        match compare(middle) {
            Ordering::Less => low = middle + 1,
            Ordering::Equal => return Ok(middle),
            Ordering::Greater => high = middle,
        }
    }
    Err(low)
}
