//! Small questions from one node's server to another's, such as a lease's keep-alive, which only
//! the leader can answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::Moment;
use raft::NodeId;
use wal::GroupId;

use crate::mailbox::Mailbox;
use crate::messages::WorkerEvent;
use crate::outbox::Outbox;
use crate::records::Body;
use crate::waiters::Reply;
use crate::{CallContext, CallError, CallHandler, CallTarget};

/// The calls of one worker's groups.
pub(crate) struct Calls {
    node_id: NodeId,
    timeout: Duration,
    handler: CallHandler,
    /// The worker's own mailbox, through which answers of this node's server come back.
    mailbox: Arc<Mailbox<WorkerEvent>>,
    /// Numbers begin at a random place in each life, so that an answer to an earlier life's call
    /// finds nobody.
    next_number: u64,
    waiting: BTreeMap<u64, (Moment, Reply<Bytes, CallError>)>,
}

impl Calls {
    pub(crate) fn new(
        node_id: NodeId,
        timeout: Duration,
        handler: CallHandler,
        mailbox: Arc<Mailbox<WorkerEvent>>,
        first_number: u64,
    ) -> Self {
        let waiting = BTreeMap::new();
        Self { node_id, timeout, handler, mailbox, next_number: first_number, waiting }
    }

    /// Asks another node's server, or this one's.
    pub(crate) fn ask(
        &mut self,
        now: Moment,
        group: GroupId,
        (target, leader): (CallTarget, Option<NodeId>),
        (request, reply): (Bytes, Reply<Bytes, CallError>),
        outbox: &mut Outbox,
    ) {
        let to = match target {
            CallTarget::Node(node) => Some(node),
            CallTarget::Leader => leader,
        };
        let Some(to) = to else {
            return reply(Err(CallError::NoLeader));
        };
        if to == self.node_id {
            let context = CallContext { from: to, group };
            return (self.handler)(context, request, Box::new(move |answer| reply(Ok(answer))));
        }
        self.next_number = self.next_number.wrapping_add(1);
        let number = self.next_number;
        self.waiting.insert(number, (now.after(self.timeout), reply));
        outbox.push(to, group, &Body::Call { number, request });
    }

    /// Has this node's server answer a peer.
    pub(crate) fn serve(&self, group: GroupId, from: NodeId, number: u64, request: Bytes) {
        let mailbox = Arc::clone(&self.mailbox);
        let answer = Box::new(move |answer| {
            // A closed mailbox means that the node is stopping: the peer's call times out.
            let _ = mailbox.push(WorkerEvent::CallAnswered { group, to: from, number, answer });
        });
        (self.handler)(CallContext { from, group }, request, answer);
    }

    /// A peer's server has answered.
    pub(crate) fn take_answer(&mut self, number: u64, answer: Bytes) {
        if let Some((_, reply)) = self.waiting.remove(&number) {
            reply(Ok(answer));
        }
    }

    /// Ends what has waited too long.
    pub(crate) fn sweep(&mut self, now: Moment) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.get().0 > now {
                break;
            }
            (entry.remove().1)(Err(CallError::TimedOut));
        }
    }

    /// Fails all who wait.
    pub(crate) fn close(&mut self) {
        for (_, reply) in std::mem::take(&mut self.waiting).into_values() {
            reply(Err(CallError::Stopped));
        }
    }
}
