//! What a command does: computed as a [`Plan`] from the state alone, without changing it, so that a
//! command is done altogether or not at all, and may be planned anew when a value must be fetched.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::auth::{self, Principal};
use crate::codec::LogOp;
use crate::error::RequestError;
use crate::index::Place;
use crate::key_range::KeyRange;
use crate::measures::Operations;
use crate::request::{
    AlarmCommand, AlarmKind, ClusterVersion, Command, CompactRequest, Compare, CompareResult,
    CompareTarget, DeleteRangeRequest, LeaseId, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use crate::response::{
    DeleteRangeResponse, KeyValue, PutResponse, RangeResponse, Response, ResponseOp, TxnResponse,
};
use crate::state::State;
use crate::validate::{check_command, check_put};
use crate::view::{Fetched, Item, Overlay, Stop, View, Wanted};

/// What a command changes and answers.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The changes, in the form in which they are logged; empty if there are none.
    pub(crate) ops: Vec<LogOp>,
    pub(crate) response: Response,
    /// Where the index has the first key that is written, if it has it.
    pub(crate) place: Option<Place>,
    /// For the counts.
    pub(crate) operations: Operations,
}

/// Plans a command against the state. Pure: the same state and command give the same plan on every
/// replica, wherever the values are kept.
pub(crate) fn plan(
    state: &State,
    who: Option<&Principal>,
    command: &Command,
    fetched: &Fetched,
) -> Result<Plan, Stop> {
    auth::check_command(state, who, command)?;
    check_command(command)?;
    check_alarms(state, command)?;
    let mut execution = Execution {
        view: View { state, fetched },
        ops: Vec::new(),
        overlay: Overlay::new(),
        track_writes: false,
        place: None,
        operations: Operations::default(),
    };
    let revision = state.revision;
    let response = match command {
        Command::Put(put) => {
            execution.check_put(put)?;
            Response::Put(execution.put(put)?)
        }
        Command::DeleteRange(delete) => Response::DeleteRange(execution.delete_range(delete)?),
        Command::Txn(txn) => {
            execution.track_writes = true;
            Response::Txn(execution.txn(txn)?)
        }
        Command::Compact(CompactRequest { revision: at, .. }) => {
            if *at <= state.compact_revision {
                return Err(RequestError::Compacted.into());
            }
            if *at > revision {
                return Err(RequestError::FutureRevision.into());
            }
            execution.ops.push(LogOp::Compact { revision: *at });
            Response::Compact { revision }
        }
        Command::LeaseGrant { id, ttl } => {
            if state.leases.contains_key(id) || id.is_none() {
                return Err(RequestError::LeaseExists.into());
            }
            execution.ops.push(LogOp::Lease { id: *id, ttl: *ttl, remaining_ttl: *ttl });
            Response::LeaseGrant { revision, id: *id, ttl: *ttl }
        }
        Command::LeaseRevoke { id } => execution.lease_revoke(*id)?,
        Command::LeaseCheckpoint { remaining } => {
            for (id, remaining_ttl) in remaining {
                if let Some(lease) = state.leases.get(id) {
                    let (ttl, remaining_ttl) = (lease.ttl, (*remaining_ttl).clamp(0, lease.ttl));
                    execution.ops.push(LogOp::Lease { id: *id, ttl, remaining_ttl });
                }
            }
            Response::LeaseCheckpoint { revision }
        }
        Command::Alarm(alarm) => execution.alarm(*alarm),
        Command::Downgrade { target } => execution.downgrade(*target),
        Command::MemberAttributes(member) => {
            execution.ops.push(LogOp::Member(member.clone()));
            Response::Member { revision }
        }
        Command::MemberRemove { id } => {
            if state.members.contains_key(id) {
                execution.ops.push(LogOp::MemberRemove { id: *id });
            }
            Response::Member { revision }
        }
        Command::Auth(command) => {
            let (ops, response) = auth::plan(state, command)?;
            execution.ops = ops;
            response
        }
    };
    let Execution { ops, place, operations, .. } = execution;
    Ok(Plan { ops, response, place, operations })
}

/// A transaction that only reads, for the read handle; and what it consists of.
pub(crate) fn read_txn(
    state: &State,
    txn: &TxnRequest,
    fetched: &Fetched,
) -> Result<(TxnResponse, Operations), Stop> {
    refuse_corrupt(state)?;
    let view = View { state, fetched };
    let mut execution = Execution {
        view,
        ops: Vec::new(),
        overlay: Overlay::new(),
        track_writes: true,
        place: None,
        operations: Operations::default(),
    };
    let response = execution.txn(txn)?;
    assert!(execution.ops.is_empty(), "a transaction of ranges alone changes nothing");
    Ok((response, execution.operations))
}

