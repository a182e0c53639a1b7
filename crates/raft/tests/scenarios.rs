//! Scenarios by number that are neither a sentence of the paper nor a story of a script.

mod cluster;

use cluster::{Cluster, id};
use raft::*;

/// N13: mail for another node, or in the own name, is counted and changes nothing.
#[test]
fn n13_mail_of_others_is_not_read() {
    let mut cluster = Cluster::new(3);
    let before = cluster.status(1);
    for (from, to) in [(2, 3), (1, 1), (2, 9)] {
        let body = Body::RequestVote { last: EntryId::new(5, 5), leadership_transfer: false };
        let message = Message::new(id(from), id(to), Term(7), body);
        cluster.input(1, Tick(1), Input::Message(message));
    }
    let after = cluster.status(1);
    assert_eq!(after.peer_faults.count(PeerFault::Misaddressed), 3);
    assert_eq!(Status { peer_faults: before.peer_faults, ..after }, before);
    assert!(cluster.network.is_empty(), "no answer: {:?}", cluster.network);
}

/// S2: the state machine says "applied up to 1" after a snapshot up to 4 has replaced its state.
#[test]
fn s2_a_late_report_does_not_take_the_applied_index_back() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.member(3).apply_is_instant = false;
    cluster.propose(1, &["b"]).unwrap();
    cluster.stabilize();
    cluster.member(3).unreported = Some(LogIndex(1));
    cluster.isolated.insert(3);
    cluster.propose(1, &["c", "d"]).unwrap();
    cluster.stabilize();
    cluster.compact(1);
    cluster.isolated.clear();
    for _ in 0..8 {
        cluster.tick(1, 2);
        cluster.stabilize();
        cluster.carry_snapshot(1);
    }
    assert_eq!(cluster.status(3).applied_index, LogIndex(4));
    assert!(cluster.report_applied(3), "the report of index 1 still comes");
    assert_eq!(cluster.status(3).applied_index, LogIndex(4));
}
