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

/// A host that did not say which disk it has begins to say so: after an upgrade with the disk it
/// had, or in the place of one that was lost. Nobody can tell, so it must hold again what it was
/// counted for before its disk is put on record.
#[test]
fn who_begins_to_name_its_disk_must_hold_what_it_was_counted_for() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, &["a"]).expect("it leads");
    cluster.stabilize();
    let held = cluster.status(1).last.index;
    cluster.member(2).options.incarnation = Incarnation(20);
    cluster.lose_disk(2);
    let named = cluster.members[&2].options.incarnation;
    // Its first word, and no more of its log than that.
    let term = cluster.status(1).hard_state.current_term;
    let body = Body::HeartbeatResponse { round: 0, last_index: LogIndex(0) };
    let message = Message { incarnation: named, ..Message::new(id(2), id(1), term, body) };
    cluster.deliver(message);
    let follower = |cluster: &Cluster| {
        let followers = cluster.status(1).followers;
        followers.into_iter().find(|follower| follower.id == id(2)).expect("it is a member")
    };
    assert_eq!((follower(&cluster).counts, follower(&cluster).frontier), (false, held));
    let is_recorded = |cluster: &Cluster| {
        cluster.status(1).configuration.incarnations.get(&id(2)) == Some(&named)
    };
    assert!(!is_recorded(&cluster), "it has forgotten what a quorum may have counted");
    for _ in 0..6 {
        cluster.tick(1, 2);
        cluster.stabilize();
    }
    assert!(follower(&cluster).counts && is_recorded(&cluster));
    let faults = cluster.status(1).peer_faults;
    assert_eq!(faults.total(), 0, "to begin to name a disk is no fault");
    assert_eq!(follower(&cluster).match_index, cluster.status(1).last.index);
}

/// A rolling upgrade from hosts that name no disk: each comes back with its disk, and a name.
/// Nobody is accused, the group commits all the way, also while one of three is down, and in the
/// end every disk is on record.
#[test]
fn a_rolling_upgrade_to_named_disks_costs_no_write() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let mut writes = 0;
    for node in [2, 3, 1] {
        cluster.crash(node);
        if node == 1 {
            cluster.elect(2);
        }
        let leader = if node == 1 { 2 } else { 1 };
        let mut commits = |cluster: &mut Cluster, why: &str| {
            writes += 1;
            let write = cluster.propose(leader, &["x"]).expect("it leads");
            cluster.stabilize();
            let committed = cluster.status(leader).commit_index;
            assert!(committed >= write.index, "write {writes} {why} of n{node}: {committed}");
        };
        commits(&mut cluster, "beside the upgrade");
        cluster.member(node).options.incarnation = Incarnation(node * 10);
        cluster.restart(node);
        // With the other one cut off its word is needed: after its first one, and one question.
        let other = if node == 2 { 3 } else { 5 - leader };
        cluster.isolated.insert(other);
        for _ in 0..3 {
            cluster.tick(leader, 2);
            cluster.stabilize();
        }
        commits(&mut cluster, "by the word");
        cluster.isolated.clear();
        for _ in 0..3 {
            cluster.tick(leader, 2);
            cluster.stabilize();
        }
    }
    let status = cluster.status(2);
    let recorded: Vec<u64> = status.configuration.incarnations.values().map(|at| at.0).collect();
    assert_eq!((recorded, status.unguarded), (vec![10, 20, 30], vec![]));
    for node in 1..=3 {
        assert_eq!(cluster.status(node).peer_faults.total(), 0, "an upgrade is no fault");
    }
}
