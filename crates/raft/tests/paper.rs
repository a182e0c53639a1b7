//! One test per sentence of Raft §5, §6 and Figure 2. The sentence stands above the test.

mod cluster;

use cluster::{Cluster, command, id};
use raft::*;

fn plain(nodes: u64) -> Cluster {
    let voters = Configuration::of_voters((1..=nodes).map(NodeId));
    Cluster::with(nodes, &voters, |options| {
        options.pre_vote = false;
        options.check_quorum = false;
    })
}

fn elected(nodes: u64) -> Cluster {
    let mut cluster = plain(nodes);
    cluster.elect(1);
    cluster
}

fn send(cluster: &mut Cluster, from: u64, to: u64, term: u64, body: Body) -> Vec<Body> {
    cluster.network.clear();
    cluster.deliver(Message::new(id(from), id(to), Term(term), body));
    let answers = cluster.network.iter().filter(|answer| answer.to == id(from));
    answers.map(|answer| answer.body.clone()).collect()
}

fn entry(term: u64, index: u64) -> Entry {
    Entry { id: EntryId::new(term, index), payload: Payload::Command(command("x")) }
}

fn append(prev: (u64, u64), commit: u64, entries: Vec<Entry>) -> Body {
    let (term, index) = prev;
    Body::AppendEntries {
        prev: EntryId::new(term, index),
        commit_index: LogIndex(commit),
        session: 0,
        entries: entries.into(),
    }
}

fn request_vote(term: u64, index: u64) -> Body {
    Body::RequestVote { last: EntryId::new(term, index), leadership_transfer: false }
}

fn granted(answers: &[Body]) -> bool {
    matches!(answers, [Body::RequestVoteResponse { granted: true }])
}

fn accepted(answers: &[Body]) -> Option<u64> {
    match answers {
        [Body::AppendEntriesResponse(AppendOutcome::Accepted { match_index, .. })] => {
            Some(match_index.0)
        }
        _ => None,
    }
}

fn disk_ids(cluster: &Cluster, node: u64) -> Vec<EntryId> {
    cluster.members[&node].disk.entries.iter().map(|entry| entry.id).collect()
}

// ---- §5.1 Raft basics ----

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

// ---- §5.2 Leader election ----

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

// ---- §5.3 Log replication ----

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

// ---- §5.4 Safety ----

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

// ---- §5.5 Follower and candidate crashes ----

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

// ---- Figure 2 ----

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

// ---- §6 Cluster membership changes ----

fn changed(cluster: &mut Cluster, node: u64, change: MemberChange) -> Result<EntryId, ChangeError> {
    cluster.change(node, &ConfigurationChange::of([change]))
}

/// "A server always uses the latest configuration in its log, regardless of whether the entry is
/// committed."
#[test]
fn s6_the_latest_configuration_in_the_log_is_in_force() {
    let mut cluster = elected(3);
    cluster.isolated.extend([2, 3]);
    changed(&mut cluster, 1, MemberChange::Remove(id(3))).unwrap();
    let status = cluster.status(1);
    assert!(status.configuration_index > status.commit_index);
    assert_eq!(status.configuration.voters, [id(1), id(2)].into_iter().collect());
}

/// "Log entries are replicated to all servers in both configurations. Any server from either
/// configuration may serve as leader."
#[test]
fn s6_any_server_of_either_configuration_may_lead() {
    let configuration = Configuration {
        outgoing: [id(3), id(4), id(5)].into_iter().collect(),
        ..Configuration::of_voters([id(1), id(2), id(3)])
    };
    for leader in 1..=5 {
        let mut cluster = Cluster::with(5, &configuration, |_| {});
        cluster.timeout(leader);
        cluster.stabilize();
        for node in 1..=5 {
            assert!(cluster.status(node).last >= EntryId::new(1, 1), "led by {leader}: {node}");
        }
        let has_gone = cluster.status(leader).role == Role::Follower;
        assert_eq!(has_gone, leader > 3, "a leader outside C_new has stepped down");
    }
}

/// "Agreement (for elections and entry commitment) requires separate majorities from both the old
/// and new configurations."
#[test]
fn s6_agreement_takes_both_majorities() {
    let mut cluster = elected(3);
    let add = [4, 5, 6].map(|node| MemberChange::AddVoter(id(node)));
    let change = ConfigurationChange { allow_stall: true, ..ConfigurationChange::of(add) };
    let first = cluster.change(1, &change).unwrap();
    cluster.stabilize();
    // All of C_old has the entry, and half of C_new.
    assert_eq!(cluster.status(3).last, first);
    assert!(cluster.status(1).commit_index < first.index);
}

