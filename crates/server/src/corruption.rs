//! Do the members hold the same keys? Apply is a pure function, so they do, unless a machine or a
//! program is ill. Each member that follows asks the leader for the hash of all keys at its own
//! revision, at its start (`--initial-corrupt-check`) and now and then (`--corrupt-check-time`),
//! and raises the CORRUPT alarm for itself where they differ: then no key is read or written until
//! somebody has looked.
//!
//! ```text
//! question  version u8 = 1 │ kind u8 = 3 │ revision i64
//! answer    version u8 = 1 │ code u8 (0 known, 1 cannot tell) │ hash u32 │ compact revision i64
//! ```
//!
//! Numbers are big-endian. The kinds 1 and 2 are those of `peer_call.rs`.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use host::CallTarget;
use store::{AlarmCommand, AlarmKind, AlarmMember, Command, HashKv};
use tokio::sync::oneshot;

use crate::member::{Member, tell};
use crate::metrics::nanos_since;
use crate::peer_call::Malformed;

const VERSION: u8 = 1;
const KIND: u8 = 3;
/// At the start the leader may still be looked for.
const ATTEMPTS: u32 = 20;
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(250);

/// What the hash is at this revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashQuestion {
    pub(crate) revision: i64,
}

/// A hash of all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeysHash {
    hash: u32,
    compact_revision: i64,
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// All keys are the same.
    Same,
    /// They are not, at this revision.
    Differs {
        /// The revision.
        revision: i64,
    },
    /// The two could not be compared: no leader, another compaction, no such revision.
    Unknown,
}

impl HashQuestion {
    pub(crate) fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(10);
        bytes.put_u8(VERSION);
        bytes.put_u8(KIND);
        bytes.put_i64(self.revision);
        bytes.freeze()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let mut bytes = bytes.clone();
        let is_one = bytes.len() == 10 && bytes.get_u8() == VERSION && bytes.get_u8() == KIND;
        is_one.then(|| Self { revision: bytes.get_i64() })
    }
}

impl KeysHash {
    fn of(hash: HashKv) -> Self {
        Self { hash: hash.hash, compact_revision: hash.compact_revision }
    }

    fn encode(answer: Option<Self>) -> Bytes {
        let known = answer.unwrap_or(Self { hash: 0, compact_revision: 0 });
        let mut bytes = BytesMut::with_capacity(14);
        bytes.put_u8(VERSION);
        bytes.put_u8(u8::from(answer.is_none()));
        bytes.put_u32(known.hash);
        bytes.put_i64(known.compact_revision);
        bytes.freeze()
    }

    fn decode(mut bytes: Bytes) -> Result<Option<Self>, Malformed> {
        if bytes.len() != 14 || bytes.get_u8() != VERSION {
            return Err(Malformed);
        }
        let code = bytes.get_u8();
        let known = Self { hash: bytes.get_u32(), compact_revision: bytes.get_i64() };
        match code {
            0 => Ok(Some(known)),
            1 => Ok(None),
            _ => Err(Malformed),
        }
    }
}

/// Hashing reads every key: on a thread of its own.
async fn hash_at(member: &Arc<Member>, revision: i64) -> Option<HashKv> {
    let (hashing, begun) = (Arc::clone(member), member.clock.now());
    let hashed = tokio::task::spawn_blocking(move || hashing.store.hash_kv(revision)).await;
    let hash = hashed.ok()?.ok()?;
    member.metrics.times.hash_at_revision.add(nanos_since(&*member.clock, begun));
    Some(hash)
}

/// The leader's answer. Another member cannot tell: it may be the one that is ill.
pub(crate) async fn answer_here(member: &Arc<Member>, question: HashQuestion) -> Bytes {
    let hash =
        if member.leadership.is_leader() { hash_at(member, question.revision).await } else { None };
    KeysHash::encode(hash.map(KeysHash::of))
}

