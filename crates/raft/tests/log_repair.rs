//! Log repair (Raft §5.3) against the dumbest way to say the same: every pair of small logs that
//! Log Matching allows, with every commit that the follower may know of, in small messages and in
//! large ones. The shipping nodes must send the same probes, answer them in the same way, and end
//! with equal logs; and they must not cut off what matches, or need more rounds than there are
//! terms to skip.

mod cluster;

use cluster::{Cluster, id, options};
use raft::*;

/// The terms of the entries from index 1 on.
type Log = Vec<u64>;

/// What one probe said and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    prev: usize,
    entries: usize,
    /// The hint of a refusal, as index and term; `None` if the probe was accepted.
    refused: Option<(usize, u64)>,
}

fn term(log: &Log, index: usize) -> u64 {
    if index == 0 { 0 } else { log[index - 1] }
}

/// The largest index up to `index` whose term is at most `limit`, looked for one by one.
fn last_at_most(log: &Log, index: usize, limit: u64) -> usize {
    (0..=index.min(log.len())).rev().find(|at| term(log, *at) <= limit).unwrap_or(0)
}

/// Figure 2, AppendEntries, word by word; probing ends with the first that is accepted.
fn repair(leader: &Log, follower: &mut Log, first_next: usize, batch: usize) -> Vec<Probe> {
    let mut next = first_next;
    let mut probes = Vec::new();
    loop {
        let prev = next - 1;
        let sent: Log = leader.iter().skip(prev).take(batch).copied().collect();
        let matches = prev <= follower.len() && term(follower, prev) == term(leader, prev);
        if !matches {
            let hint = last_at_most(follower, prev, term(leader, prev));
            let hint_term = term(follower, hint);
            probes.push(Probe { prev, entries: sent.len(), refused: Some((hint, hint_term)) });
            next = (last_at_most(leader, hint, hint_term) + 1).min(prev);
            continue;
        }
        for (at, &new) in (prev + 1..).zip(&sent) {
            if at <= follower.len() && term(follower, at) != new {
                follower.truncate(at - 1);
            }
            if at > follower.len() {
                follower.push(new);
            }
        }
        probes.push(Probe { prev, entries: sent.len(), refused: None });
        return probes;
    }
}

/// Every log up to `len` entries in terms up to `term_max`.
fn all_logs(len: usize, term_max: u64) -> Vec<Log> {
    let mut all = vec![Log::new()];
    let mut begin = 0;
    for _ in 0..len {
        let end = all.len();
        for place in begin..end {
            let first = all[place].last().copied().unwrap_or(1);
            let longer = (first..=term_max).map(|term| [&all[place][..], &[term]].concat());
            let longer: Vec<Log> = longer.collect();
            all.extend(longer);
        }
        begin = end;
    }
    all
}

fn common(a: &Log, b: &Log) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Log Matching: who has the same entry has the same entries before it.
fn match_each_other(a: &Log, b: &Log) -> bool {
    let behind = common(a, b);
    a.iter().zip(b).skip(behind).all(|(a, b)| a != b)
}

fn different_terms(log: &[u64]) -> usize {
    let mut terms = log.to_vec();
    terms.dedup();
    terms.len()
}

/// The probes between nodes 1 and 2, as they went over the network, up to the first accepted.
#[derive(Default)]
struct Wire {
    asked: Option<(usize, usize)>,
    probes: Vec<Probe>,
    refusals: Vec<Message>,
}

fn number(index: LogIndex) -> usize {
    usize::try_from(index.0).unwrap_or(usize::MAX)
}

impl Wire {
    fn is_over(&self) -> bool {
        self.probes.last().is_some_and(|probe| probe.refused.is_none())
    }

    fn see(&mut self, message: &Message) {
        if self.is_over() {
            return;
        }
        let mut answered = |refused| {
            if let Some((prev, entries)) = self.asked.take() {
                self.probes.push(Probe { prev, entries, refused });
            }
        };
        match (&message.body, message.from.0, message.to.0) {
            (Body::AppendEntries { prev, entries, .. }, 1, 2) => {
                self.asked = Some((number(prev.index), entries.len()));
            }
            (Body::AppendEntriesResponse(AppendOutcome::Accepted { .. }), 2, 1) => answered(None),
            (Body::AppendEntriesResponse(AppendOutcome::Rejected { hint, .. }), 2, 1) => {
                answered(Some((number(hint.index), hint.term.0)));
                self.refusals.push(message.clone());
            }
            _ => {}
        }
    }
}

