//! Leases, by somebody who knows what time it truly is.
//!
//! A read on a lease that should be over is wrong whether or not anybody has committed something
//! since, and so is a commit while an older lease may run, whether or not anybody reads on it. A
//! world sees each of them alone, and need not wait for the two to meet.

use std::time::Duration;

use env::Moment;
use raft::{
    Body, Configuration, Entry, EntryId, Event, LeaseClock, LeaseTerms, LogIndex, Message, Node,
    NodeId, QuorumRule, Role,
};

use super::CoreWorld;
use super::clocks::{lease_of, true_us};
use crate::Failure;

/// What ticks may hide, on each side.
const ROUNDING_US: u64 = 2_500;
const MILLION: u64 = 1_000_000;

/// How long, in true time, somebody may read on an entry under these terms.
fn reading_us(terms: LeaseTerms) -> u64 {
    match terms.clock {
        LeaseClock::Monotonic => {
            terms.duration_us * MILLION / (MILLION + u64::from(terms.drift_ppm))
        }
        LeaseClock::Declared { .. } => terms.duration_us,
    }
}

impl CoreWorld {
    /// Follows what leases rest on.
    pub(super) fn watch_leases(&mut self, id: NodeId, event: &Event) {
        if let Event::Appended { first, last } = event
            && self.role_of(id) == Some(Role::Leader)
            && self.options.members.lease.is_some()
        {
            let now = self.now();
            for index in first.index.0..=last.index.0 {
                let entry = EntryId { term: first.term, index: LogIndex(index) };
                self.appended_at.entry(entry).or_insert(now);
            }
        }
        if let Event::BecameLeader { .. } = event {
            let until = self.older_leases_run_until(id);
            self.member(id).seen.waits_until = until;
        }
        if let Event::GuardedRead { .. } = event
            && let Some(why) = self.reads_too_long(id)
        {
            let detail = format!("node {id}: {why}");
            self.fail(id, Failure::new("nobody reads on a lease that is over", detail));
        }
        if let Event::TransferRequested { .. } = event {
            self.member(id).seen.has_called = true;
        }
        let gave_up_in = self.members[&id].seen.gave_lease_up_in;
        if matches!(event, Event::GuardedRead { .. })
            && gave_up_in.is_some()
            && gave_up_in == self.node(id).map(Node::term)
        {
            let detail = format!("node {id} reads on it in {gave_up_in:?}");
            self.fail(id, Failure::new("who has given its lease up has none", detail));
        }
        if matches!(event, Event::LeaseRead { .. }) && self.members[&id].seen.has_called {
            // E19: the call may arrive at any time, and promises do not bind who is called.
            let detail = format!("node {id} reads on it, and has called a successor");
            self.fail(id, Failure::new("who has called a successor has no lease", detail));
        }
        if let Event::LeaseRead { .. } = event
            && let Some(why) = self.is_not_promised(id)
        {
            let detail = format!("node {id}: {why}");
            self.fail(id, Failure::new("a lease rests on promises that hold", detail));
        }
    }

    /// A leader tells a successor that its lease is over: so it is, for as long as it leads (E19).
    pub(super) fn note_lease_given_up(&mut self, message: &Message) {
        if let Body::TimeoutNow { lease_ended: true } = message.body {
            self.member(message.from).seen.gave_lease_up_in = Some(message.term);
        }
    }

    /// A leader commits, for the first time in its term or not. It may go by a clock, which may
    /// have begun to lie since it was elected: then nothing is promised.
    pub(super) fn check_wait(&self, node: &Node) -> Option<Failure> {
        let until = self.members[&node.id()].seen.waits_until.filter(|_| !self.clocks_have_lied)?;
        let now = self.now();
        (now < until).then(|| {
            let detail = format!("leader {} commits at {now:?}, not after {until:?}", node.id());
            Failure::new("nothing is committed while an older lease may run", detail)
        })
    }

