//! Who writes in a storm: transactions of some puts and a delete, each put with a value that names
//! its transaction and how many puts that has.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, request_op::Request,
};
use env::SplitMix;
use tonic::transport::Channel;

use super::{KEYS, Shared, key};
use crate::load::lazy;

const PUTS_MAX: u64 = 4;

/// A transaction that was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Acknowledged {
    pub(super) revision: i64,
    pub(super) value: String,
}

pub(super) struct Writer {
    number: u64,
    members: Vec<KvClient<Channel>>,
    dice: SplitMix,
    shared: Arc<Shared>,
}

impl Writer {
    pub(super) fn new(
        number: u64,
        endpoints: &[String],
        dice: SplitMix,
        shared: Arc<Shared>,
    ) -> Self {
        let members = endpoints.iter().map(|endpoint| KvClient::new(lazy(endpoint))).collect();
        Self { number, members, dice, shared }
    }

    pub(super) async fn run(mut self) -> Vec<Acknowledged> {
        let mut acknowledged = Vec::new();
        let mut count = 0_u64;
        while !self.shared.stop_writing.load(Ordering::Relaxed) {
            count += 1;
            let (value, request) = self.transaction(count);
            let member = self.dice.below(self.members.len() as u64);
            let member = usize::try_from(member).unwrap_or(0);
            match self.members[member].txn(request).await {
                Ok(answer) => {
                    let header = answer.into_inner().header.unwrap_or_default();
                    self.shared.newest.fetch_max(header.revision, Ordering::Relaxed);
                    acknowledged.push(Acknowledged { revision: header.revision, value });
                }
                // The outcome is unknown; the watchers will tell.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        acknowledged
    }

    fn transaction(&mut self, count: u64) -> (String, TxnRequest) {
        // Most change one key.
        let puts = if self.dice.below(3) == 0 { 1 + self.dice.below(PUTS_MAX) } else { 1 };
        let value = format!("{}-{count}/{puts}", self.number);
        let first = self.dice.below(KEYS);
        let put = |number: u64| {
            let key = key((first + number * 7) % KEYS).into();
            let value = value.clone().into();
            Request::RequestPut(PutRequest { key, value, ..PutRequest::default() })
        };
        let mut operations: Vec<Request> = (0..puts).map(put).collect();
        if self.dice.below(4) == 0 {
            // 7 × 5 away: none of those that are put.
            let key = key((first + 35) % KEYS).into();
            let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
            operations.push(Request::RequestDeleteRange(delete));
        }
        let success =
            operations.into_iter().map(|request| RequestOp { request: Some(request) }).collect();
        (value, TxnRequest { success, ..TxnRequest::default() })
    }
}
