//! Linearizable reads without the log (thesis §6.4).
//!
//! A leader answers a read at its commit index after two proofs: that this index covers everything
//! committed before the read was asked for, which holds once an entry of its own term is committed
//! (C2), and that it still leads, which a heartbeat round to a quorum shows. Rounds are numbered,
//! so that an answer to an old heartbeat proves nothing about a new read.
//!
//! A follower asks its leader, and waits until it has applied what the leader says. All reads that
//! arrive between two outputs share one round, on the leader and on the way to it.
//!
//! Scripts: `testdata/read/`.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::progress::Progress;
use crate::queue::pop_front_if;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Body, Event, LogIndex, Node, NodeId, PeerFault, ReadError, Tick};

/// Who wants to know, and what.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Reader {
    /// A follower that asks for its callers; `None` for a caller of this node.
    node: Option<NodeId>,
    context: u64,
    /// At the index up to which clients were answered, not at the commit index.
    replied: bool,
}

impl Reader {
    pub(crate) fn local(context: u64, replied: bool) -> Self {
        Self { node: None, context, replied }
    }
}

/// A leader's reads.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct LeaderReads {
    /// Not yet in a round.
    waiting: Vec<Reader>,
    /// Rounds on their way, oldest first.
    rounds: VecDeque<Round>,
    /// Counted from 1; unique in the term, since a node leads a term at most once.
    newest: u64,
    /// In `waiting` and in `rounds`.
    count: usize,
    /// No client was answered for anything beyond, as far as the host has said.
    pub(crate) replied_index: LogIndex,
}

#[derive(Clone, Debug, Hash)]
struct Round {
    round: u64,
    index: LogIndex,
    replied_index: LogIndex,
    readers: Vec<Reader>,
}

impl LeaderReads {
    pub(crate) fn newest_round(&self) -> u64 {
        self.newest
    }

    pub(crate) fn are_empty(&self) -> bool {
        self.waiting.is_empty() && self.rounds.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn add(&mut self, reader: Reader) {
        self.waiting.push(reader);
        self.count += 1;
    }

    /// The heartbeats that follow are of a new round.
    pub(crate) fn begin_round(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }
}

/// A follower's reads.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ForwardedReads {
    /// Not yet sent.
    queued: Vec<u64>,
    /// Whether all that are queued are content with the index up to which clients were answered.
    queued_replied: bool,
    sent: VecDeque<Question>,
    /// The name of the next question. It begins at a random place, so that an answer to a question
    /// of an earlier life, which would be out of date, is not taken for an answer to this one.
    next_name: u64,
    /// In `queued` and in `sent`.
    count: usize,
}

/// One message to the leader, for all reads that were queued.
#[derive(Clone, Debug, Hash)]
struct Question {
    name: u64,
    contexts: Vec<u64>,
    give_up_at: Tick,
}

impl ForwardedReads {
    pub(crate) fn new(first_name: u64) -> Self {
        let next_name = if bug(Bug::ReadNamesBeginAnew) { 0 } else { first_name };
        Self {
            queued: Vec::new(),
            queued_replied: false,
            sent: VecDeque::new(),
            next_name,
            count: 0,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// All that is queued shares one question, and the answer must be good for each.
    pub(crate) fn add(&mut self, context: u64, replied: bool) {
        let were_modest = self.queued.is_empty() || self.queued_replied;
        self.queued_replied = replied && (were_modest || bug(Bug::QuestionIsForTheMostModest));
        self.queued.push(context);
        self.count += 1;
    }

    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        self.sent.front().map(|question| question.give_up_at)
    }
}

impl Node {
    /// Starts one round for all reads that wait, once this leader may answer any.
    #[inline]
    pub(crate) fn begin_read_round(&mut self) {
        if matches!(&self.role, RoleState::Leader(leader) if !leader.reads.waiting.is_empty()) {
            self.begin_waiting_round();
        }
    }

    #[inline(never)]
    fn begin_waiting_round(&mut self) {
        let (id, index) = (self.options.id, self.commit_index);
        let RoleState::Leader(leader) = &mut self.role else { return };
        // Until the no-op is committed the commit index may be behind what earlier leaders
        // committed, and acknowledged to their clients.
        let may_read = index >= leader.first_index || bug(Bug::ReadsBeforeTheNoop);
        if !may_read {
            return;
        }
        let round = leader.reads.newest + 1;
        let readers = core::mem::take(&mut leader.reads.waiting);
        // What earlier leaders were answered for is before this leader's first entry.
        let replied_index = leader.reads.replied_index.max(leader.first_index).min(index);
        leader.reads.rounds.push_back(Round { round, index, replied_index, readers });
        self.record(|| Event::ReadRoundBegan { round, index });
        self.begin_heartbeat_round();
        self.send_heartbeats();
        // This node confirms itself; in a group of one that is a quorum.
        self.confirm_reads(id, round);
    }

