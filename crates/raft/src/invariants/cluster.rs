//! What holds between the nodes of a group, and over its whole life.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::{Decided, Violation, require};
use crate::configuration::change::may_follow;
use crate::configuration::one_step::is_one_step;
use crate::quorum::{Decision, Quorum};
use crate::recovery::recoveries;
use crate::{
    Body, Configuration, Entry, EntryId, LogIndex, Message, Node, NodeId, Payload, Role,
    SnapshotMark, Term,
};

/// Every configuration in a log follows from the one before it by a step of joint consensus, or by
/// one voter.
fn check_configurations(node: &Node) -> Result<(), Violation> {
    let knows_members = !node.configurations.at(node.log.mark().index).voters.is_empty();
    require(
        knows_members || node.log.mark().index.0 == 0,
        "a log that was cut knows its members",
        || format!("node {} begins at {}", node.id(), node.log.mark()),
    )?;
    let behind = node.configurations.iter().skip(1);
    let term_at = |index: &LogIndex| node.log.id_at(*index).map_or(Term(0), |id| id.term);
    for ((at, before), (index, next)) in node.configurations.iter().zip(behind) {
        let is_back = before.is_joint()
            && !next.is_joint()
            && next.voters == before.outgoing
            && next.rule == before.outgoing_rule
            && next.removed == before.removed
            // M18: a leader of a later term cannot know whether the change was decided.
            && term_at(at) == term_at(index);
        // The same from a step of one voter, if nobody was removed by it.
        let is_back = is_back
            || is_one_step(before, next)
                && next.removed == before.removed
                && term_at(at) == term_at(index);
        let is_forced = recoveries(term_at(index)) > recoveries(term_at(at));
        // A node that was not yet a member when the log began does not know what was before.
        let follows =
            *before == Configuration::default() || may_follow(before, next) || is_back || is_forced;
        require(follows, "One Change at a Time", || {
            format!("{before} becomes {next} at {index} on node {}", node.id())
        })?;
    }
    Ok(())
}

/// What was ever seen in a group; it must stay true for ever.
#[derive(Clone, Debug, Default, Hash)]
pub struct Cluster {
    leaders: BTreeMap<Term, NodeId>,
    /// What every entry ever seen follows, and what it says.
    entries: BTreeMap<EntryId, (EntryId, Option<Payload>)>,
    /// What is committed, and the term in which that was first seen.
    committed: BTreeMap<LogIndex, (EntryId, Term)>,
    /// Whom each node voted for in each term, as it said itself.
    votes: BTreeMap<(Term, NodeId), NodeId>,
    /// The configurations that are committed, by the entries that brought them.
    configurations: BTreeMap<LogIndex, Configuration>,
    /// Last entry and commit index of each node when it was looked at before.
    seen: BTreeMap<NodeId, (EntryId, LogIndex)>,
    /// Where the log of each node began and ended, and what was committed, when its configurations
    /// were looked at: with the same log and commit index they are the same.
    members_seen: BTreeMap<NodeId, (EntryId, EntryId, LogIndex)>,
}

