//! Cluster: who the members are, and how that changes. See `membership.rs`.

use std::sync::Arc;

use api::etcdserverpb::{self as pb, cluster_server::Cluster};
use host::Goal;
use raft::NodeId;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::api_error::ApiError;
use crate::gate::caller;
use crate::member::Member;
use crate::membership::{MemberOp, parse_peer_urls};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct ClusterService(pub(crate) Arc<Member>);

impl ClusterService {
    /// The members have nothing to do with the store's revision: etcd leaves it out.
    fn header(&self) -> Option<pb::ResponseHeader> {
        self.0.header(0)
    }
}

/// The key of an addition's metadata that says whose place the new member takes. etcd has no call
/// for that; `flotilla ctl member replace` is who sends it.
const REPLACES: &str = "flotilla-replaces";

fn replaces(metadata: &MetadataMap) -> Result<Option<NodeId>, ApiError> {
    let Some(value) = metadata.get(REPLACES) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    id.map(NodeId).map(Some).ok_or(ApiError::MemberNotFound)
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let (who, replaces) = (caller(&request), replaces(request.metadata())?);
        let pb::MemberAddRequest { peer_ur_ls, is_learner, .. } = request.into_inner();
        let peer_urls = parse_peer_urls(&peer_ur_ls)?;
        let goal = match replaces {
            Some(old) => Goal::Replace(old),
            None if is_learner => Goal::Learn,
            None => Goal::Vote,
        };
        let id = self.0.new_member_id();
        let members =
            self.0.change_members(who.as_ref(), MemberOp::Add { id, peer_urls, goal }).await?;
        let member = members.iter().find(|member| member.id == id.0).cloned();
        // Removed again in the same moment, by somebody else.
        let member = member.ok_or(ApiError::MemberNotFound)?;
        let header = self.header();
        Ok(Response::new(pb::MemberAddResponse { header, member: Some(member), members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let who = caller(&request);
        let op = MemberOp::Remove(NodeId(request.into_inner().id));
        let members = self.0.change_members(who.as_ref(), op).await?;
        Ok(Response::new(pb::MemberRemoveResponse { header: self.header(), members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let who = caller(&request);
        let pb::MemberUpdateRequest { id, peer_ur_ls, .. } = request.into_inner();
        let op = MemberOp::Update { id: NodeId(id), peer_urls: parse_peer_urls(&peer_ur_ls)? };
        let members = self.0.change_members(who.as_ref(), op).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header: self.header(), members }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.read_barrier().await?;
        }
        let members = self.0.members();
        Ok(Response::new(pb::MemberListResponse { header: self.header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let who = caller(&request);
        let op = MemberOp::Promote(NodeId(request.into_inner().id));
        let members = self.0.change_members(who.as_ref(), op).await?;
        Ok(Response::new(pb::MemberPromoteResponse { header: self.header(), members }))
    }
}
