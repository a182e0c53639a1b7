//! What a node has said to others, and must find again when it begins another life.
//!
//! The log as it lies on a disk cannot be looked at while its node runs. So what a node vouches for
//! is kept here, and is asked for when its disk is read the next time: a log that called something
//! durable which was not yet there is found out, although one disk alone breaks no quorum.

use std::collections::BTreeMap;

use env::mem::NetEvent;
use host::{GroupId, Inspected, StateMachine};
use raft::invariants::Violation;
use raft::{Body, EntryId, HardState, LogIndex, Message, Node, NodeId};
use wal::RecoveredGroup;

use super::World;
use crate::Failure;

/// Raft §5.6: what others may count on outlives a crash.
const PROPERTY: &str = "Durable Word: what a node vouched for is there when it begins again";

/// The newest term that a replica has spoken of as its own, and its vote in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word(HardState);

impl Word {
    /// Takes a message as it leaves. Everything but a word about the next term is of a term that is
    /// on disk, and what is committed stays so whatever its node forgets.
    fn hear(&mut self, message: &Message) {
        let vote = match &message.body {
            Body::PreVote { .. }
            | Body::PreVoteResponse { granted: true }
            | Body::Removed { .. } => return,
            Body::RequestVote { .. } => Some(message.from),
            Body::RequestVoteResponse { granted: true } => Some(message.to),
            Body::PreVoteResponse { granted: false }
            | Body::RequestVoteResponse { granted: false }
            | Body::AppendEntries { .. }
            | Body::AppendEntriesResponse(_)
            | Body::CommitIndex { .. }
            | Body::Heartbeat { .. }
            | Body::HeartbeatResponse { .. }
            | Body::Quiesce { .. }
            | Body::InstallSnapshot { .. }
            | Body::InstallSnapshotResponse { .. }
            | Body::TimeoutNow { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexResponse { .. }
            | Body::Pull { .. }
            | Body::PullResponse { .. } => None,
        };
        if message.term > self.0.current_term {
            self.0 = HardState { current_term: message.term, voted_for: None };
        }
        if message.term == self.0.current_term && vote.is_some() {
            self.0.voted_for = vote;
        }
    }

    /// What of it a disk does not hold.
    fn is_broken_by(&self, found: HardState) -> bool {
        let same_term = found.current_term == self.0.current_term;
        let lost_vote = self.0.voted_for.is_some() && found.voted_for != self.0.voted_for;
        found.current_term < self.0.current_term || same_term && lost_vote
    }
}

/// What a log that was read again lacks of the word that its node gave in its last life.
pub(super) fn broken_word(
    left: &BTreeMap<GroupId, Node>,
    said: &BTreeMap<GroupId, Word>,
    recovered: &BTreeMap<GroupId, RecoveredGroup>,
) -> Option<(GroupId, Failure)> {
    let nothing = RecoveredGroup::default();
    let lost = |group: GroupId, what: String| {
        let found = recovered.get(&group).unwrap_or(&nothing);
        let detail = format!("{what}; found {:?} and a log to {}", found.hard_state, found.last);
        Some((group, Failure::new(PROPERTY, detail)))
    };
    for (group, word) in said {
        let found = recovered.get(group).unwrap_or(&nothing);
        if word.is_broken_by(found.hard_state) {
            return lost(*group, format!("it had said {word:?}"));
        }
    }
    for (group, left) in left {
        let found = recovered.get(group).unwrap_or(&nothing);
        let vouched = left.status().durable_index;
        // What its mark stands for is not in its log any more, and the mark is on the disk as well.
        let (was, is) = (left.id_at(vouched), id_at(found, vouched));
        let is_other = matches!((was, is), (Some(was), Some(is)) if was != is);
        if found.last.index < vouched || is_other {
            return lost(*group, format!("{was:?} had been durable, as all up to {vouched}"));
        }
    }
    None
}

/// The entry of this index in a log that was found; `None` if it is not in it.
fn id_at(found: &RecoveredGroup, index: LogIndex) -> Option<EntryId> {
    if index == found.mark.last.index {
        return Some(found.mark.last);
    }
    let runs = found.term_runs.iter().rev();
    let term = runs.clone().find(|(from, _)| *from <= index).map(|(_, term)| *term);
    let is_there = index > found.mark.last.index && index <= found.last.index;
    term.filter(|_| is_there).map(|term| EntryId { term, index })
}

impl<S: StateMachine> World<S> {
    /// Looks at what a node has sent in its last step.
    pub(super) fn hear(&mut self, id: NodeId, sent: &[NetEvent]) -> Option<(GroupId, Violation)> {
        let mut wrong = None;
        for event in sent {
            let NetEvent::Sent { delivery, is_replay: false, .. } = event else { continue };
            for (group, said) in host::inspect(&delivery.frame) {
                let Inspected::Message(message) = said else { continue };
                let node = self.nodes.get_mut(&id).expect("a node of this world");
                node.said.entry(group).or_default().hear(&message);
                // A disk that was lost has forgotten whom it voted for; that is told by its number.
                let is_whole = !node.is_forgetful;
                let observed = self.seen.entry(group).or_default().observe_message(&message);
                if let (Err(violation), true) = (observed, is_whole) {
                    wrong.get_or_insert((group, violation));
                }
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::stores::{Cluster, GROUP};
    use crate::{Failure, caught};

    use super::*;

    /// As a log would be that calls a write durable before it is.
    fn found_with_an_older_disk(spoil: impl FnOnce(&mut Cluster, NodeId)) -> Option<Failure> {
        let mut cluster = Cluster::started(7);
        let node = cluster.a_follower();
        let older = cluster.world.disk(node).fork();
        spoil(&mut cluster, node);
        cluster.world.run_for(Duration::from_millis(200));
        cluster.world.crash(node);
        cluster.world.node_mut(node).disk = older;
        caught(|| Ok(cluster.world.start(node))).err()
    }

    #[test]
    fn entries_that_are_gone_after_they_were_called_durable_are_found() {
        let found = found_with_an_older_disk(|cluster, _| {
            let leader = cluster.world.leader(GROUP).expect("it was elected");
            cluster.put_acknowledged(leader, "key", "value");
        });
        assert_eq!(found.map(|failure| failure.property).as_deref(), Some(PROPERTY));
    }

    #[test]
    fn a_vote_that_is_gone_after_it_was_said_is_found() {
        let found = found_with_an_older_disk(|cluster, node| {
            let leader = cluster.world.leader(GROUP).expect("it was elected");
            let group = cluster.world.group(leader, GROUP).expect("it is on");
            group.transfer_leadership(Some(node), |_| {});
            let leads = |world: &World<_>| world.leader(GROUP) == Some(node);
            assert!(cluster.world.run_until(Duration::from_secs(5), leads));
            // The word alone is looked at: what its log held counts for nothing.
            cluster.world.crash(node);
            cluster.world.node_mut(node).left.clear();
        });
        assert_eq!(found.map(|failure| failure.property).as_deref(), Some(PROPERTY));
    }

    #[test]
    fn a_disk_that_is_what_it_was_is_believed() {
        let mut cluster = Cluster::started(7);
        let node = cluster.a_follower();
        cluster.world.crash(node);
        assert_eq!(caught(|| Ok(cluster.world.start(node).is_ok())), Ok(true));
    }
}
