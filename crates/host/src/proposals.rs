//! Commands of a group's clients, from the moment that they come until they are answered.
//!
//! A command that was handed to a leader which then died is in one of two states: in the log of the
//! next leader, or lost. Its origin can tell which, and needs nobody's help for it. Each command is
//! appended in one term at most: the term in which its origin handed it to the leader travels with
//! it, and a leader of another term refuses it. Once this node has applied an entry of a later
//! term, every entry of the earlier term that will ever commit is applied here too (Raft §5.4: the
//! later leader had them all, before its own first entry). What is still unanswered then was lost,
//! will never be applied, and is handed to the new leader as if it had just come.
//!
//! A refusal is a leader's word that it has not appended a command. Only the life of a node that
//! led in that term can give it: see [`Proposals::append_forwarded`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::Moment;
use raft::{Entry, EntryId, LogIndex, Node, NodeId, ProposeError as Refusal, Role, Term, Tick};

use crate::ProposeError;
use crate::envelope;
use crate::messages::Proposal;
use crate::records::Body;

/// After a batch of no more than this many commands, the next goes at once.
const FEW_COMMANDS: usize = 4;
/// Commands gather at a leader no longer than this.
const GATHER_MAX: Duration = Duration::from_millis(2);
/// And no longer than this at a node that hands them to a leader, where they gather again.
const FORWARD_GATHER_MAX: Duration = Duration::from_millis(1);
/// With more on their way than this, those that are answered are looked for behind the first.
const IN_FLIGHT_SWEEP_ABOVE: usize = 4096;

/// Answers a proposal's client at this node, if it still waits.
pub(crate) trait Clients: Send + Sync {
    /// The proposal has failed.
    fn fail(&self, number: u64, error: ProposeError);
    /// Whether the client still waits.
    fn is_waiting(&self, number: u64) -> bool;
    /// The number before which no client waits.
    fn first_waiting(&self) -> u64;
    /// Fails all whose time is up.
    fn fail_expired(&self, now: Moment) -> usize;
    /// Fails all who wait and all who still come.
    fn close(&self);
}

/// What must be sent to peers for the proposals of one step.
pub(crate) type Sends = Vec<(NodeId, Body)>;

/// Commands that a peer's clients want the leader of `term` to append.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) from: NodeId,
    pub(crate) term: Term,
    pub(crate) commands: Vec<Bytes>,
}

/// A command that was handed to the leader of a term, this node or another.
struct InFlight {
    term: Term,
    handed_at: Moment,
    proposal: Proposal,
}

/// The commands of one group on this node.
pub(crate) struct Proposals {
    clients: Arc<dyn Clients>,
    /// Of this node's clients, since the last step.
    pub(crate) waiting: Vec<Proposal>,
    /// Of peers' clients, since the last step.
    pub(crate) forwarded: Vec<Forwarded>,
    /// Wait for a leader to be known.
    held: Vec<Proposal>,
    /// Handed to a leader, and not answered as far as is known.
    in_flight: VecDeque<InFlight>,
    /// The newest term in which this node has led since it began; 0 for none.
    led_term: Term,
    /// The first entry of the newest term that was committed here.
    newest_term_begins: EntryId,
    /// When commands were last handed on, and how many.
    sent_at: Moment,
    sent_count: usize,
}

impl Proposals {
    pub(crate) fn new(clients: Arc<dyn Clients>) -> Self {
        Self {
            clients,
            waiting: Vec::new(),
            forwarded: Vec::new(),
            held: Vec::new(),
            in_flight: VecDeque::new(),
            led_term: Term(0),
            newest_term_begins: EntryId::default(),
            sent_at: Moment(0),
            sent_count: 0,
        }
    }

    /// How many commands, or batches of a peer's, wait for [`Proposals::hand_on`].
    pub(crate) fn waiting_count(&self) -> usize {
        // A peer's batch without commands is still something to hand on, and be rid of.
        let forwarded = self.forwarded.iter().map(|batch| batch.commands.len().max(1));
        self.waiting.len() + forwarded.sum::<usize>()
    }

    /// How many more would make a batch as large as the last one; at least one.
    pub(crate) fn missing_count(&self) -> usize {
        self.sent_count.saturating_sub(self.waiting_count()).max(1)
    }

    /// Until when commands that wait should go on waiting, and gather: the last batch went a moment
    /// ago, was no small one, and as many do not wait yet. What travels, is written and is applied
    /// as one batch costs little more than one command alone; a quiet group sends each command at
    /// once. Clients that wait for their answers before they go on come back together, so a batch
    /// as large as the last one is usually all that will come.
    pub(crate) fn gathers_until(&self, now: Moment, role: Role) -> Option<Moment> {
        let gather_max = if role == Role::Leader { GATHER_MAX } else { FORWARD_GATHER_MAX };
        let until = self.sent_at.after(gather_max);
        let is_worth_it = self.sent_count > FEW_COMMANDS && self.waiting_count() < self.sent_count;
        (is_worth_it && now < until).then_some(until)
    }