    /// Until when an earlier leader may read on an entry of this log, at least. What it knows to be
    /// committed counts from there on: no leader reads on under terms that are older than that.
    fn older_leases_run_until(&self, id: NodeId) -> Option<Moment> {
        let member = &self.members[&id];
        let node = member.node.as_ref()?;
        if member.seen.lease_ended_for.contains(&node.term()) || self.clocks_have_lied {
            return None;
        }
        let mut last = node.last().index;
        while node.id_at(last).is_some_and(|entry| entry.term == node.term()) {
            last = LogIndex(last.0 - 1);
        }
        let all = member.configurations();
        let first = all.iter().rposition(|(at, _)| *at <= node.commit_index()).unwrap_or(0);
        let ends = all[first..].iter().enumerate().filter_map(|(place, (_, configuration))| {
            // The newest entry under these terms.
            let behind = all.get(first + place + 1).map_or(last, |(at, _)| LogIndex(at.0 - 1));
            let terms = configuration.lease?;
            let lease = match terms.clock {
                LeaseClock::Monotonic => behind.min(last),
                LeaseClock::Declared { .. } => {
                    let known = member.seen.leases.range(..=behind.min(last)).next_back();
                    known.map(|(at, _)| *at).or_else(|| self.lease_under(node.mark().index))?
                }
            };
            let entry = node.id_at(lease).or_else(|| self.names.get(&lease).copied())?;
            let at = self.appended_at.get(&entry)?;
            let runs_us = reading_us(terms).saturating_sub(ROUNDING_US);
            Some(at.after(Duration::from_micros(runs_us)))
        });
        ends.max()
    }

    /// The newest lease that was committed up to there.
    fn lease_under(&self, mark: LogIndex) -> Option<LogIndex> {
        let mut upto = self.lease_ids.range(..=mark).rev();
        let is_committed = |(index, entry): &(&LogIndex, &EntryId)| {
            self.names.get(index).is_some_and(|name| name == *entry)
        };
        upto.find(is_committed).map(|(index, _)| *index)
    }

    /// A leader writes entries, of which some are leases.
    pub(super) fn note_lease_entries(&mut self, entries: &[Entry]) {
        let leases = entries.iter().filter(|entry| lease_of(entry).is_some());
        self.lease_ids.extend(leases.map(|entry| (entry.id.index, entry.id)));
    }

    /// Why no lease of this leader can run any more.
    fn reads_too_long(&self, id: NodeId) -> Option<String> {
        let member = &self.members[&id];
        let knows = !self.clocks_have_lied && self.forgetful.is_empty();
        let node = member.node.as_ref().filter(|_| knows)?;
        let terms = node.configuration().lease?;
        let is_elsewhere = |entry: EntryId| {
            let others = node.configuration().members().filter(|other| *other != id);
            let mut others = others.filter_map(|other| self.members.get(&other));
            // By other rules one voter may be a quorum.
            let is_common = node.configuration().rule == QuorumRule::Majority;
            let is_alone = node.configuration().voters.len() == 1 || !is_common;
            is_alone || others.any(|other| other.disk.durable().holds(entry))
        };
        let counts = |index: &LogIndex| {
            let entry = node.id_at(*index);
            *index <= node.commit_index() || entry.is_some_and(is_elsewhere)
        };
        let (lease, ends_us) = match terms.clock {
            LeaseClock::Declared { .. } => {
                let mut leases = member.seen.leases.iter().rev();
                let (index, at) = leases.find(|(index, _)| counts(index))?;
                (*index, at.earliest_us + self.least_us(id, *index, terms.clock))
            }
            LeaseClock::Monotonic => {
                let mut indexes = (1..=node.last().index.0).rev().map(LogIndex);
                let index = indexes.find(counts)?;
                let at = self.appended_at.get(&node.id_at(index)?)?;
                let runs_us = self.least_us(id, index, terms.clock) + ROUNDING_US;
                (index, true_us(*at) + runs_us)
            }
        };
        let now_us = true_us(self.now());
        (now_us >= ends_us).then(|| format!("reads at {now_us}; {lease} ended at {ends_us}"))
    }

    /// The shortest that an entry may be read on under the terms from there on.
    pub(super) fn least_us(&self, id: NodeId, index: LogIndex, clock: LeaseClock) -> u64 {
        let is_declared = |clock| matches!(clock, LeaseClock::Declared { .. });
        let all = self.members[&id].configurations();
        let first = all.iter().rposition(|(at, _)| *at <= index).unwrap_or(0);
        let us_of = |(_, configuration): &(LogIndex, &Configuration)| {
            let terms = configuration.lease;
            let same = terms.filter(|terms| is_declared(terms.clock) == is_declared(clock));
            same.map_or(0, reading_us)
        };
        all[first..].iter().map(us_of).min().unwrap_or(0)
    }

