//! Locks: who created its key first holds it, as long as its lease lives.
//!
//! A lock alone is no mutual exclusion: its holder may be paused until its lease has ended. Whoever
//! writes under a lock guards the write with the create revision of the lock's key.

use std::sync::Arc;

use api::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock};
use bytes::Bytes;
use store::{RangeRequest, RequestOp, TxnRequest};
use tonic::{Request, Response, Status};

use super::recipe::{
    Abandoned, Competitor, RecipeError, created_at, first_kv, first_of, key_of, prefix, put,
};
use crate::gate::caller;
use crate::member::Member;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct LockService(pub(crate) Arc<Member>);

impl LockService {
    async fn acquire(
        &self,
        competitor: Competitor,
        request: LockRequest,
    ) -> Result<LockResponse, RecipeError> {
        let (lease, granted) = competitor.lease(request.lease).await?;
        let prefix = prefix(&request.name);
        let key = key_of(&prefix, lease);
        let own = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let owner = || RequestOp::Range(first_of(&prefix));
        let acquired = competitor.txn(TxnRequest {
            compare: vec![created_at(&key, 0)],
            success: vec![put(&key, &Bytes::new(), lease), owner()],
            // The same lease holds it or waits for it already.
            failure: vec![RequestOp::Range(own.clone()), owner()],
        });
        let acquired = acquired.await?;
        let created = match first_kv(&acquired, 0) {
            Some(kv) if !acquired.succeeded => kv.create_revision,
            _ => acquired.revision,
        };
        let held = first_kv(&acquired, 1).is_none_or(|owner| owner.create_revision == created);
        let abandoned = match granted {
            None if !held => Some(Abandoned::key(&competitor, &key, created)),
            granted => granted,
        };
        let mut revision = acquired.revision;
        if !held {
            competitor.wait_for_those_before(&prefix, created).await?;
            let left = competitor.range(&own).await?;
            if left.kvs.is_empty() {
                return Err(RecipeError::SessionExpired);
            }
            revision = left.revision;
        }
        if let Some(abandoned) = abandoned {
            abandoned.keep();
        }
        Ok(LockResponse { header: self.0.header(revision), key })
    }
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let who = caller(&request);
        let competitor = Competitor { member: Arc::clone(&self.0), who };
        Ok(Response::new(self.acquire(competitor, request.into_inner()).await?))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let who = caller(&request);
        let competitor = Competitor { member: Arc::clone(&self.0), who };
        let revision = competitor.delete(&request.into_inner().key).await?;
        Ok(Response::new(UnlockResponse { header: self.0.header(revision) }))
    }
}
