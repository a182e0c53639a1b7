//! Watch: one [`Session`] for each stream, polled by the connection's own task. There is no queue
//! between the store and the socket: a client that does not read stops its session, and what it
//! misses it reads from the history later.

mod count;
mod fragment;
mod permit;
mod session;

use std::sync::Arc;

use api::etcdserverpb::{self as pb, watch_server::Watch};
use tonic::{Request, Response, Status, Streaming};

use crate::budget::Budgets;
use crate::gate::{CommonName, Credentials};
use crate::member::{Member, needs_leader};
use count::Watchers;
use session::Session;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct WatchService(pub(crate) Arc<Member>);

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Session;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Session>, Status> {
        let needs_leader = needs_leader(request.metadata());
        let headers = request.metadata().clone().into_headers();
        let credentials = Credentials::new(&headers, request.extensions().get::<CommonName>());
        let budget = request.extensions().get::<Budgets>().map(|all| all.watchers.clone());
        let watchers = Watchers::new(budget);
        let session =
            Session::new(&self.0, request.into_inner(), credentials, watchers, needs_leader);
        Ok(Response::new(session))
    }
}
