//! A server that runs, as the binary and tests hold it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use host::transport::PeerListener;
use host::{Host, Receiver};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::errors::ExitReason;
use crate::member::{Applied, Member, Phase, tell};

/// How long the next leader may take to take over when this one goes away.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);

/// What a server knows of itself and its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The member's name.
    pub name: String,
    /// The member.
    pub member_id: u64,
    /// The cluster.
    pub cluster_id: u64,
    /// Who leads, as far as the member knows.
    pub leader_id: Option<u64>,
    /// The current term.
    pub term: u64,
    /// What is applied.
    pub applied_index: u64,
    /// The log entries that only a snapshot has.
    pub snapshot_index: u64,
    /// The store's revision.
    pub revision: i64,
    /// Whether the member has caught up and serves.
    pub ready: bool,
    /// What clients are told to connect to.
    pub client_urls: Vec<String>,
}

/// What runs beside the services; taken apart once, by shutdown or by drop.
pub(crate) struct Parts {
    pub(crate) host: Host<Applied>,
    pub(crate) peer_listeners: Vec<PeerListener>,
    /// Hears of this member's removal as long as it runs.
    pub(crate) _judge: Arc<OnceLock<Receiver>>,
    /// Serves clients until the phase is [`Phase::Stopping`].
    pub(crate) serving: Vec<JoinHandle<()>>,
    /// Anything else that runs for the member.
    pub(crate) tasks: Vec<JoinHandle<()>>,
    /// The data folder is this process's for as long as it lives.
    pub(crate) folder: wal::DataFolder,
}

/// A server that runs. Dropping it ends it at once, as a crash would, without handing anything
/// over; [`RunningServer::shutdown`] ends it well.
pub struct RunningServer {
    pub(crate) member: Arc<Member>,
    pub(crate) client_addresses: Vec<SocketAddr>,
    pub(crate) peer_addresses: Vec<SocketAddr>,
    pub(crate) metrics_addresses: Vec<SocketAddr>,
    pub(crate) ending: watch::Receiver<Option<ExitReason>>,
    pub(crate) parts: Option<Parts>,
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningServer").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl RunningServer {
    /// Where clients are served; the first, if there are several.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        *self.client_addresses.first().expect("a server does not start without a client socket")
    }

    /// Where clients are served.
    #[must_use]
    pub fn client_addresses(&self) -> &[SocketAddr] {
        &self.client_addresses
    }

    /// Where metrics and health are served as well.
    #[must_use]
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        &self.metrics_addresses
    }

    /// Where members are served.
    #[must_use]
    pub fn peer_addresses(&self) -> &[SocketAddr] {
        &self.peer_addresses
    }

    /// What the member knows.
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        let raft = self.member.group.status();
        ServerStatus {
            name: self.member.identity.name.clone(),
            member_id: self.member.id(),
            cluster_id: self.member.identity.cluster.id,
            leader_id: raft.leader_id.map(|id| id.0),
            term: raft.term.0,
            applied_index: raft.applied_index.0,
            snapshot_index: raft.snapshot_index.0,
            revision: self.member.store.revision(),
            ready: self.member.is_ready(),
            client_urls: self.member.client_urls.clone(),
        }
    }

    /// A hash over all keys at the current revision, equal on members that have applied the same:
    /// `(revision, hash)`. Reads everything; blocks.
    ///
    /// # Errors
    /// What the store said.
    pub fn hash(&self) -> Result<(i64, u32), store::RequestError> {
        let hash = self.member.store.hash_kv(0)?;
        Ok((hash.hash_revision, hash.hash))
    }

    /// Returns once the member serves, or is going away.
    pub async fn wait_ready(&self) {
        let mut phase = self.member.phase.subscribe();
        let served = phase.wait_for(|phase| *phase != Phase::Starting).await;
        debug_assert!(served.is_ok(), "the sender of phases must outlive its borrow");
    }

    /// Returns when the machine fails in a way after which the process must end, or when the member
    /// was removed from the cluster; never otherwise.
    pub async fn wait(&self) -> ExitReason {
        let mut ending = self.ending.clone();
        let told = ending.wait_for(Option::is_some).await.map(|reason| reason.clone());
        match told {
            Ok(Some(reason)) => reason,
            // The host is gone without a fault: it was shut down.
            Ok(None) | Err(_) => ExitReason::Shutdown,
        }
    }

    /// Ends the server well: no new connections, leadership to another member, answers for those
    /// who wait, and the state flushed, so that the next start is quick.
    pub async fn shutdown(mut self) -> ExitReason {
        tracing::info!(name = self.member.identity.name, "shutting down");
        self.hand_over().await;
        self.member.phase.send_replace(Phase::Stopping);
        let Some(parts) = self.parts.take() else { return ExitReason::Shutdown };
        for serving in parts.serving {
            // Bounded by itself. An error is a panic, which the runtime has reported.
            drop(serving.await);
        }
        for task in &parts.tasks {
            task.abort();
        }
        let (host, listeners, folder) = (parts.host, parts.peer_listeners, parts.folder);
        // Both wait for threads.
        let stopped = tokio::task::spawn_blocking(move || {
            host.shutdown();
            drop(listeners);
            drop(folder);
        });
        if stopped.await.is_err() {
            tracing::error!("the host panicked while it stopped");
        }
        let reason = self.ending.borrow().clone();
        reason.unwrap_or(ExitReason::Shutdown)
    }

    async fn hand_over(&self) {
        let alone = self.member.group.configuration().configuration.voters.len() < 2;
        if alone || !self.member.leadership.is_leader() {
            return;
        }
        let (reply, answer) = oneshot::channel();
        let reply = move |result| tell(reply, result);
        self.member.group.transfer_leadership(None, reply);
        match tokio::time::timeout(HANDOVER_TIMEOUT, answer).await {
            Ok(Ok(Ok(()))) => tracing::info!("leadership was handed over"),
            Ok(Ok(Err(error))) => tracing::warn!(%error, "leadership was not handed over"),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("leadership was not handed over in time; the others will elect");
            }
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.member.phase.send_replace(Phase::Stopping);
        if let Some(parts) = self.parts.take() {
            parts.serving.iter().chain(&parts.tasks).for_each(JoinHandle::abort);
        }
    }
}
