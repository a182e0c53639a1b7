//! Who watches what: every stream and watcher, and the way from an applied batch to them.
//!
//! A watcher is *synced* when it has been given everything up to the hub's revision; batches of
//! apply go to these alone. The others read history at the pace at which their stream is polled,
//! and join when they have caught up. A stream whose client is slow falls back to history, so its
//! queue is bounded and nothing is lost.
//!
//! Invariant: each synced watcher is in `exact` or `ranges`, and no other is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::OnReady;
use super::message::{WatchCreateRequest, WatchEvents, WatchMessage, WatchRejection};
use super::queue::Queue;
use crate::key_range::KeyRange;
use crate::response::{Event, EventKind};

/// What one applied batch changed.
#[derive(Debug)]
pub(crate) struct Batch {
    /// First revision in it.
    pub(crate) first: i64,
    /// Last revision in it.
    pub(crate) last: i64,
    /// `None` if nobody watched when it was made.
    pub(crate) events: Option<Arc<[Event]>>,
    /// Whether the events have what was there before, as far as it existed.
    pub(crate) has_prev: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatcherId {
    pub(super) stream: u64,
    pub(super) watcher: i64,
}

#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) range: KeyRange,
    /// The first revision that was not given to it.
    pub(super) next_revision: i64,
    /// What it asked for; 0 for from now on. Before it there is nothing to tell of.
    start_revision: i64,
    synced: bool,
    pub(super) prev_kv: bool,
    no_put: bool,
    no_delete: bool,
    progress_notify: bool,
    had_events: bool,
}

pub(super) struct Stream {
    on_ready: OnReady,
    queue: Queue,
    pub(super) watchers: BTreeMap<i64, Watcher>,
    unsynced: BTreeSet<i64>,
    next_id: i64,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("queue", &self.queue.len())
            .field("watchers", &self.watchers)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    revision: i64,
    next_stream: u64,
    streams: BTreeMap<u64, Stream>,
    exact: BTreeMap<Bytes, Vec<WatcherId>>,
    ranges: BTreeMap<KeyRange, Vec<WatcherId>>,
    synced_count: usize,
    prev_kv_count: usize,
    events_total: u64,
    /// Of the batches that streams keep in memory, once for each stream.
    queued_bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    /// Whether a batch should have events. A watcher that comes while one is made without them
    /// reads that batch from history.
    wants_events: AtomicBool,
    wants_prev: AtomicBool,
}

/// A piece of history that a watcher needs next.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) watch_id: i64,
    pub(super) range: KeyRange,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) prev_kv: bool,
}

/// What a stream has next.
#[derive(Debug)]
pub(super) enum Next {
    Message(WatchMessage),
    Behind(Behind),
    Nothing,
}

/// Counters for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HubCounts {
    pub(crate) streams: u64,
    pub(crate) watchers: u64,
    pub(crate) slow_watchers: u64,
    pub(crate) pending_messages: u64,
    pub(crate) events_total: u64,
}

/// Streams to wake once the lock is free.
pub(super) type Wakes = Vec<OnReady>;

impl Hub {
    pub(crate) fn new(revision: i64) -> Self {
        let inner = Inner { revision, ..Inner::default() };
        Self { inner: Mutex::new(inner), ..Self::default() }
    }

    /// What a batch should have: events at all, and in them what was there before.
    pub(crate) fn wants(&self) -> (bool, bool) {
        (self.wants_events.load(Ordering::Acquire), self.wants_prev.load(Ordering::Acquire))
    }

    /// Gives a batch to the watchers. Called by apply, in order, when its records can be read.
    pub(crate) fn publish(&self, batch: &Batch) {
        let mut inner = self.inner.lock();
        assert_eq!(batch.first, inner.revision + 1, "batches are published without gaps");
        inner.revision = batch.last;
        let mut wakes = Wakes::new();
        match &batch.events {
            Some(events) => inner.distribute(batch, events, &mut wakes),
            None => inner.fall_back_all(batch.first, batch.last, &mut wakes),
        }
        self.release(inner, wakes);
    }

