//! What waits in a stream for its client to read: bounded in events and in the bytes that they keep
//! in memory. Whatever does not fit is read from history later, so nothing is lost.

use std::collections::VecDeque;

use super::message::WatchMessage;

/// Events that wait in one stream; beyond it watchers fall back to history.
const EVENTS_MAX: usize = 4096;
/// The same in bytes of the batches that they keep in memory. A batch that is larger waits alone.
const BYTES_MAX: usize = 8 << 20;
/// And of all streams together: beyond it every watcher falls back to history.
pub(super) const ALL_BYTES_MAX: usize = 256 << 20;

/// A message that waits.
#[derive(Debug)]
struct Queued {
    message: WatchMessage,
    /// The last revision of its batch; 0 if it is of none.
    batch_last: i64,
    /// Bytes of its batch, if no message before it in the queue is of the same.
    batch_bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    messages: VecDeque<Queued>,
    events: usize,
    bytes: usize,
    /// Last revision of the batch that was counted last.
    counted_batch: i64,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// A message that is no event, or whose events were read for this stream alone.
    pub(super) fn push(&mut self, message: WatchMessage) {
        self.messages.push_back(Queued { message, batch_last: 0, batch_bytes: 0 });
    }

    /// How many events of the batch that ends at a revision there is room for, where all streams
    /// together keep so many bytes.
    pub(super) fn room(&self, batch_last: i64, batch_bytes: usize, all_bytes: usize) -> usize {
        let added = self.added_bytes(batch_last, batch_bytes);
        if all_bytes > 0 && added > 0 && all_bytes + added > ALL_BYTES_MAX {
            return 0;
        }
        if self.events == 0 {
            return usize::MAX;
        }
        if self.bytes + added > BYTES_MAX {
            return 0;
        }
        EVENTS_MAX.saturating_sub(self.events)
    }

    /// Events of a batch, which ends at a revision and takes so many bytes.
    pub(super) fn push_events(
        &mut self,
        message: WatchMessage,
        batch_last: i64,
        batch_bytes: usize,
    ) {
        let batch_bytes = self.added_bytes(batch_last, batch_bytes);
        self.counted_batch = batch_last;
        self.events += events_in(&message);
        self.bytes += batch_bytes;
        self.messages.push_back(Queued { message, batch_last, batch_bytes });
    }

    /// None if it waits already for another watcher of the stream.
    fn added_bytes(&self, batch_last: i64, batch_bytes: usize) -> usize {
        if self.counted_batch == batch_last && self.events > 0 { 0 } else { batch_bytes }
    }

    pub(super) fn pop(&mut self) -> Option<WatchMessage> {
        let Queued { message, batch_bytes, .. } = self.messages.pop_front()?;
        self.events -= events_in(&message);
        self.bytes -= batch_bytes;
        Some(message)
    }

    /// Forgets events that wait for a watcher that is gone.
    pub(super) fn drop_events(&mut self, gone: i64) {
        let (events, bytes) = (&mut self.events, &mut self.bytes);
        // The batch stays while another watcher's events of it wait: they count it from now on.
        let (mut batch, mut left) = (0, 0);
        self.messages.retain_mut(|queued| {
            if queued.batch_last == batch && left > 0 {
                queued.batch_bytes = std::mem::take(&mut left);
                *bytes += queued.batch_bytes;
            }
            let WatchMessage::Events { watch_id, .. } = &queued.message else { return true };
            if *watch_id == gone {
                *events -= events_in(&queued.message);
                *bytes -= queued.batch_bytes;
                (batch, left) = (queued.batch_last, queued.batch_bytes);
            }
            *watch_id != gone
        });
    }

    /// Bytes of the batches that are kept in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn events_in(message: &WatchMessage) -> usize {
    if let WatchMessage::Events { events, .. } = message { events.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::response::Event;
    use crate::watch::WatchEvents;

    fn message(watch_id: i64, revision: i64) -> WatchMessage {
        let event = Event::delete(bytes::Bytes::from_static(b"k"), revision, None);
        let events = WatchEvents::new(Arc::from([event]), None, true);
        WatchMessage::Events { watch_id, revision, events }
    }

    /// The batch stays in memory while anybody's events of it wait.
    #[test]
    fn a_batch_is_counted_until_the_last_watcher_of_it_is_gone() {
        let mut queue = Queue::default();
        for revision in [5, 6] {
            for watcher in 0..3 {
                queue.push_events(message(watcher, revision), revision, 1000);
            }
        }
        assert_eq!(queue.bytes(), 2000);
        queue.drop_events(0);
        assert_eq!(queue.bytes(), 2000, "two others wait for both");
        queue.drop_events(1);
        assert_eq!((queue.bytes(), queue.len()), (2000, 2));
        assert!(queue.pop().is_some());
        assert_eq!(queue.bytes(), 1000);
        queue.drop_events(2);
        assert_eq!((queue.bytes(), queue.len(), queue.events), (0, 0, 0));
    }
}
