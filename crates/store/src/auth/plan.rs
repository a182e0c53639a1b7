//! What a command about users and roles changes and answers, by etcd's rules.

use super::{Access, AuthCommand, AuthOp, AuthState, Permission, ROOT, Role, User};
use crate::codec::LogOp;
use crate::error::RequestError;
use crate::response::Response;
use crate::state::State;

type Ops = Vec<AuthOp>;

/// Plans a command against the state; `check_command` has let its user through.
pub(crate) fn plan(
    state: &State,
    command: &AuthCommand,
) -> Result<(Vec<LogOp>, Response), RequestError> {
    let auth = &state.auth;
    if let AuthCommand::Authenticate { user, auth_revision, .. } = command {
        authenticate(auth, user, *auth_revision)?;
        // Entries are applied one by one: this is the next.
        let index = state.applied.index.0 + 1;
        return Ok((Vec::new(), Response::Authenticate { revision: state.revision, index }));
    }
    let ops = changes(auth, command)?.into_iter().map(LogOp::Auth).collect();
    Ok((ops, Response::Auth { revision: state.revision }))
}

fn changes(auth: &AuthState, command: &AuthCommand) -> Result<Ops, RequestError> {
    match command {
        AuthCommand::Enable => enable(auth),
        AuthCommand::Disable if auth.enabled => Ok(auth.changed(vec![AuthOp::Enabled(false)])),
        AuthCommand::Disable => Ok(Ops::new()),
        AuthCommand::UserAdd { name, password_hash } => {
            if name.is_empty() {
                return Err(RequestError::UserEmpty);
            }
            if auth.users.contains_key(name) {
                return Err(RequestError::UserExists);
            }
            let user = User { password_hash: password_hash.clone(), ..User::default() };
            Ok(auth.with_user(name, Some(user)))
        }
        AuthCommand::UserDelete { name } => {
            if auth.enabled && name == ROOT {
                return Err(RequestError::InvalidAuthManagement);
            }
            auth.find_user(name)?;
            Ok(auth.with_user(name, None))
        }
        AuthCommand::UserChangePassword { name, password_hash } => {
            let mut user = auth.find_user(name)?.clone();
            // One who signs in by certificate alone goes on doing so.
            if let Some(hash) = &mut user.password_hash {
                hash.clone_from(password_hash);
            }
            Ok(auth.with_user(name, Some(user)))
        }
        AuthCommand::UserGrantRole { user, role } => grant_role(auth, user, role),
        AuthCommand::UserRevokeRole { user, role } => revoke_role(auth, user, role),
        AuthCommand::RoleAdd { name } => {
            if name.is_empty() {
                return Err(RequestError::RoleEmpty);
            }
            if auth.roles.contains_key(name) {
                return Err(RequestError::RoleExists);
            }
            Ok(auth.with_role(name, Some(Role::default())))
        }
        AuthCommand::RoleDelete { name } => delete_role(auth, name),
        AuthCommand::RoleGrantPermission { role, permission } => {
            grant_permission(auth, role, permission)
        }
        AuthCommand::RoleRevokePermission { role: name, key, range_end } => {
            let mut role = auth.find_role(name)?.clone();
            if role.permissions.remove(&(key.clone(), range_end.clone())).is_none() {
                return Err(RequestError::PermissionNotGranted);
            }
            Ok(auth.with_role(name, Some(role)))
        }
        AuthCommand::Authenticate { .. } => Ok(Ops::new()),
    }
}

/// Turning it on is no change of users and roles, and does not count as one.
fn enable(auth: &AuthState) -> Result<Ops, RequestError> {
    if auth.enabled {
        return Ok(Ops::new());
    }
    let root = auth.users.get(ROOT).ok_or(RequestError::RootUserNotExist)?;
    if !root.roles.contains(ROOT) {
        return Err(RequestError::RootRoleNotExist);
    }
    Ok(vec![AuthOp::Enabled(true)])
}

fn authenticate(auth: &AuthState, user: &str, auth_revision: u64) -> Result<(), RequestError> {
    if !auth.enabled {
        return Err(RequestError::AuthNotEnabled);
    }
    if auth_revision != auth.revision {
        return Err(RequestError::AuthOldRevision);
    }
    auth.users.get(user).map(drop).ok_or(RequestError::AuthFailed)
}

fn grant_role(auth: &AuthState, name: &str, role: &str) -> Result<Ops, RequestError> {
    let mut user = auth.find_user(name)?.clone();
    // The role root need not be made: it cannot be described by permissions.
    if role != ROOT {
        auth.find_role(role)?;
    }
    if !user.roles.insert(role.to_owned()) {
        return Ok(Ops::new());
    }
    Ok(auth.with_user(name, Some(user)))
}

fn revoke_role(auth: &AuthState, name: &str, role: &str) -> Result<Ops, RequestError> {
    if auth.enabled && name == ROOT && role == ROOT {
        return Err(RequestError::InvalidAuthManagement);
    }
    let mut user = auth.find_user(name)?.clone();
    if !user.roles.remove(role) {
        return Err(RequestError::RoleNotGranted);
    }
    Ok(auth.with_user(name, Some(user)))
}

fn delete_role(auth: &AuthState, name: &str) -> Result<Ops, RequestError> {
    if auth.enabled && name == ROOT {
        return Err(RequestError::InvalidAuthManagement);
    }
    auth.find_role(name)?;
    let having = auth.users.iter().filter(|(_, user)| user.roles.contains(name));
    let mut ops: Ops = having
        .map(|(user_name, user)| {
            let mut user = user.clone();
            user.roles.remove(name);
            AuthOp::User { name: user_name.clone(), user: Some(user) }
        })
        .collect();
    ops.push(AuthOp::Role { name: name.to_owned(), role: None });
    Ok(auth.changed(ops))
}

fn grant_permission(
    auth: &AuthState,
    name: &str,
    permission: &Permission,
) -> Result<Ops, RequestError> {
    let Permission { access, key, range_end } = permission;
    let is_open = range_end.as_ref() == [0];
    if key.is_empty() || !(range_end.is_empty() || is_open || range_end > key) {
        return Err(RequestError::InvalidAuthManagement);
    }
    let mut role = auth.find_role(name)?.clone();
    let keys = (key.clone(), range_end.clone());
    let before: Option<Access> = role.permissions.insert(keys, *access);
    if before == Some(*access) {
        return Ok(Ops::new());
    }
    Ok(auth.with_role(name, Some(role)))
}

impl AuthState {
    fn find_user(&self, name: &str) -> Result<&User, RequestError> {
        self.users.get(name).ok_or(RequestError::UserNotFound)
    }

    fn find_role(&self, name: &str) -> Result<&Role, RequestError> {
        self.roles.get(name).ok_or(RequestError::RoleNotFound)
    }

    /// A change makes the next revision.
    fn changed(&self, mut ops: Ops) -> Ops {
        ops.push(AuthOp::Revision(self.revision + 1));
        ops
    }

    fn with_user(&self, name: &str, user: Option<User>) -> Ops {
        self.changed(vec![AuthOp::User { name: name.to_owned(), user }])
    }

    fn with_role(&self, name: &str, role: Option<Role>) -> Ops {
        self.changed(vec![AuthOp::Role { name: name.to_owned(), role }])
    }
}