/// Compares this member's keys with the leader's.
pub(crate) async fn compare(member: &Arc<Member>) -> Finding {
    if member.leadership.is_leader() {
        return Finding::Same;
    }
    let Some(own) = hash_at(member, 0).await else { return Finding::Unknown };
    let question = HashQuestion { revision: own.hash_revision };
    let (reply, answer) = oneshot::channel();
    let reply = move |result| tell(reply, result);
    member.group.call(CallTarget::Leader, question.encode(), reply);
    let Ok(Ok(bytes)) = answer.await else { return Finding::Unknown };
    match KeysHash::decode(bytes) {
        Ok(Some(leaders)) => judge(KeysHash::of(own), leaders, own.hash_revision),
        Ok(None) | Err(Malformed) => Finding::Unknown,
    }
}

/// A hash leaves out what a compaction dropped: only those of the same compaction can be compared.
fn judge(own: KeysHash, leaders: KeysHash, revision: i64) -> Finding {
    if own.compact_revision != leaders.compact_revision {
        Finding::Unknown
    } else if own.hash == leaders.hash {
        Finding::Same
    } else {
        Finding::Differs { revision }
    }
}

/// Before a member serves: whether it may.
pub(crate) async fn check_at_start(member: &Arc<Member>) -> Finding {
    for _ in 0..ATTEMPTS {
        let found = compare(member).await;
        if found != Finding::Unknown {
            return found;
        }
        tokio::time::sleep(ATTEMPT_INTERVAL).await;
    }
    tracing::warn!("the keys could not be compared with the leader's before serving; going on");
    Finding::Unknown
}

/// Compares now and then, until the server goes away.
pub(crate) async fn run(member: Arc<Member>, interval: Duration) {
    let stopping = Arc::clone(&member);
    let stopping = stopping.stopping();
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(interval) => {}
        }
        if let Finding::Differs { revision } = compare(&member).await {
            raise(&member, revision).await;
        }
    }
}

async fn raise(member: &Arc<Member>, revision: i64) {
    tracing::error!(
        revision,
        "this member's keys are not the leader's: raising the alarm CORRUPT; \
         see docs/operating/alarms.md"
    );
    let alarm = AlarmMember { member_id: member.id(), alarm: AlarmKind::Corrupt };
    let command = Command::Alarm(AlarmCommand::Activate(alarm));
    if let Err(error) = member.propose(&command).await {
        tracing::warn!(?error, "the alarm was not raised; the next comparison tries again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(hash: u32, compact_revision: i64) -> KeysHash {
        KeysHash { hash, compact_revision }
    }

    #[test]
    fn only_what_can_be_compared_is_found_to_differ() {
        assert_eq!(judge(hash(1, -1), hash(1, -1), 7), Finding::Same);
        assert_eq!(judge(hash(1, -1), hash(2, -1), 7), Finding::Differs { revision: 7 });
        assert_eq!(judge(hash(1, 3), hash(2, -1), 7), Finding::Unknown);
    }

    /// Members of different versions talk to each other during an upgrade.
    #[test]
    fn the_bytes_are_golden() {
        let question = HashQuestion { revision: 0x0102 };
        assert_eq!(question.encode(), &[1, 3, 0, 0, 0, 0, 0, 0, 1, 2][..]);
        assert_eq!(HashQuestion::decode(&question.encode()), Some(question));
        let answer = Some(hash(0x0a0b_0c0d, -1));
        let mut golden = vec![1, 0, 10, 11, 12, 13];
        golden.extend([255; 8]);
        assert_eq!(KeysHash::encode(answer), golden);
        assert_eq!(KeysHash::decode(golden.into()), Ok(answer));
        assert_eq!(KeysHash::decode(KeysHash::encode(None)), Ok(None));
        for bytes in [&[][..], &[2, 3, 0, 0, 0, 0, 0, 0, 1, 2], &[1, 1, 0, 0, 0, 0, 0, 0, 1, 2]] {
            assert_eq!(HashQuestion::decode(&Bytes::copy_from_slice(bytes)), None);
            assert_eq!(KeysHash::decode(Bytes::copy_from_slice(bytes)), Err(Malformed));
        }
    }
}
