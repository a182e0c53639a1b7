//! From the store to the wire.

use api::etcdserverpb as pb;
use api::mvccpb;

/// Headers inside a transaction carry the revision alone.
fn nested_header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..pb::ResponseHeader::default() })
}

/// A key.
pub(crate) fn key_value(kv: store::KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

/// A key that others hold too: its bytes are shared, not copied.
fn shared_key_value(kv: &store::KeyValue) -> mvccpb::KeyValue {
    key_value(kv.clone())
}

/// A change.
pub(crate) fn event(event: store::EventRef<'_>) -> mvccpb::Event {
    use mvccpb::event::EventType;
    let kind = match event.kind {
        store::EventKind::Put => EventType::Put,
        store::EventKind::Delete => EventType::Delete,
    };
    mvccpb::Event {
        r#type: i32::from(kind),
        kv: Some(shared_key_value(event.kv)),
        prev_kv: event.prev_kv.map(shared_key_value),
    }
}

/// What was read.
pub(crate) fn range(
    response: store::RangeResponse,
    header: Option<pb::ResponseHeader>,
) -> pb::RangeResponse {
    pb::RangeResponse {
        header,
        kvs: response.kvs.into_iter().map(key_value).collect(),
        more: response.more,
        count: response.count,
    }
}

/// What was put.
pub(crate) fn put(
    response: store::PutResponse,
    header: Option<pb::ResponseHeader>,
) -> pb::PutResponse {
    pb::PutResponse { header, prev_kv: response.prev_kv.map(key_value) }
}

/// What was deleted.
pub(crate) fn delete_range(
    response: store::DeleteRangeResponse,
    header: Option<pb::ResponseHeader>,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header,
        deleted: response.deleted,
        prev_kvs: response.prev_kvs.into_iter().map(key_value).collect(),
    }
}

/// What a transaction did.
pub(crate) fn txn(
    response: store::TxnResponse,
    header: Option<pb::ResponseHeader>,
) -> pb::TxnResponse {
    pb::TxnResponse {
        header,
        succeeded: response.succeeded,
        responses: response.responses.into_iter().map(operation).collect(),
    }
}

fn operation(response: store::ResponseOp) -> pb::ResponseOp {
    use pb::response_op::Response;
    let response = match response {
        store::ResponseOp::Range(response) => {
            let header = nested_header(response.revision);
            Response::ResponseRange(range(response, header))
        }
        store::ResponseOp::Put(response) => {
            let header = nested_header(response.revision);
            Response::ResponsePut(put(response, header))
        }
        store::ResponseOp::DeleteRange(response) => {
            let header = nested_header(response.revision);
            Response::ResponseDeleteRange(delete_range(response, header))
        }
        store::ResponseOp::Txn(response) => {
            // etcd fills in the header of the outermost one alone.
            let header = nested_header(0);
            Response::ResponseTxn(txn(response, header))
        }
    };
    pb::ResponseOp { response: Some(response) }
}
