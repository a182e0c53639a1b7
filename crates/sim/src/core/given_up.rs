//! Changes of members that a leader gives up by itself (M18), and those that it should.
//!
//! With check-quorum a leader waits for whoever can still agree to its change, and for nobody else.
//! The world judges that by what the leader was told and when, and is as mild as it can be: who may
//! be waited for is not in vain, and who advances has not stopped.

use raft::quorum::{Decision, Quorum};
use raft::{Configuration, Event, FollowerStatus, LogIndex, NodeId, Role, Status, Tick};

use super::CoreWorld;
use super::sometimes::GIVES_UP_BY_ITSELF;
use crate::Failure;

/// A leader looks once in an election timeout: within so many it has noticed since when a member
/// stands still, and that it has done so for long.
const TIMEOUTS: u64 = 2;

impl CoreWorld {
    /// What a leader knows that is about to look whether its change can be committed.
    pub(super) fn open_change(&self, id: NodeId) -> Option<Status> {
        let node = self.node(id).filter(|node| node.role() == Role::Leader)?;
        (node.configuration_index() > node.commit_index()).then(|| node.status())
    }

    /// A change has come into force, or is given up.
    pub(super) fn note_change(&mut self, id: NodeId, event: &Event) {
        if let Event::ChangeAbandoned { .. } = event {
            self.gives_up = true;
        } else if let Event::SnapshotNeeded { to, .. } = event {
            let member = self.member(id);
            let now = member.tick();
            member.seen.carried.insert(*to, now);
        } else if let Event::ConfigurationInForce { .. } = event {
            let open = self.open_change(id).map(|status| status.followers).unwrap_or_default();
            let steps = open.into_iter().map(|its| (its.id, (its.match_index, Tick(0))));
            let seen = &mut self.member(id).seen;
            (seen.steps, seen.in_vain) = (steps.collect(), None);
        }
    }

    /// A message has reached a leader: a member of an open change may have advanced.
    pub(super) fn note_step(&mut self, id: NodeId, from: NodeId) {
        if self.members[&id].seen.steps.is_empty() {
            return;
        }
        let followers = self.open_change(id).map(|status| status.followers).unwrap_or_default();
        let Some(its) = followers.iter().find(|its| its.id == from) else { return };
        let member = self.member(id);
        let now = member.tick();
        let step = member.seen.steps.entry(from).or_insert((its.match_index, now));
        if step.0 != its.match_index {
            *step = (its.match_index, now);
        }
    }

    /// A leader has given a change up by itself. Those who answer, from the disks on record, and
    /// have the change or advance towards it, could not have committed it (T150, T175).
    pub(super) fn check_given_up(&mut self, id: NodeId, open: Option<Status>) {
        let Some(open) = open.filter(|_| self.gives_up) else { return };
        self.census.meet(GIVES_UP_BY_ITSELF);
        let (now, patience) = {
            let member = &self.members[&id];
            (member.tick(), member.options.slow_follower_ticks)
        };
        let (change, index) = (&open.configuration, open.configuration_index);
        let steps = &self.members[&id].seen.steps;
        let advances = |its: &FollowerStatus| {
            let step = steps.get(&its.id).filter(|(_, at)| *at > Tick(0));
            its.match_index >= index || step.is_some_and(|(_, at)| now < at.after(patience))
        };
        let agrees = |voter: NodeId| {
            let its = open.followers.iter().find(|its| its.id == voter);
            let is_own = voter == id && open.durable_index >= index && !open.is_stranger;
            is_own
                || its.is_some_and(|its| {
                    its.is_active && speaks_from_record(change, its) && advances(its)
                })
        };
        let before = self.configuration_before(id, index);
        let can_decide = before.is_none_or(|before| self.may_decide(id, &open, now, &before));
        if commits(change, &agrees) || !can_decide {
            let detail = format!("leader {id} at {now}: {open:?}; {steps:?}");
            self.fail(id, Failure::new("a change is given up for a reason", detail));
        }
    }

    /// Whether the members before a change may be able to decide without it: with strangers in it
    /// whoever counts, else whoever has not stood still.
    fn may_decide(&self, id: NodeId, open: &Status, now: Tick, before: &Configuration) -> bool {
        let change = &open.configuration;
        let find =
            |voter: NodeId| open.followers.iter().find(|its| its.id == voter && its.is_active);
        let is_there = |voter: NodeId| {
            voter == id && !open.is_stranger
                || find(voter).is_some_and(|its| speaks_from_record(change, its))
        };
        let may_agree = |voter: NodeId| {
            let agrees =
                |its: &FollowerStatus| its.counts && !self.stands_still(id, open, its, now);
            voter == id || find(voter).is_some_and(agrees)
        };
        !commits(change, &is_there) || commits(before, &may_agree)
    }

