//! Handing leadership over (thesis §3.10): let the target catch up, then tell it to campaign.
//!
//! Proposals are refused meanwhile. If the target has not taken over within an election timeout the
//! transfer is given up and proposals go on.
//!
//! Scripts: `testdata/transfer/`.

use core::cmp::Reverse;

use crate::election::Campaign;
use crate::role::{RoleState, Transfer};
use crate::seeded::{Bug, bug};
use crate::{Body, Event, Node, NodeId, PeerFault, TransferError};

impl Node {
    pub(crate) fn begin_transfer(&mut self, to: Option<NodeId>) -> Result<(), TransferError> {
        self.touch();
        let leader_id = self.leader_id();
        let own = self.options.id;
        let abort_at = self.now.after(self.options.election_timeout_ticks);
        let RoleState::Leader(leader) = &mut self.role else {
            return Err(TransferError::NotLeader { leader_id });
        };
        if to == Some(own) {
            return Ok(());
        }
        if let Some(transfer) = leader.transfer {
            let is_same = to == Some(transfer.to);
            return if is_same {
                Ok(())
            } else {
                Err(TransferError::InProgress { to: transfer.to })
            };
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
        leader.transfer = Some(Transfer { to, abort_at, is_requested: false });
        self.record(|| Event::TransferBegan { to });
        self.continue_transfer(to);
        Ok(())
    }

    /// Tells the target to campaign once it holds the whole log.
    pub(crate) fn continue_transfer(&mut self, from: NodeId) {
        let last = self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(Transfer { to, is_requested: false, .. }) = leader.transfer else { return };
        let has_everything = leader.member(to).is_some_and(|target| target.match_index == last)
            || bug(Bug::TransferDoesNotWait);
        if to != from || !has_everything {
            return;
        }
        if let Some(transfer) = &mut leader.transfer {
            transfer.is_requested = true;
        }
        leader.lease.is_void = true;
        let lease_ended = self.give_guard_up();
        self.record(|| Event::TransferRequested { to });
        self.send_as_leader(to, Body::TimeoutNow { lease_ended });
    }

    pub(crate) fn expire_transfer(&mut self) {
        let now = self.now;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let is_over =
            |transfer: &mut Transfer| transfer.abort_at <= now && !bug(Bug::TransferHasNoEnd);
        if let Some(transfer) = leader.transfer.take_if(is_over) {
            self.record(|| Event::TransferAborted { to: transfer.to });
            // A change that waited for the transfer goes on.
            self.continue_change();
        }
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