    /// The state was replaced by one at `revision`: what lies between is read from its history.
    pub(crate) fn jump(&self, revision: i64) {
        let mut inner = self.inner.lock();
        let first = inner.revision + 1;
        inner.revision = inner.revision.max(revision);
        let last = inner.revision;
        let mut wakes = Wakes::new();
        inner.fall_back_all(first, last, &mut wakes);
        self.release(inner, wakes);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    pub(super) fn release(&self, inner: MutexGuard<'_, Inner>, wakes: Wakes) {
        self.wants_events.store(inner.synced_count > 0, Ordering::Release);
        self.wants_prev.store(inner.prev_kv_count > 0, Ordering::Release);
        drop(inner);
        wakes.iter().for_each(|wake| wake());
    }

    pub(super) fn open_stream(&self, on_ready: OnReady) -> u64 {
        let mut inner = self.inner.lock();
        let id = inner.next_stream;
        inner.next_stream += 1;
        let stream = Stream {
            on_ready,
            queue: Queue::default(),
            watchers: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            next_id: 0,
        };
        inner.streams.insert(id, stream);
        id
    }

    pub(super) fn close_stream(&self, id: u64) {
        let mut inner = self.inner.lock();
        let ids: Vec<i64> = inner.stream(id).watchers.keys().copied().collect();
        for watcher in ids {
            inner.remove(WatcherId { stream: id, watcher });
        }
        let closed = inner.streams.remove(&id);
        inner.queued_bytes -= closed.map_or(0, |stream| stream.queue.bytes());
        self.release(inner, Wakes::new());
    }

    pub(super) fn create(
        &self,
        stream: u64,
        request: WatchCreateRequest,
    ) -> Result<i64, WatchRejection> {
        let mut inner = self.inner.lock();
        let mut wakes = Wakes::new();
        let created = inner.create(stream, request);
        let revision = inner.revision;
        let answer = match created {
            Ok(watch_id) => WatchMessage::Created { watch_id, revision },
            Err(reason) => WatchMessage::Rejected { revision, reason },
        };
        inner.stream_mut(stream).push(answer, &mut wakes);
        self.release(inner, wakes);
        created
    }

    pub(super) fn cancel(&self, stream: u64, watcher: i64) -> bool {
        let mut inner = self.inner.lock();
        let mut wakes = Wakes::new();
        let found = inner.remove(WatcherId { stream, watcher });
        if found {
            let revision = inner.revision;
            let message = WatchMessage::Canceled { watch_id: watcher, revision };
            inner.stream_mut(stream).push(message, &mut wakes);
        }
        self.release(inner, wakes);
        found
    }

    pub(super) fn request_progress(&self, stream: u64) {
        let mut inner = self.inner.lock();
        let mut wakes = Wakes::new();
        let revision = inner.revision;
        let stream = inner.stream_mut(stream);
        let has_begun = |watcher: &Watcher| watcher.start_revision <= revision;
        if stream.unsynced.is_empty()
            && !stream.watchers.is_empty()
            && stream.watchers.values().all(has_begun)
        {
            stream.push(WatchMessage::Progress { watch_id: -1, revision }, &mut wakes);
        }
        self.release(inner, wakes);
    }

    pub(super) fn send_periodic_progress(&self, stream: u64) {
        let mut inner = self.inner.lock();
        let mut wakes = Wakes::new();
        let revision = inner.revision;
        let stream = inner.stream_mut(stream);
        let mut due = Vec::new();
        for (id, watcher) in &mut stream.watchers {
            let had_events = std::mem::take(&mut watcher.had_events);
            let has_begun = watcher.start_revision <= revision;
            if watcher.progress_notify && watcher.synced && has_begun && !had_events {
                due.push(*id);
            }
        }
        for watch_id in due {
            stream.push(WatchMessage::Progress { watch_id, revision }, &mut wakes);
        }
        self.release(inner, wakes);
    }

    /// What the stream has next; history only behind all that waits.
    pub(super) fn next(&self, stream: u64, revisions_max: i64) -> Next {
        let mut inner = self.inner.lock();
        let revision = inner.revision;
        if let Some(message) = inner.pop(stream) {
            return Next::Message(message);
        }
        let stream = inner.stream_mut(stream);
        // The one that is furthest behind first, so that no one starves.
        let behind = stream.unsynced.iter().min_by_key(|id| {
            stream.watchers.get(id).map_or(i64::MAX, |watcher| watcher.next_revision)
        });
        let Some(watch_id) = behind.copied() else { return Next::Nothing };
        let watcher = stream.watchers.get(&watch_id).expect("an unsynced watcher exists");
        Next::Behind(Behind {
            watch_id,
            range: watcher.range.clone(),
            from: watcher.next_revision,
            to: revision.min(watcher.next_revision.saturating_add(revisions_max - 1)),
            prev_kv: watcher.prev_kv,
        })
    }

    /// Takes over the history that was read for a watcher: what of it goes to the client. `None`
    /// also if the watcher is gone.
    pub(super) fn caught_up(
        &self,
        stream: u64,
        behind: &Behind,
        events: Vec<Event>,
    ) -> Option<WatchMessage> {
        let mut inner = self.inner.lock();
        let id = WatcherId { stream, watcher: behind.watch_id };
        let revision = inner.revision;
        let watcher = inner.stream_mut(stream).watchers.get_mut(&id.watcher)?;
        if watcher.next_revision != behind.from {
            // Cancelled and made anew under the same name.
            return None;
        }
        watcher.next_revision = behind.to + 1;
        let events: Vec<Event> = events.into_iter().filter(|e| watcher.wants(e)).collect();
        watcher.had_events |= !events.is_empty();
        let prev_kv = watcher.prev_kv;
        if behind.to >= revision {
            inner.sync(id);
        }
        inner.events_total += events.len() as u64;
        self.release(inner, Wakes::new());
        (!events.is_empty()).then(|| WatchMessage::Events {
            watch_id: behind.watch_id,
            revision,
            events: WatchEvents::new(events.into(), None, prev_kv),
        })
    }

    /// The history that a watcher needs is gone, and so is the watcher.
    pub(super) fn compacted(
        &self,
        stream: u64,
        behind: &Behind,
        compact_revision: i64,
    ) -> Option<WatchMessage> {
        let mut inner = self.inner.lock();
        let found = inner.remove(WatcherId { stream, watcher: behind.watch_id });
        self.release(inner, Wakes::new());
        let watch_id = behind.watch_id;
        found.then_some(WatchMessage::Compacted { watch_id, compact_revision })
    }

    pub(crate) fn counts(&self) -> HubCounts {
        let inner = self.inner.lock();
        let mut counts = HubCounts {
            streams: inner.streams.len() as u64,
            events_total: inner.events_total,
            ..HubCounts::default()
        };
        for stream in inner.streams.values() {
            counts.watchers += stream.watchers.len() as u64;
            counts.slow_watchers += stream.unsynced.len() as u64;
            counts.pending_messages += stream.queue.len() as u64;
        }
        counts
    }
}

impl Stream {
    pub(super) fn push(&mut self, message: WatchMessage, wakes: &mut Wakes) {
        self.wake_if_quiet(wakes);
        self.queue.push(message);
    }

