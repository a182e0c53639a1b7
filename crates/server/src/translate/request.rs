//! From the wire to the store.

use api::etcdserverpb as pb;
use store::{LeaseId, RequestError};

use crate::api_error::ApiError;

/// A read by itself. Of one that lacks its key etcd tells that first; in a transaction what is
/// wrong comes in the order of the operations, so there the store tells it.
pub(crate) fn lone_range(request: pb::RangeRequest) -> Result<store::RangeRequest, ApiError> {
    if request.key.is_empty() {
        return Err(RequestError::KeyNotProvided.into());
    }
    range(request)
}

/// A read.
pub(crate) fn range(request: pb::RangeRequest) -> Result<store::RangeRequest, ApiError> {
    Ok(store::RangeRequest {
        sort_order: sort_order(request.sort_order)?,
        sort_target: sort_target(request.sort_target)?,
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        serializable: request.serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    })
}

fn sort_order(value: i32) -> Result<store::SortOrder, ApiError> {
    use pb::range_request::SortOrder;
    match SortOrder::try_from(value) {
        Ok(SortOrder::None) => Ok(store::SortOrder::None),
        Ok(SortOrder::Ascend) => Ok(store::SortOrder::Ascend),
        Ok(SortOrder::Descend) => Ok(store::SortOrder::Descend),
        Err(_) => Err(RequestError::InvalidSortOption.into()),
    }
}

fn sort_target(value: i32) -> Result<store::SortTarget, ApiError> {
    use pb::range_request::SortTarget;
    match SortTarget::try_from(value) {
        Ok(SortTarget::Key) => Ok(store::SortTarget::Key),
        Ok(SortTarget::Version) => Ok(store::SortTarget::Version),
        Ok(SortTarget::Create) => Ok(store::SortTarget::Create),
        Ok(SortTarget::Mod) => Ok(store::SortTarget::Mod),
        Ok(SortTarget::Value) => Ok(store::SortTarget::Value),
        Err(_) => Err(RequestError::InvalidSortOption.into()),
    }
}

