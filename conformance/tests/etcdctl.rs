//! Real `etcdctl`, version 3 of the API, against three processes.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]

use std::time::Duration;

use conformance::{Cluster, Etcdctl, eventually, skip};
use serde_json::Value;

/// A cluster and an `etcdctl` for it; nothing, and a loud line, if there is no `etcdctl`.
fn start(test: &str) -> Option<(Cluster, Etcdctl)> {
    if Etcdctl::new("").is_none() {
        skip(test, "etcdctl");
        return None;
    }
    let cluster = Cluster::start();
    let etcdctl = Etcdctl::new(&cluster.endpoints_joined())?;
    Some((cluster, etcdctl))
}

fn revision(etcdctl: &Etcdctl) -> i64 {
    let answer: Value = serde_json::from_str(&etcdctl.run(&["get", "none", "-w", "json"])).unwrap();
    answer["header"]["revision"].as_i64().unwrap()
}

#[test]
fn puts_and_gets_ranges() {
    let Some((cluster, etcdctl)) = start("puts_and_gets_ranges") else { return };
    for (number, member) in cluster.endpoints().iter().enumerate() {
        let (key, value) = (format!("k{number}"), format!("v{number}"));
        etcdctl.at(member).check(&["put", &key, &value], "OK\n");
    }
    etcdctl.check(&["get", "k1"], "k1\nv1\n");
    etcdctl.check(&["get", "k", "--prefix"], "k0\nv0\nk1\nv1\nk2\nv2\n");
    etcdctl.check(&["get", "k0", "k2"], "k0\nv0\nk1\nv1\n");
    etcdctl.check(&["get", "k1", "--from-key"], "k1\nv1\nk2\nv2\n");
    etcdctl.check(&["get", "k", "--prefix", "--limit", "2"], "k0\nv0\nk1\nv1\n");
    etcdctl.check(&["get", "k", "--prefix", "--keys-only"], "k0\n\nk1\n\nk2\n\n");
    etcdctl.check(&["get", "k", "--prefix", "--print-value-only"], "v0\nv1\nv2\n");
    etcdctl.check(
        &["get", "k", "--prefix", "--sort-by", "KEY", "--order", "DESCEND"],
        "k2\nv2\nk1\nv1\nk0\nv0\n",
    );
    etcdctl.check(&["get", "k1", "--consistency", "s"], "k1\nv1\n");
    let before = revision(&etcdctl);
    etcdctl.check(&["put", "k1", "new", "--prev-kv"], "OK\nk1\nv1\n");
    etcdctl.check(&["get", "k1"], "k1\nnew\n");
    etcdctl.check(&["get", "k1", "--rev", &before.to_string()], "k1\nv1\n");
    etcdctl.check(&["put", "k1", "--ignore-value"], "OK\n");
    etcdctl.check(&["get", "k1"], "k1\nnew\n");
    etcdctl.check(&["del", "k0", "--prev-kv"], "1\nk0\nv0\n");
    etcdctl.check(&["del", "k", "--prefix"], "2\n");
    etcdctl.check(&["get", "k", "--prefix"], "");
    assert_eq!(revision(&etcdctl), before + 4);
}

#[test]
fn a_large_value_passes_and_a_larger_one_is_refused() {
    let Some((_cluster, etcdctl)) = start("a_large_value_passes") else { return };
    let large = "x".repeat(1 << 20);
    let outcome = etcdctl.try_run(&["put", "large"], &large);
    assert!(outcome.succeeded, "{}", outcome.text);
    assert_eq!(etcdctl.run(&["get", "large", "--print-value-only"]).len(), large.len() + 1);
    let outcome = etcdctl.try_run(&["put", "larger"], &"x".repeat(1_600_000));
    assert!(!outcome.succeeded && outcome.text.contains("too large"), "{}", outcome.text);
    etcdctl.check(&["get", "larger"], "");
}

