//! The bytes of users and roles: in commands, in records of the revision log, in checkpoints.
//! `golden` in the tests holds them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Access, AuthCommand, AuthState, PasswordHash, Permission, Principal, Role, User};
use crate::codec::{Decoder, Encoder, Malformed};

/// Of the block in a checkpoint.
const STATE_VERSION: u8 = 1;

/// A change of users and roles, enough to do it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthOp {
    /// Turned on or off.
    Enabled(bool),
    /// The revision of users and roles is this now.
    Revision(u64),
    /// A user is so now, or gone.
    User { name: String, user: Option<User> },
    /// A role is so now, or gone.
    Role { name: String, role: Option<Role> },
}

impl AuthOp {
    /// Bytes that it takes at most, beside a few numbers.
    pub(crate) fn size_bytes_max(&self) -> usize {
        const NUMBERS: usize = 16;
        match self {
            Self::Enabled(_) | Self::Revision(_) => 0,
            Self::User { name, user } => {
                let user = user.iter().map(|user| {
                    let hash = user.password_hash.as_ref().map_or(0, |hash| hash.0.len());
                    hash + user.roles.iter().map(|role| NUMBERS + role.len()).sum::<usize>()
                });
                name.len() + user.sum::<usize>()
            }
            Self::Role { name, role } => {
                let keys = role.iter().flat_map(|role| role.permissions.keys());
                name.len() + keys.map(|(key, end)| NUMBERS + key.len() + end.len()).sum::<usize>()
            }
        }
    }
}

pub(crate) fn encode_principal(e: &mut Encoder, who: &Principal) {
    match who {
        Principal::Server => e.u8(0),
        Principal::User { name, auth_revision } => {
            e.u8(1);
            e.slice(name.as_bytes());
            e.u64(*auth_revision);
        }
    }
}

pub(crate) fn decode_principal(d: &mut Decoder) -> Result<Principal, Malformed> {
    match d.u8()? {
        0 => Ok(Principal::Server),
        1 => Ok(Principal::User { name: d.string()?, auth_revision: d.u64()? }),
        _ => Err(Malformed),
    }
}

pub(crate) fn encode_auth_command(e: &mut Encoder, command: &AuthCommand) {
    let mut named = |tag: u8, names: &[&str]| {
        e.u8(tag);
        names.iter().for_each(|name| e.slice(name.as_bytes()));
    };
    match command {
        AuthCommand::Enable => named(1, &[]),
        AuthCommand::Disable => named(2, &[]),
        AuthCommand::UserAdd { name, password_hash } => {
            named(3, &[name]);
            encode_hash(e, password_hash.as_ref());
        }
        AuthCommand::UserDelete { name } => named(4, &[name]),
        AuthCommand::UserChangePassword { name, password_hash } => {
            named(5, &[name, &password_hash.0]);
        }
        AuthCommand::UserGrantRole { user, role } => named(6, &[user, role]),
        AuthCommand::UserRevokeRole { user, role } => named(7, &[user, role]),
        AuthCommand::RoleAdd { name } => named(8, &[name]),
        AuthCommand::RoleDelete { name } => named(9, &[name]),
        AuthCommand::RoleGrantPermission { role, permission } => {
            named(10, &[role]);
            e.u8(access_tag(permission.access));
            e.slice(&permission.key);
            e.slice(&permission.range_end);
        }
        AuthCommand::RoleRevokePermission { role, key, range_end } => {
            named(11, &[role]);
            e.slice(key);
            e.slice(range_end);
        }
        AuthCommand::Authenticate { user, token_digest, auth_revision } => {
            named(12, &[user]);
            e.slice(token_digest);
            e.u64(*auth_revision);
        }
    }
}

pub(crate) fn decode_auth_command(d: &mut Decoder) -> Result<AuthCommand, Malformed> {
    Ok(match d.u8()? {
        1 => AuthCommand::Enable,
        2 => AuthCommand::Disable,
        3 => AuthCommand::UserAdd { name: d.string()?, password_hash: decode_hash(d)? },
        4 => AuthCommand::UserDelete { name: d.string()? },
        5 => {
            let (name, password_hash) = (d.string()?, PasswordHash(d.string()?));
            AuthCommand::UserChangePassword { name, password_hash }
        }
        6 => AuthCommand::UserGrantRole { user: d.string()?, role: d.string()? },
        7 => AuthCommand::UserRevokeRole { user: d.string()?, role: d.string()? },
        8 => AuthCommand::RoleAdd { name: d.string()? },
        9 => AuthCommand::RoleDelete { name: d.string()? },
        10 => {
            let (role, access) = (d.string()?, decode_access(d)?);
            let permission = Permission { access, key: d.slice()?, range_end: d.slice()? };
            AuthCommand::RoleGrantPermission { role, permission }
        }
        11 => AuthCommand::RoleRevokePermission {
            role: d.string()?,
            key: d.slice()?,
            range_end: d.slice()?,
        },
        12 => {
            let (user, digest) = (d.string()?, d.slice()?);
            let token_digest = digest.as_ref().try_into().map_err(|_| Malformed)?;
            AuthCommand::Authenticate { user, token_digest, auth_revision: d.u64()? }
        }
        _ => return Err(Malformed),
    })
}

