//! What the user of a watch stream may read: asked for each watcher that it makes, and again for
//! all of them whenever users or roles change, since a stream outlives what let it begin.

use bytes::Bytes;
use store::{
    Access, AuthStatus, Principal, RequestError, Standing, WatchCreateRequest, WatchRejection,
};
use tonic::Code;

use crate::api_error::ApiError;
use crate::gate::Credentials;
use crate::member::Member;

/// The permission of one stream.
#[derive(Debug)]
pub(super) struct Permit {
    credentials: Credentials,
    /// Who made a watcher last. A token may expire while its stream goes on; the user stays.
    who: Option<Principal>,
    /// As of when the watchers that there are may be.
    seen: AuthStatus,
}

impl Permit {
    pub(super) fn new(member: &Member, credentials: Credentials) -> Self {
        Self { credentials, who: None, seen: member.store.auth_status() }
    }

    /// Refuses a watcher whose range the user may not read as a whole.
    pub(super) fn admit(
        &mut self,
        member: &Member,
        create: &WatchCreateRequest,
    ) -> Result<(), RequestError> {
        if !member.store.auth_status().enabled {
            return Ok(());
        }
        let who = member.principal_now(&self.credentials)?;
        let standing = member.store.standing(who.as_ref())?;
        // The store watches from the smallest key on when none is given.
        let smallest = Bytes::from_static(&[0]);
        let key = if create.key.is_empty() { &smallest } else { &create.key };
        standing.require(Access::Read, key, &create.range_end)?;
        self.who = who;
        Ok(())
    }

    /// What the watchers are to be held against, if users or roles have changed.
    pub(super) fn changed(&mut self, member: &Member) -> Option<Result<Standing, RequestError>> {
        let status = member.store.auth_status();
        if status == self.seen {
            return None;
        }
        self.seen = status;
        if self.who.is_none() {
            // The stream is older than authentication: its client may have a token all the same.
            self.who = member.principal_now(&self.credentials).unwrap_or(None);
        }
        Some(member.store.standing(self.who.as_ref()))
    }
}

/// Why a watcher was not made.
pub(super) fn reason_text(reason: WatchRejection) -> String {
    match reason {
        WatchRejection::Denied(error) => go_text(error),
        other @ (WatchRejection::DuplicateId
        | WatchRejection::EmptyRange
        | WatchRejection::NegativeStart
        | WatchRejection::TooMany) => other.to_string(),
    }
}

/// A refusal as Go prints it: clients compare the whole text.
pub(super) fn go_text(error: RequestError) -> String {
    let (code, text) = ApiError::from(error).code_and_text();
    let names = [
        (Code::PermissionDenied, "PermissionDenied"),
        (Code::Unauthenticated, "Unauthenticated"),
        (Code::InvalidArgument, "InvalidArgument"),
    ];
    let code = names.iter().find(|(known, _)| *known == code).map_or("Unknown", |(_, name)| name);
    format!("rpc error: code = {code} desc = {text}")
}