/// Reads of keys are refused while the data is known to be wrong.
pub(crate) fn refuse_corrupt(state: &State) -> Result<(), RequestError> {
    if state.has_alarm(AlarmKind::Corrupt) { Err(RequestError::Corrupt) } else { Ok(()) }
}

/// Checks the revision of a read outside of a transaction, and resolves 0 and below to the latest.
pub(crate) fn resolve_revision(state: &State, revision: i64) -> Result<i64, RequestError> {
    match revision {
        ..=0 => Ok(state.revision),
        _ if revision > state.revision => Err(RequestError::FutureRevision),
        _ if revision < state.compact_revision => Err(RequestError::Compacted),
        _ => Ok(revision),
    }
}

fn check_alarms(state: &State, command: &Command) -> Result<(), RequestError> {
    let (on_keys, takes_space) = match command {
        Command::Put(_) | Command::LeaseGrant { .. } => (true, true),
        Command::Txn(txn) => (true, has_put(txn)),
        Command::DeleteRange(_) | Command::Compact(_) | Command::LeaseRevoke { .. } => {
            (true, false)
        }
        Command::LeaseCheckpoint { .. }
        | Command::Alarm(_)
        | Command::Downgrade { .. }
        | Command::MemberAttributes(_)
        | Command::MemberRemove { .. }
        | Command::Auth(_) => (false, false),
    };
    if on_keys {
        refuse_corrupt(state)?;
    }
    if takes_space && state.has_alarm(AlarmKind::NoSpace) {
        return Err(RequestError::NoSpace);
    }
    Ok(())
}

/// Whether a command takes space, so that the quota concerns it.
pub(crate) fn takes_space(command: &Command) -> bool {
    match command {
        Command::Put(_) | Command::LeaseGrant { .. } => true,
        Command::Txn(txn) => has_put(txn),
        Command::DeleteRange(_)
        | Command::Compact(_)
        | Command::LeaseRevoke { .. }
        | Command::LeaseCheckpoint { .. }
        | Command::Alarm(_)
        | Command::Downgrade { .. }
        | Command::MemberAttributes(_)
        | Command::MemberRemove { .. }
        | Command::Auth(_) => false,
    }
}

fn has_put(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        RequestOp::Put(_) => true,
        RequestOp::Txn(txn) => has_put(txn),
        RequestOp::Range(_) | RequestOp::DeleteRange(_) => false,
    })
}

struct Execution<'a> {
    view: View<'a>,
    ops: Vec<LogOp>,
    /// What was written, for later operations of the same transaction.
    overlay: Overlay,
    /// Whether there are such operations.
    track_writes: bool,
    place: Option<Place>,
    operations: Operations,
}

/// Which branches a transaction takes; decided for all that is nested before anything is written.
struct Path<'t> {
    succeeded: bool,
    ops: &'t [RequestOp],
    nested: Vec<Self>,
}

impl Path<'_> {
    /// Looks at all operations that will be done, those of a nested transaction in its place.
    fn in_order(
        &self,
        look: &mut impl FnMut(&RequestOp) -> Result<(), RequestError>,
    ) -> Result<(), RequestError> {
        let mut nested = self.nested.iter();
        self.ops.iter().try_for_each(|op| match op {
            RequestOp::Txn(_) => {
                nested.next().expect("a path was decided for each nested one").in_order(look)
            }
            RequestOp::Range(_) | RequestOp::Put(_) | RequestOp::DeleteRange(_) => look(op),
        })
    }
}

impl<'a> Execution<'a> {
    /// The revision that the command's changes make.
    fn next_revision(&self) -> i64 {
        self.view.state.revision + 1
    }

    /// The revision that an operation sees and answers: the next one as soon as there is a change.
    fn revision_seen(&self) -> i64 {
        if self.ops.is_empty() { self.view.state.revision } else { self.next_revision() }
    }

