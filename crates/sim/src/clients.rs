//! Clients at random nodes, one request each at a time, and what they were told.
//!
//! Half of them call `host` and `store` themselves, and half go by the etcd API of the node: the
//! handlers, through a door of its present life. All are in one history, so that what the two kinds
//! see is compared.

mod call;
mod direct;
mod errands;
mod requests;
mod verdicts;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use env::{Moment, SplitMix};
use host::GroupId;
use raft::NodeId;
use store::StoreMachine;

use crate::chaos::pick;
use crate::history::{History, Operation, Outcome, Request, Value};
use crate::stores::Cluster;
use crate::watchers::Compactions;
use crate::{Failure, World};
use call::Call;
use direct::Direct;
use errands::Errand;
use requests::{Asked, Requests};
use verdicts::{Excuses, Truth};
pub(crate) use verdicts::{Headers, LEARNER, NO_LEARNER, UNREADABLE};
use wire::{Shape, Told};

/// Every request has its answer by then: the host's own limit, and time to notice.
const ANSWERED_WITHIN: Duration = Duration::from_secs(9);

enum Answer {
    Direct(Direct),
    Call(Call),
}

struct Pending {
    operation: Operation,
    node: NodeId,
    life: u64,
    deadline: Moment,
    answer: Answer,
}

struct Client {
    group: GroupId,
    /// What it must get done at a member that is well, if that is what it is there for.
    errand: Option<Errand>,
    /// Whether it goes by the etcd API.
    by_api: bool,
    /// The newest revision that it was told of by it.
    floor: i64,
    pending: Option<Pending>,
}

/// All clients of a world.
pub(crate) struct Clients {
    clients: Vec<Client>,
    /// An idle one asks for something once in so many turns.
    turns_per_request: u64,
    pub(crate) histories: BTreeMap<GroupId, History>,
    requests: Requests,
    /// Leases that were certainly revoked.
    pub(crate) revoked: Vec<(GroupId, i64)>,
    /// Whether a call of some client can go on.
    rung: Arc<AtomicBool>,
    headers: Headers,
    /// The first answer that was wrong in itself.
    wrong: Option<Failure>,
    pub(crate) calls: Calls,
}

/// Calls of the API, by what came of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    pub(crate) refused_by_learner: u64,
}

/// The value of bytes that [`bytes_of`] made.
pub(crate) fn value_of(bytes: &Bytes) -> Value {
    let digits = bytes.get(..16).and_then(|digits| std::str::from_utf8(digits).ok());
    let value = digits.and_then(|digits| Value::from_str_radix(digits, 16).ok());
    value.expect("a value that a client wrote")
}

/// The range of all keys that clients read together.
const SCANNED: (&str, &str) = ("key-", "key.");

/// What the keys hold that a range was asked for; `None` if others came, or not in order.
fn held_by_all<'a>(
    keys: &[String],
    found: impl Iterator<Item = (&'a Bytes, &'a Bytes)>,
) -> Option<Vec<Option<Value>>> {
    let mut found = found.peekable();
    let hold = |key: &String| found.next_if(|(name, _)| *name == key.as_bytes());
    let held: Vec<_> =
        keys.iter().map(hold).map(|it| it.map(|(_, value)| value_of(value))).collect();
    found.next().is_none().then_some(held)
}

fn key_bytes(key: &str) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}

impl Clients {
    pub(crate) fn new(client_count: usize, groups: &[GroupId], turns_per_request: u64) -> Self {
        let clients = (0..client_count)
            .map(|number| Client {
                group: groups[number % groups.len()],
                errand: None,
                by_api: !(number / groups.len()).is_multiple_of(2),
                floor: 0,
                pending: None,
            })
            .collect();
        Self {
            clients,
            turns_per_request,
            histories: groups.iter().map(|group| (*group, History::default())).collect(),
            requests: Requests::default(),
            revoked: Vec::new(),
            rung: Arc::default(),
            headers: Headers::default(),
            wrong: None,
            calls: Calls::default(),
        }
    }

