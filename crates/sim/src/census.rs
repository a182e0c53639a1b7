//! What a run met, by name: each kind of fault, and each rare meeting that should happen sometimes.
//!
//! A simulator that no longer meets something has stopped testing it, and nobody notices. So every
//! kind of fault and every "sometimes" has a counter, and a long run in which one stays at zero
//! fails. A fault that was ordered may have no effect: what it did has a counter too.

use std::collections::BTreeMap;

use env::mem::NetCounts;

/// What became of messages, in worlds of either kind.
pub(crate) const LOST: &str = "effect: a message is lost by chance";
pub(crate) const CUT: &str = "effect: a message is lost on a cut wire";
pub(crate) const DOUBLED: &str = "effect: a message comes twice";
pub(crate) const REPLAYED: &str = "effect: an old message comes again";
pub(crate) const OVERTAKEN: &str = "effect: a message is overtaken";
pub(crate) const HELD_BACK: &str = "effect: a clog holds a message back";
/// Somebody else led in the end, since a leader had called it.
pub(crate) const HANDED_OVER: &str = "effect: leadership is handed over";

/// Counters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    counts: BTreeMap<&'static str, u64>,
}

impl Census {
    /// It happened once more.
    pub fn meet(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    /// It happened so many times more.
    pub fn add(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.counts.entry(name).or_default() += count;
        }
    }

    /// What became of messages.
    pub(crate) fn add_net(&mut self, counts: NetCounts) {
        self.add(LOST, counts.lost);
        self.add(CUT, counts.cut);
        self.add(DOUBLED, counts.doubled);
        self.add(REPLAYED, counts.replayed);
        self.add(OVERTAKEN, counts.overtaken);
        self.add(HELD_BACK, counts.held_back);
    }

    /// How often it happened.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Adds what another run met.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            self.add(name, *count);
        }
    }

    /// Those of the names that never happened.
    pub fn missing<'a>(
        &self,
        names: impl IntoIterator<Item = &'a &'static str>,
    ) -> Vec<&'static str> {
        names.into_iter().copied().filter(|name| self.count(name) == 0).collect()
    }

    /// All counts, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(name, count)| (*name, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_told() {
        let mut census = Census::default();
        census.meet("crash");
        census.add("loss", 0);
        assert_eq!(census.missing(&["crash", "loss", "rot"]), ["loss", "rot"]);
        let mut other = Census::default();
        other.add("loss", 2);
        census.merge(&other);
        assert_eq!(census.iter().collect::<Vec<_>>(), [("crash", 1), ("loss", 2)]);
    }
}
