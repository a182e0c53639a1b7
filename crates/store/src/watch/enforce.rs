//! Watchers whose user may not read their range (any more).

use super::hub::{Hub, Wakes, WatcherId};
use super::message::{WatchMessage, WatchRejection};
use crate::auth::{Access, Standing};
use crate::error::RequestError;

impl Hub {
    pub(super) fn reject(&self, stream: u64, reason: WatchRejection) {
        let mut inner = self.lock();
        let mut wakes = Wakes::new();
        let revision = inner.revision();
        let message = WatchMessage::Rejected { revision, reason };
        inner.stream_mut(stream).push(message, &mut wakes);
        self.release(inner, wakes);
    }

    pub(super) fn enforce(&self, stream: u64, standing: &Result<Standing, RequestError>) {
        let mut inner = self.lock();
        let refused = |range: &crate::key_range::KeyRange| match standing {
            Ok(standing) => standing.require(Access::Read, &range.start, &range.range_end()).err(),
            Err(reason) => Some(*reason),
        };
        let watchers = inner.stream_mut(stream).watchers.iter();
        let denied: Vec<(i64, RequestError)> =
            watchers.filter_map(|(id, watcher)| Some((*id, refused(&watcher.range)?))).collect();
        let mut wakes = Wakes::new();
        let revision = inner.revision();
        for (watch_id, reason) in denied {
            inner.remove(WatcherId { stream, watcher: watch_id });
            // What waits may be of after the change: it goes with its watcher.
            inner.drop_events(stream, watch_id);
            let stream = inner.stream_mut(stream);
            stream.push(WatchMessage::Denied { watch_id, revision, reason }, &mut wakes);
        }
        self.release(inner, wakes);
    }

    /// Has every stream polled.
    pub(crate) fn wake_all(&self) {
        let wakes: Wakes = self.lock().on_ready().collect();
        wakes.iter().for_each(|wake| wake());
    }
}
