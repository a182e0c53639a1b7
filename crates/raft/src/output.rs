//! What a [`Node`](crate::Node) wants done, as values.
//!
//! The one ordering rule of the house is kept here, by the core and not by the caller: **a message
//! is in [`Output::messages`] only once everything it says is durable.** A message that depends on
//! a [`Persist`] stays inside the node until [`Input::Persisted`](crate::Input::Persisted) comes
//! back. So the caller may do the parts of an output in any order and at the same time; only
//! persists among themselves, and committed entries among themselves, are in order.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::{
    Entries, Event, HardState, LogIndex, Message, NodeId, ReadError, ReadPoint, SnapshotMark, Term,
};

/// The number of a [`Persist`], counted from 1 in the life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PersistNumber(pub u64);

/// What the caller must do. Each list is in order.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Output {
    /// What must be made durable, in order; answered by
    /// [`Input::Persisted`](crate::Input::Persisted).
    pub persists: Vec<Persist>,
    /// Messages that may go now.
    pub messages: Vec<Message>,
    /// Entries to apply, in order and without a gap over the life of the node.
    pub committed: Entries,
    /// Reads that were asked for by this host's callers and are decided.
    pub reads: Vec<ReadOutcome>,
    /// Old entries that the node needs from the log.
    pub fetches: Vec<Fetch>,
    /// Followers that have become slow, or have come to keep up again.
    pub slow_followers: Vec<SlowFollower>,
    /// Followers that need a snapshot.
    pub send_snapshots: Vec<SendSnapshot>,
    /// A staged snapshot that must replace the state machine, answered by
    /// [`Input::SnapshotInstalled`](crate::Input::SnapshotInstalled). Comes only after the persist
    /// that carries its mark is durable.
    pub install_snapshot: Option<Box<SnapshotMark>>,
    /// This node was removed from the group, as this committed configuration says; said once in a
    /// life. The host carries out the rest of this output, in which a leader that removed itself
    /// tells the others, and then ends the node. It never comes back under this id, so its data may
    /// go once nobody wants to look at it.
    pub removed: Option<Box<SnapshotMark>>,
    /// What happened, for scripts, logs and metrics; empty unless
    /// [`Options::record_events`](crate::Options::record_events).
    pub events: Vec<Event>,
}

impl Output {
    /// Becomes what `from` is, which is empty afterwards, but for persists and messages: those are
    /// kept elsewhere.
    pub(crate) fn refill(&mut self, from: &mut Self) {
        self.committed = Entries::new();
        if !from.committed.is_empty() {
            core::mem::swap(&mut self.committed, &mut from.committed);
        }
        refill(&mut self.reads, &mut from.reads);
        refill(&mut self.fetches, &mut from.fetches);
        refill(&mut self.slow_followers, &mut from.slow_followers);
        refill(&mut self.send_snapshots, &mut from.send_snapshots);
        self.install_snapshot = from.install_snapshot.take();
        self.removed = from.removed.take();
        refill(&mut self.events, &mut from.events);
    }
}

/// Takes what `from` holds and leaves it the room of what was here before: both go on without
/// allocating, and most lists are empty and not touched.
pub(crate) fn refill<T>(list: &mut Vec<T>, from: &mut Vec<T>) {
    list.clear();
    if !from.is_empty() {
        core::mem::swap(list, from);
    }
}

/// One write to the log, atomic and in this order: mark, hard state, entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist {
    /// Its number, to be handed back.
    pub number: PersistNumber,
    /// The log now begins behind this mark. Entries up to the mark go; entries behind it go too
    /// if `reset` is set.
    pub mark: Option<MarkWrite>,
    /// The new term and vote.
    pub hard_state: Option<HardState>,
    /// Consecutive entries; whatever the log holds at the first one's index and behind goes.
    pub entries: Entries,
}

/// A new beginning of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MarkWrite {
    /// What stands for all before.
    pub mark: Box<SnapshotMark>,
    /// Whether entries behind the mark go as well: the log conflicts with the snapshot, or does
    /// not reach it (Raft Figure 13, step 7).
    pub reset: bool,
}

/// A read that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadOutcome {
    /// The caller's name for it.
    pub context: u64,
    /// Where it may go, or why it may not.
    pub result: Result<ReadPoint, ReadError>,
}

/// A follower that lacks what was committed, and has for long, or does no more. Notice for the
/// host: the core goes on as before. Whoever needs the follower, to read from it, to promote it or
/// to cut the log behind it, may want to know; and so may an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlowFollower {
    /// The follower.
    pub node: NodeId,
    /// Slow from now on, or no more.
    pub is_slow: bool,
    /// It holds the log up to here.
    pub match_index: LogIndex,
}

/// A wish for old entries: `from..to`, at most `bytes_max` but at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// First index.
    pub from: LogIndex,
    /// Index behind the last.
    pub to: LogIndex,
    /// A budget over [`crate::Entry::size_bytes`].
    pub bytes_max: usize,
}

/// A follower needs entries that the log no longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SendSnapshot {
    /// The follower.
    pub to: NodeId,
    /// The term in which this node leads: the term of the
    /// [`InstallSnapshot`](crate::Body::InstallSnapshot) message, even if the node has moved on
    /// by the time the bytes are there.
    pub term: Term,
    /// The snapshot must cover at least this index.
    pub at_least: LogIndex,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Configuration, Input, Node, Options, Restored, Tick};

    /// A host that goes on with an output it has not even looked at is told what it would be told
    /// in a new one, and both of the node's outputs keep their room.
    #[test]
    fn an_output_that_is_used_again_says_what_a_new_one_would() {
        let voters = Configuration::of_voters([NodeId(1)]);
        let options = Options { record_events: true, ..Options::new(NodeId(1), 1) };
        let node = Node::new(options, Restored::bootstrap(voters)).expect("sound options");
        let (mut one, mut other) = (node.clone(), node);
        let mut used = Output::default();
        for round in 0..8 {
            for node in [&mut one, &mut other] {
                if round % 2 == 0 {
                    node.handle(Tick(round), Input::Tick);
                    let _placed = node.propose(Tick(round), ["x".into()]);
                } else {
                    node.handle(Tick(round), Input::Persisted(PersistNumber(round.div_ceil(2))));
                }
            }
            one.take_output_into(&mut used);
            assert_eq!(used, other.take_output(), "round {round}");
        }
        assert!(used.persists.capacity() > 0 && used.events.capacity() > 0);
    }
}
