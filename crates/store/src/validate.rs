//! Checks that need no state. The server makes them before it proposes; apply makes them again,
//! since the log may hold what an older version let through.

use crate::error::RequestError;
use crate::request::{
    Command, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use crate::txn_keys::check_key_written_once;

/// The longest time to live of a lease, in seconds.
pub const LEASE_TTL_MAX: i64 = 9_000_000_000;

/// Transactions in transactions, at most. etcd has no such limit but the size of a request; deeper
/// ones serve nobody and would cost stack.
pub const TXN_DEPTH_MAX: usize = 32;

/// Checks a range.
///
/// # Errors
/// Why it is refused.
pub fn check_range(request: &RangeRequest) -> Result<(), RequestError> {
    check_key(&request.key)
}

/// Checks a put.
///
/// # Errors
/// Why it is refused.
pub fn check_put(request: &PutRequest) -> Result<(), RequestError> {
    check_key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(RequestError::ValueProvided);
    }
    if request.ignore_lease && !request.lease.is_none() {
        return Err(RequestError::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
/// Why it is refused.
pub fn check_delete_range(request: &DeleteRangeRequest) -> Result<(), RequestError> {
    check_key(&request.key)
}

/// Checks a grant.
///
/// # Errors
/// Why it is refused.
pub fn check_lease_grant(ttl: i64) -> Result<(), RequestError> {
    if ttl > LEASE_TTL_MAX { Err(RequestError::LeaseTtlTooLarge) } else { Ok(()) }
}

/// Checks a transaction with all that is nested in it.
///
/// # Errors
/// Why it is refused.
pub fn check_txn(request: &TxnRequest, ops_max: usize) -> Result<(), RequestError> {
    check_txn_ops(request, ops_max, TXN_DEPTH_MAX)?;
    check_key_written_once(&request.success)?;
    check_key_written_once(&request.failure)
}

/// Checks what a command says without the state. The number of operations is the server's to limit.
///
/// # Errors
/// Why it is refused.
pub fn check_command(command: &Command) -> Result<(), RequestError> {
    match command {
        Command::Put(put) => check_put(put),
        Command::DeleteRange(delete) => check_delete_range(delete),
        Command::Txn(txn) => check_txn(txn, usize::MAX),
        Command::LeaseGrant { ttl, .. } => check_lease_grant(*ttl),
        Command::Compact(_)
        | Command::LeaseRevoke { .. }
        | Command::LeaseCheckpoint { .. }
        | Command::Alarm(_)
        | Command::Downgrade { .. }
        | Command::MemberAttributes(_)
        | Command::MemberRemove { .. }
        | Command::Auth(_) => Ok(()),
    }
}

fn check_key(key: &[u8]) -> Result<(), RequestError> {
    if key.is_empty() { Err(RequestError::KeyNotProvided) } else { Ok(()) }
}

/// The longest of the three lists must fit the budget; what is nested has what is left of it.
fn check_txn_ops(
    request: &TxnRequest,
    ops_max: usize,
    depth_max: usize,
) -> Result<(), RequestError> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    if ops > ops_max || depth_max == 0 {
        return Err(RequestError::TooManyOps);
    }
    for Compare { key, .. } in &request.compare {
        check_key(key)?;
    }
    for op in request.success.iter().chain(&request.failure) {
        match op {
            RequestOp::Range(range) => check_range(range)?,
            RequestOp::Put(put) => check_put(put)?,
            RequestOp::DeleteRange(delete) => check_delete_range(delete)?,
            RequestOp::Txn(txn) => check_txn_ops(txn, ops_max - ops, depth_max - 1)?,
        }
    }
    Ok(())
}

/// Whether a transaction may change something and so must go through the log: one with a nested
/// transaction counts as such, as in etcd.
#[must_use]
pub fn is_read_only_txn(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| matches!(op, RequestOp::Range(_)))
}

/// Whether every operation of a read-only transaction is a serializable range, so that it needs no
/// quorum.
#[must_use]
pub fn is_serializable_txn(request: &TxnRequest) -> bool {
    let serializable = |op: &RequestOp| matches!(op, RequestOp::Range(range) if range.serializable);
    request.success.iter().chain(&request.failure).all(serializable)
}
