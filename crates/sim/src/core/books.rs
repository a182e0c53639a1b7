//! What a leader takes from its followers' answers, and what anybody takes to heart: late answers
//! are told as late, honest peers make no faults, and what goes with a term goes.

use raft::{
    AppendOutcome, Body, Entry, EntryId, Event, LogIndex, Message, Node, NodeId, Payload,
    PeerFault, Role,
};

use super::CoreWorld;
use crate::Failure;

/// What of an answer must be told as late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Late(&'static str);

impl CoreWorld {
    /// Whether this answer to a leader is of an earlier session (L11), or refuses what was accepted
    /// since (L10).
    pub(super) fn is_late(&mut self, message: &Message) -> Option<Late> {
        let Body::AppendEntriesResponse(outcome) = &message.body else { return None };
        let may_forget = !self.forgetful.is_empty();
        let (from, to) = (message.from, message.to);
        // Whoever was removed is told so, and nothing else.
        let is_of_now = self.node(to).is_some_and(|node| {
            node.term() == message.term && !node.configuration().removed.contains(&from)
        });
        let seen = &mut self.member(to).seen;
        let newest = seen.sessions.get(&from).map(|session| session.name)?;
        seen.leads_since.filter(|_| is_of_now)?;
        match outcome {
            AppendOutcome::Accepted { session, .. } | AppendOutcome::Rejected { session, .. }
                if *session < newest =>
            {
                Some(Late("is of an earlier session"))
            }
            AppendOutcome::Accepted { session, match_index } => {
                let held = seen.held.entry(from).or_default();
                if held.0 < *session {
                    *held = (*session, *match_index);
                }
                held.1 = held.1.max(*match_index);
                let told = seen.acknowledged.entry(from).or_default();
                *told = (*told).max(*match_index);
                None
            }
            AppendOutcome::Rejected { session, prev_index, .. } => {
                let (of, index) = seen.held.get(&from).copied()?;
                let is_over = of == *session && *prev_index < index && !may_forget;
                is_over.then_some(Late("refuses what was accepted since"))
            }
        }
    }

    /// The leader has handled it.
    pub(super) fn check_late(&mut self, id: NodeId, late: Late) {
        // Who was frozen may lose its quorum in the same step, before it looks at the answer.
        let leads = self.node(id).is_some_and(|node| node.role() == Role::Leader);
        if !self.has_objected && leads {
            let detail = format!("leader {id} took an answer that {}", late.0);
            self.fail(id, Failure::new("a late answer is told as late", detail));
        }
    }

    /// A leader sends entries in a session. One that asks what another has asked before, and that
    /// nothing has ended since, is one too many.
    pub(super) fn note_session(&mut self, message: &Message) {
        let Body::AppendEntries { session, .. } = &message.body else { return };
        let (id, to) = (message.from, message.to);
        let known = self.member(id).seen.sessions.get(&to).copied();
        if known.is_some_and(|known| known.name == *session) {
            return;
        }
        let new = self.session_of(message, *session);
        self.member(id).seen.sessions.insert(to, new);
        let Some(before) = known.filter(|before| before.name > 0 && before.asks.is_some()) else {
            return;
        };
        let is_whole = self.forgetful.is_empty();
        if is_whole && (before.asks, before.members) == (new.asks, new.members) {
            let detail = format!("leader {id} asks {to} in {new:?}, and did in {before:?}");
            self.fail(id, Failure::new("a question is asked in one session", detail));
        }
    }

    /// The session that begins with this message. It asks only if the message follows what the
    /// follower is known to hold. A question never leaves if the log was cut behind that place:
    ///
    /// ```text
    ///   n1  leads, asks n2 for 48, and finds its log cut up to 49: a snapshot goes in its place
    ///   n2  has 49, and says so by ignoring the snapshot; that answer has no session
    ///   n1  sends what follows 49, in the session that was to ask for 48; then 49 is acknowledged
    /// ```
    ///
    /// To ask for 49 is a new question, though two sessions begin behind that entry then.
    fn session_of(&self, message: &Message, name: u64) -> Session {
        let Body::AppendEntries { prev, .. } = &message.body else { return Session::default() };
        let Some(node) = self.node(message.from) else { return Session::default() };
        let followers = node.status().followers;
        let follower = followers.iter().find(|follower| follower.id == message.to);
        let asks = follower.is_some_and(|follower| follower.match_index == prev.index);
        let members = node.configuration_index();
        Session { name, asks: asks.then_some(prev.index), members }
    }

    /// Something happened in a node that tells of others.
    pub(super) fn watch_books(&mut self, id: NodeId, event: &Event) {
        if let Event::PeerFault { from, fault } = event {
            self.check_fault(id, *from, *fault);
        } else if let Event::KeptForLater { .. } = event {
            let term = self.node(id).map(Node::term);
            self.member(id).seen.kept_in = term;
        } else if let Event::BecameCandidate { .. } = event {
            self.check_reach(id);
        } else if let Event::TransferRequested { to } = event {
            self.check_heir(id, *to);
        } else if let Event::DisksRecorded { .. } = event {
            self.check_records(id);
        }
    }

    /// Honest peers make no faults, and their disks are what they were.
    fn check_fault(&mut self, id: NodeId, from: NodeId, fault: PeerFault) {
        if !self.hears_nonsense && self.nonsense_count == 0 && self.forgetful.is_empty() {
            let detail = format!("node {id} counts {fault:?} of node {from}");
            self.fail(id, Failure::new("honest peers make no faults", detail));
        }
    }

