//! What only the leader can do, asked of any node: to change the members, and to tell how they are.
//!
//! An errand is done here if this node leads, and is sent to the leader if another does. A change
//! that was refused has not begun, so it is asked again where that may help: until a leader is
//! known, until an earlier change is over. One that was sent, or has begun, and whose end is not
//! heard of in time may still come about: its outcome is unknown, and it is not asked again.
//!
//! An errand of another node says in which term that node saw this one lead. One of a term in which
//! this life did not lead is not taken, and not refused: the life before may have begun it, and the
//! network brings it once more ([`Proposals::has_led`](crate::proposals::Proposals::has_led)).

use std::collections::BTreeMap;
use std::time::Duration;

use env::Moment;
use raft::{ConfigurationChange, EntryId, LogIndex, Node, NodeId, Role, Term, Tick};

use crate::proposals::Sends;
use crate::records::Body;
use crate::waiters::Reply;
use crate::{CallError, ChangeError, GroupConfiguration};

/// A report that is not answered by then is asked for again: it, or its answer, may be lost.
const REPORT_RETRY_AFTER: Duration = Duration::from_millis(500);

/// What the leader is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// To change the members.
    Change(Box<ConfigurationChange>),
    /// To tell how they are.
    Report,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ErrandAnswer {
    /// Ask another node.
    NotLeader,
    /// The change is over, and this is what it led to.
    Changed(GroupConfiguration),
    /// The change did not begin.
    Refused(raft::ChangeError),
    /// How the members are.
    Report(GroupReport),
}

/// A group, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// The leader.
    pub leader_id: NodeId,
    /// Its term.
    pub term: Term,
    /// Where its log ends.
    pub last_index: LogIndex,
    /// What is committed.
    pub commit_index: LogIndex,
    /// The configuration in force.
    pub configuration: GroupConfiguration,
    /// The members, in order of id.
    pub members: Vec<MemberReport>,
    /// Voters whose disk could be lost without anybody noticing: [`raft::Status::unguarded`].
    pub unguarded: Vec<NodeId>,
}

/// A member, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// The member.
    pub id: NodeId,
    /// It certainly holds the log up to here.
    pub match_index: LogIndex,
    /// Milliseconds since the leader heard from it; `None` if it never did in this term.
    pub silent_ms: Option<u64>,
    /// It lacks so much that it needs a snapshot.
    pub needs_snapshot: bool,
    /// It has lacked what is committed for long ([`raft::Options::slow_follower_ticks`]).
    pub is_slow: bool,
    /// Its votes and acknowledgements count; not if it lost its disk, or had an old copy put back
    /// and has not caught up with what it had ([`raft::FollowerStatus::counts`]).
    pub counts: bool,
}

impl GroupReport {
    /// What the leader knows of a member.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&MemberReport> {
        self.members.iter().find(|member| member.id == id)
    }

    fn of(node: &Node, tick: Tick) -> Self {
        let status = node.status();
        let own = MemberReport {
            id: status.id,
            match_index: status.durable_index,
            silent_ms: Some(0),
            needs_snapshot: false,
            is_slow: false,
            counts: !status.is_stranger,
        };
        let others = status.followers.iter().map(|follower| MemberReport {
            id: follower.id,
            match_index: follower.match_index,
            // A tick is a millisecond.
            silent_ms: follower.heard_at.map(|heard| tick.0.saturating_sub(heard.0)),
            needs_snapshot: follower.needs_snapshot,
            is_slow: follower.is_slow,
            counts: follower.counts,
        });
        let configuration = configuration_of(node);
        let is_member = |member: &MemberReport| configuration.configuration.contains(member.id);
        let mut members: Vec<_> = others.chain([own]).filter(is_member).collect();
        members.sort_by_key(|member| member.id);
        Self {
            leader_id: status.id,
            term: status.hard_state.current_term,
            last_index: status.last.index,
            commit_index: status.commit_index,
            configuration,
            members,
            unguarded: status.unguarded,
        }
    }
}

/// The configuration in force.
pub(crate) fn configuration_of(node: &Node) -> GroupConfiguration {
    let index = node.configuration_index();
    let is_committed = index <= node.commit_index();
    GroupConfiguration { index, is_committed, configuration: node.configuration().clone() }
}

/// Who wants to hear of it.
pub(crate) enum Asker {
    /// A client of this node, of a change.
    Change(Reply<GroupConfiguration, ChangeError>),
    /// A client of this node, of a report.
    Report(Reply<GroupReport, CallError>),
    /// Another node.
    Node { node: NodeId, number: u64 },
}

impl Asker {
    /// Tells a client of this node. Another node finds out by its own time-out.
    pub(crate) fn fail(self, error: ChangeError) {
        match self {
            Self::Change(reply) => reply(Err(error)),
            Self::Report(reply) => reply(Err(match error {
                ChangeError::NoLeader => CallError::NoLeader,
                ChangeError::Stopped | ChangeError::NotCarried => CallError::Stopped,
                ChangeError::TimedOut | ChangeError::Refused(_) | ChangeError::OutcomeUnknown => {
                    CallError::TimedOut
                }
            })),
            Self::Node { .. } => {}
        }
    }
}