/// A put.
pub(crate) fn put(request: pb::PutRequest) -> store::PutRequest {
    store::PutRequest {
        key: request.key,
        value: request.value,
        lease: LeaseId(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

/// A delete.
pub(crate) fn delete_range(request: pb::DeleteRangeRequest) -> store::DeleteRangeRequest {
    store::DeleteRangeRequest {
        key: request.key,
        range_end: request.range_end,
        prev_kv: request.prev_kv,
    }
}

/// A transaction as a client sent it, which may hold what no value of the store can: an operation
/// that is none. etcd looks at one thing after the other and tells of the first that is wrong.
pub(crate) fn whole_txn(
    request: pb::TxnRequest,
    ops_max: usize,
) -> Result<store::TxnRequest, ApiError> {
    if has_empty_operation(&request) {
        let first = look(&request, ops_max).err();
        return Err(first.unwrap_or_else(|| RequestError::KeyNotFound.into()));
    }
    txn(request)
}

fn has_empty_operation(txn: &pb::TxnRequest) -> bool {
    use pb::request_op::Request;
    txn.success.iter().chain(&txn.failure).any(|operation| match &operation.request {
        None => true,
        Some(Request::RequestTxn(txn)) => has_empty_operation(txn),
        Some(
            Request::RequestRange(_) | Request::RequestPut(_) | Request::RequestDeleteRange(_),
        ) => false,
    })
}

/// In the order of `store::check_txn`.
fn look(txn: &pb::TxnRequest, ops_max: usize) -> Result<(), ApiError> {
    use pb::request_op::Request;
    let ops = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    let left = ops_max.checked_sub(ops).ok_or(RequestError::TooManyOps)?;
    if txn.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(RequestError::KeyNotProvided.into());
    }
    for operation in txn.success.iter().chain(&txn.failure) {
        match &operation.request {
            // Not what one would call it, but what etcd does.
            None => return Err(RequestError::KeyNotFound.into()),
            Some(Request::RequestRange(request)) => store::check_range(&range(request.clone())?)?,
            Some(Request::RequestPut(request)) => store::check_put(&put(request.clone()))?,
            Some(Request::RequestDeleteRange(request)) => {
                store::check_delete_range(&delete_range(request.clone()))?;
            }
            Some(Request::RequestTxn(txn)) => look(txn, left)?,
        }
    }
    Ok(())
}

/// A transaction with all that is nested in it. The depth is bounded by protobuf's decoder, which
/// refuses more than a hundred messages in each other.
pub(crate) fn txn(request: pb::TxnRequest) -> Result<store::TxnRequest, ApiError> {
    let operations = |operations: Vec<pb::RequestOp>| {
        operations.into_iter().map(operation).collect::<Result<Vec<_>, ApiError>>()
    };
    Ok(store::TxnRequest {
        compare: request.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: operations(request.success)?,
        failure: operations(request.failure)?,
    })
}

fn operation(operation: pb::RequestOp) -> Result<store::RequestOp, ApiError> {
    use pb::request_op::Request;
    Ok(match operation.request {
        Some(Request::RequestRange(request)) => store::RequestOp::Range(range(request)?),
        Some(Request::RequestPut(request)) => store::RequestOp::Put(put(request)),
        Some(Request::RequestDeleteRange(request)) => {
            store::RequestOp::DeleteRange(delete_range(request))
        }
        Some(Request::RequestTxn(request)) => store::RequestOp::Txn(txn(request)?),
        None => return Err(RequestError::KeyNotFound.into()),
    })
}

fn compare(compare: pb::Compare) -> Result<store::Compare, ApiError> {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let result = match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => store::CompareResult::Equal,
        Ok(CompareResult::Greater) => store::CompareResult::Greater,
        Ok(CompareResult::Less) => store::CompareResult::Less,
        Ok(CompareResult::NotEqual) => store::CompareResult::NotEqual,
        Err(_) => return Err(ApiError::UnknownEnumValue),
    };
    // What is compared is what `target` says; a value of another kind, or none, counts as 0.
    let target = match (CompareTarget::try_from(compare.target), compare.target_union) {
        (Ok(CompareTarget::Version), Some(TargetUnion::Version(number))) => {
            store::CompareTarget::Version(number)
        }
        (Ok(CompareTarget::Version), _) => store::CompareTarget::Version(0),
        (Ok(CompareTarget::Create), Some(TargetUnion::CreateRevision(number))) => {
            store::CompareTarget::Create(number)
        }
        (Ok(CompareTarget::Create), _) => store::CompareTarget::Create(0),
        (Ok(CompareTarget::Mod), Some(TargetUnion::ModRevision(number))) => {
            store::CompareTarget::Mod(number)
        }
        (Ok(CompareTarget::Mod), _) => store::CompareTarget::Mod(0),
        (Ok(CompareTarget::Value), Some(TargetUnion::Value(value))) => {
            store::CompareTarget::Value(value)
        }
        (Ok(CompareTarget::Value), _) => store::CompareTarget::Value(bytes::Bytes::new()),
        (Ok(CompareTarget::Lease), Some(TargetUnion::Lease(number))) => {
            store::CompareTarget::Lease(LeaseId(number))
        }
        (Ok(CompareTarget::Lease), _) => store::CompareTarget::Lease(LeaseId::NONE),
        (Err(_), _) => return Err(ApiError::UnknownEnumValue),
    };
    Ok(store::Compare { key: compare.key, range_end: compare.range_end, result, target })
}

/// A watcher to make, and whether it wants fragments, which is the server's matter.
pub(crate) fn watch_create(request: pb::WatchCreateRequest) -> (store::WatchCreateRequest, bool) {
    use pb::watch_create_request::FilterType;
    let filters = |wanted| request.filters.contains(&i32::from(wanted));
    let create = store::WatchCreateRequest {
        watch_id: request.watch_id,
        start_revision: request.start_revision,
        progress_notify: request.progress_notify,
        no_put: filters(FilterType::Noput),
        no_delete: filters(FilterType::Nodelete),
        prev_kv: request.prev_kv,
        key: request.key,
        range_end: request.range_end,
    };
    (create, request.fragment)
}
