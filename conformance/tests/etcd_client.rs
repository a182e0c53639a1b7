//! The Rust crate `etcd-client`: all that it offers, against a three-node cluster with TLS and
//! authentication and against one without.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]

use std::pin::Pin;
use std::time::Duration;

use conformance::{Cluster, ClusterPlan, ROOT, ROOT_PASSWORD, record};
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, Error, EventType,
    GetOptions, LeaseTimeToLiveOptions, LockOptions, MemberAddOptions, Permission, ProclaimOptions,
    PutOptions, ResignOptions, RoleRevokePermissionOptions, SortOrder, SortTarget, TlsOptions, Txn,
    TxnOp, WatchFilterType, WatchOptions, WatchStream,
};

const WITHIN: Duration = Duration::from_secs(15);

/// The cluster under test and how to reach it.
struct Target {
    endpoints: Vec<String>,
    ca: Option<String>,
}

impl Target {
    fn of(cluster: &Cluster) -> Self {
        let ca = cluster.ca_file().map(|file| std::fs::read_to_string(file).unwrap());
        Self { endpoints: cluster.endpoints(), ca }
    }

    async fn connect_as(
        &self,
        user: &str,
        password: &str,
        members: usize,
    ) -> Result<Client, Error> {
        let mut options = ConnectOptions::new();
        if let Some(ca) = &self.ca {
            let ca = Certificate::from_pem(ca);
            let tls = TlsOptions::new().ca_certificate(ca).domain_name("localhost");
            options = options.with_tls(tls).with_user(user, password);
            // Changes of users and roles end what a token knows.
            options = options.with_auto_token_refresh(true);
        }
        Client::connect(&self.endpoints[..members], Some(options)).await
    }

    /// Requests go to so many of the members.
    async fn connect(&self, members: usize) -> Result<Client, Error> {
        self.connect_as(ROOT, ROOT_PASSWORD, members).await
    }
}

type Done<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;
type Feature = for<'a> fn(Client, &'a Target) -> Done<'a>;

const FEATURES: [(&str, Feature); 13] = [
    ("keys and ranges", |client, _| Box::pin(keys_and_ranges(client))),
    ("transactions", |client, _| Box::pin(transactions(client))),
    ("watches", |client, _| Box::pin(watches(client))),
    ("watch progress", |client, _| Box::pin(watch_progress(client))),
    ("watch fragments", |client, _| Box::pin(watch_fragments(client))),
    ("compaction", |_, target| Box::pin(compaction(target))),
    ("leases", |client, _| Box::pin(leases(client))),
    ("locks", |client, _| Box::pin(locks(client))),
    ("elections", |client, _| Box::pin(elections(client))),
    ("members", |client, _| Box::pin(members(client))),
    ("maintenance", |client, _| Box::pin(maintenance(client))),
    ("leadership", |client, target| Box::pin(leadership(client, target))),
    ("users and roles", |client, target| Box::pin(users_and_roles(client, target))),
];

fn check(secured: bool) {
    let flags = vec!["--bcrypt-cost=4".to_owned()];
    let cluster = Cluster::start_plan(&ClusterPlan { secured, flags, ..ClusterPlan::default() });
    let target = Target::of(&cluster);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for (name, feature) in FEATURES {
            let client = target.connect(3).await.unwrap();
            let done = tokio::time::timeout(2 * WITHIN, feature(client, &target)).await;
            let done = done.unwrap_or_else(|_| panic!("{name} does not end in time"));
            done.unwrap_or_else(|error| panic!("{name}, secured {secured}: {error}"));
            let name = if name == "leadership" { "maintenance" } else { name };
            record("Rust etcd-client", secured, name);
        }
    });
}

#[test]
fn rust_etcd_client_works() {
    check(false);
}

#[test]
fn rust_etcd_client_works_with_tls_and_authentication() {
    check(true);
}

async fn keys_and_ranges(mut client: Client) -> Result<(), Error> {
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
}

async fn transactions(mut client: Client) -> Result<(), Error> {
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
}

async fn watches(mut client: Client) -> Result<(), Error> {
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
    let revisions: Vec<_> = events.iter().map(|event| event.kv().unwrap().mod_revision()).collect();
    assert_eq!(revisions, [from, from + 1, from + 2]);
    stream.cancel(0).await?;
    let cancelled = stream.message().await?.expect("a cancel is confirmed");
    assert!(cancelled.canceled());
    let options = WatchOptions::new().with_start_revision(from);
    let options = options.with_filters([WatchFilterType::NoPut]);
    let mut deletes = client.watch("watch/a", Some(options)).await?;
    let events = next_events(&mut deletes).await?;
    assert_eq!(events[0].event_type(), EventType::Delete);
    Ok(())
}

