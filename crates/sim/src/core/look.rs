//! A look at every leader, now and then: what should have happened by now, and has not.
//!
//! Each of these is a promise with a time, and the time is that of the leader's own clock.

use raft::{Configuration, FollowerStatus, Node, NodeId, QuorumRule, Role, Tick};

use super::CoreWorld;
use super::member::Member;
use crate::Failure;

/// No node of a core world has a longer election timeout.
const TIMEOUT_TICKS_MAX: u64 = 1000;

impl CoreWorld {
    /// Looks at all leaders.
    pub(super) fn look_at_leaders(&mut self) {
        for id in self.nodes() {
            let member = &self.members[&id];
            if member.node.is_none() || member.sleeps {
                continue;
            }
            if let Some(failure) = self.undecided(id) {
                self.fail(id, failure);
            }
            let member = &self.members[&id];
            let Some(node) = member.node.as_ref() else { continue };
            if node.role() != Role::Leader {
                continue;
            }
            if let Some(failure) = self.waits_in_vain(id) {
                self.fail(id, failure);
            }
            let member = &self.members[&id];
            let Some(node) = member.node.as_ref() else { continue };
            if let Some(failure) = overdue(id, member, node).or_else(|| self.counts_wrongly(node)) {
                self.fail(id, failure);
            }
        }
    }
}

impl CoreWorld {
    /// A member counts for what its disk holds, and not while that is less than it was ever counted
    /// for (D2).
    fn counts_wrongly(&self, node: &Node) -> Option<Failure> {
        let followers = node.status().followers;
        let forgets = followers.iter().find(|its| its.counts && its.match_index < its.frontier);
        if let Some(follower) = forgets {
            let detail = format!("leader {} counts {follower:?}", node.id());
            return Some(Failure::new("who has forgotten something does not count", detail));
        }
        let lacks = |follower: &&FollowerStatus| {
            let Some(member) = self.members.get(&follower.id) else { return false };
            let is_of_now = member.disk.hard_state.current_term == node.term();
            // That an old copy of the same disk has forgotten is found out later.
            let is_it = member.options.incarnation == follower.incarnation
                && follower.incarnation.is_known()
                && !member.was_set_back;
            is_it && is_of_now && member.disk.last().index < follower.match_index
        };
        let follower = followers.iter().find(lacks)?;
        let holds = self.members[&follower.id].disk.last();
        let detail = format!("leader {}: {follower:?}, which holds {holds}", node.id());
        Some(Failure::new("a disk is counted for what it holds", detail))
    }

    /// Every read is decided in time: answered, or refused. Only a leader may wait, for a quorum or
    /// for its first entry, and not while it rests (G2).
    fn undecided(&self, id: NodeId) -> Option<Failure> {
        let member = &self.members[&id];
        let node = member.node.as_ref()?;
        let (now, seen) = (member.tick(), &member.seen);
        if node.role() == Role::Leader && !seen.rests {
            return self.unanswered(id);
        }
        // The timeout that it was asked under may have been the longest of all.
        let patience = 4 * TIMEOUT_TICKS_MAX;
        let mut open = self.open_reads.range((id, 0)..=(id, u64::MAX));
        let late = open.find_map(|key| {
            let read = self.reads.get(key)?;
            let since = read.asked_at.max(seen.calm_since);
            (read.life == member.life && now > since.after(patience)).then_some(read)
        })?;
        let detail = format!("node {id} at {now}, {:?}: {late:?}", node.role());
        Some(Failure::new("every read is decided in time", detail))
    }
}

fn overdue(id: NodeId, member: &Member, node: &Node) -> Option<Failure> {
    let seen = &member.seen;
    let now = member.tick();
    let configuration = node.configuration();
    let failure = |property: &str, what: String| {
        Some(Failure::new(property, format!("leader {id} at {now}: {what}; {configuration}")))
    };
    // T1: a disk that does not write.
    let stall_max = member.options.write_stall_ticks_max;
    let is_sole = configuration.voters.len() == 1 && !configuration.is_joint();
    let stalls = |since: Tick| now > since.after(stall_max).after(seen.heartbeat_interval_ticks);
    if !is_sole && seen.writes_since.is_some_and(stalls) && !seen.rests {
        let since = seen.writes_since;
        return failure("a leader that cannot write makes room", format!("writes since {since:?}"));
    }
    if seen.transfer_until.is_some_and(|until| now > until) && node.status().transfer_to.is_some() {
        let until = seen.transfer_until;
        return failure("a transfer ends", format!("over at {until:?}"));
    }
    if seen.rests {
        return None;
    }
    let silence = 3 * seen.heartbeat_interval_ticks;
    for to in configuration.members().filter(|to| *to != id) {
        let spoken = seen.spoken.get(&to).map_or(seen.calm_since, |(at, _)| *at);
        if now > spoken.max(seen.calm_since).after(silence) {
            return failure("a leader speaks to every member", format!("{to} since {spoken}"));
        }
    }
    let checks = member.options.check_quorum && configuration.rule == QuorumRule::Majority;
    // A voter that has just been added may not have been heard yet. What else a change is about,
    // such as a number of a disk, excuses nobody.
    let voters = &node.committed_configuration().voters;
    let is_settled = !configuration.is_joint() && configuration.voters == *voters;
    if checks && is_settled {
        let heard = heard_by_majority(id, member, configuration).max(seen.calm_since);
        if now > heard.after(3 * seen.election_timeout_ticks) {
            return failure("who hears no quorum does not lead", format!("heard at {heard}"));
        }
    }
    None
}

/// When the last of a majority was heard, at the latest.
fn heard_by_majority(id: NodeId, member: &Member, configuration: &Configuration) -> Tick {
    let heard = |voter: &NodeId| {
        let at = member.seen.heard.get(voter).copied().unwrap_or_default();
        if *voter == id { member.tick() } else { at }
    };
    let mut times: Vec<Tick> = configuration.voters.iter().map(heard).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    times.get(times.len() / 2).copied().unwrap_or_default()
}
