//! One step of one node: everything is checked, and all that follows from it is done.

use raft::invariants::{self, Before, Cluster as Checker};
use raft::*;

use super::{Cluster, id};

impl Cluster {
    /// One step of one node, with everything checked, and all that follows from it at once.
    pub(crate) fn act<T>(&mut self, node: u64, act: impl FnOnce(&mut Node) -> T) -> T {
        self.steps += 1;
        let member = self.member(node);
        let mut raft = member.node.take().expect("the node is not crashed");
        let before = Before::of(&raft);
        let result = act(&mut raft);
        let output = raft.take_output();
        let checked = before.check(&raft).and_then(|()| invariants::check_state(&raft));
        let observed = checked.and_then(|()| self.checker.observe(&raft));
        if let Err(violation) = observed {
            panic!("node {node}: {violation:?}\n{}", self.lines.join("\n"));
        }
        self.check_commit(node, &raft);
        self.member(node).node = Some(raft);
        self.absorb(node, output);
        result
    }

    fn check_commit(&mut self, node: u64, raft: &Node) {
        let status = raft.status();
        let seen = (status.hard_state.current_term, status.commit_index);
        self.committed_max = self.committed_max.max(status.commit_index);
        let is_news = self.commits.insert(node, seen).is_none_or(|before| before.1 < seen.1);
        if is_news && status.role == Role::Leader && !self.disks_were_lost {
            let holds = |voter: NodeId, entry| {
                self.members.get(&voter.0).is_some_and(|member| member.disk.durable().holds(entry))
            };
            if let Err(violation) = Checker::observe_commit(raft, holds) {
                panic!("node {node}: {violation:?}\n{}", self.lines.join("\n"));
            }
        }
    }

    fn absorb(&mut self, node: u64, output: Output) {
        for event in &output.events {
            self.lines.push(format!("n{node} {event}"));
        }
        self.check_slowness(node, &output.slow_followers);
        output.reads.iter().for_each(|read| self.check_named_write(node, *read));
        let member = self.members.get_mut(&node).unwrap();
        for message in &output.messages {
            let checked = member.disk.durable().check(message);
            let observed = checked.and_then(|()| self.checker.observe_message(message));
            if let Err(violation) = observed {
                panic!("node {node}: {violation:?}\n{}", self.lines.join("\n"));
            }
        }
        self.network.extend(output.messages);
        if let Some(by) = output.removed {
            assert!(by.configuration.removed.contains(&id(node)), "node {node}: {by:?}");
            assert!(by.last.index <= self.committed_max, "only what is committed ends a node");
            member.removed_by = Some(*by);
        }
        for read in output.reads {
            member.reads.push(read);
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
        let (disk_is_instant, apply_is_instant, fetch_is_instant) =
            (member.disk_is_instant, member.apply_is_instant, member.fetch_is_instant);
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
        // What these lead to comes by here again: only the outermost goes on, or a disk with a long
        // queue would go as deep as that is long.
        if std::mem::replace(&mut self.member(node).is_settling, true) {
            return;
        }
        while (apply_is_instant && self.report_applied(node))
            || (disk_is_instant && self.write_one(node))
            || (fetch_is_instant && self.fetch_one(node))
        {}
        self.member(node).is_settling = false;
    }

    /// What is read behind a write is read behind that very write, not another at its place (C10).
    fn check_named_write(&self, node: u64, read: ReadOutcome) {
        let Some(write) = self.writes_named.get(&(node, read.context)) else { return };
        let there = self.node(node).id_at(write.index);
        let is_it = there.is_none_or(|there| there == *write);
        assert!(is_it || read.result.is_err(), "{write} is read, but {there:?} is there");
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
