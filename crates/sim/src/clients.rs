//! Clients at random nodes, one request each at a time, and what they were told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use env::{Moment, SplitMix};
use host::{GroupId, ProposeError, ReadError};
use raft::NodeId;
use store::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, LeaseId, PutRequest,
    RangeRequest, RequestError, RequestOp, Response, ResponseOp, Store, StoreMachine, TxnRequest,
};

use crate::history::{History, Operation, Outcome, Reply, Request, Value};
use crate::{Failure, World};

/// Every request has its answer by then: the host's own limit, and time to notice.
const ANSWERED_WITHIN: Duration = Duration::from_secs(9);
/// Keys that clients fight over.
const KEYS: u64 = 5;
/// Longer than any world, by the fastest of its clocks: these leases end when they are revoked.
const TTL_SECS: i64 = 3600;
/// Keys that make snapshots long.
const FILLERS: u64 = 40;

type Proposed = Result<Result<Response, RequestError>, ProposeError>;

/// Revision and value, or `None` if the disk failed.
type ReadResult = Result<Option<(i64, Option<Value>)>, ReadError>;

enum Answer {
    Proposal(Arc<Mutex<Option<Proposed>>>),
    Read(Arc<Mutex<Option<ReadResult>>>),
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
    pending: Option<Pending>,
}

/// All clients of a world.
pub(crate) struct Clients {
    clients: Vec<Client>,
    /// An idle one asks for something once in so many turns.
    turns_per_request: u64,
    pub(crate) histories: BTreeMap<GroupId, History>,
    /// Leases that may exist, and those that were certainly revoked.
    leases: Vec<i64>,
    pub(crate) revoked: Vec<(GroupId, i64)>,
    next_value: Value,
    next_lease: i64,
}

/// The value of bytes that [`bytes_of`] made.
pub(crate) fn value_of(bytes: &Bytes) -> Value {
    let digits = bytes.get(..16).and_then(|digits| std::str::from_utf8(digits).ok());
    let value = digits.and_then(|digits| Value::from_str_radix(digits, 16).ok());
    value.expect("a value that a client wrote")
}

fn bytes_of(value: Value, length: usize) -> Bytes {
    let mut text = format!("{value:016x}");
    text.extend(std::iter::repeat_n('.', length));
    Bytes::from(text)
}

fn key_bytes(key: &str) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}

fn lease_key(lease: i64) -> String {
    format!("leased-{}", lease % 3)
}

