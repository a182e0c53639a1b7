//! What clients ask for, by dice.

use bytes::Bytes;
use env::SplitMix;
use store::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, LeaseId, PutRequest,
    RangeRequest, RequestOp, TxnRequest,
};

use super::key_bytes;
use crate::history::{History, Request, Value};

/// Keys that clients fight over.
const KEYS: u64 = 5;
/// Keys that are only set together with one of those.
const OTHER_KEYS: u64 = 3;
/// Longer than any world, by the fastest of its clocks: these leases end when they are revoked.
const TTL_SECS: i64 = 3600;
/// Keys that make snapshots long.
const FILLERS: u64 = 40;

/// A request, and its command if it is no read.
pub(super) type Asked = (Request, Option<Command>);

/// Makes requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Leases that may exist.
    leases: Vec<i64>,
    next_value: Value,
    next_lease: i64,
}

impl Requests {
    /// A put of a key that clients fight over.
    pub(super) fn put(&mut self) -> Asked {
        self.next_value += 1;
        let (value, key) = (self.next_value, "key-0".to_owned());
        let put =
            PutRequest { key: key_bytes(&key), value: bytes_of(value, 0), ..PutRequest::default() };
        (Request::Put { keys: vec![key], value, lease: 0 }, Some(Command::Put(put)))
    }

    /// The next one, by dice.
    pub(super) fn next(&mut self, dice: &mut SplitMix, history: &History) -> Asked {
        self.next_value += 1;
        let value = self.next_value;
        let key = format!("key-{}", dice.below(KEYS));
        let length = usize::try_from(dice.below(100)).expect("small");
        let put = |key: &str, lease: i64, length: usize| PutRequest {
            key: key_bytes(key),
            value: bytes_of(value, length),
            lease: LeaseId(lease),
            ..PutRequest::default()
        };
        match dice.below(20) {
            0..4 => (Request::Get { key }, None),
            4 => {
                let newest = history.changes.last_key_value().map_or(0, |(newest, _)| *newest);
                let older = newest - i64::try_from(dice.below(12)).expect("small");
                let at = (dice.below(2) == 0 && older > 1).then_some(older);
                let keys = (0..KEYS + OTHER_KEYS).map(|number| format!("key-{number}"));
                (Request::Scan { keys: keys.collect(), at }, None)
            }
            5..9 => {
                let command = Command::Put(put(&key, 0, length));
                (Request::Put { keys: vec![key], value, lease: 0 }, Some(command))
            }
            9..11 => {
                let key = format!("filler-{}", dice.below(FILLERS));
                let command = Command::Put(put(&key, 0, length * 20));
                (Request::Put { keys: vec![key], value, lease: 0 }, Some(command))
            }
            11..13 => {
                let command = Command::DeleteRange(DeleteRangeRequest {
                    key: key_bytes(&key),
                    ..DeleteRangeRequest::default()
                });
                (Request::Delete { key }, Some(command))
            }
            13..16 => self.swap(dice, history, key, put),
            16 => {
                let other = format!("key-{}", KEYS + dice.below(OTHER_KEYS));
                let success = [&key, &other].map(|key| RequestOp::Put(put(key, 0, length)));
                let txn = TxnRequest { success: success.to_vec(), ..TxnRequest::default() };
                let keys = vec![key, other];
                (Request::Put { keys, value, lease: 0 }, Some(Command::Txn(txn)))
            }
            17 => {
                self.next_lease += 1;
                let lease = self.next_lease;
                self.leases.push(lease);
                // No key is written: the request that fits is a revocation of nothing.
                let request = Request::Revoke { lease: 0, keys: Vec::new() };
                (request, Some(Command::LeaseGrant { id: LeaseId(lease), ttl: TTL_SECS }))
            }
            18 => {
                let lease = self.leases.last().copied().unwrap_or(77);
                let key = lease_key(lease);
                let command = Command::Put(put(&key, lease, length));
                (Request::Put { keys: vec![key], value, lease }, Some(command))
            }
            _ => {
                let lease = self.leases.first().copied().unwrap_or(78);
                if self.leases.len() > 1 {
                    self.leases.remove(0);
                }
                let request = Request::Revoke { lease, keys: vec![lease_key(lease)] };
                (request, Some(Command::LeaseRevoke { id: LeaseId(lease) }))
            }
        }
    }

    /// A swap that expects what the history's newest change says, or nothing, or nonsense.
    fn swap(
        &self,
        dice: &mut SplitMix,
        history: &History,
        key: String,
        put: impl Fn(&str, i64, usize) -> PutRequest,
    ) -> (Request, Option<Command>) {
        let value = self.next_value;
        let changes = history.changes.values().rev().flatten();
        let newest = changes.take(200).find(|change| change.key == key);
        let held = newest.and_then(|change| change.value);
        let expected = if dice.below(8) == 0 { None } else { held };
        // Values of all lengths are compared by their version and not by their bytes.
        let compare = |result, target| Compare {
            key: key_bytes(&key),
            range_end: Bytes::new(),
            result,
            target,
        };
        let guards = match expected {
            None => vec![compare(CompareResult::Equal, CompareTarget::Version(0))],
            // Values of this length are between these two, and no other value is.
            Some(held) => vec![
                compare(CompareResult::Greater, CompareTarget::Value(bytes_below(held))),
                compare(CompareResult::Less, CompareTarget::Value(bytes_below(held + 1))),
            ],
        };
        let range = RangeRequest { key: key_bytes(&key), ..RangeRequest::default() };
        let txn = TxnRequest {
            compare: guards,
            success: vec![RequestOp::Put(put(&key, 0, 10))],
            failure: vec![RequestOp::Range(range)],
        };
        (Request::Swap { key, expected, value }, Some(Command::Txn(txn)))
    }
}

fn bytes_of(value: Value, length: usize) -> Bytes {
    let mut text = format!("{value:016x}");
    text.extend(std::iter::repeat_n('.', length));
    Bytes::from(text)
}

fn lease_key(lease: i64) -> String {
    format!("leased-{}", lease % 3)
}

/// Smaller than every value with this number, and greater than those with a smaller one.
fn bytes_below(value: Value) -> Bytes {
    Bytes::from(format!("{:016x}~", value - 1))
}
