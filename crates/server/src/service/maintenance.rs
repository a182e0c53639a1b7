//! Maintenance: how a member is, and what operators do about it.

use std::sync::Arc;

use api::etcdserverpb::{self as pb, maintenance_server::Maintenance};
use host::{Histogram, ProposeError};
use raft::NodeId;
use sha2::{Digest, Sha256};
use store::{AlarmCommand, AlarmKind, AlarmMember, Command, Principal, Response as Answered};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::api_error::ApiError;
use crate::audit;
use crate::backup::Backup;
use crate::downgrade;
use crate::gate::caller;
use crate::member::{Member, tell};
use crate::metrics::{Times, nanos_since};
use crate::version::ETCD_VERSION;

/// Bytes of a piece of a backup, as etcd's.
const PIECE_BYTES: usize = 32 << 10;
/// Pieces that wait for the client to read them.
const PIECES_MAX: usize = 4;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct MaintenanceService(pub(crate) Arc<Member>);

const WRONG_ANSWER: ApiError =
    ApiError::Internal("flotilla: a command was answered by another kind of response");

fn wire_alarm(alarm: AlarmMember) -> pb::AlarmMember {
    let kind = match alarm.alarm {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    };
    pb::AlarmMember { member_id: alarm.member_id, alarm: i32::from(kind) }
}

/// The kind that a request is about; `None` for any.
fn alarm_kind(value: i32) -> Result<Option<AlarmKind>, ApiError> {
    match pb::AlarmType::try_from(value) {
        Ok(pb::AlarmType::None) => Ok(None),
        Ok(pb::AlarmType::Nospace) => Ok(Some(AlarmKind::NoSpace)),
        Ok(pb::AlarmType::Corrupt) => Ok(Some(AlarmKind::Corrupt)),
        Err(_) => Err(ApiError::UnknownEnumValue),
    }
}