    /// Who has heard of a commit index beyond its log does not stand for election (L9).
    fn check_reach(&mut self, id: NodeId) {
        let Some(node) = self.node(id) else { return };
        let (last, known) = (node.last().index, self.members[&id].seen.group_commit);
        if last < known {
            let detail = format!("node {id} stands with {last}, and has heard of {known}");
            self.fail(id, Failure::new("who lacks what is committed does not stand", detail));
        }
    }

    /// Whoever is told to take over has the whole log (thesis §3.10), or had.
    fn check_heir(&mut self, id: NodeId, to: NodeId) {
        let Some(node) = self.node(id) else { return };
        let last = node.last();
        if node.configuration_index() == last.index {
            return; // A change may have begun since, in the same step.
        }
        let is_known = self.members.contains_key(&to) && !self.forgetful.contains(&to);
        if is_known && !self.has_vouched(node, to, last) {
            let detail = format!("leader {id} calls {to}, which lacks {last}");
            self.fail(id, Failure::new("who is called to take over has the log", detail));
        }
    }

    /// Whether an entry of the leader's is on this disk, or was, as far as a leader can know that
    /// does not know yet that its term is over:
    ///
    /// ```text
    ///   n1  … c@2        leads term 2, and is stopped
    ///   n2  … c@2        acknowledges c; then n3, elected without n1, writes d over it
    ///   n3  … d@3        the answer of n2 reaches n1 at last, or n1 goes on with it
    /// ```
    fn has_vouched(&self, leader: &Node, voter: NodeId, entry: EntryId) -> bool {
        let Some(its) = self.members.get(&voter) else { return false };
        let has_gone_on = its.disk.hard_state.current_term > leader.term();
        let acknowledged = self.members[&leader.id()].seen.acknowledged.get(&voter);
        let had = acknowledged.is_some_and(|upto| *upto >= entry.index);
        its.disk.durable().holds(entry) || had && has_gone_on
    }

    /// A voter vouches by one disk, for good (D2).
    fn check_records(&mut self, id: NodeId) {
        let Some(node) = self.node(id) else { return };
        let now = node.configuration();
        let at = node.configuration_index();
        let all = self.members[&id].configurations();
        let Some((_, before)) = all.iter().rfind(|(index, _)| *index < at) else { return };
        let is_other = |voter: &&NodeId| {
            let recorded = (before.incarnations.get(voter), now.incarnations.get(voter));
            matches!(recorded, (Some(one), Some(other)) if one != other)
        };
        let voters = now.voters.intersection(&before.voters);
        if let Some(voter) = voters.clone().find(is_other) {
            let detail = format!("leader {id} records another disk of {voter}: {now}");
            self.fail(id, Failure::new("the disk of a voter stays on record", detail));
        }
    }

    /// What a follower acknowledges is what its leader has there (L3).
    pub(super) fn check_acknowledgement(&mut self, message: &Message, match_index: LogIndex) {
        let (Some(own), Some(leader)) = (self.node(message.from), self.members.get(&message.to))
        else {
            return;
        };
        let Some(leader) = leader.node.as_ref() else { return };
        let leads = leader.role() == Role::Leader && leader.term() == message.term;
        let here = own.id_at(match_index);
        let there = leader.id_at(match_index);
        let is_beyond = match_index > leader.last().index;
        let differs = here.is_some() && there.is_some() && here != there;
        if leads && (is_beyond || differs) {
            let from = message.from;
            let detail = format!("node {from} acknowledges {here:?}, and its leader has {there:?}");
            self.fail(message.from, Failure::new("only what matches is acknowledged", detail));
        }
    }

    /// What a feeder tells is committed, as far as it knows itself.
    pub(super) fn check_fed(&mut self, message: &Message) {
        let Body::PullResponse { entries, .. } = &message.body else { return };
        let (from, to) = (message.from, message.to);
        let last = entries.last().map_or(LogIndex(0), |entry| entry.id.index);
        if self.node(from).is_some_and(|node| node.commit_index() < last) {
            let detail = format!("node {from} feeds {to} up to {last}, and does not know it");
            self.fail(from, Failure::new("what is fed is committed", detail));
        }
    }

    /// A witness hears of a command when the command is where it must be (M16), or was: with the
    /// answer of n2, n1 tells it of c. The witnesses refuse it, or take the next leader's log as
    /// they would have: c has the lower term.
    pub(super) fn check_witness_hears(&mut self, message: &Message) {
        let Body::AppendEntries { entries, .. } = &message.body else { return };
        let (id, to) = (message.from, message.to);
        if !self.members.get(&to).is_some_and(|to| to.options.is_witness) {
            return;
        }
        let Some(node) = self.node(id) else { return };
        let configuration = node.configuration();
        let is_early = |entry: &&Entry| {
            let full = configuration.voters.difference(&configuration.witnesses);
            let (have, lack) = full
                .partition::<Vec<&NodeId>, _>(|voter| self.has_vouched(node, **voter, entry.id));
            let mut witnesses = configuration.witnesses.iter();
            let is_known = witnesses.any(|witness| self.has_vouched(node, *witness, entry.id));
            let is_command = matches!(entry.payload, Payload::Withheld);
            is_command && have.len() <= lack.len() && !is_known
        };
        let is_open = |entry: &&Entry| entry.id.index > node.commit_index();
        if self.forgetful.is_empty()
            && let Some(early) = entries.iter().filter(is_open).find(is_early)
        {
            let detail = format!("leader {id} tells witness {to} of {}", early.id);
            self.fail(id, Failure::new("a witness never stands in for data", detail));
        }
    }
}

/// A session of a leader with a follower, as the follower sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    pub(super) name: u64,
    /// It began with the question whether the follower holds the log up to here.
    asks: Option<LogIndex>,
    /// The configuration in which it began.
    members: LogIndex,
}
