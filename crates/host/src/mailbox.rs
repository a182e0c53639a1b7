//! A queue between two stages: many push, one takes all.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Where a stage finds what waits for it.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    items: Vec<T>,
    /// Who may wake the owner; without this every push would pay for a call to the system.
    sleep: Sleep,
    closed: bool,
}

/// How the owner of a mailbox waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    /// It does not.
    Awake,
    /// For what is urgent; it lets the rest gather until so many items wait.
    Patient { item_count: usize },
    /// For anything.
    Light,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner { items: Vec::new(), sleep: Sleep::Awake, closed: false }),
            arrived: Condvar::new(),
        }
    }
}

impl<T> Mailbox<T> {
    /// Adds one item and wakes the owner; hands the item back if the mailbox is closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(item);
        }
        inner.items.push(item);
        self.wake(inner);
        Ok(())
    }

    /// Adds one item, and wakes the owner unless it is patient and few items wait; hands the item
    /// back if the mailbox is closed.
    pub(crate) fn push_patiently(&self, item: T) -> Result<(), T> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(item);
        }
        inner.items.push(item);
        let wakes = match inner.sleep {
            Sleep::Awake => false,
            Sleep::Patient { item_count } => inner.items.len() >= item_count,
            Sleep::Light => true,
        };
        if wakes {
            self.wake(inner);
        }
        Ok(())
    }

    /// Adds one item without waking the owner: it is no news that cannot wait for the next.
    pub(crate) fn push_quietly(&self, item: T) {
        let mut inner = self.inner.lock();
        if !inner.closed {
            inner.items.push(item);
        }
    }

    /// Moves all waiting items behind those in `into`, in the order of their arrival.
    pub(crate) fn take_all(&self, into: &mut Vec<T>) {
        let mut inner = self.inner.lock();
        if into.is_empty() {
            // The emptied buffer goes back, so that neither side allocates in the long run.
            std::mem::swap(&mut inner.items, into);
        } else {
            into.append(&mut inner.items);
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().items.is_empty()
    }

    /// Refuses what comes from now on and wakes the owner.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        self.wake(inner);
    }

    /// Whether [`Mailbox::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Sleeps until something waits, the mailbox is closed, or `timeout` has passed. A patient
    /// owner is woken by [`Mailbox::push_patiently`] only once it has that many items.
    pub(crate) fn wait(&self, timeout: Option<Duration>, patience: Option<usize>) {
        let mut inner = self.inner.lock();
        if !inner.items.is_empty() || inner.closed {
            return;
        }
        inner.sleep = match patience {
            Some(item_count) => Sleep::Patient { item_count },
            None => Sleep::Light,
        };
        match timeout {
            Some(timeout) => {
                self.arrived.wait_for(&mut inner, timeout);
            }
            None => self.arrived.wait(&mut inner),
        }
        inner.sleep = Sleep::Awake;
    }

    fn wake(&self, mut inner: parking_lot::MutexGuard<'_, Inner<T>>) {
        if inner.sleep != Sleep::Awake {
            inner.sleep = Sleep::Awake;
            drop(inner);
            self.arrived.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_patient_owner_is_woken_once_enough_waits_or_for_what_is_urgent() {
        for urgent in [false, true] {
            let mailbox = Arc::new(Mailbox::default());
            let owner = std::thread::spawn({
                let mailbox = Arc::clone(&mailbox);
                move || mailbox.wait(None, Some(2))
            });
            let asleep = Sleep::Patient { item_count: 2 };
            while mailbox.inner.lock().sleep != asleep {
                std::thread::yield_now();
            }
            assert_eq!(mailbox.push_patiently(1), Ok(()));
            assert_eq!(mailbox.inner.lock().sleep, asleep, "one is not enough");
            let pushed = if urgent { mailbox.push(2) } else { mailbox.push_patiently(2) };
            assert_eq!(pushed, Ok(()));
            owner.join().expect("it was woken");
        }
    }
}
