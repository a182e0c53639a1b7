//! §5.1 and §5.2: terms, roles and elections.

use super::*;

/// "Current terms are exchanged whenever servers communicate; if one server's current term is
/// smaller than the other's, then it updates its current term to the larger value."
#[test]
fn s5_1_larger_term_is_taken_over() {
    for body in [
        request_vote(9, 9),
        append((0, 0), 0, vec![]),
        Body::RequestVoteResponse { granted: false },
        Body::HeartbeatResponse { round: 0, last_index: LogIndex(0) },
    ] {
        let mut cluster = plain(3);
        send(&mut cluster, 2, 1, 7, body);
        assert_eq!(cluster.status(1).hard_state.current_term, Term(7));
    }
}

/// "If a candidate or leader discovers that its term is out of date, it immediately reverts to
/// follower state."
#[test]
fn s5_1_candidate_or_leader_with_an_old_term_becomes_follower() {
    let mut candidate = plain(3);
    candidate.timeout(1);
    assert_eq!(candidate.status(1).role, Role::Candidate);
    for mut cluster in [candidate, elected(3)] {
        send(&mut cluster, 2, 1, 7, Body::RequestVoteResponse { granted: false });
        assert_eq!(cluster.status(1).role, Role::Follower);
    }
}

/// "If a server receives a request with a stale term number, it rejects the request."
#[test]
fn s5_1_stale_request_is_rejected() {
    let mut cluster = plain(3);
    cluster.load(1, 5, &[1]);
    assert!(!granted(&send(&mut cluster, 2, 1, 4, request_vote(9, 9))));
    assert_eq!(accepted(&send(&mut cluster, 2, 1, 4, append((1, 1), 1, vec![]))), None);
    assert_eq!(cluster.status(1).commit_index, LogIndex(0));
    assert_eq!(cluster.status(1).leader_id, None);
}

/// "When servers start up, they begin as followers."
#[test]
fn s5_2_servers_begin_as_followers() {
    assert_eq!(plain(3).status(1).role, Role::Follower);
}

/// "A server remains in follower state as long as it receives valid RPCs from a leader or
/// candidate."
#[test]
fn s5_2_follower_stays_while_the_leader_is_heard() {
    let mut cluster = plain(3);
    for _ in 0..50 {
        cluster.tick(1, 5);
        let heartbeat = Body::Heartbeat { commit_index: LogIndex(0), round: 0 };
        send(&mut cluster, 2, 1, 1, heartbeat);
        assert_eq!(cluster.status(1).role, Role::Follower);
    }
}

/// "Leaders send periodic heartbeats … to all followers in order to maintain their authority."
#[test]
fn s5_2_leader_sends_heartbeats() {
    let mut cluster = elected(3);
    cluster.tick(1, 2);
    let beats = cluster.network.iter();
    let beats = beats.filter(|message| matches!(message.body, Body::Heartbeat { .. }));
    assert_eq!(beats.map(|message| message.to).collect::<Vec<_>>(), [id(2), id(3)]);
}

/// "If a follower receives no communication over a period of time called the election timeout, then
/// it assumes there is no viable leader and begins an election."
#[test]
fn s5_2_silence_begins_an_election() {
    let mut cluster = plain(3);
    cluster.tick(1, 9);
    assert_eq!(cluster.status(1).role, Role::Follower);
    cluster.tick(1, 11);
    assert_ne!(cluster.status(1).role, Role::Follower);
}

/// "To begin an election, a follower increments its current term and transitions to candidate state.
/// It then votes for itself and issues RequestVote RPCs in parallel to each of the other servers."
#[test]
fn s5_2_candidate_increments_term_votes_for_itself_and_asks_all() {
    let mut cluster = plain(3);
    cluster.timeout(1);
    let status = cluster.status(1);
    assert_eq!(status.role, Role::Candidate);
    assert_eq!(status.hard_state, HardState { current_term: Term(1), voted_for: Some(id(1)) });
    let asked: Vec<NodeId> = cluster.network.iter().map(|message| message.to).collect();
    assert_eq!(asked, [id(2), id(3)]);
}

/// "A candidate wins an election if it receives votes from a majority of the servers in the full
/// cluster for the same term."
#[test]
fn s5_2_majority_of_votes_wins() {
    for nodes in 1..=5 {
        let mut cluster = plain(nodes);
        cluster.timeout(1);
        for voter in 2..=nodes {
            // The votes of this node and of those before `voter`.
            let votes = voter - 1;
            let leads = cluster.status(1).role == Role::Leader;
            assert_eq!(leads, votes * 2 > nodes, "{votes} of {nodes}");
            send(&mut cluster, voter, 1, 1, Body::RequestVoteResponse { granted: true });
        }
        assert_eq!(cluster.status(1).role, Role::Leader);
    }
}

/// "Each server will vote for at most one candidate in a given term, on a first-come-first-served
/// basis."
#[test]
fn s5_2_one_vote_per_term_first_come_first_served() {
    let mut cluster = plain(3);
    assert!(granted(&send(&mut cluster, 2, 1, 1, request_vote(0, 0))));
    assert!(!granted(&send(&mut cluster, 3, 1, 1, request_vote(0, 0))));
    // The same candidate may ask again: its first answer may be lost.
    assert!(granted(&send(&mut cluster, 2, 1, 1, request_vote(0, 0))));
    // And a crash forgets nothing.
    cluster.crash(1);
    cluster.restart(1);
    assert!(!granted(&send(&mut cluster, 3, 1, 1, request_vote(0, 0))));
    assert!(granted(&send(&mut cluster, 3, 1, 2, request_vote(0, 0))));
}

/// "If the leader's term … is at least as large as the candidate's current term, then the candidate
/// recognizes the leader as legitimate and returns to follower state. If the term in the RPC is
/// smaller … the candidate rejects the RPC and continues in candidate state."
#[test]
fn s5_2_candidate_yields_to_a_leader_of_its_term_and_to_no_older_one() {
    let mut cluster = plain(3);
    cluster.timeout(1);
    cluster.timeout(1);
    send(&mut cluster, 2, 1, 1, append((0, 0), 0, vec![]));
    assert_eq!(cluster.status(1).role, Role::Candidate);
    send(&mut cluster, 2, 1, 2, append((0, 0), 0, vec![]));
    assert_eq!(
        (cluster.status(1).role, cluster.status(1).leader_id),
        (Role::Follower, Some(id(2)))
    );
}

/// "Each candidate will time out and start a new election by incrementing its term and initiating
/// another round of RequestVote RPCs."
#[test]
fn s5_2_candidate_times_out_and_tries_again() {
    let mut cluster = plain(3);
    cluster.timeout(1);
    cluster.network.clear();
    cluster.timeout(1);
    assert_eq!(cluster.status(1).hard_state.current_term, Term(2));
    assert_eq!(cluster.network.len(), 2);
}

/// "Election timeouts are chosen randomly from a fixed interval."
#[test]
fn s5_2_election_timeouts_are_random_within_the_interval() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let options = Options { seed, ..cluster::options(1) };
        let voters = Configuration::of_voters([id(1), id(2)]);
        let mut node = Node::new(options, Restored::bootstrap(voters)).unwrap();
        node.handle(Tick(1000), Input::Tick);
        seen.insert(node.next_deadline().unwrap().0 - 1000);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), (10..20).collect::<Vec<u64>>());
}
