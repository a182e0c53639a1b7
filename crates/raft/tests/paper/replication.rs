//! §5.3 to §5.5: the log, what is safe to commit, and repeated requests.

use super::*;

/// "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in
/// parallel to each of the other servers."
#[test]
fn s5_3_leader_appends_and_sends_to_all() {
    let mut cluster = elected(3);
    let first = cluster.propose(1, &["x"]).unwrap();
    assert_eq!(first, EntryId::new(1, 2));
    assert_eq!(cluster.status(1).last, first);
    assert_eq!(cluster.network.iter().map(|m| m.to).collect::<Vec<_>>(), [id(2), id(3)]);
}

/// "When the entry has been safely replicated …, the leader applies the entry to its state machine."
#[test]
fn s5_3_applied_only_when_replicated() {
    let mut cluster = elected(3);
    cluster.propose(1, &["x"]).unwrap();
    assert!(cluster.applied_commands(1).is_empty());
    cluster.stabilize();
    assert_eq!(cluster.applied_commands(1), ["x"]);
}

/// "If followers crash or run slowly, or if network packets are lost, the leader retries
/// AppendEntries RPCs indefinitely (even after it has responded to the client)."
#[test]
fn s5_3_leader_retries_after_loss() {
    let mut cluster = elected(3);
    cluster.isolated.insert(3);
    cluster.propose(1, &["x"]).unwrap();
    cluster.stabilize();
    assert_eq!(cluster.status(1).commit_index, LogIndex(2));
    cluster.isolated.clear();
    for _ in 0..3 {
        cluster.tick(1, 2);
        cluster.stabilize();
    }
    assert_eq!(cluster.applied_commands(3), ["x"]);
}

/// "A log entry is committed once the leader that created the entry has replicated it on a majority
/// of the servers. This also commits all preceding entries in the leader's log, including entries
/// created by previous leaders."
#[test]
fn s5_3_commits_on_a_majority_with_all_before() {
    let mut cluster = plain(3);
    cluster.load(1, 2, &[1, 2]);
    cluster.load(2, 2, &[1, 2]);
    cluster.isolated.insert(3);
    cluster.elect(1);
    assert_eq!(cluster.status(1).commit_index, LogIndex(3));
    assert_eq!(cluster.applied_commands(1), ["1@1", "2@2"]);
}

/// "The leader keeps track of the highest index it knows to be committed, and it includes that index
/// in future AppendEntries RPCs … Once a follower learns that a log entry is committed, it applies
/// the entry."
#[test]
fn s5_3_followers_learn_the_commit_index() {
    let mut cluster = elected(3);
    cluster.propose(1, &["x"]).unwrap();
    cluster.stabilize();
    assert_eq!(cluster.applied_commands(2), ["x"]);
}

/// "If the follower does not find an entry in its log with the same index and term, then it refuses
/// the new entries."
#[test]
fn s5_3_refuses_entries_behind_a_gap_or_another_term() {
    let mut cluster = plain(3);
    cluster.load(1, 2, &[1, 2]);
    for prev in [(2, 5), (1, 2)] {
        let entries = vec![entry(3, prev.1 + 1)];
        assert_eq!(accepted(&send(&mut cluster, 2, 1, 3, append(prev, 0, entries))), None);
    }
    assert_eq!(disk_ids(&cluster, 1), [EntryId::new(1, 1), EntryId::new(2, 2)]);
}

/// "The leader handles inconsistencies by forcing the followers' logs to duplicate its own. This
/// means that conflicting entries in follower logs will be overwritten."
#[test]
fn s5_3_conflicting_entries_are_overwritten() {
    let mut cluster = plain(3);
    cluster.load(1, 3, &[1, 3]);
    cluster.load(2, 2, &[1, 2, 2, 2]);
    cluster.elect(1);
    assert_eq!(disk_ids(&cluster, 2), disk_ids(&cluster, 1));
}

/// "The leader maintains a nextIndex for each follower … When a leader first comes to power, it
/// initializes all nextIndex values to the index just after the last one in its log."
#[test]
fn s5_3_next_index_begins_behind_the_log() {
    let mut cluster = plain(3);
    cluster.load(1, 1, &[1, 1, 1]);
    cluster.timeout(1);
    send(&mut cluster, 2, 1, 2, Body::RequestVoteResponse { granted: true });
    let next: Vec<u64> =
        cluster.status(1).followers.iter().map(|follower| follower.next_index.0).collect();
    assert_eq!(next, [4, 4]);
}

/// "A leader never overwrites or deletes entries in its own log (the Leader Append-Only Property)."
#[test]
fn s5_3_leader_is_append_only() {
    let mut cluster = elected(3);
    cluster.propose(1, &["x"]).unwrap();
    send(&mut cluster, 2, 1, 1, append((0, 0), 0, vec![entry(1, 1)]));
    assert_eq!(cluster.status(1).last, EntryId::new(1, 2));
    assert_eq!(cluster.status(1).peer_faults.count(PeerFault::SecondLeaderInTerm), 1);
}

/// "The voter denies its vote if its own log is more up-to-date than that of the candidate … If the
/// logs have last entries with different terms, then the log with the later term is more
/// up-to-date. If the logs end with the same term, then whichever log is longer is more
/// up-to-date."
#[test]
fn s5_4_1_vote_is_denied_to_a_log_that_is_behind() {
    for (last, expected) in [((1, 9), false), ((2, 2), false), ((2, 3), true), ((3, 1), true)] {
        let mut cluster = plain(3);
        cluster.load(1, 2, &[1, 1, 2]);
        let answers = send(&mut cluster, 2, 1, 4, request_vote(last.0, last.1));
        assert_eq!(granted(&answers), expected, "{last:?}");
    }
}

/// "Raft never commits log entries from previous terms by counting replicas. Only log entries from
/// the leader's current term are committed by counting replicas."
#[test]
fn s5_4_2_only_commits_current_term_by_counting() {
    let mut cluster = plain(3);
    for node in 1..=3 {
        cluster.load(node, 1, &[1, 1]);
    }
    cluster.timeout(1);
    send(&mut cluster, 2, 1, 2, Body::RequestVoteResponse { granted: true });
    let accepted = |index| {
        Body::AppendEntriesResponse(AppendOutcome::Accepted {
            session: 0,
            match_index: LogIndex(index),
        })
    };
    for follower in [2, 3] {
        send(&mut cluster, follower, 1, 2, accepted(2));
        assert_eq!(cluster.status(1).commit_index, LogIndex(0), "2@1 is on all, and of term 1");
    }
    // An entry of term 2 on a majority commits all three.
    for _ in 0..3 {
        cluster.network.clear();
        cluster.tick(1, 2);
        cluster.stabilize();
    }
    assert_eq!(cluster.status(1).commit_index, LogIndex(3));
}

/// "Raft RPCs are idempotent, so this causes no harm."
#[test]
fn s5_5_repeated_requests_do_no_harm() {
    let mut cluster = plain(3);
    let request = append((0, 0), 0, vec![entry(1, 1), entry(1, 2)]);
    let first = send(&mut cluster, 2, 1, 1, request.clone());
    let again = send(&mut cluster, 2, 1, 1, request);
    assert_eq!((accepted(&first), accepted(&again)), (Some(2), Some(2)));
    assert_eq!(disk_ids(&cluster, 1).len(), 2);
}