    fn wake_if_quiet(&self, wakes: &mut Wakes) {
        if self.queue.is_empty() {
            wakes.push(Arc::clone(&self.on_ready));
        }
    }
}

impl Watcher {
    fn wants(&self, event: &Event) -> bool {
        match event.kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

impl Inner {
    fn stream(&self, id: u64) -> &Stream {
        self.streams.get(&id).expect("a stream lives as long as its handle")
    }

    /// The next message that waits in a stream.
    fn pop(&mut self, id: u64) -> Option<WatchMessage> {
        let queue = &mut self.stream_mut(id).queue;
        let before = queue.bytes();
        let message = queue.pop();
        let freed = before - queue.bytes();
        self.queued_bytes -= freed;
        message
    }

    /// Forgets events that wait in a stream for a watcher that is gone.
    pub(super) fn drop_events(&mut self, id: u64, gone: i64) {
        let queue = &mut self.stream_mut(id).queue;
        let before = queue.bytes();
        queue.drop_events(gone);
        let freed = before - queue.bytes();
        self.queued_bytes -= freed;
    }

    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    pub(super) fn on_ready(&self) -> impl Iterator<Item = OnReady> {
        self.streams.values().map(|stream| Arc::clone(&stream.on_ready))
    }

    pub(super) fn stream_mut(&mut self, id: u64) -> &mut Stream {
        self.streams.get_mut(&id).expect("a stream lives as long as its handle")
    }

    fn create(&mut self, id: u64, request: WatchCreateRequest) -> Result<i64, WatchRejection> {
        let revision = self.revision;
        // The smallest key there can be is one zero byte, since none is empty.
        let key =
            if request.key.is_empty() { Bytes::from_static(&[0]) } else { request.key.clone() };
        let range = KeyRange::new(&key, &request.range_end);
        if range.is_empty() {
            return Err(WatchRejection::EmptyRange);
        }
        if request.start_revision < 0 {
            return Err(WatchRejection::NegativeStart);
        }
        let stream = self.stream_mut(id);
        if request.watch_id != 0 && stream.watchers.contains_key(&request.watch_id) {
            return Err(WatchRejection::DuplicateId);
        }
        let watch_id = if request.watch_id == 0 {
            while stream.watchers.contains_key(&stream.next_id) {
                stream.next_id += 1;
            }
            stream.next_id += 1;
            stream.next_id - 1
        } else {
            request.watch_id
        };
        let next_revision =
            if request.start_revision == 0 { revision + 1 } else { request.start_revision };
        let watcher = Watcher {
            range,
            next_revision,
            start_revision: request.start_revision,
            synced: false,
            prev_kv: request.prev_kv,
            no_put: request.no_put,
            no_delete: request.no_delete,
            progress_notify: request.progress_notify,
            had_events: false,
        };
        stream.watchers.insert(watch_id, watcher);
        stream.unsynced.insert(watch_id);
        self.prev_kv_count += usize::from(request.prev_kv);
        if next_revision > revision {
            self.sync(WatcherId { stream: id, watcher: watch_id });
        }
        Ok(watch_id)
    }

    fn group(&mut self, range: &KeyRange) -> &mut Vec<WatcherId> {
        if range.is_single() {
            self.exact.entry(range.start.clone()).or_default()
        } else {
            self.ranges.entry(range.clone()).or_default()
        }
    }

    /// From now on the watcher gets batches as they come.
    fn sync(&mut self, id: WatcherId) {
        let stream = self.stream_mut(id.stream);
        let watcher = stream.watchers.get_mut(&id.watcher).expect("the caller has seen it");
        assert!(!watcher.synced, "a synced watcher would be found twice");
        watcher.synced = true;
        let range = watcher.range.clone();
        stream.unsynced.remove(&id.watcher);
        self.group(&range).push(id);
        self.synced_count += 1;
    }

    /// From now on the watcher reads history.
    fn fall_back(&mut self, id: WatcherId, wakes: &mut Wakes) {
        let stream = self.stream_mut(id.stream);
        let watcher = stream.watchers.get_mut(&id.watcher).expect("the caller has seen it");
        watcher.synced = false;
        let range = watcher.range.clone();
        stream.unsynced.insert(id.watcher);
        if stream.queue.is_empty() {
            wakes.push(Arc::clone(&stream.on_ready));
        }
        self.leave_group(&range, id);
    }

    fn leave_group(&mut self, range: &KeyRange, id: WatcherId) {
        let group = self.group(range);
        group.retain(|member| *member != id);
        if group.is_empty() {
            if range.is_single() {
                self.exact.remove(&range.start);
            } else {
                self.ranges.remove(range);
            }
        }
        self.synced_count -= 1;
    }

    /// All watchers that want something from `first` to `last` read it from history. All before it
    /// they were given: one whose keys were quiet has not missed what was compacted meanwhile.
    fn fall_back_all(&mut self, first: i64, last: i64, wakes: &mut Wakes) {
        let groups = self.exact.values().chain(self.ranges.values());
        let ids: Vec<WatcherId> = groups.flatten().copied().collect();
        for id in ids {
            let stream = self.stream_mut(id.stream);
            let watcher = stream.watchers.get_mut(&id.watcher).expect("a group has no others");
            watcher.next_revision = watcher.next_revision.max(first);
            if watcher.next_revision <= last {
                self.fall_back(id, wakes);
            }
        }
    }

    pub(super) fn remove(&mut self, id: WatcherId) -> bool {
        let stream = self.stream_mut(id.stream);
        let Some(watcher) = stream.watchers.remove(&id.watcher) else { return false };
        stream.unsynced.remove(&id.watcher);
        if watcher.synced {
            self.leave_group(&watcher.range, id);
        }
        self.prev_kv_count -= usize::from(watcher.prev_kv);
        true
    }

    fn distribute(&mut self, batch: &Batch, events: &Arc<[Event]>, wakes: &mut Wakes) {
        let mut hits: Vec<(Vec<WatcherId>, Vec<u32>)> = Vec::new();
        let numbered = || events.iter().zip(0_u32..);
        if !self.exact.is_empty() {
            let mut by_key: BTreeMap<&Bytes, Vec<u32>> = BTreeMap::new();
            for (event, number) in numbered() {
                by_key.entry(&event.kv.key).or_default().push(number);
            }
            for (key, selected) in by_key {
                if let Some(group) = self.exact.get(key) {
                    hits.push((group.clone(), selected));
                }
            }
        }
        for (range, group) in &self.ranges {
            let inside = numbered().filter(|(event, _)| range.contains(&event.kv.key));
            let selected: Vec<u32> = inside.map(|(_, number)| number).collect();
            if !selected.is_empty() {
                hits.push((group.clone(), selected));
            }
        }
        let bytes = events.iter().map(Event::bytes).sum();
        for (group, selected) in hits {
            let shared = (selected.len() < events.len()).then(|| Arc::from(&*selected));
            for id in group {
                let events = WatchEvents::new(Arc::clone(events), shared.clone(), true);
                self.deliver(id, (batch, bytes), &events, wakes);
            }
        }
    }

    /// Gives a watcher what it wants of a batch of so many bytes.
    fn deliver(
        &mut self,
        id: WatcherId,
        (batch, bytes): (&Batch, usize),
        shared: &WatchEvents,
        wakes: &mut Wakes,
    ) {
        let all_bytes = self.queued_bytes;
        let stream = self.stream_mut(id.stream);
        let room = stream.queue.room(batch.last, bytes, all_bytes);
        let watcher = stream.watchers.get_mut(&id.watcher).expect("a group has no others");
        let events = shared.for_watcher(watcher.prev_kv, |event| {
            event.revision() >= watcher.next_revision && watcher.wants(event)
        });
        if events.is_empty() {
            return;
        }
        if events.len() > room || (watcher.prev_kv && !batch.has_prev) {
            // Nothing of this batch was given to it, and all before it was.
            watcher.next_revision = watcher.next_revision.max(batch.first);
            return self.fall_back(id, wakes);
        }
        watcher.next_revision = batch.last + 1;
        watcher.had_events = true;
        let count = events.len() as u64;
        let message = WatchMessage::Events { watch_id: id.watcher, revision: batch.last, events };
        stream.wake_if_quiet(wakes);
        let before = stream.queue.bytes();
        stream.queue.push_events(message, batch.last, bytes);
        let added = stream.queue.bytes() - before;
        self.queued_bytes += added;
        self.events_total += count;
    }
}
