//! Why a request is refused, in etcd's own words: clients match these texts.

use std::fmt;

/// A request that the store refuses. The [`Display`](fmt::Display) text is what goes on the wire.
///
/// All but the last two are a function of the state and the request, and so the same on every
/// replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// A key is empty where one is needed.
    KeyNotProvided,
    /// `ignore_value` or `ignore_lease` on a key that does not exist, or an operation of a
    /// transaction that is empty.
    KeyNotFound,
    /// A value beside `ignore_value`.
    ValueProvided,
    /// A lease beside `ignore_lease`.
    LeaseProvided,
    /// More compares or operations than a transaction may have.
    TooManyOps,
    /// A key that one transaction would write twice.
    DuplicateKey,
    /// A sort order or target that does not exist.
    InvalidSortOption,
    /// The revision asked for is below the last compaction.
    Compacted,
    /// The revision asked for has not been made yet.
    FutureRevision,
    /// The quota is used up, or the alarm that says so is on.
    NoSpace,
    /// No such lease.
    LeaseNotFound,
    /// The lease exists already.
    LeaseExists,
    /// A time to live beyond 9 000 000 000 seconds.
    LeaseTtlTooLarge,
    /// The alarm CORRUPT is on.
    Corrupt,
    /// A name is needed: authentication is on and nobody has signed in, or a user to add has none.
    UserEmpty,
    /// The user exists already.
    UserExists,
    /// No such user.
    UserNotFound,
    /// A role to add has no name.
    RoleEmpty,
    /// The role exists already.
    RoleExists,
    /// No such role.
    RoleNotFound,
    /// No such user, or another password.
    AuthFailed,
    /// A password for a user who signs in by certificate alone.
    NoPasswordUser,
    /// The user may not do this.
    PermissionDenied,
    /// A permission is to be granted, and none is given.
    PermissionNotGiven,
    /// There is no user root, so nobody could turn authentication off again.
    RootUserNotExist,
    /// The user root has not the role root.
    RootRoleNotExist,
    /// The user has not this role.
    RoleNotGranted,
    /// The role has not this permission.
    PermissionNotGranted,
    /// What would leave nobody in charge, or a range that no permission can have.
    InvalidAuthManagement,
    /// Authentication is off.
    AuthNotEnabled,
    /// The token is nobody's (any more). The server's to say.
    InvalidAuthToken,
    /// Users and roles have changed since the request was admitted.
    AuthOldRevision,
    /// Bytes in the log that are no command of a version this program knows.
    UnknownCommand,
    /// The disk failed while a value was read from it. Says nothing about the state.
    ReadFailed,
}

impl RequestError {
    /// The text without etcd's prefix.
    fn text(self) -> &'static str {
        match self {
            Self::KeyNotProvided => "key is not provided",
            Self::KeyNotFound => "key not found",
            Self::ValueProvided => "value is provided",
            Self::LeaseProvided => "lease is provided",
            Self::TooManyOps => "too many operations in txn request",
            Self::DuplicateKey => "duplicate key given in txn request",
            Self::InvalidSortOption => "invalid sort option",
            Self::Compacted => "mvcc: required revision has been compacted",
            Self::FutureRevision => "mvcc: required revision is a future revision",
            Self::NoSpace => "mvcc: database space exceeded",
            Self::LeaseNotFound => "requested lease not found",
            Self::LeaseExists => "lease already exists",
            Self::LeaseTtlTooLarge => "too large lease TTL",
            Self::Corrupt => "corrupt cluster",
            Self::UserEmpty => "user name is empty",
            Self::UserExists => "user name already exists",
            Self::UserNotFound => "user name not found",
            Self::RoleEmpty => "role name is empty",
            Self::RoleExists => "role name already exists",
            Self::RoleNotFound => "role name not found",
            Self::AuthFailed => "authentication failed, invalid user ID or password",
            Self::NoPasswordUser => {
                "authentication failed, password was given for no password user"
            }
            Self::PermissionDenied => "permission denied",
            Self::PermissionNotGiven => "permission not given",
            Self::RootUserNotExist => "root user does not exist",
            Self::RootRoleNotExist => "root user does not have root role",
            Self::RoleNotGranted => "role is not granted to the user",
            Self::PermissionNotGranted => "permission is not granted to the role",
            Self::InvalidAuthManagement => "invalid auth management",
            Self::AuthNotEnabled => "authentication is not enabled",
            Self::InvalidAuthToken => "invalid auth token",
            Self::AuthOldRevision => "revision of auth store is old",
            Self::UnknownCommand => "command of an unknown version",
            Self::ReadFailed => "reading a value from disk failed",
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The one text that etcd has from another of its parts.
        let prefix = if *self == Self::NoPasswordUser { "auth" } else { "etcdserver" };
        write!(f, "{prefix}: {}", self.text())
    }
}

impl std::error::Error for RequestError {}
