//! Order: why entries are committed in that of the log, what arrives out of it, and what may be
//! executed out of it (`docs/adr/0011-commit-in-order-execute-apart.md`).

mod cluster;

use std::collections::BTreeMap;

use bytes::Bytes;
use cluster::{Cluster, id};
use raft::*;

/// Three replicas that commit and execute what a majority holds, whatever is before it, as
/// ParallelRaft does as far as it was first described: index → (term, value), and no entry for a
/// hole. All values are written to one register, so that all of them conflict.
#[derive(Default)]
struct OutOfOrder {
    logs: [BTreeMap<u64, (u64, Option<u64>)>; 3],
    executed: [Vec<u64>; 3],
    register: [u64; 3],
}

impl OutOfOrder {
    /// A node executes an entry that is committed, once, and as soon as nothing before it that it
    /// knows of conflicts and waits.
    fn execute(&mut self, node: usize, index: u64) {
        if self.executed[node].contains(&index) {
            return;
        }
        self.executed[node].push(index);
        if let Some((_, Some(value))) = self.logs[node].get(&index) {
            self.register[node] = *value;
        }
    }
}

/// The ghost entry of "Raft with Out-of-Order Executions" (Gu, Wei, Qiao, Huang 2021). Entry 1 of
/// term 1 is on node 0 alone. The leader of term 2 cannot know of it, takes the place for empty,
/// and has entry 2 committed and executed. Then the ghost comes back and is committed before it.
///
/// ```text
///             1       2
///   node 0    x=1@1           led term 1; leads term 3 with node 2
///   node 1    -@2     x=2@2   led term 2, and never got rid of its no-op at 1
///   node 2            x=2@2   executed x=2; then is given x=1@1 to execute
/// ```
#[test]
fn a_ghost_entry_makes_replicas_differ_when_commit_leaves_the_order() {
    let mut group = OutOfOrder::default();
    // Term 1: the entry reaches nobody.
    group.logs[0].insert(1, (1, Some(1)));
    // Term 2: node 1 leads with node 2. Neither has anything at 1: a hole is filled with nothing,
    // and that is still on its way when entry 2, which overtook it, is on both.
    group.logs[1].insert(1, (2, None));
    for node in [1, 2] {
        group.logs[node].insert(2, (2, Some(2)));
        group.execute(node, 2);
    }
    // Term 3: node 0 leads with node 2, takes for each index what either of them has, and commits.
    let found = group.logs[2][&2];
    group.logs[0].insert(2, found);
    let ghost = group.logs[0][&1];
    group.logs[2].insert(1, ghost);
    for node in [0, 2] {
        group.execute(node, 1);
        group.execute(node, 2);
    }
    assert_eq!(group.register[0], 2, "in the order of the log: x=1, x=2");
    assert_eq!(group.register[2], 1, "x=2 was executed before anybody knew of x=1");
}

/// The same with this core: what is behind a hole is neither committed nor executed, so the ghost
/// finds nobody who has gone on without it.
#[test]
fn with_commit_in_order_the_ghost_does_no_harm() {
    let mut cluster = Cluster::with(3, &Configuration::of_voters([1, 2, 3].map(id)), |options| {
        options.pre_vote = false;
        options.check_quorum = false;
        options.reorder_bytes_max = 1 << 20;
    });
    cluster.elect(1);
    cluster.isolated.insert(1);
    cluster.propose(1, &["x=1"]).expect("it leads");
    cluster.network.clear();
    cluster.timeout(2);
    cluster.stabilize_votes();
    // The no-op of term 2 is overtaken by x=2, and lost.
    cluster.network.clear();
    cluster.propose(2, &["x=2"]).expect("it leads");
    let behind_the_hole = cluster.node(2).last();
    let entry = Entry { id: behind_the_hole, payload: Payload::Command(Bytes::from("x=2")) };
    let prev = EntryId { index: behind_the_hole.index.previous(), ..behind_the_hole };
    let commit_index = LogIndex(0);
    let body = Body::AppendEntries { prev, commit_index, session: 0, entries: vec![entry].into() };
    cluster.deliver(Message::new(id(2), id(3), behind_the_hole.term, body));
    cluster.stabilize();
    assert!(cluster.applied_commands(3).is_empty() && cluster.applied_commands(2).is_empty());
    assert_eq!(cluster.status(3).last.index, LogIndex(1), "kept, and not in the log");
    cluster.crash(2);
    cluster.isolated.clear();
    cluster.tick(1, 2);
    cluster.stabilize();
    cluster.timeout(1);
    cluster.stabilize();
    assert_eq!(cluster.node(1).role(), Role::Leader);
    cluster.restart(2);
    for _ in 0..8 {
        cluster.tick(1, 2);
        cluster.stabilize();
    }
    for node in 1..=3 {
        assert_eq!(cluster.applied_commands(node), ["x=1"], "node {node}");
    }
}