    /// Why this leader has no lease of the voters': too few of them have heard it in time.
    fn is_not_promised(&self, id: NodeId) -> Option<String> {
        let node = self.node(id)?;
        let configuration = node.configuration();
        let is_plain = configuration.rule == QuorumRule::Majority;
        let drift_ppm = u64::from(self.members[&id].options.lease_drift_ppm?);
        let timeout_us = self.members[&id].seen.election_timeout_ticks * 1000;
        let lease_us = timeout_us * MILLION / (MILLION + drift_ppm);
        let now_us = true_us(self.now());
        let promises = |voter: &&NodeId| {
            let heard = self.members.get(voter).and_then(|member| member.heard_truly);
            let is_near = heard.is_some_and(|(leader, term, at)| {
                (leader, term) == (id, node.term()) && now_us < true_us(at) + lease_us
            });
            **voter == id || is_near
        };
        let voters = &configuration.voters;
        let near = voters.iter().filter(promises).count();
        let is_lacking = is_plain && !configuration.is_joint() && near * 2 <= voters.len();
        is_lacking.then(|| format!("{near} of {voters:?} have heard it in time"))
    }
}

#[cfg(test)]
mod tests {
    use raft::Term;

    use super::*;
    use crate::core::CoreOptions;

    /// A leader of a later term than `term`, that has committed in its own.
    fn leads_since(world: &mut CoreWorld, term: Term) -> NodeId {
        let has_led = |world: &CoreWorld| {
            let leader = world.leader().and_then(|id| world.node(id));
            leader.is_some_and(|node| {
                node.term() > term
                    && node.id_at(node.commit_index()).is_some_and(|id| id.term == node.term())
            })
        };
        assert!(world.run_until(Duration::from_secs(5), has_led), "somebody leads");
        world.leader().expect("it was there a moment ago")
    }

    /// T123: n1 gives its lease up for term t + 1. Before n2 is elected in it, a call of term t - 1
    /// arrives again, and tells of term t.
    #[test]
    fn an_old_call_takes_back_nothing_that_a_newer_one_said() {
        for seed in 0..10 {
            let mut options = CoreOptions::new(seed, 3);
            options.members.lease = Some(LeaseTerms::monotonic(1_000_000, 500));
            let mut world = CoreWorld::new(&options);
            world.start_all();
            let first = leads_since(&mut world, Term(0));
            let term = world.node(first).expect("it is on").term();
            let second = NodeId(1 + first.0 % 3);
            world.run_ms(100);
            world.transfer(first, Some(second)).expect("it leads");
            let campaigns = |world: &CoreWorld| world.role_of(second) == Some(Role::Candidate);
            assert!(world.run_until(Duration::from_millis(100), campaigns), "seed {seed}");
            let body = Body::TimeoutNow { lease_ended: true };
            let old = Message::new(first, second, Term(term.0 - 1), body);
            world.arrive(0, old);
            let called_at = world.now();
            assert_eq!(leads_since(&mut world, term), second, "seed {seed}");
            assert!(world.now() < called_at.after(Duration::from_millis(200)), "it need not wait");
            assert!(world.broken().is_none(), "{:?}", world.broken());
        }
    }

    /// And an old call alone excuses nobody from waiting: the checker still expects the wait.
    #[test]
    fn an_old_call_tells_nothing_of_a_later_term() {
        let mut options = CoreOptions::new(3, 3);
        options.members.lease = Some(LeaseTerms::monotonic(1_000_000, 500));
        let mut world = CoreWorld::new(&options);
        world.start_all();
        let first = leads_since(&mut world, Term(0));
        let term = world.node(first).expect("it is on").term();
        for other in world.nodes().into_iter().filter(|id| *id != first) {
            let body = Body::TimeoutNow { lease_ended: true };
            world.arrive(0, Message::new(first, other, Term(term.0 - 1), body));
        }
        world.crash(first);
        let crashed_at = world.now();
        let next = leads_since(&mut world, term);
        let waits_until = world.members[&next].seen.waits_until;
        assert!(waits_until.is_some_and(|until| until > crashed_at), "{waits_until:?}");
    }
}
