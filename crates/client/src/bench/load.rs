//! One client's loop, and the loading of keys before reads.

use std::sync::Arc;

use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::{
    PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, TxnRequest,
};
use bytes::Bytes;
use env::{Clock, SplitMix};

use super::caller::{Call, Caller};
use super::{MEASURING, Run, STOPPED, Workload};
use crate::ClientError;
use crate::connect::Connection;

/// Puts in one loading transaction; etcd allows 128.
const LOAD_OPS: u64 = 100;
/// Bytes in one loading transaction; etcd allows 1.5 MiB.
const LOAD_BYTES: usize = 1 << 20;

/// All keys, made once: sixteen hexadecimal digits behind the prefix.
#[derive(Debug)]
pub(crate) struct Keys {
    all: Bytes,
    key_bytes: usize,
    count: u64,
}

impl Keys {
    pub(crate) fn new(prefix: &str, count: u64) -> Self {
        let all: String = (0..count).map(|number| format!("{prefix}{number:016x}")).collect();
        Self { all: all.into(), key_bytes: prefix.len() + 16, count }
    }

    fn key(&self, number: u64) -> Bytes {
        let at = usize::try_from(number).unwrap_or(0) * self.key_bytes;
        self.all.slice(at..at + self.key_bytes)
    }

    /// The key behind the last one: `/` is the byte before `0`, and digits are below `g`.
    fn end(&self, prefix: &str) -> Bytes {
        format!("{prefix}g").into()
    }
}

/// Sends one request after the other until the run stops.
pub(crate) async fn client(run: Arc<Run>, number: u32, mut caller: Caller) {
    let mut dice = SplitMix::new(u64::from(number) + 1);
    let value = value_of(run.options.value_size);
    while run.phase() != STOPPED {
        let begun = run.clock.now();
        let done = request(&run, &mut caller, &mut dice, &value).await;
        if run.phase() != MEASURING {
            // Outside of the measured time a failing server must not be asked in a tight loop.
            if done.is_err() {
                tokio::task::yield_now().await;
            }
            continue;
        }
        match done {
            // In a watch run it is the watchers that record.
            Ok(()) if run.options.workload == Workload::Watch => {}
            Ok(()) => {
                let taken = run.clock.now().since(begun).as_micros();
                run.recorders.success(number, u64::try_from(taken).unwrap_or(u64::MAX));
            }
            Err(status) => run.recorders.failure(number, status.message()),
        }
    }
}

async fn request(
    run: &Run,
    caller: &mut Caller,
    dice: &mut SplitMix,
    value: &Bytes,
) -> Result<(), tonic::Status> {
    let options = &run.options;
    let key = dice.below(options.keys);
    let reads = match options.workload {
        Workload::Get | Workload::Range => true,
        Workload::Put | Workload::Watch => false,
        Workload::Mixed => dice.below(100) < options.read_percent,
    };
    if !reads {
        let value = if options.workload == Workload::Watch {
            super::watchers::stamped(run.clock.now(), value)
        } else {
            value.clone()
        };
        let put = PutRequest { key: run.keys.key(key), value, ..PutRequest::default() };
        caller.call::<PutResponse>(Call::Put, &put).await?;
        return Ok(());
    }
    let mut range = RangeRequest { serializable: options.serializable, ..RangeRequest::default() };
    if options.workload == Workload::Range {
        let starts = options.keys.saturating_sub(u64::from(options.range_keys)) + 1;
        range.key = run.keys.key(key % starts);
        range.range_end = run.keys.end(&options.prefix);
        range.limit = i64::from(options.range_keys);
    } else {
        range.key = run.keys.key(key);
    }
    let answer: RangeResponse = caller.call(Call::Range, &range).await?;
    if answer.kvs.is_empty() && !options.no_load {
        return Err(tonic::Status::not_found("a key that was loaded is not there"));
    }
    Ok(())
}

/// Bytes that do not compress, the same in every run.
fn value_of(size: usize) -> Bytes {
    let mut dice = SplitMix::new(7);
    (0..size).map(|_| dice.next_u64().to_le_bytes()[0]).collect()
}

/// Puts every key, unless they are all there.
pub(crate) async fn load_keys(run: &Arc<Run>, channels: &[Connection]) -> Result<(), ClientError> {
    if run.options.no_load {
        return Ok(());
    }
    let mut kv = KvClient::new(channels[0].clone());
    let there = RangeRequest {
        key: run.options.prefix.clone().into(),
        range_end: run.keys.end(&run.options.prefix),
        count_only: true,
        ..RangeRequest::default()
    };
    let count = kv.range(there).await?.into_inner().count;
    if u64::try_from(count).is_ok_and(|count| count >= run.keys.count) {
        return Ok(());
    }
    let per_txn = (LOAD_BYTES / (run.options.value_size + 64)).max(1);
    let per_txn = LOAD_OPS.min(u64::try_from(per_txn).unwrap_or(LOAD_OPS));
    let loaders: Vec<_> = (0..4)
        .map(|loader| {
            let kv = KvClient::new(channels[loader % channels.len()].clone());
            let first = u64::try_from(loader).unwrap_or(0) * per_txn;
            tokio::spawn(load_part(Arc::clone(run), kv, first, per_txn))
        })
        .collect();
    for loader in loaders {
        let ended = loader.await;
        ended.map_err(|error| ClientError::Argument(format!("a loader broke: {error}")))??;
    }
    Ok(())
}

/// Every fourth batch of keys, from `first` on.
async fn load_part(
    run: Arc<Run>,
    mut kv: KvClient<Connection>,
    mut first: u64,
    per_txn: u64,
) -> Result<(), tonic::Status> {
    let value = value_of(run.options.value_size);
    while first < run.keys.count {
        let put = |number| {
            let key = run.keys.key(number);
            let put = PutRequest { key, value: value.clone(), ..PutRequest::default() };
            RequestOp { request: Some(Request::RequestPut(put)) }
        };
        let success = (first..(first + per_txn).min(run.keys.count)).map(put).collect();
        kv.txn(TxnRequest { success, ..TxnRequest::default() }).await?;
        first += 4 * per_txn;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_their_numbers() {
        let keys = Keys::new("bench/", 300);
        assert_eq!(keys.key(0), "bench/0000000000000000");
        assert_eq!(keys.key(255), "bench/00000000000000ff");
        assert!(keys.key(299) < keys.end("bench/"));
    }

    #[test]
    fn values_have_the_wanted_size() {
        assert_eq!(value_of(256).len(), 256);
        assert_eq!(value_of(0).len(), 0);
    }
}
