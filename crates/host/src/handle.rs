//! The door for clients of a group: [`GroupHandle`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::{Clock, Moment};
use raft::{ConfigurationChange, Incarnation, LogIndex, NodeId, ReadMode, Term, Transition};
use wal::GroupId;

use crate::envelope::{self, RequestId};
use crate::errands::{Asker, Errand, GroupReport};
use crate::mailbox::Mailbox;
use crate::messages::{Proposal, WorkerEvent};
use crate::peers::Peers;
use crate::reads::Read;
use crate::status::{Counters, SharedStatus};
use crate::waiters::Waiters;
use crate::{
    CallError, ChangeError, GroupConfiguration, GroupStatus, PeerView, ProposeError, ReadError,
    TransferError,
};

/// Whom a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallTarget {
    /// Whoever leads the group, as far as this node knows.
    Leader,
    /// This member.
    Node(NodeId),
}

/// One group, as its clients on this node see it. Cheap to clone; every method returns at once, and
/// the reply is called later from a thread of the host: it must not block.
pub struct GroupHandle<R> {
    door: Arc<Door<R>>,
}

pub(crate) struct Door<R> {
    pub(crate) group: GroupId,
    pub(crate) node_id: NodeId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) request_timeout: Duration,
    pub(crate) command_bytes_max: usize,
    pub(crate) mailbox: Arc<Mailbox<WorkerEvent>>,
    pub(crate) waiters: Arc<Waiters<R>>,
    pub(crate) status: Arc<SharedStatus>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) incarnation: Incarnation,
    pub(crate) linearizable_reads: ReadMode,
}

impl<R> Clone for GroupHandle<R> {
    fn clone(&self) -> Self {
        Self { door: Arc::clone(&self.door) }
    }
}

impl<R> fmt::Debug for GroupHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupHandle").field("group", &self.door.group).finish_non_exhaustive()
    }
}

