//! What is asked of users and roles.

use std::fmt;

use bytes::Bytes;

/// Who proposes a command or reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The server itself, for what it does on the cluster's account: ending leases, raising alarms.
    Server,
    /// A user whose token or certificate the server has checked.
    User {
        /// The user.
        name: String,
        /// The revision of users and roles at that moment.
        auth_revision: u64,
    },
}

/// What a permission permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read and watch.
    Read,
    /// To put and delete.
    Write,
    /// Both.
    ReadWrite,
}

impl Access {
    pub(crate) fn includes(self, wanted: Self) -> bool {
        self == wanted || self == Self::ReadWrite
    }
}

/// A permission of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What it permits.
    pub access: Access,
    /// The first key.
    pub key: Bytes,
    /// As in [`RangeRequest::range_end`](crate::RangeRequest::range_end).
    pub range_end: Bytes,
}

/// A hash that the server made of a password, in the form of bcrypt. It is never shown: not by
/// `Debug` either.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// A change of users and roles, or somebody who signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthCommand {
    /// From now on requests need a user.
    Enable,
    /// No longer.
    Disable,
    /// Adds a user.
    UserAdd {
        /// Its name.
        name: String,
        /// `None` for one who signs in by certificate alone.
        password_hash: Option<PasswordHash>,
    },
    /// Deletes a user.
    UserDelete {
        /// Its name.
        name: String,
    },
    /// Gives a user another password.
    UserChangePassword {
        /// Its name.
        name: String,
        /// Of the new password.
        password_hash: PasswordHash,
    },
    /// Gives a user a role.
    UserGrantRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// Takes a role from a user.
    UserRevokeRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// Adds a role.
    RoleAdd {
        /// Its name.
        name: String,
    },
    /// Deletes a role, and takes it from all who have it.
    RoleDelete {
        /// Its name.
        name: String,
    },
    /// Adds a permission to a role, or changes the access of the one for the same keys.
    RoleGrantPermission {
        /// The role.
        role: String,
        /// The permission.
        permission: Permission,
    },
    /// Takes a permission from a role.
    RoleRevokePermission {
        /// The role.
        role: String,
        /// Its first key.
        key: Bytes,
        /// Its range end.
        range_end: Bytes,
    },
    /// A user signs in. The server has checked the password.
    Authenticate {
        /// The user.
        user: String,
        /// SHA-256 of the secret part of the token, so that no log and no backup holds a token.
        token_digest: [u8; 32],
        /// The revision at which the password was checked: if it has changed, so may the password.
        auth_revision: u64,
    },
}