    pub(crate) fn waiting_count(&self) -> usize {
        self.clients.iter().filter(|client| client.pending.is_some()).count()
    }

    /// A node was stopped for a while: its clients may wait longer.
    pub(crate) fn be_patient_with(&mut self, node: NodeId, now: Moment) {
        for pending in self.clients.iter_mut().filter_map(|client| client.pending.as_mut()) {
            if pending.node == node {
                pending.deadline = now.after(ANSWERED_WITHIN);
            }
        }
    }

    /// Lets some idle clients ask for something.
    pub(crate) fn ask(&mut self, cluster: &Cluster, dice: &mut SplitMix) {
        let world = &cluster.world;
        let on: Vec<NodeId> = world.nodes().into_iter().filter(|id| world.is_on(*id)).collect();
        if on.is_empty() {
            return;
        }
        for number in 0..self.clients.len() {
            let is_eager = dice.below(self.turns_per_request) == 0;
            if self.clients[number].pending.is_none() && is_eager {
                let node = pick(dice, &on);
                let history = &self.histories[&self.clients[number].group];
                let asked = self.requests.next(dice, history);
                self.begin(cluster, dice, (number, node), asked);
            }
        }
        self.work(world);
    }

    fn begin(
        &mut self,
        cluster: &Cluster,
        dice: &mut SplitMix,
        (number, node): (usize, NodeId),
        (request, command): Asked,
    ) {
        let (group, by_api) = (self.clients[number].group, self.clients[number].by_api);
        let answer = if by_api {
            let (door, rung) = (cluster.door(node, group), &self.rung);
            Answer::Call(match command {
                Some(command) => Call::command(door, command, rung),
                None => {
                    let shape = pick(dice, &[Shape::Key, Shape::Range, Shape::Txn]);
                    Call::read(door, (&request, shape), rung)
                }
            })
        } else {
            let handle = cluster.world.group(node, group).expect("the node is on");
            Answer::Direct(match command {
                Some(command) => Direct::propose(&handle, &command),
                None => Direct::read(&handle, cluster.store_of(node, group), &request),
            })
        };
        let now = cluster.world.now();
        let operation =
            Operation { request, invoked: now.0, returned: 0, outcome: Outcome::Unknown };
        let (life, deadline) = (cluster.world.life_count(node), now.after(ANSWERED_WITHIN));
        let pending = Pending { operation, node, life, deadline, answer };
        self.clients[number].pending = Some(pending);
    }

    /// Lets the calls go on that can. To be called after every event: a handler that reads a moment
    /// later would see more, and a read that came too early would not show.
    pub(crate) fn work(&mut self, world: &World<StoreMachine>) {
        if !self.rung.swap(false, Ordering::Relaxed) {
            return;
        }
        for client in &mut self.clients {
            let Some(pending) = &mut client.pending else { continue };
            let lives = pending.lives(world);
            let Answer::Call(call) = &mut pending.answer else { continue };
            // No handler of a process that is stopped runs; what rang is not forgotten.
            if world.is_paused(pending.node) {
                self.rung.store(true, Ordering::Relaxed);
                continue;
            }
            let Some(told) = call.work(world.now()) else { continue };
            let who = (pending.node, client.group, pending.life);
            let truth = Truth { lives, votes: world.has_vote(pending.node, client.group) };
            if let Err(wrong) = self.headers.check(who, told, truth) {
                self.wrong.get_or_insert_with(|| wrong.of(who.0, who.1));
            }
            self.calls.refused_by_learner += u64::from(match told {
                Told::Refused(status) => status.message() == LEARNER,
                Told::Answered(..) | Told::Wrong(_) => false,
            });
        }
    }

