//! How a node begins: from nothing, after a crash, and from a state that contradicts itself.

mod cluster;

use cluster::{Cluster, command, id, options};
use raft::*;

fn entry(term: u64, index: u64) -> Entry {
    Entry { id: EntryId::new(term, index), payload: Payload::Command(command("x")) }
}

/// Entries 4@2 and 5@3 behind a mark at 3@2, in term 3.
fn sound() -> Restored {
    Restored {
        hard_state: HardState { current_term: Term(3), voted_for: None },
        mark: SnapshotMark {
            last: EntryId::new(2, 3),
            configuration: Configuration::of_voters([id(1), id(2)]),
        },
        entries: vec![entry(2, 4), entry(3, 5)],
        term_runs: vec![(LogIndex(4), Term(2)), (LogIndex(5), Term(3))],
        last: EntryId::new(3, 5),
        applied: LogIndex(4),
        configurations: vec![],
    }
}

fn fault_of(change: impl FnOnce(&mut Restored)) -> Option<RestoredFault> {
    let mut restored = sound();
    change(&mut restored);
    match Node::new(options(1), restored) {
        Ok(_) => None,
        Err(OptionsError::Restored(fault)) => Some(fault),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn sound_state_is_taken() {
    assert_eq!(fault_of(|_| {}), None);
    let node = Node::new(options(1), sound());
    let status = node.expect("it is sound").status();
    assert_eq!((status.mark, status.last), (EntryId::new(2, 3), EntryId::new(3, 5)));
    // R10: what is applied was committed.
    assert_eq!((status.commit_index, status.applied_index), (LogIndex(4), LogIndex(4)));
}

/// The log is what the term runs say; entries in memory are a help and no need.
#[test]
fn entries_may_be_missing() {
    assert_eq!(fault_of(|restored| restored.entries.clear()), None);
    assert_eq!(fault_of(|restored| drop(restored.entries.remove(0))), None);
    // A run may have begun before the mark.
    assert_eq!(fault_of(|restored| restored.term_runs[0].0 = LogIndex(2)), None);
}

#[test]
fn contradictions_are_named() {
    use RestoredFault::*;
    type Break = fn(&mut Restored);
    let cases: [(RestoredFault, Break); 13] = [
        (LastBeforeMark, |restored| restored.last = EntryId::new(1, 2)),
        (LastBeforeMark, |restored| restored.last = EntryId::new(9, 3)),
        (TermBelowLog, |restored| restored.hard_state.current_term = Term(2)),
        (TermRuns, |restored| restored.term_runs.clear()),
        (TermRuns, |restored| restored.term_runs.swap(0, 1)),
        (TermRuns, |restored| restored.term_runs.push((LogIndex(6), Term(3)))),
        (TermRuns, |restored| restored.term_runs[0].1 = Term(1)),
        (Entries, |restored| drop(restored.entries.pop())),
        (Entries, |restored| restored.entries[0].id.index = LogIndex(3)),
        (Entries, |restored| restored.entries[0].id.term = Term(1)),
        (Configurations, |restored| {
            restored.configurations.push((LogIndex(6), Configuration::of_voters([id(1)])));
        }),
        (Configurations, |restored| {
            // M13: a voter that is a learner as well.
            let mut both = Configuration::of_voters([id(1)]);
            both.learners.insert(id(1));
            restored.configurations.push((LogIndex(5), both));
        }),
        (AppliedBeyondLog, |restored| restored.applied = LogIndex(6)),
    ];
    for (number, (expected, change)) in cases.into_iter().enumerate() {
        assert_eq!(fault_of(change), Some(expected), "case {number}");
    }
}

#[test]
fn contradicting_options_are_named() {
    let error = |change: fn(&mut Options)| {
        let mut options = Options::new(id(1), 1);
        change(&mut options);
        options.validate().expect_err("it contradicts itself").to_string()
    };
    assert_eq!(
        error(|options| options.window_messages_max = 0),
        "option window_messages_max must not be zero"
    );
    assert_eq!(
        error(|options| options.election_timeout_ticks = 150),
        "election timeout of 150 ticks is less than two heartbeats of 100 ticks"
    );
    assert_eq!(Options::new(id(1), 1).validate(), Ok(()));
}

/// A node does not know the time before its first input: a clock that starts high is no silence.
#[test]
fn election_timer_starts_with_the_first_input() {
    let voters = Configuration::of_voters([id(1), id(2)]);
    let mut node = Node::new(options(1), Restored::bootstrap(voters)).expect("sound");
    assert_eq!(node.next_deadline(), Some(Tick(0)));
    node.handle(Tick(1_000_000), Input::Tick);
    assert_eq!(node.role(), Role::Follower);
    assert!(node.next_deadline() >= Some(Tick(1_000_010)), "{:?}", node.next_deadline());
}

/// S1: the crash came between the durable mark and the state machine's new state. The installation
/// is asked for again, nothing is handed out before it, and the node does not campaign (E17).
#[test]
fn interrupted_installation_is_asked_for_again() {
    let mut restored = sound();
    restored.applied = LogIndex(1);
    let mark = restored.mark.clone();
    let mut node = Node::new(options(1), restored).expect("sound");
    node.handle(Tick(0), Input::Tick);
    // A heartbeat would prove nothing: this life has not seen that the logs match.
    let probe = Body::AppendEntries {
        prev: EntryId::new(3, 5),
        commit_index: LogIndex(5),
        session: 0,
        entries: Vec::new().into(),
    };
    let message = Message::new(id(2), id(1), Term(3), probe);
    node.handle(Tick(0), Input::Message(message));
    let output = node.take_output();
    assert_eq!(output.install_snapshot, Some(mark.clone().into()));
    assert_eq!(output.committed, Entries::new());
    assert_eq!(node.next_deadline(), None);
    node.handle(Tick(1000), Input::Tick);
    assert_eq!(node.role(), Role::Follower);

    node.handle(Tick(1000), Input::SnapshotInstalled(mark.into()));
    let committed = node.take_output().committed;
    assert_eq!(*committed, [entry(2, 4), entry(3, 5)]);
}

/// Nothing of the log is in memory after a restart: entries come by fetch, for the state machine
/// and for a follower that is far behind.
#[test]
fn log_is_fetched_after_a_restart() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.isolated.insert(3);
    for text in ["a", "b", "c"] {
        assert!(cluster.propose(1, &[text]).is_ok());
        cluster.stabilize();
    }
    for node in [1, 2] {
        cluster.crash(node);
        cluster.restart_with_tail(node, 0);
    }
    cluster.isolated.clear();
    cluster.elect(1);
    for _ in 0..3 {
        cluster.tick(1, 2);
        cluster.stabilize();
    }
    for node in 1..=3 {
        assert_eq!(cluster.applied_commands(node), ["a", "b", "c"], "node {node}");
    }
}

/// The mark for a snapshot carries the configuration that was in force there.
#[test]
fn snapshot_mark_has_the_configuration_of_its_index() {
    let mut restored = sound();
    let newer = Configuration::of_voters([id(1), id(2), id(3)]);
    restored.configurations.push((LogIndex(5), newer.clone()));
    restored.entries[1].payload = Payload::Configuration(newer.clone().into());
    restored.applied = LogIndex(5);
    let node = Node::new(options(1), restored.clone()).expect("sound");
    let at = |index| node.snapshot_mark(LogIndex(index)).map(|mark| mark.configuration);
    assert_eq!(at(2), None, "before the mark");
    assert_eq!(at(4), Some(restored.mark.configuration));
    assert_eq!(at(5), Some(newer));
    assert_eq!(at(6), None, "not applied");
}

/// M8: whatever the members are, a snapshot brings all of it to a node that knew nothing, and so
/// does the next life of that node: every pair of halves of four nodes, with a learner, a witness,
/// a rule, a lease, records and tombstones.
#[test]
fn a_snapshot_brings_every_part_of_a_configuration() {
    let of = |bits: u64| (1..=4_u64).filter(move |node| bits & (1 << (node - 1)) != 0).map(NodeId);
    for (incoming, outgoing) in (1..16).flat_map(|one| (0..16).map(move |other| (one, other))) {
        let is_joint = outgoing != 0;
        let count = u32::try_from(of(incoming).count()).expect("four at most");
        let rule = QuorumRule::Flexible { election: count, commit: 1 };
        let configuration = Configuration {
            voters: of(incoming).collect(),
            outgoing: of(outgoing).collect(),
            rule: if incoming % 2 == 0 { rule } else { QuorumRule::Majority },
            learners: [id(5)].into(),
            witnesses: of(incoming & outgoing).skip(1).collect(),
            removed: vec![id(9)],
            lease: (outgoing % 3 == 0).then(|| LeaseTerms::monotonic(5000, 0)),
            incarnations: [(id(5), Incarnation(55))].into(),
            attributes: [(id(5), command("five"))].into(),
            ..Configuration::default()
        };
        let mut cluster = Cluster::with(6, &Configuration::of_voters([id(6)]), |_| {});
        let mark = SnapshotMark { last: EntryId::new(2, 7), configuration: configuration.clone() };
        let body = Body::InstallSnapshot { mark: mark.clone().into() };
        cluster.deliver(Message::new(id(2), id(5), Term(3), body));
        let there = |cluster: &Cluster| {
            let at = cluster.node(5).snapshot_mark(LogIndex(7));
            (at, cluster.node(5).configuration().clone(), cluster.status(5).applied_index)
        };
        let expected = (Some(mark), configuration, LogIndex(7));
        assert_eq!(there(&cluster), expected, "joint: {is_joint}");
        cluster.crash(5);
        cluster.restart_with_tail(5, 0);
        assert_eq!(there(&cluster), expected, "in its next life");
    }
}
