//! What a careful client of etcd may conclude from an answer, or from an error.
//!
//! Of a write:
//!
//! | code and text | the write is |
//! | --- | --- |
//! | no error | done |
//! | `NOT_FOUND`, and all else that request or state refuse | not done, ever |
//! | `FAILED_PRECONDITION`, of a learner | not done, ever |
//! | `UNKNOWN`, `etcdserver: too many requests` | not done, ever |
//! | `UNAVAILABLE`, `etcdserver: no leader` | not done, ever |
//! | `UNAVAILABLE`, `etcdserver: request timed out` or `server stopped` | unknown |
//! | none, since the member ended | unknown |
//!
//! A read that has no answer has no effect, whatever the error. And an error must be one that the
//! request may meet: nobody is told that a well-formed request is none, only a member whose disk
//! was made ill says that it cannot read, and only one without a vote says that it has none.

use std::collections::BTreeMap;

use api::etcdserverpb::ResponseHeader;
use host::GroupId;
use raft::NodeId;
use tonic::{Code, Status};

use super::wire::Told;
use crate::Failure;
use crate::history::{Outcome, Request};
use crate::world::CLUSTER_ID;

const HEADERS: &str = "the header of an answer is of who was asked";
const TERMS: &str = "the term in headers does not fall";
pub(super) const ERRORS: &str = "an error is one that the request may meet";
const ANSWERS: &str = "an answer has the form of its request";
/// Whoever has a vote serves all calls.
pub(crate) const NO_LEARNER: &str = "only a learner says that it is one";
/// As of calls without the API.
const KEPT: &str = "no answer is thrown away";

/// Whoever answers: a replica in one of its lives.
pub(crate) type Who = (NodeId, GroupId, u64);

/// What the world knows of whoever answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    /// It is in the life in which it was asked.
    pub(super) lives: bool,
    /// By the configuration that it knows it has a vote.
    pub(super) votes: bool,
}

/// What was seen in headers.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    terms: BTreeMap<Who, u64>,
}

impl Headers {
    /// Looks at an answer when it comes: terms are compared in the order of answers.
    pub(super) fn check(&mut self, who: Who, told: &Told, truth: Truth) -> Result<(), Failure> {
        match told {
            Told::Answered(header, _) => self.check_header(who, header),
            Told::Refused(status) => {
                let what = || format!("{who:?}: {status:?}");
                let is_stopped = status.message() == STOPPED;
                Failure::unless(!is_stopped || !truth.lives, KEPT, what)?;
                let is_learner = status.message() == LEARNER;
                Failure::unless(!is_learner || !truth.votes, NO_LEARNER, what)
            }
            Told::Wrong(what) => Err(Failure::new(ANSWERS, format!("{who:?}: {what}"))),
        }
    }

    pub(crate) fn check_header(
        &mut self,
        who: Who,
        header: &ResponseHeader,
    ) -> Result<(), Failure> {
        let names = (header.cluster_id, header.member_id);
        let what = || format!("{who:?}: {header:?}");
        Failure::unless(names == (CLUSTER_ID, who.0.0), HEADERS, what)?;
        // Before its host has told anything a member names none.
        let newest = self.terms.entry(who).or_insert(0);
        Failure::unless(header.raft_term >= *newest, TERMS, || {
            format!("{who:?}: {header:?}, and before it was {newest}")
        })?;
        *newest = header.raft_term;
        Ok(())
    }
}

const STOPPED: &str = "etcdserver: server stopped";

/// What a member says whose disk fails under a read.
pub(crate) const UNREADABLE: &str = "etcdserver: reading a value from disk failed";

/// What excuses an error.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Excuses {
    /// The disk of whoever was asked was made to fail, or went with it.
    pub(super) is_ill: bool,
    /// What is before this revision may be gone.
    pub(super) compacted: i64,
}

impl Excuses {
    /// Whether what it asks for may be gone.
    pub(super) fn is_compacted(self, request: &Request) -> bool {
        matches!(request, Request::Scan { at: Some(at), .. } if *at < self.compacted)
    }
}

/// What may be concluded.
pub(super) fn outcome_of(
    request: &Request,
    told: Told,
    excuses: Excuses,
) -> Result<Outcome, Failure> {
    let status = match told {
        Told::Answered(header, reply) => {
            return Ok(Outcome::Done { revision: header.revision, reply });
        }
        Told::Refused(status) => status,
        Told::Wrong(what) => return Err(Failure::new(ANSWERS, what)),
    };
    let is_read = matches!(request, Request::Get { .. } | Request::Scan { .. });
    let outcome =
        if is_read { of_read(request, &status, excuses) } else { of_write(request, &status) };
    outcome.ok_or_else(|| Failure::new(ERRORS, format!("{request:?}: {status:?}")))
}

