//! The etcd API of one member for those who are in its process: no socket, no HTTP/2, and the same
//! way in as a call from a connection has behind them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use env::{Clock, Disk, Entropy};
use host::GroupHandle;
use http::{Request, Response};
use raft::NodeId;
use store::Store;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError};

use crate::dispatch::Dispatch;
use crate::identity::Identity;
use crate::leadership::Leadership;
use crate::member::{Grounds, Limits, Member, Phase};
use crate::options::ServerOptions;
use crate::plan::Cluster;

/// What the API of a member stands on.
pub struct MemberParts {
    /// The cluster, as headers name it.
    pub cluster_id: u64,
    /// The member, as headers name it: the node of its host.
    pub member_id: NodeId,
    /// The way into the member's log.
    pub group: GroupHandle<Result<store::Response, store::RequestError>>,
    /// The state that this group's log makes.
    pub store: Store,
    /// What the host's observer tells of this group goes in here. Made before the host, so that
    /// nothing is told to nobody.
    pub leadership: Arc<Leadership>,
    /// The host's clock.
    pub clock: Arc<dyn Clock>,
    /// Dice for ids and tokens.
    pub entropy: Arc<dyn Entropy>,
    /// Where backups are gathered.
    pub disk: Arc<dyn Disk>,
}

impl fmt::Debug for MemberParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberParts").field("member_id", &self.member_id).finish_non_exhaustive()
    }
}

/// The etcd API of one member, without sockets: a service that the generated clients of `api` call
/// (`KvClient::new(door)`), and that takes a call the way that one from a connection goes, with its
/// permissions, limits, refusals and counts.
///
/// It serves; what a server does beside that ([`Server`](crate::Server)) it does not: nobody
/// ends leases that have expired, tells the cluster this member's name, or reads certificates.
///
/// Calls need no runtime and may be polled by hand, but for those that take a while, which need
/// tokio's, and panic without it:
///
/// - ranges of many keys without a limit, or with one beyond a thousand, ranges as streams, and
///   transactions that only read and have more than one step: they are read aside;
/// - whatever has a time-out (`grpc-timeout`), and streams that end when the leader is lost
///   (`hasleader`), or that tell of progress by themselves;
/// - keeping leases alive and asking what they have left, changes of members, passwords, hashes,
///   backups, locks and elections, and the health that is watched;
/// - a put that a quota refuses, which raises the alarm.
///
/// Who drops the host's stages ([`host::Stages`]) drops the calls that wait as well: nobody answers
/// them any more, and what came of them is not known.
///
/// A clone counts as the same connection, see [`InProcess::connection`].
#[derive(Clone)]
pub struct InProcess {
    dispatch: Dispatch,
    member: Arc<Member>,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").field("member_id", &self.member.id()).finish_non_exhaustive()
    }
}

impl InProcess {
    /// Of the options the name, the data folder and the limits count; tokens are simple ones.
    #[must_use]
    pub fn new(options: &ServerOptions, parts: MemberParts) -> Self {
        let cluster = Cluster { id: parts.cluster_id, members: BTreeMap::new() };
        let identity = Identity {
            member_id: parts.member_id,
            name: options.name.clone(),
            joined: false,
            cluster,
        };
        let member = Arc::new(Member::new(Grounds {
            identity,
            client_urls: options.advertise_client_urls.clone(),
            group: parts.group,
            store: parts.store,
            leadership: parts.leadership,
            limits: Limits::of(options),
            clock: parts.clock,
            entropy: parts.entropy,
            disk: parts.disk,
            data_dir: options.data_dir.clone(),
            jwt: None,
        }));
        member.phase.send_replace(Phase::Ready);
        Self { dispatch: Dispatch::new(&member, false), member }
    }

    /// For another client: how much one may hold, and how often it may call, is counted for each
    /// connection.
    #[must_use]
    pub fn connection(&self) -> Self {
        Self { dispatch: self.dispatch.connection(), member: Arc::clone(&self.member) }
    }

    /// Ends all streams: the member goes away.
    pub fn stop(&self) {
        self.member.phase.send_replace(Phase::Stopping);
    }
}

impl<B> Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_too_quick = self.dispatch.is_too_quick();
        Box::pin(self.dispatch.grpc_call(request, is_too_quick))
    }
}

#[cfg(test)]
mod tests;
