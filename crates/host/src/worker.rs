//! A worker: it owns groups, feeds their nodes with all that happened since its last step, and
//! carries what the nodes want to the other stages and to the peers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use env::{Clock, Moment};
use raft::{Input, NodeId, Output, SnapshotMark, Tick};
use wal::{GroupId, WalWrite};

use crate::calls::Calls;
use crate::errands::Asker;
use crate::group::{Group, Transfer};
use crate::mailbox::Mailbox;
use crate::membership::Membership;
use crate::messages::{ApplyItem, BulkItem, LogBatch, Staged, WorkerEvent};
use crate::outbox::Outbox;
use crate::peers::Peers;
use crate::proposals::Forwarded;
use crate::reads::Ended;
use crate::records::{Body, Record};
use crate::status::Counters;
use crate::{ChangeError, HostOptions, TransferError};

/// How long the protocol's tick is.
const TICK: Duration = Duration::from_millis(1);
/// How often a worker looks for clients that have waited too long.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Election timeouts without an answer after which the log's disk counts as hanging.
const LOG_HANGS_AFTER_TIMEOUTS: u32 = 2;

/// The worker that owns a group.
pub(crate) fn worker_of(group: GroupId, worker_count: usize) -> usize {
    // The remainder is below `worker_count`, which is a usize.
    usize::try_from(group.0 % worker_count as u64).unwrap_or(0)
}

/// The protocol's time at a moment.
pub(crate) fn tick_at(now: Moment) -> Tick {
    Tick(now.0 / u64::try_from(TICK.as_nanos()).unwrap_or(1))
}

fn transfer_refused(refusal: raft::TransferError) -> TransferError {
    match refusal {
        raft::TransferError::NotLeader { .. } => TransferError::NotLeader,
        raft::TransferError::InProgress { .. }
        | raft::TransferError::Witness { .. }
        | raft::TransferError::NoVoter { .. }
        | _ => TransferError::BadTarget,
    }
}

/// The stage.
pub(crate) struct Worker {
    pub(crate) number: usize,
    pub(crate) options: Arc<HostOptions>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) mailbox: Arc<Mailbox<WorkerEvent>>,
    pub(crate) log: Arc<Mailbox<LogBatch>>,
    pub(crate) applier: Arc<Mailbox<ApplyItem>>,
    pub(crate) bulk: Arc<Mailbox<BulkItem>>,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) timers: BTreeSet<(Tick, GroupId)>,
    /// Groups that something happened to in this step.
    pub(crate) touched: BTreeSet<GroupId>,
    pub(crate) outbox: Outbox,
    pub(crate) peers: Arc<Peers>,
    pub(crate) writes: Vec<WalWrite>,
    /// Room for what a node says; empty between two of them.
    pub(crate) output: Output,
    /// Batches that the log's writer has and that are not durable.
    pub(crate) log_batches_in_flight: usize,
    /// Since when the log's writer owes an answer: since it gave the last one, or was asked.
    pub(crate) log_busy_since: Option<Moment>,
    /// Groups whose clients' commands gather, and when the first of them has waited long enough;
    /// see [`Worker::propose`].
    pub(crate) gathering: BTreeSet<GroupId>,
    pub(crate) gather_until: Option<Moment>,
    pub(crate) calls: Calls,
    pub(crate) sweep_at: Moment,
    pub(crate) events: Vec<WorkerEvent>,
}

