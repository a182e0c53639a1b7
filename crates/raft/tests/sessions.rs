//! Sessions: the leader's names for its books on a member.

mod cluster;

use cluster::{Cluster, id};
use raft::*;

/// Answers to heartbeats from long ago say that a member holds less than it does. Each is a reason
/// to ask; a thousand of them are no reason for a thousand sessions, which a model checker would
/// have to tell apart.
#[test]
fn late_answers_to_heartbeats_name_no_sessions_without_end() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, &["a"]).expect("it leads");
    cluster.stabilize();
    let late = Body::HeartbeatResponse { round: 0, last_index: LogIndex(1) };
    let late = Message::new(id(2), id(1), cluster.status(1).hard_state.current_term, late);
    let mut newest = 0;
    for _ in 0..1000 {
        cluster.deliver(late.clone());
        for message in &cluster.network {
            if let Body::AppendEntries { session, .. } = message.body {
                newest = newest.max(session);
            }
        }
        cluster.stabilize();
    }
    assert_eq!(newest, 1, "one question, one session");
    assert_eq!(cluster.status(1).peer_faults.total(), 0, "and nobody is accused");
}