#[test]
fn runs_a_transaction() {
    let Some((_cluster, etcdctl)) = start("runs_a_transaction") else { return };
    etcdctl.check(&["put", "account", "10"], "OK\n");
    let transaction = "value(\"account\") = \"10\"\nversion(\"fresh\") = \"0\"\n\n\
                       put account 20\nput fresh 1\nget account\n\nput account 0\n\n";
    let first = etcdctl.try_run(&["txn"], transaction);
    assert_eq!(first.text, "SUCCESS\n\nOK\n\nOK\n\naccount\n20\n");
    let second = etcdctl.try_run(&["txn"], transaction);
    assert_eq!(second.text, "FAILURE\n\nOK\n");
    etcdctl.check(&["get", "account"], "account\n0\n");
    let twice = etcdctl.try_run(&["txn"], "\nput same 1\nput same 2\n\n\n");
    assert!(twice.text.contains("duplicate key given in txn request"), "{}", twice.text);
}

#[test]
fn watches_a_prefix() {
    let Some((cluster, etcdctl)) = start("watches_a_prefix") else { return };
    etcdctl.check(&["put", "w/old", "0"], "OK\n");
    let from = revision(&etcdctl) + 1;
    etcdctl.check(&["put", "w/1", "a"], "OK\n");
    let rev = from.to_string();
    // Every watcher is begun in the past, so nothing depends on when it is there.
    let watches: Vec<_> = cluster
        .endpoints()
        .iter()
        .map(|member| etcdctl.at(member).follow(&["watch", "w/", "--prefix", "--rev", &rev]))
        .collect();
    watches.iter().for_each(|watch| watch.expect_lines(&["PUT", "w/1", "a"]));
    etcdctl.check(&["put", "w/2", "b"], "OK\n");
    watches.iter().for_each(|watch| watch.expect_lines(&["PUT", "w/2", "b"]));
    etcdctl.check(&["put", "other", "c"], "OK\n");
    etcdctl.check(&["del", "w/", "--prefix"], "3\n");
    for watch in &watches {
        watch.expect_lines(&["DELETE", "w/1", "", "DELETE", "w/2", "", "DELETE", "w/old", ""]);
    }
}

#[test]
fn a_lease_takes_its_key_along() {
    let Some((_cluster, etcdctl)) = start("a_lease_takes_its_key_along") else { return };
    let grant = |ttl: &str| {
        let told = etcdctl.run(&["lease", "grant", ttl]);
        let id = told.split_whitespace().nth(1).unwrap().to_owned();
        assert_eq!(told, format!("lease {id} granted with TTL({ttl}s)\n"));
        id
    };
    let (short, long) = (grant("3"), grant("600"));
    etcdctl.check(&["put", "short", "1", "--lease", &short], "OK\n");
    etcdctl.check(&["put", "long", "1", "--lease", &long], "OK\n");
    let told = etcdctl.run(&["lease", "timetolive", "--keys", &long]);
    assert!(told.contains("granted with TTL(600s)") && told.contains("keys([long])"), "{told}");
    assert!(etcdctl.run(&["lease", "list"]).contains(&long));
    let told = etcdctl.run(&["lease", "keep-alive", "--once", &long]);
    assert_eq!(told, format!("lease {long} keepalived with TTL(600)\n"));
    eventually("the key of the short lease goes", Duration::from_secs(15), || {
        etcdctl.run(&["get", "short"]).is_empty().then_some(())
    });
    etcdctl.check(&["get", "long"], "long\n1\n");
    assert!(!etcdctl.run(&["lease", "list"]).contains(&short));
    let told = etcdctl.run(&["lease", "revoke", &long]);
    assert_eq!(told, format!("lease {long} revoked\n"));
    etcdctl.check(&["get", "long"], "");
    let unknown = etcdctl.try_run(&["put", "late", "1", "--lease", &long], "");
    assert!(unknown.text.contains("requested lease not found"), "{}", unknown.text);
}