impl Worker {
    /// Does all that waits and what is due.
    pub(crate) fn step(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.mailbox.take_all(&mut events);
        // Not before: a lease must not look younger than the reads that rest on it.
        let now = self.clock.now();
        let tick = tick_at(now);
        for event in events.drain(..) {
            self.take_event(now, tick, event);
        }
        self.events = events;
        self.run_timers(tick);
        if self.gather_until.is_some_and(|until| now >= until) {
            self.gather_until = None;
            self.touched.append(&mut self.gathering);
        }
        if now >= self.sweep_at {
            self.sweep(now);
        }
        while let Some(id) = self.touched.pop_first() {
            self.run_group(now, tick, id);
        }
        // The log first: its disk is what takes longest. The leader sends entries while its own
        // disk writes them (thesis §10.2.1).
        if !self.writes.is_empty() {
            let writes = std::mem::take(&mut self.writes);
            let _ = self.log.push(LogBatch { worker: self.number, writes });
            self.log_batches_in_flight += 1;
            self.log_busy_since.get_or_insert(now);
        }
        self.outbox.flush(&self.counters);
    }

    /// When `step` has something to do although nothing came.
    pub(crate) fn next_deadline(&self) -> Moment {
        let nanos = u64::try_from(TICK.as_nanos()).unwrap_or(1);
        let timer = self.timers.first().map(|(tick, _)| Moment(tick.0.saturating_mul(nanos)));
        let sweep = self.sweep_at;
        timer.into_iter().chain(self.gather_until).fold(sweep, Moment::min)
    }

    /// How many commands of clients may come before it is worth being woken for them; `None` if
    /// each is. What comes while the log writes would only wait in another place.
    pub(crate) fn patience(&self) -> Option<usize> {
        if self.log_batches_in_flight > 0 {
            return Some(usize::MAX);
        }
        let id = self.gathering.first()?;
        // With several groups it is the moment that ends the wait.
        if self.gathering.len() > 1 {
            return Some(usize::MAX);
        }
        Some(self.groups.get(id)?.proposals.missing_count())
    }

