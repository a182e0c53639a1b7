//! A node without its past, for a model checker: two nodes that differ only in how they came to
//! where they are must be one.

use crate::jitter::Jitter;
use crate::leadership::Campaigns;
use crate::role::RoleState;
use crate::{Node, Tick};

/// Forgets the time, the dice, and how many writes there were: the clock stands at 0, and every
/// timer that runs is due after its full time. So nothing has been heard of for as long as one
/// likes, and a model in which any timer may fire at any moment allows all that the world does, as
/// long as nothing rests on clocks.
///
/// Returns by how much the numbers of the writes that are on their way became smaller.
pub fn forget_time(node: &mut Node) -> u64 {
    let landed = node.persister.forget_landed();
    node.outbox.renumber(landed);
    node.now = Tick(0);
    node.jitter = Jitter::new(0);
    node.campaigns = Campaigns::default();
    node.active_at = Tick(0);
    node.leader_heard_at = None;
    let timeout = Tick(node.options.election_timeout_ticks);
    node.campaign_at = node.campaign_at.map(|_| timeout);
    match &mut node.role {
        RoleState::Leader(leader) => {
            leader.heartbeat_at = Tick(node.options.heartbeat_interval_ticks);
            leader.quorum_check_at = timeout;
            leader.forget_counting();
            for member in leader.members.iter_mut().chain(&mut leader.leaving) {
                member.heard_at = None;
            }
            if let Some(transfer) = &mut leader.transfer {
                transfer.abort_at = timeout;
            }
        }
        RoleState::Candidate { own_vote, .. } => own_vote.0 = own_vote.0.saturating_sub(landed),
        RoleState::Follower { .. } | RoleState::PreCandidate(_) => {}
    }
    landed
}
