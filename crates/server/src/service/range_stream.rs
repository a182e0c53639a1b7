//! RangeStream: a large range in pieces, all as of one revision, no faster than the client reads.
//! Put together, they are the answer of a Range.

use std::sync::Arc;

use api::etcdserverpb as pb;
use bytes::Bytes;
use prost::Message as _;
use store::{Principal, RangeRequest, SortOrder, SortTarget};
use tokio::sync::mpsc;
use tonic::Status;

use crate::api_error::ApiError;
use crate::budget::{Budget, Held};
use crate::counted::{Handed, hold_message};
use crate::member::Member;
use crate::translate::response;

/// Keys of the first piece; the next ones are as large as fits `piece_bytes`.
const FIRST_KEYS: i64 = 10;
/// Keys of a piece at most, however small they are.
const KEYS_MAX: i64 = 10_000;
/// Pieces that wait for the client to read them.
const PIECES_MAX: usize = 1;

type Piece = (Result<pb::RangeStreamResponse, Status>, Option<Held>);
type Pieces = mpsc::Sender<Piece>;

/// Begins a stream: what refuses the whole range refuses the call.
pub(super) async fn open(
    member: &Arc<Member>,
    who: Option<Principal>,
    request: RangeRequest,
    budget: Option<Budget>,
) -> Result<Handed<pb::RangeStreamResponse>, Status> {
    store::check_range(&request).map_err(ApiError::from)?;
    // Without an order a stream is in that of keys, whatever it is said to be sorted by: unlike
    // Range, which sorts then.
    let is_by_key = match (request.sort_order, request.sort_target) {
        (SortOrder::None, _) | (SortOrder::Ascend, SortTarget::Key) => true,
        (SortOrder::Ascend | SortOrder::Descend, _) => false,
    };
    if !is_by_key {
        return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
    }
    let request =
        RangeRequest { sort_order: SortOrder::None, sort_target: SortTarget::Key, ..request };
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if filters.iter().any(|revision| *revision != 0) {
        return Err(Status::unimplemented("RangeStream does not support revision filters"));
    }
    if !request.serializable {
        member.read_barrier().await?;
    }
    // Counts, refuses, and says as of which revision.
    let counted = RangeRequest { count_only: true, ..request.clone() };
    let counted = member.store.range_as(who.as_ref(), &counted).map_err(ApiError::from)?;
    let (pieces, stream) = mpsc::channel(PIECES_MAX);
    let member = Arc::clone(member);
    tokio::spawn(async move {
        let sending = Sending { member, who, pieces, counted, budget };
        let ended = tokio::select! {
            ended = sending.run(request) => ended,
            () = sending.pieces.closed() => return,
        };
        if let Err(error) = ended {
            // The client is gone if this cannot be sent.
            drop(sending.pieces.send((Err(error.into()), None)).await);
        }
    });
    Ok(Handed::new(stream))
}

struct Sending {
    member: Arc<Member>,
    who: Option<Principal>,
    pieces: Pieces,
    counted: store::RangeResponse,
    /// What the connection may hold; nothing counts without one.
    budget: Option<Budget>,
}

impl Sending {
    async fn run(&self, request: RangeRequest) -> Result<(), ApiError> {
        let revision = self.counted.revision;
        let mut next = RangeRequest {
            revision: if request.revision > 0 { request.revision } else { revision },
            ..request.clone()
        };
        let mut left = if request.limit > 0 { request.limit } else { i64::MAX };
        let mut keys = FIRST_KEYS;
        let mut more = !request.count_only;
        while more && left > 0 {
            next.limit = keys.min(left);
            let piece = self.read(next.clone()).await?;
            let count = i64::try_from(piece.kvs.len()).unwrap_or(i64::MAX);
            left -= count;
            more = piece.more;
            let Some(last) = piece.kvs.last() else { break };
            next.key = successor(&last.key);
            let wire = pb::RangeResponse {
                kvs: piece.kvs.into_iter().map(response::key_value).collect(),
                ..pb::RangeResponse::default()
            };
            keys = next_keys(keys, wire.encoded_len(), self.member.limits.request_bytes_max);
            if !self.send(wire).await? {
                return Ok(());
            }
            if request.range_end.is_empty() {
                more = false;
            }
        }
        let header = self.member.header(revision);
        let count = self.counted.count;
        let end = pb::RangeResponse { header, more: more && left == 0, count, kvs: Vec::new() };
        self.send(end).await.map(drop)
    }

    async fn read(&self, request: RangeRequest) -> Result<store::RangeResponse, ApiError> {
        let (member, who) = (Arc::clone(&self.member), self.now());
        let read = move || member.store.range_as(who.as_ref(), &request);
        let read = tokio::task::spawn_blocking(read).await;
        Ok(read.map_err(|_| ApiError::Internal("flotilla: a read panicked"))??)
    }

    /// A stream outlives the revision of users and roles that it began under; each piece is asked
    /// for anew, by the same user.
    fn now(&self) -> Option<Principal> {
        let auth_revision = self.member.store.auth_status().revision;
        self.who.clone().map(|who| match who {
            Principal::User { name, .. } => Principal::User { name, auth_revision },
            Principal::Server => Principal::Server,
        })
    }

    /// Whether the client still listens.
    async fn send(&self, piece: pb::RangeResponse) -> Result<bool, ApiError> {
        let piece = pb::RangeStreamResponse { range_response: Some(piece) };
        let held = hold_message(self.budget.as_ref(), piece.encoded_len())?;
        Ok(self.pieces.send((Ok(piece), held)).await.is_ok())
    }
}

/// Twice as many while a piece is less than half of what it may be, half as many when it is more.
fn next_keys(keys: i64, bytes: usize, bytes_max: usize) -> i64 {
    if bytes > bytes_max {
        (keys / 2).max(1)
    } else if bytes < bytes_max / 2 {
        (keys * 2).min(KEYS_MAX)
    } else {
        keys
    }
}

fn successor(key: &Bytes) -> Bytes {
    [&key[..], &[0]].concat().into()
}
