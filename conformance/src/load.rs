//! Clients that write without pause, remember what was acknowledged, and check what they read.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::{PutRequest, RangeRequest};
use env::SplitMix;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A request to a member that dies is given up after this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A write that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its key, which nobody else writes.
    pub key: String,
    /// The revision that the acknowledgement told.
    pub revision: i64,
}

/// What one client did.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of acknowledgement.
    pub acknowledged: Vec<Acknowledged>,
    /// Writes that failed, or whose outcome nobody knows.
    pub unknown: u64,
    /// What the client read and must not have.
    pub violations: Vec<String>,
}

/// Clients under way.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<History>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    value: Vec<u8>,
    /// The write that was acknowledged last, of any client: whoever reads later must see it.
    latest: Mutex<Option<Acknowledged>>,
}

impl Load {
    /// Starts `count` clients; each puts values of `value_bytes` under keys of its own and reads in
    /// between. Must be called inside a tokio runtime.
    ///
    /// # Panics
    /// An endpoint is not an address.
    #[must_use]
    pub fn start(endpoints: &[String], count: u64, value_bytes: usize, seed: u64) -> Self {
        let mut dice = SplitMix::new(seed);
        Self::start_numbered(endpoints, 0..count, value_bytes, dice.next_u64())
    }

    /// The same with the clients' numbers, by which the keys of two loads differ.
    ///
    /// # Panics
    /// An endpoint is not an address.
    #[must_use]
    pub fn start_numbered(
        endpoints: &[String],
        numbers: Range<u64>,
        value_bytes: usize,
        seed: u64,
    ) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            value: vec![b'v'; value_bytes],
            latest: Mutex::new(None),
        });
        let clients = numbers
            .map(|number| {
                let client = Client {
                    number,
                    dice: SplitMix::new(seed.wrapping_add(number)),
                    members: endpoints.iter().map(|address| KvClient::new(lazy(address))).collect(),
                    seen_revision: 0,
                    history: History::default(),
                };
                tokio::spawn(client.run(Arc::clone(&shared)))
            })
            .collect();
        Self { shared, clients }
    }

    /// How many writes have been acknowledged until now.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends the clients and collects what they know.
    ///
    /// # Panics
    /// A client panicked.
    pub async fn stop(self) -> Vec<History> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut histories = Vec::new();
        for client in self.clients {
            histories.push(client.await.expect("a client ends without a panic"));
        }
        histories
    }
}

/// A channel that connects when it is used, again after each failure.
///
/// # Panics
/// `address` is not one.
#[must_use]
pub fn lazy(address: &str) -> Channel {
    lazy_within(address, Duration::from_secs(1))
}

/// The same for a client that is more patient: the first packet of a connection that meets a full
/// queue is lost, and goes again a second later.
///
/// # Panics
/// `address` is not one.
#[must_use]
pub fn lazy_within(address: &str, connect_timeout: Duration) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("the harness makes addresses that are addresses")
        .connect_timeout(connect_timeout)
        .timeout(REQUEST_TIMEOUT)
        .tcp_nodelay(true)
        .connect_lazy()
}

struct Client {
    number: u64,
    dice: SplitMix,
    members: Vec<KvClient<Channel>>,
    /// The highest revision that any answer to this client has told.
    seen_revision: i64,
    history: History,
}

impl Client {
    async fn run(mut self, shared: Arc<Shared>) -> History {
        let mut sequence = 0_u64;
        while !shared.stop.load(Ordering::Relaxed) {
            sequence += 1;
            let key = format!("load/{:03}/{sequence:08}", self.number);
            match self.put(&key, &shared.value).await {
                Ok(revision) => {
                    self.note_acknowledged(Acknowledged { key, revision }, &shared).await
                }
                Err(_) => {
                    self.history.unknown += 1;
                    // A dead member refuses at once: do not ask it in a tight loop.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        self.history
    }

    fn member(&mut self) -> &mut KvClient<Channel> {
        let count = u64::try_from(self.members.len()).unwrap_or(1);
        let chosen = usize::try_from(self.dice.below(count)).unwrap_or(0);
        &mut self.members[chosen]
    }

    async fn put(&mut self, key: &str, value: &[u8]) -> Result<i64, Status> {
        let request = PutRequest {
            key: key.to_owned().into(),
            value: value.to_vec().into(),
            ..PutRequest::default()
        };
        let answer = self.member().put(request).await?.into_inner();
        Ok(answer.header.map_or(0, |header| header.revision))
    }

    async fn note_acknowledged(&mut self, write: Acknowledged, shared: &Shared) {
        shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        if write.revision <= self.seen_revision {
            let Acknowledged { key, revision } = &write;
            let seen = self.seen_revision;
            self.violation(format!("{key} was written at {revision}, but {seen} was seen before"));
        }
        self.seen_revision = self.seen_revision.max(write.revision);
        // The lock is held for a copy only; no await is near.
        *shared.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(write.clone());
        self.history.acknowledged.push(write.clone());
        match self.dice.below(8) {
            0 => self.check_visible(&write).await,
            1 => {
                let latest = shared.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(latest) = latest {
                    self.check_visible(&latest).await;
                }
            }
            _ => {}
        }
    }

    /// A linearizable read, through any member, must see what was acknowledged before it began.
    async fn check_visible(&mut self, write: &Acknowledged) {
        let request = RangeRequest { key: write.key.clone().into(), ..RangeRequest::default() };
        let Ok(answer) = self.member().range(request).await else { return };
        let answer = answer.into_inner();
        let at = answer.header.as_ref().map_or(0, |header| header.revision);
        let Acknowledged { key, revision } = write;
        match answer.kvs.first() {
            None => self.violation(format!("{key}, written at {revision}, is not read at {at}")),
            Some(kv) if kv.mod_revision != *revision || kv.version != 1 => {
                let (found, version) = (kv.mod_revision, kv.version);
                self.violation(format!(
                    "{key}, written once at {revision}, is read with revision {found}, version {version}"
                ));
            }
            Some(_) => {}
        }
        if at < self.seen_revision {
            let seen = self.seen_revision;
            self.violation(format!("a read of {key} went back to revision {at} from {seen}"));
        }
        self.seen_revision = self.seen_revision.max(at);
    }

    fn violation(&mut self, text: String) {
        self.history.violations.push(format!("client {}: {text}", self.number));
    }
}
