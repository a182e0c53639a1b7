//! Who keeps the deadlines of a group's leases on one node: what a server does around
//! [`store::Lessor`], without its runtime.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::Moment;
use host::{GroupHandle, GroupStatus, ProposeError, ReadError};
use raft::{LogIndex, Term};
use store::{Command, LeaseId, Lessor, RequestError, Response, Store};

pub(super) type Slot<T> = Arc<Mutex<Option<T>>>;
type Proposed = Result<Result<Response, RequestError>, ProposeError>;
type Handle = GroupHandle<Result<Response, RequestError>>;

/// As a server writes down what leases have left; often, since worlds are short.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(1500);
/// A revocation that was not applied by then is proposed again.
const REVOKE_RETRY: Duration = Duration::from_secs(1);
/// Leases at a time.
const AT_ONCE_MAX: usize = 100;

const NOTHING: Command = Command::LeaseCheckpoint { remaining: Vec::new() };

/// Keeps the deadlines while its node leads; of one life of its node.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) life: u64,
    leads_in: Option<Term>,
    /// A word of its own in the log, behind all that leaders before wrote of leases.
    taking_over: Option<Slot<Proposed>>,
    lessor: Lessor,
    /// A checkpoint under way: no renewal that mends one may be overtaken by it.
    writing: Option<Slot<Proposed>>,
    renewals: Vec<Renewal>,
}

/// Somebody keeps a lease alive.
#[derive(Debug)]
struct Renewal {
    lease: i64,
    answer: Slot<Renewed>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Begin,
    /// Less than the full time is written down: that is mended first.
    Mend(Slot<Proposed>),
    /// It counts if this node still leads behind it.
    Confirm {
        renewed: Option<i64>,
        barrier: Slot<Result<LogIndex, ReadError>>,
    },
}

/// What a client is told that keeps a lease alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewed {
    /// It has its full time again, in seconds.
    Alive(i64),
    /// There is no such lease.
    NoSuchLease,
    /// Ask another node.
    Unknown,
}

impl Keeper {
    pub(super) fn new(life: u64) -> Self {
        let lessor = Lessor::with_checkpoints(CHECKPOINT_INTERVAL);
        let (leads_in, taking_over, writing) = (None, None, None);
        Self { life, leads_in, taking_over, lessor, writing, renewals: Vec::new() }
    }

    /// A client asks this node to keep a lease alive.
    pub(super) fn renew(&mut self, lease: i64) -> Slot<Renewed> {
        let answer = Slot::default();
        let step = Step::Begin;
        self.renewals.push(Renewal { lease, answer: Arc::clone(&answer), step });
        answer
    }

    /// Does what is due by the node's own clock.
    pub(super) fn work(&mut self, now: Moment, handle: &Handle, store: &Store) {
        let leads_in = leads_in(&handle.status());
        if self.leads_in != leads_in {
            if self.lessor.is_leading() {
                self.lessor.demote(store);
            }
            self.leads_in = leads_in;
            self.taking_over = leads_in.map(|term| propose(handle, term, &NOTHING));
        }
        self.take_over(now, handle, store);
        let is_written = |slot: &Slot<Proposed>| slot.lock().expect("one thread").is_some();
        self.writing.take_if(|slot| is_written(slot));
        if let Some(term) = self.lessor.leads_in() {
            self.lessor.observe(now, store);
            self.checkpoint(now, term, handle);
            for id in self.lessor.expired(now, AT_ONCE_MAX, REVOKE_RETRY) {
                drop(propose(handle, term, &Command::LeaseRevoke { id }));
            }
        }
        for renewal in std::mem::take(&mut self.renewals) {
            self.go_on(renewal, now, handle, store);
        }
    }

    /// Begins to keep the deadlines when its own word is applied.
    fn take_over(&mut self, now: Moment, handle: &Handle, store: &Store) {
        let (Some(term), Some(slot)) = (self.leads_in, &self.taking_over) else { return };
        let told = slot.lock().expect("one thread").take();
        match told {
            None => {}
            Some(Ok(Ok(_))) => {
                self.taking_over = None;
                self.lessor.promote(now, term, store);
            }
            Some(Ok(Err(_)) | Err(_)) => self.taking_over = Some(propose(handle, term, &NOTHING)),
        }
    }

    fn checkpoint(&mut self, now: Moment, term: Term, handle: &Handle) {
        let mends = self.renewals.iter().any(|renewal| matches!(renewal.step, Step::Mend(_)));
        if self.writing.is_some() || mends {
            return;
        }
        let remaining = self.lessor.checkpoints(now, AT_ONCE_MAX);
        if !remaining.is_empty() {
            self.writing = Some(propose(handle, term, &Command::LeaseCheckpoint { remaining }));
        }
    }

