//! What `docs/differences.md` has, and what no two servers have in common, is made equal.

use api::etcdserverpb::{self as pb, request_op::Request as Op};
use tonic::{Response, Status};

pub(crate) fn settle_header(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}

/// What `docs/differences.md` has is made equal.
pub(crate) fn settle_range(ask: &pb::RangeRequest, range: &mut pb::RangeResponse) {
    settle_header(&mut range.header);
    if ask.keys_only {
        range.kvs.iter_mut().for_each(|kv| kv.lease = 0);
    }
    if ask.sort_target != 0 {
        range.kvs.sort_by(|a, b| a.key.cmp(&b.key));
    }
}

pub(crate) fn settle_txn(operations: &[pb::RequestOp], responses: &mut [pb::ResponseOp]) {
    use pb::response_op::Response as Answer;
    for (operation, response) in operations.iter().zip(responses) {
        match (&operation.request, &mut response.response) {
            (Some(Op::RequestRange(ask)), Some(Answer::ResponseRange(range))) => {
                settle_range(ask, range);
            }
            (Some(Op::RequestTxn(ask)), Some(Answer::ResponseTxn(txn))) => {
                let taken = if txn.succeeded { &ask.success } else { &ask.failure };
                settle_txn(taken, &mut txn.responses);
            }
            _ => {}
        }
    }
}

pub(crate) fn shown<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
    settle: impl FnOnce(&mut T),
) -> String {
    match answer {
        Ok(answer) => {
            let mut answer = answer.into_inner();
            settle(&mut answer);
            format!("{answer:?}")
        }
        Err(status) => format!("{:?} {}", status.code(), status.message()),
    }
}