fn leader_that_is_overtaken(reorder_bytes_max: usize) -> Cluster {
    let mut cluster = Cluster::with(3, &Configuration::of_voters([1, 2, 3].map(id)), |options| {
        options.reorder_bytes_max = reorder_bytes_max;
        options.append_batch_bytes_max = 40;
    });
    cluster.elect(1);
    cluster.take_lines();
    cluster
}

/// A pipeline that arrives in any order is appended without a single refusal.
#[test]
fn what_overtakes_is_appended_when_the_gap_is_closed() {
    let commands: Vec<String> = (0..6).map(|number| format!("c{number}")).collect();
    for rotation in 0..6 {
        for is_backwards in [false, true] {
            let mut cluster = leader_that_is_overtaken(1 << 20);
            cluster.isolated.insert(2);
            for command in &commands {
                cluster.propose(1, &[command]).expect("it leads");
            }
            let mut appends: Vec<Message> =
                cluster.network.drain(..).filter(|message| message.to == id(3)).collect();
            assert_eq!(appends.len(), 6);
            appends.rotate_left(rotation);
            if is_backwards {
                appends.reverse();
            }
            appends.into_iter().for_each(|message| cluster.deliver(message));
            let is_refusal = |message: &Message| {
                matches!(message.body, Body::AppendEntriesResponse(AppendOutcome::Rejected { .. }))
            };
            assert!(!cluster.network.iter().any(is_refusal));
            assert_eq!(cluster.status(3).last, cluster.status(1).last);
            cluster.stabilize();
            assert_eq!(cluster.applied_commands(1), commands);
        }
    }
}

/// What does not come is asked for: after a heartbeat's time the first that waits is refused, and
/// the leader sends everything again.
#[test]
fn a_gap_that_is_not_closed_is_told() {
    let mut cluster = leader_that_is_overtaken(1 << 20);
    cluster.isolated.insert(2);
    for command in ["lost", "b", "c"] {
        cluster.propose(1, &[command]).expect("it leads");
    }
    cluster.network.retain(|message| message.to == id(3));
    cluster.network.remove(0);
    cluster.stabilize();
    assert_eq!(cluster.status(3).last.index, LogIndex(1), "two messages wait");
    let deadline = cluster.node(3).next_deadline().expect("it waits");
    assert!(deadline <= cluster.members[&3].now.after(2), "for a heartbeat");
    cluster.tick(3, 2);
    cluster.stabilize();
    assert_eq!(cluster.status(3).last, cluster.status(1).last);
    assert_eq!(cluster.applied_commands(3), ["lost", "b", "c"]);
}

/// A learner that is fed by another member is sent entries by the leader as well, while it lags.
/// What of them came too early follows what the feeder sends.
#[test]
fn t131_what_waits_for_an_entry_follows_it_whoever_sends_it() {
    let configuration = Configuration {
        learners: [id(4)].into(),
        feeders: [(id(4), id(3))].into(),
        ..Configuration::of_voters([1, 2, 3].map(id))
    };
    let mut cluster = Cluster::with(4, &configuration, |options| {
        options.reorder_bytes_max = 1 << 20;
        options.append_batch_bytes_max = 40;
    });
    cluster.elect(1);
    for command in ["a", "b"] {
        cluster.propose(1, &[command]).expect("it leads");
    }
    let is_for_4 = |message: &&Message| message.to == id(4);
    let appends: Vec<Message> = cluster.network.iter().filter(is_for_4).cloned().collect();
    cluster.isolated.insert(4);
    cluster.stabilize();
    cluster.isolated.remove(&4);
    let [first, second] = &appends[..] else { panic!("two messages, not {appends:?}") };
    cluster.deliver(second.clone());
    assert_eq!(cluster.status(4).last.index, LogIndex(1), "it waits");
    let Body::AppendEntries { prev, entries, .. } = first.body.clone() else {
        panic!("{first:?} is no AppendEntries")
    };
    let body = Body::PullResponse { prev, commit_index: prev.index.next(), entries };
    cluster.deliver(Message::new(id(3), id(4), first.term, body));
    assert_eq!(cluster.status(4).last, cluster.status(1).last);
}