struct Waiting {
    errand: Errand,
    asker: Asker,
    deadline: Moment,
    /// Why it was not done when it was last tried.
    refusal: Option<raft::ChangeError>,
}

struct Sent {
    errand: Errand,
    asker: Asker,
    at: Moment,
    deadline: Moment,
}

/// A change whose first entry is in this node's log.
struct Begun {
    id: EntryId,
    change: Box<ConfigurationChange>,
    asker: Asker,
    deadline: Moment,
}

/// A change that is over, and whose client waits until this node has it too.
struct Settling {
    led_to: GroupConfiguration,
    reply: Reply<GroupConfiguration, ChangeError>,
    deadline: Moment,
}

/// The errands of one group on one node.
pub(crate) struct Errands {
    timeout: Duration,
    waiting: Vec<Waiting>,
    sent: BTreeMap<u64, Sent>,
    begun: Vec<Begun>,
    settling: Vec<Settling>,
    /// Begins at a random place in each life, so that an answer to an earlier life finds nobody.
    next_number: u64,
}

impl Errands {
    pub(crate) fn new(timeout: Duration, first_number: u64) -> Self {
        Self {
            timeout,
            waiting: Vec::new(),
            sent: BTreeMap::new(),
            begun: Vec::new(),
            settling: Vec::new(),
            next_number: first_number,
        }
    }

    /// Somebody asks.
    pub(crate) fn ask(&mut self, now: Moment, errand: Errand, asker: Asker) {
        let deadline = now.after(match asker {
            // The refusal must be there before the node that asks for its client gives up.
            Asker::Node { .. } => self.timeout * 4 / 5,
            Asker::Change(_) | Asker::Report(_) => self.timeout,
        });
        self.waiting.push(Waiting { errand, asker, deadline, refusal: None });
    }

    /// Whether [`Errands::run`] has something to do.
    pub(crate) fn are_pending(&self) -> bool {
        !(self.waiting.is_empty() && self.begun.is_empty() && self.settling.is_empty())
    }

    /// Does what can be done here, and sends the rest to where it can.
    pub(crate) fn run(&mut self, (now, tick): (Moment, Tick), node: &mut Node, sends: &mut Sends) {
        self.end_begun(node, sends);
        for waiting in std::mem::take(&mut self.waiting) {
            if node.role() == Role::Leader {
                self.run_here(tick, node, waiting, sends);
            } else if let Asker::Node { node: to, number } = waiting.asker {
                let answer = ErrandAnswer::NotLeader;
                sends.push((to, Body::ErrandAnswer { number, answer: answer.into() }));
            } else if let Some(leader) = node.leader() {
                self.next_number = self.next_number.wrapping_add(1);
                let (number, errand) = (self.next_number, waiting.errand.clone());
                sends.push((leader, Body::Errand { term: Some(node.term()), number, errand }));
                let Waiting { errand, asker, deadline, .. } = waiting;
                self.sent.insert(number, Sent { errand, asker, at: now, deadline });
            } else {
                self.waiting.push(waiting);
            }
        }
        self.settle(node);
    }

    fn run_here(&mut self, tick: Tick, node: &mut Node, mut waiting: Waiting, sends: &mut Sends) {
        let change = match waiting.errand {
            Errand::Report => {
                let report = ErrandAnswer::Report(GroupReport::of(node, tick));
                return self.answer(waiting.asker, waiting.deadline, report, sends);
            }
            Errand::Change(change) => change,
        };
        match node.propose_configuration_change(tick, &change) {
            Ok(id) => {
                let Waiting { asker, deadline, .. } = waiting;
                self.begun.push(Begun { id, change, asker, deadline });
            }
            Err(refusal) if passes(&refusal) => {
                (waiting.errand, waiting.refusal) = (Errand::Change(change), Some(refusal));
                self.waiting.push(waiting);
            }
            Err(refusal) => {
                let answer = ErrandAnswer::Refused(refusal);
                self.answer(waiting.asker, waiting.deadline, answer, sends);
            }
        }
    }

    /// Looks at what became of the changes that began here.
    fn end_begun(&mut self, node: &Node, sends: &mut Sends) {
        let (commit_index, now) = (node.commit_index(), configuration_of(node));
        let is_over = now.is_committed && !now.configuration.is_joint();
        for begun in std::mem::take(&mut self.begun) {
            let Begun { id, change, asker, deadline } = begun;
            let found = if id.index <= commit_index { node.id_at(id.index) } else { Some(id) };
            match found {
                Some(found) if found == id && !(is_over && now.index >= id.index) => {
                    self.begun.push(Begun { id, change, asker, deadline });
                }
                Some(found) if found == id => {
                    self.answer(asker, deadline, ErrandAnswer::Changed(now.clone()), sends);
                }
                // Another leader's entry is committed in its place: it never happened.
                Some(_) => {
                    let errand = Errand::Change(change);
                    self.waiting.push(Waiting { errand, asker, deadline, refusal: None });
                }
                // A snapshot has come over it.
                None => asker.fail(ChangeError::OutcomeUnknown),
            }
        }
    }

