//! One test per sentence of Raft §5, §6 and Figure 2. The sentence stands above the test.

#[path = "../cluster/mod.rs"]
mod cluster;
mod election;
mod figure_2;
mod membership;
mod replication;

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