/// The events of the next answer that has some.
async fn next_events(stream: &mut WatchStream) -> Result<Vec<etcd_client::Event>, Error> {
    loop {
        let response = stream.message().await?.expect("the stream stays open");
        assert!(!response.canceled(), "{response:?}");
        if !response.events().is_empty() {
            return Ok(response.events().to_vec());
        }
    }
}

async fn watch_progress(mut client: Client) -> Result<(), Error> {
    let options = WatchOptions::new().with_prefix().with_progress_notify();
    let mut stream = client.watch("progress/", Some(options)).await?;
    let newest = client.put("progress/a", "1", None).await?.header().unwrap().revision();
    let _events = next_events(&mut stream).await?;
    // A member that is a moment behind answers for what it has, or not at all: asked again.
    loop {
        stream.request_progress().await?;
        let told = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
        let Ok(told) = told else { continue };
        let told = told?.expect("the stream stays open");
        assert!(told.events().is_empty());
        if told.header().unwrap().revision() >= newest {
            return Ok(());
        }
    }
}

async fn watch_fragments(mut client: Client) -> Result<(), Error> {
    let value = vec![b'v'; 1 << 20];
    let first = client.put("fragment/0", value.clone(), None).await?.header().unwrap().revision();
    for number in 1..6 {
        client.put(format!("fragment/{number}"), value.clone(), None).await?;
    }
    let options = WatchOptions::new().with_prefix().with_start_revision(first).with_fragment();
    let mut stream = client.watch("fragment/", Some(options)).await?;
    let mut keys = Vec::new();
    while keys.len() < 6 {
        // A message of over four mebibytes would be refused by the client itself.
        let events = next_events(&mut stream).await?;
        let kvs = events.iter().map(|event| event.kv().unwrap());
        keys.extend(kvs.map(|kv| (kv.key_str().unwrap().to_owned(), kv.value().len())));
    }
    let expect: Vec<_> = (0..6).map(|number| (format!("fragment/{number}"), 1 << 20)).collect();
    assert_eq!(keys, expect);
    client.delete("fragment/", Some(DeleteOptions::new().with_prefix())).await?;
    Ok(())
}

async fn compaction(target: &Target) -> Result<(), Error> {
    // Another member may not have applied the compaction yet, and may then rightly show the past.
    let mut client = target.connect(1).await?;
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
}

async fn leases(mut client: Client) -> Result<(), Error> {
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
    // Each member lists what it knows, and another one may be asked that has not heard of it yet.
    let listed = async {
        while !client.leases().await?.leases().iter().any(|known| known.id() == lease.id()) {}
        Ok::<_, Error>(())
    };
    tokio::time::timeout(WITHIN, listed).await.expect("the lease is listed")?;

    let watched = WatchOptions::new().with_start_revision(told.header().unwrap().revision());
    let mut stream = client.watch("lease/a", Some(watched)).await?;
    let ended = tokio::time::timeout(WITHIN, async {
        loop {
            let response = stream.message().await?.expect("the stream stays open");
            let mut events = response.events().iter();
            if events.any(|event| event.event_type() == EventType::Delete) {
                return Ok::<(), Error>(());
            }
        }
    });
    ended.await.expect("the lease ends in time")?;
    assert!(client.get("lease/a", None).await?.kvs().is_empty());
    let gone = client.lease_revoke(lease.id()).await.unwrap_err().to_string();
    assert!(gone.contains("requested lease not found"), "{gone}");
    Ok(())
}

async fn locks(mut client: Client) -> Result<(), Error> {
    let (mine, theirs) =
        (client.lease_grant(60, None).await?.id(), client.lease_grant(60, None).await?.id());
    let held = client.lock("lock", Some(LockOptions::new().with_lease(mine))).await?;
    let mut other = client.lock_client();
    let waiting = tokio::spawn(async move {
        other.lock("lock", Some(LockOptions::new().with_lease(theirs))).await
    });
    client.unlock(held.key()).await?;
    let next = waiting.await.unwrap()?;
    assert_ne!(next.key(), held.key());
    // Whoever dies lets go of it with its lease.
    client.lease_revoke(theirs).await?;
    let again = client.lock("lock", Some(LockOptions::new().with_lease(mine))).await?;
    client.unlock(again.key()).await?;
    Ok(())
}

