//! Clients of this node that wait for a command to be applied.

use std::collections::VecDeque;
use std::fmt;

use env::Moment;
use parking_lot::Mutex;

use crate::ProposeError;

/// Takes a result, once.
pub(crate) type Reply<T, E> = Box<dyn FnOnce(Result<T, E>) + Send>;

/// The waiting clients of one group, by request number.
///
/// Numbers are given out one by one, and answers come in nearly the same order, so the table is a
/// window that slides: no search, and its length is that of the oldest request still open.
pub(crate) struct Waiters<R> {
    inner: Mutex<Inner<R>>,
}

struct Inner<R> {
    /// The number of the first slot.
    first: u64,
    slots: VecDeque<Option<Waiter<R>>>,
    closed: bool,
}

struct Waiter<R> {
    reply: Reply<R, ProposeError>,
    deadline: Moment,
}

impl<R> Waiters<R> {
    /// An empty table whose first number is `first`.
    pub(crate) fn new(first: u64) -> Self {
        Self { inner: Mutex::new(Inner { first, slots: VecDeque::new(), closed: false }) }
    }

    /// Gives the client a number; hands the reply back once the table is closed.
    pub(crate) fn register(
        &self,
        reply: Reply<R, ProposeError>,
        deadline: Moment,
    ) -> Result<u64, Reply<R, ProposeError>> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(reply);
        }
        let number = inner.first.wrapping_add(inner.slots.len() as u64);
        inner.slots.push_back(Some(Waiter { reply, deadline }));
        Ok(number)
    }

    /// Takes the clients with these numbers; `None` for one that has its answer already or is not
    /// of this life. One lock for a whole batch.
    pub(crate) fn take_batch(
        &self,
        numbers: impl Iterator<Item = Option<u64>>,
        into: &mut Vec<Option<Reply<R, ProposeError>>>,
    ) {
        let mut inner = self.inner.lock();
        into.extend(numbers.map(|number| number.and_then(|number| inner.take(number))));
    }

    /// Takes one client.
    pub(crate) fn take(&self, number: u64) -> Option<Reply<R, ProposeError>> {
        self.inner.lock().take(number)
    }

    /// Whether this client still waits.
    pub(crate) fn is_waiting(&self, number: u64) -> bool {
        let inner = self.inner.lock();
        usize::try_from(number.wrapping_sub(inner.first))
            .is_ok_and(|slot| matches!(inner.slots.get(slot), Some(Some(_))))
    }

    /// The number before which no client waits.
    pub(crate) fn first_waiting(&self) -> u64 {
        self.inner.lock().first
    }

    /// Takes the clients whose time is up.
    pub(crate) fn take_expired(&self, now: Moment) -> Vec<Reply<R, ProposeError>> {
        let mut inner = self.inner.lock();
        let mut expired = Vec::new();
        // Deadlines grow with the numbers, so the first that is still good ends the search.
        for slot in &mut inner.slots {
            match slot {
                Some(waiter) if waiter.deadline > now => break,
                _ => expired.extend(slot.take().map(|waiter| waiter.reply)),
            }
        }
        inner.slide();
        expired
    }

    /// Lets nobody in any more and takes all who wait.
    pub(crate) fn close(&self) -> Vec<Reply<R, ProposeError>> {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.slots.drain(..).flatten().map(|waiter| waiter.reply).collect()
    }
}

impl<R> Inner<R> {
    fn take(&mut self, number: u64) -> Option<Reply<R, ProposeError>> {
        let slot = usize::try_from(number.wrapping_sub(self.first)).ok()?;
        let waiter = self.slots.get_mut(slot)?.take()?;
        self.slide();
        Some(waiter.reply)
    }

    fn slide(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

impl<R> fmt::Debug for Waiters<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct("Waiters").field("first", &inner.first).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn waiters_with(count: u64) -> (Waiters<u64>, Arc<AtomicU64>) {
        // The first number is near the end, so that every test also sees the numbers wrap.
        let waiters = Waiters::new(u64::MAX - 1);
        let answered = Arc::new(AtomicU64::new(0));
        for at in 0..count {
            let answered = Arc::clone(&answered);
            let reply = Box::new(move |result: Result<u64, ProposeError>| {
                answered.fetch_add(result.unwrap_or(1_000), Ordering::Relaxed);
            });
            assert!(waiters.register(reply, Moment(10 + at)).is_ok());
        }
        (waiters, answered)
    }

    #[test]
    fn each_is_answered_once() {
        let (waiters, answered) = waiters_with(3);
        waiters.take(0).expect("the third waits")(Ok(7));
        assert!(waiters.take(0).is_none());
        waiters.take(u64::MAX - 1).expect("the first waits")(Ok(1));
        waiters.take(u64::MAX).expect("the second waits")(Ok(1));
        assert_eq!(answered.load(Ordering::Relaxed), 9);
        assert!(waiters.take(u64::MAX - 1).is_none());
        assert!(waiters.take(1).is_none());
    }

    #[test]
    fn those_whose_time_is_up_are_taken_and_the_rest_stay() {
        let (waiters, _) = waiters_with(3);
        assert!(waiters.take(u64::MAX).is_some());
        assert_eq!(waiters.take_expired(Moment(11)).len(), 1);
        assert!(waiters.take(0).is_some());
    }

    #[test]
    fn a_closed_table_lets_nobody_in() {
        let (waiters, _) = waiters_with(2);
        assert_eq!(waiters.close().len(), 2);
        assert!(waiters.register(Box::new(|_| {}), Moment(1)).is_err());
    }
}