    /// Hands the commands of one step to the protocol, or to the leader, or keeps them.
    pub(crate) fn hand_on(
        &mut self,
        (now, tick): (Moment, Tick),
        node: &mut Node,
        overloaded: bool,
        sends: &mut Sends,
    ) {
        (self.sent_at, self.sent_count) = (now, self.waiting_count());
        self.forget_answered();
        let mut proposals = std::mem::take(&mut self.waiting);
        let forwarded = std::mem::take(&mut self.forwarded);
        self.refuse_guarded(node, &mut proposals);
        if node.role() == Role::Leader {
            self.propose(tick, node, overloaded, proposals);
        } else if let (Some(leader), false) = (node.leader(), proposals.is_empty()) {
            let commands = proposals.iter().map(|proposal| proposal.sealed.clone()).collect();
            sends.push((leader, Body::Forward { term: node.term(), commands }));
            self.note_in_flight(node.term(), proposals);
        } else {
            self.held.append(&mut proposals);
        }
        for forwarded in forwarded {
            self.append_forwarded(tick, node, overloaded, forwarded, sends);
        }
    }

    /// This node leads in this term.
    pub(crate) fn note_leads(&mut self, term: Term) {
        self.led_term = self.led_term.max(term);
    }

    /// Whether this node certainly led in this term since it began: only then is there an answer to
    /// what was asked of the leader of that term.
    pub(crate) fn has_led(&self, node: &Node, term: Term) -> bool {
        // Nobody leads in term 0.
        term > Term(0)
            && (self.led_term == term || (node.role() == Role::Leader && node.term() == term))
    }

    /// Appends what a peer handed to this node, if this node leads in the term that the peer meant,
    /// and refuses it if it is certain that it was not appended and will not be.
    ///
    /// Only the life that led in that term can know. Node 1 leads, appends a command of node 3's
    /// and sends the entry to node 2; it ends and begins anew; and the network brings it the same
    /// frame again, which only the life before could tell for a repetition. If it refused, node 3
    /// would hand on again what is in the log. Nothing is lost by silence: nobody leads twice in
    /// one term, so an entry of a later one will come, and node 3 takes back what was lost.
    fn append_forwarded(
        &self,
        tick: Tick,
        node: &mut Node,
        overloaded: bool,
        forwarded: Forwarded,
        sends: &mut Sends,
    ) {
        let Forwarded { from, term, commands } = forwarded;
        let numbers: Vec<u64> =
            commands.iter().filter_map(|sealed| Some(envelope::open(sealed)?.0.number)).collect();
        let leads = node.role() == Role::Leader && node.term() == term;
        let overloaded = match leads {
            true if overloaded => true,
            true => match node.propose(tick, commands) {
                Ok(_) => return,
                Err(refusal) => matches!(refusal, Refusal::Overloaded { .. }),
            },
            false if self.led_term == term => false,
            false => return,
        };
        sends.push((from, Body::ForwardRefused { term, overloaded, numbers }));
    }

    /// Fails what only a leader in a certain term may propose.
    fn refuse_guarded(&self, node: &Node, proposals: &mut Vec<Proposal>) {
        let (role, current_term) = (node.role(), node.term());
        proposals.retain(|proposal| {
            let leads = role == Role::Leader;
            let may = proposal.leader_term.is_none_or(|term| leads && term == current_term);
            if !may {
                self.clients.fail(proposal.number, ProposeError::NotLeaderInTerm);
            }
            may
        });
    }

    fn propose(&mut self, tick: Tick, node: &mut Node, overloaded: bool, proposals: Vec<Proposal>) {
        if proposals.is_empty() {
            return;
        }
        let commands = proposals.iter().map(|proposal| proposal.sealed.clone());
        let outcome = if overloaded { None } else { Some(node.propose(tick, commands)) };
        match outcome {
            Some(Ok(first)) => self.note_in_flight(first.term, proposals),
            None | Some(Err(Refusal::Overloaded { .. })) => {
                for proposal in &proposals {
                    self.clients.fail(proposal.number, ProposeError::Overloaded);
                }
            }
            // Leadership is being handed over, or was lost a moment ago: there will be a leader.
            Some(Err(_)) => self.held.extend(proposals),
        }
    }

    fn note_in_flight(&mut self, term: Term, proposals: Vec<Proposal>) {
        let handed_at = self.sent_at;
        let on_its_way = |proposal| InFlight { term, handed_at, proposal };
        self.in_flight.extend(proposals.into_iter().map(on_its_way));
    }

