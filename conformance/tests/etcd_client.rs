//! The Rust crate `etcd-client`.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]

use std::time::Duration;

use conformance::Cluster;
use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, EventType, GetOptions, LeaseTimeToLiveOptions,
    PutOptions, SortOrder, SortTarget, Txn, TxnOp, WatchOptions,
};

const WITHIN: Duration = Duration::from_secs(15);

/// Runs a test's future against a fresh cluster, its requests spread over all members.
fn with_client<F>(test: impl FnOnce(Client) -> F)
where
    F: Future<Output = Result<(), etcd_client::Error>>,
{
    with_client_of(3, test);
}

/// The same with so many of the members, and a deadline for all of it.
fn with_client_of<F>(members: usize, test: impl FnOnce(Client) -> F)
where
    F: Future<Output = Result<(), etcd_client::Error>>,
{
    let cluster = Cluster::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let endpoints = &cluster.endpoints()[..members];
        let client = Client::connect(endpoints, None).await.unwrap();
        let done = tokio::time::timeout(2 * WITHIN, test(client)).await;
        done.expect("the test ends in time").unwrap();
    });
}

#[test]
fn kv_with_its_options() {
    with_client(|mut client| async move {
        for key in ["a", "b", "c"] {
            client.put(format!("kv/{key}"), key, None).await?;
        }
        let all = client.get("kv/", Some(GetOptions::new().with_prefix())).await?;
        assert_eq!((all.kvs().len(), all.count(), all.more()), (3, 3, false));
        let limited = GetOptions::new().with_prefix().with_limit(2);
        let some = client.get("kv/", Some(limited)).await?;
        assert_eq!((some.kvs().len(), some.count(), some.more()), (2, 3, true));
        let count = GetOptions::new().with_prefix().with_count_only();
        let counted = client.get("kv/", Some(count)).await?;
        assert_eq!((counted.kvs().len(), counted.count()), (0, 3));
        let by_mod = GetOptions::new().with_prefix().with_sort(SortTarget::Mod, SortOrder::Descend);
        let sorted = client.get("kv/", Some(by_mod)).await?;
        assert_eq!(sorted.kvs()[0].key(), b"kv/c");
        let since = all.kvs()[1].mod_revision();
        let recent = GetOptions::new().with_prefix().with_min_mod_revision(since);
        assert_eq!(client.get("kv/", Some(recent)).await?.kvs().len(), 2);

        let before = client.put("kv/a", "new", Some(PutOptions::new().with_prev_key())).await?;
        assert_eq!(before.prev_key().map(|kv| kv.value().to_vec()), Some(b"a".to_vec()));
        let old = GetOptions::new().with_revision(since);
        assert_eq!(client.get("kv/a", Some(old)).await?.kvs()[0].value(), b"a");
        let gone = DeleteOptions::new().with_prefix().with_prev_key();
        let deleted = client.delete("kv/", Some(gone)).await?;
        assert_eq!((deleted.deleted(), deleted.prev_kvs().len()), (3, 3));
        Ok(())
    });
}

#[test]
fn transactions_with_compares_and_nesting() {
    with_client(|mut client| async move {
        client.put("txn/a", "1", None).await?;
        let inner = Txn::new()
            .when([Compare::version("txn/b", CompareOp::Equal, 0)])
            .and_then([TxnOp::put("txn/b", "made", None)]);
        let txn = Txn::new()
            .when([
                Compare::value("txn/a", CompareOp::Equal, "1"),
                Compare::create_revision("txn/none", CompareOp::Equal, 0),
            ])
            .and_then([TxnOp::get("txn/a", None), TxnOp::txn(inner)])
            .or_else([TxnOp::delete("txn/a", None)]);
        let first = client.txn(txn.clone()).await?;
        assert!(first.succeeded());
        assert_eq!(first.op_responses().len(), 2);
        assert_eq!(client.get("txn/b", None).await?.kvs()[0].value(), b"made");
        client.put("txn/a", "2", None).await?;
        assert!(!client.txn(txn).await?.succeeded());
        assert!(client.get("txn/a", None).await?.kvs().is_empty());

        let twice = Txn::new().and_then([TxnOp::put("x", "1", None), TxnOp::put("x", "2", None)]);
        let refused = client.txn(twice).await.unwrap_err().to_string();
        assert!(refused.contains("duplicate key given in txn request"), "{refused}");
        Ok(())
    });
}

