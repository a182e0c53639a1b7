//! Who should lead, beyond who may: stepping down on request, pausing elections, and a leader whose
//! disk has stopped.
//!
//! None of it is needed for safety. It moves leadership away from nodes that would hold it badly:
//! one that is about to be stopped, one that an operator works on, one that accepts entries and
//! cannot write them.
//!
//! Scripts: `testdata/leadership/`.

use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Event, Node, Tick, TransferError};

/// After a step-down on request a node keeps out of elections for this many election timeouts, so
/// that another wins the next one.
const REST_TIMEOUTS: u64 = 2;

/// How this node's campaigns have gone since a leader was last heard.
#[derive(Clone, Copy, Debug, Default)]
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
    pub(crate) fn watch_writes(&mut self) {
        // Alone, there is nobody to make room for.
        if !matches!(self.role, RoleState::Leader(_)) || self.is_sole_voter() {
            return;
        }
        if self.is_write_stalled() && !bug(Bug::StalledLeaderGoesOn) {
            let term = self.current_term();
            self.record(|| Event::WriteStalled { term });
            self.become_follower(term, None);
        }
    }
}
