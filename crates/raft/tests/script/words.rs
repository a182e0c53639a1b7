//! The words of a command.

use raft::*;

/// The words of a command: the plain ones in order, and those with `=`.
pub(super) struct Words<'a>(pub(super) Vec<&'a str>);

impl<'a> Words<'a> {
    pub(super) fn plain(&self, place: usize) -> Option<&'a str> {
        self.0.iter().filter(|word| !word.contains('=')).nth(place).copied()
    }

    pub(super) fn number(&self, place: usize) -> u64 {
        let word = self.plain(place).unwrap_or_else(|| panic!("word {place} is missing"));
        word.parse().unwrap_or_else(|_| panic!("{word} is not a number"))
    }

    pub(super) fn named(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    pub(super) fn named_number(&self, name: &str) -> Option<u64> {
        self.named(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
    }

    pub(super) fn need(&self, name: &str) -> u64 {
        self.named_number(name).unwrap_or_else(|| panic!("{name}= is missing"))
    }

    pub(super) fn numbers(&self, name: &str) -> Vec<u64> {
        let value = self.named(name).unwrap_or("");
        value.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().unwrap()).collect()
    }

    pub(super) fn entry(&self, name: &str) -> EntryId {
        parse_entry(self.named(name).unwrap_or_else(|| panic!("{name}= is missing")))
    }
}

pub(super) fn parse_entry(text: &str) -> EntryId {
    let (index, term) = text.split_once('@').unwrap_or_else(|| panic!("{text} is not index@term"));
    EntryId::new(term.parse().unwrap(), index.parse().unwrap())
}

/// A lease in the log, of so many ticks; `clock=2` is one by clocks that are certain within 2.
pub(super) fn lease_of(ticks: u64, words: &Words<'_>) -> LeaseTerms {
    match words.named_number("clock") {
        None => LeaseTerms::monotonic(ticks * 1000, 0),
        Some(within) => {
            LeaseTerms::declared(ticks * 1000, 0, u32::try_from(within * 1000).unwrap())
        }
    }
}

/// `1:5,2:3` behind a name: of each node a number.
pub(super) fn priorities_of(
    name: &str,
    words: &Words<'_>,
) -> std::collections::BTreeMap<NodeId, u32> {
    let pairs = words.named(name).into_iter().flat_map(|text| text.split(','));
    let pairs = pairs.map(|pair| pair.split_once(':').expect("a pair"));
    pairs.map(|(node, at)| (NodeId(node.parse().unwrap()), at.parse().unwrap())).collect()
}
