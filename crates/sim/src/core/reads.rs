//! Reads of every mode, and what their answers must see.
//!
//! A linearizable read sees what any node knew to be committed when it was asked for; that is more
//! than what was acknowledged, and holds all the same. The other modes promise less, and each of
//! them is held to what it says.

use raft::{
    Entry, EntryId, Input, Limbo, LogIndex, Node, NodeId, ReadError, ReadMode, ReadOutcome,
    ReadPoint, ReadRequest, Role, Tick,
};

use super::CoreWorld;
use crate::Failure;
use crate::picture::Kind;

/// What the client sees of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreRead {
    /// What may not be missing from the answer.
    pub floor: LogIndex,
    /// What the read rests on.
    pub mode: ReadMode,
    /// When it was asked for, by the clock of the node.
    pub asked_at: Tick,
    /// The life of the node that was asked.
    pub life: u64,
    /// The answer; `None` so far.
    pub answer: Option<Option<LogIndex>>,
}

/// A read that goes where it must not.
const SEES_ALL: &str = "a read sees what was committed before it";

impl CoreWorld {
    /// Asks for a linearizable read; `context` names it.
    pub fn read(&mut self, id: NodeId, context: u64) {
        self.ask(id, context, ReadMode::ReadIndex);
    }

    /// The same on the leader's lease.
    pub fn read_lease(&mut self, id: NodeId, context: u64) {
        self.ask(id, context, ReadMode::Lease);
    }

    /// Asks for a read of any mode.
    pub fn ask(&mut self, id: NodeId, context: u64, mode: ReadMode) {
        self.ask_at_once(id, &[(context, mode)]);
    }

    /// Asks for several reads before the node can answer one.
    pub fn ask_at_once(&mut self, id: NodeId, reads: &[(u64, ReadMode)]) {
        reads.iter().for_each(|(context, mode)| self.open_read(id, *context, *mode));
        self.act(id, |node, now| {
            for (context, mode) in reads.iter().copied() {
                node.read(now, ReadRequest { context, mode });
            }
        });
        // G2: a message that is lost is sent again by those alone that are awake.
        let waits = reads.iter().any(|(context, _)| self.open_reads.contains(&(id, *context)));
        if waits && self.node(id).is_some_and(Node::is_resting) {
            let detail = format!("node {id} rests, and owes {reads:?} an answer");
            self.fail(id, Failure::new("who owes an answer does not rest", detail));
        }
    }

    fn open_read(&mut self, id: NodeId, context: u64, mode: ReadMode) {
        let floor = match mode {
            ReadMode::Replied => self.acknowledged_max,
            ReadMode::AfterWrite { index, .. } => index,
            ReadMode::Stale(bounds) => bounds.at_least,
            ReadMode::ReadIndex | ReadMode::Lease | ReadMode::LeaseGuard { .. } | _ => {
                self.committed_max
            }
        };
        let member = &self.members[&id];
        let (asked_at, life) = (member.tick(), member.life);
        let read = CoreRead { floor, mode, asked_at, life, answer: None };
        self.reads.insert((id, context), read);
        self.open_reads.insert((id, context));
        if self.recording.is_some() {
            self.note(id, Kind::Client, &format!("client: reads, {mode:?}"));
        }
    }

    /// What became of a read.
    #[must_use]
    pub fn answer_of(&self, id: NodeId, context: u64) -> Option<CoreRead> {
        self.reads.get(&(id, context)).copied()
    }

    pub(super) fn answer(&mut self, id: NodeId, outcome: ReadOutcome) {
        let Some(read) = self.reads.get_mut(&(id, outcome.context)) else { return };
        self.open_reads.remove(&(id, outcome.context));
        if read.answer.is_some() {
            let detail = format!("node {id} answers {outcome:?} after {read:?}");
            self.fail(id, Failure::new("a read is answered once", detail));
        }
        read.answer = Some(outcome.result.ok().map(|point| point.index));
        let read = *read;
        let now = self.now();
        self.trace.push(now, format_args!("n{id} read {} {:?}", outcome.context, outcome.result));
        self.reads_answered += u64::from(outcome.result.is_ok());
        if let Err(why) = self.judge(id, read, outcome.result) {
            let detail = format!("node {id} answers {outcome:?} to {read:?}: {why}");
            self.fail(id, Failure::new(SEES_ALL, detail));
        }
    }