/// There is no end to what may come too early, but there is to what is kept of it.
#[test]
fn no_more_than_the_limit_is_kept() {
    let mut cluster = leader_that_is_overtaken(100);
    let leader = cluster.status(1).hard_state.current_term;
    for number in 0..50_u64 {
        let prev = EntryId { term: leader, index: LogIndex(10 + 2 * number) };
        let entry = Entry {
            id: EntryId { index: prev.index.next(), ..prev },
            payload: Payload::Command(Bytes::from_static(b"x")),
        };
        let commit_index = LogIndex(1);
        let body =
            Body::AppendEntries { prev, commit_index, session: 0, entries: vec![entry].into() };
        cluster.deliver(Message::new(id(1), id(3), leader, body));
        for (what, size, max) in invariants::sizes(cluster.node(3)) {
            assert!(size <= max, "{what}: {size} of {max}");
        }
    }
}

/// What the leader of term 1 sent too early is not appended in the name of the leader of term 2,
/// though it follows the very entry that both have.
#[test]
fn what_a_deposed_leader_sent_too_early_is_forgotten() {
    let mut cluster = Cluster::with(3, &Configuration::of_voters([1, 2, 3].map(id)), |options| {
        options.reorder_bytes_max = 1 << 20;
        options.pre_vote = false;
        options.check_quorum = false;
    });
    cluster.elect(1);
    cluster.propose(1, &["a"]).expect("it leads");
    cluster.propose(1, &["b"]).expect("it leads");
    // Node 2 gets both, node 3 gets the second alone; then node 2 leads, and sends the first.
    let to_three: Vec<Message> =
        cluster.network.iter().filter(|message| message.to == id(3)).cloned().collect();
    cluster.network.retain(|message| message.to == id(2));
    let first_alone = cluster.network.remove(0);
    cluster.deliver(first_alone);
    cluster.network.clear();
    cluster.isolated.insert(1);
    cluster.deliver(to_three[1].clone());
    assert_eq!(cluster.status(3).last.index, LogIndex(1));
    cluster.isolated.clear();
    cluster.network.clear();
    cluster.deliver(to_three[1].clone());
    cluster.isolated.insert(1);
    cluster.timeout(2);
    cluster.stabilize();
    assert_eq!(cluster.node(2).role(), Role::Leader);
    assert_eq!(cluster.status(3).last, cluster.status(2).last);
    assert_eq!(cluster.applied_commands(3), ["a"], "b was of another leader, and is nowhere else");
}

/// Keys travel with their commands: into every log, over every wire, and out to the state machine.
#[test]
fn keys_come_out_as_they_went_in() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let keyed = |keys: &[u64], command: &'static str| KeyedCommand {
        keys: ConflictKeys::of(keys.iter().copied()).expect("few"),
        command: command.into(),
    };
    let commands =
        vec![keyed(&[1, 2], "a"), keyed(&[3], "b"), keyed(&[2, 3], "c"), keyed(&[], "d")];
    let now = cluster.members[&1].now;
    cluster.act(1, |raft| raft.propose_keyed(now, commands.clone())).expect("it leads");
    cluster.stabilize();
    let refused = cluster.act(2, |raft| raft.propose_keyed(now, commands.clone()));
    assert_eq!(refused, Err(ProposeError::NotLeader { leader_id: Some(id(1)) }));
    cluster.tick(1, 2);
    cluster.stabilize();
    for node in 1..=3 {
        let applied: Vec<Entry> = cluster.members[&node].applied[1..].to_vec();
        let payloads: Vec<&Payload> = applied.iter().map(|entry| &entry.payload).collect();
        let expected: Vec<Payload> =
            commands.iter().map(|keyed| Payload::Keyed(Box::new(keyed.clone()))).collect();
        assert_eq!(payloads, expected.iter().collect::<Vec<_>>(), "node {node}");
        assert_eq!(waves(&applied), [0, 0, 1, 0]);
    }
}