impl Clients {
    pub(crate) fn new(client_count: usize, groups: &[GroupId], turns_per_request: u64) -> Self {
        let clients = (0..client_count)
            .map(|number| Client { group: groups[number % groups.len()], pending: None })
            .collect();
        Self {
            clients,
            turns_per_request,
            histories: groups.iter().map(|group| (*group, History::default())).collect(),
            leases: Vec::new(),
            revoked: Vec::new(),
            next_value: 0,
            next_lease: 0,
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
    pub(crate) fn ask(
        &mut self,
        world: &World<StoreMachine>,
        dice: &mut SplitMix,
        store: impl Fn(NodeId, GroupId) -> Store,
    ) {
        let on: Vec<NodeId> = world.nodes().into_iter().filter(|id| world.is_on(*id)).collect();
        if on.is_empty() {
            return;
        }
        for number in 0..self.clients.len() {
            let is_eager = dice.below(self.turns_per_request) == 0;
            if self.clients[number].pending.is_none() && is_eager {
                let node = on[usize::try_from(dice.below(on.len() as u64)).expect("small")];
                let group = self.clients[number].group;
                self.clients[number].pending = Some(self.begin(world, dice, (node, group), &store));
            }
        }
    }

    fn begin(
        &mut self,
        world: &World<StoreMachine>,
        dice: &mut SplitMix,
        (node, group): (NodeId, GroupId),
        store: impl Fn(NodeId, GroupId) -> Store,
    ) -> Pending {
        let (request, command) = self.request(dice, group);
        let handle = world.group(node, group).expect("the node is on");
        let answer = match command {
            Some(command) => {
                let slot: Arc<Mutex<Option<Proposed>>> = Arc::default();
                let keep = Arc::clone(&slot);
                handle.propose(&command.encode(), move |result| {
                    let before = keep.lock().expect("one thread").replace(result);
                    assert!(before.is_none(), "a client is answered once");
                });
                Answer::Proposal(slot)
            }
            None => {
                let Request::Get { key } = &request else { unreachable!("only a get reads") };
                let range = RangeRequest { key: key_bytes(key), ..RangeRequest::default() };
                let slot: Arc<Mutex<Option<ReadResult>>> = Arc::default();
                let keep = Arc::clone(&slot);
                let store = store(node, group);
                // At once: later the node would have applied more, and a read that came too early
                // would not show.
                handle.read_index(move |result| {
                    let result = result.map(|_| {
                        let response = store.range(&range).ok()?;
                        let held = response.kvs.first().map(|kv| value_of(&kv.value));
                        Some((response.revision, held))
                    });
                    let before = keep.lock().expect("one thread").replace(result);
                    assert!(before.is_none(), "a reader is answered once");
                });
                Answer::Read(slot)
            }
        };
        let now = world.now();
        let operation =
            Operation { request, invoked: now.0, returned: 0, outcome: Outcome::Unknown };
        let (life, deadline) = (world.life_count(node), now.after(ANSWERED_WITHIN));
        Pending { operation, node, life, deadline, answer }
    }

    fn request(&mut self, dice: &mut SplitMix, group: GroupId) -> (Request, Option<Command>) {
        self.next_value += 1;
        let value = self.next_value;
        let key = format!("key-{}", dice.below(KEYS));
        let length = usize::try_from(dice.below(100)).expect("small");
        let put = |key: &str, lease: i64, length: usize| PutRequest {
            key: key_bytes(key),
            value: bytes_of(value, length),
            lease: LeaseId(lease),
            ..PutRequest::default()
        };
        match dice.below(20) {
            0..5 => (Request::Get { key }, None),
            5..9 => {
                let command = Command::Put(put(&key, 0, length));
                (Request::Put { keys: vec![key], value, lease: 0 }, Some(command))
            }
            9..11 => {
                let key = format!("filler-{}", dice.below(FILLERS));
                let command = Command::Put(put(&key, 0, length * 20));
                (Request::Put { keys: vec![key], value, lease: 0 }, Some(command))
            }
            11..13 => {
                let command = Command::DeleteRange(DeleteRangeRequest {
                    key: key_bytes(&key),
                    ..DeleteRangeRequest::default()
                });
                (Request::Delete { key }, Some(command))
            }
            13..16 => self.swap(dice, group, key, put),
            16 => {
                let other = format!("key-{}", KEYS + dice.below(3));
                let success = [&key, &other].map(|key| RequestOp::Put(put(key, 0, length)));
                let txn = TxnRequest { success: success.to_vec(), ..TxnRequest::default() };
                let keys = vec![key, other];
                (Request::Put { keys, value, lease: 0 }, Some(Command::Txn(txn)))
            }
            17 => {
                self.next_lease += 1;
                let lease = self.next_lease;
                self.leases.push(lease);
                // No key is written: the request that fits is a revocation of nothing.
                let request = Request::Revoke { lease: 0, keys: Vec::new() };
                (request, Some(Command::LeaseGrant { id: LeaseId(lease), ttl: TTL_SECS }))
            }
            18 => {
                let lease = self.leases.last().copied().unwrap_or(77);
                let key = lease_key(lease);
                let command = Command::Put(put(&key, lease, length));
                (Request::Put { keys: vec![key], value, lease }, Some(command))
            }
            _ => {
                let lease = self.leases.first().copied().unwrap_or(78);
                if self.leases.len() > 1 {
                    self.leases.remove(0);
                }
                let request = Request::Revoke { lease, keys: vec![lease_key(lease)] };
                (request, Some(Command::LeaseRevoke { id: LeaseId(lease) }))
            }
        }
    }

    /// A swap that expects what the history's newest change says, or nothing, or nonsense.
    fn swap(
        &self,
        dice: &mut SplitMix,
        group: GroupId,
        key: String,
        put: impl Fn(&str, i64, usize) -> PutRequest,
    ) -> (Request, Option<Command>) {
        let value = self.next_value;
        let changes = self.histories[&group].changes.values().rev().flatten();
        let newest = changes.take(200).find(|change| change.key == key);
        let held = newest.and_then(|change| change.value);
        let expected = if dice.below(8) == 0 { None } else { held };
        // Values of all lengths are compared by their version and not by their bytes.
        let compare = |result, target| Compare {
            key: key_bytes(&key),
            range_end: Bytes::new(),
            result,
            target,
        };
        let guards = match expected {
            None => vec![compare(CompareResult::Equal, CompareTarget::Version(0))],
            // Values of this length are between these two, and no other value is.
            Some(held) => vec![
                compare(CompareResult::Greater, CompareTarget::Value(bytes_below(held))),
                compare(CompareResult::Less, CompareTarget::Value(bytes_below(held + 1))),
            ],
        };
        let range = RangeRequest { key: key_bytes(&key), ..RangeRequest::default() };
        let txn = TxnRequest {
            compare: guards,
            success: vec![RequestOp::Put(put(&key, 0, 10))],
            failure: vec![RequestOp::Range(range)],
        };
        (Request::Swap { key, expected, value }, Some(Command::Txn(txn)))
    }

    /// Takes the answers that have come.
    ///
    /// # Errors
    /// A client that gets no answer, or a wrong kind of one.
    pub(crate) fn listen(&mut self, world: &World<StoreMachine>) -> Result<(), Failure> {
        for client in &mut self.clients {
            let Some(pending) = &client.pending else { continue };
            let Some(outcome) = outcome_of(world, pending)? else { continue };
            let mut operation = client.pending.take().expect("it was here").operation;
            operation.returned = world.now().0;
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

/// Smaller than every value with this number, and greater than those with a smaller one.
fn bytes_below(value: Value) -> Bytes {
    Bytes::from(format!("{:016x}~", value - 1))
}

/// The client contract: one answer to each request, in bounded time.
const ANSWERED: &str = "every request is answered in time";

/// The outcome, once there is one.
fn outcome_of(world: &World<StoreMachine>, pending: &Pending) -> Result<Option<Outcome>, Failure> {
    let node = pending.node;
    let lives = world.is_on(node) && world.life_count(node) == pending.life;
    let (answer, is_kept) = match &pending.answer {
        Answer::Proposal(slot) => {
            let result = slot.lock().expect("one thread").take();
            let outcome =
                result.map(|result| outcome_of_proposal(&pending.operation.request, result));
            (outcome, Arc::strong_count(slot) > 1)
        }
        Answer::Read(slot) => {
            let outcome = slot.lock().expect("one thread").take().map(|result| match result {
                Ok(Some((revision, held))) => Outcome::Done { revision, reply: Reply::Holds(held) },
                // The disk failed under the read.
                Ok(None) => Outcome::Unknown,
                Err(_) => Outcome::Failed,
            });
            (outcome, Arc::strong_count(slot) > 1)
        }
    };
    if answer.is_some() || !lives {
        return Ok(Some(answer.unwrap_or(Outcome::Unknown)));
    }
    let who = || format!("n{node}, {:?}, now {:?}", pending.operation, world.now());
    Failure::unless(is_kept, "no answer is thrown away", who)?;
    let waited_too_long = world.now() > pending.deadline && !world.is_paused(node);
    Failure::unless(!waited_too_long, ANSWERED, who)?;
    Ok(None)
}

fn outcome_of_proposal(request: &Request, result: Proposed) -> Outcome {
    let response = match result {
        Ok(Ok(response)) => response,
        // Refused by the state: no effect, ever.
        Ok(Err(_)) => return Outcome::Failed,
        Err(error) if error.definitely_failed() => return Outcome::Failed,
        Err(_) => return Outcome::Unknown,
    };
    let (revision, reply) = match response {
        Response::Put(put) => (put.revision, Reply::Done),
        Response::DeleteRange(deleted) => (deleted.revision, Reply::Deleted(deleted.deleted)),
        Response::LeaseGrant { revision, .. } | Response::LeaseRevoke { revision } => {
            (revision, Reply::Done)
        }
        Response::Txn(txn) => match (request, txn.responses.first()) {
            (Request::Swap { .. }, Some(ResponseOp::Range(range))) => {
                let held = range.kvs.first().map(|kv| value_of(&kv.value));
                (txn.revision, Reply::Holds(held))
            }
            _ => (txn.revision, Reply::Done),
        },
        other @ (Response::Compact { .. }
        | Response::LeaseCheckpoint { .. }
        | Response::Alarm { .. }
        | Response::Downgrade { .. }
        | Response::Member { .. }
        | Response::Auth { .. }
        | Response::Authenticate { .. }) => panic!("{other:?} answers no request of these clients"),
    };
    Outcome::Done { revision, reply }
}
