//! Leases and time. The leader keeps the deadlines ([`store::Lessor`]); what has expired it revokes
//! through the log, and only in the term in which it leads, so that one who was deposed and does
//! not know it yet ends no lease. The other members ask it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use env::Moment;
use host::{CallContext, CallError, CallReply, CallTarget};
use raft::Term;
use store::{Command, LeaseId, Lessor};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::api_error::ApiError;
use crate::corruption::{self, HashQuestion};
use crate::member::{Member, tell};
use crate::peer_call::{Answer, LeaseLife, Malformed, Question};
use crate::peer_probe;

/// How often the leader looks for new and expired leases, at least.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Leases revoked at a time: with the interval, at most a thousand a second, as in etcd.
const REVOKED_AT_ONCE_MAX: usize = 250;
/// A revocation that was not applied by then is proposed again.
const REVOKE_RETRY: Duration = Duration::from_secs(3);
/// Leases whose remaining time is written down at a time: with the interval, a thousand a second.
const CHECKPOINTS_AT_ONCE_MAX: usize = 250;
/// Between two attempts to find the leader.
const ASK_RETRY: Duration = Duration::from_millis(50);

/// Keeps the deadlines while this member leads; runs until the server goes away.
pub(crate) async fn run(member: Arc<Member>) {
    let mut changes = member.leadership.subscribe();
    let stopping = Arc::clone(&member);
    let stopping = stopping.stopping();
    tokio::pin!(stopping);
    loop {
        let leads_in = member.leadership.leads_in();
        give_up_another_reign(&member, leads_in);
        let work = async {
            match leads_in {
                Some(term) => keep(&member, term).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut stopping => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = work => {}
        }
    }
}

/// A new term of the same leader is a new reign: others may have led in between.
fn give_up_another_reign(member: &Arc<Member>, leads_in: Option<Term>) {
    let mut lessor = member.lessor.lock();
    if lessor.is_leading() && lessor.leads_in() != leads_in {
        lessor.demote(&member.store);
    }
}

/// Does what is due, and returns when there may be more.
async fn keep(member: &Arc<Member>, term: Term) {
    let wait = if member.lessor.lock().is_leading() {
        checkpoint(member, term);
        revoke_expired(member, term)
    } else {
        take_over(member, term).await
    };
    tokio::time::sleep(wait).await;
}

/// Begins to keep the deadlines, once this member has applied a word of its own term and so all
/// that leaders before wrote of them ([`Lessor::promote`](store::Lessor::promote)). Returns how
/// long to wait.
async fn take_over(member: &Arc<Member>, term: Term) -> Duration {
    let nothing = Command::LeaseCheckpoint { remaining: Vec::new() };
    if let Err(error) = member.propose_as_leader(term, &nothing).await {
        tracing::debug!(?error, "the deadlines of leases are not taken over yet");
        return ASK_RETRY;
    }
    member.lessor.lock().promote(member.clock.now(), term, &member.store);
    Duration::ZERO
}

/// What the lessor says, which is up to date; nothing unless this member keeps the deadlines in the
/// term in which it leads.
fn ask_lessor<T>(
    member: &Arc<Member>,
    question: impl FnOnce(&mut Lessor, Moment) -> T,
) -> Option<T> {
    let now = member.clock.now();
    let leads_in = member.leadership.leads_in()?;
    let mut lessor = member.lessor.lock();
    lessor.observe(now, &member.store);
    (lessor.leads_in() == Some(leads_in)).then(|| question(&mut lessor, now))
}

/// Writes down what leases have left, so that the next leader does not begin with their full time.
fn checkpoint(member: &Arc<Member>, term: Term) {
    // One at a time, and none beside a renewal that mends one: see `renew`.
    let Ok(turn) = Arc::clone(&member.checkpointing).try_lock_owned() else { return };
    let now = member.clock.now();
    let remaining = {
        let mut lessor = member.lessor.lock();
        lessor.observe(now, &member.store);
        lessor.checkpoints(now, CHECKPOINTS_AT_ONCE_MAX)
    };
    if remaining.is_empty() {
        return;
    }
    let member = Arc::clone(member);
    tokio::spawn(async move {
        let command = Command::LeaseCheckpoint { remaining };
        if let Err(error) = member.propose_as_leader(term, &command).await {
            // The next leader gives more time than it need.
            tracing::debug!(?error, "what leases have left was not written down");
        }
        drop(turn);
    });
}

/// Proposes the end of what has expired and returns how long to wait.
fn revoke_expired(member: &Arc<Member>, term: Term) -> Duration {
    let now = member.clock.now();
    let (expired, next) = {
        let mut lessor = member.lessor.lock();
        lessor.observe(now, &member.store);
        let expired = lessor.expired(now, REVOKED_AT_ONCE_MAX, REVOKE_RETRY);
        (expired, lessor.next_deadline())
    };
    let all_told = expired.len() < REVOKED_AT_ONCE_MAX;
    for id in expired {
        let member = Arc::clone(member);
        tokio::spawn(async move { revoke(&member, term, id).await });
    }
    match next.map(|next| next.since(now)) {
        // A millisecond more, so that the deadline has passed when the timer says so.
        Some(until) if all_told => LOOK_INTERVAL.min(until + Duration::from_millis(1)),
        _ => LOOK_INTERVAL,
    }
}

async fn revoke(member: &Arc<Member>, term: Term, id: LeaseId) {
    let command = Command::LeaseRevoke { id };
    match member.propose_as_leader(term, &command).await {
        Ok(_) => member.metrics.lease_expired.add(1),
        // Not an error: revoked by its client in the meantime, or told again after a while.
        Err(error) => tracing::debug!(lease = id.0, ?error, "an expired lease was not revoked"),
    }
}

/// The leader's answer. A renewal counts only if this member still leads after it: then whoever
/// leads next gives the lease its full time anew, and the client's belief is never longer than the
/// lease.
pub(crate) async fn answer_here(
    member: &Arc<Member>,
    question: Question,
) -> Result<Answer, ApiError> {
    let answer = match question {
        Question::Renew(id) => renew(member, id).await?,
        Question::TimeToLive { .. } => Answer::NoSuchLease,
    };
    if answer == Answer::NotLeader {
        return Ok(answer);
    }
    member.read_barrier().await?;
    let id = match question {
        Question::Renew(id) | Question::TimeToLive { id, .. } => id,
    };
    let Some(is_there) = ask_lessor(member, |lessor, _| lessor.has(id)) else {
        return Ok(Answer::NotLeader);
    };
    match (answer, question) {
        (Answer::Known(_), Question::Renew(_)) if !is_there => Ok(Answer::NoSuchLease),
        // A lease that was granted a moment ago, by another member: the barrier brought it.
        (Answer::NoSuchLease, Question::Renew(id)) if is_there => renew(member, id).await,
        (answer, Question::Renew(_)) => Ok(answer),
        (_, Question::TimeToLive { id, keys }) => Ok(time_to_live(member, id, keys)),
    }
}

/// Gives a lease its full time again. If less is written down for it, that is mended first: the
/// next leader would end the lease early otherwise. `checkpointing` keeps a checkpoint that is
/// under way from coming into the log behind the one that mends it.
async fn renew(member: &Arc<Member>, id: LeaseId) -> Result<Answer, ApiError> {
    let known = ask_lessor(member, |lessor, _| (lessor.leads_in(), lessor.is_shortened(id)));
    let Some((Some(term), is_shortened)) = known else { return Ok(Answer::NotLeader) };
    let Some(lease) = member.store.lease(id).filter(|_| is_shortened) else {
        return Ok(renew_now(member, id));
    };
    let _turn = member.checkpointing.lock().await;
    let command = Command::LeaseCheckpoint { remaining: vec![(id, lease.ttl)] };
    member.propose_as_leader(term, &command).await?;
    Ok(renew_now(member, id))
}

fn renew_now(member: &Arc<Member>, id: LeaseId) -> Answer {
    match ask_lessor(member, |lessor, now| lessor.renew(id, now)) {
        None => Answer::NotLeader,
        Some(None) => Answer::NoSuchLease,
        Some(Some(ttl)) => {
            member.metrics.lease_renewed.add(1);
            Answer::Known(LeaseLife { ttl, granted_ttl: ttl, keys: Vec::new() })
        }
    }
}

fn time_to_live(member: &Arc<Member>, id: LeaseId, keys: bool) -> Answer {
    let remaining = match ask_lessor(member, |lessor, now| lessor.remaining(id, now)) {
        None => return Answer::NotLeader,
        Some(None) => return Answer::NoSuchLease,
        Some(Some(remaining)) => remaining,
    };
    let keys = if keys { member.store.lease_keys(id) } else { Vec::new() };
    let ttl = i64::try_from(remaining.remaining.as_secs()).unwrap_or(i64::MAX);
    Answer::Known(LeaseLife { ttl, granted_ttl: remaining.granted_ttl, keys })
}

/// Asks whoever leads, this member or another, until there is an answer or no time left.
pub(crate) async fn ask(member: &Arc<Member>, question: Question) -> Result<Answer, ApiError> {
    let attempts = async {
        loop {
            let answer = if member.leadership.is_leader() {
                answer_here(member, question).await?
            } else {
                ask_leader(member, question).await?
            };
            if answer != Answer::NotLeader {
                return Ok(answer);
            }
            tokio::time::sleep(ASK_RETRY).await;
        }
    };
    let answer = tokio::time::timeout(member.limits.request_timeout, attempts).await;
    answer.unwrap_or(if member.leadership.has_leader() {
        Err(ApiError::TimedOut)
    } else {
        Err(ApiError::NoLeader)
    })
}

async fn ask_leader(member: &Arc<Member>, question: Question) -> Result<Answer, ApiError> {
    let (reply, answer) = oneshot::channel();
    let reply = move |result| tell(reply, result);
    member.group.call(CallTarget::Leader, question.encode(), reply);
    match answer.await.map_err(|_| ApiError::Stopped)? {
        Ok(bytes) => Answer::decode(bytes).map_err(|Malformed| {
            ApiError::Internal("flotilla: the leader's answer is of another version")
        }),
        // Asking again is harmless: a lease that is renewed twice is renewed.
        Err(CallError::NoLeader | CallError::TimedOut) => Ok(Answer::NotLeader),
        Err(error) => Err(error.into()),
    }
}

/// Answers other members' questions on the runtime of the services.
#[derive(Debug)]
pub(crate) struct Answerer {
    pub(crate) runtime: Handle,
    /// Empty until the services are made; weak, since they hold the host that holds this.
    pub(crate) member: parking_lot::RwLock<Weak<Member>>,
}

impl Answerer {
    /// Takes a question from the host's thread.
    pub(crate) fn handle(&self, context: CallContext, question: Bytes, reply: CallReply) {
        if peer_probe::is_question(&question) {
            return reply(Bytes::new());
        }
        let Some(member) = self.member.read().upgrade() else {
            return reply(Answer::NotLeader.encode());
        };
        if let Some(question) = HashQuestion::decode(&question) {
            self.runtime.spawn(async move {
                reply(corruption::answer_here(&member, question).await);
            });
            return;
        }
        let Ok(question) = Question::decode(question) else {
            tracing::warn!(from = context.from.0, "a call of another version was refused");
            return reply(Answer::NotLeader.encode());
        };
        self.runtime.spawn(async move {
            let answer = answer_here(&member, question).await;
            // One that could not confirm its leadership in time is not the one to ask.
            reply(answer.unwrap_or(Answer::NotLeader).encode());
        });
    }
}