/// "Once C_old,new has been committed … it is now safe for the leader to create a log entry
/// describing C_new and replicate it to the cluster."
#[test]
fn s6_c_new_follows_when_the_joint_configuration_is_committed() {
    let mut cluster = elected(3);
    let first = changed(&mut cluster, 1, MemberChange::Remove(id(3))).unwrap();
    assert!(cluster.status(1).configuration.is_joint());
    let second = changed(&mut cluster, 1, MemberChange::Remove(id(2)));
    assert_eq!(second, Err(ChangeError::InProgress { index: first.index }));
    cluster.stabilize();
    let status = cluster.status(1);
    assert_eq!(status.configuration.to_string(), "voters=1,2 removed=3");
    assert_eq!(status.configuration_index, first.index.next());
    assert_eq!(status.commit_index, first.index.next());
}

/// "In this case, the leader steps down (returns to follower state) once it has committed the C_new
/// log entry."
#[test]
fn s6_a_leader_outside_c_new_steps_down_when_that_is_committed() {
    let mut cluster = elected(3);
    changed(&mut cluster, 1, MemberChange::Remove(id(1))).unwrap();
    assert_eq!(cluster.status(1).role, Role::Leader);
    cluster.stabilize();
    let status = cluster.status(1);
    assert_eq!((status.role, status.commit_index), (Role::Follower, LogIndex(3)));
    assert!(!status.configuration.contains(id(1)));
}

fn stepped(cluster: &mut Cluster, node: u64, change: MemberChange) -> Result<EntryId, ChangeError> {
    let change = ConfigurationChange::of([change]);
    cluster.change(node, &ConfigurationChange { transition: Transition::OneStep, ..change })
}

/// "When adding a server … any majority of the old cluster overlaps with any majority of the new
/// cluster": one entry, in force at once, and the next change waits for it.
#[test]
fn thesis_4_1_one_server_is_added_by_one_entry() {
    let mut cluster = Cluster::with(4, &Configuration::of_voters([1, 2, 3].map(id)), |_| {});
    cluster.elect(1);
    cluster.isolated.extend([2, 4]);
    let added = stepped(&mut cluster, 1, MemberChange::AddVoter(id(4))).unwrap();
    assert_eq!(cluster.status(1).configuration, Configuration::of_voters([1, 2, 3, 4].map(id)));
    let next = stepped(&mut cluster, 1, MemberChange::Remove(id(3)));
    assert_eq!(next, Err(ChangeError::InProgress { index: added.index }));
    cluster.stabilize();
    assert!(cluster.status(1).commit_index < added.index, "two of four are no majority");
    cluster.isolated.clear();
    for _ in 0..4 {
        cluster.tick(1, 2);
        cluster.stabilize();
    }
    assert_eq!(cluster.status(1).commit_index, added.index);
    assert_eq!(cluster.status(1).last, added, "nothing else was needed");
}

/// The erratum to §4.1 (raft-dev, 2015): "a leader may not append a new configuration until it has
/// committed an entry from its current term." One rule for both ways.
#[test]
fn thesis_4_1_no_change_before_an_entry_of_the_term_is_committed() {
    for transition in [Transition::Joint, Transition::OneStep] {
        let mut cluster = plain(3);
        cluster.timeout(1);
        cluster.isolated.insert(3);
        while cluster.status(1).role != Role::Leader {
            let message = cluster.network.remove(0);
            cluster.deliver(message);
        }
        let remove = ConfigurationChange::of([MemberChange::Remove(id(3))]);
        let change = ConfigurationChange { transition, ..remove };
        assert_eq!(cluster.change(1, &change), Err(ChangeError::TermNotCommitted));
        cluster.stabilize();
        assert!(cluster.change(1, &change).is_ok());
    }
}

/// M13: "rejected at construction".
#[test]
fn a_node_in_two_roles_is_no_state_to_begin_from() {
    let learners = [id(2)].into_iter().collect();
    let both = Configuration { learners, ..Configuration::of_voters([id(1), id(2)]) };
    let error = Node::new(Options::new(id(1), 1), Restored::bootstrap(both)).err();
    assert_eq!(error, Some(OptionsError::Restored(RestoredFault::Configurations)));
}
