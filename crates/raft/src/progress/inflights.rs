//! AppendEntries on their way to one follower, oldest first.

use alloc::collections::VecDeque;

use crate::queue::pop_front_if;
use crate::seeded::{Bug, bug};
use crate::{LogIndex, Options};

/// The window: how much may be on its way before the follower has answered.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Inflights {
    messages: VecDeque<(LogIndex, usize)>,
    /// Invariant: the sum over `messages`.
    size_bytes: usize,
}

impl Inflights {
    pub(crate) fn is_full(&self, options: &Options) -> bool {
        !bug(Bug::WindowHasNoEnd)
            && (self.messages.len() >= options.window_messages_max
                || self.size_bytes >= options.window_bytes_max)
    }

    /// A message whose last entry is `last` has left.
    pub(crate) fn add(&mut self, last: LogIndex, size_bytes: usize) {
        self.messages.push_back((last, size_bytes));
        self.size_bytes += size_bytes;
    }

    /// The follower holds everything up to `match_index`.
    pub(crate) fn free_to(&mut self, match_index: LogIndex) {
        while let Some((_, bytes)) =
            pop_front_if(&mut self.messages, |(last, _)| *last <= match_index)
        {
            self.size_bytes -= if bug(Bug::InflightsLeak) { 0 } else { bytes };
        }
    }

    /// Bytes of the largest message; a single entry may be larger than a batch.
    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn largest(&self) -> usize {
        self.messages.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0)
    }

    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn counters(&self) -> (usize, usize) {
        (self.messages.len(), self.size_bytes)
    }
}
