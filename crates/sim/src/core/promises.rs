//! What a node promises beyond the invariants of its state, held against what the world saw.
//!
//! The invariants look inside; these look on: who was heard when, what was said to whom, what
//! followed a message. A rule of the protocol that nobody's state shows, such as that a follower of
//! a living leader votes for nobody, shows here.
#![expect(clippy::wildcard_enum_match_arm, reason = "of many messages, a few promise something")]

use raft::{
    AppendOutcome, Body, EntryId, Event, LogIndex, Message, NodeId, Role, SlowFollower, Term,
    VoteRefusal,
};

use super::CoreWorld;
use super::tallies::may_elect;
use crate::Failure;

/// A receiver before a message, and what of the message its answer is judged by.
#[derive(Debug)]
pub(super) struct Hearing {
    pub(super) from: NodeId,
    pub(super) body: Heard,
    pub(super) message_term: Term,
    pub(super) term: Term,
    role: Role,
    last: EntryId,
    /// Its own timer is due as well, and comes first.
    was_due: bool,
    /// A leader lives, and this node has no business voting.
    is_held: bool,
    /// Nothing waits for the disk: what is answered leaves at once.
    pub(super) is_idle: bool,
    spoken: u64,
    /// Whom it follows while the group rests, and how often it has spoken to that one.
    pub(super) rests_with: Option<(NodeId, u64)>,
}

/// The messages that say something about what must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    PreVote(EntryId),
    Vote(EntryId),
    TransferVote(EntryId),
    VoteAnswer,
    /// Its commit index, and whether it is answered.
    OfLeader(Option<u64>, bool),
    Other,
}

impl CoreWorld {
    pub(super) fn break_promise(&mut self, id: NodeId, property: &str, detail: String) -> ! {
        self.fail(id, Failure::new(property, format!("node {id} {detail}")))
    }

