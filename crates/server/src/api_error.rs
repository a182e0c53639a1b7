//! Every refusal, with the code and the text that clients of etcd match.
//!
//! Go clients compare texts, most others compare codes, Kubernetes does both: so this one table is
//! part of the contract, and its test writes each row out once more.

use host::{CallError, ChangeError, ProposeError, ReadError, TransferError};
use store::RequestError;
use tonic::{Code, Status};

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// The store refuses it.
    Request(RequestError),
    /// It did not get through the log.
    Propose(ProposeError),
    /// It cannot be read linearizably.
    Read(ReadError),
    /// The leader could not be asked.
    Call(CallError),
    /// Leadership was not handed over.
    Transfer(TransferError),
    /// The members were not changed, or nobody knows.
    Change(ChangeError),
    /// A member is to be reached at what is no address.
    MemberBadUrls,
    /// No member has that id.
    MemberNotFound,
    /// Another member is reached there.
    PeerUrlExists,
    /// A majority of the members would not have started.
    NotEnoughStarted,
    /// A majority of the members, or one that must be there, is not.
    Unhealthy,
    /// It has a vote already.
    NotLearner,
    /// There are as many learners as there may be.
    TooManyLearners,
    /// This member has no vote, and does not answer such a request.
    NotForLearner,
    /// It needs a leader, and says so itself.
    NoLeader,
    /// It took too long.
    TimedOut,
    /// The server is going away.
    Stopped,
    /// Its bytes are more than a request may have.
    RequestTooLarge,
    /// The message around it is more than a message may have.
    MessageTooLarge { found_bytes: u64, max_bytes: u64 },
    /// It has an enumeration value that this version does not know.
    UnknownEnumValue,
    /// A version to go down to that is none.
    DowngradeFormat,
    /// One that is not just below this one.
    DowngradeTarget,
    /// Nothing goes down.
    NoDowngrade,
    /// A password that cannot be hashed; the text says why.
    Password(&'static str),
    /// A broken promise between our own parts; the text says which.
    Internal(&'static str),
}

macro_rules! from {
    ($($variant:ident($error:ty)),* $(,)?) => {$(
        impl From<$error> for ApiError {
            fn from(error: $error) -> Self { Self::$variant(error) }
        }
    )*};
}
from!(
    Request(RequestError),
    Propose(ProposeError),
    Read(ReadError),
    Call(CallError),
    Transfer(TransferError),
    Change(ChangeError),
);

const NO_LEADER: (Code, &str) = (Code::Unavailable, "etcdserver: no leader");
const TIMED_OUT: (Code, &str) = (Code::Unavailable, "etcdserver: request timed out");
const STOPPED: (Code, &str) = (Code::Unavailable, "etcdserver: server stopped");
const TOO_LARGE: (Code, &str) = (Code::InvalidArgument, "etcdserver: request is too large");
const UNHEALTHY: (Code, &str) = (Code::Unavailable, "etcdserver: unhealthy cluster");
/// etcd declares FAILED_PRECONDITION and sends UNKNOWN: the wire counts.
const NOT_ENOUGH_STARTED: (Code, &str) =
    (Code::Unknown, "etcdserver: re-configuration failed due to not enough started members");
const LEARNER_NOT_READY: (Code, &str) = (
    Code::FailedPrecondition,
    "etcdserver: can only promote a learner member which is in sync with leader",
);
/// A variant that a lower floor has got and this table has not.
const UNMAPPED: (Code, &str) = (Code::Internal, "flotilla: an error without a gRPC code");

impl ApiError {
    /// The gRPC code and the text.
    pub(crate) fn code_and_text(&self) -> (Code, String) {
        let (code, text) = match self {
            Self::Request(error) => return (request_code(*error), error.to_string()),
            Self::Propose(error) => propose_error(*error),
            Self::Read(error) => read_error(*error),
            Self::Call(error) => call_error(*error),
            Self::Transfer(error) => transfer_error(*error),
            Self::Change(error) => return change_error(*error),
            Self::MemberBadUrls => {
                (Code::InvalidArgument, "etcdserver: given member URLs are invalid")
            }
            Self::MemberNotFound => (Code::NotFound, "etcdserver: member not found"),
            Self::PeerUrlExists => {
                (Code::FailedPrecondition, "etcdserver: Peer URLs already exists")
            }
            Self::NotEnoughStarted => NOT_ENOUGH_STARTED,
            Self::Unhealthy => UNHEALTHY,
            Self::NotLearner => {
                (Code::FailedPrecondition, "etcdserver: can only promote a learner member")
            }
            Self::TooManyLearners => {
                (Code::FailedPrecondition, "etcdserver: too many learner members in cluster")
            }
            Self::NotForLearner => {
                (Code::FailedPrecondition, "etcdserver: rpc not supported for learner")
            }
            Self::NoLeader => NO_LEADER,
            Self::TimedOut => TIMED_OUT,
            Self::Stopped => STOPPED,
            Self::RequestTooLarge => TOO_LARGE,
            Self::MessageTooLarge { found_bytes, max_bytes } => {
                let text = format!(
                    "grpc: received message larger than max ({found_bytes} vs. {max_bytes})"
                );
                return (Code::ResourceExhausted, text);
            }
            Self::UnknownEnumValue => {
                (Code::InvalidArgument, "etcdserver: unknown enumeration value in request")
            }
            Self::DowngradeFormat => {
                (Code::InvalidArgument, "etcdserver: wrong downgrade target version format")
            }
            Self::DowngradeTarget => {
                (Code::InvalidArgument, "etcdserver: invalid downgrade target version")
            }
            Self::NoDowngrade => {
                (Code::FailedPrecondition, "etcdserver: no inflight downgrade job")
            }
            // etcd passes Go's error on, which has no code.
            Self::Password(text) => (Code::Unknown, *text),
            Self::Internal(text) => (Code::Internal, *text),
        };
        (code, text.to_owned())
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let (code, text) = error.code_and_text();
        Self::new(code, text)
    }
}

fn request_code(error: RequestError) -> Code {
    match error {
        RequestError::KeyNotProvided
        | RequestError::KeyNotFound
        | RequestError::ValueProvided
        | RequestError::LeaseProvided
        | RequestError::TooManyOps
        | RequestError::DuplicateKey
        | RequestError::InvalidSortOption
        | RequestError::UserEmpty
        | RequestError::RoleEmpty
        | RequestError::AuthFailed
        | RequestError::PermissionNotGiven
        | RequestError::InvalidAuthManagement
        | RequestError::AuthOldRevision => Code::InvalidArgument,
        RequestError::Compacted | RequestError::FutureRevision | RequestError::LeaseTtlTooLarge => {
            Code::OutOfRange
        }
        RequestError::NoSpace => Code::ResourceExhausted,
        RequestError::LeaseNotFound => Code::NotFound,
        RequestError::LeaseExists
        | RequestError::UserExists
        | RequestError::UserNotFound
        | RequestError::RoleExists
        | RequestError::RoleNotFound
        | RequestError::RootUserNotExist
        | RequestError::RootRoleNotExist
        | RequestError::RoleNotGranted
        | RequestError::PermissionNotGranted
        | RequestError::AuthNotEnabled => Code::FailedPrecondition,
        RequestError::PermissionDenied => Code::PermissionDenied,
        RequestError::InvalidAuthToken => Code::Unauthenticated,
        // etcd has no code for it: what reaches the wire is UNKNOWN.
        RequestError::NoPasswordUser => Code::Unknown,
        RequestError::Corrupt => Code::DataLoss,
        RequestError::UnknownCommand | RequestError::ReadFailed => Code::Internal,
        _ => UNMAPPED.0,
    }
}

fn propose_error(error: ProposeError) -> (Code, &'static str) {
    match error {
        ProposeError::NoLeader => NO_LEADER,
        // etcd declares RESOURCE_EXHAUSTED and sends UNKNOWN (etcd-io/etcd#15477): the wire counts.
        ProposeError::Overloaded => (Code::Unknown, "etcdserver: too many requests"),
        ProposeError::TooLarge => TOO_LARGE,
        ProposeError::NotLeaderInTerm => (Code::Unavailable, "etcdserver: leader changed"),
        ProposeError::Stopped => STOPPED,
        ProposeError::OutcomeUnknown => TIMED_OUT,
        _ => UNMAPPED,
    }
}

fn read_error(error: ReadError) -> (Code, &'static str) {
    match error {
        ReadError::NoLeader => NO_LEADER,
        ReadError::TimedOut => TIMED_OUT,
        ReadError::Stopped => STOPPED,
        _ => UNMAPPED,
    }
}

fn call_error(error: CallError) -> (Code, &'static str) {
    match error {
        CallError::NoLeader => NO_LEADER,
        CallError::TimedOut => TIMED_OUT,
        CallError::Stopped => STOPPED,
        _ => UNMAPPED,
    }
}

fn transfer_error(error: TransferError) -> (Code, &'static str) {
    match error {
        TransferError::NotLeader => (Code::FailedPrecondition, "etcdserver: not leader"),
        TransferError::BadTarget => (Code::FailedPrecondition, "etcdserver: bad leader transferee"),
        TransferError::TimedOut => TIMED_OUT,
        TransferError::Stopped => STOPPED,
        _ => UNMAPPED,
    }
}

/// The service has checked what etcd checks; what is left is of this moment, or of a cluster that
/// is not well.
fn change_error(error: ChangeError) -> (Code, String) {
    let (code, text) = match error {
        ChangeError::NoLeader => NO_LEADER,
        ChangeError::TimedOut | ChangeError::OutcomeUnknown => TIMED_OUT,
        ChangeError::Stopped => STOPPED,
        ChangeError::Refused(raft::ChangeError::LearnerLags { .. }) => LEARNER_NOT_READY,
        ChangeError::Refused(raft::ChangeError::WouldStall { .. }) => UNHEALTHY,
        ChangeError::Refused(refusal) => {
            return (
                Code::Unavailable,
                format!("flotilla: the members stay as they are: {refusal}"),
            );
        }
        _ => UNMAPPED,
    };
    (code, text.to_owned())
}

/// What an incoming stream says when a message is larger than allowed, put as etcd puts it. tonic
/// says OUT_OF_RANGE, which Python and JavaScript clients take for "compacted".
pub(crate) fn remap_oversize(status: Status) -> Status {
    match parse_oversize(status.code(), status.message()) {
        Some(error) => error.into(),
        None => status,
    }
}

/// Reads the two numbers out of tonic's words.
pub(crate) fn parse_oversize(code: Code, text: &str) -> Option<ApiError> {
    if code != Code::OutOfRange || !text.starts_with("Error, decoded message length too large") {
        return None;
    }
    let mut numbers = text
        .split(|letter: char| !letter.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(u64::MAX));
    let (found_bytes, max_bytes) = (numbers.next()?, numbers.next()?);
    Some(ApiError::MessageTooLarge { found_bytes, max_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(table: &[(ApiError, Code, &str)]) {
        for (error, code, text) in table {
            let expect = (*code, format!("etcdserver: {text}"));
            assert_eq!(error.code_and_text(), expect, "{error:?}");
        }
    }

    #[test]
    fn refusals_of_member_changes_are_those_that_clients_match() {
        check(&[
            (ChangeError::NoLeader.into(), Code::Unavailable, "no leader"),
            (ChangeError::TimedOut.into(), Code::Unavailable, "request timed out"),
            (ChangeError::OutcomeUnknown.into(), Code::Unavailable, "request timed out"),
            (ChangeError::Stopped.into(), Code::Unavailable, "server stopped"),
            (ApiError::MemberBadUrls, Code::InvalidArgument, "given member URLs are invalid"),
            (ApiError::MemberNotFound, Code::NotFound, "member not found"),
            (ApiError::PeerUrlExists, Code::FailedPrecondition, "Peer URLs already exists"),
            (
                ApiError::NotEnoughStarted,
                Code::Unknown,
                "re-configuration failed due to not enough started members",
            ),
            (ApiError::Unhealthy, Code::Unavailable, "unhealthy cluster"),
            (ApiError::NotLearner, Code::FailedPrecondition, "can only promote a learner member"),
            (
                ChangeError::Refused(raft::ChangeError::LearnerLags {
                    learner: raft::NodeId(1),
                    match_index: raft::LogIndex(0),
                })
                .into(),
                Code::FailedPrecondition,
                "can only promote a learner member which is in sync with leader",
            ),
            (
                ApiError::TooManyLearners,
                Code::FailedPrecondition,
                "too many learner members in cluster",
            ),
            (ApiError::NotForLearner, Code::FailedPrecondition, "rpc not supported for learner"),
        ]);
    }

    /// Section 12 of the contract, as far as this version can say it.
    #[test]
    fn codes_and_texts_are_those_that_clients_match() {
        let table: &[(ApiError, Code, &str)] = &[
            (RequestError::KeyNotProvided.into(), Code::InvalidArgument, "key is not provided"),
            (RequestError::KeyNotFound.into(), Code::InvalidArgument, "key not found"),
            (RequestError::ValueProvided.into(), Code::InvalidArgument, "value is provided"),
            (RequestError::LeaseProvided.into(), Code::InvalidArgument, "lease is provided"),
            (
                RequestError::TooManyOps.into(),
                Code::InvalidArgument,
                "too many operations in txn request",
            ),
            (
                RequestError::DuplicateKey.into(),
                Code::InvalidArgument,
                "duplicate key given in txn request",
            ),
            (RequestError::InvalidSortOption.into(), Code::InvalidArgument, "invalid sort option"),
            (
                RequestError::Compacted.into(),
                Code::OutOfRange,
                "mvcc: required revision has been compacted",
            ),
            (
                RequestError::FutureRevision.into(),
                Code::OutOfRange,
                "mvcc: required revision is a future revision",
            ),
            (RequestError::LeaseTtlTooLarge.into(), Code::OutOfRange, "too large lease TTL"),
            (
                RequestError::NoSpace.into(),
                Code::ResourceExhausted,
                "mvcc: database space exceeded",
            ),
            (RequestError::LeaseNotFound.into(), Code::NotFound, "requested lease not found"),
            (RequestError::LeaseExists.into(), Code::FailedPrecondition, "lease already exists"),
            (RequestError::Corrupt.into(), Code::DataLoss, "corrupt cluster"),
            (ProposeError::NoLeader.into(), Code::Unavailable, "no leader"),
            (ProposeError::Overloaded.into(), Code::Unknown, "too many requests"),
            (ProposeError::TooLarge.into(), Code::InvalidArgument, "request is too large"),
            (ProposeError::NotLeaderInTerm.into(), Code::Unavailable, "leader changed"),
            (ProposeError::Stopped.into(), Code::Unavailable, "server stopped"),
            (ProposeError::OutcomeUnknown.into(), Code::Unavailable, "request timed out"),
            (ReadError::NoLeader.into(), Code::Unavailable, "no leader"),
            (ReadError::TimedOut.into(), Code::Unavailable, "request timed out"),
            (ReadError::Stopped.into(), Code::Unavailable, "server stopped"),
            (CallError::NoLeader.into(), Code::Unavailable, "no leader"),
            (CallError::TimedOut.into(), Code::Unavailable, "request timed out"),
            (CallError::Stopped.into(), Code::Unavailable, "server stopped"),
            (TransferError::NotLeader.into(), Code::FailedPrecondition, "not leader"),
            (TransferError::BadTarget.into(), Code::FailedPrecondition, "bad leader transferee"),
            (TransferError::TimedOut.into(), Code::Unavailable, "request timed out"),
            (ApiError::NoLeader, Code::Unavailable, "no leader"),
            (ApiError::TimedOut, Code::Unavailable, "request timed out"),
            (ApiError::Stopped, Code::Unavailable, "server stopped"),
            (ApiError::RequestTooLarge, Code::InvalidArgument, "request is too large"),
        ];
        check(table);
    }

    #[test]
    fn so_are_those_about_users_and_roles() {
        check(&[
            (RequestError::UserEmpty.into(), Code::InvalidArgument, "user name is empty"),
            (RequestError::RoleEmpty.into(), Code::InvalidArgument, "role name is empty"),
            (
                RequestError::PermissionNotGiven.into(),
                Code::InvalidArgument,
                "permission not given",
            ),
            (
                RequestError::InvalidAuthManagement.into(),
                Code::InvalidArgument,
                "invalid auth management",
            ),
            (
                RequestError::AuthOldRevision.into(),
                Code::InvalidArgument,
                "revision of auth store is old",
            ),
            (
                RequestError::AuthFailed.into(),
                Code::InvalidArgument,
                "authentication failed, invalid user ID or password",
            ),
            (
                RequestError::RootUserNotExist.into(),
                Code::FailedPrecondition,
                "root user does not exist",
            ),
            (
                RequestError::RootRoleNotExist.into(),
                Code::FailedPrecondition,
                "root user does not have root role",
            ),
            (RequestError::UserExists.into(), Code::FailedPrecondition, "user name already exists"),
            (RequestError::UserNotFound.into(), Code::FailedPrecondition, "user name not found"),
            (RequestError::RoleExists.into(), Code::FailedPrecondition, "role name already exists"),
            (RequestError::RoleNotFound.into(), Code::FailedPrecondition, "role name not found"),
            (
                RequestError::RoleNotGranted.into(),
                Code::FailedPrecondition,
                "role is not granted to the user",
            ),
            (
                RequestError::PermissionNotGranted.into(),
                Code::FailedPrecondition,
                "permission is not granted to the role",
            ),
            (
                RequestError::AuthNotEnabled.into(),
                Code::FailedPrecondition,
                "authentication is not enabled",
            ),
            (RequestError::PermissionDenied.into(), Code::PermissionDenied, "permission denied"),
            (RequestError::InvalidAuthToken.into(), Code::Unauthenticated, "invalid auth token"),
        ]);
    }

    #[test]
    fn an_oversized_message_is_resource_exhausted_and_not_compacted() {
        let tonic = Status::out_of_range(
            "Error, decoded message length too large: found 2097160 bytes, the limit is: 2097152 \
             bytes",
        );
        let status = remap_oversize(tonic);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "grpc: received message larger than max (2097160 vs. 2097152)"
        );
        let compacted = remap_oversize(ApiError::from(RequestError::Compacted).into());
        assert_eq!(compacted.code(), Code::OutOfRange);
    }
}