#[test]
fn watches_past_and_present() {
    with_client(|mut client| async move {
        let first = client.put("watch/a", "0", None).await?;
        let from = first.header().unwrap().revision();
        client.put("watch/a", "1", None).await?;
        let options = WatchOptions::new().with_prefix().with_start_revision(from).with_prev_key();
        let mut stream = client.watch("watch/", Some(options)).await?;
        let mut events = Vec::new();
        client.delete("watch/a", None).await?;
        while events.len() < 3 {
            let response = stream.message().await?.expect("the stream stays open");
            assert!(!response.canceled());
            events.extend(response.events().to_vec());
        }
        let kinds: Vec<_> = events.iter().map(etcd_client::Event::event_type).collect();
        assert_eq!(kinds, [EventType::Put, EventType::Put, EventType::Delete]);
        assert_eq!(events[1].prev_kv().unwrap().value(), b"0");
        assert_eq!(events[2].prev_kv().unwrap().value(), b"1");
        let revisions: Vec<_> =
            events.iter().map(|event| event.kv().unwrap().mod_revision()).collect();
        assert_eq!(revisions, [from, from + 1, from + 2]);
        stream.request_progress().await?;
        let progress = stream.message().await?.expect("progress is told");
        assert!(progress.events().is_empty());
        assert!(progress.header().unwrap().revision() >= from + 2);
        stream.cancel(0).await?;
        let cancelled = stream.message().await?.expect("a cancel is confirmed");
        assert!(cancelled.canceled());
        Ok(())
    });
}

#[test]
fn a_watch_from_compacted_history_is_refused() {
    // Another member may not have applied the compaction yet, and may then rightly show the past.
    with_client_of(1, |mut client| async move {
        for value in ["1", "2", "3"] {
            client.put("old", value, None).await?;
        }
        let newest = client.get("old", None).await?.header().unwrap().revision();
        client.compact(newest, None).await?;
        let options = WatchOptions::new().with_start_revision(newest - 1);
        let mut stream = client.watch("old", Some(options)).await?;
        loop {
            let response = stream.message().await?.expect("the refusal is told");
            if response.canceled() {
                assert_eq!(response.compact_revision(), newest);
                return Ok(());
            }
            assert!(response.events().is_empty());
        }
    });
}

#[test]
fn leases_live_and_end() {
    with_client(|mut client| async move {
        let lease = client.lease_grant(2, None).await?;
        assert_eq!(lease.ttl(), 2);
        let attached = PutOptions::new().with_lease(lease.id());
        client.put("lease/a", "1", Some(attached)).await?;
        let (mut keeper, mut answers) = client.lease_keep_alive(lease.id()).await?;
        keeper.keep_alive().await?;
        assert_eq!(answers.message().await?.map(|answer| answer.ttl()), Some(2));
        let options = LeaseTimeToLiveOptions::new().with_keys();
        let told = client.lease_time_to_live(lease.id(), Some(options)).await?;
        assert_eq!((told.granted_ttl(), told.keys()), (2, &[b"lease/a".to_vec()][..]));
        let ids: Vec<i64> = client.leases().await?.leases().iter().map(|l| l.id()).collect();
        assert!(ids.contains(&lease.id()));

        let watched = WatchOptions::new().with_start_revision(told.header().unwrap().revision());
        let mut stream = client.watch("lease/a", Some(watched)).await?;
        let ended = tokio::time::timeout(WITHIN, async {
            loop {
                let response = stream.message().await?.expect("the stream stays open");
                let mut events = response.events().iter();
                if events.any(|event| event.event_type() == EventType::Delete) {
                    return Ok::<(), etcd_client::Error>(());
                }
            }
        });
        ended.await.expect("the lease ends in time")?;
        assert!(client.get("lease/a", None).await?.kvs().is_empty());
        let gone = client.lease_revoke(lease.id()).await.unwrap_err().to_string();
        assert!(gone.contains("requested lease not found"), "{gone}");
        Ok(())
    });
}

#[test]
fn members_and_maintenance() {
    with_client(|mut client| async move {
        // A list is local to the member that is asked, and may be a moment behind; the deadline is
        // that of the whole test.
        loop {
            let members = client.member_list().await?;
            assert_eq!(members.members().len(), 3);
            if members.members().iter().all(|member| !member.client_urls().is_empty()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let status = client.status().await?;
        assert!(status.leader() != 0 && status.raft_term() > 0 && status.db_size() > 0);
        assert!(
            client
                .alarm(etcd_client::AlarmAction::Get, etcd_client::AlarmType::None, None)
                .await?
                .alarms()
                .is_empty()
        );
        assert!(client.hash_kv(0).await?.compact_version() != 0);
        Ok(())
    });
}
