//! The second phase: everything is mended, and the cluster must be well, and have been right.

use std::collections::BTreeMap;
use std::time::Duration;

use env::{Disk, Moment};
use host::{GroupHandle, GroupId};
use raft::{LogIndex, NodeId, ReadMode};
use store::StoreMachine;

use super::{A_BOOKMARK, A_COMPACTED_WATCHER, A_SNAPSHOT, Chaos, DONE, FAILED, UNKNOWN};
use crate::history::{Found, Outcome, search};
use crate::{Failure, World};

/// By then whoever asks a member of a cluster that is well has been served: a few election
/// timeouts, should its leader go just then, behind what a clogged wire has held for five seconds.
const SERVED_WITHIN: Duration = Duration::from_secs(8);

/// An honest history is explained at the first try, with a step for each operation. One that needs
/// so many more is not decided, which is a failure.
const SEARCH_STEPS_PER_OPERATION: usize = 20;

impl Chaos {
    /// Whether every node that must be well is on, every client has its answer, and all have and
    /// show the same.
    pub(super) fn is_well(&mut self) -> Result<bool, Failure> {
        let nodes = self.core.clone().unwrap_or_else(|| self.cluster.world.nodes());
        for node in &nodes {
            if !self.cluster.world.is_on(*node) {
                self.mend_disk(*node);
                self.start_or_say(*node)?;
            }
        }
        let world = &self.cluster.world;
        let all_are_on = nodes.iter().all(|node| world.is_on(*node));
        if !all_are_on || self.clients.waiting_count() > 0 {
            return Ok(false);
        }
        let guarded = matches!(self.plan.options.reads, ReadMode::LeaseGuard { .. });
        let for_ever = guarded || self.plan.has_leases;
        let is_even = self.groups.iter().all(|group| {
            let revision = self.cluster.store_of(nodes[0], *group).revision();
            let goal = for_ever.then(|| self.goals.entry(*group).or_default());
            is_even(world, goal, &nodes, *group)
                && nodes.iter().all(|n| self.cluster.store_of(*n, *group).revision() == revision)
                && self.watchers.have_seen_all(world, *group, revision)
        });
        Ok(is_even && (self.core.is_some() || self.members_are_settled()))
    }

    /// Whoever asks any member of a cluster that is well is served. Returns the turn.
    pub(super) fn serve_everybody(&mut self, mut turn: u64) -> Result<u64, Failure> {
        let nodes = self.cluster.world.nodes();
        for group in &self.groups {
            self.clients.send_errands(&self.cluster, &nodes, *group);
        }
        let end = self.cluster.world.now().after(SERVED_WITHIN);
        loop {
            let open = self.clients.open_errands();
            if open.is_empty() {
                return Ok(turn);
            }
            let is_late = self.cluster.world.now() >= end;
            Failure::unless(!is_late, "a cluster that is well serves everybody", || {
                format!("(member, group, by the API, a put) {open:?}\n{}", self.picture())
            })?;
            self.clients.run_errands(&self.cluster, &mut self.dice);
            turn += 1;
            self.turn(turn)?;
        }
    }

    pub(super) fn check_end(&mut self) -> Result<(), Failure> {
        self.compared.clear();
        self.compare_states()?;
        let cluster = &self.cluster;
        self.watchers.keep(&cluster.world.nodes());
        let histories = &mut self.clients.histories;
        self.watchers.check_end(&mut self.dice, histories, cluster, &self.ill)?;
        for (group, history) in &self.clients.histories {
            history.check().map_err(|what| {
                Failure::new(what.property, format!("{group:?}: {}", what.detail))
                    .seen_at(*group, what.at.map(Moment))
            })?;
            let steps_max = SEARCH_STEPS_PER_OPERATION * history.operations.len();
            let found = search(history, steps_max);
            Failure::unless(found == Found::Order, "an order explains what clients saw", || {
                format!("{group:?}: {found:?} within {steps_max} steps")
            })?;
        }
        for node in self.cluster.world.nodes() {
            self.check_store(node)?;
        }
        self.compare_keys()?;
        self.count();
        Ok(())
    }

    /// All show the same revision and may have applied different entries, where logs never rest:
    /// the keys and their history are the same.
    fn compare_keys(&self) -> Result<(), Failure> {
        for group in &self.groups {
            let mut first: BTreeMap<i64, (NodeId, u32)> = BTreeMap::new();
            for node in self.cluster.world.nodes() {
                // An ill disk may say that it cannot read, which was judged where it was found.
                let Ok(found) = self.cluster.store_of(node, *group).hash_kv(0) else { continue };
                let of = first.entry(found.compact_revision).or_insert((node, found.hash));
                Failure::unless(of.1 == found.hash, "equal revisions, equal keys", || {
                    format!("n{} and n{node} differ at {} of {group:?}", of.0, found.hash_revision)
                })?;
            }
        }
        Ok(())
    }