    /// Takes the answers that have come. The disks of `ill` were made to fail; that of a node that
    /// has ended may have gone with it under a handler that was still reading.
    ///
    /// # Errors
    /// A client that gets no answer, or a wrong kind of one.
    pub(crate) fn listen(
        &mut self,
        world: &World<StoreMachine>,
        ill: &BTreeSet<NodeId>,
        compactions: &BTreeMap<GroupId, Compactions>,
    ) -> Result<(), Failure> {
        self.work(world);
        self.wrong.take().map_or(Ok(()), Err)?;
        for client in &mut self.clients {
            let Some(pending) = &mut client.pending else { continue };
            let excuses = Excuses {
                is_ill: ill.contains(&pending.node) || !pending.lives(world),
                compacted: compactions.get(&client.group).map_or(0, Compactions::newest),
            };
            let (node, group) = (pending.node, client.group);
            let outcome = pending.outcome(world, excuses).map_err(|what| what.of(node, group))?;
            let Some((returned, outcome)) = outcome else { continue };
            let mut operation = client.pending.take().expect("it was here").operation;
            operation.returned = returned.0;
            if let Some(errand) = &mut client.errand {
                errand.hear(&outcome);
            }
            if client.by_api {
                self.calls.count(&outcome);
                client.climb(&operation, &outcome)?;
            }
            if let (Request::Revoke { lease, .. }, Outcome::Done { .. }) =
                (&operation.request, &outcome)
                && *lease != 0
            {
                self.revoked.push((client.group, *lease));
            }
            operation.outcome = outcome;
            self.histories.get_mut(&client.group).expect("its group").operations.push(operation);
        }
        Ok(())
    }
}

impl Calls {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Done { .. } => self.done += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Unknown => self.unknown += 1,
        }
    }
}

impl Client {
    /// All it asks for is linearizable: what it is told never goes back, whoever tells.
    fn climb(&mut self, operation: &Operation, outcome: &Outcome) -> Result<(), Failure> {
        let Outcome::Done { revision, .. } = outcome else { return Ok(()) };
        Failure::unless(*revision >= self.floor, "revisions do not fall for a client", || {
            format!("{operation:?} at {revision}, and it had been told of {}", self.floor)
        })?;
        self.floor = *revision;
        Ok(())
    }
}

impl Pending {
    /// Whether the node is in the life in which it was asked.
    fn lives(&self, world: &World<StoreMachine>) -> bool {
        world.is_on(self.node) && world.life_count(self.node) == self.life
    }

    /// The outcome and when it was known, once there is one. With the life of a node its door goes
    /// as well: who is not answered by then knows nothing.
    fn outcome(
        &mut self,
        world: &World<StoreMachine>,
        excuses: Excuses,
    ) -> Result<Option<(Moment, Outcome)>, Failure> {
        let request = &self.operation.request;
        let named =
            |what: Failure| Failure::new(what.property, format!("n{}: {}", self.node, what.detail));
        let (answer, is_kept) = match &mut self.answer {
            Answer::Direct(direct) => {
                let outcome = direct.take(request, excuses).transpose().map_err(named)?;
                (outcome.map(|outcome| (world.now(), outcome)), direct.is_kept())
            }
            Answer::Call(call) => match call.take() {
                None => (None, true),
                Some((at, told)) => {
                    let outcome = verdicts::outcome_of(request, told, excuses).map_err(named)?;
                    (Some((at, outcome)), true)
                }
            },
        };
        if answer.is_some() || !self.lives(world) {
            return Ok(Some(answer.unwrap_or_else(|| (world.now(), Outcome::Unknown))));
        }
        let who = || format!("n{}, {:?}, now {:?}", self.node, self.operation, world.now());
        Failure::unless(is_kept, "no answer is thrown away", who)?;
        let waited_too_long = world.now() > self.deadline && !world.is_paused(self.node);
        Failure::unless(!waited_too_long, ANSWERED, who)?;
        Ok(None)
    }
}

/// The client contract: one answer to each request, in bounded time.
const ANSWERED: &str = "every request is answered in time";
