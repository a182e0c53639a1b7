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
        (RequestError::NoSpace.into(), Code::ResourceExhausted, "mvcc: database space exceeded"),
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
        (ApiError::DowngradeFormat, Code::InvalidArgument, "wrong downgrade target version format"),
        (ApiError::DowngradeTarget, Code::InvalidArgument, "invalid downgrade target version"),
        (
            ApiError::DowngradeInProgress,
            Code::FailedPrecondition,
            "cluster has a downgrade job in progress",
        ),
        (ApiError::NoDowngrade, Code::FailedPrecondition, "no inflight downgrade job"),
        (ApiError::UnknownDowngradeAction, Code::Unknown, "unknown method"),
    ];
    check(table);
}

#[test]
fn so_are_those_about_users_and_roles() {
    check(&[
        (RequestError::UserEmpty.into(), Code::InvalidArgument, "user name is empty"),
        (RequestError::RoleEmpty.into(), Code::InvalidArgument, "role name is empty"),
        (RequestError::PermissionNotGiven.into(), Code::InvalidArgument, "permission not given"),
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
    assert_eq!(status.message(), "grpc: received message larger than max (2097160 vs. 2097152)");
    let compacted = remap_oversize(ApiError::from(RequestError::Compacted).into());
    assert_eq!(compacted.code(), Code::OutOfRange);
}

/// etcd passes these on from a library, with that library's name in place of its own.
#[test]
fn some_texts_are_not_the_servers() {
    let text = |error: ApiError| error.code_and_text();
    let verify_only = "auth: token signing attempted with verify-only key";
    assert_eq!(text(ApiError::VerifyOnly), (Code::Unknown, verify_only.to_owned()));
    let no_password = "auth: authentication failed, password was given for no password user";
    let error = RequestError::NoPasswordUser.into();
    assert_eq!(text(error), (Code::Unknown, no_password.to_owned()));
}
