//! Who may do what: users, roles and what they permit, as part of the replicated state.
//!
//! A command says who proposed it ([`Principal`]), and apply asks here whether that user may, under
//! the same state on every replica and before anything else: no alarm and no quota comes first.
//! Reads ask in the same way, under the lock of the state that they read. What depends on time or
//! chance never gets in: passwords are hashed and tokens drawn by the server, before the log.
//!
//! - `command`: what is asked for; `plan`: what it changes; `record`: the bytes of both.
//! - `check`: which keys a command touches; `ranges`: whether permissions cover them.
//! - `tokens`: who has signed in, which is no part of the state; `reading`: the handle's side.

mod check;
mod command;
mod plan;
mod ranges;
mod reading;
mod record;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use check::check_command;
pub use command::{Access, AuthCommand, PasswordHash, Permission, Principal};
pub(crate) use plan::plan;
use ranges::KeySet;
pub use reading::{AuthStatus, Standing};
pub(crate) use record::{
    AuthOp, decode_auth_command, decode_op, decode_principal, decode_state, encode_auth_command,
    encode_op, encode_principal, encode_state,
};
pub(crate) use tokens::Tokens;

use crate::error::RequestError;

/// The role whose users may do everything, and the user that must have it.
pub const ROOT: &str = "root";

/// The revision of users and roles before the first of them is made, as in etcd.
const FIRST_REVISION: u64 = 1;

/// A user.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct User {
    /// `None` for one who signs in by certificate alone.
    pub(crate) password_hash: Option<PasswordHash>,
    pub(crate) roles: BTreeSet<String>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// What a role permits: by first key and range end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Role {
    pub(crate) permissions: BTreeMap<(Bytes, Bytes), Access>,
}

/// The keys of a user, by all of its roles together.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Keys {
    read: KeySet,
    write: KeySet,
}

/// Users, roles, and whether anybody asks for them.
#[derive(Clone, Debug)]
pub(crate) struct AuthState {
    pub(crate) enabled: bool,
    /// Changes with every change of users and roles: a request that was admitted under an older
    /// one is refused, since what it was admitted by may be gone.
    pub(crate) revision: u64,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Role>,
    /// Invariant: for each user, the union of what its roles permit. Not part of the state: it
    /// follows from the two above.
    keys: BTreeMap<String, Arc<Keys>>,
}

impl Default for AuthState {
    fn default() -> Self {
        Self {
            enabled: false,
            revision: FIRST_REVISION,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }
}

impl AuthState {
    pub(crate) fn status(&self) -> AuthStatus {
        AuthStatus { enabled: self.enabled, revision: self.revision }
    }

    /// What a user signs in with, and its roles.
    pub(crate) fn exported(&self, name: &str) -> Option<(Option<PasswordHash>, Vec<String>)> {
        let user = self.users.get(name)?;
        Some((user.password_hash.clone(), user.roles.iter().cloned().collect()))
    }

    /// What a role permits, in order of key.
    pub(crate) fn permissions(&self, role: &str) -> Option<Vec<Permission>> {
        let permission = |(keys, access): (&(Bytes, Bytes), &Access)| Permission {
            access: *access,
            key: keys.0.clone(),
            range_end: keys.1.clone(),
        };
        Some(self.roles.get(role)?.permissions.iter().map(permission).collect())
    }

    /// Whether there is nothing to write down.
    pub(crate) fn is_pristine(&self) -> bool {
        !self.enabled
            && self.revision == FIRST_REVISION
            && self.users.is_empty()
            && self.roles.is_empty()
    }

    /// Does what a record says; twice is as good as once.
    pub(crate) fn commit(&mut self, op: &AuthOp) {
        match op {
            AuthOp::Enabled(enabled) => self.enabled = *enabled,
            AuthOp::Revision(revision) => self.revision = *revision,
            AuthOp::User { name, user: Some(user) } => {
                self.users.insert(name.clone(), user.clone());
                self.unite(name);
            }
            AuthOp::User { name, user: None } => {
                self.users.remove(name);
                self.keys.remove(name);
            }
            AuthOp::Role { name, role } => {
                match role {
                    Some(role) => self.roles.insert(name.clone(), role.clone()),
                    None => self.roles.remove(name),
                };
                let having = self.users.iter().filter(|(_, user)| user.roles.contains(name));
                let names: Vec<String> = having.map(|(user, _)| user.clone()).collect();
                names.iter().for_each(|user| self.unite(user));
            }
        }
    }

    /// Computes what a user's roles permit together.
    fn unite(&mut self, name: &str) {
        let Some(user) = self.users.get(name) else { return };
        let permissions = || {
            user.roles
                .iter()
                .filter_map(|role| self.roles.get(role))
                .flat_map(|role| &role.permissions)
        };
        let of = |wanted: Access| {
            let fitting = permissions().filter(|(_, access)| access.includes(wanted));
            KeySet::union(fitting.map(|((key, range_end), _)| (key, range_end)))
        };
        let keys = Keys { read: of(Access::Read), write: of(Access::Write) };
        self.keys.insert(name.to_owned(), Arc::new(keys));
    }

    /// The user behind a request, for what needs one and no certain one.
    fn named<'a>(&'a self, who: Option<&Principal>) -> Result<Option<&'a User>, RequestError> {
        match who {
            None => Err(RequestError::UserEmpty),
            Some(Principal::Server) => Ok(None),
            Some(Principal::User { name, .. }) => {
                self.users.get(name).map(Some).ok_or(RequestError::PermissionDenied)
            }
        }
    }

    /// Refuses all but users with the role root.
    pub(crate) fn require_root(&self, who: Option<&Principal>) -> Result<(), RequestError> {
        match self.enabled.then(|| self.named(who)).transpose()?.flatten() {
            Some(user) if !user.roles.contains(ROOT) => Err(RequestError::PermissionDenied),
            _ => Ok(()),
        }
    }

    /// What a request may touch, now.
    pub(crate) fn standing(&self, who: Option<&Principal>) -> Result<Standing, RequestError> {
        if !self.enabled {
            return Ok(Standing::Everything);
        }
        if let Some(Principal::User { auth_revision, .. }) = who
            && *auth_revision < self.revision
        {
            return Err(RequestError::AuthOldRevision);
        }
        self.standing_now(who)
    }

    /// The same for streams, which live on through changes: what counts is what is permitted now.
    pub(crate) fn standing_now(&self, who: Option<&Principal>) -> Result<Standing, RequestError> {
        if !self.enabled {
            return Ok(Standing::Everything);
        }
        let user = self.named(who)?;
        match (who, user) {
            (Some(Principal::User { name, .. }), Some(user)) if !user.roles.contains(ROOT) => {
                Ok(Standing::Keys(self.keys.get(name).cloned().unwrap_or_default()))
            }
            _ => Ok(Standing::Everything),
        }
    }
}
