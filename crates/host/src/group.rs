//! One group on its worker: the protocol's node, and the clients that wait for it.

use std::sync::Arc;
use std::time::Duration;

use env::Moment;
use raft::{EntryId, LogIndex, Node, NodeId, Tick};
use wal::GroupId;

use crate::errands::{Asker, Errand, Errands, GroupReport};
use crate::membership::Membership;
use crate::proposals::Proposals;
use crate::reads::{Ended, Reads};
use crate::status::{GroupStatus, Role, SharedStatus};
use crate::waiters::Reply;
use crate::{CallError, HostOptions, ReadError, TransferError};

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
    /// The snapshot that is being installed, and when it began to come, if it came in this life.
    pub(crate) installing: Option<(EntryId, Moment)>,
}

/// What came of a look at all that wait.
pub(crate) struct Swept {
    pub(crate) proposals_failed: usize,
    pub(crate) reads_failed: usize,
    /// Rounds of reads that are made again, and reads that timed out while there was a leader.
    pub(crate) reads_slow: usize,
}

/// A transfer of leadership that a client waits for.
pub(crate) struct Transfer {
    pub(crate) to: Option<NodeId>,
    pub(crate) reply: Reply<(), TransferError>,
    pub(crate) deadline: Moment,
}

impl Group {
    /// The state machine has got on. Returns how many reads were released.
    pub(crate) fn take_applied(&mut self, index: LogIndex) -> usize {
        let mut count = 0;
        let mut index = index;
        loop {
            self.applied_index = self.applied_index.max(index);
            count += self.reads.release(self.applied_index);
            if !self.reads.wait_for_apply() {
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

    /// The protocol has decided about a read.
    pub(crate) fn take_read_outcome(&mut self, outcome: raft::ReadOutcome) -> Ended {
        let mut ended = self.reads.take_outcome(outcome, self.applied_index);
        if self.reads.wait_for_apply() {
            ended.confirmed += self.take_applied(self.applied_index);
        }
        ended
    }

    /// Ends what has waited too long and asks again for what was lost.
    pub(crate) fn sweep(&mut self, now: Moment) -> Swept {
        let failed = self.proposals.fail_expired(now);
        if self.status.leader_id.is_some() {
            self.proposals.release_held();
        }
        self.proposals.take_back_lost(self.answered_index);
        let late_rounds = self.reads.retry(now);
        let error = match self.status.leader_id {
            Some(_) => ReadError::TimedOut,
            None => ReadError::NoLeader,
        };
        let reads_failed = self.reads.fail_expired(now, error);
        let timed_out = if error == ReadError::TimedOut { reads_failed } else { 0 };
        if self.transfer.as_ref().is_some_and(|transfer| transfer.deadline <= now)
            && let Some(transfer) = self.transfer.take()
        {
            (transfer.reply)(Err(TransferError::TimedOut));
        }
        Swept { proposals_failed: failed, reads_failed, reads_slow: late_rounds + timed_out }
    }

    /// Fails all who wait: the node stops.
    pub(crate) fn close(&mut self) {
        self.proposals.close();
        self.errands.close();
        self.reads.close();
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
        self.reads.retry(Moment(u64::MAX));
        let has_moved = |transfer: &mut Transfer| match transfer.to {
            Some(to) => leader == to,
            None => leader != self.status.node_id,
        };
        if let Some(transfer) = self.transfer.take_if(has_moved) {
            (transfer.reply)(Ok(()));
        }
    }
}
