//! The rule that one transaction writes a key once: no key is put twice, and none is put and
//! deleted. The two branches of a nested transaction exclude each other and may name the same key.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::error::RequestError;
use crate::key_range::KeyRange;
use crate::request::RequestOp;

#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Vec<KeyRange>,
}

impl Writes {
    fn conflicts_with(&self, other: &Self) -> bool {
        let deleted = |puts: &BTreeSet<Bytes>, deletes: &[KeyRange]| {
            puts.iter().any(|key| deletes.iter().any(|range| range.contains(key)))
        };
        !self.puts.is_disjoint(&other.puts)
            || deleted(&self.puts, &other.deletes)
            || deleted(&other.puts, &self.deletes)
    }

    fn add(&mut self, other: Self) {
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
    }
}

/// Checks the operations of one branch and all that is nested in them.
pub(crate) fn check_key_written_once(ops: &[RequestOp]) -> Result<(), RequestError> {
    collect(ops).map(|_| ())
}

fn collect(ops: &[RequestOp]) -> Result<Writes, RequestError> {
    let mut all = Writes::default();
    for op in ops {
        let writes = match op {
            RequestOp::Range(_) => continue,
            RequestOp::Put(put) => Writes { puts: [put.key.clone()].into(), ..Writes::default() },
            RequestOp::DeleteRange(delete) => Writes {
                deletes: vec![KeyRange::new(&delete.key, &delete.range_end)],
                ..Writes::default()
            },
            RequestOp::Txn(txn) => {
                let mut either = collect(&txn.success)?;
                either.add(collect(&txn.failure)?);
                either
            }
        };
        if all.conflicts_with(&writes) {
            return Err(RequestError::DuplicateKey);
        }
        all.add(writes);
    }
    Ok(all)
}
