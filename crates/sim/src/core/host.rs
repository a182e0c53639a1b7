//! The host of a node of a core world: its disk, its applier, and what it carries for others.

use std::time::Duration;

use raft::{Body, Entry, Fetch, Input, Message, NodeId, SendSnapshot, SnapshotMark};

use super::CoreWorld;
use super::happening::Happening;
use super::sometimes::SLOW_WRITE;
use crate::Failure;

/// A stage that stands still is asked again after so long.
const BULK_HANGS: Duration = Duration::from_millis(100);
/// A report of a host that comes once more comes so late.
const LATE_MS: u64 = 400;

impl CoreWorld {
    pub(super) fn synced(&mut self, id: NodeId) {
        let member = self.member(id);
        if member.hangs {
            // The answer comes when the disk does.
            member.syncing = 0;
            return;
        }
        let count = std::mem::take(&mut member.syncing).min(member.in_flight.len());
        let mut newest = None;
        for persist in member.in_flight.drain(..count) {
            newest = Some(persist.number);
            member.disk.write(persist);
        }
        let now = member.tick();
        member.seen.writes_since = Some(now).filter(|_| !member.in_flight.is_empty());
        if let Some(number) = newest {
            self.input(id, Input::Persisted(number));
            self.report_again(id, Input::Persisted(number));
        }
        self.sync(id);
    }

    /// Hosts are many threads, and may say a thing twice, the second time after newer ones.
    fn report_again(&mut self, id: NodeId, input: Input) {
        let permille = self.options.late_reports_permille;
        if permille > 0 && self.dice.below(1000) < permille {
            self.census.meet("sometimes: a report of a host comes late once more");
            let life = self.members[&id].life;
            let after = Duration::from_millis(self.dice.below(LATE_MS));
            self.later(after, Happening::Report { node: id, life, input });
        }
    }

    /// Some time between the two.
    pub(super) fn some_time(&mut self, (min, max): (Duration, Duration)) -> Duration {
        let range = u64::try_from((max - min).as_nanos()).unwrap_or(u64::MAX - 1);
        if range == 0 { min } else { min + Duration::from_nanos(self.dice.below(range + 1)) }
    }

    /// Begins to make durable what waits for it.
    pub(super) fn sync(&mut self, id: NodeId) {
        let (min, max) = self.write_time;
        let range = u64::try_from((max - min).as_nanos()).unwrap_or(u64::MAX - 1);
        let mut time = min + Duration::from_nanos(self.dice.below(range + 1));
        let is_slow = time > self.options.write_time.1;
        let now = self.now();
        let member = self.member(id);
        if member.syncing == 0 && !member.in_flight.is_empty() && !member.hangs {
            if std::mem::take(&mut member.lingers) {
                time = max * 4 + Duration::from_millis(20);
            }
            member.syncing = member.in_flight.len();
            if now < member.crawls_until {
                // One step at a time, and each in time for whoever looks for steps.
                member.syncing = 1;
                time = Duration::from_millis(member.options.slow_follower_ticks / 4);
            }
            let life = member.life;
            self.later(time, Happening::Synced { node: id, life });
            self.census.add(SLOW_WRITE, u64::from(is_slow));
        }
    }

    pub(super) fn apply(&mut self, id: NodeId) {
        let member = self.member(id);
        member.applies = false;
        if member.applier_hangs {
            return;
        }
        let entries = std::mem::take(&mut member.to_apply);
        let Some(last) = entries.last().map(|entry| entry.id.index) else { return };
        self.execute(id, &entries);
        let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
        self.acknowledge(id, &ids);
        self.input(id, Input::Applied(last));
        self.report_again(id, Input::Applied(last));
        // Whoever joins is tempted to cut its log before it knows where it is.
        let joins = self.members[&id].disk.mark.configuration.voters.is_empty();
        let permille = if joins { 1000 } else { self.options.compact_permille };
        if permille > 0 && self.dice.below(1000) < permille && self.is_on(id) {
            if joins {
                self.census.meet("sometimes: a member that joins cuts its log");
            }
            self.compact(id);
        }
    }

    pub(super) fn fetched(&mut self, id: NodeId, fetch: Fetch) {
        if self.members[&id].bulk_hangs {
            let life = self.members[&id].life;
            return self.later(BULK_HANGS, Happening::Fetched { node: id, life, fetch });
        }
        let mut bytes = 0;
        let entries = &self.members[&id].disk.entries;
        let begin = entries.partition_point(|entry| entry.id.index < fetch.from);
        let wanted = entries[begin..].iter().take_while(|entry| {
            bytes += entry.size_bytes();
            let fits = bytes <= fetch.bytes_max || entry.id.index == fetch.from;
            fits && entry.id.index < fetch.to
        });
        let mut entries: Vec<Entry> = wanted.cloned().collect();
        if entries.first().is_some_and(|first| first.id.index != fetch.from) {
            entries.clear();
        }
        let found = !entries.is_empty();
        self.member(id).seen.fetches.clear();
        // Every fetch is answered, also one of what was cut meanwhile: the node asks once.
        self.input(id, Input::Fetched { from: fetch.from, entries });
        if found {
            self.check_read(id, fetch.from);
        }
    }

    /// The hosts carry a snapshot to a follower that needs one.
    pub(super) fn carry(&mut self, id: NodeId, wanted: SendSnapshot) {
        if self.members[&id].bulk_hangs {
            let life = self.members[&id].life;
            return self.later(BULK_HANGS, Happening::Carry { node: id, life, wanted });
        }
        let permille = self.options.lost_snapshots_permille;
        if permille > 0 && self.dice.below(1000) < permille {
            self.census.meet("sometimes: a snapshot is not delivered");
            return self.input(id, Input::SnapshotSent { to: wanted.to, delivered: None });
        }
        let applied = self.members[&id].applied;
        let mark = self.node(id).and_then(|node| node.snapshot_mark(applied));
        // The wish may be of a leadership that is long over: its term cannot vouch for this state.
        let mark = mark.filter(|mark| mark.last.term <= wanted.term);
        let mark = mark.filter(|mark| mark.last.index >= wanted.at_least);
        if let Some(mark) = &mark {
            let body = Body::InstallSnapshot { mark: mark.clone().into() };
            self.send(Message::new(id, wanted.to, wanted.term, body));
        }
        self.input(id, Input::SnapshotSent { to: wanted.to, delivered: mark.map(Into::into) });
    }

    pub(super) fn install(&mut self, id: NodeId, mark: Box<SnapshotMark>) {
        let state = self.state_of(mark.last.index);
        let member = self.member(id);
        let is_safe = member.disk.mark.last >= mark.last;
        (member.applied, member.state) = (mark.last.index, state);
        // What the applier had not come to is in the snapshot.
        member.to_apply.clear();
        member.disk.applied = mark.last.index;
        if !is_safe {
            let detail = format!("node {id} installs {} over a log that is not cut", mark.last);
            self.fail(id, Failure::new("the log is durable before the state is replaced", detail));
        }
        self.input(id, Input::SnapshotInstalled(mark));
    }
}
