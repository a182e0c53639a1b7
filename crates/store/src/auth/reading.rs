//! What the read handle asks of users and roles. Reads are checked under the lock of the state that
//! they read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use env::Moment;

use super::{Access, AuthCommand, Keys, PasswordHash, Permission, Principal, check};
use crate::error::RequestError;
use crate::execute::{read_txn, refuse_corrupt, resolve_revision};
use crate::measures::Operations;
use crate::request::{LeaseId, RangeRequest, TxnRequest};
use crate::response::{RangeResponse, TxnResponse};
use crate::store::{Shared, Store};
use crate::validate::{check_range, check_txn, is_read_only_txn};
use crate::view::{Overlay, View};

/// What a user may touch, at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Authentication is off, or the user has the role root.
    Everything,
    /// These keys.
    Keys(Arc<Keys>),
}

impl Standing {
    /// Refuses a range that is not permitted as a whole.
    ///
    /// # Errors
    /// [`RequestError::PermissionDenied`].
    pub fn require(
        &self,
        access: Access,
        key: &Bytes,
        range_end: &Bytes,
    ) -> Result<(), RequestError> {
        let Self::Keys(keys) = self else { return Ok(()) };
        let covered = match access {
            Access::Read => keys.read.covers(key, range_end),
            Access::Write => keys.write.covers(key, range_end),
            Access::ReadWrite => {
                keys.read.covers(key, range_end) && keys.write.covers(key, range_end)
            }
        };
        if covered { Ok(()) } else { Err(RequestError::PermissionDenied) }
    }

    pub(crate) fn require_key(&self, access: Access, key: &Bytes) -> Result<(), RequestError> {
        self.require(access, key, &Bytes::new())
    }
}

/// What anybody may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthStatus {
    /// Whether requests need a user.
    pub enabled: bool,
    /// Changes with every change of users and roles.
    pub revision: u64,
}

impl AuthStatus {
    /// In one number, so that it is read without a lock.
    pub(crate) fn pack(self) -> u64 {
        self.revision << 1 | u64::from(self.enabled)
    }

    fn unpack(packed: u64) -> Self {
        Self { enabled: packed & 1 == 1, revision: packed >> 1 }
    }
}

impl Shared {
    /// Takes up who signs in, and forgets those who have to sign in again.
    pub(crate) fn note_sign_in(&self, index: u64, command: &AuthCommand) {
        let mut tokens = self.tokens.lock();
        match command {
            AuthCommand::Authenticate { user, token_digest, .. } => {
                tokens.insert(index, *token_digest, user.clone());
            }
            AuthCommand::UserDelete { name } | AuthCommand::UserChangePassword { name, .. } => {
                tokens.forget_user(name);
            }
            AuthCommand::Disable => tokens.clear(),
            AuthCommand::Enable
            | AuthCommand::UserAdd { .. }
            | AuthCommand::UserGrantRole { .. }
            | AuthCommand::UserRevokeRole { .. }
            | AuthCommand::RoleAdd { .. }
            | AuthCommand::RoleDelete { .. }
            | AuthCommand::RoleGrantPermission { .. }
            | AuthCommand::RoleRevokePermission { .. } => {}
        }
    }

    /// Users and roles have changed, or have been replaced: who admits requests sees it before any
    /// change of a later entry, and streams are woken to look at what they may still hear.
    pub(crate) fn publish_auth(&self, status: AuthStatus) {
        self.auth_status.store(status.pack(), Ordering::Release);
        self.hub.wake_all();
    }
}

impl Store {
    /// Whether requests need a user, and as of which revision. Takes no lock.
    #[must_use]
    pub fn auth_status(&self) -> AuthStatus {
        AuthStatus::unpack(self.shared.auth_status.load(Ordering::Acquire))
    }

