//! A node that is sent random nonsense in the name of its peers: it never panics, keeps its
//! invariants as long as nobody lies about what is committed, and counts what was wrong.

mod cluster;

use cluster::{Cluster, command, id};
use proptest::prelude::*;
use raft::invariants::{Before, check_state};
use raft::*;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..12, 1 => Just(u64::MAX), 1 => Just(1u64 << 62), 1 => any::<u64>()]
}

fn entry_id() -> impl Strategy<Value = EntryId> {
    (number(), number()).prop_map(|(term, index)| EntryId::new(term, index))
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let configuration = || Payload::Configuration(Configuration::of_voters([id(1), id(9)]).into());
    let overlapping = || {
        let learners = [id(9)].into_iter().collect();
        let sound = Configuration::of_voters([id(1), id(9)]);
        Payload::Configuration(Configuration { learners, ..sound }.into())
    };
    let payload = prop_oneof![
        1 => Just(overlapping()),
        1 => Just(Payload::Configuration(Configuration::default().into())),
        4 => Just(Payload::Command(command("x"))),
        1 => Just(Payload::Noop),
        1 => Just(configuration()),
    ];
    let honest = (1u64..6, 1u64..8, 0u64..5).prop_map(|(term, first, count)| {
        (first..first + count)
            .map(|index| Entry { id: EntryId::new(term, index), payload: Payload::Noop })
            .collect()
    });
    let wild = proptest::collection::vec(
        (entry_id(), payload).prop_map(|(id, payload)| Entry { id, payload }),
        0..4,
    );
    prop_oneof![honest, wild]
}

fn body() -> impl Strategy<Value = Body> {
    let index = || number().prop_map(LogIndex);
    prop_oneof![
        entry_id().prop_map(|last| Body::PreVote { last }),
        any::<bool>().prop_map(|granted| Body::PreVoteResponse { granted }),
        (entry_id(), any::<bool>()).prop_map(|(last, leadership_transfer)| Body::RequestVote {
            last,
            leadership_transfer
        }),
        any::<bool>().prop_map(|granted| Body::RequestVoteResponse { granted }),
        (entry_id(), index(), entries()).prop_map(|(prev, commit_index, entries)| {
            Body::AppendEntries { prev, commit_index, session: 0, entries: entries.into() }
        }),
        (entry_id(), index()).prop_map(|(prev, commit_index)| {
            Body::CommitIndex { prev, commit_index, session: 0 }
        }),
        index().prop_map(|match_index| {
            Body::AppendEntriesResponse(AppendOutcome::Accepted { session: 0, match_index })
        }),
        (index(), entry_id()).prop_map(|(prev_index, hint)| {
            Body::AppendEntriesResponse(AppendOutcome::Rejected { session: 0, prev_index, hint })
        }),
        (index(), number())
            .prop_map(|(commit_index, round)| Body::Heartbeat { commit_index, round }),
        (number(), index())
            .prop_map(|(round, last_index)| Body::HeartbeatResponse { round, last_index }),
        (entry_id(), any::<bool>()).prop_map(|(last, has_voters)| {
            let voters = if has_voters { vec![id(1), id(2)] } else { vec![] };
            let configuration = Configuration::of_voters(voters);
            Body::InstallSnapshot { mark: SnapshotMark { last, configuration }.into() }
        }),
        index().prop_map(|match_index| Body::InstallSnapshotResponse { match_index }),
        (entry_id(), any::<bool>(), number()).prop_map(|(last, names, incarnation)| {
            let removed = if names { vec![id(1)] } else { vec![] };
            let configuration = Configuration { removed, ..Configuration::of_voters([id(2)]) };
            let incarnation = Incarnation(incarnation % 2);
            Body::Removed { by: SnapshotMark { last, configuration }.into(), incarnation }
        }),
        any::<bool>().prop_map(|lease_ended| Body::TimeoutNow { lease_ended }),
        (entry_id(), index()).prop_map(|(last, commit_index)| Body::Quiesce { last, commit_index }),
        entry_id().prop_map(|prev| Body::Pull { prev }),
        (entry_id(), index(), entry_id()).prop_map(|(prev, commit_index, entry)| {
            let entry = Entry { id: entry, payload: Payload::Noop };
            Body::PullResponse { prev, commit_index, entries: vec![entry].into() }
        }),
        (number(), any::<bool>())
            .prop_map(|(context, replied)| Body::ReadIndex { context, replied }),
        (number(), proptest::option::of(index()))
            .prop_map(|(context, index)| Body::ReadIndexResponse { context, index }),
    ]
}

fn message() -> impl Strategy<Value = (u64, u64, Body)> {
    let term = prop_oneof![9 => 0u64..6, 1 => number()];
    (2u64..6, term, body())
}

/// A host that does everything at once, so that a step leaves nothing undone.
fn settle(node: &mut Node, now: Tick) {
    for _ in 0..20 {
        let output = node.take_output();
        let mut is_quiet = true;
        let mut act = |input| {
            is_quiet = false;
            node.handle(now, input);
        };
        if let Some(persist) = output.persists.last() {
            act(Input::Persisted(persist.number));
        }
        if let Some(mark) = output.install_snapshot {
            act(Input::SnapshotInstalled(mark));
        }
        if let Some(last) = output.committed.last() {
            act(Input::Applied(last.id.index));
        }
        if is_quiet {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn nonsense_never_panics(
        messages in proptest::collection::vec((message(), 0u64..8), 1..40),
        leads in any::<bool>(),
    ) {
        let mut cluster = Cluster::new(3);
        if leads {
            cluster.elect(1);
        }
        let mut node = cluster.node(1).clone();
        let mut now = cluster.members[&1].now;
        for ((from, term, body), ticks) in messages {
            let before = Before::of(&node);
            now = now.after(ticks);
            let message = Message::new(id(from), id(1), Term(term), body);
            node.handle(now, Input::Message(message));
            settle(&mut node, now);
            prop_assert_eq!(before.check(&node), Ok(()));
            prop_assert_eq!(check_state(&node), Ok(()));
        }
    }
}
