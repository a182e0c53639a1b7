//! The health protocol of gRPC: SERVING once the member has caught up.

use std::pin::Pin;
use std::sync::Arc;

use api::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::member::{Member, Phase};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct HealthService(pub(crate) Arc<Member>);

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: i32::from(status) }
}

fn serving(phase: Phase) -> ServingStatus {
    match phase {
        Phase::Ready => ServingStatus::Serving,
        Phase::Starting | Phase::Stopping => ServingStatus::NotServing,
    }
}

async fn tell_phases(
    member: Arc<Member>,
    answers: mpsc::Sender<Result<HealthCheckResponse, Status>>,
) {
    let mut phases = member.phase.subscribe();
    loop {
        let phase = *phases.borrow_and_update();
        if answers.send(Ok(answer(serving(phase)))).await.is_err() || phase == Phase::Stopping {
            return;
        }
        tokio::select! {
            changed = phases.changed() => if changed.is_err() { return },
            () = answers.closed() => return,
        }
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.into_inner().service.is_empty() {
            return Err(Status::not_found("unknown service"));
        }
        Ok(Response::new(answer(serving(*self.0.phase.borrow()))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (answers, stream) = mpsc::channel(2);
        if request.into_inner().service.is_empty() {
            tokio::spawn(tell_phases(Arc::clone(&self.0), answers));
        } else {
            // By the protocol the stream stays open, since the service might come; ours never does.
            let unknown = Ok(answer(ServingStatus::ServiceUnknown));
            let sent = answers.try_send(unknown);
            debug_assert!(sent.is_ok(), "a new channel must have room");
            let member = Arc::clone(&self.0);
            tokio::spawn(async move {
                tokio::select! {
                    () = member.stopping() => {}
                    () = answers.closed() => {}
                }
            });
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
