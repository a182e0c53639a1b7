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
            Self::UnknownCommand => "command of an unknown version",
            Self::ReadFailed => "reading a value from disk failed",
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "etcdserver: {}", self.text())
    }
}

impl std::error::Error for RequestError {}
