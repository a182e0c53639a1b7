//! What locks and elections have in common: keys that live as long as a lease, in the order in
//! which they were created, and waiting for those before to go.
//!
//! etcd's servers do this as clients of themselves, by the recipes of its Go client; so each step
//! is one read or one transaction, for the user who asked. These services answer every error with
//! the code UNKNOWN, since the errors of a Go client have none.

use std::sync::Arc;

use bytes::Bytes;
use store::{
    Command, Compare, CompareResult, CompareTarget, KeyValue, LeaseId, Principal, PutRequest,
    RangeRequest, RangeResponse, RequestOp, Response as Answered, ResponseOp, SortOrder,
    SortTarget, TxnRequest, TxnResponse, WatchCreateRequest, WatchMessage, WatchStream,
};
use tokio::sync::Notify;
use tonic::Status;

use crate::api_error::ApiError;
use crate::member::Member;

/// Seconds of a lease that the server grants for a client that brings none.
const LEASE_TTL_SECS: i64 = 60;

/// Why a recipe ends: the texts of etcd's Go client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecipeError {
    Api(ApiError),
    SessionExpired,
    NoLeader,
    NotLeader,
    MissingLeader,
}

impl From<ApiError> for RecipeError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<RecipeError> for Status {
    fn from(error: RecipeError) -> Self {
        Self::unknown(match error {
            RecipeError::Api(error) => error.code_and_text().1,
            RecipeError::SessionExpired => "mutex: session is expired".to_owned(),
            RecipeError::NoLeader => "election: no leader".to_owned(),
            RecipeError::NotLeader => "election: not leader".to_owned(),
            RecipeError::MissingLeader => "\"leader\" field must be provided".to_owned(),
        })
    }
}

const WRONG_ANSWER: ApiError =
    ApiError::Internal("flotilla: a command was answered by another kind of response");

/// One client that competes for something.
#[derive(Clone, Debug)]
pub(super) struct Competitor {
    pub(super) member: Arc<Member>,
    pub(super) who: Option<Principal>,
}

/// Under what name the competitors for `name` have their keys.
pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The key of the competitor with this lease.
pub(super) fn key_of(prefix: &[u8], lease: LeaseId) -> Bytes {
    // As Go prints a signed number.
    let lease = if lease.0 < 0 {
        format!("-{:x}", lease.0.unsigned_abs())
    } else {
        format!("{:x}", lease.0)
    };
    [prefix, lease.as_bytes()].concat().into()
}

/// The key behind all that begin with `prefix`, which ends in a slash.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// The first of the competitors.
pub(super) fn first_of(prefix: &Bytes) -> RangeRequest {
    RangeRequest {
        key: prefix.clone(),
        range_end: prefix_end(prefix),
        limit: 1,
        sort_order: SortOrder::Ascend,
        sort_target: SortTarget::Create,
        ..RangeRequest::default()
    }
}

/// That a key was created at this revision; 0 for one that does not exist.
pub(super) fn created_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        key: key.clone(),
        range_end: Bytes::new(),
        result: CompareResult::Equal,
        target: CompareTarget::Create(revision),
    }
}

/// Sets a key under a lease.
pub(super) fn put(key: &Bytes, value: &Bytes, lease: LeaseId) -> RequestOp {
    let (key, value) = (key.clone(), value.clone());
    RequestOp::Put(PutRequest { key, value, lease, ..PutRequest::default() })
}

/// The first key that an operation of a transaction has read.
pub(super) fn first_kv(txn: &TxnResponse, at: usize) -> Option<&KeyValue> {
    match txn.responses.get(at) {
        Some(ResponseOp::Range(range)) => range.kvs.first(),
        Some(ResponseOp::Put(_) | ResponseOp::DeleteRange(_) | ResponseOp::Txn(_)) | None => None,
    }
}

impl Competitor {
    pub(super) async fn txn(&self, txn: TxnRequest) -> Result<TxnResponse, RecipeError> {
        let command = Command::Txn(txn);
        let answer = self.member.propose_as(self.who.as_ref(), &command).await?;
        if let Answered::Txn(answer) = answer { Ok(answer) } else { Err(WRONG_ANSWER.into()) }
    }

    pub(super) async fn range(&self, request: &RangeRequest) -> Result<RangeResponse, RecipeError> {
        self.member.read_barrier().await?;
        let read = self.member.store.range_as(self.who.as_ref(), request);
        Ok(read.map_err(ApiError::from)?)
    }

    pub(super) async fn delete(&self, key: &Bytes) -> Result<i64, RecipeError> {
        let key = key.clone();
        let delete = store::DeleteRangeRequest { key, ..store::DeleteRangeRequest::default() };
        store::check_delete_range(&delete).map_err(ApiError::from)?;
        let command = Command::DeleteRange(delete);
        let answer = self.member.propose_as(self.who.as_ref(), &command).await?;
        let Answered::DeleteRange(answer) = answer else { return Err(WRONG_ANSWER.into()) };
        Ok(answer.revision)
    }

