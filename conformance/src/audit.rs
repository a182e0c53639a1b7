//! What must hold at the end: every acknowledged write on every member, and equal hashes.

use std::collections::BTreeMap;
use std::time::Duration;

use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::{HashKvRequest, RangeRequest, StatusRequest, StatusResponse};
use tonic::Status;

use crate::load::{History, lazy};

const PAGE_KEYS: i64 = 2_000;
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// What a member says of itself.
///
/// # Errors
/// It does not answer.
pub async fn status(endpoint: &str) -> Result<StatusResponse, Status> {
    Ok(MaintenanceClient::new(lazy(endpoint)).status(StatusRequest {}).await?.into_inner())
}

/// Which of the endpoints leads, if one of them says that it does.
pub async fn leader(endpoints: &[String]) -> Option<usize> {
    for (number, endpoint) in endpoints.iter().enumerate() {
        let Ok(status) = status(endpoint).await else { continue };
        let own_id = status.header.map_or(0, |header| header.member_id);
        if own_id != 0 && own_id == status.leader {
            return Some(number);
        }
    }
    None
}

/// The newest revision of the cluster, by a linearizable read.
///
/// # Panics
/// The member does not answer.
pub async fn revision(endpoint: &str) -> i64 {
    let request = RangeRequest { key: "none".into(), ..RangeRequest::default() };
    let answer = KvClient::new(lazy(endpoint)).range(request).await;
    let header = answer.expect("a healthy member answers a read").into_inner().header;
    header.expect("a range answer has a header").revision
}

/// The newest revision that a member has applied; 0 while it does not answer.
pub async fn serializable_revision(endpoint: &str) -> i64 {
    let key = "none".into();
    let request = RangeRequest { key, serializable: true, ..RangeRequest::default() };
    let answer = KvClient::new(lazy(endpoint)).range(request).await;
    answer.ok().and_then(|answer| answer.into_inner().header).map_or(0, |header| header.revision)
}

/// Waits until every member has applied `revision`, and compares their hashes there.
///
/// # Errors
/// One does not come that far, or the hashes differ.
pub async fn compare_hashes(endpoints: &[String], revision: i64) -> Result<(), String> {
    let mut hashes = BTreeMap::new();
    for endpoint in endpoints {
        let hash = tokio::time::timeout(CATCH_UP_WITHIN, hash_at(endpoint, revision)).await;
        let hash = hash.map_err(|_| format!("{endpoint} does not reach revision {revision}"))?;
        hashes.insert(endpoint.clone(), hash);
    }
    let mut values: Vec<(u32, i64)> = hashes.values().copied().collect();
    values.dedup();
    if values.len() == 1 {
        return Ok(());
    }
    Err(format!("the hashes at revision {revision} differ: {hashes:x?}"))
}

async fn hash_at(endpoint: &str, revision: i64) -> (u32, i64) {
    let mut client = MaintenanceClient::new(lazy(endpoint));
    loop {
        // A member that is behind answers that the revision is in its future.
        if let Ok(answer) = client.hash_kv(HashKvRequest { revision }).await {
            let answer = answer.into_inner();
            return (answer.hash, answer.compact_revision);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Every key below `load/` that a member has by itself: its revision and version.
///
/// # Panics
/// The member does not answer.
pub async fn keys_of(endpoint: &str) -> BTreeMap<String, (i64, i64)> {
    let mut client = KvClient::new(lazy(endpoint)).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut keys = BTreeMap::new();
    let mut from = "load/".to_owned();
    loop {
        let request = RangeRequest {
            key: from.clone().into(),
            range_end: "load0".into(),
            limit: PAGE_KEYS,
            serializable: true,
            keys_only: true,
            ..RangeRequest::default()
        };
        let answer = client.range(request).await.expect("a healthy member answers a read");
        let answer = answer.into_inner();
        for kv in &answer.kvs {
            let key = String::from_utf8_lossy(&kv.key).into_owned();
            keys.insert(key, (kv.mod_revision, kv.version));
        }
        let Some(last) = answer.kvs.last().filter(|_| answer.more) else { return keys };
        from = format!("{}\0", String::from_utf8_lossy(&last.key));
    }
}

/// Every acknowledged write is on every member, once, at the revision that was told; no client read
/// what it must not have; and the hashes are equal.
///
/// # Errors
/// One of these is not so.
pub async fn audit(endpoints: &[String], histories: &[History]) -> Result<(), String> {
    let violations: Vec<&String> =
        histories.iter().flat_map(|history| &history.violations).collect();
    if let Some(first) = violations.first() {
        return Err(format!("{} bad reads, such as: {first}", violations.len()));
    }
    compare_hashes(endpoints, revision(&endpoints[0]).await).await?;
    for endpoint in endpoints {
        let keys = keys_of(endpoint).await;
        let writes = histories.iter().flat_map(|history| &history.acknowledged);
        let lost: Vec<_> =
            writes.filter(|write| keys.get(&write.key) != Some(&(write.revision, 1))).collect();
        if let Some(first) = lost.first() {
            let found = keys.get(&first.key);
            let count = lost.len();
            return Err(format!(
                "{endpoint} lost {count} writes, such as {first:?}: found {found:?}"
            ));
        }
    }
    Ok(())
}
