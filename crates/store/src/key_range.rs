//! etcd's way to name a range of keys.

use bytes::Bytes;

/// A key, the keys in `[start, end)`, or all from `start` on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyRange {
    pub(crate) start: Bytes,
    end: RangeEnd,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RangeEnd {
    Single,
    Before(Bytes),
    Open,
}

impl KeyRange {
    /// An empty `range_end` means `key` alone, and a single zero byte no end.
    pub(crate) fn new(key: &Bytes, range_end: &Bytes) -> Self {
        let end = match range_end.as_ref() {
            [] => RangeEnd::Single,
            [0] => RangeEnd::Open,
            _ => RangeEnd::Before(range_end.clone()),
        };
        Self { start: key.clone(), end }
    }

    /// Whether it can hold nothing, which no single key and no open range is.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.end, RangeEnd::Before(end) if *end <= self.start)
    }

    /// As it was given.
    pub(crate) fn range_end(&self) -> Bytes {
        match &self.end {
            RangeEnd::Single => Bytes::new(),
            RangeEnd::Before(end) => end.clone(),
            RangeEnd::Open => Bytes::from_static(&[0]),
        }
    }

    pub(crate) fn is_single(&self) -> bool {
        self.end == RangeEnd::Single
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_ref() && !self.ends_before(key)
    }

    /// Whether `key` and all behind it lie behind the range; for keys that are not before it.
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => key > self.start.as_ref(),
            RangeEnd::Before(end) => key >= end.as_ref(),
            RangeEnd::Open => false,
        }
    }
}
