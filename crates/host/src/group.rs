//! One group on its worker: the protocol's node, and the clients that wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use env::Moment;
use raft::{LogIndex, Node, NodeId, ReadMode, ReadRequest, Tick};
use wal::GroupId;

use crate::errands::{Asker, Errand, Errands, GroupReport};
use crate::membership::Membership;
use crate::proposals::Proposals;
use crate::status::{GroupStatus, Role, SharedStatus};
use crate::waiters::Reply;
use crate::{CallError, HostOptions, ReadError, TransferError};

/// A round of ReadIndex that got no answer by then is asked again: the message, or its answer, may
/// be lost, and only the host knows how long its clients wait.
const READ_RETRY_AFTER: Duration = Duration::from_millis(500);

/// Between two questions to the leader whether it knows this node by another log.
const LOG_ASKED_EVERY: Duration = Duration::from_millis(500);

/// One group.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) node: Node,
    pub(crate) shared: Arc<SharedStatus>,
    pub(crate) status: GroupStatus,
    /// When the node wants a tick; also the group's place in the worker's table of timers.
    pub(crate) deadline: Option<Tick>,
    pub(crate) proposals: Proposals,
    pub(crate) reads: Reads,
    pub(crate) transfer: Option<Transfer>,
    pub(crate) errands: Errands,
    pub(crate) membership: Membership,
    /// When the leader was last asked whether it knows this node by another log.
    pub(crate) asked_about_log_at: Option<Moment>,
    /// Handed to the applier, and applied.
    pub(crate) committed_index: LogIndex,
    pub(crate) applied_index: LogIndex,
    /// Applied, and its clients answered: behind `applied_index` for a moment.
    pub(crate) answered_index: LogIndex,
}

/// A client's read.
pub(crate) struct Read {
    pub(crate) reply: Reply<LogIndex, ReadError>,
    pub(crate) deadline: Moment,
}

/// Reads, by how far they are.
#[derive(Default)]
pub(crate) struct Reads {
    /// Came since the last step, or must be asked again.
    pub(crate) waiting: Vec<Read>,
    /// Asked under a context, and since when.
    asked: BTreeMap<u64, (Moment, Vec<Read>)>,
    /// Confirmed at an index that is not applied yet.
    confirmed: BTreeMap<LogIndex, Vec<Read>>,
    last_context: u64,
}

/// A transfer of leadership that a client waits for.
pub(crate) struct Transfer {
    pub(crate) to: Option<NodeId>,
    pub(crate) reply: Reply<(), TransferError>,
    pub(crate) deadline: Moment,
}

impl Group {
    /// Asks the protocol for a read index for all reads that wait; one round for all of them.
    /// Reads that come while a round is under way gather for the next one: a round must begin after
    /// the reads that it serves, and one that serves many costs as much as one that serves one.
    pub(crate) fn ask_reads(&mut self, now: Moment, tick: Tick, on_lease: bool) {
        if self.reads.waiting.is_empty() || !self.reads.asked.is_empty() {
            return;
        }
        self.reads.last_context += 1;
        let context = self.reads.last_context;
        let waiting = std::mem::take(&mut self.reads.waiting);
        self.reads.asked.insert(context, (now, waiting));
        self.node.read(
            tick,
            if on_lease {
                ReadRequest { context, mode: ReadMode::Lease }
            } else {
                ReadRequest::read_index(context)
            },
        );
    }

    /// The protocol has decided about a context. Returns how many reads may go at once.
    pub(crate) fn take_read_outcome(&mut self, outcome: raft::ReadOutcome) -> usize {
        let Some((_, reads)) = self.reads.asked.remove(&outcome.context) else {
            return 0;
        };
        match outcome.result.map(|point| point.index) {
            // Asked again by the next sweep: there may be no leader for a while.
            Err(_) => {
                self.reads.asked.insert(outcome.context, (Moment(0), reads));
                0
            }
            Ok(index) if index <= self.applied_index => {
                let count = reads.len();
                reads.into_iter().for_each(|read| (read.reply)(Ok(self.applied_index)));
                count
            }
            Ok(index) => {
                self.reads.confirmed.entry(index).or_default().extend(reads);
                self.take_applied(self.applied_index)
            }
        }
    }

    /// The state machine has got on. Returns how many reads were released.
    pub(crate) fn take_applied(&mut self, index: LogIndex) -> usize {
        let mut count = 0;
        let mut index = index;
        loop {
            self.applied_index = self.applied_index.max(index);
            count += self.release_reads();
            if self.reads.confirmed.is_empty() {
                return count;
            }
            // First the note, then the look: see `SharedStatus::note_waiting_reads`.
            self.shared.note_waiting_reads();
            index = self.shared.applied();
            if index <= self.applied_index {
                return count;
            }
        }
    }

    fn release_reads(&mut self) -> usize {
        let mut count = 0;
        while let Some(first) = self.reads.confirmed.first_entry() {
            if *first.key() > self.applied_index {
                break;
            }
            let reads = first.remove();
            count += reads.len();
            reads.into_iter().for_each(|read| (read.reply)(Ok(self.applied_index)));
        }
        count
    }

