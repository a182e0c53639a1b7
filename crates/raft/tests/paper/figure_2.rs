//! Figure 2, where it says more than the sections, and §8.

use super::*;

/// "Persistent state on all servers: currentTerm, votedFor, log[] (updated on stable storage before
/// responding to RPCs)."
#[test]
fn fig2_state_is_durable_before_the_answer() {
    let mut cluster = plain(3);
    cluster.member(1).disk_is_instant = false;
    assert_eq!(send(&mut cluster, 2, 1, 1, request_vote(0, 0)), []);
    cluster.write_one(1);
    assert_eq!(cluster.network.len(), 1, "the vote leaves when it is durable");
    assert_eq!(send(&mut cluster, 2, 1, 1, append((0, 0), 0, vec![entry(1, 1)])), []);
    cluster.write_one(1);
    assert_eq!(cluster.network.len(), 1, "the acknowledgement leaves when the entry is durable");
}

/// "AppendEntries 3: if an existing entry conflicts with a new one (same index but different terms),
/// delete the existing entry and all that follow it."
#[test]
fn fig2_append_entries_deletes_from_the_conflict_on() {
    let mut cluster = plain(3);
    cluster.load(1, 2, &[1, 1, 2, 2]);
    send(&mut cluster, 2, 1, 3, append((1, 1), 0, vec![entry(1, 2), entry(3, 3)]));
    let expected = [EntryId::new(1, 1), EntryId::new(1, 2), EntryId::new(3, 3)];
    assert_eq!(disk_ids(&cluster, 1), expected);
}

/// "AppendEntries 4: append any new entries not already in the log."
#[test]
fn fig2_append_entries_keeps_what_is_already_there() {
    let mut cluster = plain(3);
    cluster.load(1, 1, &[1, 1, 1]);
    send(&mut cluster, 2, 1, 1, append((0, 0), 0, vec![entry(1, 1)]));
    assert_eq!(disk_ids(&cluster, 1).len(), 3);
}

/// "AppendEntries 5: if leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last
/// new entry)."
#[test]
fn fig2_commit_index_is_bounded_by_the_last_new_entry() {
    let mut cluster = plain(3);
    cluster.load(1, 2, &[1, 2, 2]);
    let answers = send(&mut cluster, 2, 1, 3, append((1, 1), 3, vec![]));
    assert_eq!(accepted(&answers), Some(1));
    assert_eq!(cluster.status(1).commit_index, LogIndex(1));
}

/// "If election timeout elapses without receiving AppendEntries RPC from current leader or granting
/// vote to candidate: convert to candidate."
#[test]
fn fig2_granting_a_vote_resets_the_election_timer() {
    let mut cluster = plain(3);
    for term in 1..20 {
        cluster.tick(1, 9);
        assert!(granted(&send(&mut cluster, 2, 1, term, request_vote(0, 0))));
    }
    assert_eq!(cluster.status(1).role, Role::Follower);
    // A vote that is refused resets nothing.
    let mut refusing = plain(3);
    refusing.load(1, 1, &[1]);
    for term in 2..20 {
        refusing.tick(1, 2);
        send(&mut refusing, 2, 1, term, request_vote(0, 0));
    }
    assert_ne!(refusing.status(1).role, Role::Follower);
}

/// "Upon election: send initial empty AppendEntries RPCs (heartbeat) to each server."
#[test]
fn fig2_leader_announces_itself_at_once() {
    let mut cluster = plain(3);
    cluster.timeout(1);
    cluster.network.clear();
    let granted = Body::RequestVoteResponse { granted: true };
    cluster.deliver(Message::new(id(2), id(1), Term(1), granted));
    let beats = cluster.network.iter();
    let beats = beats.filter(|message| matches!(message.body, Body::Heartbeat { .. }));
    assert_eq!(beats.count(), 2);
}

/// "If there exists an N such that N > commitIndex, a majority of matchIndex[i] ≥ N, and log[N].term
/// == currentTerm: set commitIndex = N." The leader's own disk is one of the majority (L13).
#[test]
fn fig2_own_disk_counts_when_durable() {
    let mut cluster = elected(3);
    cluster.isolated.insert(3);
    cluster.member(1).disk_is_instant = false;
    cluster.propose(1, &["x"]).unwrap();
    cluster.stabilize();
    assert_eq!(cluster.status(1).commit_index, LogIndex(1));
    cluster.write_one(1);
    assert_eq!(cluster.status(1).commit_index, LogIndex(2));
}

/// "Raft §8: a leader must have the latest information on which entries are committed … it commits a
/// blank no-op entry at the start of its term."
#[test]
fn s8_leader_begins_its_term_with_a_noop() {
    let cluster = elected(3);
    let log = &cluster.members[&1].disk.entries;
    assert_eq!(log.last().unwrap().payload, Payload::Noop);
    assert_eq!(cluster.status(2).commit_index, LogIndex(1));
}