fn of_read(request: &Request, status: &Status, excuses: Excuses) -> Option<Outcome> {
    match (status.code(), status.message()) {
        (
            Code::Unavailable,
            "etcdserver: no leader" | "etcdserver: request timed out" | STOPPED,
        )
        | (Code::Unknown, "etcdserver: too many requests")
        | (Code::FailedPrecondition, LEARNER) => Some(Outcome::Failed),
        (Code::Internal, UNREADABLE) if excuses.is_ill => Some(Outcome::Failed),
        (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted")
            if excuses.is_compacted(request) =>
        {
            Some(Outcome::Failed)
        }
        _ => None,
    }
}

/// What a member without a vote says.
pub(crate) const LEARNER: &str = "etcdserver: rpc not supported for learner";

/// Whether a state may refuse it because there is no such lease.
pub(super) fn names_a_lease(request: &Request) -> bool {
    matches!(request, Request::Put { lease: 1.., .. } | Request::Revoke { lease: 1.., .. })
}

fn of_write(request: &Request, status: &Status) -> Option<Outcome> {
    match (status.code(), status.message()) {
        (Code::NotFound, "etcdserver: requested lease not found") if names_a_lease(request) => {
            Some(Outcome::Failed)
        }
        (Code::FailedPrecondition, LEARNER)
        | (Code::Unknown, "etcdserver: too many requests")
        | (Code::Unavailable, "etcdserver: no leader") => Some(Outcome::Failed),
        (Code::Unavailable, "etcdserver: request timed out" | STOPPED) => Some(Outcome::Unknown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(lease: i64) -> Request {
        Request::Put { keys: vec!["key".to_owned()], value: 1, lease }
    }

    #[track_caller]
    fn check(request: &Request, code: Code, text: &str, expect: Option<Outcome>) {
        let told = Told::Refused(Status::new(code, text));
        assert_eq!(outcome_of(request, told, Excuses::default()).ok(), expect, "{code:?} {text}");
    }

    #[test]
    fn only_what_certainly_did_nothing_has_failed() {
        let (failed, unknown) = (Some(Outcome::Failed), Some(Outcome::Unknown));
        check(&put(0), Code::Unavailable, "etcdserver: no leader", failed.clone());
        check(&put(0), Code::Unknown, "etcdserver: too many requests", failed.clone());
        check(&put(0), Code::FailedPrecondition, LEARNER, failed.clone());
        check(&put(0), Code::Unavailable, "etcdserver: request timed out", unknown.clone());
        check(&put(0), Code::Unavailable, STOPPED, unknown);
        let read = Request::Get { key: "key".to_owned() };
        check(&read, Code::Unavailable, "etcdserver: request timed out", failed);
    }

    #[test]
    fn an_error_that_the_request_cannot_meet_is_wrong() {
        let no_lease = "etcdserver: requested lease not found";
        check(&put(3), Code::NotFound, no_lease, Some(Outcome::Failed));
        check(&put(0), Code::NotFound, no_lease, None);
        check(&put(0), Code::InvalidArgument, "etcdserver: key is not provided", None);
        check(&put(0), Code::Unavailable, "etcdserver: leader changed", None);
        check(&put(0), Code::Internal, "flotilla: an error without a gRPC code", None);
        let read = Request::Get { key: "key".to_owned() };
        check(&read, Code::Internal, "flotilla: a read panicked", None);
    }

    #[test]
    fn only_what_is_before_a_compaction_is_gone() {
        let text = "etcdserver: mvcc: required revision has been compacted";
        let outcome = |at| {
            let told = Told::Refused(Status::new(Code::OutOfRange, text));
            let read = Request::Scan { keys: Vec::new(), at };
            outcome_of(&read, told, Excuses { is_ill: false, compacted: 9 }).ok()
        };
        assert_eq!(outcome(Some(8)), Some(Outcome::Failed));
        assert_eq!((outcome(Some(9)), outcome(None)), (None, None));
    }

    #[test]
    fn only_an_ill_disk_cannot_be_read() {
        let outcome = |is_ill| {
            let read = Request::Get { key: "key".to_owned() };
            let told = Told::Refused(Status::new(Code::Internal, UNREADABLE));
            outcome_of(&read, told, Excuses { is_ill, compacted: 0 }).ok()
        };
        assert_eq!((outcome(true), outcome(false)), (Some(Outcome::Failed), None));
    }

    #[test]
    fn only_who_has_no_vote_is_a_learner() {
        let told = Told::Refused(Status::new(Code::FailedPrecondition, LEARNER));
        let of = |votes| {
            let who = (NodeId(1), GroupId(1), 1);
            Headers::default().check(who, &told, Truth { lives: true, votes })
        };
        assert_eq!(of(false), Ok(()));
        assert_eq!(of(true).map_err(|failure| failure.property), Err(NO_LEARNER.to_owned()));
    }
}
