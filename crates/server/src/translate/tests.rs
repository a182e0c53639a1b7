use api::etcdserverpb as pb;
use bytes::Bytes;
use store::{LeaseId, RequestError};

use super::{request, response};
use crate::api_error::ApiError;

fn key(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn every_option_of_a_range_arrives() {
    let wire = pb::RangeRequest {
        key: key("k"),
        range_end: key("l"),
        limit: 3,
        revision: 4,
        sort_order: 2,
        sort_target: 3,
        serializable: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 5,
        max_mod_revision: 6,
        min_create_revision: 7,
        max_create_revision: 8,
    };
    let expect = store::RangeRequest {
        key: key("k"),
        range_end: key("l"),
        limit: 3,
        revision: 4,
        sort_order: store::SortOrder::Descend,
        sort_target: store::SortTarget::Mod,
        serializable: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 5,
        max_mod_revision: 6,
        min_create_revision: 7,
        max_create_revision: 8,
    };
    assert_eq!(request::range(wire), Ok(expect));
}

#[test]
fn a_sort_that_does_not_exist_is_refused() {
    let wire = pb::RangeRequest { sort_order: 3, ..pb::RangeRequest::default() };
    assert_eq!(request::range(wire), Err(RequestError::InvalidSortOption.into()));
    let wire = pb::RangeRequest { sort_target: -1, ..pb::RangeRequest::default() };
    assert_eq!(request::range(wire), Err(RequestError::InvalidSortOption.into()));
}

#[test]
fn an_empty_operation_is_key_not_found() {
    let wire = pb::TxnRequest {
        success: vec![pb::RequestOp { request: None }],
        ..pb::TxnRequest::default()
    };
    assert_eq!(request::txn(wire), Err(RequestError::KeyNotFound.into()));
}

fn compared(target: i32, union: Option<pb::compare::TargetUnion>) -> store::CompareTarget {
    let compare = pb::Compare { target, target_union: union, ..pb::Compare::default() };
    let wire = pb::TxnRequest { compare: vec![compare], ..pb::TxnRequest::default() };
    request::txn(wire).unwrap().compare[0].target.clone()
}

#[test]
fn a_compare_looks_at_its_target_and_takes_a_missing_operand_for_zero() {
    use pb::compare::TargetUnion;
    use store::CompareTarget;
    assert_eq!(compared(0, Some(TargetUnion::Version(7))), CompareTarget::Version(7));
    assert_eq!(compared(1, Some(TargetUnion::CreateRevision(7))), CompareTarget::Create(7));
    assert_eq!(compared(2, Some(TargetUnion::ModRevision(7))), CompareTarget::Mod(7));
    assert_eq!(compared(3, Some(TargetUnion::Value(key("v")))), CompareTarget::Value(key("v")));
    assert_eq!(compared(4, Some(TargetUnion::Lease(7))), CompareTarget::Lease(LeaseId(7)));
    assert_eq!(compared(0, None), CompareTarget::Version(0));
    assert_eq!(compared(3, None), CompareTarget::Value(Bytes::new()));
    assert_eq!(compared(2, Some(TargetUnion::Version(7))), CompareTarget::Mod(0));
}

#[test]
fn a_compare_of_an_unknown_kind_is_refused() {
    for compare in [
        pb::Compare { target: 9, ..pb::Compare::default() },
        pb::Compare { result: 9, ..pb::Compare::default() },
    ] {
        let wire = pb::TxnRequest { compare: vec![compare], ..pb::TxnRequest::default() };
        assert_eq!(request::txn(wire), Err(ApiError::UnknownEnumValue));
    }
}

#[test]
fn headers_inside_a_transaction_carry_the_revision_alone() {
    let inner = store::PutResponse { revision: 9, prev_kv: None };
    let outer = store::TxnResponse {
        revision: 9,
        succeeded: true,
        responses: vec![store::ResponseOp::Put(inner)],
    };
    let wire = response::txn(outer, None);
    let Some(pb::response_op::Response::ResponsePut(put)) = &wire.responses[0].response else {
        panic!("a put answers a put: {wire:?}");
    };
    let expect = pb::ResponseHeader { revision: 9, ..pb::ResponseHeader::default() };
    assert_eq!(put.header, Some(expect));
}

#[test]
fn a_watcher_has_its_filters_and_keeps_fragments_apart() {
    let wire = pb::WatchCreateRequest {
        key: key("k"),
        filters: vec![1],
        prev_kv: true,
        fragment: true,
        watch_id: 5,
        start_revision: 6,
        progress_notify: true,
        ..pb::WatchCreateRequest::default()
    };
    let (create, fragment) = request::watch_create(wire);
    let expect = store::WatchCreateRequest {
        key: key("k"),
        no_delete: true,
        prev_kv: true,
        watch_id: 5,
        start_revision: 6,
        progress_notify: true,
        ..store::WatchCreateRequest::default()
    };
    assert_eq!((create, fragment), (expect, true));
}
