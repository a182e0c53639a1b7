//! Handing leadership over (thesis §3.10): let the target catch up, then tell it to campaign.
//!
//! Proposals are refused meanwhile. If the target has not taken over within an election timeout, or
//! the time that the caller gave, the transfer is given up and proposals go on.
//!
//! # A target that does not want to
//!
//! Nobody is told that a request was refused, because elections are paused, or was lost. But
//! whoever takes it is in the next term from then on:
//!
//! ```text
//!   leader    TimeoutNow ── heartbeat of a later round ─────────── it refused
//!   target          refuses ───────────── answers in this term ──┘
//! ```
//!
//! So a hand-over that the leader began by itself (`preference.rs`) costs a heartbeat without
//! proposals, and not an election timeout. A request that was overtaken may yet be taken, as behind
//! any transfer that was given up, and so there are no leases in the term (`lease.rs`). Who was
//! asked for a transfer waits as long as it was told to.
//!
//! Scripts: `testdata/transfer/`.

use core::cmp::Reverse;

use crate::election::Campaign;
use crate::role::{RoleState, Transfer};
use crate::seeded::{Bug, bug};
use crate::{Body, Event, Node, NodeId, PeerFault, Tick, TransferError};

impl Node {
    /// As [`transfer_leadership`](Self::transfer_leadership), with `within_ticks` in place of an
    /// election timeout: longer for a target that has much to catch up with, shorter where
    /// proposals must not wait.
    ///
    /// # Errors
    /// The transfer did not begin.
    pub fn transfer_leadership_within(
        &mut self,
        now: Tick,
        to: Option<NodeId>,
        within_ticks: u64,
    ) -> Result<(), TransferError> {
        self.tell_time(now);
        self.begin_transfer(to, within_ticks)
    }

    /// Gives a transfer up: proposals go on at once. Returns who was to lead. If that node was told
    /// to campaign already, it may still be elected, and until then there are no reads on a lease:
    /// nothing that was said can be taken back.
    ///
    /// # Errors
    /// This node does not lead, or there is no transfer.
    pub fn abort_transfer(&mut self, now: Tick) -> Result<NodeId, TransferError> {
        self.tell_time(now);
        if !matches!(self.role, RoleState::Leader(_)) {
            return Err(TransferError::NotLeader { leader_id: self.leader_id() });
        }
        self.end_transfer(|_| true).ok_or(TransferError::NothingToAbort)
    }

    pub(crate) fn begin_transfer_in_time(
        &mut self,
        to: Option<NodeId>,
    ) -> Result<(), TransferError> {
        self.begin_transfer(to, self.options.election_timeout_ticks)
    }

    pub(crate) fn begin_transfer(
        &mut self,
        to: Option<NodeId>,
        within_ticks: u64,
    ) -> Result<(), TransferError> {
        self.touch();
        let leader_id = self.leader_id();
        let own = self.options.id;
        let abort_at = self.now.after(within_ticks);
        let RoleState::Leader(leader) = &mut self.role else {
            return Err(TransferError::NotLeader { leader_id });
        };
        if to == Some(own) {
            return Ok(());
        }
        if let Some(transfer) = &mut leader.transfer {
            if to != Some(transfer.to) {
                return Err(TransferError::InProgress { to: transfer.to });
            }
            // Now somebody waits for it.
            transfer.is_own = false;
            return Ok(());
        }
        if let Some(to) = to
            && leader.member(to).is_some_and(|member| member.is_witness)
        {
            return Err(TransferError::Witness { to });
        }
        // A voter of C_old alone is about to lose its vote: it would have to hand over again (E20).
        let voters = leader.members.iter().filter(|member| {
            member.id != own
                && member.votes_incoming
                && member.counts()
                && !member.is_witness
                && to.is_none_or(|to| to == member.id)
        });
        // The most up-to-date, of the living ones; the smallest id among equals.
        let best =
            voters.max_by_key(|voter| (voter.is_active, voter.match_index, Reverse(voter.id)));
        let Some(to) = best.map(|voter| voter.id) else {
            return Err(TransferError::NoVoter { to });
        };
        leader.transfer = Some(Transfer { to, abort_at, is_own: false, requested_in: None });
        self.record(|| Event::TransferBegan { to });
        self.continue_transfer(to);
        Ok(())
    }

