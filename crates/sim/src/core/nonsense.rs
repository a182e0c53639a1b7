//! Messages that no node of the protocol sends: of a peer that is broken, or of another version.
//!
//! Each is counted as that peer's fault, or dropped as stale, and changes nothing. What a lie may
//! change, such as an acknowledgement that is in order and false, is not among them.

use env::SplitMix;
use raft::{
    AppendOutcome, Body, Configuration, Entry, EntryId, Input, LogIndex, Message, NodeId, Payload,
    ReadMode, Role, SnapshotMark, Term,
};

use super::CoreWorld;
use super::step::is_of_leader;
use crate::Failure;

/// Strangers that answer a question which nobody put to them.
const STRANGERS: u64 = 70;
/// More questions than a node may keep answers for while its disk stands still.
const FLOOD: u64 = 1100;
/// Kinds of false words to a follower: an answer to its read, and its removal.
const READ_ANSWER: u64 = 2;
const REMOVAL: u64 = 5;
/// Ids that no node has.
const NOBODY: u64 = 5000;

impl CoreWorld {
    /// One such message reaches a node, or many of a kind. Returns whether there was one that fits.
    pub fn hear_nonsense(&mut self, id: NodeId, dice: &mut SplitMix) -> bool {
        if !self.is_on(id) || !self.is_awake(id) {
            return false;
        }
        // What is due by now is not the nonsense's doing.
        self.input(id, Input::Tick);
        let Some(node) = self.node(id) else { return false };
        let (messages, is_wrong) = match node.role() {
            Role::PreCandidate if dice.below(2) == 0 => (self.stray_answers(id), false),
            Role::PreCandidate | Role::Candidate => (self.late_votes(id), true),
            Role::Leader => (self.false_answers(id, dice), true),
            Role::Follower if self.members[&id].hangs => (self.flood(id), false),
            Role::Follower => {
                let kind = dice.below(8);
                if kind == READ_ANSWER {
                    // So that there is a question.
                    self.ask_by_itself(id, ReadMode::ReadIndex);
                }
                // A removal may be believed one day, and is no fault.
                (self.false_leaders(id, kind), kind != REMOVAL)
            }
        };
        for message in &messages {
            self.swallow(id, message.clone(), is_wrong);
        }
        !messages.is_empty()
    }

    fn swallow(&mut self, id: NodeId, message: Message, is_wrong: bool) {
        let state = |world: &Self| {
            let node = world.node(id)?;
            let role = (node.role(), node.term(), node.leader());
            // A leader takes note of the disk that it hears of, and puts it on record.
            let log = (node.role() != Role::Leader).then(|| node.last());
            Some((role, node.commit_index(), log))
        };
        let before = state(self);
        self.nonsense_count += 1;
        let member = self.member(id);
        if message.to == id {
            let tick = member.tick();
            member.seen.heard.insert(message.from, tick);
        }
        let speaks = member.node.as_ref().and_then(raft::Node::leader) == Some(message.from);
        if speaks && message.to == id && is_of_leader(&message.body) {
            // What it says is wrong; that it speaks as the leader is true.
            member.seen.heard_leader = Some(member.tick());
        }
        self.hears_nonsense = true;
        self.input(id, Input::Message(message.clone()));
        self.hears_nonsense = false;
        let after = state(self);
        let is_taken = is_wrong && !self.has_objected;
        if before != after || self.granted.is_some() || self.has_acknowledged || is_taken {
            let detail = format!("node {id} goes from {before:?} to {after:?} for {message:?}");
            self.fail(id, Failure::new("nonsense changes nothing", detail));
        }
    }

    /// Another voter than this node and its leader.
    fn third(&self, id: NodeId) -> Option<NodeId> {
        let node = self.node(id)?;
        let mut voters = node.configuration().voters.iter().copied();
        voters.find(|voter| *voter != id && Some(*voter) != node.leader())
    }

    fn stray_answers(&self, id: NodeId) -> Vec<Message> {
        let Some(node) = self.node(id) else { return Vec::new() };
        let term = node.term().next();
        let stray = |stranger| {
            let body = Body::PreVoteResponse { granted: true };
            Message::new(NodeId(NOBODY + stranger), id, term, body)
        };
        (0..STRANGERS).map(stray).collect()
    }

    /// Votes of the term before, which were given and are late (E7), and votes of nobody (E8).
    fn late_votes(&self, id: NodeId) -> Vec<Message> {
        let Some(node) = self.node(id) else { return Vec::new() };
        let term = node.term();
        let others = node.configuration().voters.iter().filter(|voter| **voter != id);
        let vote =
            |from, term| Message::new(from, id, term, Body::RequestVoteResponse { granted: true });
        let late = others.map(|from| vote(*from, Term(term.0.saturating_sub(1))));
        let strange = (0..5).map(|number| vote(NodeId(NOBODY + number), term));
        late.chain(strange).collect()
    }

