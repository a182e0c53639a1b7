//! Keys, leases, watches.

use super::*;

pub(super) fn keys() -> Vec<Row> {
    vec![
        unary!("/etcdserverpb.KV/Range", "", Keys, KvClient.range(range("w"))),
        unary!(
            "/etcdserverpb.KV/Range",
            "serializable",
            Keys,
            KvClient.range(pb::RangeRequest { serializable: true, ..range("w") })
        ),
        unary!(
            "/etcdserverpb.KV/Range",
            "beyond the end",
            Root,
            KvClient.range(pb::RangeRequest { range_end: b("y"), ..range("w") })
        ),
        unary!(
            "/etcdserverpb.KV/Range",
            "without end",
            Root,
            KvClient.range(pb::RangeRequest { range_end: b("\0"), ..range("w") })
        ),
        stream!("/etcdserverpb.KV/RangeStream", "", Keys, KvClient.range_stream(range("w"))),
        unary!("/etcdserverpb.KV/Put", "", Keys, KvClient.put(put("w"))),
        unary!(
            "/etcdserverpb.KV/Put",
            "with what was there",
            Keys,
            KvClient.put(pb::PutRequest { prev_kv: true, ..put("w") })
        ),
        unary!(
            "/etcdserverpb.KV/Put",
            "attached",
            Keys,
            KvClient.put(pb::PutRequest { lease: LEASE, ..put("w2") })
        ),
        unary!("/etcdserverpb.KV/DeleteRange", "", Keys, KvClient.delete_range(delete("w2"))),
        unary!(
            "/etcdserverpb.KV/DeleteRange",
            "without end",
            Root,
            KvClient.delete_range(pb::DeleteRangeRequest { range_end: b("\0"), ..delete("w2") })
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "put",
            Keys,
            KvClient.txn(success(op(Op::RequestPut(put("w")))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "put in the other branch",
            Keys,
            KvClient.txn(failure(op(Op::RequestPut(put("w")))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "range",
            Keys,
            KvClient.txn(success(op(Op::RequestRange(range("w")))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "delete",
            Keys,
            KvClient.txn(failure(op(Op::RequestDeleteRange(delete("w2")))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "compare",
            Keys,
            KvClient.txn(pb::TxnRequest { compare: vec![compare("w")], ..Default::default() })
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "nested put",
            Keys,
            KvClient.txn(nested(failure(op(Op::RequestPut(put("w"))))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "nested range",
            Keys,
            KvClient.txn(nested(success(op(Op::RequestRange(range("w"))))))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "nested compare",
            Keys,
            KvClient
                .txn(nested(pb::TxnRequest { compare: vec![compare("w")], ..Default::default() }))
        ),
        unary!(
            "/etcdserverpb.KV/Txn",
            "nested delete without end",
            Root,
            KvClient.txn(nested(failure(op(Op::RequestDeleteRange(pb::DeleteRangeRequest {
                range_end: b("\0"),
                ..delete("w2")
            })))))
        ),
        Row {
            path: "/etcdserverpb.Watch/Watch",
            how: "",
            class: Class::Keys,
            call: Box::new(|channel, token| Box::pin(watch(channel, token, b("w")))),
        },
        unary!(
            "/etcdserverpb.Lease/LeaseGrant",
            "",
            User,
            LeaseClient.lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 0 })
        ),
        unary!(
            "/etcdserverpb.Lease/LeaseLeases",
            "",
            User,
            LeaseClient.lease_leases(pb::LeaseLeasesRequest {})
        ),
        unary!(
            "/etcdserverpb.Lease/LeaseTimeToLive",
            "",
            User,
            LeaseClient.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: LEASE, keys: false })
        ),
        unary!(
            "/etcdserverpb.Lease/LeaseTimeToLive",
            "with keys",
            Keys,
            LeaseClient.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: LEASE, keys: true })
        ),
        stream!(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            "",
            Keys,
            LeaseClient
                .lease_keep_alive(tokio_stream::iter([pb::LeaseKeepAliveRequest { id: LEASE }]))
        ),
        unary!(
            "/etcdserverpb.Lease/LeaseRevoke",
            "",
            Keys,
            LeaseClient.lease_revoke(pb::LeaseRevokeRequest { id: LEASE })
        ),
    ]
}
