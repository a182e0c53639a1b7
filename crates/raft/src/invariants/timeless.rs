//! A node without its past, for a model checker: two nodes that differ only in how they came to
//! where they are must be one.

use core::hash::{Hash, Hasher};

use crate::jitter::Jitter;
use crate::leadership::Campaigns;
use crate::preference::HandOvers;
use crate::progress::standstill::Standstill;
use crate::role::RoleState;
use crate::{Node, Tick};

/// What no clock of a model comes to.
const NEVER: Tick = Tick(u64::MAX / 8);

/// Forgets the time, the dice, and how many writes there were: the clock stands at 0, and every
/// timer that runs is due after its full time. So nothing has been heard of for as long as one
/// likes, and a model in which any timer may fire at any moment allows all that the world does, as
/// long as nothing rests on clocks.
///
/// Returns by how much the numbers of the writes that are on their way became smaller.
pub fn forget_time(node: &mut Node) -> u64 {
    let is_timer = node.now > Tick(0);
    let landed = forget_dice(node);
    node.active_at = Tick(0);
    node.leader_heard_at = None;
    // At rest it matters who has answered since the last heartbeat, and that alone.
    let has_answered = node.options.quiesce_after_ticks.is_some() && !is_timer;
    let timeout = Tick(node.options.election_timeout_ticks);
    node.campaign_at = node.campaign_at.map(|_| timeout);
    match &mut node.role {
        RoleState::Leader(leader) => {
            leader.heartbeat_at = Tick(node.options.heartbeat_interval_ticks);
            leader.quorum_check_at = timeout;
            leader.forget_counting();
            for member in leader.books_mut() {
                member.heard_at = member.heard_at.filter(|_| has_answered).map(|_| Tick(0));
                member.standstill = Standstill::default();
            }
            if let Some(transfer) = &mut leader.transfer {
                transfer.abort_at = timeout;
            }
        }
        RoleState::Follower { .. } | RoleState::PreCandidate(_) | RoleState::Candidate { .. } => {}
    }
    landed
}

/// Forgets the dice, and how many writes there were, but not the time: no timer of elections and
/// heartbeats ever fires, and a model calls for elections when it likes. Promises, waits and leases
/// are as they are, and are forgotten when they are over.
///
/// Returns by how much the numbers of the writes that are on their way became smaller.
pub fn hold_timers(node: &mut Node, now: Tick) -> u64 {
    let landed = forget_dice(node);
    node.active_at = Tick(0);
    node.campaign_at = node.campaign_at.map(|_| NEVER);
    let timeout = node.options.election_timeout_ticks;
    node.leader_heard_at = node.leader_heard_at.filter(|heard| now < heard.after(timeout));
    let waits = node.configurations.current().lease;
    let waits = waits.map_or(0, |terms| terms.waiting_ticks(node.options.tick_us));
    if node.log_grew_at.after(waits) <= now {
        node.log_grew_at = Tick(0);
    }
    if let RoleState::Leader(leader) = &mut node.role {
        leader.heartbeat_at = NEVER;
        leader.quorum_check_at = NEVER;
        leader.forget_counting();
        for member in leader.books_mut() {
            member.heard_at = None;
            member.silent_since = Tick(0);
            member.standstill = Standstill::default();
            member.fed.forget_time();
        }
    }
    landed
}

fn forget_dice(node: &mut Node) -> u64 {
    let landed = node.persister.forget_landed();
    node.outbox.renumber(landed);
    if let RoleState::Candidate { own_vote, .. } = &mut node.role {
        own_vote.0 = own_vote.0.saturating_sub(landed);
    }
    node.now = Tick(0);
    node.jitter = Jitter::new(0);
    node.campaigns = Campaigns::default();
    node.hand_overs = HandOvers::default();
    landed
}

/// Hashes all that tells two nodes with the same options apart.
pub fn hash(node: &Node, hasher: &mut impl Hasher) {
    let Node {
        options: _,
        hard_state,
        role,
        log,
        configurations,
        commit_index,
        apply,
        persister,
        outbox,
        output,
        fetching,
        forwarded,
        awaited,
        log_grew_at,
        lease_ended_for,
        lease_times,
        reordered,
        claimed_commit_index,
        proven_index,
        faults,
        jitter,
        now,
        campaign_at,
        campaigns,
        hand_overs,
        is_resting,
        active_at,
        elections_are_paused,
        leader_heard_at,
        removal,
        group_commit,
        questions,
    } = node;
    (hard_state, role, log, configurations, commit_index, apply, persister, outbox).hash(hasher);
    (output, fetching, forwarded, awaited, log_grew_at, lease_ended_for, lease_times).hash(hasher);
    (reordered, claimed_commit_index, proven_index, faults, jitter, now, campaign_at).hash(hasher);
    (campaigns, hand_overs, is_resting, active_at, elections_are_paused).hash(hasher);
    (leader_heard_at, removal, group_commit, questions).hash(hasher);
}
