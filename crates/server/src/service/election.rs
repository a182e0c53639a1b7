//! Elections: locks that show a value.

use std::sync::Arc;

use api::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse, election_server::Election,
};
use prost::Message as _;
use store::{
    DeleteRangeRequest, EventKind, KeyValue, LeaseId, RangeRequest, RequestOp, TxnRequest,
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::recipe::{
    Abandoned, Competitor, RecipeError, created_at, first_kv, first_of, key_of, prefix, put,
};
use crate::budget::{Budget, Held};
use crate::counted::{Handed, hold_message, messages_of};
use crate::gate::caller;
use crate::member::Member;
use crate::translate::response::key_value;

/// Leaders that may wait for a client to read them, each with a value that may be long; then the
/// watch behind waits.
const LEADERS_MAX: usize = 1;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct ElectionService(pub(crate) Arc<Member>);

/// Who listens to an election.
struct Leaders {
    sender: mpsc::Sender<(Result<LeaderResponse, Status>, Option<Held>)>,
    budget: Option<Budget>,
}

impl ElectionService {
    fn competitor<T>(&self, request: &Request<T>) -> Competitor {
        Competitor { member: Arc::clone(&self.0), who: caller(request) }
    }

    async fn run(
        &self,
        competitor: Competitor,
        request: CampaignRequest,
    ) -> Result<CampaignResponse, RecipeError> {
        let (lease, granted) = competitor.lease(request.lease).await?;
        let prefix = prefix(&request.name);
        let key = key_of(&prefix, lease);
        let own = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let entered = competitor.txn(TxnRequest {
            compare: vec![created_at(&key, 0)],
            success: vec![put(&key, &request.value, lease)],
            failure: vec![RequestOp::Range(own)],
        });
        let entered = entered.await?;
        let existing = first_kv(&entered, 0).filter(|_| !entered.succeeded);
        let rev = existing.map_or(entered.revision, |kv| kv.create_revision);
        let leader = LeaderKey { name: request.name, key: key.clone(), rev, lease: lease.0 };
        let abandoned = granted.unwrap_or_else(|| Abandoned::key(&competitor, &key, rev));
        if existing.is_some_and(|kv| kv.value != request.value) {
            self.show(&competitor, &leader, &request.value).await?;
        }
        competitor.wait_for_those_before(&prefix, rev).await?;
        abandoned.keep();
        let header = self.0.header(entered.revision);
        Ok(CampaignResponse { header, leader: Some(leader) })
    }

    /// Sets the value of a leadership that still is one; returns the revision.
    async fn show(
        &self,
        competitor: &Competitor,
        leader: &LeaderKey,
        value: &bytes::Bytes,
    ) -> Result<i64, RecipeError> {
        let shown = competitor.txn(TxnRequest {
            compare: vec![created_at(&leader.key, leader.rev)],
            success: vec![put(&leader.key, value, LeaseId(leader.lease))],
            failure: Vec::new(),
        });
        let shown = shown.await?;
        if shown.succeeded { Ok(shown.revision) } else { Err(RecipeError::NotLeader) }
    }

    /// Tells who leads, and every value that is shown, until the client listens no more.
    async fn tell_leaders(
        &self,
        competitor: &Competitor,
        name: &[u8],
        leaders: &Leaders,
    ) -> Result<(), RecipeError> {
        let first = first_of(&prefix(name));
        loop {
            let found = competitor.range(&first).await?;
            let (revision, kv) = match found.kvs.into_iter().next() {
                Some(kv) => (found.revision, kv),
                None => match first_to_come(competitor, &first, found.revision).await? {
                    Some(kv) => (kv.mod_revision, kv),
                    None => continue,
                },
            };
            let key = kv.key.clone();
            if !self.tell(leaders, revision, kv).await?
                || !self.tell_values(competitor, key, revision + 1, leaders).await?
            {
                return Ok(());
            }
        }
    }

    /// Until the key is gone; `false` when the client listens no more.
    async fn tell_values(
        &self,
        competitor: &Competitor,
        key: bytes::Bytes,
        since: i64,
        leaders: &Leaders,
    ) -> Result<bool, RecipeError> {
        let mut following = competitor.follow(key, bytes::Bytes::new(), since)?;
        while let Some(events) = following.next().await? {
            for event in events {
                if event.kind == EventKind::Delete {
                    return Ok(true);
                }
                if !self.tell(leaders, event.kv.mod_revision, event.kv).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether the client still listens.
    async fn tell(
        &self,
        leaders: &Leaders,
        revision: i64,
        kv: KeyValue,
    ) -> Result<bool, RecipeError> {
        let header = self.0.header(revision);
        let leader = LeaderResponse { header, kv: Some(key_value(kv)) };
        let held = hold_message(leaders.budget.as_ref(), leader.encoded_len())?;
        Ok(leaders.sender.send((Ok(leader), held)).await.is_ok())
    }
}

/// The first key that somebody sets; nothing if history is gone that would have had it.
async fn first_to_come(
    competitor: &Competitor,
    first: &RangeRequest,
    since: i64,
) -> Result<Option<KeyValue>, RecipeError> {
    let mut following = competitor.follow(first.key.clone(), first.range_end.clone(), since)?;
    while let Some(events) = following.next().await? {
        let put = events.into_iter().find(|event| event.kind == EventKind::Put);
        if let Some(put) = put {
            return Ok(Some(put.kv));
        }
    }
    Ok(None)
}

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let competitor = self.competitor(&request);
        Ok(Response::new(self.run(competitor, request.into_inner()).await?))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let competitor = self.competitor(&request);
        let ProclaimRequest { leader, value } = request.into_inner();
        let leader = leader.ok_or(RecipeError::MissingLeader)?;
        let revision = self.show(&competitor, &leader, &value).await?;
        Ok(Response::new(ProclaimResponse { header: self.0.header(revision) }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let competitor = self.competitor(&request);
        let first = first_of(&prefix(&request.into_inner().name));
        let found = competitor.range(&first).await?;
        let kv = found.kvs.into_iter().next().ok_or(RecipeError::NoLeader)?;
        let header = self.0.header(found.revision);
        Ok(Response::new(LeaderResponse { header, kv: Some(key_value(kv)) }))
    }

    type ObserveStream = Handed<LeaderResponse>;

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let competitor = self.competitor(&request);
        let budget = messages_of(&request);
        let name = request.into_inner().name;
        let (sender, stream) = mpsc::channel(LEADERS_MAX);
        let leaders = Leaders { sender, budget };
        let service = self.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                told = service.tell_leaders(&competitor, &name, &leaders) => told,
                () = leaders.sender.closed() => return,
            };
            if let Err(error) = ended {
                // The client is gone if this cannot be sent.
                drop(leaders.sender.send((Err(error.into()), None)).await);
            }
        });
        Ok(Response::new(Handed::new(stream)))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let competitor = self.competitor(&request);
        let leader = request.into_inner().leader.ok_or(RecipeError::MissingLeader)?;
        let delete = DeleteRangeRequest { key: leader.key.clone(), ..Default::default() };
        let resigned = competitor.txn(TxnRequest {
            compare: vec![created_at(&leader.key, leader.rev)],
            success: vec![RequestOp::DeleteRange(delete)],
            failure: Vec::new(),
        });
        let revision = resigned.await?.revision;
        Ok(Response::new(ResignResponse { header: self.0.header(revision) }))
    }
}
