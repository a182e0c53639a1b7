//! A storm of watchers: a thousand of them on some streams, writers, compactions, kills and
//! disconnects; and at the end the nine properties that etcd's robustness suite asks of a watch:
//! *filter, ordered, unique, atomic, bookmarkable, resumable, reliable, previous value, is-create*.
//! A watcher that history was taken from must be told so, and is held to all else.

mod stream;
mod truth;
mod watcher;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use api::etcdserverpb::CompactionRequest;
use api::etcdserverpb::kv_client::KvClient;
use env::SplitMix;
use tokio::task::JoinHandle;

use crate::audit;
use crate::load::lazy;
use stream::StreamClient;
use truth::Truth;
use watcher::Watcher;
use writer::{Acknowledged, Writer};

/// Keys that are written; few enough for each to change often.
const KEYS: u64 = 200;
const BETWEEN_COMPACTIONS: Duration = Duration::from_millis(300);
/// A stream that was away for longer than this many revisions finds its history gone.
const COMPACTION_MARGIN_MIN: u64 = 150;
const COMPACTION_MARGIN_SPREAD: u64 = 300;
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// How large a storm is to be.
#[derive(Clone, Copy, Debug)]
pub struct StormPlan {
    /// Watchers in all.
    pub watchers: usize,
    /// Streams, each with a connection of its own, over which they are spread.
    pub streams: usize,
    /// Who write without pause.
    pub writers: u64,
    /// For all that is left to chance.
    pub seed: u64,
}

/// What went on.
#[derive(Clone, Copy, Debug, Default)]
pub struct StormReport {
    /// Changes of keys.
    pub changes: u64,
    /// Events that watchers were given.
    pub deliveries: u64,
    /// Streams that ended and were resumed.
    pub resumed: u64,
    /// Watchers that were told that history was gone.
    pub cut: u64,
    /// Statements that all before a revision was delivered.
    pub bookmarks: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stop_writing: AtomicBool,
    /// The revision after which nothing is written any more; 0 until it is known.
    last: AtomicI64,
    newest: AtomicI64,
    /// The newest revision that a compaction was asked for.
    compacted: AtomicI64,
    deliveries: AtomicU64,
    resumed: AtomicU64,
}

/// A storm under way.
#[derive(Debug)]
pub struct Storm {
    shared: Arc<Shared>,
    endpoints: Vec<String>,
    first: i64,
    streams: Vec<JoinHandle<Vec<Watcher>>>,
    writers: Vec<JoinHandle<Vec<Acknowledged>>>,
    compactor: JoinHandle<()>,
}

/// The key of a number.
fn key(number: u64) -> String {
    format!("storm/{number:03}")
}

impl Storm {
    /// Makes all watchers, and then begins to write.
    ///
    /// # Panics
    /// The cluster does not answer.
    pub async fn start(endpoints: &[String], plan: StormPlan) -> Self {
        let shared = Arc::new(Shared::default());
        let mut dice = SplitMix::new(plan.seed);
        let first = audit::revision(&endpoints[0]).await + 1;
        shared.newest.store(first - 1, Ordering::Relaxed);
        let mut watchers: Vec<Vec<Watcher>> = (0..plan.streams).map(|_| Vec::new()).collect();
        for number in 0..plan.watchers {
            // The first streams have one each that sees all and remembers it.
            let watcher = if number < endpoints.len() {
                Watcher::reference(first)
            } else {
                Watcher::chosen(&mut dice, first)
            };
            watchers[number % plan.streams].push(watcher);
        }
        let streams = watchers.into_iter().enumerate().map(|(number, watchers)| {
            let dice = SplitMix::new(plan.seed ^ (number as u64 + 1) << 20);
            let shared = Arc::clone(&shared);
            let client = StreamClient::new(number, endpoints.to_vec(), watchers, dice, shared);
            tokio::spawn(client.run())
        });
        let streams = streams.collect();
        let writers = (0..plan.writers).map(|number| {
            let dice = SplitMix::new(plan.seed ^ (number + 1) << 40);
            tokio::spawn(Writer::new(number, endpoints, dice, Arc::clone(&shared)).run())
        });
        let writers = writers.collect();
        let compactor = tokio::spawn(compact(endpoints.to_vec(), dice, Arc::clone(&shared)));
        Self { shared, endpoints: endpoints.to_vec(), first, streams, writers, compactor }
    }

    /// Events that watchers were given so far.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.shared.deliveries.load(Ordering::Relaxed)
    }

    /// Lets all watchers catch up, with all members well, and looks at what they were given.
    ///
    /// # Errors
    /// What does not hold, the first few of it.
    ///
    /// # Panics
    /// The cluster does not answer, or a task of the storm has panicked.
    pub async fn end(self) -> Result<StormReport, String> {
        self.shared.stop_writing.store(true, Ordering::Relaxed);
        self.compactor.abort();
        let mut acknowledged = Vec::new();
        for writer in self.writers {
            acknowledged.extend(writer.await.expect("a writer does not panic"));
        }
        let last = audit::revision(&self.endpoints[0]).await;
        self.shared.last.store(last, Ordering::Relaxed);
        let mut watchers = Vec::new();
        for stream in self.streams {
            let done = tokio::time::timeout(SETTLE_WITHIN, stream).await;
            let done = done.map_err(|_| format!("a stream is not given all up to {last}"))?;
            watchers.extend(done.expect("a stream does not panic"));
        }
        let mut faults: Vec<String> =
            watchers.iter().flat_map(|watcher| watcher.faults.clone()).collect();
        let truth = Truth::of(&watchers, self.first, last, &mut faults);
        truth.check_acknowledged(&acknowledged, &mut faults);
        watchers.iter().for_each(|watcher| watcher.check(&truth, last, &mut faults));
        if let Some(first) = faults.first() {
            let shown = faults.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
            return Err(format!("{} faults, {first:.60}…; such as:\n{shown}", faults.len()));
        }
        Ok(StormReport {
            changes: truth.changes(),
            deliveries: self.shared.deliveries.load(Ordering::Relaxed),
            resumed: self.shared.resumed.load(Ordering::Relaxed),
            cut: watchers.iter().map(|watcher| watcher.gaps.len() as u64).sum(),
            bookmarks: watchers.iter().map(|watcher| watcher.bookmarks.len() as u64).sum(),
        })
    }
}

/// Compacts again and again, some way behind the newest revision.
async fn compact(endpoints: Vec<String>, mut dice: SplitMix, shared: Arc<Shared>) {
    let mut clients: Vec<_> =
        endpoints.iter().map(|endpoint| KvClient::new(lazy(endpoint))).collect();
    let count = clients.len();
    for turn in 0_usize.. {
        tokio::time::sleep(BETWEEN_COMPACTIONS).await;
        let margin = COMPACTION_MARGIN_MIN + dice.below(COMPACTION_MARGIN_SPREAD);
        let margin = i64::try_from(margin).unwrap_or(i64::MAX);
        let revision = shared.newest.load(Ordering::Relaxed) - margin;
        if revision > shared.compacted.load(Ordering::Relaxed) {
            // Before it is done: a watcher may feel it before we are told.
            shared.compacted.store(revision, Ordering::Relaxed);
            let request = CompactionRequest { revision, physical: turn % 2 == 0 };
            // A member that is dead does not do it; the next one will.
            let _answer = clients[turn % count].compact(request).await;
        }
    }
}
