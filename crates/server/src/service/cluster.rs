//! Cluster: who the members are. Changing that is a later version's matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::etcdserverpb::{self as pb, cluster_server::Cluster};
use tonic::{Request, Response, Status};

use crate::member::Member;
use crate::plan::texts;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct ClusterService(pub(crate) Arc<Member>);

const NO_CHANGES: &str = "the members of a cluster cannot be changed in this version; make a \
                          cluster with the members it shall have by --initial-cluster";

impl Member {
    /// The members that the cluster began with, and what those that started say of themselves.
    pub(crate) fn members(&self) -> Vec<pb::Member> {
        let mut members: BTreeMap<u64, pb::Member> = BTreeMap::new();
        for (id, seed) in &self.identity.cluster.members {
            let member = pb::Member {
                id: id.0,
                name: seed.name.clone(),
                peer_ur_ls: texts(&seed.peer_urls),
                client_ur_ls: Vec::new(),
                is_learner: false,
            };
            members.insert(id.0, member);
        }
        for attributes in self.store.members() {
            let member = pb::Member {
                id: attributes.id,
                name: attributes.name,
                peer_ur_ls: attributes.peer_urls,
                client_ur_ls: attributes.client_urls,
                is_learner: false,
            };
            members.insert(attributes.id, member);
        }
        members.into_values().collect()
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        _: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(Status::unimplemented(NO_CHANGES))
    }

    async fn member_remove(
        &self,
        _: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(Status::unimplemented(NO_CHANGES))
    }

    async fn member_update(
        &self,
        _: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(Status::unimplemented(NO_CHANGES))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.read_barrier().await?;
        }
        // The members have nothing to do with the store's revision: etcd leaves it out.
        let header = self.0.header(0);
        Ok(Response::new(pb::MemberListResponse { header, members: self.0.members() }))
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(Status::unimplemented(NO_CHANGES))
    }
}
