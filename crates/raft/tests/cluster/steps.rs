//! One step of one node: everything is checked, and all that follows from it is done.

use raft::invariants::{self, Before, Cluster as Checker, Decided, InForce};
use raft::quorum::{Decision, Quorum};
use raft::*;

use super::{Cluster, id};

impl Cluster {
    /// One step of one node, with everything checked, and all that follows from it at once.
    pub(crate) fn act<T>(&mut self, node: u64, act: impl FnOnce(&mut Node) -> T) -> T {
        self.steps += 1;
        let member = self.member(node);
        let mut raft = member.node.take().expect("the node is not crashed");
        let before = Before::of(&raft);
        let in_force = InForce::of(&raft);
        let result = act(&mut raft);
        let output = raft.take_output();
        let checked = before.check(&raft).and_then(|()| invariants::check_state(&raft));
        let observed = checked.and_then(|()| self.checker.observe(&raft));
        let observed = observed.and_then(|()| in_force.decided(&raft, &output.events));
        let decided = match observed {
            Ok(decided) => decided,
            Err(violation) => panic!("node {node}: {violation:?}\n{}", self.lines.join("\n")),
        };
        self.committed_max = self.committed_max.max(raft.commit_index());
        decided.iter().for_each(|decided| self.check_commit(node, &raft, decided));
        self.member(node).node = Some(raft);
        self.absorb(node, output);
        result
    }

    fn check_commit(&mut self, node: u64, raft: &Node, decided: &Decided) {
        let holds = |voter: NodeId, entry| {
            self.members.get(&voter.0).is_some_and(|member| member.disk.durable().holds(entry))
        };
        if !self.disks_were_lost
            && let Err(violation) = Checker::observe_commit(raft, decided, holds)
        {
            panic!("node {node}: {violation:?}\n{}", self.lines.join("\n"));
        }
        let Decided { entry, by, .. } = decided;
        // Who lacks the entry does not know of what stands behind it in the log either.
        let before = self.known_before(*entry);
        assert!(
            !self.promises_hold
                || !self.may_be_elected_without(before.as_ref().unwrap_or(by), *entry),
            "leader {node} commits {entry} by {by}, and who lacks it can elect\n{}",
            self.lines.join("\n")
        );
    }

    /// The configuration in force before an entry, from the disk of anybody who has both.
    fn known_before(&self, entry: EntryId) -> Option<Configuration> {
        let disks = self.members.values().map(|member| &member.disk);
        let mut disks = disks.filter(|disk| {
            disk.durable().holds(entry)
                && disk.mark.last.index < entry.index
                && !disk.mark.configuration.voters.is_empty()
        });
        let disk = disks.next()?;
        let behind = disk.restored(0).configurations.into_iter();
        let before = behind.filter(|(index, _)| *index < entry.index).last();
        Some(before.map_or_else(|| disk.mark.configuration.clone(), |(_, before)| before))
    }

    /// Whether the voters whose disks lack an entry, and whose word counts, are enough to elect.
    pub(crate) fn may_be_elected_without(&self, by: &Configuration, entry: EntryId) -> bool {
        by.is_quorum(Decision::Election, &|voter| {
            let Some(member) = self.members.get(&voter.0) else { return false };
            let recorded = by.incarnations.get(&voter);
            let is_stranger = recorded.is_some_and(|at| *at != member.options.incarnation);
            !is_stranger && !member.disk.durable().holds(entry)
        })
    }

    fn absorb(&mut self, node: u64, output: Output) {
        for event in &output.events {
            self.lines.push(format!("n{node} {event}"));
        }
        self.check_slowness(node, &output.slow_followers);
        output.reads.iter().for_each(|read| self.check_named_write(node, *read));
        output.reads.iter().for_each(|read| self.check_lag(node, *read));
        output.messages.iter().for_each(|message| self.check_rest(message));
        let member = self.members.get_mut(&node).unwrap();
        for message in &output.messages {
            let checked = member.disk.durable().check(message);
            // A disk that was lost has forgotten whom it voted for; that is told by its number.
            let observed = self.checker.observe_message(message);
            let observed = if member.is_forgetful { Ok(()) } else { observed };
            if let Err(violation) = checked.and(observed) {
                panic!("node {node}: {violation:?}\n{}", self.lines.join("\n"));
            }
        }
        self.network.extend(output.messages);
        if let Some(by) = output.removed {
            assert!(by.configuration.removed.contains(&id(node)), "node {node}: {by:?}");
            assert!(by.last.index <= self.committed_max, "only what is committed ends a node");
            member.removed_by = Some(*by);
        }
        self.take_reads(node, output.reads);
        let member = self.member(node);
        member.fetches.extend(output.fetches);
        member.snapshots_wanted.extend(output.send_snapshots);
        member.in_flight.extend(output.persists);
        if let Err(violation) = self.checker.observe_applied(id(node), &output.committed) {
            panic!("node {node}: {violation:?}\n{}", self.lines.join("\n"));
        }
        let member = self.member(node);
        if let Some(last) = output.committed.last() {
            member.unreported = Some(last.id.index);
        }
        member.applied.extend(output.committed);
        let now = member.now;
        if let Some(mark) = output.install_snapshot {
            assert!(
                member.disk.mark.last >= mark.last,
                "the state is replaced only when the log that follows it is durable (S1)"
            );
            member.applied.clear();
            member.disk.applied = mark.last.index;
            self.input(node, now, Input::SnapshotInstalled(mark));
        }
        self.settle(node);
    }