/// As Go prints it, the space at the end included: this is what operators' scripts look for.
fn alarm_text(alarm: AlarmMember) -> String {
    let kind = match alarm.alarm {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    };
    format!("memberID:{} alarm:{kind} ", alarm.member_id)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl MaintenanceService {
    async fn change_alarm(
        &self,
        who: Option<&Principal>,
        command: AlarmCommand,
    ) -> Result<Vec<AlarmMember>, ApiError> {
        let what = format!("alarm: {command:?}");
        let answered = self.0.propose_as(who, &Command::Alarm(command)).await;
        match audit::note(who, &what, answered)? {
            Answered::Alarm { changed, .. } => Ok(changed),
            Answered::Put(_)
            | Answered::DeleteRange(_)
            | Answered::Txn(_)
            | Answered::Compact { .. }
            | Answered::LeaseGrant { .. }
            | Answered::LeaseRevoke { .. }
            | Answered::LeaseCheckpoint { .. }
            | Answered::Downgrade { .. }
            | Answered::Member { .. }
            | Answered::Auth { .. }
            | Answered::Authenticate { .. } => Err(WRONG_ANSWER),
        }
    }

    /// Every alarm that fits: a member of 0 stands for all, no kind for each.
    async fn alarms(
        &self,
        member_id: u64,
        kind: Option<AlarmKind>,
    ) -> Result<Vec<AlarmMember>, ApiError> {
        self.0.read_barrier().await?;
        let fits = |alarm: &AlarmMember| {
            (member_id == 0 || alarm.member_id == member_id)
                && kind.is_none_or(|kind| alarm.alarm == kind)
        };
        Ok(self.0.store.alarms().into_iter().filter(fits).collect())
    }

    fn errors(&self) -> Vec<String> {
        let mut errors: Vec<String> = Vec::new();
        if !self.0.leadership.has_leader() {
            errors.push("etcdserver: no leader".to_owned());
        }
        errors.extend(self.0.store.alarms().into_iter().map(alarm_text));
        errors
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        use pb::alarm_request::AlarmAction;
        let who = caller(&request);
        let who = who.as_ref();
        let request = request.into_inner();
        let kind = alarm_kind(request.alarm)?;
        let action =
            AlarmAction::try_from(request.action).map_err(|_| ApiError::UnknownEnumValue)?;
        if action != AlarmAction::Get {
            self.0.store.require_root(who).map_err(ApiError::from)?;
        }
        let alarms = match (action, kind) {
            // etcd lists by kind and does not look at the member.
            (AlarmAction::Get, kind) => self.alarms(0, kind).await?,
            (AlarmAction::Activate, None) => Vec::new(),
            (AlarmAction::Activate, Some(alarm)) => {
                let alarm = AlarmMember { member_id: request.member_id, alarm };
                self.change_alarm(who, AlarmCommand::Activate(alarm)).await?
            }
            (AlarmAction::Deactivate, kind) => {
                let mut gone = Vec::new();
                for alarm in self.alarms(request.member_id, kind).await? {
                    gone.extend(self.change_alarm(who, AlarmCommand::Deactivate(alarm)).await?);
                }
                gone
            }
        };
        let alarms = alarms.into_iter().map(wire_alarm).collect();
        let header = self.0.header(self.0.store.revision());
        Ok(Response::new(pb::AlarmResponse { header, alarms }))
    }

    async fn status(
        &self,
        _: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let raft = self.0.group.status();
        let store = self.0.store.status();
        Ok(Response::new(pb::StatusResponse {
            header: self.0.header(store.revision),
            version: ETCD_VERSION.to_owned(),
            // Clients take 0 for "unknown"; an empty store has its first segment's header.
            db_size: signed(store.size_bytes).max(1),
            db_size_in_use: signed(store.size_in_use_bytes).max(1),
            db_size_quota: signed(self.0.limits.quota_bytes),
            leader: raft.leader_id.map_or(0, |id| id.0),
            raft_index: raft.commit_index.0,
            raft_term: raft.term.0,
            raft_applied_index: raft.applied_index.0,
            errors: self.errors(),
            is_learner: raft.is_learner,
            storage_version: downgrade::cluster_version(&self.0.store),
            downgrade_info: Some(downgrade::info(&self.0.store)),
        }))
    }

    async fn defragment(
        &self,
        _: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        let metrics = &self.0.metrics;
        let _inflight = metrics.defragmenting.enter();
        let begun = self.0.clock.now();
        // Compaction gives space back by itself; there is nothing to wait for. No header, as etcd.
        metrics.times.defragment.add(nanos_since(&*self.0.clock, begun));
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(
        &self,
        _: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        let hash = hash_kv(&self.0, 0, |times| &times.hash).await?;
        let header = self.0.header(hash.revision);
        Ok(Response::new(pb::HashResponse { header, hash: hash.hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let revision = request.into_inner().revision;
        let hash = hash_kv(&self.0, revision, |times| &times.hash_at_revision).await?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.0.header(hash.revision),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        }))
    }

    type SnapshotStream = ReceiverStream<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        // Each takes as much of the disk as all keys, until its client has read it.
        let turn = Arc::clone(&self.0.backups).try_acquire_owned();
        let turn = turn.map_err(|_| ApiError::from(ProposeError::Overloaded))?;
        let member = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || crate::backup::write(&member)).await;
        let backup = written.map_err(|_| ApiError::Internal("flotilla: a backup panicked"))??;
        let (pieces, stream) = mpsc::channel(PIECES_MAX);
        tokio::task::spawn_blocking(move || {
            send_backup(&backup, &pieces);
            drop(turn);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let who = caller(&request);
        let target = NodeId(request.into_inner().target_id);
        if !self.0.leadership.is_leader() {
            return Err(ApiError::Transfer(host::TransferError::NotLeader).into());
        }
        if target != self.0.identity.member_id {
            let (reply, answer) = oneshot::channel();
            let reply = move |result| tell(reply, result);
            self.0.group.transfer_leadership(Some(target), reply);
            let handed = answer.await.map_err(|_| ApiError::Stopped)?;
            let what = format!("leadership handed to {:x}", target.0);
            audit::note(who.as_ref(), &what, handed.map_err(ApiError::from))?;
        }
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        let who = caller(&request);
        let request = request.into_inner();
        let answered = downgrade::ask(&self.0, who.as_ref(), &request).await;
        let what = format!("downgrade to {:?}: action {}", request.version, request.action);
        let version = audit::note(who.as_ref(), &what, answered)?;
        let header = self.0.header(self.0.store.revision());
        Ok(Response::new(pb::DowngradeResponse { header, version }))
    }
}

/// Sends a backup in pieces, and its SHA-256 behind it. Blocks while the client does not read.
fn send_backup(backup: &Backup, pieces: &mpsc::Sender<Result<pb::SnapshotResponse, Status>>) {
    let mut hasher = Sha256::new();
    let mut sent = 0;
    while sent < backup.length {
        let bytes = PIECE_BYTES.min(usize::try_from(backup.length - sent).unwrap_or(PIECE_BYTES));
        let mut blob = vec![0; bytes];
        if let Err(error) = backup.file.read_exact_at(&mut blob, sent) {
            tracing::warn!(%error, "a backup could not be read");
            let broken = ApiError::Internal("flotilla: the file of the backup cannot be read");
            // The client is gone if this cannot be sent.
            drop(pieces.blocking_send(Err(broken.into())));
            return;
        }
        hasher.update(&blob);
        sent += bytes as u64;
        if pieces.blocking_send(Ok(piece(blob, backup.length - sent))).is_err() {
            return;
        }
    }
    drop(pieces.blocking_send(Ok(piece(hasher.finalize().to_vec(), 0))));
}

fn piece(blob: Vec<u8>, remaining_bytes: u64) -> pb::SnapshotResponse {
    // Without a header, as etcd's.
    let (blob, version) = (blob.into(), ETCD_VERSION.to_owned());
    pb::SnapshotResponse { header: None, remaining_bytes, blob, version }
}

/// Reads everything, so not on a thread that serves connections.
async fn hash_kv(
    member: &Arc<Member>,
    revision: i64,
    times: impl FnOnce(&Times) -> &Histogram,
) -> Result<store::HashKv, ApiError> {
    let (timed, begun) = (Arc::clone(member), member.clock.now());
    let member = Arc::clone(member);
    let hashed = tokio::task::spawn_blocking(move || member.store.hash_kv(revision)).await;
    let hash = hashed.map_err(|_| ApiError::Internal("flotilla: hashing panicked"))??;
    times(&timed.metrics.times).add(nanos_since(&*timed.clock, begun));
    Ok(hash)
}
