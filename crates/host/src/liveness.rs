//! Which nodes are there: for groups that rest, in which nobody else would notice that the leader
//! is gone ([`raft::Input::PeerLost`]).
//!
//! Any frame is a sign of life. A node that has nothing to say to a peer sends it a frame without
//! records once in a heartbeat's time. So the cost is one of pairs of nodes, not of groups.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use env::{Clock, Moment};
use parking_lot::Mutex;
use raft::NodeId;

/// When each peer was last heard.
pub(crate) struct Liveness {
    clock: Arc<dyn Clock>,
    heard_at: Mutex<BTreeMap<NodeId, Moment>>,
}

impl fmt::Debug for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Liveness").finish_non_exhaustive()
    }
}

impl Liveness {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, heard_at: Mutex::default() }
    }

    /// A frame of this node has come.
    pub(crate) fn hear(&self, from: NodeId) {
        self.heard_at.lock().insert(from, self.clock.now());
    }

    /// Which of these nodes were silent for so long. One that was never heard counts from the first
    /// time that somebody asks.
    pub(crate) fn silent(
        &self,
        nodes: impl IntoIterator<Item = NodeId>,
        now: Moment,
        timeout: Duration,
    ) -> Vec<NodeId> {
        let mut heard_at = self.heard_at.lock();
        let is_silent = |node: &NodeId| now >= heard_at.entry(*node).or_insert(now).after(timeout);
        nodes.into_iter().filter(is_silent).collect()
    }
}

#[cfg(test)]
mod tests {
    use env::mem::VirtualClock;

    use super::*;

    #[test]
    fn who_is_not_heard_for_long_is_silent_until_it_is_heard() {
        let clock = VirtualClock::new();
        let liveness = Liveness::new(Arc::new(clock.clone()));
        let timeout = Duration::from_secs(1);
        let silent = |after: u64| {
            clock.set(Moment(0).after(Duration::from_millis(after)));
            liveness.silent([NodeId(2), NodeId(3)], clock.now(), timeout)
        };
        assert!(silent(5_000).is_empty(), "nobody could have been heard before");
        liveness.hear(NodeId(2));
        assert!(silent(5_999).is_empty());
        liveness.hear(NodeId(2));
        assert_eq!(silent(6_000), [NodeId(3)]);
        liveness.hear(NodeId(3));
        assert_eq!(silent(6_999), [NodeId(2)]);
    }
}
