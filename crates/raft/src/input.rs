//! What goes into a [`Node`](crate::Node): everything that can happen to it, as values.

use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::{
    ClockInterval, ConfigurationChange, Entry, KeyedCommand, LogIndex, Message, Node, NodeId,
    PersistNumber, ReadRequest, SnapshotMark, Timeouts,
};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time has passed: `now` has reached [`Node::next_deadline`](crate::Node::next_deadline).
    Tick,
    /// What the host's clock says, looked at in this tick. Only needed where leases go by such
    /// clocks ([`Node::goes_by_clock`](crate::Node::goes_by_clock)): there before each read in mode
    /// [`LeaseGuard`](crate::ReadMode::LeaseGuard), and best before every input of a tick.
    Clock(ClockInterval),
    /// A message came from a peer. Never trusted: a bad one is counted and dropped.
    Message(Message),
    /// A client's commands, in order. Use [`Node::propose`](crate::Node::propose) to learn where
    /// they were placed.
    Propose(Vec<Bytes>),
    /// The same of commands that say what they touch.
    /// Use [`Node::propose_keyed`](crate::Node::propose_keyed) to learn where they were placed.
    ProposeKeyed(Vec<KeyedCommand>),
    /// A read is wanted; the answer is a [`ReadOutcome`](crate::ReadOutcome) with the same context.
    Read(ReadRequest),
    /// No client of any node was answered for a write beyond this index. Only needed for
    /// [`ReadMode::Replied`](crate::ReadMode::Replied), on the leader, and only where all answers
    /// to writes come from the leader's host.
    Replied(LogIndex),
    /// Everything up to and including this [`Persist`](crate::Persist) is durable.
    Persisted(PersistNumber),
    /// The state machine has applied all entries up to and including this index.
    Applied(LogIndex),
    /// The answer to a [`Fetch`](crate::Fetch): consecutive entries from its first index on; fewer
    /// than asked for is allowed, and none only where the log was cut meanwhile.
    Fetched {
        /// The first index of the fetch.
        from: LogIndex,
        /// What the log holds there.
        entries: Vec<Entry>,
    },
    /// The host has a durable state up to `upto` and wants the log before it gone, but for the
    /// tail that options keep.
    Compact {
        /// Last index that may be dropped. Must be applied.
        upto: LogIndex,
    },
    /// A [`SendSnapshot`](crate::SendSnapshot) has ended.
    SnapshotSent {
        /// The follower.
        to: NodeId,
        /// The snapshot that was delivered, or `None` if it could not be.
        delivered: Option<Box<SnapshotMark>>,
    },
    /// The state machine now is the snapshot's; apply goes on behind it.
    SnapshotInstalled(Box<SnapshotMark>),
    /// Hand leadership to `to`, or to the best follower (thesis §3.10).
    TransferLeadership {
        /// The new leader, or `None` for the most up-to-date voter.
        to: Option<NodeId>,
    },
    /// Change the members. Use
    /// [`Node::propose_configuration_change`](crate::Node::propose_configuration_change) to learn
    /// whether the change began.
    ChangeConfiguration(Box<ConfigurationChange>),
    /// Give up a change of the members that does not come to its end. Use
    /// [`Node::abandon_change`](crate::Node::abandon_change) to learn whether that is possible.
    AbandonChange,
    /// Give leadership up, to whoever wins the next election.
    StepDown,
    /// Campaign now. Use [`Node::campaign_now`](crate::Node::campaign_now) to learn whether it
    /// does.
    Campaign,
    /// Other timeouts from now on. Use [`Node::set_timeouts`](crate::Node::set_timeouts) to learn
    /// whether they are sound.
    SetTimeouts(Timeouts),
    /// No campaigns of this node from now on, or again.
    PauseElections(bool),
    /// The host has not heard from another node for an election timeout. Needed only where groups
    /// rest ([`quiesce_after_ticks`](crate::Options::quiesce_after_ticks)).
    PeerLost(NodeId),
}

impl Node {
    /// Any of them, and above all those that do not come with every entry.
    pub(crate) fn take(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::PeerLost(peer) => self.wake_by(Some(peer)),
            Input::Clock(interval) => self.hear_clock(interval),
            Input::Message(message) => self.step(message),
            // The refusal is for callers of the doors with a result; here nobody waits for it.
            Input::Propose(commands) => drop(self.propose_commands(commands)),
            Input::ProposeKeyed(commands) => drop(self.propose_keyed_commands(commands)),
            Input::Read(request) => self.queue_read(request),
            Input::Replied(index) => self.note_replied(index),
            Input::Persisted(number) => self.handle_persisted(number),
            Input::Applied(index) => self.handle_applied(index),
            Input::Fetched { from, entries } => self.handle_fetched(from, entries),
            Input::Compact { upto } => self.compact(upto),
            Input::SnapshotSent { to, delivered } => self.handle_snapshot_sent(to, delivered),
            Input::SnapshotInstalled(mark) => self.handle_snapshot_installed(&mark),
            Input::TransferLeadership { to } => drop(self.begin_transfer_in_time(to)),
            Input::StepDown => drop(self.begin_rest()),
            Input::Campaign => drop(self.begin_campaign()),
            Input::SetTimeouts(timeouts) => drop(self.change_timeouts(timeouts)),
            Input::PauseElections(are_paused) => self.set_elections_paused(are_paused),
            Input::ChangeConfiguration(change) => drop(self.begin_change(&change)),
            Input::AbandonChange => drop(self.abandon()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Output, ReadMode};

    /// Inputs and outputs are moved with every message: what is large and rare lies in a box.
    #[test]
    fn inputs_and_outputs_are_small() {
        assert!(size_of::<Message>() <= 104, "{}", size_of::<Message>());
        assert!(size_of::<Input>() <= 104, "{}", size_of::<Input>());
        assert!(size_of::<Output>() <= 240, "{}", size_of::<Output>());
        assert!(size_of::<ReadMode>() <= 48, "{}", size_of::<ReadMode>());
    }
}
