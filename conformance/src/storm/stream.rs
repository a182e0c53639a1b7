//! One stream of watchers, which is cut off and begins again, reads slowly now and then, and asks
//! how far it has got.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{WatchProgressRequest, WatchRequest, WatchResponse};
use env::SplitMix;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

use super::Shared;
use super::watcher::Watcher;
use crate::load::lazy;

const BETWEEN_QUESTIONS: Duration = Duration::from_millis(150);
/// One stream in this many reads nothing for a while, now and then.
const SLOW_ONE_IN: u64 = 60;
const SLOW_FOR: Duration = Duration::from_millis(1200);
const CUT_OFF_ONE_IN: u64 = 40;
const MESSAGE_BYTES_MAX: usize = 256 << 20;

pub(super) struct StreamClient {
    number: usize,
    endpoints: Vec<String>,
    watchers: Vec<Watcher>,
    dice: SplitMix,
    shared: Arc<Shared>,
}

/// A stream as long as it lasts.
struct Session {
    requests: UnboundedSender<WatchRequest>,
    answers: Streaming<WatchResponse>,
    /// Which of the watchers an id names.
    ids: BTreeMap<i64, usize>,
    next_id: i64,
    /// Those that the server has said to have made: a statement about all is about them.
    live: BTreeSet<usize>,
}

impl StreamClient {
    pub(super) fn new(
        number: usize,
        endpoints: Vec<String>,
        watchers: Vec<Watcher>,
        dice: SplitMix,
        shared: Arc<Shared>,
    ) -> Self {
        Self { number, endpoints, watchers, dice, shared }
    }

    /// Goes on until all watchers have been given all that there will be.
    pub(super) async fn run(mut self) -> Vec<Watcher> {
        let mut member = self.number;
        while !self.has_all() {
            // A stream that ends, whyever, is resumed at the next member.
            let _ended: Result<(), Status> = self.session(member).await;
            member += 1;
            self.shared.resumed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(self.dice.below(100))).await;
        }
        self.watchers
    }

    fn has_all(&self) -> bool {
        let last = self.shared.last.load(Ordering::Relaxed);
        last > 0 && self.watchers.iter().all(|watcher| watcher.next > last)
    }

    async fn session(&mut self, member: usize) -> Result<(), Status> {
        let endpoint = &self.endpoints[member % self.endpoints.len()];
        let (requests, stream) = unbounded_channel();
        let mut client =
            WatchClient::new(lazy(endpoint)).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let answers = client.watch(UnboundedReceiverStream::new(stream)).await?.into_inner();
        let mut session =
            Session { requests, answers, ids: BTreeMap::new(), next_id: 1, live: BTreeSet::new() };
        for (number, watcher) in self.watchers.iter().enumerate() {
            session.create(number, watcher);
        }
        let mut question = tokio::time::interval(BETWEEN_QUESTIONS);
        while !self.has_all() {
            tokio::select! {
                answer = session.answers.message() => {
                    let answer = answer?.ok_or_else(|| Status::unavailable("it ended"))?;
                    self.take(&mut session, answer);
                }
                _ = question.tick() => {
                    session.send(RequestUnion::ProgressRequest(WatchProgressRequest {}));
                    let is_quiet = self.shared.last.load(Ordering::Relaxed) > 0;
                    if !is_quiet && self.dice.below(SLOW_ONE_IN) == 0 {
                        tokio::time::sleep(SLOW_FOR).await;
                    }
                    if !is_quiet && self.dice.below(CUT_OFF_ONE_IN) == 0 {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, session: &mut Session, answer: WatchResponse) {
        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
        if answer.watch_id == -1 && answer.events.is_empty() && !answer.canceled {
            for number in &session.live {
                self.watchers[*number].bookmark(revision);
            }
            return;
        }
        let Some(number) = session.ids.get(&answer.watch_id).copied() else {
            return self.watchers[0].fault(&format!("an answer for nobody: {answer:?}"));
        };
        let watcher = &mut self.watchers[number];
        if answer.canceled && answer.compact_revision > 0 {
            watcher.cut(answer.compact_revision);
            session.ids.remove(&answer.watch_id);
            session.live.remove(&number);
            session.create(number, &self.watchers[number]);
        } else if answer.canceled {
            watcher.fault(&format!("cancelled: {answer:?}"));
        } else if answer.created {
            session.live.insert(number);
        } else if !answer.events.is_empty() {
            let count = answer.events.len() as u64;
            self.shared.deliveries.fetch_add(count, Ordering::Relaxed);
            let compacted = self.shared.compacted.load(Ordering::Relaxed);
            watcher.observe(revision, answer.events, compacted);
        }
    }
}

impl Session {
    fn create(&mut self, number: usize, watcher: &Watcher) {
        let id = self.next_id;
        self.next_id += 1;
        self.ids.insert(id, number);
        self.send(RequestUnion::CreateRequest(watcher.request(id)));
    }

    fn send(&self, request: RequestUnion) {
        // A stream that has ended is noticed where its answers are read.
        let _sent = self.requests.send(WatchRequest { request_union: Some(request) });
    }
}