    fn check_store(&self, node: NodeId) -> Result<(), Failure> {
        let staging = self.cluster.world.disk(node).list("/data/staging".as_ref());
        let staged = staging.unwrap_or_default();
        let whole: Vec<_> = staged.iter().filter(|name| name.ends_with("shot")).collect();
        // What an ill disk did not remove goes with the next start.
        let is_right = whole.is_empty() || self.ill.contains(&node);
        Failure::unless(is_right, "no snapshot is kept that nobody wants", || {
            format!("n{node} keeps {whole:?}")
        })?;
        for (group, history) in &self.clients.histories {
            let store = self.cluster.store_of(node, *group);
            let revision = history.changes.last_key_value().map_or(1, |(newest, _)| *newest);
            Failure::unless(store.revision() == revision, "a store is at its revision", || {
                format!("n{node} {group:?} is at {}, not {revision}", store.revision())
            })?;
            for (_, lease) in self.clients.revoked.iter().filter(|(of, _)| of == group) {
                let lease = store::LeaseId(*lease);
                let is_gone = store.lease(lease).is_none() && store.lease_keys(lease).is_empty();
                Failure::unless(is_gone, "a revoked lease is gone with its keys", || {
                    format!("n{node} {group:?} {lease:?}")
                })?;
            }
        }
        Ok(())
    }

    fn count(&mut self) {
        for operation in self.clients.histories.values().flat_map(|history| &history.operations) {
            self.census.meet(match operation.outcome {
                Outcome::Done { .. } => DONE,
                Outcome::Failed => FAILED,
                Outcome::Unknown => UNKNOWN,
            });
        }
        let world = &self.cluster.world;
        for node in world.nodes() {
            if let Some(handle) = world.group(node, self.groups[0]) {
                self.census.add(A_SNAPSHOT, handle.counters().snapshots_installed);
            }
        }
        self.count_crossings();
        self.census.add(super::A_REMOVED_NODE_ENDS, self.cluster.world.removed_count());
        self.census.add(A_COMPACTED_WATCHER, self.watchers.compactions_seen);
        self.census.add(super::A_RENEWAL, self.leases.renewed_count);
        self.census.add(super::AN_EXPIRY, self.leases.expired_count);
        let calls = self.clients.calls;
        self.census.add(super::A_CALL, calls.done);
        self.census.add(super::A_CALL_FAILED, calls.failed);
        self.census.add(super::A_CALL_UNKNOWN, calls.unknown);
        self.census.add(super::A_LEARNER_REFUSES, calls.refused_by_learner);
        self.census.add(super::A_WATCHER_OF_THE_API, self.watchers.by_api);
        self.census.add(A_BOOKMARK, self.watchers.bookmarks_seen);
    }
}

/// Whether these nodes, which owe nobody an answer, follow one leader, and have applied all that is
/// in their logs; or all up to a goal, which is where they were when they were first asked. For a
/// leader whose log is its lease appends for ever, as does one that notes what is left of clients'
/// leases; and where ways are long, something of one of the groups is under way whenever one looks.
fn is_even(
    world: &World<StoreMachine>,
    goal: Option<&mut LogIndex>,
    nodes: &[NodeId],
    group: GroupId,
) -> bool {
    let known: Option<Vec<_>> = nodes.iter().map(|node| world.group(*node, group)).collect();
    let Some(known) = known else { return false };
    let last = known.iter().map(|handle| handle.status().last_index).max().unwrap_or_default();
    let is_exact = goal.is_none();
    let goal = goal.map_or(last, |goal| {
        // A new leader may have cut off what nobody else had.
        *goal = if *goal == LogIndex(0) { last } else { last.min(*goal) };
        *goal
    });
    let is_there = |handle: &GroupHandle<_>| {
        let (applied, status) = (handle.applied_index(), handle.status());
        applied >= goal && (!is_exact || status.last_index == applied)
    };
    let leader = |handle: &GroupHandle<_>| {
        let status = handle.status();
        Some((status.term, status.leader_id?))
    };
    let first = leader(&known[0]);
    first.is_some() && known.iter().all(|handle| leader(handle) == first && is_there(handle))
}