    fn current(&self, key: &[u8]) -> Option<Item<'a>> {
        self.view.get(key, self.view.state.revision)
    }

    /// What a put needs of the state before: checked for all puts before anything is written. In
    /// etcd's order: of a put by itself the lease is looked for first, in a transaction the key.
    fn check_put(&self, put: &PutRequest) -> Result<(), RequestError> {
        check_put(put)?;
        self.check_lease(put)?;
        self.check_key(put)
    }

    fn check_lease(&self, put: &PutRequest) -> Result<(), RequestError> {
        let is_there = put.lease.is_none() || self.view.state.leases.contains_key(&put.lease);
        if is_there { Ok(()) } else { Err(RequestError::LeaseNotFound) }
    }

    fn check_key(&self, put: &PutRequest) -> Result<(), RequestError> {
        let needs_key = put.ignore_value || put.ignore_lease;
        let is_missing = needs_key && self.current(&put.key).is_none();
        if is_missing { Err(RequestError::KeyNotFound) } else { Ok(()) }
    }

    fn put(&mut self, put: &PutRequest) -> Result<PutResponse, Stop> {
        // No earlier operation wrote this key: a transaction writes a key once.
        let (current, place) = self.view.find(&put.key).unzip();
        if self.ops.is_empty() {
            self.place = place;
        }
        let prev = match &current {
            Some(item) if put.prev_kv || put.ignore_value => Some(item.to_kv()?),
            _ => None,
        };
        self.operations.puts += 1;
        // As in etcd: what was there before is read by a range, if anybody asks.
        self.operations.ranges += u64::from(put.prev_kv || put.ignore_value || put.ignore_lease);
        let revision = self.next_revision();
        let (create_revision, version) =
            current.as_ref().map_or((revision, 1), |item| (item.create_revision, item.version + 1));
        let value = match &prev {
            Some(prev) if put.ignore_value => prev.value.clone(),
            _ => put.value.clone(),
        };
        let lease = match &current {
            Some(item) if put.ignore_lease => item.lease,
            _ => put.lease,
        };
        if self.track_writes {
            let kv = KeyValue {
                key: put.key.clone(),
                create_revision,
                mod_revision: revision,
                version,
                value: value.clone(),
                lease,
            };
            self.overlay.insert(put.key.clone(), Some(kv));
        }
        let key = put.key.clone();
        self.ops.push(LogOp::Put { key, value, lease, create_revision, version });
        Ok(PutResponse { revision, prev_kv: prev.filter(|_| put.prev_kv) })
    }

    fn delete_range(&mut self, delete: &DeleteRangeRequest) -> Result<DeleteRangeResponse, Stop> {
        let request = RangeRequest {
            key: delete.key.clone(),
            range_end: delete.range_end.clone(),
            keys_only: !delete.prev_kv,
            ..RangeRequest::default()
        };
        let found = self.view.range(&request, self.view.state.revision, &self.overlay)?;
        self.operations.deletes += 1;
        self.operations.ranges += u64::from(delete.prev_kv);
        for kv in &found.kvs {
            self.delete(kv.key.clone());
        }
        Ok(DeleteRangeResponse {
            revision: self.revision_seen(),
            deleted: found.count,
            prev_kvs: if delete.prev_kv { found.kvs } else { Vec::new() },
        })
    }

    fn delete(&mut self, key: Bytes) {
        if self.track_writes {
            self.overlay.insert(key.clone(), None);
        }
        self.ops.push(LogOp::Delete { key });
    }

    fn lease_revoke(&mut self, id: LeaseId) -> Result<Response, Stop> {
        let lease = self.view.state.leases.get(&id).ok_or(RequestError::LeaseNotFound)?;
        self.operations.deletes += lease.keys.len() as u64;
        for key in &lease.keys {
            self.delete(Bytes::copy_from_slice(key));
        }
        let revision = self.revision_seen();
        self.ops.push(LogOp::LeaseRevoke { id });
        Ok(Response::LeaseRevoke { revision })
    }

    fn downgrade(&mut self, target: Option<ClusterVersion>) -> Response {
        if self.view.state.downgrade != target {
            self.ops.push(LogOp::Downgrade { target });
        }
        Response::Downgrade { revision: self.view.state.revision }
    }

    fn alarm(&mut self, command: AlarmCommand) -> Response {
        let (alarm, on) = match command {
            AlarmCommand::Activate(alarm) => (alarm, true),
            AlarmCommand::Deactivate(alarm) => (alarm, false),
        };
        let changes = self.view.state.alarms.contains(&alarm) != on;
        if changes {
            self.ops.push(LogOp::Alarm { alarm, on });
        }
        // As etcd: whoever raises an alarm is told of it, also if it was raised before.
        let changed = if changes || on { vec![alarm] } else { Vec::new() };
        Response::Alarm { revision: self.view.state.revision, changed }
    }

    fn txn(&mut self, txn: &TxnRequest) -> Result<TxnResponse, Stop> {
        let path = self.decide(txn)?;
        self.check_path(&path)?;
        let mut response = self.run(&path)?;
        response.revision = self.revision_seen();
        Ok(response)
    }

    /// Evaluates the guards, also the nested ones, against the state before the transaction.
    fn decide<'t>(&self, txn: &'t TxnRequest) -> Result<Path<'t>, Stop> {
        let mut succeeded = true;
        for compare in &txn.compare {
            succeeded = succeeded && self.holds(compare)?;
        }
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let mut nested = Vec::new();
        for op in ops {
            if let RequestOp::Txn(txn) = op {
                nested.push(self.decide(txn)?);
            }
        }
        Ok(Path { succeeded, ops, nested })
    }

    /// First all puts and then all ranges, those of a nested transaction in its place: that is the
    /// fault that etcd tells of.
    fn check_path(&self, path: &Path<'_>) -> Result<(), RequestError> {
        path.in_order(&mut |op| {
            let RequestOp::Put(put) = op else { return Ok(()) };
            check_put(put)?;
            self.check_key(put)?;
            self.check_lease(put)
        })?;
        path.in_order(&mut |op| {
            let RequestOp::Range(range) = op else { return Ok(()) };
            self.check_range(range)
        })
    }

    /// Unlike outside of a transaction, what is below 0 is compacted; but for −1 while nothing is,
    /// as in etcd, which keeps −1 for "never compacted".
    fn check_range(&self, range: &RangeRequest) -> Result<(), RequestError> {
        let state = self.view.state;
        match range.revision {
            0 => Ok(()),
            at if at > state.revision => Err(RequestError::FutureRevision),
            at if at < state.compact_revision => Err(RequestError::Compacted),
            _ => Ok(()),
        }
    }

    fn run(&mut self, path: &Path<'_>) -> Result<TxnResponse, Stop> {
        let mut nested = path.nested.iter();
        let mut responses = Vec::with_capacity(path.ops.len());
        for op in path.ops {
            responses.push(match op {
                RequestOp::Range(range) => ResponseOp::Range(self.range(range)?),
                RequestOp::Put(put) => ResponseOp::Put(self.put(put)?),
                RequestOp::DeleteRange(delete) => {
                    ResponseOp::DeleteRange(self.delete_range(delete)?)
                }
                RequestOp::Txn(_) => {
                    let path = nested.next().expect("a path was decided for each nested one");
                    ResponseOp::Txn(self.run(path)?)
                }
            });
        }
        let revision = self.revision_seen();
        Ok(TxnResponse { revision, succeeded: path.succeeded, responses })
    }

    fn range(&mut self, request: &RangeRequest) -> Result<RangeResponse, Stop> {
        self.operations.ranges += 1;
        let current = self.view.state.revision;
        let empty = BTreeMap::new();
        let mut response = if request.revision <= 0 {
            self.view.range(request, current, &self.overlay)?
        } else {
            self.view.range(request, request.revision, &empty)?
        };
        response.revision = self.revision_seen();
        Ok(response)
    }

    fn holds(&self, compare: &Compare) -> Result<bool, Stop> {
        let range = KeyRange::new(&compare.key, &compare.range_end);
        let mut found_any = false;
        let mut holds = true;
        let mut missing: Vec<Wanted> = Vec::new();
        let revision = self.view.state.revision;
        if range.is_empty() {
            return Ok(holds_for_none(compare));
        }
        for item in self.view.items(&range, revision) {
            found_any = true;
            match holds_for(compare, &item) {
                Ok(item_holds) => holds = holds && item_holds,
                Err(wanted) => missing.push(wanted),
            }
            if !holds {
                return Ok(false);
            }
        }
        if !missing.is_empty() {
            return Err(Stop::Missing(missing));
        }
        Ok(if found_any { holds } else { holds_for_none(compare) })
    }
}

fn holds_for(compare: &Compare, item: &Item<'_>) -> Result<bool, Wanted> {
    let ordering = match &compare.target {
        CompareTarget::Version(version) => item.version.cmp(version),
        CompareTarget::Create(revision) => item.create_revision.cmp(revision),
        CompareTarget::Mod(revision) => item.mod_revision.cmp(revision),
        CompareTarget::Lease(lease) => item.lease.cmp(lease),
        CompareTarget::Value(value) => item.value()?.cmp(value),
    };
    Ok(relates(compare.result, ordering))
}

/// A key that does not exist compares as one whose numbers are all 0; its value compares as nothing
/// at all, not even as different.
fn holds_for_none(compare: &Compare) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(number)
        | CompareTarget::Create(number)
        | CompareTarget::Mod(number) => 0.cmp(number),
        CompareTarget::Lease(lease) => LeaseId::NONE.cmp(lease),
        CompareTarget::Value(_) => return false,
    };
    relates(compare.result, ordering)
}

fn relates(result: CompareResult, ordering: std::cmp::Ordering) -> bool {
    match result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
        CompareResult::NotEqual => ordering.is_ne(),
    }
}
