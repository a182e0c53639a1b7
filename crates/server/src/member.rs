//! What every service of a member shares: the way into the log, the way to read, and the header.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::etcdserverpb::ResponseHeader;
use env::{Clock, Disk, Entropy};
use host::{GroupHandle, ProposeError};
use parking_lot::Mutex;
use raft::Term;
use store::{Command, Lessor, Principal, RequestError, Response, Store};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::api_error::ApiError;
use crate::identity::Identity;
use crate::jwt::Jwt;
use crate::leadership::Leadership;
use crate::metrics::Metrics;
use crate::options::ServerOptions;

/// TLS handshakes at a time. Those of clients that say nothing hold their turn until they are cut
/// off.
const HANDSHAKES_AT_ONCE: usize = 1024;
/// Backups at a time: each has a file as large as all keys, and a thread that waits for its client.
const BACKUPS_AT_ONCE: usize = 8;
/// Passwords hashed at a time: each keeps a processor busy for a good while.
const HASHES_AT_ONCE: usize = 2;

/// What applying a command answers.
pub(crate) type Applied = Result<Response, RequestError>;

/// Numbers from the options that requests are held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) request_bytes_max: usize,
    pub(crate) message_bytes_max: usize,
    pub(crate) txn_ops_max: usize,
    pub(crate) lease_ttl_secs_min: i64,
    pub(crate) request_timeout: Duration,
    pub(crate) election_timeout: Duration,
    /// Whether a change of the members is held against who is there.
    pub(crate) strict_reconfig_check: bool,
    pub(crate) watch_progress_interval: Duration,
    /// 0 for no bound.
    pub(crate) quota_bytes: u64,
    pub(crate) lease_checkpoint_interval: Duration,
    pub(crate) auth_token_ttl: Duration,
    pub(crate) bcrypt_cost: u32,
    /// 0 for no bound.
    pub(crate) connection_calls_per_second: u32,
    pub(crate) leases_max: usize,
}

impl Limits {
    pub(crate) fn of(options: &ServerOptions) -> Self {
        Self {
            request_bytes_max: options.max_request_bytes,
            message_bytes_max: options.message_bytes_max(),
            txn_ops_max: options.max_txn_ops,
            lease_ttl_secs_min: options.lease_ttl_secs_min(),
            request_timeout: Duration::from_millis(options.request_timeout_ms()),
            election_timeout: Duration::from_millis(options.election_timeout_ms),
            strict_reconfig_check: options.strict_reconfig_check,
            watch_progress_interval: Duration::from_millis(
                options.watch_progress_notify_interval_ms,
            ),
            quota_bytes: options.quota_bytes().unwrap_or(0),
            lease_checkpoint_interval: Duration::from_millis(options.lease_checkpoint_interval_ms),
            auth_token_ttl: Duration::from_secs(options.auth_token_ttl_secs),
            bcrypt_cost: options.bcrypt_cost,
            connection_calls_per_second: options.max_requests_per_second,
            leases_max: options.leases_max,
        }
    }
}

/// Where a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has not caught up yet.
    Starting,
    /// It serves.
    Ready,
    /// It is going away.
    Stopping,
}

/// One member of one group, as its services see it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) identity: Identity,
    pub(crate) client_urls: Vec<String>,
    pub(crate) group: GroupHandle<Applied>,
    pub(crate) store: Store,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) lessor: Mutex<Lessor>,
    pub(crate) limits: Limits,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) data_dir: PathBuf,
    /// Whether a NOSPACE alarm is on its way, so that a flood of refused puts raises one.
    pub(crate) raising_alarm: AtomicBool,
    /// Held while something is written down about what leases have left.
    pub(crate) checkpointing: Arc<tokio::sync::Mutex<()>>,
    /// Turns at TLS handshakes, which cost a processor more than most requests.
    pub(crate) handshakes: Semaphore,
    /// Turns at backups.
    pub(crate) backups: Arc<Semaphore>,
    /// Turns at hashing passwords.
    pub(crate) hashing: Semaphore,
    /// Makes and reads tokens, if they are signed ones.
    pub(crate) jwt: Option<Jwt>,
}

/// What a member is made of.
pub(crate) struct Grounds {
    pub(crate) identity: Identity,
    pub(crate) client_urls: Vec<String>,
    pub(crate) group: GroupHandle<Applied>,
    pub(crate) store: Store,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) data_dir: PathBuf,
    pub(crate) jwt: Option<Jwt>,
}

