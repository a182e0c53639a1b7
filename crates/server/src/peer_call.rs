//! What a member asks the leader's server: to keep a lease alive, and what a lease has left. Only
//! the leader knows, since deadlines are not part of the replicated state.
//!
//! ```text
//! question  version u8 = 1 │ kind u8 (1 renew, 2 time to live) │ lease i64 │ wants keys u8
//! answer    version u8 = 1 │ code u8 (0 known, 1 no such lease, 2 not the leader)
//!                          │ ttl i64 │ granted ttl i64 │ count u32 │ count × (length u32 │ key)
//! ```
//!
//! Numbers are big-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use store::LeaseId;

const VERSION: u8 = 1;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Give the lease its full time again.
    Renew(LeaseId),
    /// Tell what the lease has left.
    TimeToLive {
        /// The lease.
        id: LeaseId,
        /// Whether to tell its keys too.
        keys: bool,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The lease exists.
    Known(LeaseLife),
    /// It does not, or has expired.
    NoSuchLease,
    /// Ask somebody else.
    NotLeader,
}

/// A lease as the leader knows it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct LeaseLife {
    /// Seconds left.
    pub(crate) ttl: i64,
    /// Seconds granted.
    pub(crate) granted_ttl: i64,
    /// Its keys, if they were asked for.
    pub(crate) keys: Vec<Bytes>,
}

/// Bytes from another member that are no question or answer of a version known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Question {
    pub(crate) fn encode(self) -> Bytes {
        let (kind, id, keys) = match self {
            Self::Renew(id) => (1, id, false),
            Self::TimeToLive { id, keys } => (2, id, keys),
        };
        let mut bytes = BytesMut::with_capacity(11);
        bytes.put_u8(VERSION);
        bytes.put_u8(kind);
        bytes.put_i64(id.0);
        bytes.put_u8(u8::from(keys));
        bytes.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        if bytes.len() != 11 || bytes.get_u8() != VERSION {
            return Err(Malformed);
        }
        let (kind, id, keys) = (bytes.get_u8(), LeaseId(bytes.get_i64()), bytes.get_u8());
        match (kind, keys) {
            (1, 0) => Ok(Self::Renew(id)),
            (2, 0 | 1) => Ok(Self::TimeToLive { id, keys: keys == 1 }),
            _ => Err(Malformed),
        }
    }
}

impl Answer {
    pub(crate) fn encode(&self) -> Bytes {
        let nothing = LeaseLife::default();
        let (code, life) = match self {
            Self::Known(life) => (0, life),
            Self::NoSuchLease => (1, &nothing),
            Self::NotLeader => (2, &nothing),
        };
        let mut bytes = BytesMut::new();
        bytes.put_u8(VERSION);
        bytes.put_u8(code);
        bytes.put_i64(life.ttl);
        bytes.put_i64(life.granted_ttl);
        bytes.put_u32(length(life.keys.len()));
        for key in &life.keys {
            bytes.put_u32(length(key.len()));
            bytes.put_slice(key);
        }
        bytes.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        let malformed = |_| Malformed;
        if bytes.try_get_u8().map_err(malformed)? != VERSION {
            return Err(Malformed);
        }
        let code = bytes.try_get_u8().map_err(malformed)?;
        let ttl = bytes.try_get_i64().map_err(malformed)?;
        let granted_ttl = bytes.try_get_i64().map_err(malformed)?;
        // The count is not believed: memory is taken for the keys that are really there.
        let count = bytes.try_get_u32().map_err(malformed)?;
        let mut keys = Vec::new();
        for _ in 0..count {
            let length = usize::try_from(bytes.try_get_u32().map_err(malformed)?);
            let length = length.map_err(|_| Malformed)?;
            if length > bytes.len() {
                return Err(Malformed);
            }
            keys.push(bytes.split_to(length));
        }
        match code {
            _ if !bytes.is_empty() => Err(Malformed),
            0 => Ok(Self::Known(LeaseLife { ttl, granted_ttl, keys })),
            1 => Ok(Self::NoSuchLease),
            2 => Ok(Self::NotLeader),
            _ => Err(Malformed),
        }
    }
}

/// Keys are at most a request long, and a lease has fewer than 2³² of them.
fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a key and the keys of a lease must be fewer than 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Answer {
        let keys = vec![Bytes::from_static(b"a"), Bytes::from_static(b"")];
        Answer::Known(LeaseLife { ttl: 5, granted_ttl: -1, keys })
    }

    /// Members of different versions talk to each other during an upgrade.
    #[test]
    fn the_bytes_are_golden() {
        let questions: [(Question, &[u8]); 2] = [
            (Question::Renew(LeaseId(0x0102)), &[1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0]),
            (
                Question::TimeToLive { id: LeaseId(-1), keys: true },
                &[1, 2, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            ),
        ];
        for (question, bytes) in questions {
            assert_eq!(question.encode(), bytes);
            assert_eq!(Question::decode(Bytes::from_static(bytes)), Ok(question));
        }
        let mut golden = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 5];
        golden.extend([255; 8]);
        golden.extend([0, 0, 0, 2, 0, 0, 0, 1, b'a', 0, 0, 0, 0]);
        assert_eq!(known().encode(), golden);
    }

    #[test]
    fn what_is_said_is_understood() {
        for answer in [known(), Answer::NoSuchLease, Answer::NotLeader] {
            assert_eq!(Answer::decode(answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn cut_or_endless_bytes_are_refused() {
        let bytes = known().encode();
        for at in 0..bytes.len() {
            assert_eq!(Answer::decode(bytes.slice(..at)), Err(Malformed), "cut at {at}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(Answer::decode(longer.into()), Err(Malformed));
        let mut countless = Answer::NotLeader.encode().to_vec();
        countless[18..22].fill(255);
        assert_eq!(Answer::decode(countless.into()), Err(Malformed));
        assert_eq!(Question::decode(Bytes::from_static(&[1; 10])), Err(Malformed));
    }
}
