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

/// E3: a write that fails is never reported, so the vote in it is never spoken of; and the next
/// life knows nothing of it.
#[test]
fn e3_a_vote_that_was_not_written_is_not_given() {
    let mut cluster = Cluster::new(3);
    cluster.member(2).disk_is_instant = false;
    let ask = |term| {
        let body = Body::RequestVote { last: EntryId::default(), leadership_transfer: false };
        Message::new(id(3), id(2), Term(term), body)
    };
    cluster.deliver(ask(7));
    assert_eq!(cluster.status(2).hard_state.voted_for, Some(id(3)), "on its way to the disk");
    cluster.tick(2, 9);
    let is_granted =
        |message: &Message| matches!(message.body, Body::RequestVoteResponse { granted: true });
    assert!(!cluster.network.iter().any(is_granted), "{:?}", cluster.network);
    cluster.crash(2);
    cluster.restart(2);
    assert_eq!(cluster.status(2).hard_state, HardState::default());
}

/// C4: pages of committed entries, from memory and from the log, leave out nothing and repeat
/// nothing, however small they are.
#[test]
fn c4_pages_of_committed_entries_have_no_gap() {
    let mut cluster = Cluster::with(1, &Configuration::of_voters([id(1)]), |options| {
        options.apply_window_bytes_max = 70;
        options.cache_bytes_max = 0;
    });
    cluster.stabilize();
    let commands: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    for command in &commands {
        cluster.propose(1, &[command]).expect("it leads");
    }
    assert_eq!(cluster.applied_commands(1), commands);
    cluster.crash(1);
    cluster.restart_with_tail(1, 0);
    assert_eq!(cluster.applied_commands(1), commands);
    assert_eq!(cluster.status(1).applied_index, cluster.status(1).last.index);
}

/// L20, L6: through probing, a window, a loss, a snapshot and back, nothing stays in the window
/// (`inflights do not leak` is checked after every step), and `next` stays above `match`.
#[test]
fn l20_windows_are_empty_at_rest() {
    let mut cluster = Cluster::with(3, &Configuration::of_voters([1, 2, 3].map(id)), |options| {
        options.window_messages_max = 2;
        options.append_batch_bytes_max = 40;
    });
    cluster.elect(1);
    for round in 0..3 {
        cluster.isolated.insert(3);
        for _ in 0..5 {
            cluster.propose(1, &["x"]).expect("it leads");
            cluster.stabilize();
        }
        if round == 1 {
            cluster.compact(1);
        }
        cluster.isolated.clear();
        for _ in 0..12 {
            cluster.tick(1, 2);
            cluster.stabilize();
            cluster.carry_snapshot(1);
        }
        let status = cluster.status(1);
        for follower in status.followers {
            assert_eq!(follower.match_index, status.last.index);
            assert_eq!(follower.next_index, status.last.index.next());
        }
    }
}

/// S16: an empty log behind a snapshot ends at the snapshot's entry, with its term; a node that
/// comes back with it says so when it campaigns.
#[test]
fn s16_an_empty_log_behind_a_snapshot_ends_at_its_mark() {
    let voters = Configuration::of_voters([1, 2, 3].map(id));
    let last = EntryId::new(2, 5);
    let restored = Restored {
        hard_state: HardState { current_term: Term(3), voted_for: None },
        mark: SnapshotMark { last, configuration: voters },
        last,
        applied: LogIndex(5),
        ..Restored::default()
    };
    let mut node = Node::new(cluster::options(1), restored).expect("a sound state");
    node.handle(Tick(0), Input::Tick);
    node.handle(Tick(50), Input::Tick);
    let asked = node.take_output().messages;
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|message| message.body == Body::PreVote { last }), "{asked:?}");
}

/// T140: a member that leaves and lacks entries which are no longer in memory is sent them as they
/// come from the disk; the leader does not ask for the same ones again and again.
#[test]
fn who_leaves_is_sent_what_is_read_for_it() {
    let voters = Configuration::of_voters([1, 2, 3].map(id));
    let mut cluster = Cluster::with(3, &voters, |options| {
        options.cache_bytes_max = 0;
        options.append_batch_bytes_max = 40;
    });
    cluster.elect(1);
    cluster.member(1).fetch_is_instant = false;
    cluster.isolated.insert(3);
    for command in ["a", "b", "c", "d", "e"] {
        cluster.propose(1, &[command]).unwrap();
        cluster.stabilize();
    }
    cluster.isolated.clear();
    let lags = |cluster: &Cluster| cluster.status(3).last.index < LogIndex(3);
    while lags(&cluster) {
        cluster.tick(1, 2);
        cluster.stabilize();
        cluster.fetch_one(1);
        cluster.stabilize();
    }
    let change = ConfigurationChange::of([MemberChange::Remove(id(3))]);
    cluster.change(1, &change).unwrap();
    cluster.stabilize();
    let mut asked = 0;
    while cluster.fetch_one(1) {
        cluster.stabilize();
        asked += 1;
        assert!(asked < 20, "in a circle: {:?}", cluster.members[&1].fetches);
    }
    assert_eq!(cluster.status(3).last, cluster.status(1).last);
    assert!(cluster.members[&3].removed_by.is_some(), "it was told of its removal");
}