    /// Whether a member has lacked the change for so long, without a step, that its leader must
    /// have noticed. A witness lacks nothing that it is not told yet.
    fn stands_still(&self, id: NodeId, open: &Status, its: &FollowerStatus, now: Tick) -> bool {
        let member = &self.members[&id];
        let seen = &member.seen;
        let patience = member.options.slow_follower_ticks + TIMEOUTS * seen.election_timeout_ticks;
        let is_full = !open.configuration.witnesses.contains(&its.id);
        let carried = seen.carried.get(&its.id).copied().unwrap_or_default();
        let step = seen.steps.get(&its.id).map_or(Tick(0), |(_, at)| *at);
        let at = step.max(seen.calm_since).max(carried);
        is_full && its.match_index < open.configuration_index && now > at.after(patience)
    }

    /// A leader waits, for some election timeouts, for those who can never agree to its change, and
    /// the members before it could decide without them.
    pub(super) fn waits_in_vain(&mut self, id: NodeId) -> Option<Failure> {
        let (now, timeout) = {
            let member = &self.members[&id];
            (member.tick(), member.seen.election_timeout_ticks)
        };
        self.note_snapshots(id, now);
        let is_in_vain = self.is_in_vain(id, now);
        let known = self.members[&id].seen.in_vain;
        // Who is looked at too seldom may have had its reasons between two looks.
        let known = known.filter(|(_, at)| is_in_vain && now < at.after(timeout / 4 + 1));
        let since = known.map_or(now, |(since, _)| since);
        self.member(id).seen.in_vain = is_in_vain.then_some((since, now));
        // At its first look at them a leader takes all members for active (T219).
        let first_look = self.members[&id].seen.leads_since.unwrap_or(now).after(timeout);
        let begin = since.max(first_look);
        if !is_in_vain || now <= begin.after(timeout + timeout / 4) {
            return None;
        }
        let status = self.node(id)?.status();
        let detail = format!("leader {id} waits since {since}, at {now}: {status:?}");
        Some(Failure::new("what cannot be committed is given up", detail))
    }

    /// A snapshot takes its time: who is sent one advances where nobody sees it.
    fn note_snapshots(&mut self, id: NodeId, now: Tick) {
        let followers = self.open_change(id).map(|status| status.followers).unwrap_or_default();
        let awaited = followers.into_iter().filter(|its| its.needs_snapshot);
        self.member(id).seen.carried.extend(awaited.map(|its| (its.id, now)));
    }

    fn is_in_vain(&self, id: NodeId, now: Tick) -> bool {
        let member = &self.members[&id];
        let Some(status) = self.open_change(id).filter(|_| member.options.check_quorum) else {
            return false;
        };
        let (change, index) = (&status.configuration, status.configuration_index);
        let timeout = member.seen.election_timeout_ticks;
        let find = |voter: NodeId| status.followers.iter().find(|its| its.id == voter);
        let is_gone = |its: &FollowerStatus| self.stands_still(id, &status, its, now);
        let may_agree = |voter: NodeId| {
            voter == id
                || find(voter).is_some_and(|its| speaks_from_record(change, its) && !is_gone(its))
        };
        let is_well = |its: &FollowerStatus| {
            let is_near = its.heard_at.is_some_and(|at| now < at.after(timeout * 2 / 3));
            is_near && its.counts && its.match_index >= index
        };
        let could = |voter: NodeId| {
            let is_own = voter == id && status.durable_index >= index;
            is_own || find(voter).is_some_and(is_well)
        };
        let Some(before) = self.configuration_before(id, index) else { return false };
        !commits(change, &may_agree) && commits(&before, &could) && self.may_give_up(id)
    }

    fn configuration_before(&self, id: NodeId, index: LogIndex) -> Option<Configuration> {
        let all = self.members[&id].configurations();
        let before = all.into_iter().rfind(|(at, _)| *at < index);
        before.map(|(_, before)| before.clone())
    }

    /// Whether a leader would give its change up if it was asked to now.
    fn may_give_up(&self, id: NodeId) -> bool {
        let (now, node) = (self.members[&id].tick(), self.node(id).cloned());
        node.is_some_and(|mut node| node.abandon_change(now).is_ok())
    }
}

/// Whether a member speaks from the disk that is on record for it, as far as its leader knows.
fn speaks_from_record(configuration: &Configuration, its: &FollowerStatus) -> bool {
    let recorded = configuration.incarnations.get(&its.id);
    recorded.is_none_or(|recorded| *recorded == its.incarnation)
}

/// Whether those who agree can commit a command: a witness stands in for nobody's data (M16).
fn commits(configuration: &Configuration, agrees: &dyn Fn(NodeId) -> bool) -> bool {
    let full = || configuration.voters.difference(&configuration.witnesses);
    let copies = full().filter(|voter| agrees(**voter)).count();
    let is_held = configuration.witnesses.is_empty() || 2 * copies > full().count();
    is_held && configuration.is_quorum(Decision::Commit, agrees)
}