    /// A leader is told of entries that it has never sent, or gets the mail of another.
    fn false_answers(&self, id: NodeId, dice: &mut SplitMix) -> Vec<Message> {
        let Some(node) = self.node(id) else { return Vec::new() };
        let term = node.term();
        if dice.below(3) == 0 {
            let last = EntryId { term, index: LogIndex(node.last().index.0 + 5) };
            let body = Body::RequestVote { last, leadership_transfer: true };
            let from = self.third(id).unwrap_or(NodeId(NOBODY));
            return vec![Message::new(from, NodeId(NOBODY + 1), term.next(), body)];
        }
        let sessions = &self.members[&id].seen.sessions;
        let newest = sessions.iter().next_back().map(|(to, session)| (to, &session.name));
        let Some((to, session)) = newest else { return Vec::new() };
        let match_index = LogIndex(node.last().index.0 + 5);
        let outcome = AppendOutcome::Accepted { session: *session, match_index };
        vec![Message {
            incarnation: self.members.get(to).map(|to| to.options.incarnation).unwrap_or_default(),
            ..Message::new(*to, id, term, Body::AppendEntriesResponse(outcome))
        }]
    }

    /// A follower whose disk does not answer is asked and asked.
    fn flood(&self, id: NodeId) -> Vec<Message> {
        let Some(node) = self.node(id) else { return Vec::new() };
        let Some(from) = self.third(id) else { return Vec::new() };
        let has_written = self.members[&id].disk.hard_state.current_term == node.term();
        let body = Body::ReadIndex { context: 1, replied: false };
        let question = Message::new(from, id, node.term(), body);
        // Answers leave when the term is on disk.
        let count = if has_written { 0 } else { FLOOD };
        (0..count).map(|_| question.clone()).collect()
    }

    /// Somebody speaks as if it led, or the leader speaks in riddles.
    fn false_leaders(&self, id: NodeId, kind: u64) -> Vec<Message> {
        let Some(node) = self.node(id) else { return Vec::new() };
        let (Some(leader), Some(third)) = (node.leader(), self.third(id)) else {
            return Vec::new();
        };
        // Whoever was removed is told so, whatever it says.
        if node.configuration().removed.contains(&leader) {
            return Vec::new();
        }
        let term = node.term();
        let commit = node.commit_index();
        let of = |from, body| vec![Message::new(from, id, term, body)];
        match kind {
            // E20.
            0 => of(third, Body::TimeoutNow { lease_ended: false }),
            1 => of(third, Body::Heartbeat { commit_index: commit, round: 0 }),
            // R9.
            READ_ANSWER => {
                let Some(context) = self.members[&id].seen.question else { return Vec::new() };
                of(third, Body::ReadIndexResponse { context, index: Some(LogIndex(0)) })
            }
            // S16: a place before the log that has a term.
            3 => {
                let prev = EntryId { term, index: LogIndex(0) };
                let outcome = Body::AppendEntries {
                    prev,
                    commit_index: LogIndex(0),
                    session: 0,
                    entries: Vec::new().into(),
                };
                of(leader, outcome)
            }
            // S4: a snapshot that contradicts what is committed.
            // While another one installs it is not looked at.
            4 if commit.0 > 0 && term.0 > 1 && !self.members[&id].seen.installs => {
                let here = node.id_at(commit).map_or(term, |here| here.term);
                let other = if here == term { Term(term.0 - 1) } else { term };
                let mark = SnapshotMark {
                    last: EntryId { term: other, index: commit },
                    configuration: node.configuration().clone(),
                };
                of(leader, Body::InstallSnapshot { mark: mark.into() })
            }
            // M12: one member's word is not enough where there are more.
            REMOVAL if self.is_member_of_many(id) => {
                let liar = *node
                    .configuration()
                    .voters
                    .iter()
                    .find(|voter| **voter != id)
                    .unwrap_or(&third);
                let configuration =
                    Configuration { removed: vec![id], ..Configuration::of_voters([liar]) };
                let last = EntryId { term, index: commit.next() };
                let by = SnapshotMark { last, configuration };
                let incarnation = self.members[&id].options.incarnation;
                of(liar, Body::Removed { by: by.into(), incarnation })
            }
            // M13: a configuration in which somebody is voter and learner.
            6 => {
                let mut configuration = node.configuration().clone();
                configuration.learners = configuration.voters.clone();
                configuration.outgoing.clear();
                let last = node.last();
                let id = EntryId { term, index: last.index.next() };
                let payload = Payload::Configuration(configuration.into());
                let body = Body::AppendEntries {
                    prev: last,
                    commit_index: LogIndex(0),
                    session: 0,
                    entries: vec![Entry { id, payload }].into(),
                };
                of(leader, body)
            }
            // N13.
            _ => {
                let body = Body::Heartbeat { commit_index: commit, round: 0 };
                vec![Message::new(leader, third, term.next(), body)]
            }
        }
    }

    fn is_member_of_many(&self, id: NodeId) -> bool {
        let is_member = |node: NodeId| {
            let node = self.node(node);
            node.is_some_and(|node| node.configuration().voters.contains(&id))
        };
        let voters = self.node(id).map_or(0, |node| node.configuration().voters.len());
        voters >= 4 && self.leader().is_some_and(is_member)
    }
}