    /// As [`begin_transfer`](Self::begin_transfer), and nobody has asked for it.
    pub(crate) fn begin_hand_over(&mut self, to: NodeId) {
        // A refusal is no harm: this is tried again.
        let _refused = self.begin_transfer_in_time(Some(to));
        if let RoleState::Leader(leader) = &mut self.role
            && let Some(transfer) = &mut leader.transfer
        {
            transfer.is_own = true;
        }
    }

    /// Whether the target of a hand-over was told to campaign, and no heartbeat of a later round
    /// has left since.
    pub(crate) fn doubts_hand_over(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let newest = leader.reads.newest_round();
        leader.transfer.is_some_and(|transfer| {
            transfer.is_own && transfer.requested_in.is_some_and(|round| newest <= round)
        })
    }

    /// A member has answered a heartbeat, in this term.
    pub(crate) fn end_refused_hand_over(&mut self) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(Transfer { to, is_own: true, requested_in: Some(round), .. }) = leader.transfer
        else {
            return;
        };
        let confirmed = leader.member(to).map_or(0, |target| target.confirmed_round);
        if confirmed > round && !bug(Bug::RefusedHandOverIsWaitedFor) {
            self.end_transfer(|_| true);
        }
    }

    /// Tells the target to campaign once it holds the whole log.
    pub(crate) fn continue_transfer(&mut self, from: NodeId) {
        let last = self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(Transfer { to, requested_in: None, .. }) = leader.transfer else { return };
        let has_everything = leader.member(to).is_some_and(|target| target.match_index == last)
            || bug(Bug::TransferDoesNotWait);
        if to != from || !has_everything {
            return;
        }
        let round = leader.reads.newest_round();
        if let Some(transfer) = &mut leader.transfer {
            transfer.requested_in = Some(round);
        }
        leader.lease.is_void = true;
        let lease_ended = self.give_guard_up();
        self.record(|| Event::TransferRequested { to });
        self.send_as_leader(to, Body::TimeoutNow { lease_ended });
    }

    pub(crate) fn expire_transfer(&mut self) {
        let now = self.now;
        self.end_transfer(|transfer| transfer.abort_at <= now && !bug(Bug::TransferHasNoEnd));
    }

    fn end_transfer(&mut self, is_over: impl Fn(&Transfer) -> bool) -> Option<NodeId> {
        let RoleState::Leader(leader) = &mut self.role else { return None };
        let Transfer { to, .. } = leader.transfer.take_if(|transfer| is_over(transfer))?;
        self.record(|| Event::TransferAborted { to });
        // A change that waited for the transfer goes on.
        self.continue_change();
        Some(to)
    }

    /// The leader asks this node to take over.
    pub(crate) fn handle_timeout_now(&mut self, from: NodeId, lease_ended: bool) {
        let is_another = self.leader_id().is_some_and(|leader_id| leader_id != from);
        if is_another && !bug(Bug::AnybodyCallsElections) {
            return self.fault(from, PeerFault::UnexpectedTimeoutNow);
        }
        // A repeated or late request finds a candidate, or a node that has just begun another life
        // and does not know its leader; the leader's own timeout deals with that.
        if self.leader_id().is_none() || !self.may_campaign() {
            let term = self.current_term();
            return self.record(|| Event::StaleMessage { from, term });
        }
        if lease_ended || bug(Bug::EveryTransferEndsTheLease) {
            // Of this term's leader, and so for the next one alone: a later term may have had a
            // leader in between.
            self.lease_ended_for = Some(self.current_term().next());
        }
        self.campaign(Campaign::Transfer);
    }
}