    /// Looks at a node that a message reaches.
    pub(super) fn hearing(&self, message: &Message) -> Option<Hearing> {
        let member = &self.members[&message.to];
        let node = member.node.as_ref()?;
        // Whoever was removed is told so, and nothing else.
        if node.configuration().removed.contains(&message.from) {
            return None;
        }
        let body = match &message.body {
            Body::PreVote { last } => Heard::PreVote(*last),
            Body::RequestVote { last, leadership_transfer: false } => Heard::Vote(*last),
            Body::RequestVote { last, .. } => Heard::TransferVote(*last),
            Body::AppendEntries { commit_index, .. } => Heard::OfLeader(Some(commit_index.0), true),
            Body::CommitIndex { commit_index, .. } => Heard::OfLeader(Some(commit_index.0), false),
            Body::Heartbeat { .. } | Body::Quiesce { .. } | Body::InstallSnapshot { .. } => {
                Heard::OfLeader(None, true)
            }
            Body::RequestVoteResponse { .. } => Heard::VoteAnswer,
            Body::PreVoteResponse { .. } | Body::Removed { .. } => return None,
            Body::AppendEntriesResponse(_)
            | Body::HeartbeatResponse { .. }
            | Body::InstallSnapshotResponse { .. }
            | Body::TimeoutNow { .. }
            | Body::Pull { .. }
            | Body::PullResponse { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexResponse { .. } => Heard::Other,
        };
        let (options, timeout) = (&member.options, member.seen.election_timeout_ticks);
        let heard = member.seen.heard_leader;
        let is_near = heard.is_some_and(|heard| member.tick() < heard.after(timeout));
        let is_held = match node.role() {
            Role::Leader => options.check_quorum,
            Role::Follower => {
                let is_sticky = options.check_quorum || options.pre_vote;
                is_sticky && node.leader().is_some() && is_near
            }
            Role::PreCandidate | Role::Candidate => false,
        };
        Some(Hearing {
            from: message.from,
            body,
            message_term: message.term,
            term: node.term(),
            role: node.role(),
            last: node.last(),
            was_due: node.next_deadline().is_some_and(|at| at <= member.tick()),
            is_held,
            is_idle: member.in_flight.is_empty(),
            spoken: self.spoken_to(message.to, message.from),
            rests_with: self.rests_with(message.to),
        })
    }

    /// Whether the message came from whom the receiver takes for the leader, and was heard: whoever
    /// was removed is told so, and nothing else.
    pub(super) fn note_leader(&mut self, id: NodeId, from: NodeId, term: Term) {
        let (now, tells_removal) = (self.now(), self.tells_removal);
        let member = self.member(id);
        let hears = |node: &raft::Node| node.leader() == Some(from) && node.term() == term;
        if !tells_removal && member.node.as_ref().is_some_and(hears) {
            member.seen.heard_leader = Some(member.tick());
            member.heard_truly = Some((from, term, now));
        }
    }

    pub(super) fn spoken_to(&self, id: NodeId, to: NodeId) -> u64 {
        self.members[&id].seen.spoken.get(&to).map_or(0, |(_, count)| *count)
    }

    /// Looks at the same node when it has handled the message.
    pub(super) fn check_hearing(&mut self, id: NodeId, before: Hearing) {
        let Some(node) = self.node(id) else { return };
        let (term, role, leader) = (node.term(), node.role(), node.leader());
        let is_vote_answer = before.body == Heard::VoteAnswer;
        let votes_for_itself = is_vote_answer && node.status().hard_state.voted_for == Some(id);
        let stood = before.was_due && role == Role::Candidate;
        let granted = self.granted;
        let Hearing { from, body, message_term, .. } = before;
        let said = || format!("after {before:?} is {role:?} in term {term}");
        let tick = self.members[&id].tick();
        self.member(id).seen.heard.insert(from, tick);
        // Who was stopped for long finds that first, and is nobody's leader when it votes.
        let is_held = before.is_held && self.members[&id].seen.gave_up_at != Some(tick);
        let is_news = message_term > before.term;
        match body {
            Heard::PreVote(last) => {
                // Its own timer may have been due at the same moment.
                if term != before.term && role != Role::Candidate {
                    self.break_promise(id, "a pre-vote begins no term", said());
                }
                if granted == Some(from) && last < before.last {
                    self.break_promise(id, "a pre-vote looks at the log", said());
                }
                let is_silent = self.spoken_to(id, from) == before.spoken;
                if message_term < before.term && before.is_idle && is_silent {
                    self.break_promise(id, "an old request is answered with the term", said());
                }
            }
            Heard::Vote(_) if is_held && is_news && term != before.term => {
                self.break_promise(id, "who hears a leader does not vote it away", said());
            }
            Heard::Vote(_) | Heard::TransferVote(_) => {}
            Heard::VoteAnswer if is_news && term == message_term && votes_for_itself && !stood => {
                self.break_promise(id, "an answer is no permission to lead", said());
            }
            Heard::VoteAnswer => {}
            Heard::OfLeader(commit, _) => {
                let is_of_now = message_term == term && term >= before.term;
                let stays = role != Role::Follower || leader != Some(from);
                if is_of_now && before.role != Role::Leader && stays {
                    self.break_promise(id, "the leader of a term is followed in it", said());
                }
                // Entries that break a rule are dropped, and what else they say is not looked at.
                let is_taken = before.is_idle && !is_news && !self.has_objected;
                let commit = commit.filter(|_| is_taken).map(LogIndex);
                if is_of_now && leader == Some(from) {
                    let seen = &mut self.member(id).seen;
                    let (of, before) = seen.heard_commit;
                    let before = if of == term { before } else { LogIndex(0) };
                    seen.heard_commit = (term, commit.unwrap_or_default().max(before));
                    seen.group_commit = seen.group_commit.max(commit.unwrap_or_default());
                    self.check_patience(id);
                }
            }
            Heard::Other if is_news && term < message_term => {
                self.break_promise(id, "a higher term is taken over", said());
            }
            Heard::Other => {}
        }
        self.check_refusal(id, &before);
        self.check_old_term(id, &before);
        self.check_waking(id, &before);
    }

    /// A vote that was refused for the sake of the log was refused to a log that lacks something.
    fn check_refusal(&mut self, id: NodeId, before: &Hearing) {
        let (Heard::PreVote(last) | Heard::Vote(last) | Heard::TransferVote(last)) = before.body
        else {
            return;
        };
        if !std::mem::take(&mut self.refused_behind) || last < before.last {
            return;
        }
        let known = self.node(id).map(|node| node.status().group_commit_index);
        if known.is_some_and(|known| known <= last.index) {
            self.break_promise(id, "a refusal has its reason", format!("refused after {before:?}"));
        }
    }

    /// A message leaves a node.
    pub(super) fn note_spoken(&mut self, message: &Message) {
        let (id, to) = (message.from, message.to);
        let member = self.member(id);
        let now = member.tick();
        let spoken = member.seen.spoken.entry(to).or_insert((now, 0));
        *spoken = (now, spoken.1 + 1);
        match &message.body {
            Body::AppendEntries { .. } => {
                self.note_session(message);
                self.check_witness_hears(message);
            }
            Body::ReadIndex { context, .. } => member.seen.question = Some(*context),
            Body::PreVoteResponse { granted: true } => self.granted = Some(to),
            Body::AppendEntriesResponse(outcome) => {
                self.names_session = Some(to);
                let AppendOutcome::Accepted { match_index, .. } = outcome else { return };
                self.has_acknowledged = true;
                self.check_acknowledgement(message, *match_index);
            }
            Body::InstallSnapshotResponse { .. } => self.has_acknowledged = true,
            Body::RequestVoteResponse { granted: true } => {
                self.grants.entry((message.term, to)).or_default().insert(id);
            }
            Body::Removed { by, .. } if by.last.index > self.committed_max => {
                let detail = format!("tells {to} of {by:?}, which is not committed");
                self.break_promise(id, "a removal is told when it is committed", detail);
            }
            Body::PullResponse { .. } => self.check_fed(message),
            Body::Heartbeat { commit_index, .. } => {
                let Some(receiver) = self.members.get(&to) else { return };
                let held = receiver.disk.last().index;
                if *commit_index > held && !self.forgetful.contains(&to) {
                    let detail = format!("tells {to} of {commit_index}, which holds {held}");
                    self.break_promise(id, "a heartbeat speaks of what its receiver holds", detail);
                }
            }
            _ => {}
        }
    }

    /// Who leads was elected.
    fn check_election(&mut self, id: NodeId, term: Term) {
        let Some(node) = self.node(id) else { return };
        let mut granted = self.grants.get(&(term, id)).cloned().unwrap_or_default();
        granted.insert(id);
        if self.forgetful.is_empty() && !may_elect(node.configuration(), &granted) {
            let configuration = node.configuration();
            let detail = format!("leads term {term} by {granted:?} of {configuration}");
            self.break_promise(id, "a leader is elected by a quorum", detail);
        }
    }

    /// Something happened in a node.
    pub(super) fn note_promise(&mut self, id: NodeId, event: &Event) {
        let member = self.member(id);
        let now = member.tick();
        let seen = &mut member.seen;
        match event {
            Event::BecameLeader { term } => {
                seen.begin_to_lead(now);
                self.check_election(id, *term);
            }
            Event::BecameFollower { .. } => seen.stop_leading(),
            Event::QuorumLost { .. } | Event::WriteStalled { .. } => seen.gave_up_at = Some(now),
            Event::BecamePreCandidate { .. } => {
                seen.stop_leading();
                self.check_promise(id, "campaigns");
                self.check_candidate(id);
            }
            Event::BecameCandidate { .. } => {
                seen.stop_leading();
                self.check_promise(id, "campaigns");
                let member = &self.members[&id];
                // With pre-votes that was judged before.
                if !member.options.pre_vote {
                    self.check_candidate(id);
                }
            }
            Event::Voted { term, candidate } => {
                let vote = (*term, *candidate);
                // What was given before may be said again.
                if seen.voted.replace(vote) != Some(vote) {
                    self.check_promise(id, "votes");
                }
            }
            Event::TransferBegan { .. } => {
                seen.transfer_until = Some(now.after(2 * seen.election_timeout_ticks));
            }
            Event::TransferAborted { .. } => seen.transfer_until = None,
            Event::ConfigurationInForce { .. } => seen.calm_since = now,
            Event::TimeoutsChanged { election_timeout_ticks, heartbeat_interval_ticks } => {
                seen.calm_since = now;
                seen.hand_overs.timeouts_have_changed();
                seen.election_timeout_ticks = *election_timeout_ticks;
                seen.heartbeat_interval_ticks = *heartbeat_interval_ticks;
            }
            Event::Woke => {
                (seen.rests, seen.calm_since) = (false, now);
                // Whoever leads is woken as well, and has promised nobody anything by that.
                let follows = seen.leads_since.is_none();
                seen.heard_leader = seen.heard_leader.map(|at| if follows { now } else { at });
            }
            Event::Rests => seen.rests = true,
            Event::SnapshotAccepted { .. } => seen.installs = true,
            Event::SnapshotInstalled { .. } => seen.installs = false,
            Event::FollowerNoticed(notice) => self.check_notice(id, *notice),
            Event::VoteRefused { because: VoteRefusal::LogBehind, .. } => {
                self.refused_behind = true;
            }
            Event::RemovalTold { .. } => self.tells_removal = true,
            Event::PeerFault { .. } | Event::StaleMessage { .. } => self.has_objected = true,
            _ => {}
        }
    }

    /// A voter that leaders may read on votes for nobody while it does not know better, itself
    /// included: not for an election timeout after it has heard a leader, and not after it has
    /// begun, since it does not know whom its last life heard (R3). A leader's own choice is free.
    fn check_promise(&mut self, id: NodeId, what: &str) {
        let member = &self.members[&id];
        let Some(node) = &member.node else { return };
        let (now, seen) = (member.tick(), &member.seen);
        let configuration = node.configuration();
        let is_alone = configuration.members().count() == 1 && configuration.removed.is_empty();
        if member.options.lease_drift_ppm.is_none() || is_alone || self.leader_calls {
            return;
        }
        let since = seen.heard_leader.unwrap_or(seen.began_at).max(seen.began_at);
        if now < since.after(seen.election_timeout_ticks) {
            let detail = format!("{what} at {now}, and has promised its vote since {since}");
            self.break_promise(id, "a promised vote is given to nobody", detail);
        }
    }

    /// Who may campaign (E16, E17): a voter whose state is whole, unless it was told not to.
    fn check_candidate(&mut self, id: NodeId) {
        let member = &self.members[&id];
        let why = if member.seen.installs {
            "installs a snapshot"
        } else if member.seen.elections_are_paused {
            "was told not to"
        } else if member.options.is_witness {
            "is a witness"
        } else if !self.may_vote(id) {
            "has no vote in any configuration of its log"
        } else {
            return;
        };
        self.break_promise(id, "only who may campaigns", format!("campaigns, and {why}"));
    }

    /// Whether it is a voter of the newest configuration that it knows to be committed, or of one
    /// behind.
    pub(super) fn may_vote(&self, id: NodeId) -> bool {
        let member = &self.members[&id];
        let Some(node) = &member.node else { return false };
        let all = member.configurations();
        let first = all.iter().rposition(|(index, _)| *index <= node.commit_index()).unwrap_or(0);
        let is_voter = |(_, configuration): &(_, &raft::Configuration)| configuration.is_voter(id);
        all[first..].iter().any(is_voter) || node.configuration().is_voter(id)
    }

    /// A group rests when everybody has everything (G1). What wakes it may come in the same step,
    /// and be something that only its leader has: then it does not rest.
    pub(super) fn check_rest(&mut self, id: NodeId) {
        let Some(node) = self.node(id).filter(|node| node.role() == Role::Leader) else { return };
        let last = node.last();
        let lacks = |member: &NodeId| {
            let its = self.members.get(member).filter(|_| !self.forgetful.contains(member));
            its.is_some_and(|its| !its.disk.durable().holds(last))
        };
        let laggard = node.configuration().members().find(lacks);
        if let Some(laggard) = laggard {
            let detail = format!("rests at {last}, which {laggard} lacks");
            self.break_promise(id, "a group rests when everybody has everything", detail);
        }
        self.check_rest_is_over(id);
    }

    /// Slow is who lags for so long, and no longer slow who keeps up for half as long.
    fn check_notice(&mut self, id: NodeId, notice: SlowFollower) {
        let member = self.member(id);
        let (now, ticks) = (member.tick(), member.options.slow_follower_ticks);
        let Some(since) = member.seen.leads_since else { return };
        let before = member.seen.noticed.insert(notice.node, now).unwrap_or(since);
        let patience = if notice.is_slow { ticks } else { ticks / 2 };
        if now < before.after(patience) {
            let detail = format!("says {notice:?} at {now}, and had reason since {before} only");
            self.break_promise(id, "a follower is slow after a while", detail);
        }
    }
}