    /// The leader has answered.
    pub(crate) fn take_answer(&mut self, number: u64, answer: ErrandAnswer) {
        let Some(Sent { errand, asker, deadline, .. }) = self.sent.remove(&number) else { return };
        if answer == ErrandAnswer::NotLeader {
            self.waiting.push(Waiting { errand, asker, deadline, refusal: None });
        } else {
            self.answer(asker, deadline, answer, &mut Vec::new());
        }
    }

    fn answer(&mut self, asker: Asker, deadline: Moment, answer: ErrandAnswer, sends: &mut Sends) {
        match (asker, answer) {
            (Asker::Node { node, number }, answer) => {
                sends.push((node, Body::ErrandAnswer { number, answer: answer.into() }));
            }
            (Asker::Change(reply), ErrandAnswer::Changed(led_to)) => {
                self.settling.push(Settling { led_to, reply, deadline });
            }
            (Asker::Change(reply), ErrandAnswer::Refused(refusal)) => {
                reply(Err(ChangeError::Refused(refusal)));
            }
            (Asker::Report(reply), ErrandAnswer::Report(report)) => reply(Ok(report)),
            // A peer of a later version, or a broken one: it answers what was not asked.
            (asker, _) => asker.fail(ChangeError::OutcomeUnknown),
        }
    }

    /// Tells those whose change this node has as well: what they ask it next, it knows. A node that
    /// the change removed will never have it.
    fn settle(&mut self, node: &Node) {
        let knows = |settling: &mut Settling| {
            let led_to = &settling.led_to;
            node.configuration_index() >= led_to.index || !led_to.configuration.contains(node.id())
        };
        for Settling { led_to, reply, .. } in self.settling.extract_if(.., knows) {
            reply(Ok(led_to));
        }
    }

    /// Ends what has waited too long, and asks for lost reports again.
    pub(crate) fn sweep(&mut self, now: Moment, has_leader: bool, sends: &mut Sends) {
        let expired: Vec<_> =
            self.waiting.extract_if(.., |waiting| waiting.deadline <= now).collect();
        for Waiting { asker, refusal, deadline, .. } in expired {
            match refusal {
                Some(refusal) => {
                    self.answer(asker, deadline, ErrandAnswer::Refused(refusal), sends);
                }
                None if has_leader => asker.fail(ChangeError::TimedOut),
                None => asker.fail(ChangeError::NoLeader),
            }
        }
        for begun in self.begun.extract_if(.., |begun| begun.deadline <= now) {
            begun.asker.fail(ChangeError::OutcomeUnknown);
        }
        for Settling { led_to, reply, .. } in
            self.settling.extract_if(.., |settling| settling.deadline <= now)
        {
            reply(Ok(led_to));
        }
        let is_lost = |sent: &Sent| {
            let retry = sent.errand == Errand::Report && now >= sent.at.after(REPORT_RETRY_AFTER);
            retry || sent.deadline <= now
        };
        let lost: Vec<u64> =
            self.sent.iter().filter(|(_, sent)| is_lost(sent)).map(|(number, _)| *number).collect();
        for number in lost {
            let Some(sent) = self.sent.remove(&number) else { continue };
            let Sent { errand, asker, deadline, .. } = sent;
            if deadline <= now {
                asker.fail(ChangeError::OutcomeUnknown);
            } else {
                self.waiting.push(Waiting { errand, asker, deadline, refusal: None });
            }
        }
    }

    /// Fails all who wait: the node stops.
    pub(crate) fn close(&mut self) {
        for waiting in self.waiting.drain(..) {
            waiting.asker.fail(ChangeError::Stopped);
        }
        let begun = self.begun.drain(..).map(|begun| begun.asker);
        let sent = std::mem::take(&mut self.sent).into_values().map(|sent| sent.asker);
        begun.chain(sent).for_each(|asker| asker.fail(ChangeError::OutcomeUnknown));
        for Settling { led_to, reply, .. } in self.settling.drain(..) {
            reply(Ok(led_to));
        }
    }
}

/// Whether a refusal is about this moment only.
fn passes(refusal: &raft::ChangeError) -> bool {
    matches!(
        refusal,
        raft::ChangeError::NotLeader { .. }
            | raft::ChangeError::TransferInProgress { .. }
            | raft::ChangeError::TermNotCommitted
            | raft::ChangeError::InProgress { .. }
    )
}
