//! Do the members hold the same keys? Apply is a pure function, so they do, unless a machine or a
//! program is ill. Now and then (`--corrupt-check-time`) each member that follows asks the leader
//! for the hash of all keys at its own revision, and raises the CORRUPT alarm for itself where they
//! differ: then no key is read or written until somebody has looked.
//!
//! Before it serves (`--initial-corrupt-check`) a member asks all others, and counts. Whoever
//! happens to lead has no say of its own: it may be the one that is ill, and nobody would ask it.
//!
//! ```text
//! question  version u8 = 1 │ kind u8 (3 of the leader, 4 of whoever is asked) │ revision i64
//! answer    version u8 = 1 │ code u8 (0 known, 1 cannot tell) │ hash u32 │ compact revision i64
//! ```
//!
//! Numbers are big-endian. The kinds 1 and 2 are those of `peer_call.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use host::CallTarget;
use raft::NodeId;
use store::{AlarmCommand, AlarmKind, AlarmMember, Command, HashKv};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::member::{Member, tell};
use crate::metrics::nanos_since;
use crate::peer_call::Malformed;

const VERSION: u8 = 1;
const KIND_OF_LEADER: u8 = 3;
const KIND_OF_ANYBODY: u8 = 4;
/// At the start the others may start as well.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_ANSWERS_WITHIN: Duration = Duration::from_millis(500);
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(250);

/// What the hash is at this revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashQuestion {
    pub(crate) revision: i64,
    /// Only the leader is to answer.
    of_leader: bool,
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
        bytes.put_u8(if self.of_leader { KIND_OF_LEADER } else { KIND_OF_ANYBODY });
        bytes.put_i64(self.revision);
        bytes.freeze()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let mut bytes = bytes.clone();
        if bytes.len() != 10 || bytes.get_u8() != VERSION {
            return None;
        }
        let of_leader = match bytes.get_u8() {
            KIND_OF_LEADER => true,
            KIND_OF_ANYBODY => false,
            _ => return None,
        };
        Some(Self { revision: bytes.get_i64(), of_leader })
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

/// What this member answers. One that was asked as the leader and leads no more cannot tell.
pub(crate) async fn answer_here(member: &Arc<Member>, question: HashQuestion) -> Bytes {
    let may_tell = !question.of_leader || member.leadership.is_leader();
    let hash = if may_tell { hash_at(member, question.revision).await } else { None };
    KeysHash::encode(hash.map(KeysHash::of))
}

/// Compares this member's keys with the leader's.
pub(crate) async fn compare(member: &Arc<Member>) -> Finding {
    if member.leadership.is_leader() {
        return Finding::Same;
    }
    let Some(own) = hash_at(member, 0).await else { return Finding::Unknown };
    compare_with(member, CallTarget::Leader, own).await
}

async fn compare_with(member: &Arc<Member>, target: CallTarget, own: HashKv) -> Finding {
    let revision = own.hash_revision;
    let question = HashQuestion { revision, of_leader: target == CallTarget::Leader };
    let (reply, answer) = oneshot::channel();
    let reply = move |result| tell(reply, result);
    member.group.call(target, question.encode(), reply);
    let Ok(Ok(bytes)) = answer.await else { return Finding::Unknown };
    match KeysHash::decode(bytes) {
        Ok(Some(theirs)) => judge(KeysHash::of(own), theirs, revision),
        Ok(None) | Err(Malformed) => Finding::Unknown,
    }
}

/// A hash leaves out what a compaction dropped: only those of the same compaction can be compared.
fn judge(own: KeysHash, theirs: KeysHash, revision: i64) -> Finding {
    if own.compact_revision != theirs.compact_revision {
        Finding::Unknown
    } else if own.hash == theirs.hash {
        Finding::Same
    } else {
        Finding::Differs { revision }
    }
}

/// What the other members say of this one's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    /// Members of the group, this one among them; 0 while it knows of none.
    members: usize,
    /// Others that have the same keys.
    same: usize,
    /// Others that have not.
    differ: usize,
}