#[test]
fn lists_members_and_their_health() {
    let Some((cluster, etcdctl)) = start("lists_members_and_their_health") else { return };
    // A member is known by its name from the beginning, and tells where its clients find it once it
    // runs; the list of the member that is asked may be a moment behind.
    let members =
        eventually("all members have said where they are", Duration::from_secs(10), || {
            let members = etcdctl.run(&["member", "list"]);
            let are_known = cluster.endpoints().iter().all(|endpoint| members.contains(endpoint));
            are_known.then_some(members)
        });
    assert_eq!(members.lines().count(), 3, "{members}");
    for (number, endpoint) in cluster.endpoints().iter().enumerate() {
        let line = members.lines().find(|line| line.contains(endpoint)).unwrap_or_default();
        let name = format!(" n{},", number + 1);
        assert!(line.contains(", started,") && line.contains(&name), "{endpoint}: {members}");
    }
    let health = etcdctl.run(&["endpoint", "health"]);
    assert_eq!(health.matches("is healthy").count(), 3, "{health}");
    let statuses: Value =
        serde_json::from_str(&etcdctl.run(&["endpoint", "status", "-w", "json"])).unwrap();
    let leaders: Vec<_> =
        statuses.as_array().unwrap().iter().map(|status| &status["Status"]["leader"]).collect();
    assert!(leaders[0].as_u64().is_some_and(|leader| leader != 0), "{statuses}");
    assert!(leaders.iter().all(|leader| *leader == leaders[0]), "{statuses}");
    assert!(etcdctl.run(&["endpoint", "status", "-w", "table"]).contains("ENDPOINT"));
    etcdctl.check(&["alarm", "list"], "");
    etcdctl.check(&["alarm", "disarm"], "");
}

#[test]
fn hashes_are_equal_on_all_members() {
    let Some((_cluster, etcdctl)) = start("hashes_are_equal_on_all_members") else { return };
    for number in 0..20 {
        etcdctl.check(&["put", &format!("key{}", number % 7), &number.to_string()], "OK\n");
    }
    let rev = revision(&etcdctl).to_string();
    let hashes = eventually("all members have the revision", Duration::from_secs(10), || {
        let outcome = etcdctl.try_run(&["endpoint", "hashkv", "--rev", &rev, "-w", "json"], "");
        outcome.succeeded.then_some(outcome.text)
    });
    let hashes: Value = serde_json::from_str(&hashes).unwrap();
    let values: Vec<_> =
        hashes.as_array().unwrap().iter().map(|hash| &hash["HashKV"]["hash"]).collect();
    assert_eq!(values.len(), 3, "{hashes}");
    assert!(values.iter().all(|value| *value == values[0]), "{hashes}");
}

#[test]
fn compaction_drops_history() {
    let Some((_cluster, etcdctl)) = start("compaction_drops_history") else { return };
    for value in ["1", "2", "3"] {
        etcdctl.check(&["put", "key", value], "OK\n");
    }
    let newest = revision(&etcdctl);
    let told = etcdctl.run(&["compaction", &(newest - 1).to_string(), "--physical"]);
    assert_eq!(told, format!("compacted revision {}\n", newest - 1));
    let old = etcdctl.try_run(&["get", "key", "--rev", &(newest - 2).to_string()], "");
    assert!(old.text.contains("required revision has been compacted"), "{}", old.text);
    etcdctl.check(&["get", "key", "--rev", &(newest - 1).to_string()], "key\n2\n");
    etcdctl.check(&["get", "key"], "key\n3\n");
    let future = etcdctl.try_run(&["compaction", &(newest + 100).to_string()], "");
    assert!(future.text.contains("required revision is a future revision"), "{}", future.text);
}

#[test]
fn leadership_moves() {
    let Some((cluster, etcdctl)) = start("leadership_moves") else { return };
    let status = |endpoint: &str| -> (u64, u64) {
        let told = etcdctl.at(endpoint).run(&["endpoint", "status", "-w", "json"]);
        let statuses: Value = serde_json::from_str(&told).unwrap();
        let status = &statuses[0]["Status"];
        (status["header"]["member_id"].as_u64().unwrap(), status["leader"].as_u64().unwrap())
    };
    let endpoints = cluster.endpoints();
    let ids: Vec<u64> = endpoints.iter().map(|endpoint| status(endpoint).0).collect();
    let leader = status(&endpoints[0]).1;
    let at = ids.iter().position(|id| *id == leader).unwrap();
    let target = ids[(at + 1) % 3];
    let refused =
        etcdctl.at(&endpoints[(at + 1) % 3]).try_run(&["move-leader", &format!("{target:x}")], "");
    assert!(!refused.succeeded, "a follower must refuse: {}", refused.text);
    let told = etcdctl.run(&["move-leader", &format!("{target:x}")]);
    assert_eq!(told, format!("Leadership transferred from {leader:x} to {target:x}\n"));
    eventually("all members know the new leader", Duration::from_secs(10), || {
        endpoints.iter().all(|endpoint| status(endpoint).1 == target).then_some(())
    });
    etcdctl.check(&["put", "after", "move"], "OK\n");
}
