//! When leases expire: the leader's business alone, outside of the replicated state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use env::Moment;
use raft::Term;

use crate::request::LeaseId;
use crate::store::{LeaseChange, LeaseChanges, Store};

/// The deadlines of the leases, kept by the leader.
///
/// Invariant: `by_deadline` has one element per element of `leases`, and `by_checkpoint` one per
/// element with a `checkpoint_at`.
#[derive(Debug, Default)]
pub struct Lessor {
    /// The term in which this node keeps the deadlines, if it does.
    leads_in: Option<Term>,
    leases: BTreeMap<LeaseId, Deadline>,
    by_deadline: BTreeSet<(Moment, LeaseId)>,
    by_checkpoint: BTreeSet<(Moment, LeaseId)>,
    /// Between two checkpoints of a lease; zero for none.
    checkpoint_interval: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    /// When the lease expires.
    at: Moment,
    /// When [`Lessor::expired`] tells of it next: `at`, later again if a revocation was lost.
    tell_at: Moment,
    ttl: i64,
    /// When it is written down what the lease has left; not for one that ends before.
    checkpoint_at: Option<Moment>,
    /// Whether something less than `ttl` is, or may be, written down: the next leader would begin
    /// with that.
    is_shortened: bool,
}

/// What a lease that exists has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRemaining {
    /// Seconds granted.
    pub granted_ttl: i64,
    /// Time left; zero if it has expired and waits for its revocation.
    pub remaining: Duration,
}

impl Lessor {
    /// Of a node that does not lead.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same; when it leads, what leases have left is to be written down at this interval.
    #[must_use]
    pub fn with_checkpoints(checkpoint_interval: Duration) -> Self {
        Self { checkpoint_interval, ..Self::default() }
    }

    /// The term in which this node keeps the deadlines, if it does.
    #[must_use]
    pub fn leads_in(&self) -> Option<Term> {
        self.leads_in
    }

