//! What waits in a stream for its client to read: bounded in events and in the bytes that they keep
//! in memory. Whatever does not fit is read from history later, so nothing is lost.

use std::collections::VecDeque;

use super::message::WatchMessage;

/// Events that wait in one stream; beyond it watchers fall back to history.
const EVENTS_MAX: usize = 4096;
/// The same in bytes of the batches that they keep in memory. A batch that is larger waits alone.
const BYTES_MAX: usize = 8 << 20;

/// A message that waits.
#[derive(Debug)]
struct Queued {
    message: WatchMessage,
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
        self.messages.push_back(Queued { message, batch_bytes: 0 });
    }

    /// How many events of the batch that ends at a revision there is room for.
    pub(super) fn room(&self, batch_last: i64, batch_bytes: usize) -> usize {
        if self.events == 0 {
            return usize::MAX;
        }
        if self.bytes + self.added_bytes(batch_last, batch_bytes) > BYTES_MAX {
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
        self.messages.push_back(Queued { message, batch_bytes });
    }

    /// None if it waits already for another watcher of the stream.
    fn added_bytes(&self, batch_last: i64, batch_bytes: usize) -> usize {
        if self.counted_batch == batch_last && self.events > 0 { 0 } else { batch_bytes }
    }

    pub(super) fn pop(&mut self) -> Option<WatchMessage> {
        let Queued { message, batch_bytes } = self.messages.pop_front()?;
        self.events -= events_in(&message);
        self.bytes -= batch_bytes;
        Some(message)
    }

    /// Forgets events that wait for a watcher that is gone.
    pub(super) fn drop_events(&mut self, gone: i64) {
        let (events, bytes) = (&mut self.events, &mut self.bytes);
        self.messages.retain(|queued| {
            let WatchMessage::Events { watch_id, .. } = &queued.message else { return true };
            if *watch_id == gone {
                *events -= events_in(&queued.message);
                *bytes -= queued.batch_bytes;
            }
            *watch_id != gone
        });
    }
}

fn events_in(message: &WatchMessage) -> usize {
    if let WatchMessage::Events { events, .. } = message { events.len() } else { 0 }
}