    /// Fails all who wait: the node stops.
    pub(crate) fn close(&mut self) {
        self.mailbox.close();
        let mut events = Vec::new();
        self.mailbox.take_all(&mut events);
        for event in events {
            match event {
                WorkerEvent::Propose { group, proposal } => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.proposals.waiting.push(proposal);
                    }
                }
                WorkerEvent::Read { read, .. } => (read.reply)(Err(crate::ReadError::Stopped)),
                WorkerEvent::Call { reply, .. } => reply(Err(crate::CallError::Stopped)),
                WorkerEvent::Transfer { reply, .. } | WorkerEvent::StepDown { reply, .. } => {
                    reply(Err(TransferError::Stopped));
                }
                WorkerEvent::Errand { asker, .. } => asker.fail(ChangeError::Stopped),
                WorkerEvent::CallAnswered { .. }
                | WorkerEvent::RemovalClaimed { .. }
                | WorkerEvent::PauseElections { .. }
                | WorkerEvent::Records { .. }
                | WorkerEvent::Persisted(_)
                | WorkerEvent::Applied { .. }
                | WorkerEvent::Flushed { .. }
                | WorkerEvent::Fetched { .. }
                | WorkerEvent::Staged { .. }
                | WorkerEvent::Installed { .. }
                | WorkerEvent::SnapshotSent { .. } => {}
            }
        }
        self.groups.values_mut().for_each(Group::close);
        self.calls.close();
    }

    fn take_event(&mut self, now: Moment, tick: Tick, event: WorkerEvent) {
        match event {
            WorkerEvent::Propose { group, proposal } => {
                self.with_group(group, |group| group.proposals.waiting.push(proposal));
            }
            WorkerEvent::Read { group, read } => {
                self.with_group(group, |group| group.reads.waiting.push(read));
            }
            WorkerEvent::RemovalClaimed { group, from, by } => {
                self.take_removal_claim(tick, group, from, by);
            }
            WorkerEvent::Transfer { group, to, reply } => {
                self.transfer(now, tick, group, (to, reply));
            }
            WorkerEvent::StepDown { group, reply } => {
                let stepped = self.with_group(group, |group| group.node.step_down(tick));
                if let Some(stepped) = stepped {
                    reply(stepped.map_err(transfer_refused));
                }
            }
            WorkerEvent::PauseElections { group, are_paused } => {
                self.input(tick, group, Input::PauseElections(are_paused));
            }
            WorkerEvent::Errand { group, errand, asker } => {
                self.with_group(group, |group| group.errands.ask(now, errand, asker));
            }
            WorkerEvent::Call { group, target, request, reply } => {
                let leader = self.groups.get(&group).and_then(|group| group.status.leader_id);
                self.calls.ask(now, group, (target, leader), (request, reply), &mut self.outbox);
            }
            WorkerEvent::CallAnswered { group, to, number, answer } => {
                self.outbox.push(to, group, &Body::CallAnswer { number, answer });
            }
            WorkerEvent::Records { from, records } => {
                for record in records {
                    self.take_record(now, tick, from, record);
                }
            }
            WorkerEvent::Persisted(durable) => {
                self.log_batches_in_flight -= 1;
                self.log_busy_since = (self.log_batches_in_flight > 0).then_some(now);
                if self.log_batches_in_flight == 0 {
                    self.touched.append(&mut self.gathering);
                }
                for (group, number) in durable {
                    self.input(tick, group, Input::Persisted(number));
                }
            }
            WorkerEvent::Applied { group, index } => {
                let released = self.with_group(group, |group| {
                    // The applier says so after it has answered.
                    group.answered_index = group.answered_index.max(index);
                    group.take_applied(index)
                });
                Counters::add(&self.counters.reads_confirmed, released.unwrap_or(0) as u64);
                self.input(tick, group, Input::Applied(index));
            }
            WorkerEvent::Flushed { group, upto } => {
                self.input(tick, group, Input::Compact { upto });
            }
            WorkerEvent::Fetched { group, from, entries } => {
                self.input(tick, group, Input::Fetched { from, entries });
            }
            WorkerEvent::Staged { group, staged } => self.take_staged(tick, group, *staged),
            WorkerEvent::Installed { group, mark } => self.take_installed(tick, group, mark),
            WorkerEvent::SnapshotSent { group, to, delivered } => {
                let delivered = delivered.map(Into::into);
                self.input(tick, group, Input::SnapshotSent { to, delivered });
            }
        }
    }

    fn take_installed(&mut self, tick: Tick, id: GroupId, mark: SnapshotMark) {
        let (last, index) = (mark.last, mark.last.index);
        // Another transfer may have brought the same snapshot while it was installed.
        let _ = self.bulk.push(BulkItem::Discard { group: id, last, transfer: None });
        let failed = self.with_group(id, |group| {
            group.committed_index = group.committed_index.max(index);
            let begun = group.installing.take().filter(|(of, _)| *of == last);
            let failed = group.proposals.take_snapshot(begun.map_or(Moment(0), |(_, at)| at));
            group.answered_index = group.answered_index.max(index);
            group.take_applied(index);
            failed
        });
        Counters::add(&self.counters.proposals_failed, failed.unwrap_or(0) as u64);
        self.input(tick, id, Input::SnapshotInstalled(mark.into()));
    }

    /// Hands a staged snapshot to the protocol. One that it has no use for must not fill the disk.
    fn take_staged(&mut self, tick: Tick, id: GroupId, staged: Staged) {
        let Staged { from, term, transfer, mark, begun } = staged;
        let (to, last) = (self.options.node_id, mark.last);
        let body = raft::Body::InstallSnapshot { mark: mark.into() };
        self.input(tick, id, Input::Message(raft::Message::new(from, to, term, body)));
        let group = self.groups.get_mut(&id);
        let wants =
            |group: &&mut Group| group.node.mark() == last && group.applied_index < last.index;
        if let Some(group) = group.filter(wants) {
            group.installing = Some((last, begun));
        } else {
            let transfer = Some(transfer);
            let _ = self.bulk.push(BulkItem::Discard { group: id, last, transfer });
        }
    }

    fn take_record(&mut self, now: Moment, tick: Tick, from: NodeId, record: Record) {
        let id = record.group;
        if !self.groups.contains_key(&id) {
            return Counters::add(&self.counters.messages_for_unknown_groups, 1);
        }
        match record.body {
            Body::Raft(message) => self.input(tick, id, Input::Message(message)),
            Body::Forward { term, commands } => {
                let forwarded = Forwarded { from, term, commands };
                self.with_group(id, |group| group.proposals.forwarded.push(forwarded));
            }
            Body::ForwardRefused { term, overloaded, numbers } => {
                self.with_group(id, |group| {
                    group.proposals.take_refused(term, overloaded, &numbers);
                });
            }
            Body::Errand { term, number, errand } => {
                let asker = Asker::Node { node: from, number };
                self.with_group(id, |group| {
                    if term.is_some_and(|term| group.proposals.has_led(&group.node, term)) {
                        group.errands.ask(now, errand, asker);
                    }
                });
            }
            Body::ErrandAnswer { number, answer } => {
                self.with_group(id, |group| group.errands.take_answer(number, *answer));
            }
            Body::Call { number, request } => self.calls.serve(id, from, number, request),
            Body::CallAnswer { number, answer } => self.calls.take_answer(number, answer),
            Body::SnapshotChunk(_) | Body::SnapshotAck(_) => {
                unreachable!("the receiver hands pieces of snapshots to the bulk stage")
            }
        }
    }

    /// Hands a claim that did not come as a message to the protocol, which judges it.
    fn take_removal_claim(&mut self, tick: Tick, id: GroupId, from: NodeId, by: Box<SnapshotMark>) {
        let own = self.options.node_id;
        self.with_group(id, |group| {
            let incarnation = group.node.incarnation();
            let body = raft::Body::Removed { by, incarnation };
            let message = raft::Message::new(from, own, group.node.term(), body);
            group.node.handle(tick, Input::Message(message));
        });
    }

    fn transfer(
        &mut self,
        now: Moment,
        tick: Tick,
        id: GroupId,
        (to, reply): (Option<NodeId>, crate::waiters::Reply<(), TransferError>),
    ) {
        let timeout = Duration::from_millis(self.options.election_timeout_ms);
        self.with_group(id, |group| match group.node.transfer_leadership(tick, to) {
            Ok(()) => {
                if to == Some(group.node.id()) {
                    return reply(Ok(()));
                }
                let transfer = Transfer { to, reply, deadline: now.after(timeout * 2) };
                if let Some(previous) = group.transfer.replace(transfer) {
                    (previous.reply)(Err(TransferError::TimedOut));
                }
            }
            Err(refusal) => reply(Err(transfer_refused(refusal))),
        });
    }

    fn run_timers(&mut self, tick: Tick) {
        while let Some((due, id)) = self.timers.first().copied() {
            if due > tick {
                break;
            }
            self.timers.pop_first();
            if let Some(group) = self.groups.get_mut(&id) {
                group.deadline = None;
            }
            self.input(tick, id, Input::Tick);
        }
    }

    fn sweep(&mut self, now: Moment) {
        self.sweep_at = now.after(self.sweep_interval());
        let tick = tick_at(now);
        for group in self.groups.values_mut() {
            let swept = group.sweep(now);
            let mut sends = Vec::new();
            group.errands.sweep(now, group.status.leader_id.is_some(), &mut sends);
            sends.into_iter().for_each(|(to, body)| self.outbox.push(to, group.id, &body));
            group.ask_about_log(now, &self.options);
            group.membership.count_unguarded(&group.node);
            if group.membership.unguarded_voters(&group.node) != group.status.unguarded_voters {
                self.touched.insert(group.id);
            }
            if Membership::pursue_goals(tick, &mut group.node) || group.errands.are_pending() {
                self.touched.insert(group.id);
            }
            Counters::add(&self.counters.proposals_failed, swept.proposals_failed as u64);
            Counters::add(&self.counters.reads_failed, swept.reads_failed as u64);
            Counters::add(&self.counters.reads_slow, swept.reads_slow as u64);
            if group.proposals.waiting_count() > 0 || !group.reads.waiting.is_empty() {
                self.touched.insert(group.id);
            }
        }
        self.watch_nodes(now);
        if self.log_hangs(now) {
            self.give_leadership_away(tick_at(now));
        }
        self.calls.sweep(now);
    }

    /// Where groups rest, signs of life go with the sweeps, and are no rarer than heartbeats.
    fn sweep_interval(&self) -> Duration {
        let heartbeat = Duration::from_millis(self.options.heartbeat_interval_ms);
        match self.options.quiesce_after_ms {
            Some(_) => SWEEP_INTERVAL.min(heartbeat),
            None => SWEEP_INTERVAL,
        }
    }

    /// Shows this node to its peers, and wakes the groups that rest under a leader which is silent.
    fn watch_nodes(&mut self, now: Moment) {
        let Some(liveness) = self.peers.liveness() else { return };
        let nodes = self.peers.nodes();
        let timeout = Duration::from_millis(self.options.election_timeout_ms);
        let silent = liveness.silent(nodes.iter().copied(), now, timeout);
        if self.number == 0 {
            nodes.into_iter().for_each(|node| self.outbox.push_sign_of_life(node));
        }
        for node in silent {
            let led = self.groups.iter().filter(|(_, group)| group.node.leader() == Some(node));
            let led: Vec<GroupId> = led.map(|(id, _)| *id).collect();
            led.into_iter().for_each(|id| self.input(tick_at(now), id, Input::PeerLost(node)));
        }
    }

    /// Whether the log's disk does not answer any more.
    fn log_hangs(&self, now: Moment) -> bool {
        let timeout = Duration::from_millis(self.options.election_timeout_ms);
        let since = self.log_busy_since;
        since.is_some_and(|since| now >= since.after(timeout * LOG_HANGS_AFTER_TIMEOUTS))
    }

    /// A leader whose disk hangs still sends heartbeats, and nobody would ever take its place (T1).
    fn give_leadership_away(&mut self, tick: Tick) {
        for group in self.groups.values_mut() {
            // An error: it does not lead, a transfer is under way, or there is nobody to lead.
            if group.node.transfer_leadership(tick, None).is_ok() {
                self.touched.insert(group.id);
                tracing::warn!(
                    group = group.id.0,
                    "the log's disk does not answer; handing leadership to another member"
                );
            }
        }
    }

    /// Feeds one node what clients want, and carries out what it says.
    fn run_group(&mut self, now: Moment, tick: Tick, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.proposals.take_back_lost(group.answered_index);
        if group.proposals.waiting_count() > 0 {
            self.propose(now, tick, id);
        }
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.reads.ask(now, tick, &mut group.node);
        if group.errands.are_pending() {
            let mut sends = Vec::new();
            group.errands.run((now, tick), &mut group.node, &mut sends);
            sends.into_iter().for_each(|(to, body)| self.outbox.push(to, id, &body));
        }
        let mut output = std::mem::take(&mut self.output);
        group.node.take_output_into(&mut output);
        group.membership.follow(id, &group.node, &self.peers);
        let changed = group.refresh_status();
        if changed {
            group.leader_changed();
            let status = group.status;
            if status.role == crate::Role::Leader {
                group.proposals.note_leads(status.term);
            }
            if group.proposals.waiting_count() > 0 {
                // In the next step: that of this one has passed them.
                self.gather(now, id);
            }
            tracing::info!(
                group = id.0, term = status.term.0, role = ?status.role,
                leader = ?status.leader_id, "role, term or leader changed"
            );
            (self.options.observer)(id, &status);
        }
        self.carry_out(id, &mut output);
        self.output = output;
        self.set_timer(id);
    }

    /// Hands the commands of a group's clients on, or lets them gather.
    ///
    /// While the log writes they gather: what is proposed now would wait for that write to end
    /// before its own begins, so nothing is lost by proposing later. And when many come they gather
    /// for a moment, see [`Proposals::gathers_until`](crate::proposals::Proposals::gathers_until).
    fn propose(&mut self, now: Moment, tick: Tick, id: GroupId) {
        // Behind a log that hangs there is nothing to wait for.
        if self.log_batches_in_flight > 0 && !self.log_hangs(now) {
            self.gathering.insert(id);
            return;
        }
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        if let Some(until) = group.proposals.gathers_until(now, group.node.role()) {
            return self.gather(until, id);
        }
        let backlog = group.committed_index.0.saturating_sub(group.applied_index.0);
        let overloaded = backlog > self.options.apply_backlog_entries_max;
        let mut sends = Vec::new();
        group.proposals.hand_on((now, tick), &mut group.node, overloaded, &mut sends);
        self.gathering.remove(&id);
        for (to, body) in sends {
            self.outbox.push(to, id, &body);
        }
    }

    /// Looks at a group's commands again when the log is free, when something happens to the group,
    /// or at this moment.
    fn gather(&mut self, until: Moment, id: GroupId) {
        self.gathering.insert(id);
        self.gather_until = Some(self.gather_until.map_or(until, |earlier| earlier.min(until)));
    }

    fn carry_out(&mut self, id: GroupId, output: &mut Output) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        self.writes
            .extend(output.persists.drain(..).map(|persist| WalWrite { group: id, persist }));
        for message in &output.messages {
            self.outbox.push_message(id, message);
        }
        for outcome in output.reads.drain(..) {
            let Ended { confirmed, failed } = group.take_read_outcome(outcome);
            Counters::add(&self.counters.reads_confirmed, confirmed as u64);
            Counters::add(&self.counters.reads_failed, failed as u64);
        }
        for notice in output.slow_followers.drain(..) {
            Counters::add(&self.counters.slow_follower_notices, u64::from(notice.is_slow));
            let (follower, match_index) = (notice.node, notice.match_index.0);
            if notice.is_slow {
                tracing::warn!(group = id.0, %follower, match_index, "a follower does not keep up");
            } else {
                tracing::info!(group = id.0, %follower, match_index, "a follower keeps up again");
            }
        }
        // Pushing to a closed mailbox means that the node is stopping, and nobody waits any more.
        if let Some(mark) = output.install_snapshot.take() {
            let _ = self.applier.push(ApplyItem::Install { group: id, mark });
        }
        if let Some(last) = output.committed.last() {
            group.committed_index = last.id.index;
            group.proposals.note_committed(&output.committed);
            let entries = std::mem::take(&mut output.committed);
            let _ = self.applier.push(ApplyItem::Entries { group: id, entries });
        }
        if let Some(by) = output.removed.take() {
            tracing::warn!(group = id.0, by = %by.last, "this node was removed from the group");
            (self.options.on_removed)(id);
        }
        for fetch in output.fetches.drain(..) {
            let _ = self.bulk.push(BulkItem::Fetch { group: id, fetch });
        }
        for wanted in output.send_snapshots.drain(..) {
            let raft::SendSnapshot { to, term, at_least } = wanted;
            let _ = self.applier.push(ApplyItem::Snapshot { group: id, to, term, at_least });
        }
    }

    fn set_timer(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let wanted = group.node.next_deadline();
        if wanted == group.deadline {
            return;
        }
        if let Some(old) = group.deadline {
            self.timers.remove(&(old, id));
        }
        group.deadline = wanted;
        if let Some(new) = wanted {
            self.timers.insert((new, id));
        }
    }

    fn input(&mut self, tick: Tick, id: GroupId, input: Input) {
        self.with_group(id, |group| group.node.handle(tick, input));
    }

    fn with_group<T>(&mut self, id: GroupId, act: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let group = self.groups.get_mut(&id)?;
        self.touched.insert(id);
        Some(act(group))
    }
}
