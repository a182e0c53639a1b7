//! Reads of one group's clients, by how far they are.
//!
//! Linearizable reads that may rest on the same thing share a round. Those that come while one is
//! under way gather for the next: a round must begin after the reads that it serves, and one that
//! serves many costs as much as one that serves one. A read that names a write, or bounds how old
//! its answer may be, goes alone.

use std::collections::BTreeMap;
use std::time::Duration;

use env::Moment;
use raft::{LogIndex, Node, ReadMode, ReadRequest, Tick};

use crate::ReadError;
use crate::waiters::Reply;

/// A round that got no answer by then is asked again: the message, or its answer, may be lost, and
/// only the host knows how long its clients wait.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A client's read.
pub(crate) struct Read {
    pub(crate) mode: ReadMode,
    pub(crate) reply: Reply<LogIndex, ReadError>,
    pub(crate) deadline: Moment,
}

/// Reads that the protocol was asked for under one context.
struct Asked {
    at: Moment,
    mode: ReadMode,
    reads: Vec<Read>,
}

/// How many reads have come to their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) confirmed: usize,
    pub(crate) failed: usize,
}

/// The reads of one group.
#[derive(Default)]
pub(crate) struct Reads {
    /// Came since the last step, or must be asked again.
    pub(crate) waiting: Vec<Read>,
    asked: BTreeMap<u64, Asked>,
    /// Confirmed at an index that is not applied yet.
    confirmed: BTreeMap<LogIndex, Vec<Read>>,
    last_context: u64,
}

fn is_shared(mode: ReadMode) -> bool {
    !matches!(mode, ReadMode::AfterWrite { .. } | ReadMode::Stale(_))
}

/// Whether it is of no use to ask again. The others are about this moment.
fn is_final(error: &raft::ReadError) -> bool {
    matches!(
        error,
        raft::ReadError::Witness
            | raft::ReadError::WriteLost { .. }
            | raft::ReadError::WriteForgotten { .. }
            | raft::ReadError::TooOld { .. }
            | raft::ReadError::LagsBehind { .. }
            | raft::ReadError::Silence
            | raft::ReadError::Installing
    )
}

impl Reads {
    /// Asks the protocol for all that wait and need not wait for a round that is under way.
    pub(crate) fn ask(&mut self, now: Moment, tick: Tick, node: &mut Node) {
        if self.waiting.is_empty() {
            return;
        }
        let asked = self.asked.values().map(|asked| asked.mode);
        let busy: Vec<ReadMode> = asked.filter(|mode| is_shared(*mode)).collect();
        let mut batches: Vec<(ReadMode, Vec<Read>)> = Vec::new();
        for read in std::mem::take(&mut self.waiting) {
            let mode = read.mode;
            if busy.contains(&mode) {
                self.waiting.push(read);
                continue;
            }
            let batch = batches.iter_mut().find(|(of, _)| is_shared(mode) && *of == mode);
            match batch {
                Some((_, reads)) => reads.push(read),
                None => batches.push((mode, vec![read])),
            }
        }
        for (mode, reads) in batches {
            self.last_context += 1;
            let context = self.last_context;
            self.asked.insert(context, Asked { at: now, mode, reads });
            node.read(tick, ReadRequest { context, mode });
        }
    }

    /// The protocol has decided about a context.
    pub(crate) fn take_outcome(
        &mut self,
        outcome: raft::ReadOutcome,
        applied_index: LogIndex,
    ) -> Ended {
        let Some(asked) = self.asked.remove(&outcome.context) else { return Ended::default() };
        match outcome.result.map(|point| point.index) {
            Err(error) if is_final(&error) => {
                let failed = asked.reads.len();
                let refusal = ReadError::Refused(error);
                asked.reads.into_iter().for_each(|read| (read.reply)(Err(refusal)));
                Ended { failed, ..Ended::default() }
            }
            // Asked again by the next sweep: there may be no leader for a while.
            Err(_) => {
                self.asked.insert(outcome.context, Asked { at: Moment(0), ..asked });
                Ended::default()
            }
            Ok(index) => {
                self.confirmed.entry(index).or_default().extend(asked.reads);
                Ended { confirmed: self.release(applied_index), ..Ended::default() }
            }
        }
    }

