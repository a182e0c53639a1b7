//! Watching keys change.

mod enforce;
mod history;
mod hub;
mod message;
mod queue;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::auth::Standing;
use crate::error::RequestError;
use crate::store::Shared;

pub(crate) use history::{Histories, event_of};
use hub::Next;
pub(crate) use hub::{Batch, Hub};
pub use message::{EventRef, WatchCreateRequest, WatchEvents, WatchMessage, WatchRejection};

/// Called when a stream has something to [`WatchStream::poll`]; from any thread, also the one that
/// applies, so it must be quick.
pub type OnReady = Arc<dyn Fn() + Send + Sync>;

/// Revisions read from history at once.
const HISTORY_REVISIONS_MAX: i64 = 1000;

/// Many watchers with one ordered output. Made by
/// [`Store::watch_stream`](crate::Store::watch_stream).
pub struct WatchStream {
    shared: Arc<Shared>,
    id: u64,
    on_ready: OnReady,
    /// One poll at a time, or messages would overtake each other.
    polling: Mutex<()>,
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream").field("id", &self.id).finish_non_exhaustive()
    }
}

impl WatchStream {
    pub(crate) fn new(shared: Arc<Shared>, on_ready: OnReady) -> Self {
        let id = shared.hub.open_stream(Arc::clone(&on_ready));
        Self { shared, id, on_ready, polling: Mutex::new(()) }
    }

    /// Makes a watcher. The answer (`Created` or `Rejected`) is put into the output as well.
    ///
    /// # Errors
    /// Why it was not made.
    pub fn create(&self, request: WatchCreateRequest) -> Result<i64, WatchRejection> {
        self.shared.hub.create(self.id, request)
    }

    /// Puts out that a watcher was not made, in its turn.
    pub fn reject(&self, reason: WatchRejection) {
        self.shared.hub.reject(self.id, reason);
    }

    /// Ends the watchers whose range is not permitted; `Denied` comes out for each, and nothing
    /// that waits for it. To be called before [`WatchStream::poll`] whenever users or roles have
    /// changed.
    pub fn enforce(&self, standing: &Result<Standing, RequestError>) {
        self.shared.hub.enforce(self.id, standing);
    }

    /// Ends a watcher; `Canceled` comes out. `false`, and nothing comes out, if there is none.
    pub fn cancel(&self, watch_id: i64) -> bool {
        self.shared.hub.cancel(self.id, watch_id)
    }

    /// If all watchers have been given everything, puts `Progress` with id −1 behind it; else, and
    /// without watchers, nothing.
    pub fn request_progress(&self) {
        self.shared.hub.request_progress(self.id);
    }

    /// Puts `Progress` for each watcher with `progress_notify` that is up to date and had no event
    /// since the last call. The server calls it on its interval.
    pub fn send_periodic_progress(&self) {
        self.shared.hub.send_periodic_progress(self.id);
    }

    /// The next message. May read history from disk for watchers that are behind, one bounded batch
    /// a call; so a stream that is not polled costs nothing.
    ///
    /// `None`: nothing until `on_ready` is called again, which may be during this call.
    ///
    /// # Errors
    /// [`RequestError::ReadFailed`]: the disk failed; the stream cannot go on.
    pub fn poll(&self) -> Result<Option<WatchMessage>, RequestError> {
        let _one_at_a_time = self.polling.lock();
        let hub = &self.shared.hub;
        match hub.next(self.id, HISTORY_REVISIONS_MAX) {
            Next::Message(message) => Ok(Some(message)),
            Next::Nothing => Ok(None),
            Next::Behind(mut behind) => {
                let message = match self.shared.read_history(&mut behind)? {
                    Histories::Events(events) => hub.caught_up(self.id, &behind, events),
                    Histories::Compacted { compact_revision } => {
                        hub.compacted(self.id, &behind, compact_revision)
                    }
                };
                if message.is_none() {
                    // There may be more, but the caller's thread has others to serve.
                    (self.on_ready)();
                }
                Ok(message)
            }
        }
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.shared.hub.close_stream(self.id);
    }
}
