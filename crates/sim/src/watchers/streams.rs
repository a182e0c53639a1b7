//! What a watcher listens to: the store's own stream, or one of the etcd API, polled by hand.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use api::etcdserverpb as pb;
use pb::watch_client::WatchClient;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;
use server::InProcess;
use store::{RequestError, Store, WatchCreateRequest, WatchMessage, WatchStream};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Code, Response, Status, Streaming};

use super::ledger::Seen;
use super::watcher::{Truth, Who};
use crate::Failure;
use crate::clients::{Headers, LEARNER, NO_LEARNER, UNREADABLE};

const ANSWERS: &str = "watch: answers";

/// One message.
#[derive(Debug)]
pub(super) enum Heard {
    Created,
    /// The revision in the header, and the changes, each with its own.
    Events(i64, Vec<(i64, Seen)>),
    Bookmark(i64),
    Compacted(i64),
}

/// What a look at a stream brings.
#[derive(Debug)]
pub(super) enum Next {
    Nothing,
    Heard(Heard),
    /// The node's disk has failed.
    Over,
    /// The member has no vote, and nobody watches there by the API.
    OfLearner,
}

/// Rings when there may be something to hear.
#[derive(Debug, Default)]
struct Bell(AtomicBool);

impl Bell {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

/// A stream with one watcher on it. It is looked at once, and then only when it rings: a change
/// that rings nobody would not be told to a client that waits, so here it is not told either.
#[derive(Debug)]
pub(super) struct Listening {
    stream: Kind,
    bell: Arc<Bell>,
}

#[derive(Debug)]
enum Kind {
    Store(WatchStream),
    Api(Box<ApiStream>),
}

impl Listening {
    /// Of the store itself.
    pub(super) fn to_store(store: &Store, create: WatchCreateRequest) -> Self {
        let bell = Arc::new(Bell(AtomicBool::new(true)));
        let rings = Arc::clone(&bell);
        let stream = store.watch_stream(Arc::new(move || rings.ring()));
        stream.create(create).expect("a good request");
        Self { stream: Kind::Store(stream), bell }
    }

    /// Through the door of a life of a node.
    pub(super) fn to_api(door: InProcess, life: u64, create: WatchCreateRequest) -> Self {
        let stream = Kind::Api(Box::new(ApiStream::new(door, life, create)));
        Self { stream, bell: Arc::new(Bell(AtomicBool::new(true))) }
    }

    pub(super) fn is_api(&self) -> bool {
        matches!(self.stream, Kind::Api(_))
    }

    /// What comes, if anything rang since nothing came.
    pub(super) fn next(&mut self, who: Who, truth: Truth) -> Result<Next, Failure> {
        if !self.bell.0.swap(false, Ordering::Relaxed) {
            return Ok(Next::Nothing);
        }
        let next = self.look(who, truth)?;
        // Behind what came there may be more, of which nobody need be told.
        if matches!(next, Next::Heard(_)) {
            self.bell.ring();
        }
        Ok(next)
    }

    /// Asks how far the watcher is.
    pub(super) fn request_progress(&self) {
        match &self.stream {
            Kind::Store(stream) => stream.request_progress(),
            Kind::Api(stream) => {
                stream.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
            }
        }
    }

