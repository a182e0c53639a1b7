//! One watch stream as a value that is polled: requests in, messages of the store out.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use api::etcdserverpb::{self as pb, ResponseHeader, WatchResponse, watch_request::RequestUnion};
use parking_lot::Mutex;
use store::{WatchMessage, WatchRejection, WatchStream};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::count::Watchers;
use super::fragment;
use super::permit::{Permit, go_text, reason_text};
use crate::api_error::{ApiError, remap_oversize};
use crate::gate::Credentials;
use crate::member::Member;
use crate::translate::{request, response};

/// Requests taken in one turn when nothing waits to be sent. While something does, each answer that
/// goes makes room for one request: a client that floods its stream with questions must not make
/// their answers wait without bound.
const REQUESTS_A_TURN_MAX: usize = 64;

/// Who polls the session, to be called when the store has something.
#[derive(Debug, Default)]
struct Bell(Mutex<Option<Waker>>);

impl Bell {
    fn ring(&self) {
        let waker = self.0.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn answer_to(&self, waker: &Waker) {
        let mut held = self.0.lock();
        match &*held {
            Some(old) if old.will_wake(waker) => {}
            _ => *held = Some(waker.clone()),
        }
    }
}

type End = Pin<Box<dyn Future<Output = ApiError> + Send>>;

/// One stream.
pub(crate) struct Session {
    member: Arc<Member>,
    requests: Streaming<pb::WatchRequest>,
    /// A client may end its half of the stream and listen on.
    requests_ended: bool,
    watchers: WatchStream,
    bell: Arc<Bell>,
    counted: Watchers,
    /// Watchers that take the events of one revision in pieces.
    fragmented: BTreeSet<i64>,
    pieces: VecDeque<WatchResponse>,
    /// Whether the last turn had something to send, so that more may wait.
    is_busy: bool,
    /// Ticks once a watcher has asked to hear of progress.
    progress: Option<Interval>,
    permit: Permit,
    end: End,
    ended: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("watchers", &self.watchers).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(
        member: &Arc<Member>,
        requests: Streaming<pb::WatchRequest>,
        credentials: Credentials,
        counted: Watchers,
        needs_leader: bool,
    ) -> Self {
        let bell = Arc::new(Bell::default());
        let rung = Arc::clone(&bell);
        Self {
            watchers: member.store.watch_stream(Arc::new(move || rung.ring())),
            end: Box::pin(Arc::clone(member).stream_end(needs_leader)),
            member: Arc::clone(member),
            requests,
            requests_ended: false,
            bell,
            counted,
            fragmented: BTreeSet::new(),
            pieces: VecDeque::new(),
            is_busy: false,
            progress: None,
            permit: Permit::new(member, credentials),
            ended: false,
        }
    }

