//! Plain HTTP on the client port: what probes, load balancers and Prometheus ask.

pub(crate) mod gateway;
mod health;
pub(crate) mod metrics;
pub(crate) mod sent;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::budget::Budget;
use crate::dispatch::too_many;
use crate::downgrade::cluster_version;
use crate::member::Member;
use crate::version::{ETCD_VERSION, FLOTILLA_VERSION};
use sent::Sent;

/// All paths.
pub(crate) fn router(member: Arc<Member>) -> Router {
    Router::new()
        .route("/version", get(version))
        .route("/health", get(health::health))
        .route("/livez", get(health::livez))
        .route("/livez/{check}", get(health::livez_check))
        .route("/readyz", get(health::readyz))
        .route("/readyz/{check}", get(health::readyz_check))
        .route("/metrics", get(metrics))
        .with_state(member)
}

/// A page that is counted until its client has read it.
pub(crate) async fn counted(page: Response, budget: &Budget) -> Response {
    let (head, body) = page.into_parts();
    // It is here already: no page is made while it is sent.
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return Response::from_parts(head, Body::empty());
    };
    match Sent::new(bytes, budget) {
        Some(sent) => Response::from_parts(head, Body::new(sent)),
        None => gateway::refusal(&too_many()),
    }
}

async fn version(State(member): State<Arc<Member>>) -> impl IntoResponse {
    let cluster = cluster_version(&member.store);
    let body = serde_json::json!({
        "etcdserver": ETCD_VERSION,
        "etcdcluster": cluster,
        "storage": cluster,
        "flotilla": FLOTILLA_VERSION,
    });
    ([(CONTENT_TYPE, "application/json")], body.to_string())
}

/// One page at a time, and none on a thread that serves others: a page asks the system for much,
/// and takes a millisecond.
async fn metrics(State(member): State<Arc<Member>>) -> impl IntoResponse {
    static MAKING: Semaphore = Semaphore::const_new(1);
    // The page has the permit, and not who asks: whoever asks and goes away, again and again, has
    // no more than one in the making.
    let making = MAKING.acquire().await;
    let made = tokio::task::spawn_blocking(move || {
        let _making = making;
        metrics::text(&member)
    });
    let made = made.await;
    made.map(|page| ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page))
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}
