//! KV: the hot path. One encoded command, one oneshot and one answer per write; nothing else.

use std::sync::Arc;

use api::etcdserverpb::{self as pb, kv_server::Kv};
use store::{Command, Principal, RangeRequest, RangeResponse, RequestError, Response as Answer};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::range_stream;
use crate::api_error::ApiError;
use crate::counted::{Handed, messages_of};
use crate::gate::caller;
use crate::member::{Member, tell};
use crate::translate::{request, response};

/// Ranges of so many keys are read on the thread that serves the connection; larger ones, and those
/// without a limit, would keep the other connections of that thread waiting.
const INLINE_KEYS_MAX: i64 = 1_000;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct KvService(pub(crate) Arc<Member>);

/// A log that answers a put with anything but a put is broken.
const WRONG_ANSWER: ApiError =
    ApiError::Internal("flotilla: a command was answered by another kind of response");

impl KvService {
    async fn read(
        &self,
        who: Option<Principal>,
        request: RangeRequest,
    ) -> Result<RangeResponse, ApiError> {
        store::check_range(&request)?;
        if !request.serializable {
            self.0.refuse_learner()?;
            self.0.read_barrier().await?;
        }
        let short = request.range_end.is_empty()
            || request.count_only
            || (1..=INLINE_KEYS_MAX).contains(&request.limit);
        if short {
            return Ok(self.0.store.range_as(who.as_ref(), &request)?);
        }
        let member = Arc::clone(&self.0);
        aside(move || member.store.range_as(who.as_ref(), &request)).await
    }

    async fn read_txn(
        &self,
        who: Option<Principal>,
        request: store::TxnRequest,
    ) -> Result<store::TxnResponse, ApiError> {
        if !store::is_serializable_txn(&request) {
            self.0.read_barrier().await?;
        }
        let member = Arc::clone(&self.0);
        if request.success.len().max(request.failure.len()) <= 1 {
            return Ok(member.store.read_txn_as(who.as_ref(), &request)?);
        }
        aside(move || member.store.read_txn_as(who.as_ref(), &request)).await
    }

    async fn compacted(&self, revision: i64) -> Result<(), ApiError> {
        let (reply, answer) = oneshot::channel();
        let done = Box::new(move || tell(reply, ()));
        self.0.store.compaction_finished(revision, done);
        tokio::select! {
            finished = answer => finished.map_err(|_| ApiError::Stopped),
            () = self.0.stopping() => Err(ApiError::Stopped),
        }
    }
}

/// Runs a long read where it keeps no connection waiting.
async fn aside<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, RequestError> + Send + 'static,
) -> Result<T, ApiError> {
    let result = tokio::task::spawn_blocking(read).await;
    Ok(result.map_err(|_| ApiError::Internal("flotilla: a read panicked"))??)
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(
        &self,
        wire: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let who = caller(&wire);
        let request = request::lone_range(wire.into_inner())?;
        let answer = self.read(who, request).await?;
        let header = self.0.header(answer.revision);
        Ok(Response::new(response::range(answer, header)))
    }

    type RangeStreamStream = Handed<pb::RangeStreamResponse>;

    async fn range_stream(
        &self,
        wire: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let who = caller(&wire);
        let budget = messages_of(&wire);
        let request = request::lone_range(wire.into_inner())?;
        Ok(Response::new(range_stream::open(&self.0, who, request, budget).await?))
    }

    async fn put(
        &self,
        wire: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let who = caller(&wire);
        let put = request::put(wire.into_inner());
        store::check_put(&put).map_err(ApiError::from)?;
        let Answer::Put(answer) = self.0.propose_as(who.as_ref(), &Command::Put(put)).await? else {
            return Err(WRONG_ANSWER.into());
        };
        let header = self.0.header(answer.revision);
        Ok(Response::new(response::put(answer, header)))
    }

    async fn delete_range(
        &self,
        wire: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let who = caller(&wire);
        let delete = request::delete_range(wire.into_inner());
        store::check_delete_range(&delete).map_err(ApiError::from)?;
        let command = Command::DeleteRange(delete);
        let Answer::DeleteRange(answer) = self.0.propose_as(who.as_ref(), &command).await? else {
            return Err(WRONG_ANSWER.into());
        };
        let header = self.0.header(answer.revision);
        Ok(Response::new(response::delete_range(answer, header)))
    }

    async fn txn(
        &self,
        wire: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let who = caller(&wire);
        let txn = request::whole_txn(wire.into_inner(), self.0.limits.txn_ops_max)?;
        store::check_txn(&txn, self.0.limits.txn_ops_max).map_err(ApiError::from)?;
        let answer = if store::is_read_only_txn(&txn) {
            self.read_txn(who, txn).await?
        } else {
            let Answer::Txn(answer) = self.0.propose_as(who.as_ref(), &Command::Txn(txn)).await?
            else {
                return Err(WRONG_ANSWER.into());
            };
            answer
        };
        let header = self.0.header(answer.revision);
        Ok(Response::new(response::txn(answer, header)))
    }

    async fn compact(
        &self,
        wire: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let who = caller(&wire);
        let wire = wire.into_inner();
        let compact = store::CompactRequest { revision: wire.revision, physical: wire.physical };
        let Answer::Compact { revision } =
            self.0.propose_as(who.as_ref(), &Command::Compact(compact)).await?
        else {
            return Err(WRONG_ANSWER.into());
        };
        if wire.physical {
            self.compacted(wire.revision).await?;
        }
        Ok(Response::new(pb::CompactionResponse { header: self.0.header(revision) }))
    }
}