    /// Whether reads wait for the state machine.
    pub(crate) fn wait_for_apply(&self) -> bool {
        !self.confirmed.is_empty()
    }

    /// Answers those whose index is applied; how many.
    pub(crate) fn release(&mut self, applied_index: LogIndex) -> usize {
        let mut count = 0;
        while let Some(first) = self.confirmed.first_entry() {
            if *first.key() > applied_index {
                break;
            }
            let reads = first.remove();
            count += reads.len();
            reads.into_iter().for_each(|read| (read.reply)(Ok(applied_index)));
        }
        count
    }

    /// Asks again for what was lost; how many rounds.
    pub(crate) fn retry(&mut self, now: Moment) -> usize {
        let is_lost = |asked: &Asked| now >= asked.at.after(RETRY_AFTER);
        let lost: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| is_lost(asked)).map(|(id, _)| *id).collect();
        // One that was refused for now, such as for want of a leader, is no slow one.
        let is_late = |context: &&u64| self.asked[*context].at > Moment(0);
        let late = lost.iter().filter(is_late).count();
        for context in lost {
            if let Some(asked) = self.asked.remove(&context) {
                self.waiting.extend(asked.reads);
            }
        }
        late
    }

    /// Fails those that have waited too long; how many.
    pub(crate) fn fail_expired(&mut self, now: Moment, error: ReadError) -> usize {
        let mut count = 0;
        let asked = self.asked.values_mut().map(|asked| &mut asked.reads);
        let all = asked.chain(self.confirmed.values_mut()).chain([&mut self.waiting]);
        for reads in all {
            for read in reads.extract_if(.., |read| read.deadline <= now) {
                count += 1;
                (read.reply)(Err(error));
            }
        }
        count
    }

    /// Fails all who wait: the node stops.
    pub(crate) fn close(&mut self) {
        let reads = std::mem::take(self);
        let asked = reads.asked.into_values().flat_map(|asked| asked.reads);
        let confirmed = reads.confirmed.into_values().flatten();
        for read in asked.chain(confirmed).chain(reads.waiting) {
            (read.reply)(Err(ReadError::Stopped));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A slow read index, as `etcd_server_slow_read_indexes_total` counts it.
    #[test]
    fn a_round_that_is_made_again_is_late_unless_it_was_refused() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let teller = Arc::clone(&told);
        let reply = move |answer| teller.lock().expect("no test panics with it").push(answer);
        let read = |at: Moment| {
            let deadline = at.after(RETRY_AFTER * 4);
            Read { mode: ReadMode::ReadIndex, reply: Box::new(reply.clone()), deadline }
        };
        let (mut reads, asked_at) = (Reads::default(), Moment(1));
        let mode = ReadMode::ReadIndex;
        let late_at = asked_at.after(RETRY_AFTER);
        reads.asked.insert(1, Asked { at: asked_at, mode, reads: vec![read(asked_at)] });
        assert_eq!(reads.retry(Moment(late_at.0 - 1)), 0, "it may be answered yet");
        assert_eq!((reads.retry(late_at), reads.waiting.len()), (1, 1));
        let refused = reads.waiting.drain(..).collect();
        reads.asked.insert(2, Asked { at: Moment(0), mode, reads: refused });
        assert_eq!((reads.retry(late_at), reads.waiting.len()), (0, 1), "refused for now");
        let end = asked_at.after(RETRY_AFTER * 4);
        assert_eq!(reads.fail_expired(end, ReadError::TimedOut), 1);
        assert_eq!(told.lock().expect("as above").as_slice(), [Err(ReadError::TimedOut)]);
    }
}