impl<R: Send + 'static> GroupHandle<R> {
    pub(crate) fn new(door: Door<R>) -> Self {
        Self { door: Arc::new(door) }
    }

    /// Proposes a command; any node may. The reply comes once **this** node has applied it, so that
    /// its client reads its own write here.
    pub fn propose(
        &self,
        command: &[u8],
        reply: impl FnOnce(Result<R, ProposeError>) + Send + 'static,
    ) {
        self.propose_guarded(None, command, Box::new(reply));
    }

    /// Proposes a command only if this node leads in `term`: for what a leader does on its own
    /// account, such as ending a lease, and a deposed one must not.
    pub fn propose_as_leader(
        &self,
        term: Term,
        command: &[u8],
        reply: impl FnOnce(Result<R, ProposeError>) + Send + 'static,
    ) {
        self.propose_guarded(Some(term), command, Box::new(reply));
    }

    fn propose_guarded(
        &self,
        leader_term: Option<Term>,
        command: &[u8],
        reply: Box<dyn FnOnce(Result<R, ProposeError>) + Send>,
    ) {
        let door = &*self.door;
        Counters::add(&door.counters.proposals, 1);
        if command.len() > door.command_bytes_max {
            Counters::add(&door.counters.proposals_failed, 1);
            return reply(Err(ProposeError::TooLarge));
        }
        let deadline = self.deadline();
        let number = match door.waiters.register(reply, deadline) {
            Ok(number) => number,
            Err(reply) => return reply(Err(ProposeError::Stopped)),
        };
        let sealed = envelope::seal(RequestId { origin: door.node_id, number }, command);
        let proposal = Proposal { number, sealed, leader_term, deadline };
        let event = WorkerEvent::Propose { group: door.group, proposal };
        if door.mailbox.push_patiently(event).is_err()
            && let Some(reply) = door.waiters.take(number)
        {
            reply(Err(ProposeError::Stopped));
        }
    }

    /// Asks for a linearizable read (thesis §6.4). Once the reply comes with an index, this node
    /// has applied it, and a read of its state is linearizable. What it may rest on says
    /// [`HostOptions::linearizable_reads`](crate::HostOptions::linearizable_reads).
    pub fn read_index(&self, reply: impl FnOnce(Result<LogIndex, ReadError>) + Send + 'static) {
        self.read(self.door.linearizable_reads, reply);
    }

    /// Asks for a read that may rest on what `mode` says; any node may. Once the reply comes with
    /// an index, this node has applied it, and its state is what was asked for: with
    /// [`ReadMode::Stale`] at once, with [`ReadMode::AfterWrite`] once that write is applied here.
    pub fn read(
        &self,
        mode: ReadMode,
        reply: impl FnOnce(Result<LogIndex, ReadError>) + Send + 'static,
    ) {
        let door = &*self.door;
        let read = Read { mode, reply: Box::new(reply), deadline: self.deadline() };
        let event = WorkerEvent::Read { group: door.group, read };
        if let Err(WorkerEvent::Read { read, .. }) = door.mailbox.push(event) {
            (read.reply)(Err(ReadError::Stopped));
        }
    }

    /// Asks another node's server something small; see
    /// [`HostOptions::call_handler`](crate::HostOptions::call_handler).
    pub fn call(
        &self,
        target: CallTarget,
        request: Bytes,
        reply: impl FnOnce(Result<Bytes, CallError>) + Send + 'static,
    ) {
        let door = &*self.door;
        let event =
            WorkerEvent::Call { group: door.group, target, request, reply: Box::new(reply) };
        if let Err(WorkerEvent::Call { reply, .. }) = door.mailbox.push(event) {
            reply(Err(CallError::Stopped));
        }
    }

    /// Hands leadership to `to`, or to the most up-to-date voter. The reply comes once this node
    /// sees another leader.
    pub fn transfer_leadership(
        &self,
        to: Option<NodeId>,
        reply: impl FnOnce(Result<(), TransferError>) + Send + 'static,
    ) {
        let door = &*self.door;
        let event = WorkerEvent::Transfer { group: door.group, to, reply: Box::new(reply) };
        if let Err(WorkerEvent::Transfer { reply, .. }) = door.mailbox.push(event) {
            reply(Err(TransferError::Stopped));
        }
    }

    /// Gives leadership up, to whoever wins the next election. To name the next leader is quicker:
    /// [`transfer_leadership`](Self::transfer_leadership).
    pub fn step_down(&self, reply: impl FnOnce(Result<(), TransferError>) + Send + 'static) {
        let event = WorkerEvent::StepDown { group: self.door.group, reply: Box::new(reply) };
        if let Err(WorkerEvent::StepDown { reply, .. }) = self.door.mailbox.push(event) {
            reply(Err(TransferError::Stopped));
        }
    }

    /// Keeps this node from campaigning, or lets it again. It votes, and leads if it does.
    pub fn pause_elections(&self, are_paused: bool) {
        let event = WorkerEvent::PauseElections { group: self.door.group, are_paused };
        // A closed mailbox means that the node is stopping, and campaigns no more anyhow.
        let _ = self.door.mailbox.push(event);
    }

    /// Changes the members, all at once whatever the change holds; any node may ask. The reply
    /// comes once the change is over and this node knows the members that it led to.
    pub fn change_configuration(
        &self,
        change: ConfigurationChange,
        reply: impl FnOnce(Result<GroupConfiguration, ChangeError>) + Send + 'static,
    ) {
        if change.transition != Transition::Joint || !change.priorities.is_empty() {
            return reply(Err(ChangeError::NotCarried));
        }
        self.errand(Errand::Change(Box::new(change)), Asker::Change(Box::new(reply)));
    }

    /// Asks the leader how the members are; any node may ask.
    pub fn report(&self, reply: impl FnOnce(Result<GroupReport, CallError>) + Send + 'static) {
        self.errand(Errand::Report, Asker::Report(Box::new(reply)));
    }

    fn errand(&self, errand: Errand, asker: Asker) {
        let event = WorkerEvent::Errand { group: self.door.group, errand, asker };
        if let Err(WorkerEvent::Errand { asker, .. }) = self.door.mailbox.push(event) {
            asker.fail(ChangeError::Stopped);
        }
    }

    /// The configuration in force, as far as this node knows.
    #[must_use]
    pub fn configuration(&self) -> Arc<GroupConfiguration> {
        self.door.peers.configuration(self.door.group)
    }

    /// The newest configuration that this node knows to be committed: at least the one that its
    /// snapshot has, or that its log began with.
    #[must_use]
    pub fn committed_configuration(&self) -> Arc<GroupConfiguration> {
        self.door.peers.committed(self.door.group)
    }

    /// What this node knows of the group.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        self.door.status.read()
    }

    /// What this node's state machine includes.
    #[must_use]
    pub fn applied_index(&self) -> LogIndex {
        self.door.status.applied()
    }

    /// The number of this node's log, by which the group knows it
    /// ([`Configuration::incarnations`](raft::Configuration::incarnations)).
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.door.incarnation
    }

    /// The counters of the whole host.
    #[must_use]
    pub fn counters(&self) -> crate::CountersView {
        self.door.counters.view()
    }

    /// What goes to and comes from each node that this one speaks to, whatever the group.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        let (peers, traffic) = (&self.door.peers, &self.door.counters.peers);
        peers.nodes().into_iter().map(|node| traffic.view(node, peers.is_calling(node))).collect()
    }

    fn deadline(&self) -> Moment {
        self.door.clock.now().after(self.door.request_timeout)
    }
}