fn access_tag(access: Access) -> u8 {
    match access {
        Access::Read => 0,
        Access::Write => 1,
        Access::ReadWrite => 2,
    }
}

fn decode_access(d: &mut Decoder) -> Result<Access, Malformed> {
    Ok(match d.u8()? {
        0 => Access::Read,
        1 => Access::Write,
        2 => Access::ReadWrite,
        _ => return Err(Malformed),
    })
}

fn encode_hash(e: &mut Encoder, hash: Option<&PasswordHash>) {
    e.bool(hash.is_some());
    if let Some(PasswordHash(hash)) = hash {
        e.slice(hash.as_bytes());
    }
}

fn decode_hash(d: &mut Decoder) -> Result<Option<PasswordHash>, Malformed> {
    Ok(if d.bool()? { Some(PasswordHash(d.string()?)) } else { None })
}

fn encode_user(e: &mut Encoder, user: &User) {
    encode_hash(e, user.password_hash.as_ref());
    e.len(user.roles.len());
    user.roles.iter().for_each(|role| e.slice(role.as_bytes()));
}

fn decode_user(d: &mut Decoder) -> Result<User, Malformed> {
    let password_hash = decode_hash(d)?;
    let roles: BTreeSet<String> = d.strings()?.into_iter().collect();
    Ok(User { password_hash, roles })
}

fn encode_role(e: &mut Encoder, role: &Role) {
    e.len(role.permissions.len());
    for ((key, range_end), access) in &role.permissions {
        e.u8(access_tag(*access));
        e.slice(key);
        e.slice(range_end);
    }
}

fn decode_role(d: &mut Decoder) -> Result<Role, Malformed> {
    let permission = |d: &mut Decoder| {
        let access = decode_access(d)?;
        Ok(((copied(&d.slice()?), copied(&d.slice()?)), access))
    };
    let permissions: BTreeMap<(Bytes, Bytes), Access> = d.list(permission)?.into_iter().collect();
    Ok(Role { permissions })
}

/// A permission lives long, and must not keep the whole buffer that it came in.
fn copied(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(crate) fn encode_op(e: &mut Encoder, op: &AuthOp) {
    match op {
        AuthOp::Enabled(enabled) => {
            e.u8(1);
            e.bool(*enabled);
        }
        AuthOp::Revision(revision) => {
            e.u8(2);
            e.u64(*revision);
        }
        AuthOp::User { name, user } => {
            e.u8(3);
            e.slice(name.as_bytes());
            e.bool(user.is_some());
            user.iter().for_each(|user| encode_user(e, user));
        }
        AuthOp::Role { name, role } => {
            e.u8(4);
            e.slice(name.as_bytes());
            e.bool(role.is_some());
            role.iter().for_each(|role| encode_role(e, role));
        }
    }
}

pub(crate) fn decode_op(d: &mut Decoder) -> Result<AuthOp, Malformed> {
    Ok(match d.u8()? {
        1 => AuthOp::Enabled(d.bool()?),
        2 => AuthOp::Revision(d.u64()?),
        3 => {
            let name = d.string()?;
            let user = if d.bool()? { Some(decode_user(d)?) } else { None };
            AuthOp::User { name, user }
        }
        4 => {
            let name = d.string()?;
            let role = if d.bool()? { Some(decode_role(d)?) } else { None };
            AuthOp::Role { name, role }
        }
        _ => return Err(Malformed),
    })
}

/// The whole state, for a checkpoint.
pub(crate) fn encode_state(e: &mut Encoder, auth: &AuthState) {
    e.u8(STATE_VERSION);
    e.bool(auth.enabled);
    e.u64(auth.revision);
    e.len(auth.roles.len());
    for (name, role) in &auth.roles {
        e.slice(name.as_bytes());
        encode_role(e, role);
    }
    e.len(auth.users.len());
    for (name, user) in &auth.users {
        e.slice(name.as_bytes());
        encode_user(e, user);
    }
}

pub(crate) fn decode_state(d: &mut Decoder) -> Result<AuthState, Malformed> {
    if d.u8()? != STATE_VERSION {
        return Err(Malformed);
    }
    let mut auth = AuthState { enabled: d.bool()?, revision: d.u64()?, ..AuthState::default() };
    // Roles first: what a user may touch follows from them.
    for (name, role) in d.list(|d| Ok((d.string()?, decode_role(d)?)))? {
        auth.commit(&AuthOp::Role { name, role: Some(role) });
    }
    for (name, user) in d.list(|d| Ok((d.string()?, decode_user(d)?)))? {
        auth.commit(&AuthOp::User { name, user: Some(user) });
    }
    if d.is_at_end() { Ok(auth) } else { Err(Malformed) }
}