    fn go_on(&mut self, mut renewal: Renewal, now: Moment, handle: &Handle, store: &Store) {
        let (id, answer) = (LeaseId(renewal.lease), Arc::clone(&renewal.answer));
        let Some(term) = self.lessor.leads_in() else { return tell(&answer, Renewed::Unknown) };
        renewal.step = match renewal.step {
            Step::Begin if self.lessor.is_shortened(id) && self.writing.is_some() => Step::Begin,
            Step::Begin if self.lessor.is_shortened(id) => {
                let full = store.lease(id).map_or(0, |lease| lease.ttl);
                let command = Command::LeaseCheckpoint { remaining: vec![(id, full)] };
                Step::Mend(propose(handle, term, &command))
            }
            Step::Begin => self.renew_now(id, now, handle),
            Step::Mend(slot) => {
                let told = slot.lock().expect("one thread").take();
                match told {
                    None => Step::Mend(slot),
                    Some(Ok(Ok(_))) => self.renew_now(id, now, handle),
                    Some(Ok(Err(_)) | Err(_)) => return tell(&answer, Renewed::Unknown),
                }
            }
            Step::Confirm { renewed, barrier } => {
                let told = barrier.lock().expect("one thread").take();
                match told {
                    None => Step::Confirm { renewed, barrier },
                    Some(Err(_)) => return tell(&answer, Renewed::Unknown),
                    Some(Ok(_)) => {
                        // The barrier brought one that was granted a moment ago, and took one that
                        // a leader before had ended.
                        self.lessor.observe(now, store);
                        let renewed = renewed.filter(|_| self.lessor.has(id));
                        let renewed = renewed.or_else(|| self.lessor.renew(id, now));
                        let told = renewed.map_or(Renewed::NoSuchLease, Renewed::Alive);
                        return tell(&answer, told);
                    }
                }
            }
        };
        self.renewals.push(renewal);
    }

    fn renew_now(&mut self, id: LeaseId, now: Moment, handle: &Handle) -> Step {
        let renewed = self.lessor.renew(id, now);
        let barrier = Slot::default();
        let keep = Arc::clone(&barrier);
        handle.read_index(move |result| *keep.lock().expect("one thread") = Some(result));
        Step::Confirm { renewed, barrier }
    }
}

fn leads_in(status: &GroupStatus) -> Option<Term> {
    (status.leader_id == Some(status.node_id)).then_some(status.term)
}

fn tell(answer: &Slot<Renewed>, renewed: Renewed) {
    *answer.lock().expect("one thread") = Some(renewed);
}

pub(super) fn propose(handle: &Handle, term: Term, command: &Command) -> Slot<Proposed> {
    let slot = Slot::default();
    let keep = Arc::clone(&slot);
    handle.propose_as_leader(term, &command.encode(), move |result| {
        *keep.lock().expect("one thread") = Some(result);
    });
    slot
}

#[cfg(test)]
mod tests {
    use host::Stage;

    use super::*;
    use crate::stores::{Cluster, GROUP, SOON};

    /// A leader before may have ended the lease: that is in the log, and not applied yet.
    #[test]
    fn a_lease_that_is_gone_behind_the_barrier_is_renewed_for_nobody() {
        let mut cluster = Cluster::started(3);
        let leader = cluster.world.leader(GROUP).unwrap();
        let (id, ttl) = (LeaseId(7), 60);
        let handle = cluster.world.group(leader, GROUP).unwrap();
        let term = handle.status().term;
        drop(propose(&handle, term, &Command::LeaseGrant { id, ttl }));
        let store = cluster.store(leader);
        assert!(cluster.world.run_until(SOON, |_| store.lease(id).is_some()));

        let mut keeper = Keeper::new(1);
        assert!(cluster.world.run_until(SOON, |world| {
            keeper.work(world.now(), &handle, &store);
            keeper.lessor.is_leading()
        }));
        cluster.world.pause_stage(leader, Stage::Applier);
        drop(propose(&handle, term, &Command::LeaseRevoke { id }));
        let is_committed = || handle.status().commit_index > handle.status().applied_index;
        assert!(cluster.world.run_until(SOON, |_| is_committed()));
        let answer = keeper.renew(id.0);
        keeper.work(cluster.world.now(), &handle, &store);
        cluster.world.resume(leader);
        assert!(cluster.world.run_until(SOON, |world| {
            keeper.work(world.now(), &handle, &store);
            answer.lock().unwrap().is_some()
        }));
        assert_eq!(*answer.lock().unwrap(), Some(Renewed::NoSuchLease));
    }

    /// T213. A leader wrote down that a lease has a second left, and then, since it was kept alive,
    /// that it has its full time again. Its successor has applied the first when it is elected.
    #[test]
    fn a_leader_keeps_no_deadlines_before_it_has_applied_what_leaders_before_wrote_of_them() {
        let mut cluster = Cluster::started(3);
        let leader = cluster.world.leader(GROUP).unwrap();
        let (id, ttl) = (LeaseId(7), 60);
        let handle = cluster.world.group(leader, GROUP).unwrap();
        let term = handle.status().term;
        let checkpoint = |left| Command::LeaseCheckpoint { remaining: vec![(id, left)] };
        drop(propose(&handle, term, &Command::LeaseGrant { id, ttl }));
        drop(propose(&handle, term, &checkpoint(1)));
        let store = cluster.store(leader);
        let has_a_second = |store: &Store| store.lease(id).is_some_and(|it| it.remaining_ttl == 1);
        assert!(cluster.world.run_until(SOON, |_| has_a_second(&store)));
        cluster.world.pause_stage(leader, Stage::Applier);
        drop(propose(&handle, term, &checkpoint(ttl)));
        let is_committed = || handle.status().commit_index > handle.status().applied_index;
        assert!(cluster.world.run_until(SOON, |_| is_committed()));

        let mut keeper = Keeper::new(1);
        keeper.work(cluster.world.now(), &handle, &store);
        cluster.world.resume(leader);
        assert!(cluster.world.run_until(SOON, |world| {
            keeper.work(world.now(), &handle, &store);
            keeper.lessor.is_leading()
        }));
        let left = keeper.lessor.remaining(id, cluster.world.now()).unwrap().remaining;
        assert!(left > Duration::from_secs(50), "{left:?} left");
    }
}
