//! Clients that call `host` and `store` themselves.

use std::sync::{Arc, Mutex};

use host::{GroupHandle, ProposeError, ReadError};
use store::{Command, RangeRequest, RequestError, Response, ResponseOp, Store};

use super::verdicts::{ERRORS, Excuses, names_a_lease};
use super::{SCANNED, held_by_all, key_bytes, value_of};
use crate::Failure;
use crate::history::{Outcome, Reply, Request};

type Proposed = Result<Result<Response, RequestError>, ProposeError>;
type Handle = GroupHandle<Result<Response, RequestError>>;

/// Revision and answer.
type ReadResult = Result<Result<(i64, Reply), RequestError>, ReadError>;

type Slot<T> = Arc<Mutex<Option<T>>>;

/// The answer, once it is there.
pub(super) enum Direct {
    Proposal(Slot<Proposed>),
    Read(Slot<ReadResult>),
}

impl Direct {
    pub(super) fn propose(handle: &Handle, command: &Command) -> Self {
        let slot: Slot<Proposed> = Arc::default();
        let keep = Arc::clone(&slot);
        handle.propose(&command.encode(), move |result| {
            let before = keep.lock().expect("one thread").replace(result);
            assert!(before.is_none(), "a client is answered once");
        });
        Self::Proposal(slot)
    }

    pub(super) fn read(handle: &Handle, store: Store, request: &Request) -> Self {
        let range = range_of(request);
        let request = request.clone();
        let slot: Slot<ReadResult> = Arc::default();
        let keep = Arc::clone(&slot);
        // At once: later the node would have applied more, and a read that came too early
        // would not show.
        handle.read_index(move |result| {
            let result = result.map(|_| {
                let response = store.range(&range)?;
                let kvs = response.kvs.iter();
                let reply = match &request {
                    // Without an answer for each key it is a wrong one.
                    Request::Scan { keys, .. } => Reply::HoldAll(
                        held_by_all(keys, kvs.map(|kv| (&kv.key, &kv.value))).unwrap_or_default(),
                    ),
                    Request::Get { .. }
                    | Request::Put { .. }
                    | Request::Swap { .. }
                    | Request::Delete { .. }
                    | Request::Revoke { .. } => {
                        Reply::Holds(response.kvs.first().map(|kv| value_of(&kv.value)))
                    }
                };
                Ok((response.revision, reply))
            });
            let before = keep.lock().expect("one thread").replace(result);
            assert!(before.is_none(), "a reader is answered once");
        });
        Self::Read(slot)
    }

    /// The outcome, once there is one.
    pub(super) fn take(
        &self,
        request: &Request,
        excuses: Excuses,
    ) -> Option<Result<Outcome, Failure>> {
        match self {
            Self::Proposal(slot) => {
                let result = slot.lock().expect("one thread").take();
                result.map(|result| outcome_of_proposal(request, result))
            }
            Self::Read(slot) => {
                slot.lock().expect("one thread").take().map(|result| match result {
                    Ok(Ok((revision, reply))) => Ok(Outcome::Done { revision, reply }),
                    Ok(Err(RequestError::ReadFailed)) if excuses.is_ill => Ok(Outcome::Failed),
                    Ok(Err(RequestError::Compacted)) if excuses.is_compacted(request) => {
                        Ok(Outcome::Failed)
                    }
                    Ok(Err(error)) => Err(wrong(request, &error)),
                    Err(ReadError::NoLeader | ReadError::TimedOut | ReadError::Stopped) => {
                        Ok(Outcome::Failed)
                    }
                    // Nothing of what they ask for may be refused.
                    Err(error) => Err(Failure::new(ERRORS, format!("{request:?}: {error:?}"))),
                })
            }
        }
    }

    /// Whether somebody may still answer.
    pub(super) fn is_kept(&self) -> bool {
        match self {
            Self::Proposal(slot) => Arc::strong_count(slot) > 1,
            Self::Read(slot) => Arc::strong_count(slot) > 1,
        }
    }
}

fn range_of(request: &Request) -> RangeRequest {
    match request {
        Request::Get { key } => RangeRequest { key: key_bytes(key), ..RangeRequest::default() },
        Request::Scan { at, .. } => RangeRequest {
            key: key_bytes(SCANNED.0),
            range_end: key_bytes(SCANNED.1),
            revision: at.unwrap_or(0),
            ..RangeRequest::default()
        },
        Request::Put { .. }
        | Request::Swap { .. }
        | Request::Delete { .. }
        | Request::Revoke { .. } => unreachable!("{request:?} is no read"),
    }
}

fn wrong(request: &Request, error: &RequestError) -> Failure {
    Failure::new(ERRORS, format!("{request:?}: {error:?}"))
}

fn outcome_of_proposal(request: &Request, result: Proposed) -> Result<Outcome, Failure> {
    let response = match result {
        Ok(Ok(response)) => response,
        // Refused by the state: no effect, ever.
        Ok(Err(RequestError::LeaseNotFound)) if names_a_lease(request) => {
            return Ok(Outcome::Failed);
        }
        Ok(Err(error)) => return Err(wrong(request, &error)),
        Err(error) if error.definitely_failed() => return Ok(Outcome::Failed),
        Err(_) => return Ok(Outcome::Unknown),
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
    Ok(Outcome::Done { revision, reply })
}