    /// Takes requests that wait. An error ends the stream.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        let most = if self.is_busy { 1 } else { REQUESTS_A_TURN_MAX };
        for _ in 0..most {
            if self.requests_ended {
                return Ok(());
            }
            match Pin::new(&mut self.requests).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.requests_ended = true,
                Poll::Ready(Some(Err(status))) => return Err(remap_oversize(status)),
                Poll::Ready(Some(Ok(request))) => self.handle(request),
            }
        }
        // There may be more: come back at once, after the events.
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn handle(&mut self, request: pb::WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
            Some(RequestUnion::CancelRequest(cancel)) => {
                self.forget(cancel.watch_id);
                // Nobody answers the cancellation of what there is not.
                self.watchers.cancel(cancel.watch_id);
            }
            Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})) => {
                self.watchers.request_progress();
            }
            None => {}
        }
    }

    fn create(&mut self, create: pb::WatchCreateRequest) {
        let (create, fragment) = request::watch_create(create);
        let progress_notify = create.progress_notify;
        // A rejection comes out of the stream in its turn.
        if let Err(error) = self.permit.admit(&self.member, &create) {
            return self.watchers.reject(WatchRejection::Denied(error));
        }
        let Some(held) = self.counted.hold(&create) else {
            return self.watchers.reject(WatchRejection::TooMany);
        };
        let Ok(id) = self.watchers.create(create) else { return };
        self.counted.keep(id, held);
        if fragment {
            self.fragmented.insert(id);
        }
        if progress_notify && self.progress.is_none() {
            self.progress = Some(self.progress_interval());
        }
    }

    /// A watcher is gone.
    fn forget(&mut self, id: i64) {
        self.fragmented.remove(&id);
        self.counted.release(id);
    }

    /// With up to a tenth more, so that the watchers of a cluster do not all speak at once.
    fn progress_interval(&self) -> Interval {
        let period = self.member.limits.watch_progress_interval;
        let jitter = u32::try_from(self.member.entropy.next_u64() % 100).unwrap_or_default();
        let period = period + period * jitter / 1000;
        let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        if let Some(interval) = &mut self.progress {
            while interval.poll_tick(cx).is_ready() {
                self.watchers.send_periodic_progress();
            }
        }
    }

    fn header(&self, revision: i64) -> Option<ResponseHeader> {
        self.member.header(revision)
    }

    /// Puts a message of the store into the words of the wire.
    fn answer(&mut self, message: WatchMessage) -> WatchResponse {
        let nothing = WatchResponse::default();
        match message {
            WatchMessage::Created { watch_id, revision } => {
                WatchResponse { header: self.header(revision), watch_id, created: true, ..nothing }
            }
            WatchMessage::Rejected { revision, reason } => WatchResponse {
                header: self.header(revision),
                watch_id: -1,
                created: true,
                canceled: true,
                cancel_reason: reason_text(reason),
                ..nothing
            },
            WatchMessage::Events { watch_id, revision, events } => WatchResponse {
                header: self.header(revision),
                watch_id,
                events: events.iter().map(response::event).collect(),
                ..nothing
            },
            WatchMessage::Canceled { watch_id, revision } => {
                WatchResponse { header: self.header(revision), watch_id, canceled: true, ..nothing }
            }
            WatchMessage::Compacted { watch_id, compact_revision } => {
                self.forget(watch_id);
                WatchResponse {
                    // Not of any revision: what it could say is gone.
                    header: self.header(0),
                    watch_id,
                    canceled: true,
                    compact_revision,
                    ..nothing
                }
            }
            WatchMessage::Denied { watch_id, revision, reason } => {
                self.forget(watch_id);
                WatchResponse {
                    header: self.header(revision),
                    watch_id,
                    canceled: true,
                    cancel_reason: go_text(reason),
                    ..nothing
                }
            }
            WatchMessage::Progress { watch_id, revision } => {
                WatchResponse { header: self.header(revision), watch_id, ..nothing }
            }
        }
    }

    /// The next message of the store, cut if its watcher wants that.
    fn next_response(&mut self) -> Result<Option<WatchResponse>, Status> {
        if let Some(piece) = self.pieces.pop_front() {
            return Ok(Some(piece));
        }
        // First the permission, then the look: what came after a change is not told before it.
        if let Some(standing) = self.permit.changed(&self.member) {
            self.watchers.enforce(&standing);
        }
        let message = self.watchers.poll().map_err(ApiError::from)?;
        let Some(message) = message else { return Ok(None) };
        let response = self.answer(message);
        if !self.fragmented.contains(&response.watch_id) {
            return Ok(Some(response));
        }
        self.pieces = fragment::split(response, self.member.limits.message_bytes_max);
        Ok(self.pieces.pop_front())
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<WatchResponse, Status>> {
        self.poll_requests(cx)?;
        self.poll_progress(cx);
        // First the bell, then the look: what comes between the two rings it.
        self.bell.answer_to(cx.waker());
        let next = self.next_response()?;
        self.is_busy = next.is_some();
        if let Some(response) = next {
            return Poll::Ready(Ok(response));
        }
        self.end.as_mut().poll(cx).map(|error| Err(error.into()))
    }
}

impl Stream for Session {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let session = self.get_mut();
        if session.ended {
            return Poll::Ready(None);
        }
        let step = session.poll_step(cx);
        if let Poll::Ready(Err(_)) = &step {
            session.ended = true;
        }
        step.map(Some)
    }
}
