//! Leases by clocks of declared uncertainty, one story at a time: what an interval permits, what a
//! node that takes over has to wait for, and what a clock does that lies. `lease_clocks` runs
//! worlds of them.

mod cluster;

use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster::{Cluster, id};
use raft::*;

const TICK_US: u64 = 1000;

/// Three nodes whose leader, node 1, has appended a lease of 30 ticks at 100, and is cut off.
fn leader_cut_off_with_a_lease() -> Cluster {
    leader_of(3)
}

fn leader_of(nodes: u64) -> Cluster {
    let mut configuration = Configuration::of_voters((1..=nodes).map(NodeId));
    configuration.lease = Some(LeaseTerms::declared(30 * TICK_US, 0, 10_000));
    let mut cluster = Cluster::with(nodes, &configuration, |options| {
        options.pre_vote = false;
        options.check_quorum = false;
    });
    cluster.elect(1);
    clock(&mut cluster, 1, 100, 102);
    cluster.read(1, 1, ReadMode::LeaseGuard { checks_limbo: false });
    cluster.stabilize();
    cluster.isolated.insert(1);
    cluster.take_lines();
    cluster
}

/// The clock of a node says so, in ticks.
fn clock(cluster: &mut Cluster, node: u64, earliest: u64, latest: u64) {
    let now = cluster.members[&node].now;
    let interval = ClockInterval { earliest_us: earliest * TICK_US, latest_us: latest * TICK_US };
    cluster.input(node, now, Input::Clock(interval));
}

fn guarded_reads(cluster: &mut Cluster) -> usize {
    cluster.take_lines().iter().filter(|line| line.contains("guarded read")).count()
}

/// Why the bound must be an honest one. At 134 in true time, node 2 has waited long enough and
/// commits. The clock of node 1 is 10 ticks late and does not know it: at 135 it says 125 to 127,
/// and node 1 reads what was true before.
#[test]
fn a_clock_outside_its_declared_uncertainty_reads_what_is_stale() {
    let stale_read_of_a_clock_that_is_late_by = |late: u64| {
        let mut cluster = leader_cut_off_with_a_lease();
        clock(&mut cluster, 2, 104, 106);
        cluster.timeout(2);
        cluster.stabilize();
        cluster.propose(2, &["b"]).unwrap();
        cluster.stabilize();
        clock(&mut cluster, 2, 134, 136);
        cluster.stabilize();
        assert_eq!(cluster.status(2).commit_index, LogIndex(4), "node 2 waited for 30 from 103 on");
        clock(&mut cluster, 1, 135 - late, 137 - late);
        let read = catch_unwind(AssertUnwindSafe(|| {
            cluster.read(1, 2, ReadMode::LeaseGuard { checks_limbo: false });
        }));
        let said = read.err().map(|panic| *panic.downcast::<String>().unwrap());
        said.is_some_and(|said| said.contains("was committed before it"))
    };
    assert!(!stale_read_of_a_clock_that_is_late_by(0));
    assert!(!stale_read_of_a_clock_that_is_late_by(1), "135 is within 134 to 136");
    assert!(stale_read_of_a_clock_that_is_late_by(10), "the checker must see it");
}

/// A lease that was appended later than it is now shows that one of two clocks lies. Nobody reads
/// on it, whichever of them it was.
#[test]
fn a_lease_of_the_future_is_not_read_on() {
    let mut cluster = leader_cut_off_with_a_lease();
    cluster.timeout(2);
    cluster.network.retain(|message| matches!(message.body, Body::RequestVote { .. }));
    let requests = std::mem::take(&mut cluster.network);
    requests.into_iter().for_each(|request| cluster.deliver(request));
    let votes = std::mem::take(&mut cluster.network);
    votes.into_iter().for_each(|vote| cluster.deliver(vote));
    assert_eq!(cluster.node(2).role(), Role::Leader);
    clock(&mut cluster, 2, 90, 92);
    cluster.take_lines();
    cluster.read(2, 5, ReadMode::LeaseGuard { checks_limbo: true });
    let lines = cluster.take_lines();
    assert!(lines.contains(&"n2 clocks disagree about lease=2".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("guarded read")), "{lines:?}");
}

/// What was said in an earlier tick is nothing to read by.
#[test]
fn an_interval_is_good_for_one_tick() {
    let mut cluster = leader_cut_off_with_a_lease();
    let mode = ReadMode::LeaseGuard { checks_limbo: false };
    clock(&mut cluster, 1, 101, 103);
    cluster.read(1, 2, mode);
    assert_eq!(guarded_reads(&mut cluster), 1);
    let later = cluster.members[&1].now.after(1);
    cluster.member(1).now = later;
    cluster.read(1, 3, mode);
    assert_eq!(guarded_reads(&mut cluster), 0);
}

/// Node 2 waits by the clock only as long as nobody reads by ticks. Here node 1 does, on an entry
/// that says no time, and the newest lease that node 2 knows is long over.
#[test]
fn who_may_read_by_ticks_is_waited_for_by_ticks() {
    let mut cluster = leader_cut_off_with_a_lease();
    cluster.isolated.clear();
    let set = |terms| ConfigurationChange {
        lease: LeaseChange::Set(terms),
        ..ConfigurationChange::default()
    };
    cluster.change(1, &set(LeaseTerms::monotonic(40 * TICK_US, 0))).unwrap();
    cluster.stabilize();
    cluster.isolated.insert(1);
    clock(&mut cluster, 2, 160, 162);
    cluster.timeout(2);
    cluster.stabilize();
    cluster.propose(2, &["b"]).unwrap();
    cluster.stabilize();
    assert!(cluster.status(2).commits_later, "the lease of ticks is not over");
    cluster.read(1, 9, ReadMode::LeaseGuard { checks_limbo: false });
    assert!(guarded_reads(&mut cluster) > 0);
}