    /// The lease that the client brings, or one of the server's, which ends with the request unless
    /// it is kept: a client that gives up never learns its name.
    pub(super) async fn lease(
        &self,
        lease: i64,
    ) -> Result<(LeaseId, Option<Abandoned>), RecipeError> {
        if lease != 0 {
            return Ok((LeaseId(lease), None));
        }
        self.member.check_lease_count()?;
        let id = self.member.choose_lease_id();
        let ttl = LEASE_TTL_SECS.max(self.member.limits.lease_ttl_secs_min);
        let grant = Command::LeaseGrant { id, ttl };
        let abandoned = Abandoned::lease(self, id);
        match self.member.propose_as(self.who.as_ref(), &grant).await {
            Ok(_) => Ok((id, Some(abandoned))),
            Err(error) => {
                abandoned.keep();
                Err(error.into())
            }
        }
    }

    /// Returns when no key with this prefix is left that was created before `revision`.
    pub(super) async fn wait_for_those_before(
        &self,
        prefix: &Bytes,
        revision: i64,
    ) -> Result<(), RecipeError> {
        let last_before = RangeRequest {
            max_create_revision: revision - 1,
            sort_order: SortOrder::Descend,
            ..first_of(prefix)
        };
        loop {
            let found = self.range(&last_before).await?;
            let Some(kv) = found.kvs.into_iter().next() else { return Ok(()) };
            let mut following = self.follow(kv.key.clone(), Bytes::new(), found.revision)?;
            // When it is gone, or its history is, we look again who is there.
            while let Some(events) = following.next().await? {
                if events.iter().any(|event| event.kind == store::EventKind::Delete) {
                    break;
                }
            }
        }
    }

    /// Watches keys from a revision on.
    pub(super) fn follow(
        &self,
        key: Bytes,
        range_end: Bytes,
        start_revision: i64,
    ) -> Result<Following, RecipeError> {
        let bell = Arc::new(Notify::new());
        let rung = Arc::clone(&bell);
        let watch = self.member.store.watch_stream(Arc::new(move || rung.notify_one()));
        let create =
            WatchCreateRequest { key, range_end, start_revision, ..WatchCreateRequest::default() };
        watch.create(create).map_err(|_| WRONG_ANSWER)?;
        Ok(Following { competitor: self.clone(), watch, bell })
    }
}

/// A watcher of one range.
#[derive(Debug)]
pub(super) struct Following {
    competitor: Competitor,
    watch: WatchStream,
    bell: Arc<Notify>,
}

impl Following {
    /// The next events; nothing if history is gone that would have had them.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<store::Event>>, RecipeError> {
        let member = Arc::clone(&self.competitor.member);
        loop {
            // Whoever waits must still be allowed to see what it waits for.
            self.watch.enforce(&member.store.standing(self.competitor.who.as_ref()));
            match self.watch.poll().map_err(ApiError::from)? {
                Some(WatchMessage::Events { events, .. }) => {
                    let events = events.iter().map(|event| store::Event {
                        kind: event.kind,
                        kv: event.kv.clone(),
                        prev_kv: None,
                    });
                    return Ok(Some(events.collect()));
                }
                Some(WatchMessage::Compacted { .. }) => return Ok(None),
                Some(WatchMessage::Denied { reason, .. }) => {
                    return Err(ApiError::from(reason).into());
                }
                Some(
                    WatchMessage::Created { .. }
                    | WatchMessage::Rejected { .. }
                    | WatchMessage::Canceled { .. }
                    | WatchMessage::Progress { .. },
                ) => {}
                None => {
                    tokio::select! {
                        () = self.bell.notified() => {}
                        () = member.stopping() => return Err(ApiError::Stopped.into()),
                    }
                }
            }
        }
    }
}

/// Takes away what a client leaves behind that stops waiting: the future that holds this is dropped
/// then.
#[derive(Debug)]
pub(super) struct Abandoned {
    competitor: Competitor,
    /// What takes it away; nothing when it is to stay.
    end: Option<Command>,
}

impl Abandoned {
    /// For the key of a lease that is the client's own. A request that ends while its key is still
    /// on its way has none of these: the client may ask again under its lease and be told of that
    /// key, so that nobody else may take it away.
    pub(super) fn key(competitor: &Competitor, key: &Bytes, created: i64) -> Self {
        let delete = store::DeleteRangeRequest { key: key.clone(), ..Default::default() };
        // Only if it is still the one that was made: it may have been given up and made anew.
        let end = Command::Txn(TxnRequest {
            compare: vec![created_at(key, created)],
            success: vec![RequestOp::DeleteRange(delete)],
            failure: Vec::new(),
        });
        Self { competitor: competitor.clone(), end: Some(end) }
    }

    /// For a lease that the server grants for one request. Its end takes its key, and refuses one
    /// that is still on its way, so this may be made before either is there.
    fn lease(competitor: &Competitor, id: LeaseId) -> Self {
        Self { competitor: competitor.clone(), end: Some(Command::LeaseRevoke { id }) }
    }

    /// Nothing is taken away.
    pub(super) fn keep(mut self) {
        self.end = None;
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let Some(end) = self.end.take() else { return };
        let Competitor { member, who } = self.competitor.clone();
        tokio::spawn(async move {
            if let Err(error) = member.propose_as(who.as_ref(), &end).await {
                tracing::debug!(?error, "a key that nobody waits for goes with its lease");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_etcd_names_them() {
        let name = |lease| String::from_utf8(key_of(&prefix(b"a"), LeaseId(lease)).to_vec());
        assert_eq!(name(0x694d).as_deref(), Ok("a/694d"));
        assert_eq!(name(-1).as_deref(), Ok("a/-1"));
        assert_eq!(prefix_end(&prefix(b"a")), "a0");
    }
}
