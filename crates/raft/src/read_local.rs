//! Reads that ask nobody: of what this node has, and of a write that the caller names.
//!
//! A stale read is refused rather than delayed: its caller has other nodes to go to. A read behind
//! a write waits until this node knows what became of the write:
//!
//! ```text
//!   the client wrote 5@2 and reads on n3
//!     n3   … 4@2                 not here yet: wait
//!     n3   … 4@2 5@2  commit 5   answer at 5
//!     n3   … 4@2 5@3  commit 5   5@3 is committed where 5@2 would be: the write was lost
//!     n3   leads term 3, its log has no 5@2, and 4@3 is committed: lost
//! ```
//!
//! The last case takes the commit. A leader's log has all that was ever committed before its term,
//! so 5@2 never *was*; but it may yet be, if this leader is gone before it commits anything:
//!
//! ```text
//!   n1  1 2 3 4@2 5@2      led term 2, and is elected again, in term 4, by n2: 5@2 is committed
//!   n2  1 2 3
//!   n3  1 2 3 4@3          led term 3, and knew nothing of 5@2
//! ```
//!
//! Once an entry of term 3 is committed it is in every later leader's log, and no entry of a lower
//! term is behind it.
//!
//! Scripts: `testdata/read/`.

use alloc::collections::{BTreeMap, VecDeque};

use crate::queue::pop_front_if;
use crate::read::{ReadError, Staleness};
use crate::role::{Leader, RoleState};
use crate::seeded::{Bug, bug};
use crate::{EntryId, LogIndex, Node, Term, Tick};

/// Reads that wait for a write to be committed here.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct AwaitedWrites {
    /// By index, and in the order in which they came.
    waiting: BTreeMap<(LogIndex, u64), Awaited>,
    /// When each is given up, in order; what is answered by then is not in `waiting` any more.
    deadlines: VecDeque<(Tick, (LogIndex, u64))>,
    /// How many ever came.
    count: u64,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Awaited {
    context: u64,
    term: Option<Term>,
}

impl AwaitedWrites {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        if self.waiting.is_empty() { None } else { self.deadlines.front().map(|(at, _)| *at) }
    }

    fn add(&mut self, index: LogIndex, awaited: Awaited, give_up_at: Tick) {
        self.count += 1;
        let key = (index, self.count);
        self.waiting.insert(key, awaited);
        // The timeout may have been shortened meanwhile; the order is kept all the same.
        let newest = self.deadlines.back().map_or(give_up_at, |(at, _)| (*at).max(give_up_at));
        self.deadlines.push_back((newest, key));
    }

    fn pop_up_to(&mut self, index: LogIndex) -> Option<(LogIndex, Awaited)> {
        let first = self.waiting.first_entry()?;
        if first.key().0 > index {
            return None;
        }
        let ((at, _), awaited) = first.remove_entry();
        if self.waiting.is_empty() {
            self.deadlines.clear();
        }
        Some((at, awaited))
    }
}

impl Node {
    pub(crate) fn read_stale(&mut self, context: u64, bounds: Staleness) {
        let result = self.judge_staleness(bounds);
        self.decide_read(context, result);
    }

    fn judge_staleness(&mut self, bounds: Staleness) -> Result<LogIndex, ReadError> {
        let applied_index = self.apply.applied();
        if self.apply.is_installing() {
            return Err(ReadError::Installing);
        }
        if applied_index < bounds.at_least {
            return Err(ReadError::TooOld { applied_index });
        }
        let claimed = self.claimed_commit_index;
        let known = if bug(Bug::LagIsWhatIsHere) { self.commit_index } else { claimed };
        let known = known.max(self.commit_index);
        let lag_entries = known.0.saturating_sub(applied_index.0);
        if bounds.lag_entries_max.is_some_and(|max| lag_entries > max) {
            return Err(ReadError::LagsBehind { lag_entries });
        }
        if let Some(max) = bounds.silence_ticks_max
            && self.last_contact().is_none_or(|heard| heard.after(max) < self.now)
        {
            return Err(ReadError::Silence);
        }
        Ok(applied_index)
    }

    /// When the leader was heard; on a leader, when a quorum was.
    fn last_contact(&mut self) -> Option<Tick> {
        let (id, now) = (self.options.id, self.now);
        match &mut self.role {
            RoleState::Leader(leader) => {
                let heard = leader.quorum_value(|member| match member.heard_at {
                    _ if member.id == id => now.0,
                    heard => heard.map_or(0, |heard| heard.0),
                });
                (heard > 0).then_some(Tick(heard))
            }
            RoleState::Follower { leader_id: Some(_) } => self.leader_heard_at,
            RoleState::Follower { leader_id: None }
            | RoleState::PreCandidate(_)
            | RoleState::Candidate { .. } => None,
        }
    }

