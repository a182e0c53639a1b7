//! Every refusal, with the code and the text that clients of etcd match.
//!
//! Go clients compare texts, most others compare codes, Kubernetes does both: so this one table is
//! part of the contract, and its test writes each row out once more.

mod codes;

use codes::{call_error, change_error, propose_error, read_error, request_code, transfer_error};
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
    /// Another is under way.
    DowngradeInProgress,
    /// Nothing goes down.
    NoDowngrade,
    /// Something is asked about downgrades that there is not.
    UnknownDowngradeAction,
    /// A password that cannot be hashed; the text says why.
    Password(&'static str),
    /// Somebody signs in at a member that reads signed tokens and cannot make them.
    VerifyOnly,
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

/// A code and a text.
type Row = (Code, &'static str);

const NO_LEADER: Row = (Code::Unavailable, "etcdserver: no leader");
const TIMED_OUT: Row = (Code::Unavailable, "etcdserver: request timed out");
const STOPPED: Row = (Code::Unavailable, "etcdserver: server stopped");
const TOO_LARGE: Row = (Code::InvalidArgument, "etcdserver: request is too large");
const UNHEALTHY: Row = (Code::Unavailable, "etcdserver: unhealthy cluster");
/// etcd declares FAILED_PRECONDITION and sends UNKNOWN: the wire counts.
const NOT_ENOUGH_STARTED: Row =
    (Code::Unknown, "etcdserver: re-configuration failed due to not enough started members");
const LEARNER_NOT_READY: Row = (
    Code::FailedPrecondition,
    "etcdserver: can only promote a learner member which is in sync with leader",
);
/// A variant that a lower floor has got and this table has not.
const UNMAPPED: Row = (Code::Internal, "flotilla: an error without a gRPC code");

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
            Self::DowngradeInProgress => {
                (Code::FailedPrecondition, "etcdserver: cluster has a downgrade job in progress")
            }
            // Without a code of its own, as etcd passes on what it has no code for.
            Self::UnknownDowngradeAction => (Code::Unknown, "etcdserver: unknown method"),
            Self::NoDowngrade => {
                (Code::FailedPrecondition, "etcdserver: no inflight downgrade job")
            }
            // etcd passes Go's error on, which has no code.
            Self::VerifyOnly => {
                (Code::Unknown, "auth: token signing attempted with verify-only key")
            }
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
mod tests;