    fn judge(
        &mut self,
        id: NodeId,
        read: CoreRead,
        result: Result<ReadPoint, ReadError>,
    ) -> Result<(), String> {
        let CoreRead { floor, mode, .. } = read;
        let point = match (mode, result) {
            (
                ReadMode::AfterWrite { index, term: Some(term) },
                Err(ReadError::WriteLost { .. }),
            ) => {
                return self.claim(EntryId { term, index }, false);
            }
            (_, Err(_)) => return Ok(()),
            (_, Ok(point)) => point,
        };
        let index = point.index;
        if let ReadMode::AfterWrite { index, term: Some(term) } = mode {
            self.claim(EntryId { term, index }, true)?;
        }
        let checks_limbo = matches!(mode, ReadMode::LeaseGuard { checks_limbo: true });
        let covered = match point.limbo {
            Some(_) if !checks_limbo => return Err("a limbo that nobody asked for".to_owned()),
            Some(Limbo { first, .. }) if first != index.next() => {
                return Err("the limbo does not follow the index".to_owned());
            }
            Some(Limbo { last, .. }) => last,
            None => index,
        };
        // With a clock that lies there are no leases; that it is found out is checked elsewhere.
        let is_known = !matches!(mode, ReadMode::LeaseGuard { .. }) || !self.clocks_have_lied;
        if covered < floor && is_known {
            return Err(format!("{floor} may not be missing"));
        }
        if index > self.committed_max {
            return Err(format!("only {} is committed", self.committed_max));
        }
        if let ReadMode::Stale(bounds) = mode {
            return self.judge_stale(id, index, bounds);
        }
        Ok(())
    }

    fn judge_stale(
        &self,
        id: NodeId,
        index: LogIndex,
        bounds: raft::Staleness,
    ) -> Result<(), String> {
        let member = &self.members[&id];
        if index > member.applied {
            return Err(format!("only {} is applied", member.applied));
        }
        let (term, known) = member.seen.heard_commit;
        let is_of_now = member.node.as_ref().is_some_and(|node| node.term() == term);
        let known = if is_of_now { known } else { LogIndex(0) };
        let lag = known.0.saturating_sub(index.0);
        if bounds.lag_entries_max.is_some_and(|max| lag > max) {
            return Err(format!("the leader has spoken of {known}"));
        }
        let heard = member.seen.heard_leader;
        let silence = heard.map(|heard| member.tick().0.saturating_sub(heard.0));
        let follows = member.seen.leads_since.is_none();
        let is_silent = |max| silence.is_none_or(|silence| silence > max + 1);
        if follows && bounds.silence_ticks_max.is_some_and(is_silent) {
            return Err(format!("the leader was heard at {heard:?}"));
        }
        Ok(())
    }

    /// A node says that this entry is committed, or that it never will be.
    fn claim(&mut self, entry: EntryId, is_there: bool) -> Result<(), String> {
        match self.names.get(&entry.index) {
            Some(name) if (*name == entry) == is_there => Ok(()),
            Some(name) => Err(format!("{name} is committed")),
            None => {
                self.claims.entry(entry.index).or_default().push((entry, is_there));
                Ok(())
            }
        }
    }

    /// Entries are committed: were the words about them true?
    pub(super) fn learn_names(&mut self, id: NodeId, entries: &[Entry]) {
        for entry in entries {
            let name = *self.names.entry(entry.id.index).or_insert(entry.id);
            let claims = self.claims.remove(&entry.id.index).unwrap_or_default();
            let wrong =
                claims.into_iter().find(|(claimed, is_there)| (*claimed == name) != *is_there);
            if let Some((claimed, is_there)) = wrong {
                let what = if is_there { "committed" } else { "lost" };
                let detail = format!("{claimed} was called {what}, and {name} is committed");
                self.fail(id, Failure::new(SEES_ALL, detail));
            }
        }
    }

    /// The host answers the clients of what was applied here. Before it does, it says so.
    pub(super) fn acknowledge(&mut self, id: NodeId, applied: &[EntryId]) {
        let Some(node) = self.node(id) else { return };
        let (leads, term) = (node.role() == Role::Leader, node.term());
        let mut newest = None;
        for entry in applied {
            if self.proposed.remove(&(id, *entry)) {
                self.acknowledged += 1;
                if leads && entry.term == term {
                    newest = Some(entry.index);
                }
            }
        }
        if let Some(newest) = newest {
            self.input(id, Input::Replied(newest));
            self.acknowledged_max = self.acknowledged_max.max(newest);
        }
    }
}