    /// Clients are answered by the applier, in nearly the order of their numbers.
    fn forget_answered(&mut self) {
        let first = self.clients.first_waiting();
        while let Some(InFlight { proposal, .. }) = self.in_flight.front() {
            // Numbers wrap around: the difference, not the number, says which came first.
            if proposal.number.wrapping_sub(first) < u64::MAX / 2 {
                break;
            }
            self.in_flight.pop_front();
        }
    }

    /// A peer did not append these commands of this node's clients, which it was handed in `term`.
    pub(crate) fn take_refused(&mut self, term: Term, overloaded: bool, numbers: &[u64]) {
        for number in numbers {
            let found = self
                .in_flight
                .iter()
                .position(|sent| sent.term == term && sent.proposal.number == *number);
            // What is not on its way in that term was answered, or handed on again since.
            let Some(sent) = found.and_then(|at| self.in_flight.remove(at)) else {
                continue;
            };
            if overloaded {
                self.clients.fail(*number, ProposeError::Overloaded);
            } else if self.clients.is_waiting(*number) {
                self.held.push(sent.proposal);
            }
        }
    }

    /// These entries are committed and are about to be applied.
    pub(crate) fn note_committed(&mut self, entries: &[Entry]) {
        let Some(last) = entries.last() else {
            return;
        };
        if last.id.term > self.newest_term_begins.term {
            let begins = entries.iter().find(|entry| entry.id.term == last.id.term);
            self.newest_term_begins = begins.unwrap_or(last).id;
        }
    }

    /// Takes back what was lost with a leader of an earlier term: it waits again. `answered` is the
    /// index up to which entries are applied and their clients answered; with an index that is only
    /// applied, a client whose answer is on its way would have its command applied twice.
    pub(crate) fn take_back_lost(&mut self, answered: LogIndex) {
        let begins = self.newest_term_begins;
        let oldest = self.in_flight.front().map(|sent| sent.term);
        if answered < begins.index || oldest.is_none_or(|term| term >= begins.term) {
            return;
        }
        let (lost, rest): (Vec<_>, Vec<_>) =
            self.in_flight.drain(..).partition(|sent| sent.term < begins.term);
        self.in_flight = rest.into();
        let lost = lost.into_iter().map(|sent| sent.proposal);
        self.waiting.extend(lost.filter(|proposal| self.clients.is_waiting(proposal.number)));
    }

    /// A snapshot that began to come at this moment has replaced the state. What was handed on
    /// before may be in it, and is then never applied here: its clients are told at once that
    /// nobody can tell. What was handed on since was appended, if ever, behind a snapshot that had
    /// been made by then, and comes in the log. What was handed on at that very moment may be of
    /// before, and a clock that stands still has no other (T218). Returns how many were told.
    pub(crate) fn take_snapshot(&mut self, begun: Moment) -> usize {
        let (before, since): (Vec<_>, Vec<_>) =
            self.in_flight.drain(..).partition(|sent| sent.handed_at <= begun);
        self.in_flight = since.into();
        let numbers = before.into_iter().map(|sent| sent.proposal.number);
        let waiting: Vec<u64> = numbers.filter(|it| self.clients.is_waiting(*it)).collect();
        waiting.iter().for_each(|it| self.clients.fail(*it, ProposeError::OutcomeUnknown));
        waiting.len()
    }

    /// There may be a leader for what was held.
    pub(crate) fn release_held(&mut self) {
        self.waiting.append(&mut self.held);
    }

    /// Ends what has waited too long. Returns how many failed.
    pub(crate) fn fail_expired(&mut self, now: Moment) -> usize {
        // What was handed to nobody has certainly failed; of the rest the outcome is unknown.
        let waiting = [
            (&mut self.held, ProposeError::NoLeader),
            (&mut self.waiting, ProposeError::Overloaded),
        ];
        let mut failed = 0;
        for (proposals, error) in waiting {
            for proposal in proposals.extract_if(.., |proposal| proposal.deadline <= now) {
                failed += 1;
                self.clients.fail(proposal.number, error);
            }
        }
        if self.in_flight.len() > IN_FLIGHT_SWEEP_ABOVE {
            self.in_flight.retain(|sent| self.clients.is_waiting(sent.proposal.number));
        }
        failed + self.clients.fail_expired(now)
    }

    /// Fails all who wait: the node stops.
    pub(crate) fn close(&mut self) {
        for proposal in self.held.drain(..).chain(self.waiting.drain(..)) {
            self.clients.fail(proposal.number, ProposeError::Stopped);
        }
        self.clients.close();
    }
}

#[cfg(test)]
mod tests;