    /// Ends what has waited too long and asks again for what was lost. Returns failed proposals
    /// and failed reads.
    pub(crate) fn sweep(&mut self, now: Moment) -> (usize, usize) {
        let failed = self.proposals.fail_expired(now);
        if self.status.leader_id.is_some() {
            self.proposals.release_held();
        }
        self.proposals.take_back_lost(self.answered_index);
        self.retry_reads(now);
        let failed_reads = self.fail_expired_reads(now);
        if self.transfer.as_ref().is_some_and(|transfer| transfer.deadline <= now)
            && let Some(transfer) = self.transfer.take()
        {
            (transfer.reply)(Err(TransferError::TimedOut));
        }
        (failed, failed_reads)
    }

    fn retry_reads(&mut self, now: Moment) {
        let lost: Vec<u64> = self
            .reads
            .asked
            .iter()
            .filter(|(_, (asked, _))| now >= asked.after(READ_RETRY_AFTER))
            .map(|(context, _)| *context)
            .collect();
        for context in lost {
            if let Some((_, reads)) = self.reads.asked.remove(&context) {
                self.reads.waiting.extend(reads);
            }
        }
    }

    fn fail_expired_reads(&mut self, now: Moment) -> usize {
        let error = match self.status.leader_id {
            Some(_) => ReadError::TimedOut,
            None => ReadError::NoLeader,
        };
        let mut count = 0;
        let reads = &mut self.reads;
        let asked = reads.asked.values_mut().map(|(_, reads)| reads);
        let all = asked.chain(reads.confirmed.values_mut()).chain([&mut reads.waiting]);
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
        self.proposals.close();
        self.errands.close();
        let reads = std::mem::take(&mut self.reads);
        let asked = reads.asked.into_values().flat_map(|(_, reads)| reads);
        let confirmed = reads.confirmed.into_values().flatten();
        for read in asked.chain(confirmed).chain(reads.waiting) {
            (read.reply)(Err(ReadError::Stopped));
        }
        if let Some(transfer) = self.transfer.take() {
            (transfer.reply)(Err(TransferError::Stopped));
        }
    }

    /// The configuration here says that this voter has lost its log. It may be an old one that is
    /// on its way through the log, so the leader is asked what it has.
    pub(crate) fn ask_about_log(&mut self, now: Moment, options: &Arc<HostOptions>) {
        let (own, incarnation) = (self.node.id(), self.node.incarnation());
        let is_waiting = self.asked_about_log_at.is_some_and(|at| now < at.after(LOG_ASKED_EVERY));
        if is_waiting || !self.node.is_stranger() || !self.node.configuration().is_voter(own) {
            return;
        }
        self.asked_about_log_at = Some(now);
        let (id, options) = (self.id, Arc::clone(options));
        let reply = move |report: Result<GroupReport, CallError>| {
            // Nobody leads, or the answer was lost: it is asked again.
            let Ok(GroupReport { configuration, .. }) = report else { return };
            let known = &configuration.configuration;
            let recorded = known.incarnations.get(&own);
            let is_another = recorded.is_some_and(|recorded| *recorded != incarnation);
            if configuration.is_committed && known.is_voter(own) && is_another {
                tracing::error!(group = id.0, "the group knows this node by a log that is gone");
                (options.on_log_lost)(id);
            }
        };
        self.errands.ask(now, Errand::Report, Asker::Report(Box::new(reply)));
    }

    /// Brings the status up to date; `true` if role, term, leader or vote changed.
    pub(crate) fn refresh_status(&mut self) -> bool {
        let node = &self.node;
        let mut status = GroupStatus {
            node_id: self.status.node_id,
            role: match node.role() {
                raft::Role::Follower => Role::Follower,
                raft::Role::PreCandidate => Role::PreCandidate,
                raft::Role::Candidate => Role::Candidate,
                raft::Role::Leader => Role::Leader,
            },
            term: node.term(),
            leader_id: node.leader(),
            commit_index: node.commit_index(),
            applied_index: self.applied_index,
            last_index: node.last().index,
            snapshot_index: node.mark().index,
            is_learner: node.configuration().learners.contains(&node.id())
                && !node.configuration().is_voter(node.id()),
            leader_changes: self.status.leader_changes,
            unguarded_voters: self.membership.unguarded_voters(node),
        };
        if status.leader_id.is_some() && status.leader_id != self.status.leader_id {
            status.leader_changes += 1;
        }
        if status == self.status {
            return false;
        }
        let told =
            |status: &GroupStatus| (status.role, status.term, status.leader_id, status.is_learner);
        let changed = told(&status) != told(&self.status);
        self.status = status;
        self.shared.write(status);
        changed
    }

    /// What a change of leader means for those who wait.
    pub(crate) fn leader_changed(&mut self) {
        let Some(leader) = self.status.leader_id else {
            return;
        };
        self.proposals.release_held();
        self.retry_reads(Moment(u64::MAX));
        let has_moved = |transfer: &mut Transfer| match transfer.to {
            Some(to) => leader == to,
            None => leader != self.status.node_id,
        };
        if let Some(transfer) = self.transfer.take_if(has_moved) {
            (transfer.reply)(Ok(()));
        }
    }
}
