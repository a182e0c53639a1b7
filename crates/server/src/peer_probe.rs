//! How long a question to each peer and its answer take, asked every few seconds: through the same
//! connections, queues and threads as what the cluster says to itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::{CallTarget, Histogram, HistogramView, doubled};
use parking_lot::RwLock;
use raft::NodeId;

use crate::member::Member;
use crate::metrics::nanos_since;

/// Nothing else that members ask each other looks like it; the answer is empty.
const QUESTION: &[u8] = b"\x01round trip";
/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(4);

static BOUNDS_US: [u64; 16] = doubled(100);

/// Whether a member asks this.
pub(crate) fn is_question(question: &[u8]) -> bool {
    question == QUESTION
}

/// How long the answers of each peer took.
#[derive(Debug, Default)]
pub(crate) struct RoundTrips(RwLock<BTreeMap<NodeId, Histogram>>);

impl RoundTrips {
    fn add(&self, peer: NodeId, nanos: u64) {
        if let Some(times) = self.0.read().get(&peer) {
            return times.add(nanos);
        }
        let mut all = self.0.write();
        all.entry(peer).or_insert_with(|| Histogram::new(&BOUNDS_US)).add(nanos);
    }

    /// Of one peer; empty if it has not answered yet.
    pub(crate) fn of(&self, peer: NodeId) -> HistogramView {
        let none = || Histogram::new(&BOUNDS_US).view();
        self.0.read().get(&peer).map_or_else(none, Histogram::view)
    }
}

/// Asks all peers, over and over.
pub(crate) async fn run(member: Arc<Member>) {
    let stopping = Arc::clone(&member);
    let stopping = stopping.stopping();
    tokio::pin!(stopping);
    loop {
        member.group.peers().iter().for_each(|peer| ask(&member, peer.node));
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// One that does not answer in time has no round trip.
fn ask(member: &Arc<Member>, peer: NodeId) {
    // Weak: the host, which keeps the reply for a while, is kept by the member.
    let (asking, begun) = (Arc::downgrade(member), member.clock.now());
    let reply = move |answer: Result<Bytes, host::CallError>| {
        if let (Ok(answer), Some(member)) = (answer, asking.upgrade())
            && answer.is_empty()
        {
            let nanos = nanos_since(&*member.clock, begun);
            member.metrics.round_trips.add(peer, nanos);
        }
    };
    member.group.call(CallTarget::Node(peer), Bytes::from_static(QUESTION), reply);
}
