//! Messages on their way out. A message that speaks of something not yet durable waits here.
//!
//! This is the place that makes the rule of [`output`](crate::Output) true: nobody else decides
//! when a message may leave.

use alloc::vec::Vec;

use crate::output::refill;
use crate::seeded::{Bug, bug};
use crate::{AppendOutcome, Body, Message, PersistNumber, Term};

/// Messages that may wait for the disk.
pub(crate) const HELD_MAX: usize = 1024;

/// Messages that may go, and messages that wait for the disk.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Outbox {
    ready: Vec<Message>,
    held: Vec<(PersistNumber, Message)>,
}

impl Outbox {
    /// Queues a message that says nothing the disk does not know.
    #[inline]
    pub(crate) fn send(&mut self, message: Message) {
        self.ready.push(message);
    }

    /// Queues a message that may leave once `after` is durable; `durable` is what is so now.
    #[inline]
    pub(crate) fn send_after(
        &mut self,
        after: PersistNumber,
        durable: PersistNumber,
        message: Message,
    ) {
        if after <= durable {
            return self.send(message);
        }
        // A follower under load acknowledges many appends with one write: only the newest says
        // anything, since a match index stands for all before it.
        if let Some((last_after, last)) = self.held.last_mut()
            && *last_after == after
            && supersedes(&message, last)
        {
            *last = message;
            return;
        }
        // While a disk hangs, peers may ask for as long as they like. What is dropped is lost like
        // any message, and asked for again.
        if self.held.len() < HELD_MAX || bug(Bug::AnswersGatherForEver) {
            self.held.push((after, message));
        }
    }

    /// Lets go what waited for the disk.
    pub(crate) fn release(&mut self, durable: PersistNumber) {
        if self.held.is_empty() {
            return;
        }
        // A follower mostly has one answer that waits, and for just this.
        if let [(after, _)] = &self.held[..] {
            if *after <= durable {
                let (_, message) = self.held.swap_remove(0);
                self.ready.push(message);
            }
            return;
        }
        let released = self.held.extract_if(.., |(after, _)| *after <= durable);
        self.ready.extend(released.map(|(_, message)| message));
    }

    /// Drops what waits and speaks for a term that is over (L21): a vote or an acknowledgement that
    /// leaves late must not speak for a role that this node has left.
    pub(crate) fn forget_before(&mut self, term: Term) {
        if bug(Bug::HeldAnswersAreRestamped) {
            return self.held.iter_mut().for_each(|(_, message)| message.term = term);
        }
        self.held.retain(|(_, message)| message.term >= term);
    }

    /// How many messages wait for no more than this.
    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn held_count(&self, durable: PersistNumber) -> usize {
        self.held.iter().filter(|(after, _)| *after <= durable).count()
    }

    /// For a model in which a message that is said once may arrive twice: counts from the last
    /// write that landed, and says nothing twice.
    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn renumber(&mut self, landed: u64) {
        self.held.iter_mut().for_each(|(after, _)| after.0 = after.0.saturating_sub(landed));
        let held = core::mem::take(&mut self.held);
        for message in held {
            if !self.held.contains(&message) {
                self.held.push(message);
            }
        }
    }

    /// What may go, in the place of `messages`.
    pub(crate) fn take_into(&mut self, messages: &mut Vec<Message>) {
        refill(messages, &mut self.ready);
    }
}

fn supersedes(new: &Message, old: &Message) -> bool {
    let (
        Body::AppendEntriesResponse(AppendOutcome::Accepted {
            session: new_session,
            match_index: new_match,
        }),
        Body::AppendEntriesResponse(AppendOutcome::Accepted {
            session: old_session,
            match_index: old_match,
        }),
    ) = (&new.body, &old.body)
    else {
        return false;
    };
    new_session == old_session && new.to == old.to && new.term == old.term && new_match >= old_match
}