    /// Whether this node keeps the deadlines.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.leads_in.is_some()
    }

    /// The node leads from now on: every lease gets its full time (or what a checkpoint says it had
    /// left), since nobody knows when it was last kept alive. So a change of leader can only make
    /// a lease longer.
    ///
    /// The state must have all that leaders before wrote down. One wrote that a lease has a second
    /// left, and then, since it was kept alive, that it has its full minute again; whoever begins
    /// between the two ends it after a second. An entry of the node's own term that is applied,
    /// such as a checkpoint of nothing, says that the state has it all.
    pub fn promote(&mut self, now: Moment, term: Term, store: &Store) {
        self.leads_in = Some(term);
        store.subscribe_lease_changes();
        self.reload(now, store);
    }

    /// The node does not lead any more.
    pub fn demote(&mut self, store: &Store) {
        store.unsubscribe_lease_changes();
        *self = Self::with_checkpoints(self.checkpoint_interval);
    }

    /// Takes up leases that were granted or revoked since the last call. The leader calls it before
    /// it renews, asks or expires.
    pub fn observe(&mut self, now: Moment, store: &Store) {
        if self.leads_in.is_none() {
            return;
        }
        match store.take_lease_changes() {
            LeaseChanges::Reload => {
                // Known leases keep their deadlines: a reload must not extend them for ever.
                let known = std::mem::take(&mut self.leases);
                self.reload(now, store);
                let kept: Vec<_> =
                    known.into_iter().filter(|(id, _)| self.leases.contains_key(id)).collect();
                for (id, deadline) in kept {
                    self.set(id, deadline);
                }
            }
            LeaseChanges::Changes(changes) => {
                for change in changes {
                    match change {
                        LeaseChange::Granted { id, ttl } => {
                            self.add(id, now, ttl);
                        }
                        LeaseChange::Revoked { id } => self.remove(id),
                    }
                }
            }
        }
    }

    /// Gives a lease its full time again and returns its time to live in seconds; `None` for one
    /// that does not exist, and for one that has expired, whose revocation is on its way.
    pub fn renew(&mut self, id: LeaseId, now: Moment) -> Option<i64> {
        let deadline = *self.leases.get(&id)?;
        if deadline.at <= now {
            return None;
        }
        self.set(id, self.deadline(now, deadline.ttl, deadline.ttl));
        Some(deadline.ttl)
    }

    /// Whether a lease is still there, for who has renewed it and heard since that this node leads
    /// on: a revocation of the leader before may have been in the log and not applied, and a lease
    /// that is gone lives for nobody. Revocations of this leader come behind the lease's time.
    #[must_use]
    pub fn has(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// Whether less than its full time is written down for a lease. Then that must be mended
    /// through the log **before** it is renewed: a leader that came after the renewal and did not
    /// know of it would end the lease early.
    #[must_use]
    pub fn is_shortened(&self, id: LeaseId) -> bool {
        self.leases.get(&id).is_some_and(|deadline| deadline.is_shortened)
    }

    /// Leases whose checkpoint is due, at most `limit`, and the seconds they have left, rounded up.
    /// They count as written down from now on.
    pub fn checkpoints(&mut self, now: Moment, limit: usize) -> Vec<(LeaseId, i64)> {
        let due = self.by_checkpoint.iter().take_while(|(at, _)| *at <= now).take(limit);
        let due: Vec<LeaseId> = due.map(|(_, id)| *id).collect();
        let mut remaining = Vec::with_capacity(due.len());
        for id in due {
            let Some(deadline) = self.leases.get(&id).copied() else { continue };
            let left = deadline.at.since(now);
            let secs = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            let secs = i64::try_from(secs).unwrap_or(i64::MAX).min(deadline.ttl);
            remaining.push((id, secs));
            let checkpoint_at = self.next_checkpoint(now, deadline.at);
            self.set(id, Deadline { checkpoint_at, is_shortened: true, ..deadline });
        }
        remaining
    }

    fn next_checkpoint(&self, now: Moment, at: Moment) -> Option<Moment> {
        let next = now.after(self.checkpoint_interval);
        (!self.checkpoint_interval.is_zero() && next < at).then_some(next)
    }

    fn deadline(&self, now: Moment, ttl: i64, remaining_ttl: i64) -> Deadline {
        let at = now.after(Duration::from_secs(u64::try_from(remaining_ttl).unwrap_or(0)));
        let checkpoint_at = self.next_checkpoint(now, at);
        Deadline { at, tell_at: at, ttl, checkpoint_at, is_shortened: remaining_ttl < ttl }
    }

    /// What a lease has left.
    #[must_use]
    pub fn remaining(&self, id: LeaseId, now: Moment) -> Option<LeaseRemaining> {
        let deadline = self.leases.get(&id)?;
        Some(LeaseRemaining { granted_ttl: deadline.ttl, remaining: deadline.at.since(now) })
    }

    /// Leases that have expired, the oldest first, at most `limit`. They stay until their
    /// revocation was applied; each is told again after `retry`, in case a proposal was lost.
    pub fn expired(&mut self, now: Moment, limit: usize, retry: Duration) -> Vec<LeaseId> {
        let due: Vec<(Moment, LeaseId)> =
            self.by_deadline.iter().take_while(|(at, _)| *at <= now).take(limit).copied().collect();
        for (_, id) in &due {
            if let Some(deadline) = self.leases.get(id).copied() {
                self.set(*id, Deadline { tell_at: now.after(retry), ..deadline });
            }
        }
        due.into_iter().map(|(_, id)| id).collect()
    }

    /// When [`Lessor::expired`] will next have something.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.by_deadline.first().map(|(at, _)| *at)
    }

    /// Every lease and what it has left, in order of expiry: for `LeaseLeases` and for checkpoints.
    #[must_use]
    pub fn leases(&self, now: Moment) -> Vec<(LeaseId, LeaseRemaining)> {
        let mut all: Vec<_> =
            self.leases.iter().map(|(id, deadline)| (deadline.at, *id, deadline.ttl)).collect();
        all.sort_unstable();
        all.into_iter()
            .map(|(at, id, granted_ttl)| {
                (id, LeaseRemaining { granted_ttl, remaining: at.since(now) })
            })
            .collect()
    }
}

impl Lessor {
    fn reload(&mut self, now: Moment, store: &Store) {
        self.leases.clear();
        self.by_deadline.clear();
        self.by_checkpoint.clear();
        for lease in store.leases() {
            self.set(lease.id, self.deadline(now, lease.ttl, lease.remaining_ttl));
        }
    }

    /// One that is known was written down anew, which is no renewal.
    fn add(&mut self, id: LeaseId, now: Moment, ttl: i64) {
        if !self.leases.contains_key(&id) {
            self.set(id, self.deadline(now, ttl, ttl));
        }
    }

    fn set(&mut self, id: LeaseId, deadline: Deadline) {
        self.remove(id);
        self.leases.insert(id, deadline);
        self.by_deadline.insert((deadline.tell_at, id));
        self.by_checkpoint.extend(deadline.checkpoint_at.map(|at| (at, id)));
    }

    fn remove(&mut self, id: LeaseId) {
        if let Some(deadline) = self.leases.remove(&id) {
            let there = self.by_deadline.remove(&(deadline.tell_at, id));
            assert!(there, "a lease with a deadline must be in the order of deadlines");
            if let Some(at) = deadline.checkpoint_at {
                self.by_checkpoint.remove(&(at, id));
            }
        }
    }
}
