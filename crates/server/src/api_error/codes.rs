//! The codes of refusals that come from the floors below.

use host::{CallError, ChangeError, ProposeError, ReadError, TransferError};
use store::RequestError;
use tonic::Code;

use super::{LEARNER_NOT_READY, NO_LEADER, STOPPED, TIMED_OUT, TOO_LARGE, UNHEALTHY, UNMAPPED};

pub(super) fn request_code(error: RequestError) -> Code {
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

pub(super) fn propose_error(error: ProposeError) -> (Code, &'static str) {
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

pub(super) fn read_error(error: ReadError) -> (Code, &'static str) {
    match error {
        ReadError::NoLeader => NO_LEADER,
        ReadError::TimedOut => TIMED_OUT,
        ReadError::Stopped => STOPPED,
        // The modes that are refused are none that a client of this API asks for.
        ReadError::Refused(_) | _ => UNMAPPED,
    }
}

pub(super) fn call_error(error: CallError) -> (Code, &'static str) {
    match error {
        CallError::NoLeader => NO_LEADER,
        CallError::TimedOut => TIMED_OUT,
        CallError::Stopped => STOPPED,
        _ => UNMAPPED,
    }
}

pub(super) fn transfer_error(error: TransferError) -> (Code, &'static str) {
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
pub(super) fn change_error(error: ChangeError) -> (Code, String) {
    let (code, text) = match error {
        ChangeError::NoLeader => NO_LEADER,
        ChangeError::TimedOut | ChangeError::OutcomeUnknown => TIMED_OUT,
        ChangeError::Stopped => STOPPED,
        ChangeError::NotCarried => UNMAPPED,
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
