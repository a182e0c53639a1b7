//! What hosts ask of their nodes.

use std::collections::BTreeMap;

use raft::*;

use super::rule;
use super::words::{Words, lease_of, priorities_of};
use crate::cluster::{Cluster, id};

/// What a host asks of its node.
pub(super) fn run_verb(cluster: &mut Cluster, verb: &str, words: &Words<'_>) -> bool {
    match verb {
        "cluster" => {}
        "elect" => cluster.elect(words.number(0)),
        "campaign" | "timeout" => cluster.timeout(words.number(0)),
        "tick" => cluster.tick(words.number(0), words.number(1)),
        "propose" => {
            let commands: Vec<&str> = words.0[1..].to_vec();
            if let Err(error) = cluster.propose(words.number(0), &commands) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "lease-read" => cluster.read(words.number(0), words.number(1), ReadMode::Lease),
        "read" => cluster.read(words.number(0), words.number(1), parse_mode(words)),
        // What the clock of a node says now, in ticks: not before, and not after.
        "clock" => {
            let now = cluster.members[&words.number(0)].now;
            let (earliest_us, latest_us) = (words.number(1) * 1000, words.number(2) * 1000);
            let interval = ClockInterval { earliest_us, latest_us };
            cluster.input(words.number(0), now, Input::Clock(interval));
        }
        "replied" => {
            let now = cluster.members[&words.number(0)].now;
            cluster.input(words.number(0), now, Input::Replied(LogIndex(words.number(1))));
        }
        "promote-when-ready" => {
            let (node, learner) = (words.number(0), id(words.number(1)));
            let now = cluster.members[&node].now;
            let within = words.need("within");
            let done = cluster.act(node, |raft| raft.promote_when_ready(now, learner, within));
            if let Err(error) = done {
                cluster.lines.push(format!("n{node} refused: {error}"));
            }
        }
        "lost" => {
            let (node, peer) = (words.number(0), words.number(1));
            let now = cluster.members[&node].now;
            cluster.input(node, now, Input::PeerLost(id(peer)));
        }
        "change" => {
            if let Err(error) = cluster.change(words.number(0), &parse_change(words)) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "abandon" => {
            let now = cluster.members[&words.number(0)].now;
            if let Err(error) = cluster.act(words.number(0), |raft| raft.abandon_change(now)) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "compact" => cluster.compact(words.number(0)),
        "snapshot" => {
            let mark = cluster.carry_snapshot(words.number(0));
            let line = mark.map_or_else(
                || "no snapshot is wanted".to_owned(),
                |mark| format!("n{} sends the snapshot {}", words.number(0), mark.last),
            );
            cluster.lines.push(line);
        }
        "snapshot-fails" => {
            let node = words.number(0);
            let wanted = cluster.member(node).snapshots_wanted.pop().expect("one is wanted");
            let now = cluster.members[&node].now;
            cluster.input(node, now, Input::SnapshotSent { to: wanted.to, delivered: None });
        }
        _ => return false,
    }
    true
}

/// Who should lead.
pub(super) fn run_leadership_verb(cluster: &mut Cluster, verb: &str, words: &Words<'_>) -> bool {
    match verb {
        "transfer" => {
            let to = words.plain(1).map(|to| to.parse().unwrap());
            let node = words.number(0);
            let now = cluster.members[&node].now;
            let done = match words.named_number("within") {
                None => cluster.transfer(node, to),
                Some(within) => cluster
                    .act(node, |raft| raft.transfer_leadership_within(now, to.map(NodeId), within)),
            };
            if let Err(error) = done {
                cluster.lines.push(format!("n{node} refused: {error}"));
            }
        }
        "abort-transfer" => {
            let now = cluster.members[&words.number(0)].now;
            if let Err(error) = cluster.act(words.number(0), |raft| raft.abort_transfer(now)) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "call" => {
            let now = cluster.members[&words.number(0)].now;
            if let Err(error) = cluster.act(words.number(0), |raft| raft.campaign_now(now)) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "timeouts" => {
            let now = cluster.members[&words.number(0)].now;
            let timeouts = Timeouts {
                election_timeout_ticks: words.need("election"),
                heartbeat_interval_ticks: words.need("heartbeat"),
            };
            let done = cluster.act(words.number(0), |raft| raft.set_timeouts(now, timeouts));
            if let Err(error) = done {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "step-down" => {
            let now = cluster.members[&words.number(0)].now;
            if let Err(error) = cluster.act(words.number(0), |raft| raft.step_down(now)) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "elections" => {
            let are_paused = words.plain(1) == Some("pause");
            let node = words.number(0);
            let now = cluster.members[&node].now;
            cluster.input(node, now, Input::PauseElections(are_paused));
        }
        _ => return false,
    }
    true
}

/// `read 1 7`, and behind that `lease`, `guarded` or `guarded limbo`, `replied`, `after=5` or
/// `after=5@2`, or `stale` with `at-least=5`, `lag=2`, `silence=10`.
fn parse_mode(words: &Words<'_>) -> ReadMode {
    if let Some(after) = words.named("after") {
        let index = after.split('@').next().unwrap().parse().unwrap();
        let term = after.split_once('@').map(|(_, term)| Term(term.parse().unwrap()));
        return ReadMode::AfterWrite { index: LogIndex(index), term };
    }
    match words.plain(2) {
        None => ReadMode::ReadIndex,
        Some("lease") => ReadMode::Lease,
        Some("guarded") => ReadMode::LeaseGuard { checks_limbo: words.plain(3) == Some("limbo") },
        Some("replied") => ReadMode::Replied,
        Some("stale") => ReadMode::Stale(Staleness {
            at_least: LogIndex(words.named_number("at-least").unwrap_or(0)),
            lag_entries_max: words.named_number("lag"),
            silence_ticks_max: words.named_number("silence"),
        }),
        Some(other) => panic!("no mode {other}"),
    }
}

/// `add=4 learn=5 promote=5 demote=3 remove=1,2 guard=8`, with `expected=1,2,3` voters or
/// `stall=yes`, `rule=` as a configuration is written, `feed=4:2,5:leader`, `prefer=1:5,2:0`,
/// and `way=one-step`.
fn parse_change(words: &Words<'_>) -> ConfigurationChange {
    let of = |name, change: fn(NodeId) -> MemberChange| {
        words.numbers(name).into_iter().map(move |node| change(id(node)))
    };
    let members = of("add", MemberChange::AddVoter)
        .chain(of("learn", MemberChange::AddLearner))
        .chain(of("witness", MemberChange::AddWitness))
        .chain(of("promote", MemberChange::Promote))
        .chain(of("demote", MemberChange::Demote))
        .chain(of("remove", MemberChange::Remove));
    let expected = words.named("expected").map(|_| words.numbers("expected"));
    let lease = match words.named("guard") {
        None => LeaseChange::Keep,
        Some("off") => LeaseChange::End,
        Some(ticks) => LeaseChange::Set(lease_of(ticks.parse().unwrap(), words)),
    };
    ConfigurationChange {
        lease,
        expected: expected.map(|voters| Configuration::of_voters(voters.into_iter().map(id))),
        priorities: priorities_of("prefer", words),
        allow_stall: words.named("stall") == Some("yes"),
        rule: words.named("rule").map(rule::parse),
        transition: match words.named("way") {
            None => Transition::Joint,
            Some("one-step") => Transition::OneStep,
            Some(other) => panic!("no way {other}"),
        },
        feeders: words.named("feed").map(parse_feeders).unwrap_or_default(),
        ..ConfigurationChange::of(members)
    }
}

/// `4:2,5:leader`: node 4 pulls from node 2, and the leader feeds node 5.
fn parse_feeders(text: &str) -> BTreeMap<NodeId, Option<NodeId>> {
    let pairs = text.split(',').map(|pair| pair.split_once(':').expect("a pair"));
    pairs
        .map(|(learner, feeder)| {
            let number = |text: &str| id(text.parse().unwrap());
            (number(learner), (feeder != "leader").then(|| number(feeder)))
        })
        .collect()
}
