//! Watching.
mod message;
pub use message::*;
use std::sync::Arc;

/// Called when a stream has something to [`WatchStream::poll`]; from any thread, must not block.
pub type OnReady = Arc<dyn Fn() + Send + Sync>;

/// Many watchers with one ordered output.
#[derive(Debug)]
pub struct WatchStream {}

impl WatchStream {
    /// Makes a watcher. The answer (`Created` or `Rejected`) is put into the output as well.
    ///
    /// # Errors
    /// Why it was not made.
    pub fn create(&self, _request: WatchCreateRequest) -> Result<i64, WatchRejection> {
        unimplemented!()
    }

    /// Ends a watcher; `Canceled` comes out. `false`, and nothing comes out, if there is none.
    pub fn cancel(&self, _watch_id: i64) -> bool {
        unimplemented!()
    }

    /// If all watchers have seen everything, puts `Progress` with id −1 behind it; else nothing.
    pub fn request_progress(&self) {
        unimplemented!()
    }

    /// Puts `Progress` for each watcher with `progress_notify` that is up to date and had no event
    /// since the last call. The server calls it on its interval.
    pub fn send_periodic_progress(&self) {
        unimplemented!()
    }

    /// The next message. May read history from disk for watchers that are behind, one bounded batch
    /// a call; so a stream that is not polled costs nothing.
    ///
    /// `None`: nothing until `on_ready` is called again.
    ///
    /// # Errors
    /// The disk failed; the stream cannot go on.
    pub fn poll(&self) -> Result<Option<WatchMessage>, crate::RequestError> {
        unimplemented!()
    }
}
