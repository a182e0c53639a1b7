//! Bytes of requests that have not ended and of answers that their client has not read: bounded for
//! each connection and for all of them, or a few clients that ask for much and read nothing would
//! take a member's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of one connection, whatever is counted.
const CONNECTION_BYTES_MAX: usize = 64 << 20;
/// Messages of all connections together.
const ALL_BYTES_MAX: usize = 192 << 20;
/// Calls of all connections together, beside their messages.
const ALL_CALLS_BYTES_MAX: usize = 512 << 20;
/// Watchers of all connections together.
const ALL_WATCHERS_BYTES_MAX: usize = 512 << 20;
/// Whatever is shorter is not counted: the number of streams bounds it.
const COUNTED_BYTES_MIN: usize = 4 << 10;

/// What one connection may hold, and with it all others.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    all: Arc<AtomicUsize>,
    all_max: usize,
    connection: Arc<AtomicUsize>,
}

/// All that is counted of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Budgets {
    /// Messages, of requests that have not ended and of answers that are not read.
    pub(crate) messages: Budget,
    /// Calls by themselves: heads, and the buffers of streams.
    pub(crate) calls: Budget,
    /// Watchers with their keys.
    pub(crate) watchers: Budget,
}

impl Budgets {
    /// Of a server.
    pub(crate) fn of_server() -> Self {
        Self {
            messages: Budget::new(ALL_BYTES_MAX),
            calls: Budget::new(ALL_CALLS_BYTES_MAX),
            watchers: Budget::new(ALL_WATCHERS_BYTES_MAX),
        }
    }

    /// Of another connection.
    pub(crate) fn connection(&self) -> Self {
        Self {
            messages: self.messages.connection(),
            calls: self.calls.connection(),
            watchers: self.watchers.connection(),
        }
    }
}

/// Bytes that are held, until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Option<Budget>,
    bytes: usize,
}

impl Budget {
    fn new(all_max: usize) -> Self {
        Self { all: Arc::default(), all_max, connection: Arc::default() }
    }

    /// Of another connection.
    fn connection(&self) -> Self {
        Self { connection: Arc::default(), ..self.clone() }
    }

    /// Takes so many bytes; nothing if that would be too much. One message is never too much for
    /// those that hold nothing else, however long it is: no range would be refused for its length.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held> {
        if bytes < COUNTED_BYTES_MIN {
            return Some(Held { budget: None, bytes: 0 });
        }
        self.hold_all(bytes)
    }

    /// The same, of what is counted however short it is.
    pub(crate) fn hold_all(&self, bytes: usize) -> Option<Held> {
        if !take(&self.connection, bytes, CONNECTION_BYTES_MAX) {
            return None;
        }
        if !take(&self.all, bytes, self.all_max) {
            self.connection.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        Some(Held { budget: Some(self.clone()), bytes })
    }
}

/// Bytes that become more as they come, until this is dropped.
#[derive(Debug)]
pub(crate) struct Growing {
    budget: Budget,
    held: Option<Held>,
}

impl Growing {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, held: None }
    }

    /// Holds so many in all, if it does not hold more; nothing if that would be too much.
    pub(crate) fn reach(&mut self, bytes: usize) -> Option<()> {
        let before = self.held.as_ref().map_or(0, |held| held.bytes);
        if bytes < COUNTED_BYTES_MIN || bytes <= before {
            return Some(());
        }
        let mut more = self.budget.hold_all(bytes - before)?;
        match &mut self.held {
            Some(held) => held.bytes += std::mem::take(&mut more.bytes),
            None => self.held = Some(more),
        }
        Some(())
    }

    pub(crate) fn clear(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
impl Budget {
    /// Of messages.
    pub(crate) fn of_messages() -> Self {
        Self::new(ALL_BYTES_MAX)
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.connection.load(Ordering::Relaxed)
    }
}

fn take(counter: &AtomicUsize, bytes: usize, most: usize) -> bool {
    let before = counter.fetch_add(bytes, Ordering::Relaxed);
    let fits = before == 0 || before.saturating_add(bytes) <= most;
    if !fits {
        counter.fetch_sub(bytes, Ordering::Relaxed);
    }
    fits
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.connection.fetch_sub(self.bytes, Ordering::Relaxed);
            budget.all.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_its_bound_and_all_together_have_theirs() {
        let first = Budget::of_messages();
        let half = CONNECTION_BYTES_MAX / 2;
        let held: Vec<Held> = (0..2).map_while(|_| first.hold(half)).collect();
        assert_eq!(held.len(), 2);
        assert!(first.hold(half).is_none());
        assert!(first.hold(100).is_some(), "what is short is not counted");
        let others: Vec<Budget> = (0..8).map(|_| first.connection()).collect();
        let more: Vec<Held> = others.iter().map_while(|one| one.hold(2 * half)).collect();
        assert_eq!(more.len(), ALL_BYTES_MAX / CONNECTION_BYTES_MAX - 1);
        drop((held, more));
        assert!(first.hold(half).is_some(), "what was dropped is free again");
    }

    #[test]
    fn what_grows_is_counted_once() {
        let budget = Budget::of_messages();
        let mut growing = Growing::new(budget.clone());
        for (bytes, held) in [(100, 0), (5_000, 5_000), (4_500, 5_000), (9_000, 9_000)] {
            growing.reach(bytes).unwrap();
            assert_eq!(budget.held_bytes(), held);
        }
        assert!(growing.reach(CONNECTION_BYTES_MAX + 1).is_none());
        assert_eq!(budget.held_bytes(), 9_000);
        growing.clear();
        growing.reach(6_000).unwrap();
        drop(growing);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[test]
    fn one_message_may_be_longer_than_all_bounds() {
        let budget = Budget::of_messages();
        let held = budget.hold(10 * ALL_BYTES_MAX);
        assert!(held.is_some() && budget.connection().hold(ALL_BYTES_MAX).is_none());
    }
}
