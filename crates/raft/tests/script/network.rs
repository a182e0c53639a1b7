//! What happens on the wire, and messages that a script makes up.

use raft::*;

use super::words::{Words, lease_of, parse_entry};
use crate::cluster::words::message_line;
use crate::cluster::{Cluster, command, id};

/// What happens on the wire.
pub(super) fn run_network_verb(cluster: &mut Cluster, verb: &str, words: &Words<'_>) -> bool {
    match verb {
        "stabilize" => cluster.stabilize(),
        "messages" => {
            let lines: Vec<String> = cluster.network.iter().map(message_line).collect();
            cluster.lines.extend(lines);
        }
        "deliver" | "drop" | "repeat" | "keep" => {
            let (chosen, rest): (Vec<_>, Vec<_>) =
                cluster.network.drain(..).partition(|message| matches(message, words));
            match verb {
                "keep" => cluster.network = chosen,
                "drop" => cluster.network = rest,
                "repeat" => {
                    cluster.network =
                        chosen.iter().cloned().chain(rest).chain(chosen.clone()).collect();
                }
                _ => {
                    cluster.network = rest;
                    for message in chosen {
                        cluster.lines.push(message_line(&message));
                        cluster.deliver(message);
                    }
                }
            }
        }
        "isolate" => drop(cluster.isolated.insert(words.number(0))),
        "heal" => cluster.isolated.clear(),
        "inject" => {
            let message = parse_message(words);
            cluster.lines.push(message_line(&message));
            cluster.deliver(message);
        }
        _ => return false,
    }
    true
}

fn matches(message: &Message, words: &Words<'_>) -> bool {
    words.named_number("from").is_none_or(|from| message.from.0 == from)
        && words.named_number("to").is_none_or(|to| message.to.0 == to)
        && words.named_number("term").is_none_or(|term| message.term.0 == term)
        && words.plain(0).is_none_or(|kind| {
            message_line(message).split(' ').nth(4).is_some_and(|word| word == kind)
        })
}

fn parse_pull(words: &Words<'_>) -> Body {
    let prev = words.entry("prev");
    match words.named_number("commit").map(LogIndex) {
        None => Body::Pull { prev },
        Some(commit_index) => {
            Body::PullResponse { prev, commit_index, entries: parse_entries(words).into() }
        }
    }
}

fn parse_removed(words: &Words<'_>) -> Body {
    let configuration = Configuration {
        removed: words.numbers("removed").into_iter().map(NodeId).collect(),
        ..Configuration::of_voters(words.numbers("voters").into_iter().map(NodeId))
    };
    let by = SnapshotMark { last: words.entry("by"), configuration };
    let incarnation = Incarnation(words.named_number("incarnation").unwrap_or(0));
    Body::Removed { by: by.into(), incarnation }
}

fn parse_message(words: &Words<'_>) -> Message {
    let granted = words.named("granted") == Some("true");
    let index = |name: &str| LogIndex(words.need(name));
    let session = words.named_number("session").unwrap_or(0);
    let body = match words.plain(0).expect("a kind of message") {
        "PreVote" => Body::PreVote { last: words.entry("last") },
        "PreVoteResponse" => Body::PreVoteResponse { granted },
        "RequestVote" => Body::RequestVote {
            last: words.entry("last"),
            leadership_transfer: words.named("transfer") == Some("true"),
        },
        "RequestVoteResponse" => Body::RequestVoteResponse { granted },
        "AppendEntries" => Body::AppendEntries {
            prev: words.entry("prev"),
            commit_index: LogIndex(words.named_number("commit").unwrap_or(0)),
            session,
            entries: parse_entries(words).into(),
        },
        "CommitIndex" => {
            Body::CommitIndex { prev: words.entry("prev"), commit_index: index("commit"), session }
        }
        "Accepted" => Body::AppendEntriesResponse(AppendOutcome::Accepted {
            session,
            match_index: index("match"),
        }),
        "Rejected" => Body::AppendEntriesResponse(AppendOutcome::Rejected {
            session,
            prev_index: index("prev"),
            hint: words.entry("hint"),
        }),
        "Heartbeat" => Body::Heartbeat {
            commit_index: index("commit"),
            round: words.named_number("round").unwrap_or(0),
        },
        "HeartbeatResponse" => {
            Body::HeartbeatResponse { round: words.need("round"), last_index: index("last") }
        }
        "InstallSnapshot" => {
            let voters = words.numbers("voters").into_iter().map(NodeId);
            let configuration = Configuration {
                outgoing: words.numbers("outgoing").into_iter().map(NodeId).collect(),
                lease: words.named_number("guard").map(|ticks| lease_of(ticks, words)),
                ..Configuration::of_voters(voters)
            };
            Body::InstallSnapshot {
                mark: SnapshotMark { last: words.entry("last"), configuration }.into(),
            }
        }
        "Removed" => parse_removed(words),
        "Pull" | "PullResponse" => parse_pull(words),
        "Quiesce" => Body::Quiesce { last: words.entry("last"), commit_index: index("commit") },
        "TimeoutNow" => Body::TimeoutNow { lease_ended: words.named("lease") == Some("ended") },
        "ReadIndex" => Body::ReadIndex {
            context: words.need("name"),
            replied: words.named("replied") == Some("true"),
        },
        "ReadIndexResponse" => Body::ReadIndexResponse {
            context: words.need("name"),
            index: words.named_number("index").map(LogIndex),
        },
        other => panic!("unknown message {other}"),
    };
    let (from, to) = (id(words.need("from")), id(words.need("to")));
    Message::new(from, to, Term(words.need("term")), body)
}

/// `3@2,4@2`, or `4@2:voters:1+2+3` for a configuration, `4@2:voters:2+3/1+2` for a joint one.
fn parse_entries(words: &Words<'_>) -> Vec<Entry> {
    let list = words.named("entries").unwrap_or("");
    let parts = list.split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once(":voters:") {
            None => match part.strip_suffix(":withheld") {
                Some(entry) => Entry { id: parse_entry(entry), payload: Payload::Withheld },
                None => Entry { id: parse_entry(part), payload: Payload::Command(command(part)) },
            },
            Some((entry, voters)) => {
                let nodes = |list: &str| -> std::collections::BTreeSet<NodeId> {
                    let parts = list.split('+').filter(|part| !part.is_empty());
                    parts.map(|part| id(part.parse().unwrap())).collect()
                };
                let (voters, outgoing) = voters.split_once('/').unwrap_or((voters, ""));
                let outgoing = nodes(outgoing);
                let configuration =
                    Configuration { outgoing, ..Configuration::of_voters(nodes(voters)) };
                Entry {
                    id: parse_entry(entry),
                    payload: Payload::Configuration(configuration.into()),
                }
            }
        })
        .collect()
}