    /// Looks, whether anything rang or not.
    pub(super) fn look(&mut self, who: Who, truth: Truth) -> Result<Next, Failure> {
        match &mut self.stream {
            Kind::Store(stream) => match stream.poll() {
                Err(RequestError::ReadFailed) if truth.is_ill => Ok(Next::Over),
                Err(error) => Err(Failure::new(ANSWERS, format!("{who:?}: {error:?}"))),
                Ok(None) => Ok(Next::Nothing),
                Ok(Some(message)) => of_store(message, who).map(Next::Heard),
            },
            Kind::Api(stream) => stream.next(&self.bell, who, truth),
        }
    }
}

fn of_store(message: WatchMessage, who: Who) -> Result<Heard, Failure> {
    match message {
        WatchMessage::Created { .. } => Ok(Heard::Created),
        WatchMessage::Events { revision, events, .. } => {
            let events = events.iter().map(|event| (event.kv.mod_revision, Seen::of(&event)));
            Ok(Heard::Events(revision, events.collect()))
        }
        WatchMessage::Progress { revision, .. } => Ok(Heard::Bookmark(revision)),
        WatchMessage::Compacted { compact_revision, .. } => Ok(Heard::Compacted(compact_revision)),
        other @ (WatchMessage::Rejected { .. }
        | WatchMessage::Canceled { .. }
        | WatchMessage::Denied { .. }) => Err(Failure::new(ANSWERS, format!("{who:?}: {other:?}"))),
    }
}

/// What is to be sent, in order, and whom to wake for it.
#[derive(Clone, Debug, Default)]
struct Requests(Arc<Mutex<(VecDeque<pb::WatchRequest>, Option<Waker>)>>);

impl Stream for Requests {
    type Item = pb::WatchRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (requests, waker) = &mut *self.0.lock().expect("one thread");
        match requests.pop_front() {
            Some(request) => Poll::Ready(Some(request)),
            None => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

type Opened = Result<Response<Streaming<pb::WatchResponse>>, Status>;

/// A stream of the API.
pub(super) struct ApiStream {
    requests: Requests,
    opening: Option<Pin<Box<dyn Future<Output = Opened>>>>,
    answers: Option<Streaming<pb::WatchResponse>>,
    life: u64,
    headers: Headers,
    is_created: bool,
}

impl fmt::Debug for ApiStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiStream").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl ApiStream {
    /// Through the door of this life.
    pub(super) fn new(door: InProcess, life: u64, create: WatchCreateRequest) -> Self {
        let requests = Requests::default();
        let sent = requests.clone();
        let opening = Box::pin(async move {
            WatchClient::new(door).max_decoding_message_size(usize::MAX).watch(sent).await
        });
        let (headers, opening) = (Headers::default(), Some(opening as _));
        let stream = Self { requests, opening, answers: None, life, headers, is_created: false };
        stream.ask(RequestUnion::CreateRequest(on_the_wire(create)));
        stream
    }

    fn ask(&self, request: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(request) };
        let waker = {
            let (requests, waker) = &mut *self.requests.0.lock().expect("one thread");
            requests.push_back(request);
            waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn next(&mut self, bell: &Arc<Bell>, who: Who, truth: Truth) -> Result<Next, Failure> {
        match self.poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell)))) {
            Poll::Pending => Ok(Next::Nothing),
            Poll::Ready(Some(Ok(answer))) => self.heard(answer, who).map(Next::Heard),
            Poll::Ready(Some(Err(status))) if status.message() == LEARNER => {
                let what = || format!("{who:?}: {status:?}");
                Failure::unless(!truth.votes, NO_LEARNER, what)?;
                Ok(Next::OfLearner)
            }
            // Its disk failed under a look into history.
            Poll::Ready(Some(Err(status)))
                if (status.code(), status.message()) == (Code::Internal, UNREADABLE)
                    && truth.is_ill =>
            {
                Ok(Next::Over)
            }
            Poll::Ready(over) => Err(Failure::new(ANSWERS, format!("{who:?}: {over:?}"))),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<pb::WatchResponse, Status>>> {
        if let Some(opening) = &mut self.opening {
            let opened = std::task::ready!(opening.as_mut().poll(cx));
            self.opening = None;
            match opened {
                Ok(answers) => self.answers = Some(answers.into_inner()),
                Err(status) => return Poll::Ready(Some(Err(status))),
            }
        }
        let Some(answers) = &mut self.answers else { return Poll::Ready(None) };
        Pin::new(answers).poll_next(cx)
    }

    fn heard(&mut self, answer: pb::WatchResponse, who: Who) -> Result<Heard, Failure> {
        let wrong =
            |answer: &pb::WatchResponse| Failure::new(ANSWERS, format!("{who:?}: {answer:?}"));
        let Some(header) = &answer.header else { return Err(wrong(&answer)) };
        self.headers.check_header((who.0, who.1, self.life), header)?;
        let revision = header.revision;
        let is_first = !std::mem::replace(&mut self.is_created, true);
        if is_first != answer.created || answer.fragment || !answer.cancel_reason.is_empty() {
            return Err(wrong(&answer));
        }
        match (answer.created, answer.canceled, answer.compact_revision) {
            (true, false, 0) if answer.events.is_empty() => Ok(Heard::Created),
            // Of no revision: what it could tell of is gone.
            (false, true, 1..) if revision == 0 => Ok(Heard::Compacted(answer.compact_revision)),
            (false, false, 0) if answer.events.is_empty() => Ok(Heard::Bookmark(revision)),
            (false, false, 0) => {
                let events = answer.events.iter().map(|event| {
                    let at = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
                    Some((at, Seen::on_the_wire(event)?))
                });
                let events: Option<Vec<_>> = events.collect();
                events.map(|events| Heard::Events(revision, events)).ok_or_else(|| wrong(&answer))
            }
            _ => Err(wrong(&answer)),
        }
    }
}

fn on_the_wire(create: WatchCreateRequest) -> pb::WatchCreateRequest {
    let filters = [(create.no_put, FilterType::Noput), (create.no_delete, FilterType::Nodelete)];
    let filters = filters.iter().filter(|(is_on, _)| *is_on).map(|(_, kind)| i32::from(*kind));
    pb::WatchCreateRequest {
        key: create.key,
        range_end: create.range_end,
        start_revision: create.start_revision,
        filters: filters.collect(),
        prev_kv: create.prev_kv,
        ..pb::WatchCreateRequest::default()
    }
}