/// Node 1 is elected by node 3 with its log, and node 2 comes back with another.
fn meet(leader: &Log, follower: &Log, committed: usize, batch: usize) -> (Cluster, Wire) {
    let voters = Configuration::of_voters((1..=3).map(NodeId));
    let mut cluster = Cluster::with(3, &voters, |options| {
        options.append_batch_bytes_max = batch * 48;
    });
    cluster.load(1, 3, leader);
    cluster.load(3, 3, leader);
    cluster.member(2).disk.applied = LogIndex(u64::try_from(committed).unwrap_or(0));
    cluster.load(2, 3, follower);
    cluster.isolated.insert(2);
    cluster.elect(1);
    cluster.isolated.clear();
    cluster.take_lines();
    let mut wire = Wire::default();
    // A heartbeat's answer shows that node 2 is back.
    cluster.tick(1, options(1).heartbeat_interval_ticks);
    for _ in 0..200 {
        if cluster.network.is_empty() {
            break;
        }
        let message = cluster.network.remove(0);
        wire.see(&message);
        cluster.deliver(message);
    }
    (cluster, wire)
}

fn check(leader: &Log, follower: &Log, committed: usize, batch: usize) {
    let (mut cluster, wire) = meet(leader, follower, committed, batch);
    let told = format!(
        "leader {leader:?}, follower {follower:?}, {committed} committed, {batch} in a message\n{}",
        cluster.lines.join("\n")
    );
    let with_noop = [&leader[..], &[cluster.node(1).term().0]].concat();
    let mut repaired = follower.clone();
    let expected = repair(&with_noop, &mut repaired, leader.len() + 1, batch);
    assert_eq!(wire.probes, expected, "{told}");

    let matching = common(leader, follower);
    let refused = expected.iter().filter(|probe| probe.refused.is_some()).count();
    let rounds_max = different_terms(&leader[matching..]);
    assert!(refused <= rounds_max, "{refused} refusals for {rounds_max} terms: {told}");

    let log = |node: u64| &cluster.members[&node].disk.entries;
    assert_eq!(log(2), log(1), "the logs are equal: {told}");
    let terms: Log = log(2).iter().map(|entry| entry.id.term.0).collect();
    assert_eq!(terms, with_noop, "{told}");
    let conflicts = follower.len() > matching;
    let cut: Vec<&String> =
        cluster.lines.iter().filter(|line| line.starts_with("n2 truncated")).collect();
    let expected: &[&String] = &[&format!("n2 truncated from={}", matching + 1)];
    assert_eq!(cut, if conflicts { expected } else { &[] }, "only what conflicts is cut: {told}");
    assert_eq!(cluster.status(2).peer_faults.total(), 0, "{told}");
    // A refusal that comes once more, when all is well, is of the past (L10).
    let well = cluster.status_line(1);
    for refusal in wire.refusals {
        cluster.deliver(refusal);
        assert_eq!(cluster.status_line(1), well, "{told}");
    }
    assert_eq!(cluster.node(1).id(), id(1));
}

#[test]
fn every_pair_of_small_logs_is_repaired_as_the_paper_says() {
    let mut met = 0;
    // (entries, messages of so many entries, whether the follower knows of any commit or of none)
    for (len, batch, knows) in [(5, 100, false), (4, 1, true), (4, 2, false)] {
        let all = all_logs(len, 3);
        for leader in &all {
            for follower in all.iter().filter(|follower| match_each_other(leader, follower)) {
                let known = if knows { common(leader, follower) } else { 0 };
                for committed in 0..=known {
                    check(leader, follower, committed, batch);
                    met += 1;
                }
            }
        }
    }
    assert!(met > 2_000, "only {met} pairs were met");
}