    /// Reads wait for a round, and a member's book began after it: what that member says of the
    /// round counts for nothing (L11), and the quorum may need its word.
    ///
    /// ```text
    ///   n1   leads {1, 2}, begins round 1; {1, 3} comes into force before n2 has answered
    ///   n3   answers round 1 for ever, and nobody knows whether it did so before it was added
    /// ```
    ///
    /// Another read would begin another round; but there may be none, or no room for it.
    pub(crate) fn asks_in_vain(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let is_newer = |member: &Progress| member.rounds_before >= leader.reads.newest;
        let waits = !leader.reads.rounds.is_empty();
        waits && leader.members.iter().any(is_newer) && !bug(Bug::ReadsWaitForOldBooks)
    }

    /// `from` has answered the heartbeat of `round`: it followed this leader after the round began.
    pub(crate) fn confirm_reads(&mut self, from: NodeId, round: u64) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        if round > leader.reads.newest {
            return self.fault(from, PeerFault::AcknowledgedUnsent);
        }
        let newest = leader.reads.newest;
        if let Some(member) = leader.member(from) {
            member.confirm(if bug(Bug::AnyRoundConfirms) { newest } else { round });
        }
        if bug(Bug::LeaseBeginsWhenItIsAnswered) {
            leader.lease.sent(round, self.now);
        }
        self.confirm_rounds();
    }

    /// Answers the reads of every round that a quorum of the configuration in force has confirmed.
    pub(crate) fn confirm_rounds(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        if leader.reads.rounds.is_empty() {
            return;
        }
        let confirmed = leader.quorum_value(|member| member.confirmed_round);
        while let RoleState::Leader(leader) = &mut self.role
            && let Some(done) =
                pop_front_if(&mut leader.reads.rounds, |done| done.round <= confirmed)
        {
            let Round { round, index, replied_index, readers } = done;
            leader.reads.count -= readers.len();
            self.record(|| Event::ReadRoundConfirmed { round, index });
            for reader in readers {
                self.answer_reader(reader, if reader.replied { replied_index } else { index });
            }
        }
    }

    fn answer_reader(&mut self, reader: Reader, index: LogIndex) {
        let Reader { node, context, .. } = reader;
        match node {
            None => self.decide_read(context, Ok(index)),
            Some(node) => {
                self.answer(node, Body::ReadIndexResponse { context, index: Some(index) });
            }
        }
    }

    /// A follower's question. Only a leader can answer it, and one that has too many to answer
    /// says no to the rest: without a quorum they would gather for ever.
    pub(crate) fn handle_read_index(&mut self, from: NodeId, context: u64, replied: bool) {
        self.touch();
        let has_room =
            self.pending_reads() < self.options.pending_reads_max || bug(Bug::ReadsGatherForEver);
        if let RoleState::Leader(leader) = &mut self.role
            && has_room
        {
            leader.reads.add(Reader { node: Some(from), context, replied });
        } else {
            self.answer(from, Body::ReadIndexResponse { context, index: None });
        }
    }

    /// No client was answered for anything beyond `index`.
    pub(crate) fn note_replied(&mut self, index: LogIndex) {
        let commit_index = self.commit_index;
        if let RoleState::Leader(leader) = &mut self.role {
            let known = leader.reads.replied_index;
            leader.reads.replied_index = known.max(index.min(commit_index));
        }
    }

    /// Sends one question for all reads that are queued here.
    pub(crate) fn forward_reads(&mut self) {
        if self.forwarded.queued.is_empty() {
            return;
        }
        let contexts = core::mem::take(&mut self.forwarded.queued);
        let replied = self.forwarded.queued_replied;
        let RoleState::Follower { leader_id: Some(leader_id) } = self.role else {
            return self.end_forwarded(contexts, Err(ReadError::NoLeader));
        };
        let name = self.forwarded.next_name;
        self.forwarded.next_name = name.wrapping_add(1);
        let give_up_at = self.now.after(self.options.election_timeout_ticks);
        self.forwarded.sent.push_back(Question { name, contexts, give_up_at });
        self.answer(leader_id, Body::ReadIndex { context: name, replied });
    }

    fn end_forwarded(&mut self, contexts: Vec<u64>, result: Result<LogIndex, ReadError>) {
        self.forwarded.count -= contexts.len();
        contexts.into_iter().for_each(|context| self.decide_read(context, result));
    }

    pub(crate) fn handle_read_index_response(
        &mut self,
        from: NodeId,
        name: u64,
        index: Option<LogIndex>,
    ) {
        let term = self.current_term();
        let place = self.forwarded.sent.iter().position(|question| question.name == name);
        // Questions are abandoned when the leader changes, so one that is still here was sent to
        // the leader of this term, and only that one may answer.
        let is_asked = self.leader_id() == Some(from) || bug(Bug::AnybodyAnswersReads);
        let question =
            if is_asked { place.and_then(|place| self.forwarded.sent.remove(place)) } else { None };
        let Some(question) = question else {
            return self.record(|| Event::StaleMessage { from, term });
        };
        self.end_forwarded(question.contexts, index.ok_or(ReadError::NoLeader));
    }

