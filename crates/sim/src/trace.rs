//! What happened in a world, as a number and, if asked for, as lines.

use std::collections::VecDeque;
use std::fmt::{Display, Write};

use env::Moment;

/// A running hash over every event, so that two runs are compared by one number; and the newest
/// events as text, so that a person sees what led to a failure.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    event_count: u64,
    lines: VecDeque<String>,
    lines_max: usize,
}

/// Lines behind a failure.
const NEWEST_MAX: usize = 200;

/// FNV-1a, 64 bits (Fowler, Noll, Vo).
const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Trace {
    /// An empty trace that keeps the last `lines_max` events as text.
    #[must_use]
    pub fn new(lines_max: usize) -> Self {
        Self { hash: OFFSET_BASIS, event_count: 0, lines: VecDeque::new(), lines_max }
    }

    /// Adds an event.
    pub fn push(&mut self, at: Moment, event: impl Display) {
        // The oldest line gives its memory to the newest: this is done for every event.
        let is_full = self.lines.len() > self.lines_max;
        let oldest = if is_full { self.lines.pop_front() } else { None };
        let mut line = oldest.unwrap_or_default();
        line.clear();
        write!(line, "{:>12} {event}", at.0).expect("writing to memory does not fail");
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        self.event_count += 1;
        self.lines.push_back(line);
    }

    /// Adds bytes that are too many to be told, such as the contents of a frame.
    pub fn mix(&mut self, bytes: &[u8]) {
        // Eight at a time: every frame of a world comes by here.
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.hash = (self.hash ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME).rotate_left(29);
        }
        for byte in rest {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// The hash of all events so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    #[must_use]
    pub fn event_count(&self) -> u64 {
        self.event_count
    }

    /// The newest events, oldest first: as many as a person reads behind a failure.
    #[must_use]
    pub fn newest(&self) -> Vec<String> {
        self.last(self.lines_max.min(NEWEST_MAX))
    }

    /// All events that are kept.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.last(self.lines_max)
    }

    fn last(&self, count: usize) -> Vec<String> {
        let older = self.lines.len().saturating_sub(count);
        self.lines.iter().skip(older).cloned().collect()
    }
}
