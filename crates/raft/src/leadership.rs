//! Who should lead, beyond who may: stepping down and campaigning on request, pausing elections,
//! other timeouts, and a leader whose disk has stopped.
//!
//! None of it is needed for safety. It moves leadership away from nodes that would hold it badly:
//! one that is about to be stopped, one that an operator works on, one that accepts entries and
//! cannot write them.
//!
//! Scripts: `testdata/leadership/`.

use crate::election::Campaign;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{CampaignError, Event, Node, Options, OptionsError, Tick, TransferError};

/// After a step-down on request a node keeps out of elections for this many election timeouts, so
/// that another wins the next one.
const REST_TIMEOUTS: u64 = 2;

/// The timeouts that may change while a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// As in [`Options::election_timeout_ticks`]; not while leases rest on it.
    pub election_timeout_ticks: u64,
    /// As in [`Options::heartbeat_interval_ticks`].
    pub heartbeat_interval_ticks: u64,
}

/// How this node's campaigns have gone since a leader was last heard.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Campaigns {
    /// Campaigns, pre-vote rounds among them, that have not led to a leader.
    pub(crate) fruitless: u32,
    /// Elections that ended without a winner.
    pub(crate) contended: u32,
}

impl Node {
    /// Gives leadership up, to nobody in particular.
    pub(crate) fn begin_rest(&mut self) -> Result<(), TransferError> {
        if !matches!(self.role, RoleState::Leader(_)) {
            return Err(TransferError::NotLeader { leader_id: self.leader_id() });
        }
        if self.is_sole_voter() {
            return Err(TransferError::NoVoter { to: None });
        }
        let term = self.current_term();
        self.record(|| Event::SteppedDown { term });
        self.become_follower(term, None);
        let rest = self.options.election_timeout_ticks.saturating_mul(REST_TIMEOUTS);
        self.campaign_at = self.campaign_at.map(|at| at.after(rest));
        Ok(())
    }

    /// Somebody wants this node to lead, and does not wait for a timeout. It is an ordinary
    /// campaign: who hears a leader does not vote, so a living leader is better asked to hand over.
    pub(crate) fn begin_campaign(&mut self) -> Result<(), CampaignError> {
        self.wake();
        if matches!(self.role, RoleState::Leader(_)) {
            return Err(CampaignError::Leads);
        }
        if self.elections_are_paused {
            return Err(CampaignError::Paused);
        }
        if !self.may_campaign() {
            return Err(CampaignError::Unfit);
        }
        if self.may_not_vote_for_itself() {
            return Err(CampaignError::Promised);
        }
        self.record(|| Event::CampaignCalled);
        self.campaign(Campaign::Timeout);
        Ok(())
    }

    /// New timeouts from now on. The ones that run are begun anew.
    pub(crate) fn change_timeouts(&mut self, timeouts: Timeouts) -> Result<(), OptionsError> {
        let Timeouts { election_timeout_ticks, heartbeat_interval_ticks } = timeouts;
        let is_longer_or_shorter = election_timeout_ticks != self.options.election_timeout_ticks;
        // A voter that counts its promise shorter than the leader its lease, or the other way:
        //   n1  reads for 1000 ticks after a heartbeat that n2 has answered
        //   n2  goes to 500 ticks, is silent for 500, and votes for n3, which commits
        let leases_rest = self.options.lease_drift_ppm.is_some() && is_longer_or_shorter;
        if leases_rest && !bug(Bug::TimeoutsChangeUnderALease) {
            return Err(OptionsError::LeaseRestsOnTimeout);
        }
        let options =
            Options { election_timeout_ticks, heartbeat_interval_ticks, ..self.options.clone() };
        options.validate()?;
        self.options = options;
        let beat_at = self.now.after(heartbeat_interval_ticks);
        let check_at = self.now.after(election_timeout_ticks);
        if let RoleState::Leader(leader) = &mut self.role {
            leader.heartbeat_at = leader.heartbeat_at.min(beat_at);
            // Whoever was heard since the last check keeps its mark.
            leader.quorum_check_at = check_at;
        } else {
            self.reset_election_timer();
        }
        self.record(|| Event::TimeoutsChanged { election_timeout_ticks, heartbeat_interval_ticks });
        Ok(())
    }

    pub(crate) fn set_elections_paused(&mut self, are_paused: bool) {
        let was_paused = core::mem::replace(&mut self.elections_are_paused, are_paused);
        if was_paused && !are_paused {
            // What was missed meanwhile is no reason to hurry.
            self.reset_election_timer();
        }
    }

    /// When the disk has taken too long with its oldest write, if nothing lands before.
    pub(crate) fn write_stall_at(&self) -> Option<Tick> {
        self.persister.waiting_since().map(|since| since.after(self.options.write_stall_ticks_max))
    }

    pub(crate) fn is_write_stalled(&self) -> bool {
        self.write_stall_at().is_some_and(|at| at <= self.now)
    }

    /// T1: heartbeats go on while a disk hangs, so the others would follow this leader for ever,
    /// and with a slow majority of disks beside it nothing would tell them. A leader that cannot
    /// write makes room; and does not campaign until its disk is back.
    #[inline]
    pub(crate) fn watch_writes(&mut self) {
        if self.is_write_stalled() && !bug(Bug::StalledLeaderGoesOn) {
            self.make_way();
        }
    }

    #[cold]
    fn make_way(&mut self) {
        // Alone, there is nobody to make room for.
        if matches!(self.role, RoleState::Leader(_)) && !self.is_sole_voter() {
            let term = self.current_term();
            self.record(|| Event::WriteStalled { term });
            self.become_follower(term, None);
        }
    }
}
