//! What goes into a [`Node`](crate::Node): everything that can happen to it, as values.

use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::{
    ClockInterval, ConfigurationChange, Entry, KeyedCommand, LogIndex, Message, NodeId,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Configuration, EntryId, Node, Options, Output, Payload, ReadMode};
    use crate::{Restored, Term, Tick};

    /// What comes with every entry has a door of its own, which does what the input does: tells the
    /// time, takes it in, and does what is due by then.
    #[test]
    fn doors_of_their_own_do_what_the_inputs_do() {
        let voters = Configuration::of_voters([1, 2, 3].map(NodeId));
        let options = Options { record_events: true, ..Options::new(NodeId(1), 1) };
        let node = Node::new(options, Restored::bootstrap(voters)).expect("sound options");
        let (mut one, mut other) = (node.clone(), node);
        let entry = Entry { id: EntryId::new(1, 1), payload: Payload::Command("x".into()) };
        let body = Body::AppendEntries {
            prev: EntryId::default(),
            commit_index: LogIndex(1),
            session: 0,
            entries: entry.into(),
        };
        let message = Message::new(NodeId(2), NodeId(1), Term(1), body);
        let look = |node: &mut Node| alloc::format!("{:?} {node:?}", node.take_output());

        one.handle(Tick(1), Input::Message(message.clone()));
        other.receive(Tick(1), message.clone());
        assert_eq!(look(&mut one), look(&mut other));
        one.handle(Tick(2), Input::Persisted(PersistNumber(1)));
        other.persisted(Tick(2), PersistNumber(1));
        assert_eq!(look(&mut one), look(&mut other));
        assert_eq!(one.commit_index(), LogIndex(1));
        one.handle(Tick(3), Input::Applied(LogIndex(1)));
        other.applied(Tick(3), LogIndex(1));
        assert_eq!(look(&mut one), look(&mut other));
        // By now the election timeout is over, and so is whatever was in time a moment ago.
        one.handle(Tick(100_000), Input::Applied(LogIndex(1)));
        other.applied(Tick(100_000), LogIndex(1));
        assert_eq!(look(&mut one), look(&mut other));
        one.handle(Tick(200_000), Input::Persisted(PersistNumber(1)));
        other.persisted(Tick(200_000), PersistNumber(1));
        assert_eq!(look(&mut one), look(&mut other));
        one.handle(Tick(300_000), Input::Message(message.clone()));
        other.receive(Tick(300_000), message);
        assert_eq!(look(&mut one), look(&mut other));
        // An answer that nobody asked for keeps no timer from being over.
        let body = Body::HeartbeatResponse { round: 0, last_index: LogIndex(0) };
        let late = Message::new(NodeId(2), NodeId(1), Term(1), body);
        one.handle(Tick(400_000), Input::Message(late.clone()));
        other.receive(Tick(400_000), late);
        assert_eq!(look(&mut one), look(&mut other));
        assert_eq!(one.role(), crate::Role::PreCandidate);
    }

    /// Inputs and outputs are moved with every message: what is large and rare lies in a box.
    #[test]
    fn inputs_and_outputs_are_small() {
        assert!(size_of::<Message>() <= 104, "{}", size_of::<Message>());
        assert!(size_of::<Input>() <= 104, "{}", size_of::<Input>());
        assert!(size_of::<Output>() <= 240, "{}", size_of::<Output>());
        assert!(size_of::<ReadMode>() <= 48, "{}", size_of::<ReadMode>());
    }
}
