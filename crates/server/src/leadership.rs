//! Who leads, for those who answer clients: two numbers to read without a lock, and a bell.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use host::GroupStatus;
use raft::{NodeId, Term};
use tokio::sync::watch;

use crate::api_error::ApiError;

/// Who leads in which term, as far as this member knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct View {
    pub(crate) term: Term,
    pub(crate) leader_id: Option<NodeId>,
}

/// Who leads a group, for the services of a member of it. The member's host tells of each change,
/// and the services read it without asking the host ([`InProcess`](crate::InProcess)).
#[derive(Debug)]
pub struct Leadership {
    member_id: NodeId,
    term: AtomicU64,
    /// 0 for nobody.
    leader_id: AtomicU64,
    /// Whether this member has no vote.
    is_learner: AtomicBool,
    changes: watch::Sender<View>,
}

impl Leadership {
    /// As the member knows it before its host has told anything: nobody leads.
    #[must_use]
    pub fn new(member_id: NodeId) -> Self {
        let changes = watch::Sender::new(View::default());
        Self {
            member_id,
            term: AtomicU64::new(0),
            leader_id: AtomicU64::new(0),
            is_learner: AtomicBool::new(false),
            changes,
        }
    }

    /// Takes what [`host::HostOptions::observer`] tells of the group, on the host's thread. Changes
    /// of role alone are no news.
    pub fn update(&self, status: &GroupStatus) {
        let view = View { term: status.term, leader_id: status.leader_id };
        self.is_learner.store(status.is_learner, Ordering::Release);
        self.term.store(view.term.0, Ordering::Release);
        self.leader_id.store(view.leader_id.map_or(0, |id| id.0), Ordering::Release);
        self.changes.send_if_modified(|old| {
            let changed = *old != view;
            *old = view;
            changed
        });
    }

    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// 0 for nobody.
    pub(crate) fn leader_id(&self) -> u64 {
        self.leader_id.load(Ordering::Acquire)
    }

    pub(crate) fn is_learner(&self) -> bool {
        self.is_learner.load(Ordering::Acquire)
    }

    pub(crate) fn has_leader(&self) -> bool {
        self.leader_id() != 0
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.leader_id() == self.member_id.0
    }

    /// The term in which this member leads.
    pub(crate) fn leads_in(&self) -> Option<Term> {
        let view = *self.changes.borrow();
        (view.leader_id == Some(self.member_id)).then_some(view.term)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<View> {
        self.changes.subscribe()
    }

    /// Returns once a leader is known.
    pub(crate) async fn wait_for_leader(&self) {
        let mut changes = self.subscribe();
        // The sender lives as long as `self`, which is borrowed: the wait cannot fail.
        let known = changes.wait_for(|view| view.leader_id.is_some()).await;
        debug_assert!(known.is_ok(), "the sender of leader changes must outlive its borrow");
    }

    /// Returns once there has been no leader for so long without a break.
    pub(crate) async fn wait_for_loss(&self, lasting: Duration) {
        let mut changes = self.subscribe();
        loop {
            if changes.wait_for(|view| view.leader_id.is_none()).await.is_err() {
                return;
            }
            let returned = changes.wait_for(|view| view.leader_id.is_some());
            if tokio::time::timeout(lasting, returned).await.is_err() {
                return;
            }
        }
    }

    /// For clients that would rather fail than wait (`hasleader` in their metadata).
    pub(crate) fn require_leader(&self) -> Result<(), ApiError> {
        if self.has_leader() { Ok(()) } else { Err(ApiError::NoLeader) }
    }
}

#[cfg(test)]
mod tests {
    use host::Role;
    use raft::LogIndex;

    use super::*;

    fn status(term: u64, leader_id: Option<u64>) -> GroupStatus {
        GroupStatus {
            node_id: NodeId(1),
            role: Role::Follower,
            term: Term(term),
            leader_id: leader_id.map(NodeId),
            commit_index: LogIndex(0),
            applied_index: LogIndex(0),
            last_index: LogIndex(0),
            snapshot_index: LogIndex(0),
            is_learner: false,
            leader_changes: 0,
            unguarded_voters: 0,
        }
    }

    #[test]
    fn a_member_leads_only_in_its_own_terms() {
        let leadership = Leadership::new(NodeId(1));
        assert!(!leadership.is_leader() && !leadership.has_leader());
        leadership.update(&status(2, Some(1)));
        assert_eq!(leadership.leads_in(), Some(Term(2)));
        leadership.update(&status(3, Some(2)));
        assert_eq!(leadership.leads_in(), None);
        assert!(leadership.has_leader());
        assert_eq!(leadership.term(), 3);
        leadership.update(&status(4, None));
        assert_eq!(leadership.require_leader(), Err(ApiError::NoLeader));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_loss_that_lasts_is_told() {
        let leadership = Leadership::new(NodeId(1));
        leadership.update(&status(1, Some(2)));
        let lasting = Duration::from_secs(3);
        let waited = leadership.wait_for_loss(lasting);
        tokio::pin!(waited);
        let mut still = async |leader_id, secs| {
            leadership.update(&status(1, leader_id));
            tokio::time::timeout(Duration::from_secs(secs), &mut waited).await.is_err()
        };
        assert!(still(Some(2), 100).await, "a leader is known");
        assert!(still(None, 2).await, "too short to tell");
        assert!(still(Some(2), 2).await, "it came back");
        assert!(still(None, 2).await, "the count begins anew");
        assert!(!still(None, 2).await, "now it has lasted");
    }
}