    /// No read misses what was committed when it was asked for, or says where to look for it.
    fn take_reads(&mut self, node: u64, reads: Vec<ReadOutcome>) {
        for read in reads {
            self.member(node).reads.push(read);
            let floor = self.read_floors.get(&(node, read.context)).copied().unwrap_or_default();
            // What is committed lies up to the index, or in the limbo that was told.
            let covers = |point: ReadPoint| point.limbo.map_or(point.index, |limbo| limbo.last);
            assert!(
                read.result.is_err() || read.result.is_ok_and(|point| covers(point) >= floor),
                "node {node} answers a read at {read:?}, but {floor:?} was committed before it"
            );
            let is_blind = self.blind_reads.contains(&(node, read.context));
            let limbo = read.result.ok().and_then(|point| point.limbo);
            assert!(!is_blind || limbo.is_none(), "nobody looks at {limbo:?}, but it is answered");
            let line = match read.result {
                Ok(ReadPoint { index, limbo: None }) => format!("at={index}"),
                Ok(ReadPoint { index, limbo: Some(Limbo { first, last }) }) => {
                    format!("at={index} limbo={first}..{last}")
                }
                Err(error) => format!("refused: {error}"),
            };
            self.lines.push(format!("n{node} read {} {line}", read.context));
        }
    }

    /// What is as fast as thought.
    fn settle(&mut self, node: u64) {
        // What these lead to comes by here again: only the outermost goes on, or a disk with a long
        // queue would go as deep as that is long.
        if std::mem::replace(&mut self.member(node).is_settling, true) {
            return;
        }
        let member = self.member(node);
        let (disk_is_instant, apply_is_instant, fetch_is_instant) =
            (member.disk_is_instant, member.apply_is_instant, member.fetch_is_instant);
        let mut is_busy = true;
        for _ in 0..100_000 {
            is_busy = (apply_is_instant && self.report_applied(node))
                || (disk_is_instant && self.write_one(node))
                || (fetch_is_instant && self.fetch_one(node));
            if !is_busy {
                break;
            }
        }
        let asked = &self.members[&node].fetches;
        assert!(!is_busy, "node {node} asks {asked:?} in a circle:\n{}", self.lines.join("\n"));
        self.member(node).is_settling = false;
    }

    /// What is read behind a write is read behind that very write, not another at its place (C10).
    fn check_named_write(&self, node: u64, read: ReadOutcome) {
        let Some(write) = self.writes_named.get(&(node, read.context)) else { return };
        let there = self.node(node).id_at(write.index);
        let is_it = there.is_none_or(|there| there == *write);
        assert!(is_it || read.result.is_err(), "{write} is read, but {there:?} is there");
    }

    /// A stale read lacks no more than it may of what the leader spoke of, whatever is here.
    fn check_lag(&self, node: u64, read: ReadOutcome) {
        let (Some(lag), Ok(point)) = (self.lags.get(&(node, read.context)), read.result) else {
            return;
        };
        let (term, claimed) = self.claims.get(&node).copied().unwrap_or_default();
        let is_within = term != self.node(node).term() || claimed.0 <= point.index.0 + lag;
        assert!(is_within, "node {node} reads at {point:?}, {claimed} was spoken of, lag {lag}");
    }

    /// G1: a group rests when everything is said: every member's disk has all of the log.
    fn check_rest(&self, message: &Message) {
        let Body::Quiesce { last, commit_index } = &message.body else { return };
        let leader = self.node(message.from.0);
        assert_eq!(last.index, *commit_index, "what is not committed is not left alone");
        for member in leader.configuration().members() {
            let has_all =
                self.members.get(&member.0).is_none_or(|member| member.disk.durable().holds(*last));
            assert!(
                has_all || self.disks_were_lost,
                "leader {} rests, and {member} lacks {last}\n{}",
                message.from,
                self.lines.join("\n")
            );
        }
    }

    /// Who is slow stays so for half the patience at least, and is not called so twice.
    fn check_slowness(&mut self, node: u64, news: &[SlowFollower]) {
        let (now, term) = (self.members[&node].now, self.node(node).term());
        let patience = self.members[&node].options.slow_follower_ticks / 2;
        for follower in news {
            let key = (id(node), term, follower.node);
            let before = self.slowness.insert(key, (now, follower.is_slow));
            let is_due = before.is_none_or(|(at, was_slow)| {
                was_slow != follower.is_slow && now >= at.after(patience)
            });
            assert!(is_due, "{follower} after {before:?}, with a patience of {patience} ticks");
        }
    }

    /// The state machine says how far it has come.
    pub(crate) fn report_applied(&mut self, node: u64) -> bool {
        let member = self.member(node);
        let Some(index) = member.unreported.take() else { return false };
        let now = member.now;
        self.input(node, now, Input::Applied(index));
        true
    }

    /// The disk finishes its oldest write.
    pub(crate) fn write_one(&mut self, node: u64) -> bool {
        let member = self.member(node);
        let Some(persist) = member.in_flight.pop_front() else { return false };
        let (number, now) = (persist.number, member.now);
        member.disk.write(persist);
        self.input(node, now, Input::Persisted(number));
        true
    }

    /// The log answers the oldest fetch.
    pub(crate) fn fetch_one(&mut self, node: u64) -> bool {
        let member = self.member(node);
        let Some(fetch) = member.fetches.pop_front() else { return false };
        let mut bytes = 0;
        let wanted = |entry: &&Entry| fetch.from <= entry.id.index && entry.id.index < fetch.to;
        let fits = |entry: &&Entry| {
            bytes += entry.size_bytes();
            bytes <= fetch.bytes_max || entry.id.index == fetch.from
        };
        let entries: Vec<Entry> =
            member.disk.entries.iter().filter(wanted).take_while(fits).cloned().collect();
        let now = member.now;
        self.input(node, now, Input::Fetched { from: fetch.from, entries });
        true
    }
}
