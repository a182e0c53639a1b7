//! Sets of keys as intervals that neither touch nor overlap, so that asking is a search by halves.

use bytes::Bytes;

/// The keys from `start` on and before `end`; without an end, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interval {
    start: Bytes,
    end: Option<Bytes>,
}

impl Interval {
    /// etcd's way to name a range. One that ends before it starts holds nothing, and stands for its
    /// first key alone: asking for it takes a permission still, and granting it grants no more.
    fn new(key: &Bytes, range_end: &Bytes) -> Self {
        let end = match range_end.as_ref() {
            [0] => None,
            end if end > key.as_ref() => Some(range_end.clone()),
            _ => Some(successor(key)),
        };
        Self { start: key.clone(), end }
    }
}

/// The smallest key behind `key`.
fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// Invariant: in order of `start`, and each begins behind the end of the one before; so only the
/// last may be without an end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct KeySet {
    intervals: Vec<Interval>,
}

impl KeySet {
    /// Everything that lies in any of the ranges.
    pub(super) fn union<'a>(ranges: impl Iterator<Item = (&'a Bytes, &'a Bytes)>) -> Self {
        let mut all: Vec<Interval> = ranges.map(|(key, end)| Interval::new(key, end)).collect();
        all.sort_by(|a, b| a.start.cmp(&b.start));
        let mut intervals: Vec<Interval> = Vec::with_capacity(all.len());
        for next in all {
            match intervals.last_mut() {
                // They touch: what lies in both together is one.
                Some(last) if last.end.as_ref().is_none_or(|end| *end >= next.start) => {
                    last.end = match (last.end.take(), next.end) {
                        (Some(a), Some(b)) => Some(a.max(b)),
                        _ => None,
                    };
                }
                _ => intervals.push(next),
            }
        }
        Self { intervals }
    }

    /// Whether all keys of a range are in it.
    pub(super) fn covers(&self, key: &Bytes, range_end: &Bytes) -> bool {
        let wanted = Interval::new(key, range_end);
        let behind = self.intervals.partition_point(|interval| interval.start <= wanted.start);
        let Some(interval) = behind.checked_sub(1).and_then(|at| self.intervals.get(at)) else {
            return false;
        };
        match (&interval.end, &wanted.end) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(wanted)) => end >= wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use env::SplitMix;

    use super::*;

    fn b(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn set(ranges: &[(&str, &str)]) -> KeySet {
        let ranges: Vec<(Bytes, Bytes)> =
            ranges.iter().map(|(key, end)| (b(key), b(end))).collect();
        KeySet::union(ranges.iter().map(|(key, end)| (key, end)))
    }

    #[track_caller]
    fn check(granted: &[(&str, &str)], wanted: (&str, &str), expect: bool) {
        let covered = set(granted).covers(&b(wanted.0), &b(wanted.1));
        assert_eq!(covered, expect, "{wanted:?} of {granted:?}");
    }

    #[test]
    fn a_range_must_lie_in_the_union() {
        check(&[("a", "c"), ("c", "e")], ("b", "d"), true);
        check(&[("a", "c"), ("d", "e")], ("b", "e"), false);
        check(&[("a", "b"), ("b", "")], ("a", "b\0"), true);
        check(&[("a", "")], ("a", ""), true);
        check(&[("a", "")], ("a", "b"), false);
        check(&[("a", "")], ("a\0", ""), false);
        check(&[], ("a", ""), false);
    }

    /// GHSA-xg4h-6gfc-h4m8: leave to read one key must not let a range without an end through.
    #[test]
    fn one_key_is_not_everything_behind_it() {
        check(&[("a", "")], ("a", "\0"), false);
        check(&[("a", "z")], ("b", "\0"), false);
        check(&[("a", "\0")], ("b", "\0"), true);
        check(&[("a", "\0")], ("\0", "\0"), false);
        check(&[("\0", "\0")], ("\0", "\0"), true);
        check(&[("", "\0")], ("\0", "\0"), true);
    }

    #[test]
    fn a_range_that_ends_before_it_starts_takes_leave_for_its_key() {
        check(&[("a", "c")], ("b", "a"), true);
        check(&[("a", "c")], ("x", "a"), false);
        check(&[("x", "a")], ("x", ""), true);
        check(&[("x", "a")], ("b", ""), false);
    }

    /// Against the set of all keys of up to two letters.
    #[test]
    fn random_unions_agree_with_single_keys() {
        let keys: Vec<String> = {
            let letters = ["a", "b", "c"];
            let two = letters.iter().flat_map(|a| letters.iter().map(move |b| format!("{a}{b}")));
            letters.iter().map(ToString::to_string).chain(two).collect()
        };
        let mut dice = SplitMix::new(7);
        let mut pick = |open: bool| -> String {
            let at = usize::try_from(dice.below(keys.len() as u64 + 2)).unwrap();
            match keys.get(at) {
                Some(key) => key.clone(),
                None if open && at == keys.len() => "\0".to_owned(),
                None => String::new(),
            }
        };
        let holds = |key: &str, range: &(String, String)| match range.1.as_str() {
            "" => key == range.0,
            "\0" => key >= range.0.as_str(),
            end => key >= range.0.as_str() && key < end || key == range.0,
        };
        for _ in 0..2000 {
            let granted: Vec<(String, String)> = (0..3)
                .map(|_| (pick(false), pick(true)))
                .filter(|(key, _)| !key.is_empty())
                .collect();
            let union: Vec<(&str, &str)> =
                granted.iter().map(|(key, end)| (key.as_str(), end.as_str())).collect();
            let union = set(&union);
            for key in &keys {
                let naive = granted.iter().any(|range| holds(key, range));
                assert_eq!(union.covers(&b(key), &b("")), naive, "{key} of {granted:?}");
            }
            let wanted = (pick(false), pick(true));
            if !wanted.0.is_empty() && union.covers(&b(&wanted.0), &b(&wanted.1)) {
                for key in keys.iter().filter(|key| holds(key, &wanted)) {
                    let naive = granted.iter().any(|range| holds(key, range));
                    assert!(naive, "{wanted:?} covers {key}, and {granted:?} do not");
                }
            }
        }
    }
}