async fn elections(mut client: Client) -> Result<(), Error> {
    let (mine, theirs) =
        (client.lease_grant(60, None).await?.id(), client.lease_grant(60, None).await?.id());
    let nobody = client.leader("elect").await.unwrap_err().to_string();
    assert!(nobody.contains("election: no leader"), "{nobody}");
    let mut first = client.campaign("elect", "one", mine).await?;
    let leader = first.take_leader().unwrap();
    let mut observed = client.observe("elect").await?;
    let value = |response: Option<etcd_client::LeaderResponse>| {
        response.unwrap().kv().unwrap().value_str().unwrap().to_owned()
    };
    assert_eq!(value(observed.message().await?), "one");
    let options = ProclaimOptions::new().with_leader(leader.clone());
    client.proclaim("one again", Some(options)).await?;
    assert_eq!(value(observed.message().await?), "one again");
    let mut other = client.election_client();
    let second = tokio::spawn(async move { other.campaign("elect", "two", theirs).await });
    client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    let mut second = second.await.unwrap()?;
    assert_eq!(client.leader("elect").await?.kv().unwrap().value(), b"two");
    let leader = second.take_leader().unwrap();
    client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    Ok(())
}

async fn members(mut client: Client) -> Result<(), Error> {
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
    let learner = MemberAddOptions::new().with_is_learner();
    let added = client.member_add(["http://127.0.0.1:1"], Some(learner)).await?;
    let id = added.member().unwrap().id();
    assert!(added.member().unwrap().is_learner() && added.member_list().len() == 4);
    let early = client.member_promote(id).await.unwrap_err().to_string();
    assert!(early.contains("can only promote a learner member which is in sync"), "{early}");
    client.member_update(id, vec!["http://127.0.0.1:2".to_owned()]).await?;
    assert_eq!(client.member_remove(id).await?.members().len(), 3);
    let gone = client.member_remove(id).await.unwrap_err().to_string();
    assert!(gone.contains("member not found"), "{gone}");
    Ok(())
}

async fn maintenance(mut client: Client) -> Result<(), Error> {
    let status = client.status().await?;
    assert!(status.leader() != 0 && status.raft_term() > 0 && status.db_size() > 0);
    let (get, none) = (etcd_client::AlarmAction::Get, etcd_client::AlarmType::None);
    assert!(client.alarm(get, none, None).await?.alarms().is_empty());
    assert!(client.hash_kv(0).await?.compact_version() != 0);
    assert!(client.hash().await?.header().is_some());
    assert!(client.defragment().await?.header().is_none());
    let mut snapshot = client.snapshot().await?;
    let mut bytes = 0;
    while let Some(part) = snapshot.message().await? {
        bytes += part.blob().len();
    }
    assert_eq!(bytes % 512, 32, "a snapshot has its hash behind it");
    Ok(())
}

async fn leadership(mut client: Client, target: &Target) -> Result<(), Error> {
    let leader = client.status().await?.leader();
    let members = client.member_list().await?;
    let mut ids = members.members().iter().map(etcd_client::Member::id);
    let other = ids.find(|id| *id != leader).expect("a cluster of three has followers");
    // Only the leader moves it, and a client asks any of its members.
    for number in 0..3 {
        let one =
            Target { endpoints: vec![target.endpoints[number].clone()], ca: target.ca.clone() };
        let mut at = one.connect(1).await?;
        let is_leader = at.status().await?.header().unwrap().member_id() == leader;
        match at.move_leader(other).await {
            Ok(_) => assert!(is_leader),
            Err(error) => assert!(error.to_string().contains("not leader"), "{error}"),
        }
        if is_leader {
            break;
        }
    }
    while client.status().await?.leader() != other {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn users_and_roles(mut client: Client, target: &Target) -> Result<(), Error> {
    client.role_add("rust-role").await?;
    let permission = Permission::read_write("auth/").with_prefix();
    client.role_grant_permission("rust-role", permission).await?;
    client.user_add("rust-user", "first", None).await?;
    client.user_grant_role("rust-user", "rust-role").await?;
    client.user_change_password("rust-user", "second").await?;
    assert_eq!(client.user_get("rust-user").await?.roles(), ["rust-role"]);
    assert_eq!(client.role_get("rust-role").await?.permissions().len(), 1);
    assert!(client.user_list().await?.users().contains(&"rust-user".to_owned()));
    assert!(client.role_list().await?.roles().contains(&"rust-role".to_owned()));
    if target.ca.is_some() {
        let mut user = target.connect_as("rust-user", "second", 3).await?;
        user.put("auth/a", "1", None).await?;
        let outside = user.put("outside", "1", None).await.unwrap_err().to_string();
        assert!(outside.contains("permission denied"), "{outside}");
        let wrong = target.connect_as("rust-user", "wrong", 1).await.err().map(|e| e.to_string());
        assert!(
            wrong.as_ref().is_some_and(|text| text.contains("authentication failed")),
            "{wrong:?}"
        );
    }
    let options = RoleRevokePermissionOptions::new().with_prefix();
    client.role_revoke_permission("rust-role", "auth/", Some(options)).await?;
    client.user_revoke_role("rust-user", "rust-role").await?;
    client.user_delete("rust-user").await?;
    client.role_delete("rust-role").await?;
    Ok(())
}
