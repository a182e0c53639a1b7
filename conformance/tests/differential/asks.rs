//! Random requests.

use api::etcdserverpb::{self as pb, request_op::Request as Op};
use bytes::Bytes;
use env::SplitMix;

use crate::administration::Administration;

const LEASES: [i64; 4] = [11, 12, 13, 14];

/// What a client sends.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    Grant(pb::LeaseGrantRequest),
    Revoke(pb::LeaseRevokeRequest),
    TimeToLive(pb::LeaseTimeToLiveRequest),
    /// A watch from a revision that is gone.
    WatchGone(i64),
    Administer(Administration),
}

/// Chooses requests: keys few enough to meet again, numbers at their edges.
pub(crate) struct Chooser {
    pub(crate) dice: SplitMix,
    /// About where the revision is.
    pub(crate) revision: i64,
    /// The newest compaction.
    pub(crate) compacted: i64,
    /// How deep transactions lie in each other.
    pub(crate) depth: u64,
    /// Whether the alarm for space is raised: see "while space is out" in `docs/differences.md`.
    pub(crate) alarmed: bool,
}

impl Chooser {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.dice.below(bound)
    }

    pub(crate) fn often(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn key(&mut self) -> Bytes {
        Bytes::from_static(
            self.pick(&["a", "a1", "a2", "b", "b\0", "c", "d", "e", "f", ""]).as_bytes(),
        )
    }

    fn range_end(&mut self) -> Bytes {
        Bytes::from_static(self.pick(&["", "", "b", "c", "z", "\0", "a"]).as_bytes())
    }

    fn value(&mut self) -> Bytes {
        format!("v{}", self.below(5)).into()
    }

    fn revision(&mut self) -> i64 {
        let near = i64::try_from(self.below(30)).unwrap() - 20;
        self.pick(&[0, 0, 0, 0, -1, 1]).max(-1)
            + if self.often(3) { self.revision + near } else { 0 }
    }

    fn range(&mut self) -> pb::RangeRequest {
        // Ties of other orders are unspecified, so these are without a limit and are compared as a
        // set: see `settle`.
        let sort_target = if self.often(4) { i32::try_from(self.below(5)).unwrap() } else { 0 };
        let filtered = self.often(6);
        let bound = self.revision.max(1).unsigned_abs();
        let filter = |chooser: &mut Self| {
            if filtered && chooser.often(2) {
                i64::try_from(chooser.below(bound)).unwrap()
            } else {
                0
            }
        };
        let (min_mod, max_mod) = (filter(self), filter(self));
        let (min_create, max_create) = (filter(self), filter(self));
        pb::RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit: if sort_target == 0 && self.often(3) {
                i64::try_from(self.below(4)).unwrap()
            } else {
                0
            },
            revision: self.revision(),
            sort_order: i32::try_from(self.below(3)).unwrap(),
            sort_target,
            serializable: self.often(3),
            keys_only: self.often(5),
            count_only: self.often(8),
            min_mod_revision: min_mod,
            max_mod_revision: max_mod,
            min_create_revision: min_create,
            max_create_revision: max_create,
        }
    }

    fn lease(&mut self) -> i64 {
        if self.often(4) { self.pick(&LEASES) } else { 0 }
    }

    fn put(&mut self) -> pb::PutRequest {
        let (ignore_value, ignore_lease) = (self.often(10), self.often(10));
        pb::PutRequest {
            key: self.key(),
            value: if ignore_value && !self.often(5) { Bytes::new() } else { self.value() },
            lease: if ignore_lease && !self.often(5) { 0 } else { self.lease() },
            prev_kv: self.often(3),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let (key, range_end, prev_kv) = (self.key(), self.range_end(), self.often(3));
        pb::DeleteRangeRequest { key, range_end, prev_kv }
    }

    fn compare(&mut self) -> pb::Compare {
        use pb::compare::TargetUnion;
        let number = i64::try_from(self.below(4)).unwrap();
        let revision = self.revision.max(1).unsigned_abs();
        let revision = i64::try_from(self.below(revision)).unwrap();
        let (target, target_union) = match self.below(5) {
            0 => (0, TargetUnion::Version(number)),
            1 => (1, TargetUnion::CreateRevision(revision)),
            2 => (2, TargetUnion::ModRevision(revision)),
            3 => (3, TargetUnion::Value(self.value())),
            _ => (4, TargetUnion::Lease(self.lease())),
        };
        pb::Compare {
            result: i32::try_from(self.below(4)).unwrap(),
            target,
            target_union: (!self.often(12)).then_some(target_union),
            key: self.key(),
            range_end: if self.often(3) { self.range_end() } else { Bytes::new() },
        }
    }

    fn operation(&mut self, depth: u64) -> pb::RequestOp {
        let request = match self.below(if depth > 0 { 8 } else { 7 }) {
            0..2 => Op::RequestRange(self.range()),
            2..5 => Op::RequestPut(self.put()),
            5..7 => {
                let mut delete = self.delete();
                // See "a put beside a delete without end" in docs/differences.md.
                if delete.range_end[..] == [0] {
                    delete.range_end = Bytes::from_static(b"z");
                }
                Op::RequestDeleteRange(delete)
            }
            _ => Op::RequestTxn(self.txn(depth - 1)),
        };
        pb::RequestOp { request: (!self.often(60)).then_some(request) }
    }

    fn txn(&mut self, depth: u64) -> pb::TxnRequest {
        let operations = |chooser: &mut Self| {
            let count = chooser.below(4);
            let mut operations: Vec<_> = (0..count).map(|_| chooser.operation(depth)).collect();
            untangle(&mut operations);
            operations
        };
        let (success, failure) = (operations(self), operations(self));
        let compares = self.below(3);
        let compare = (0..compares).map(|_| self.compare()).collect();
        pb::TxnRequest { compare, success, failure }
    }

    pub(crate) fn ask(&mut self) -> Ask {
        match self.below(46) {
            0..12 => Ask::Put(self.put()),
            12..16 => Ask::Delete(self.delete()),
            16..25 => Ask::Range(self.range()),
            25..34 => Ask::Txn(self.txn(if self.alarmed { 0 } else { self.depth })),
            34 => Ask::Compact(pb::CompactionRequest {
                revision: self.revision(),
                physical: self.often(2),
            }),
            35..37 => Ask::Grant(pb::LeaseGrantRequest {
                // None of them ends while the test runs.
                ttl: if self.alarmed { 3600 } else { self.pick(&[3600, 100_000, 9_000_000_001]) },
                id: self.pick(&LEASES),
            }),
            37 => Ask::Revoke(pb::LeaseRevokeRequest { id: self.pick(&LEASES) }),
            // What was compacted at is still there; before 1 there is nothing.
            38 if self.compacted > 1 => {
                let gone = self.compacted.unsigned_abs();
                Ask::WatchGone(i64::try_from(self.below(gone)).unwrap().max(1))
            }
            41..46 => Ask::Administer(self.administration()),
            _ => Ask::TimeToLive(pb::LeaseTimeToLiveRequest {
                id: self.pick(&LEASES),
                keys: self.often(2),
            }),
        }
    }

    /// About keys alone: what else needs a permission, later versions than 3.4 have made stricter.
    /// Ranges have a key at least, and puts inside a transaction do not ask for what was before:
    /// see `docs/differences.md`.
    pub(crate) fn ask_of_a_user(&mut self) -> Ask {
        match self.below(8) {
            0..3 => Ask::Put(pb::PutRequest { lease: 0, ..self.put() }),
            3 => Ask::Delete(with_keys(self.delete())),
            4..6 => {
                let mut range = self.range();
                straighten(&range.key, &mut range.range_end);
                Ask::Range(range)
            }
            _ => {
                let mut txn = self.txn(0);
                for compare in &mut txn.compare {
                    straighten(&compare.key, &mut compare.range_end);
                }
                // One without operations needs no permission in etcd, and nobody needs one.
                let (key, request) = (Bytes::from_static(b"b"), Op::RequestRange);
                let range = pb::RangeRequest { key, ..Default::default() };
                txn.success.push(pb::RequestOp { request: Some(request(range)) });
                txn.success.iter_mut().chain(&mut txn.failure).for_each(plain);
                Ask::Txn(txn)
            }
        }
    }
}