    /// [`Store::range`] for a user.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn range_as(
        &self,
        who: Option<&Principal>,
        request: &RangeRequest,
    ) -> Result<RangeResponse, RequestError> {
        check_range(request)?;
        let measures = &self.shared.measures;
        let begun = measures.now();
        let answered = self.shared.read_with(|state, fetched| {
            let standing = state.auth.standing(who)?;
            standing.require(Access::Read, &request.key, &request.range_end)?;
            refuse_corrupt(state)?;
            let revision = resolve_revision(state, request.revision)?;
            let mut response = View { state, fetched }.range(request, revision, &Overlay::new())?;
            response.revision = state.revision;
            Ok(response)
        });
        if answered.is_ok() {
            measures.count(Operations { ranges: 1, ..Operations::default() });
        }
        measures.range_ended(answered.is_ok(), begun);
        answered
    }

    /// [`Store::read_txn`] for a user.
    ///
    /// # Errors
    /// Why it is refused.
    ///
    /// # Panics
    /// If the transaction could write.
    pub fn read_txn_as(
        &self,
        who: Option<&Principal>,
        request: &TxnRequest,
    ) -> Result<TxnResponse, RequestError> {
        assert!(is_read_only_txn(request), "a transaction that may write goes through the log");
        check_txn(request, usize::MAX)?;
        let answered = self.shared.read_with(|state, fetched| {
            check::check_txn(state, &state.auth.standing(who)?, request)?;
            read_txn(state, request, fetched)
        });
        let (response, operations) = answered?;
        self.shared.measures.count(operations);
        Ok(response)
    }

    /// What a user may touch now. For streams: they outlive the revision they began under.
    ///
    /// # Errors
    /// There is no such user any more, or authentication is on and no user is given.
    pub fn standing(&self, who: Option<&Principal>) -> Result<Standing, RequestError> {
        self.shared.state.read().auth.standing_now(who)
    }

    /// Refuses all but users with the role root, while authentication is on.
    ///
    /// # Errors
    /// Why.
    pub fn require_root(&self, who: Option<&Principal>) -> Result<(), RequestError> {
        self.shared.state.read().auth.require_root(who)
    }

    /// Refuses access to a lease some of whose keys the user may not touch.
    ///
    /// # Errors
    /// Why.
    pub fn require_lease(
        &self,
        who: Option<&Principal>,
        id: LeaseId,
        access: Access,
    ) -> Result<(), RequestError> {
        let state = self.shared.state.read();
        check::check_lease(&state, &state.auth.standing_now(who)?, id, access)
    }

    /// All users, in order.
    #[must_use]
    pub fn users(&self) -> Vec<String> {
        self.shared.state.read().auth.users.keys().cloned().collect()
    }

    /// The roles of a user, in order.
    #[must_use]
    pub fn user_roles(&self, name: &str) -> Option<Vec<String>> {
        let state = self.shared.state.read();
        state.auth.users.get(name).map(|user| user.roles.iter().cloned().collect())
    }

    /// All roles, in order.
    #[must_use]
    pub fn roles(&self) -> Vec<String> {
        self.shared.state.read().auth.roles.keys().cloned().collect()
    }

    /// What a role permits, in order of key.
    #[must_use]
    pub fn role_permissions(&self, name: &str) -> Option<Vec<Permission>> {
        self.shared.state.read().auth.permissions(name)
    }

    /// The hash that a password of this user must have, with the status as of which it is so.
    ///
    /// # Errors
    /// Authentication is off, there is no such user, or it has no password.
    pub fn password_hash(&self, name: &str) -> Result<(PasswordHash, u64), RequestError> {
        let state = self.shared.state.read();
        if !state.auth.enabled {
            return Err(RequestError::AuthNotEnabled);
        }
        let user = state.auth.users.get(name).ok_or(RequestError::AuthFailed)?;
        let hash = user.password_hash.clone().ok_or(RequestError::NoPasswordUser)?;
        Ok((hash, state.auth.revision))
    }

    /// Whose a token is: that of the entry at `index`, with the digest of its secret part. Using a
    /// token gives it its whole time again.
    #[must_use]
    pub fn token_user(
        &self,
        index: u64,
        digest: &[u8; 32],
        now: Moment,
        ttl: Duration,
    ) -> Option<String> {
        self.shared.tokens.lock().user(index, digest, now, ttl)
    }

    /// Forgets tokens that nobody used for so long; to be called every second or so.
    pub fn expire_tokens(&self, now: Moment, ttl: Duration) {
        self.shared.tokens.lock().expire(now, ttl);
    }
}