impl Count {
    /// What a majority says; nothing if it has not spoken.
    fn verdict(self) -> Option<bool> {
        if self.members > 0 && (self.same + 1) * 2 > self.members {
            Some(true)
        } else if self.differ * 2 > self.members {
            Some(false)
        } else {
            None
        }
    }

    /// Those who do not answer may never do so. Of two members of which one is ill nobody can say
    /// which: the one that is not serving yet does not begin.
    fn is_doubtful(self) -> bool {
        self.differ > self.same
    }
}

/// Asks all others at a time, until a majority has spoken, everybody has, or the time is over.
async fn ask_all(member: &Arc<Member>, own: HashKv, within: Duration) -> Count {
    let committed = member.group.committed_configuration();
    let configuration = &committed.configuration;
    let members: BTreeSet<NodeId> =
        configuration.voters.iter().chain(&configuration.learners).copied().collect();
    let mut asked = JoinSet::new();
    for other in members.iter().copied().filter(|other| other.0 != member.id()) {
        let member = Arc::clone(member);
        asked.spawn(async move { compare_with(&member, CallTarget::Node(other), own).await });
    }
    let mut count = Count { members: members.len(), ..Count::default() };
    let end = tokio::time::sleep(within);
    tokio::pin!(end);
    while count.verdict().is_none() {
        let found = tokio::select! {
            found = asked.join_next() => found,
            () = &mut end => None,
        };
        let Some(found) = found else { break };
        match found {
            Ok(Finding::Same) => count.same += 1,
            Ok(Finding::Differs { .. }) => count.differ += 1,
            Ok(Finding::Unknown) | Err(_) => {}
        }
    }
    count
}

/// Before a member serves: whether it may.
pub(crate) async fn check_at_start(member: &Arc<Member>) -> Finding {
    let mut end = member.clock.now().after(PATIENCE);
    // What is asked of a member that is not connected yet is lost; one with many keys takes long.
    let mut within = FIRST_ANSWERS_WITHIN;
    let mut last = None;
    while member.clock.now() < end {
        if !member.leadership.has_leader() {
            // Nobody learns what is committed, and so nobody has what is to be compared.
            tokio::select! {
                () = member.leadership.wait_for_leader() => {}
                () = member.stopping() => return Finding::Unknown,
            }
            end = member.clock.now().after(PATIENCE);
        }
        if let Some(own) = hash_at(member, 0).await {
            let (count, revision) = (ask_all(member, own, within).await, own.hash_revision);
            match count.verdict() {
                Some(true) => return Finding::Same,
                Some(false) => return Finding::Differs { revision },
                None => last = Some((count, revision)),
            }
            within *= 2;
        }
        tokio::time::sleep(ATTEMPT_INTERVAL).await;
    }
    if let Some((count, revision)) = last.filter(|(count, _)| count.is_doubtful()) {
        tracing::error!(?count, "this member's keys are not those of the members that answer");
        return Finding::Differs { revision };
    }
    tracing::warn!("the keys could not be compared with a majority before serving; going on");
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

    #[test]
    fn a_majority_says_who_is_ill() {
        let verdict = |members, same, differ| Count { members, same, differ }.verdict();
        assert_eq!(verdict(0, 0, 0), None, "it knows of no group yet");
        assert_eq!(verdict(1, 0, 0), Some(true));
        assert_eq!(verdict(3, 1, 1), Some(true), "the other one is ill");
        assert_eq!(verdict(3, 0, 2), Some(false));
        assert_eq!(verdict(3, 0, 1), None, "one of two, while a third is away");
        assert_eq!(verdict(5, 1, 2), None);
        let is_doubtful = |same, differ| Count { members: 5, same, differ }.is_doubtful();
        assert!(is_doubtful(0, 1) && is_doubtful(1, 2) && !is_doubtful(1, 1) && !is_doubtful(0, 0));
    }

    /// Members of different versions talk to each other during an upgrade.
    #[test]
    fn the_bytes_are_golden() {
        for (of_leader, kind) in [(true, 3), (false, 4)] {
            let question = HashQuestion { revision: 0x0102, of_leader };
            assert_eq!(question.encode(), &[1, kind, 0, 0, 0, 0, 0, 0, 1, 2][..]);
            assert_eq!(HashQuestion::decode(&question.encode()), Some(question));
        }
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