    pub(crate) fn read_after_write(&mut self, context: u64, index: LogIndex, term: Option<Term>) {
        match self.judge_write(index, term) {
            Some(result) => self.decide_read(context, result),
            None => {
                self.touch();
                let give_up_at = self.now.after(self.options.election_timeout_ticks);
                self.awaited.add(index, Awaited { context, term }, give_up_at);
            }
        }
    }

    /// What became of a write; `None` while that is open.
    fn judge_write(
        &self,
        index: LogIndex,
        term: Option<Term>,
    ) -> Option<Result<LogIndex, ReadError>> {
        let mark = self.log.mark();
        let Some(term) = term else { return (index <= self.commit_index).then_some(Ok(index)) };
        let write = EntryId { term, index };
        if index < mark.index {
            // Terms never fall in a log, so one above the mark's was not before it.
            let is_lost = term > mark.term;
            let by = if is_lost { ReadError::WriteLost { by: mark } } else { forgotten(mark) };
            return Some(Err(by));
        }
        if index <= self.commit_index {
            let by = self.log.id_at(index).expect("what is committed is in the log, or its mark");
            let is_here = by == write || bug(Bug::LostWriteIsAnswered);
            return Some(if is_here { Ok(index) } else { Err(ReadError::WriteLost { by }) });
        }
        let is_decided = |leader: &Leader| {
            self.commit_index >= leader.first_index || bug(Bug::WriteIsLostTooSoon)
        };
        let is_lost = matches!(&self.role, RoleState::Leader(leader) if is_decided(leader))
            && term < self.current_term()
            && !self.log.contains(write);
        is_lost.then(|| Err(ReadError::WriteLost { by: self.log.last() }))
    }

    /// Answers what the commit index, or an election, has decided.
    #[inline]
    pub(crate) fn answer_awaited(&mut self) {
        if !self.awaited.waiting.is_empty() {
            self.answer_committed();
        }
    }

    #[inline(never)]
    fn answer_committed(&mut self) {
        while let Some((index, Awaited { context, term })) =
            self.awaited.pop_up_to(self.commit_index)
        {
            let result = self.judge_write(index, term).unwrap_or(Err(ReadError::TimedOut));
            self.decide_read(context, result);
        }
    }

    /// A write that is not committed here for an election timeout may be anywhere.
    #[inline]
    pub(crate) fn expire_awaited(&mut self) {
        if !self.awaited.deadlines.is_empty() {
            self.give_up_awaited();
        }
    }

    #[inline(never)]
    fn give_up_awaited(&mut self) {
        let now = self.now;
        while let Some((_, key)) = pop_front_if(&mut self.awaited.deadlines, |(at, _)| *at <= now) {
            if let Some(Awaited { context, term }) = self.awaited.waiting.remove(&key) {
                let known = self.judge_write(key.0, term);
                self.decide_read(context, known.unwrap_or(Err(ReadError::TimedOut)));
            }
        }
    }
}

fn forgotten(mark: EntryId) -> ReadError {
    ReadError::WriteForgotten { mark }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Body, Configuration, Entry, Input, Message, NodeId, Options, Payload, ReadMode,
        ReadRequest, Restored,
    };

    /// What a leader says is committed counts for the lag of a stale read also if its entries do
    /// not fit, and are refused or kept for later.
    #[test]
    fn entries_that_came_too_early_count_for_the_lag_of_a_stale_read() {
        for reorder_bytes_max in [0, 1000] {
            let voters = Configuration::of_voters([1, 2, 3].map(NodeId));
            let options = Options { reorder_bytes_max, ..Options::new(NodeId(1), 1) };
            let mut node = Node::new(options, Restored::bootstrap(voters)).expect("sound options");
            let entry = Entry { id: EntryId::new(1, 6), payload: Payload::Noop };
            let body = Body::AppendEntries {
                prev: EntryId::new(1, 5),
                commit_index: LogIndex(5),
                session: 0,
                entries: alloc::vec![entry].into(),
            };
            let message = Message::new(NodeId(2), NodeId(1), Term(1), body);
            node.handle(Tick(0), Input::Message(message));
            let mut stale = |context, lag| {
                let bounds = Staleness { lag_entries_max: Some(lag), ..Staleness::default() };
                node.read(Tick(0), ReadRequest { context, mode: ReadMode::Stale(bounds) });
                node.take_output().reads[0].result.map(|point| point.index)
            };
            assert_eq!(stale(1, 4), Err(ReadError::LagsBehind { lag_entries: 5 }));
            assert_eq!(stale(2, 5), Ok(LogIndex(0)));
        }
    }
}
