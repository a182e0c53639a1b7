//! Which keys a command touches, operation by operation: both branches of a transaction and all
//! that is nested in them, since which one is taken shows by itself what a user may not read.

use super::{Access, Principal, Standing};
use crate::error::RequestError;
use crate::request::{Command, Compare, LeaseId, PutRequest, RequestOp, TxnRequest};
use crate::state::State;

/// Refuses a command that its user may not give. The first question of apply, before alarms and
/// quota: nothing that can be switched stands before it.
pub(crate) fn check_command(
    state: &State,
    who: Option<&Principal>,
    command: &Command,
) -> Result<(), RequestError> {
    let auth = &state.auth;
    if !auth.enabled {
        return Ok(());
    }
    match command {
        Command::Put(put) => check_put(state, &auth.standing(who)?, put),
        Command::DeleteRange(delete) => {
            let standing = auth.standing(who)?;
            standing.require(Access::Write, &delete.key, &delete.range_end)?;
            if delete.prev_kv {
                standing.require(Access::Read, &delete.key, &delete.range_end)?;
            }
            Ok(())
        }
        Command::Txn(txn) => check_txn(state, &auth.standing(who)?, txn),
        Command::LeaseGrant { .. } => auth.named(who).map(drop),
        Command::LeaseRevoke { id } => check_lease(state, &auth.standing(who)?, *id, Access::Write),
        Command::Compact(_) | Command::Alarm(_) | Command::Downgrade { .. } => {
            auth.require_root(who)
        }
        // Signing in is for those who are nobody yet; the server has checked the password.
        Command::Auth(super::AuthCommand::Authenticate { .. }) => Ok(()),
        Command::Auth(_) => auth.require_root(who),
        // No client has a way to propose these.
        Command::LeaseCheckpoint { .. }
        | Command::MemberAttributes(_)
        | Command::MemberRemove { .. } => Ok(()),
    }
}

fn check_put(state: &State, standing: &Standing, put: &PutRequest) -> Result<(), RequestError> {
    standing.require_key(Access::Write, &put.key)?;
    if put.prev_kv {
        standing.require_key(Access::Read, &put.key)?;
    }
    // Whoever attaches a key to a lease has a hand on the others: they go together.
    check_lease(state, standing, put.lease, Access::Write)
}

/// Refuses a transaction; for those that only read as well.
pub(super) fn check_txn(
    state: &State,
    standing: &Standing,
    txn: &TxnRequest,
) -> Result<(), RequestError> {
    for Compare { key, range_end, .. } in &txn.compare {
        standing.require(Access::Read, key, range_end)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            RequestOp::Range(range) => {
                standing.require(Access::Read, &range.key, &range.range_end)?;
            }
            RequestOp::Put(put) => check_put(state, standing, put)?,
            RequestOp::DeleteRange(delete) => {
                standing.require(Access::Write, &delete.key, &delete.range_end)?;
                if delete.prev_kv {
                    standing.require(Access::Read, &delete.key, &delete.range_end)?;
                }
            }
            RequestOp::Txn(txn) => check_txn(state, standing, txn)?,
        }
    }
    Ok(())
}

/// Access to all keys of a lease; of one that does not exist there are none.
pub(super) fn check_lease(
    state: &State,
    standing: &Standing,
    id: LeaseId,
    access: Access,
) -> Result<(), RequestError> {
    if matches!(standing, Standing::Everything) {
        return Ok(());
    }
    let keys = state.leases.get(&id).map(|lease| lease.keys.iter());
    for key in keys.into_iter().flatten() {
        standing.require_key(access, &bytes::Bytes::copy_from_slice(key))?;
    }
    Ok(())
}