impl Member {
    /// One that has not caught up yet.
    pub(crate) fn new(grounds: Grounds) -> Self {
        let Grounds { identity, client_urls, group, store, leadership, limits, .. } = grounds;
        let Grounds { clock, entropy, disk, data_dir, jwt, .. } = grounds;
        store.measure_times(Arc::clone(&clock));
        Self {
            identity,
            client_urls,
            group,
            store,
            leadership,
            lessor: Mutex::new(Lessor::with_checkpoints(limits.lease_checkpoint_interval)),
            limits,
            phase: watch::Sender::new(Phase::Starting),
            metrics: Metrics::default(),
            clock,
            entropy,
            disk,
            data_dir,
            raising_alarm: false.into(),
            checkpointing: Arc::default(),
            handshakes: Semaphore::new(HANDSHAKES_AT_ONCE),
            backups: Arc::new(Semaphore::new(BACKUPS_AT_ONCE)),
            hashing: Semaphore::new(HASHES_AT_ONCE),
            jwt,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.identity.member_id.0
    }

    /// A header with everything in it.
    pub(crate) fn header(&self, revision: i64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: self.identity.cluster.id,
            member_id: self.id(),
            revision,
            raft_term: self.leadership.term(),
        })
    }

    /// Sends a command through the log and returns what applying it on this member answered.
    /// On the server's own account.
    pub(crate) async fn propose(self: &Arc<Self>, command: &Command) -> Result<Response, ApiError> {
        self.propose_as(Some(&Principal::Server), command).await
    }

    /// The same for a client; nobody while authentication is off.
    pub(crate) async fn propose_as(
        self: &Arc<Self>,
        who: Option<&Principal>,
        command: &Command,
    ) -> Result<Response, ApiError> {
        let (reply, answer) = oneshot::channel();
        let encoded = self.encode(who, command)?;
        let _pending = self.metrics.proposals_pending.enter();
        self.group.propose(&encoded, move |result| tell(reply, result));
        self.settle(answer).await
    }

    /// The same, on the leader's own account and only in this term.
    pub(crate) async fn propose_as_leader(
        self: &Arc<Self>,
        term: Term,
        command: &Command,
    ) -> Result<Response, ApiError> {
        let (reply, answer) = oneshot::channel();
        let encoded = self.encode(Some(&Principal::Server), command)?;
        self.group.propose_as_leader(term, &encoded, move |result| tell(reply, result));
        self.settle(answer).await
    }

    fn encode(&self, who: Option<&Principal>, command: &Command) -> Result<bytes::Bytes, ApiError> {
        let encoded = match who {
            None => command.encode(),
            Some(who) => command.encode_as(who),
        };
        if encoded.len() > self.limits.request_bytes_max {
            return Err(ApiError::RequestTooLarge);
        }
        Ok(encoded)
    }

    async fn settle(
        self: &Arc<Self>,
        answer: oneshot::Receiver<Result<Applied, ProposeError>>,
    ) -> Result<Response, ApiError> {
        // The host answers every proposal, by its own timeout if not before; it drops one only when
        // it stops.
        let applied = answer.await.map_err(|_| ApiError::Stopped)??;
        if applied == Err(RequestError::NoSpace) {
            self.raise_no_space();
        }
        Ok(applied?)
    }

    /// Returns once a read of this member's state is linearizable.
    pub(crate) async fn read_barrier(&self) -> Result<(), ApiError> {
        let (reply, answer) = oneshot::channel();
        self.group.read_index(move |result| tell(reply, result));
        answer.await.map_err(|_| ApiError::Stopped)??;
        Ok(())
    }

    /// What a member without a vote does not do.
    pub(crate) fn refuse_learner(&self) -> Result<(), ApiError> {
        if self.leadership.is_learner() { Err(ApiError::NotForLearner) } else { Ok(()) }
    }

    /// Raises the alarm for this member if its quota is used up and the alarm is not on.
    pub(crate) fn raise_no_space(self: &Arc<Self>) {
        let alarm = store::AlarmMember { member_id: self.id(), alarm: store::AlarmKind::NoSpace };
        let needed = self.store.quota_exceeded() && !self.store.alarms().contains(&alarm);
        if !needed || self.raising_alarm.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!(
            quota_bytes = self.limits.quota_bytes,
            size_bytes = self.store.status().size_bytes,
            "the quota is used up: writes are refused until keys are deleted, history is compacted \
             and the alarm is disarmed"
        );
        let member = Arc::clone(self);
        tokio::spawn(async move {
            let command = Command::Alarm(store::AlarmCommand::Activate(alarm));
            if let Err(error) = Box::pin(member.propose(&command)).await {
                tracing::warn!(?error, "the alarm NOSPACE could not be raised");
            }
            member.raising_alarm.store(false, Ordering::Release);
        });
    }

    pub(crate) fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Ready
    }

    /// Returns once the server is going away.
    pub(crate) async fn stopping(&self) {
        let mut phase = self.phase.subscribe();
        let stopping = phase.wait_for(|phase| *phase == Phase::Stopping).await;
        debug_assert!(stopping.is_ok(), "the sender of phases must outlive its borrow");
    }

    /// Why a stream of this member has to end: the server goes away, or, for a client that wants to
    /// know, the leader has been lost for three election timeouts.
    pub(crate) async fn stream_end(self: Arc<Self>, needs_leader: bool) -> ApiError {
        let lasting = 3 * self.limits.election_timeout;
        tokio::select! {
            () = self.stopping() => ApiError::Stopped,
            () = self.leadership.wait_for_loss(lasting), if needs_leader => ApiError::NoLeader,
        }
    }
}

/// Answers a request. One whose client is gone has dropped the other end: nobody is to be told.
pub(crate) fn tell<T>(reply: oneshot::Sender<T>, result: T) {
    let _ = reply.send(result);
}

/// Whether the client would rather fail than wait for a leader.
pub(crate) fn needs_leader(metadata: &tonic::metadata::MetadataMap) -> bool {
    metadata.get("hasleader").is_some_and(|value| value.as_bytes() == b"true")
}