impl Cluster {
    /// Looks at one node after a step.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn observe(&mut self, node: &Node) -> Result<(), Violation> {
        let (id, term) = (node.id(), node.term());
        let (last_seen, commit_seen) = self.seen.get(&id).copied().unwrap_or_default();
        self.observe_log(node, last_seen)?;
        let members_at = (node.log.mark(), node.log.last(), node.commit_index);
        if self.members_seen.insert(id, members_at) != Some(members_at) {
            check_configurations(node)?;
            self.observe_configurations(node)?;
        }
        if node.role() == Role::Leader {
            let is_new = !self.leaders.contains_key(&term);
            let leader = *self.leaders.entry(term).or_insert(id);
            require(leader == id, "Election Safety", || {
                format!("nodes {leader} and {id} both lead term {term}")
            })?;
            if is_new {
                self.check_leader_completeness(node)?;
                self.check_election(node)?;
            }
        }
        for index in commit_seen.0.max(node.log.mark().index.0).max(1)..=node.commit_index.0 {
            let Some(entry) = node.log.id_at(LogIndex(index)) else { continue };
            let (committed, _) = *self.committed.entry(LogIndex(index)).or_insert((entry, term));
            require(committed == entry, "State Machine Safety", || {
                format!("node {id} commits {entry} where {committed} is committed")
            })?;
        }
        self.seen.insert(id, (node.log.last(), node.commit_index));
        Ok(())
    }

    /// Log Matching, by induction: if an entry's name tells what it says and what it follows, then
    /// it tells the whole log before it.
    fn observe_log(&mut self, node: &Node, last_seen: EntryId) -> Result<(), Violation> {
        let (mark, last) = (node.log.mark(), node.log.last());
        let from = if node.log.contains(last_seen) { last_seen.index } else { mark.index };
        for index in from.0 + 1..=last.index.0 {
            let (Some(before), Some(entry)) =
                (node.log.id_at(LogIndex(index - 1)), node.log.id_at(LogIndex(index)))
            else {
                continue;
            };
            let known = self.entries.entry(entry).or_insert((before, None)).0;
            require(known == before, "Log Matching", || {
                format!("{entry} follows {known}, but {before} on node {}", node.id())
            })?;
        }
        for entry in node.log.cache().iter().filter(|entry| entry.id.index > from) {
            self.observe_payload(entry, node.id())?;
        }
        Ok(())
    }

    fn observe_payload(&mut self, entry: &Entry, node: NodeId) -> Result<(), Violation> {
        let Some((_, payload)) = self.entries.get_mut(&entry.id) else { return Ok(()) };
        // A witness knows a command by its entry's name alone.
        if entry.payload == Payload::Withheld {
            return Ok(());
        }
        let known = payload.get_or_insert_with(|| entry.payload.clone());
        require(*known == entry.payload, "Log Matching", || {
            format!("{} says {known:?}, but {:?} on node {node}", entry.id, entry.payload)
        })
    }

    /// Who is a member as of a committed entry is the same on every node, whether it has the log or
    /// a mark that stands for it.
    fn observe_configurations(&mut self, node: &Node) -> Result<(), Violation> {
        let mark = node.log.mark().index;
        let behind = node.configurations.iter().filter(|(index, configuration)| {
            (*index > mark || index.0 == 0)
                && *index <= node.commit_index
                && !configuration.voters.is_empty()
        });
        for (index, configuration) in behind {
            let known = self.configurations.entry(*index).or_insert_with(|| configuration.clone());
            require(known == configuration, "Configuration Safety", || {
                format!("node {} has {configuration} of {index}, others {known}", node.id())
            })?;
        }
        let before = self.configurations.range(..=mark).next_back();
        let there = node.configurations.at(mark);
        let is_same = there.voters.is_empty() || before.is_none_or(|(_, known)| known == there);
        require(is_same, "Configuration Safety", || {
            format!("node {} has {there} as of its mark {mark}, others {before:?}", node.id())
        })
    }

    /// Whoever leads has the votes of a quorum, each said by its voter. Where no messages are
    /// looked at, no votes are known.
    fn check_election(&self, leader: &Node) -> Result<(), Violation> {
        if self.votes.is_empty() {
            return Ok(());
        }
        let (id, term) = (leader.id(), leader.term());
        let votes = |voter| voter == id || self.votes.get(&(term, voter)) == Some(&id);
        let is_elected = leader.configurations.current().is_quorum(Decision::Election, &votes);
        require(is_elected, "a leader is elected by a quorum", || {
            format!("node {id} leads term {term} with these votes: {:?}", self.votes)
        })
    }

    /// Of what was committed in earlier terms: a vote that comes late may still elect a leader of a
    /// term that is long over, and that one commits nothing.
    fn check_leader_completeness(&self, node: &Node) -> Result<(), Violation> {
        let earlier = self.committed.values().filter(|(_, term)| *term < node.term());
        for (entry, _) in earlier.filter(|(entry, _)| entry.index > node.log.mark().index) {
            require(node.log.contains(*entry), "Leader Completeness", || {
                format!("leader {} of term {} lacks committed {entry}", node.id(), node.term())
            })?;
        }
        Ok(())
    }

    /// Looks at a message as it leaves, after its sender was looked at.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn observe_message(&mut self, message: &Message) -> Result<(), Violation> {
        let Message { from, to, term, body, .. } = message;
        let said = || format!("{message:?}");
        match body {
            Body::RequestVote { .. } => self.observe_vote(*term, *from, *from, message),
            Body::RequestVoteResponse { granted: true } => {
                self.observe_vote(*term, *from, *to, message)
            }
            Body::AppendEntries { commit_index, .. }
            | Body::CommitIndex { commit_index, .. }
            | Body::Heartbeat { commit_index, .. }
            | Body::Quiesce { commit_index, .. } => {
                let leads = match self.leaders.get(term) {
                    Some(leader) => leader == from,
                    None => self.led_unseen(*term, *from),
                };
                require(leads, "only the leader of a term speaks as one", said)?;
                let known = self.committed.last_key_value().map_or(0, |(index, _)| index.0);
                require(commit_index.0 <= known, "nobody invents a commit", said)?;
                self.observe_sent(message)
            }
            Body::PullResponse { prev, entries, .. } => {
                let told = core::iter::once(*prev).chain(entries.iter().map(|entry| entry.id));
                for id in told.filter(|id| id.index.0 > 0) {
                    let is_committed = self
                        .committed
                        .get(&id.index)
                        .is_none_or(|known| known.0 == id)
                        && self.committed.last_key_value().is_some_and(|last| *last.0 >= id.index);
                    require(is_committed, "what is pulled is committed", said)?;
                }
                Ok(())
            }
            Body::PreVote { .. }
            | Body::PreVoteResponse { .. }
            | Body::RequestVoteResponse { granted: false }
            | Body::Pull { .. }
            | Body::AppendEntriesResponse(_)
            | Body::HeartbeatResponse { .. }
            | Body::InstallSnapshot { .. }
            | Body::InstallSnapshotResponse { .. }
            | Body::TimeoutNow { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexResponse { .. }
            | Body::Removed { .. } => Ok(()),
        }
    }

    /// Whether a node may have led in a term in which nobody was seen to lead. A host hands its
    /// node all that came while it stood still, and the last vote may come right before the first
    /// word of a later leader. Those who voted have said so.
    fn led_unseen(&mut self, term: Term, id: NodeId) -> bool {
        let votes = |voter| self.votes.get(&(term, voter)) == Some(&id);
        let mut known = self.configurations.values();
        let is_elected = known.any(|known| known.is_quorum(Decision::Election, &votes));
        if is_elected {
            self.leaders.insert(term, id);
        }
        is_elected
    }

    fn observe_vote(
        &mut self,
        term: Term,
        voter: NodeId,
        candidate: NodeId,
        message: &Message,
    ) -> Result<(), Violation> {
        let given = *self.votes.entry((term, voter)).or_insert(candidate);
        require(given == candidate, "One Vote per Term", || {
            format!("node {voter} voted for {given} in term {term}: {message:?}")
        })
    }

    /// What a leader sends is what was seen in its log.
    fn observe_sent(&mut self, message: &Message) -> Result<(), Violation> {
        let Body::AppendEntries { prev, entries, .. } = &message.body else { return Ok(()) };
        let mut before = *prev;
        for entry in entries {
            let known = self.entries.get(&entry.id).map(|(known, _)| *known);
            require(known.is_none_or(|known| known == before), "Log Matching", || {
                format!("{} follows {known:?}, but {before} in {message:?}", entry.id)
            })?;
            self.observe_payload(entry, message.from)?;
            before = entry.id;
        }
        Ok(())
    }

    /// Looks at what a node's state machine was given.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn observe_applied(&mut self, node: NodeId, entries: &[Entry]) -> Result<(), Violation> {
        let is_run = entries.windows(2).all(|pair| pair[0].id.index.next() == pair[1].id.index);
        require(is_run, "entries go out in order, without a gap", || format!("{entries:?}"))?;
        for entry in entries {
            let committed = self.committed.get(&entry.id.index).map(|(committed, _)| committed);
            require(committed == Some(&entry.id), "State Machine Safety", || {
                format!("node {node} applies {} where {committed:?} is committed", entry.id)
            })?;
            self.observe_payload(entry, node)?;
        }
        Ok(())
    }

    /// Looks at how far a node's state machine has come, where what it was given is not seen.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn observe_state(&self, node: NodeId, applied: EntryId) -> Result<(), Violation> {
        let committed = self.committed.get(&applied.index).map(|(committed, _)| *committed);
        require(committed.is_none_or(|known| known == applied), "State Machine Safety", || {
            format!("node {node} has applied {applied} where {committed:?} is committed")
        })?;
        require(applied.index <= self.committed(), "State Machine Safety", || {
            format!(
                "node {node} has applied {applied}, and all is committed to {}",
                self.committed()
            )
        })
    }

    /// Looks at the disks when a leader commits: the entry must be on a quorum of them, by the
    /// configuration that decided it.
    ///
    /// # Errors
    /// The commit that no quorum holds.
    pub fn observe_commit(
        leader: &Node,
        decided: &Decided,
        holds: impl Fn(NodeId, EntryId) -> bool,
    ) -> Result<(), Violation> {
        let Decided { entry, by, .. } = decided;
        let is_on_quorum = by.is_quorum(Decision::Commit, &|voter| holds(voter, *entry));
        require(is_on_quorum, "Durable Quorum", || {
            format!("leader {} commits {entry}, which no quorum of disks holds", leader.id())
        })?;
        // A command of this leader's: the data is on a majority of those that hold any.
        let mut cached = leader.log.cache().iter();
        let is_command = cached.any(|here| here.id == *entry && here.payload.is_command());
        let full = by.voters.difference(&by.witnesses);
        let (have, lack): (Vec<&NodeId>, Vec<&NodeId>) =
            full.partition(|node| holds(**node, *entry));
        let may_be_anywhere = !is_command || by.witnesses.is_empty();
        require(may_be_anywhere || have.len() > lack.len(), "Payload Durability", || {
            format!("leader {} commits {entry}, whose data is on too few disks", leader.id())
        })
    }

    /// Takes a mark at its word that no node of the group has made: one that a test made up.
    pub fn believe(&mut self, mark: &SnapshotMark) {
        let known = mark.configuration.clone();
        self.configurations.entry(mark.last.index).or_insert(known);
    }

    /// The largest index that was ever seen to be committed.
    #[must_use]
    pub fn committed(&self) -> LogIndex {
        self.committed.last_key_value().map_or_else(LogIndex::default, |(index, _)| *index)
    }

    /// Survivors were forced to go on from here (`recovery.rs`): what was committed behind it is so
    /// no more. Those who are lost, and know better, are not to be looked at again.
    pub fn forced_behind(&mut self, index: LogIndex) {
        drop(self.committed.split_off(&index.next()));
        drop(self.configurations.split_off(&index.next()));
    }

    /// A node begins another life: what it knew and had not made durable is gone.
    pub fn restarted(&mut self, node: NodeId) {
        self.seen.remove(&node);
        self.members_seen.remove(&node);
    }
}