/// Takes the deletes out of transactions that stand behind one with puts: see "a put in one inside
/// it and, in a later one inside it, a delete" in `docs/differences.md`.
fn untangle(operations: &mut [pb::RequestOp]) {
    let mut has_puts = false;
    for operation in operations {
        let Some(Op::RequestTxn(txn)) = &mut operation.request else { continue };
        if has_puts {
            without_deletes(txn);
        }
        has_puts |= puts_inside(txn);
    }
}

fn puts_inside(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|operation| match &operation.request {
        Some(Op::RequestPut(_)) => true,
        Some(Op::RequestTxn(txn)) => puts_inside(txn),
        Some(Op::RequestRange(_) | Op::RequestDeleteRange(_)) | None => false,
    })
}

fn without_deletes(txn: &mut pb::TxnRequest) {
    for operation in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut operation.request {
            Some(Op::RequestTxn(txn)) => without_deletes(txn),
            Some(Op::RequestDeleteRange(delete)) => {
                let range = pb::RangeRequest { key: delete.key.clone(), ..Default::default() };
                operation.request = Some(Op::RequestRange(range));
            }
            Some(Op::RequestPut(_) | Op::RequestRange(_)) | None => {}
        }
    }
}

/// A range that would have no keys has one.
fn straighten(key: &Bytes, range_end: &mut Bytes) {
    if range_end[..] != [0] && *range_end <= *key {
        range_end.clear();
    }
}

fn with_keys(mut delete: pb::DeleteRangeRequest) -> pb::DeleteRangeRequest {
    straighten(&delete.key, &mut delete.range_end);
    delete
}

fn plain(operation: &mut pb::RequestOp) {
    match &mut operation.request {
        Some(Op::RequestRange(range)) => straighten(&range.key, &mut range.range_end),
        Some(Op::RequestDeleteRange(delete)) => straighten(&delete.key, &mut delete.range_end),
        Some(Op::RequestPut(put)) => put.prev_kv = false,
        Some(Op::RequestTxn(_)) | None => {}
    }
}
