//! What goes in and out of a watch stream.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::RequestError;
use crate::request::LeaseId;
use crate::response::{Event, EventKind, KeyValue};

/// Asks for the changes of one key or a range of keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WatchCreateRequest {
    /// The name of the watcher in its stream; 0 for the next free one.
    pub watch_id: i64,
    /// The first key; empty for the smallest there can be.
    pub key: Bytes,
    /// As in [`RangeRequest::range_end`](crate::RangeRequest::range_end).
    pub range_end: Bytes,
    /// The first revision of interest; 0 for the next one. May lie in the future.
    pub start_revision: i64,
    /// Whether [`WatchStream::send_periodic_progress`](crate::WatchStream::send_periodic_progress)
    /// concerns it.
    pub progress_notify: bool,
    /// Leave out puts.
    pub no_put: bool,
    /// Leave out deletes.
    pub no_delete: bool,
    /// Tell what was there before each change.
    pub prev_kv: bool,
}

/// Why a watcher was not made, in etcd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchRejection {
    /// The stream has a watcher of this id.
    DuplicateId,
    /// The range ends before it starts.
    EmptyRange,
    /// The start revision is negative.
    NegativeStart,
    /// The client has more watchers than it may.
    TooMany,
    /// Who asks may not read the range.
    Denied(RequestError),
}

impl std::fmt::Display for WatchRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DuplicateId => "mvcc: duplicate watch ID provided on the WatchStream",
            Self::EmptyRange => "mvcc: watcher range is empty",
            Self::NegativeStart => "etcdserver: mvcc: required revision has been compacted",
            Self::TooMany => "etcdserver: too many requests",
            Self::Denied(error) => return error.fmt(f),
        })
    }
}

/// What a stream says, in the order in which the client must see it.
#[derive(Clone, Debug)]
pub enum WatchMessage {
    /// The watcher exists; its events come after this.
    Created {
        /// The watcher.
        watch_id: i64,
        /// The current revision.
        revision: i64,
    },
    /// The watcher was not made: on the wire, created and canceled with id −1 and the reason.
    Rejected {
        /// The current revision.
        revision: i64,
        /// Why.
        reason: WatchRejection,
    },
    /// Changes: all of each revision that is in it.
    Events {
        /// The watcher.
        watch_id: i64,
        /// For the header: at least the revision of the last change.
        revision: i64,
        /// The changes.
        events: WatchEvents,
    },
    /// The client ended the watcher.
    Canceled {
        /// The watcher.
        watch_id: i64,
        /// The current revision.
        revision: i64,
    },
    /// History that the watcher still needed is gone: on the wire, canceled with the compact
    /// revision, no reason, and a header revision of 0.
    Compacted {
        /// The watcher.
        watch_id: i64,
        /// The oldest revision that can be watched.
        compact_revision: i64,
    },
    /// Who asked for it may not read the range any more: on the wire, canceled with the reason.
    Denied {
        /// The watcher.
        watch_id: i64,
        /// The current revision.
        revision: i64,
        /// Why.
        reason: RequestError,
    },
    /// All changes up to `revision` were delivered. The id is −1 for an answer to
    /// [`WatchStream::request_progress`](crate::WatchStream::request_progress).
    Progress {
        /// The watcher, or −1 for all of the stream.
        watch_id: i64,
        /// Up to where.
        revision: i64,
    },
}

/// Changes for one watcher: a view of a batch that many watchers share.
#[derive(Clone, Debug)]
pub struct WatchEvents {
    batch: Arc<[Event]>,
    /// Which of the batch; `None` for all.
    selected: Option<Arc<[u32]>>,
    prev_kv: bool,
}

/// One change as a watcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef<'a> {
    /// What happened.
    pub kind: EventKind,
    /// The key after it.
    pub kv: &'a KeyValue,
    /// The key before it, if the watcher asked and it existed.
    pub prev_kv: Option<&'a KeyValue>,
}

impl WatchEvents {
    pub(crate) fn new(batch: Arc<[Event]>, selected: Option<Arc<[u32]>>, prev_kv: bool) -> Self {
        Self { batch, selected, prev_kv }
    }

    /// The part of it that `wants` lets through; shares everything if that is all.
    pub(super) fn for_watcher(&self, prev_kv: bool, wants: impl Fn(&Event) -> bool) -> Self {
        let wanted = |number: &u32| wants(&self.batch[*number as usize]);
        let numbers = self.numbers();
        let selected = if numbers.clone().all(|number| wanted(&number)) {
            self.selected.clone()
        } else {
            Some(numbers.filter(wanted).collect())
        };
        Self { batch: Arc::clone(&self.batch), selected, prev_kv }
    }

    fn numbers(&self) -> impl Iterator<Item = u32> + Clone {
        let count = u32::try_from(self.len()).expect("a batch has fewer than 2^32 events");
        (0..count).map(|at| self.selected.as_ref().map_or(at, |numbers| numbers[at as usize]))
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.selected.as_ref().map_or(self.batch.len(), |selected| selected.len())
    }

    /// Whether there are none; the store sends no such message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The changes, in order.
    pub fn iter(&self) -> impl Iterator<Item = EventRef<'_>> {
        self.numbers().map(|number| {
            let event = &self.batch[number as usize];
            EventRef {
                kind: event.kind,
                kv: &event.kv,
                prev_kv: event.prev_kv.as_ref().filter(|_| self.prev_kv),
            }
        })
    }

    /// Names the content: two messages with equal keys have equal events, so that a server encodes
    /// for a hundred watchers once. Valid while one of the messages lives.
    #[must_use]
    pub fn share_key(&self) -> (usize, usize, bool) {
        let selected = self.selected.as_ref().map_or(0, |selected| selected.as_ptr() as usize);
        (self.batch.as_ptr() as usize, selected, self.prev_kv)
    }
}

impl Event {
    /// Revision of the change.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.kv.mod_revision
    }

    /// About what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let of = |kv: &KeyValue| kv.key.len() + kv.value.len();
        of(&self.kv) + self.prev_kv.as_ref().map_or(0, of) + size_of::<Self>()
    }

    pub(crate) fn delete(key: Bytes, mod_revision: i64, prev_kv: Option<KeyValue>) -> Self {
        let kv = KeyValue { key, mod_revision, lease: LeaseId::NONE, ..KeyValue::default() };
        Self { kind: EventKind::Delete, kv, prev_kv }
    }
}
