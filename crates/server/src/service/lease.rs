//! Lease: grants and revocations go through the log; the time left is asked of the leader.

use std::pin::Pin;
use std::sync::Arc;

use api::etcdserverpb::{self as pb, lease_server::Lease};
use host::ProposeError;
use store::{Access, Command, LeaseId, Principal, Response as Answered};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::api_error::{ApiError, remap_oversize};
use crate::gate::caller;
use crate::lessor_task::ask;
use crate::member::{Member, needs_leader};
use crate::peer_call::{Answer, LeaseLife, Question};

/// Answers of a keep-alive stream that may wait for the client to read them.
const ANSWERS_MAX: usize = 16;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct LeaseService(pub(crate) Arc<Member>);

const WRONG_ANSWER: ApiError =
    ApiError::Internal("flotilla: a command was answered by another kind of response");

impl Member {
    /// Refuses one more lease where there are too many: none of them counts for the quota, and each
    /// takes memory on every member. Requests under way may pass it by as many.
    pub(crate) fn check_lease_count(&self) -> Result<(), ApiError> {
        if self.store.lease_count() < self.limits.leases_max {
            return Ok(());
        }
        Err(ProposeError::Overloaded.into())
    }

    /// Positive and not in use; a client's own choice may be anything but 0.
    pub(crate) fn choose_lease_id(&self) -> LeaseId {
        loop {
            let dice = self.entropy.next_u64() >> 1;
            let id = LeaseId(i64::try_from(dice).expect("63 bits must fit a positive i64"));
            if !id.is_none() && self.store.lease(id).is_none() {
                return id;
            }
        }
    }
}

impl LeaseService {
    async fn renew(
        &self,
        who: Option<&Principal>,
        id: LeaseId,
    ) -> Result<pb::LeaseKeepAliveResponse, ApiError> {
        self.require(who, id, Access::Write)?;
        // The header is of the moment before, as in etcd.
        let header = self.0.header(self.0.store.revision());
        let ttl = match ask(&self.0, Question::Renew(id)).await? {
            Answer::Known(life) => life.ttl,
            // Not an error on this stream: clients take 0 for "gone".
            Answer::NoSuchLease | Answer::NotLeader => 0,
        };
        Ok(pb::LeaseKeepAliveResponse { header, id: id.0, ttl })
    }

    /// Whoever renews or ends a lease has a hand on its keys, and whoever lists them reads.
    fn require(
        &self,
        who: Option<&Principal>,
        id: LeaseId,
        access: Access,
    ) -> Result<(), ApiError> {
        if self.0.store.auth_status().enabled {
            self.0.store.require_lease(who, id, access)?;
        }
        Ok(())
    }

    /// One stream: an answer for each request, in order, until either side ends it.
    async fn keep_alive(
        self,
        who: Option<Principal>,
        mut requests: Streaming<pb::LeaseKeepAliveRequest>,
        needs_leader: bool,
        answers: mpsc::Sender<Result<pb::LeaseKeepAliveResponse, Status>>,
    ) {
        let end = Arc::clone(&self.0).stream_end(needs_leader);
        tokio::pin!(end);
        loop {
            let step = async {
                match requests.message().await {
                    Ok(Some(request)) => Some(self.renew(who.as_ref(), LeaseId(request.id)).await),
                    Ok(None) => None,
                    Err(status) => {
                        // The client is gone, or its message was too large and it reads this.
                        drop(answers.send(Err(remap_oversize(status))).await);
                        None
                    }
                }
            };
            let answer = tokio::select! {
                answer = step => answer,
                error = &mut end => Some(Err(error)),
                () = answers.closed() => return,
            };
            let Some(answer) = answer else { return };
            let failed = answer.is_err();
            let sent = answers.send(answer.map_err(Status::from)).await;
            if failed || sent.is_err() {
                return;
            }
        }
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let who = caller(&request);
        let request = request.into_inner();
        store::check_lease_grant(request.ttl).map_err(ApiError::from)?;
        self.0.check_lease_count()?;
        let id = if request.id == 0 { self.0.choose_lease_id() } else { LeaseId(request.id) };
        let ttl = request.ttl.max(self.0.limits.lease_ttl_secs_min);
        let command = Command::LeaseGrant { id, ttl };
        let granted = self.0.propose_as(who.as_ref(), &command).await?;
        let Answered::LeaseGrant { revision, id, ttl } = granted else {
            return Err(WRONG_ANSWER.into());
        };
        self.0.metrics.lease_granted.add(1);
        let header = self.0.header(revision);
        Ok(Response::new(pb::LeaseGrantResponse { header, id: id.0, ttl, error: String::new() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let who = caller(&request);
        let command = Command::LeaseRevoke { id: LeaseId(request.into_inner().id) };
        let revoked = self.0.propose_as(who.as_ref(), &command).await?;
        let Answered::LeaseRevoke { revision } = revoked else {
            return Err(WRONG_ANSWER.into());
        };
        self.0.metrics.lease_revoked.add(1);
        Ok(Response::new(pb::LeaseRevokeResponse { header: self.0.header(revision) }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let needs_leader = needs_leader(request.metadata());
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let service = self.clone();
        let who = caller(&request);
        let requests = request.into_inner();
        tokio::spawn(Box::pin(service.keep_alive(who, requests, needs_leader, answers)));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let who = caller(&request);
        let request = request.into_inner();
        if request.keys {
            self.require(who.as_ref(), LeaseId(request.id), Access::Read)?;
        }
        let question = Question::TimeToLive { id: LeaseId(request.id), keys: request.keys };
        let life = match ask(&self.0, question).await? {
            Answer::Known(life) => life,
            // Not an error either: −1 says that there is no such lease.
            Answer::NoSuchLease | Answer::NotLeader => {
                LeaseLife { ttl: -1, ..LeaseLife::default() }
            }
        };
        Ok(Response::new(pb::LeaseTimeToLiveResponse {
            header: self.0.header(self.0.store.revision()),
            id: request.id,
            ttl: life.ttl,
            granted_ttl: life.granted_ttl,
            keys: life.keys,
        }))
    }

    async fn lease_leases(
        &self,
        _: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let member = &self.0;
        let now = member.clock.now();
        let ids: Vec<LeaseId> = {
            let mut lessor = member.lessor.lock();
            lessor.observe(now, &member.store);
            if lessor.is_leading() {
                lessor.leases(now).into_iter().map(|(id, _)| id).collect()
            } else {
                // Only the leader knows which ends next.
                member.store.leases().into_iter().map(|lease| lease.id).collect()
            }
        };
        let leases = ids.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
        let header = member.header(member.store.revision());
        Ok(Response::new(pb::LeaseLeasesResponse { header, leases }))
    }
}