/// A snapshot may cover leases that its receiver never saw: the newest that it knew is not the
/// newest in its log any more.
#[test]
fn a_snapshot_takes_the_known_leases_with_it() {
    let mut cluster = leader_cut_off_with_a_lease();
    cluster.isolated = [3].into();
    clock(&mut cluster, 1, 140, 142);
    cluster.read(1, 2, ReadMode::LeaseGuard { checks_limbo: false });
    cluster.stabilize();
    cluster.compact(1);
    cluster.isolated.clear();
    for _ in 0..6 {
        cluster.tick(1, 2);
        cluster.stabilize();
        cluster.carry_snapshot(1);
        cluster.stabilize();
    }
    assert_eq!(cluster.status(3).mark, cluster.status(1).mark);
    cluster.isolated.insert(1);
    clock(&mut cluster, 3, 145, 147);
    cluster.timeout(3);
    cluster.stabilize();
    assert!(cluster.status(3).commits_later, "the lease of 140 is under the mark, and runs");
    clock(&mut cluster, 1, 146, 148);
    cluster.read(1, 3, ReadMode::LeaseGuard { checks_limbo: false });
    assert!(guarded_reads(&mut cluster) > 0);
}

/// A group of which nobody has a clock is slower, and no less safe: nobody reads on a lease, and
/// whoever leads next waits by ticks.
#[test]
fn without_a_clock_nothing_is_read_on_and_waits_end() {
    let mut cluster = leader_cut_off_with_a_lease();
    cluster.timeout(2);
    cluster.stabilize();
    assert!(cluster.status(2).commits_later);
    cluster.tick(2, 40);
    cluster.stabilize();
    assert!(!cluster.status(2).commits_later);
    cluster.take_lines();
    cluster.read(2, 3, ReadMode::LeaseGuard { checks_limbo: false });
    cluster.stabilize();
    let lines = cluster.take_lines();
    assert!(!lines.iter().any(|line| line.contains("guarded read")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("n2 read 3 at=")), "by a round: {lines:?}");
    assert!(cluster.node(2).goes_by_clock());
    assert_eq!(cluster.node(2).id(), id(2));
}

/// Node 2 reads on the lease that node 1 left. Node 1 has shortened the terms in an entry that
/// reached nobody, leads again, and must wait for the longer ones.
#[test]
fn terms_that_may_not_be_committed_do_not_shorten_a_wait() {
    let mut cluster = leader_cut_off_with_a_lease();
    let lease = LeaseChange::Set(LeaseTerms::declared(5 * TICK_US, 0, 2000));
    cluster.change(1, &ConfigurationChange { lease, ..ConfigurationChange::default() }).unwrap();
    cluster.timeout(2);
    for _ in 0..2 {
        let network = std::mem::take(&mut cluster.network);
        network.into_iter().for_each(|message| cluster.deliver(message));
    }
    cluster.network.clear();
    cluster.isolated = [2].into();
    let mode = ReadMode::LeaseGuard { checks_limbo: true };
    clock(&mut cluster, 2, 104, 106);
    cluster.read(2, 1, mode);
    assert_eq!(guarded_reads(&mut cluster), 1, "node 2 leads, and its own entry is nowhere");
    cluster.tick(1, 2);
    cluster.stabilize();
    cluster.timeout(1);
    cluster.stabilize();
    assert_eq!(cluster.node(1).role(), Role::Leader);
    clock(&mut cluster, 1, 110, 111);
    clock(&mut cluster, 2, 110, 111);
    cluster.read(2, 2, mode);
    assert!(cluster.status(1).commits_later);
    assert_eq!(guarded_reads(&mut cluster), 1);
    clock(&mut cluster, 1, 133, 134);
    assert!(!cluster.status(1).commits_later);
}

/// The newest lease in the log of node 2 is of a leader whose clock knew little. Behind it is one
/// of node 1, which may have been appended later than the earliest of the newest says.
#[test]
fn a_wait_begins_at_the_latest_that_a_lease_may_be() {
    let mut cluster = leader_of(5);
    cluster.timeout(3);
    clock(&mut cluster, 3, 93, 102);
    cluster.stabilize();
    cluster.isolated.insert(3);
    clock(&mut cluster, 2, 123, 124);
    cluster.timeout(2);
    cluster.stabilize();
    assert_eq!(cluster.node(2).role(), Role::Leader);
    clock(&mut cluster, 2, 125, 125);
    cluster.stabilize();
    clock(&mut cluster, 1, 125, 125);
    cluster.read(1, 2, ReadMode::LeaseGuard { checks_limbo: false });
    assert_eq!(guarded_reads(&mut cluster), 1, "until 130");
    assert!(cluster.status(2).commits_later);
    clock(&mut cluster, 2, 133, 133);
    assert!(!cluster.status(2).commits_later);
}