    /// Questions or answers get lost; whoever waits is told to ask again.
    #[inline]
    pub(crate) fn expire_forwarded_reads(&mut self) {
        if !self.forwarded.sent.is_empty() {
            self.give_up_questions();
        }
    }

    #[inline(never)]
    fn give_up_questions(&mut self) {
        let now = self.now;
        while let Some(question) =
            pop_front_if(&mut self.forwarded.sent, |question| question.give_up_at <= now)
        {
            self.end_forwarded(question.contexts, Err(ReadError::TimedOut));
        }
    }

    /// The role or the leader changes: no read that is on its way can be decided any more.
    pub(crate) fn abandon_reads(&mut self) {
        if let RoleState::Leader(leader) = &mut self.role {
            let reads = core::mem::take(&mut leader.reads);
            let in_rounds = reads.rounds.into_iter().flat_map(|round| round.readers);
            for reader in in_rounds.chain(reads.waiting) {
                // Followers give up by themselves: the leader they asked is gone.
                if reader.node.is_none() {
                    self.decide_read(reader.context, Err(ReadError::LeaderChanged));
                }
            }
        }
        let sent = core::mem::take(&mut self.forwarded.sent);
        let queued = core::mem::take(&mut self.forwarded.queued);
        let contexts = sent.into_iter().flat_map(|question| question.contexts).chain(queued);
        self.end_forwarded(contexts.collect(), Err(ReadError::LeaderChanged));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Configuration, Input, Message, Options, ReadMode, ReadOutcome, ReadPoint, ReadRequest,
        Restored, Term,
    };

    /// R9: only the leader that was asked may answer, and only by the name of the question; a name
    /// of an earlier life is another one.
    #[test]
    fn only_the_asked_leader_answers() {
        let voters = Configuration::of_voters([1, 2, 3].map(NodeId));
        let follower = |seed| {
            let options = Options::new(NodeId(1), seed);
            let mut node =
                Node::new(options, Restored::bootstrap(voters.clone())).expect("sound options");
            let body = Body::Heartbeat { commit_index: LogIndex(0), round: 0 };
            let message = Message::new(NodeId(2), NodeId(1), Term(1), body);
            node.handle(Tick(0), Input::Message(message));
            node.read(Tick(0), ReadRequest::read_index(77));
            drop(node.take_output());
            node
        };
        let answer = |node: &mut Node, from, context| {
            let body = Body::ReadIndexResponse { context, index: Some(LogIndex(5)) };
            let message = Message::new(NodeId(from), NodeId(1), Term(1), body);
            node.handle(Tick(0), Input::Message(message));
            node.take_output().reads
        };
        let earlier_name = follower(1).forwarded.sent[0].name;
        let mut node = follower(2);
        let name = node.forwarded.sent[0].name;
        assert_ne!(name, earlier_name);
        assert_eq!(answer(&mut node, 2, earlier_name), []);
        assert_eq!(answer(&mut node, 3, name), []);
        let read = ReadOutcome { context: 77, result: Ok(ReadPoint::at(LogIndex(5))) };
        assert_eq!(answer(&mut node, 2, name), [read]);
        assert_eq!(answer(&mut node, 2, name), [], "answered once");
    }

    /// R9: all reads of one question get one answer, so it is asked for the most demanding of them.
    #[test]
    fn one_question_is_as_strict_as_the_strictest_read_in_it() {
        let asks = |modes: &[ReadMode]| {
            let voters = Configuration::of_voters([1, 2, 3].map(NodeId));
            let restored = Restored::bootstrap(voters);
            let mut node = Node::new(Options::new(NodeId(1), 1), restored).expect("sound options");
            let body = Body::Heartbeat { commit_index: LogIndex(0), round: 0 };
            let message = Message::new(NodeId(2), NodeId(1), Term(1), body);
            node.handle(Tick(0), Input::Message(message));
            let persist = node.take_output().persists.remove(0);
            node.handle(Tick(0), Input::Persisted(persist.number));
            for (mode, context) in modes.iter().zip(1..) {
                node.read(Tick(0), ReadRequest { context, mode: *mode });
            }
            let bodies = node.take_output().messages.into_iter().map(|message| message.body);
            let question = |body| {
                if let Body::ReadIndex { replied, .. } = body { Some(replied) } else { None }
            };
            bodies.filter_map(question).collect::<Vec<_>>()
        };
        use ReadMode::{ReadIndex, Replied};
        assert_eq!(asks(&[Replied, Replied]), [true]);
        assert_eq!(asks(&[Replied, ReadIndex]), [false]);
        assert_eq!(asks(&[ReadIndex, Replied]), [false]);
    }
}
